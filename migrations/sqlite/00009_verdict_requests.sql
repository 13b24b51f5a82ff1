-- Verdicts that are asked for now and fetched later.

-- +goose Up

-- One row for each, until it is fetched no more. While state is 'waiting' a server may claim it, until claimed_until; verdict is
-- the answer to the byte, once it is 'done'.
CREATE TABLE verdict_requests (
	id            TEXT    PRIMARY KEY,
	principal     TEXT    NOT NULL,
	role          TEXT    NOT NULL,
	images        TEXT    NOT NULL,
	image_ref     TEXT    NOT NULL,
	image_name    TEXT    NOT NULL,
	platform      TEXT    NOT NULL,
	context       TEXT    NOT NULL,
	refresh       INTEGER NOT NULL CHECK (refresh IN (0, 1)),
	assessment_id TEXT    NOT NULL,
	labels        TEXT    NOT NULL,
	state         TEXT    NOT NULL CHECK (state IN ('waiting', 'done')),
	attempts      INTEGER NOT NULL CHECK (attempts >= 0),
	created_at    TEXT    NOT NULL,
	next_at       TEXT    NOT NULL,
	claimant      TEXT    NOT NULL,
	claimed_until TEXT,
	message       TEXT    NOT NULL,
	decision      TEXT    NOT NULL CHECK (decision IN ('', 'allow', 'deny', 'unknown')),
	verdict_id    TEXT    NOT NULL,
	verdict       BLOB,
	finished_at   TEXT
) STRICT;
CREATE INDEX verdict_requests_next     ON verdict_requests (next_at, id) WHERE state = 'waiting';
CREATE INDEX verdict_requests_finished ON verdict_requests (finished_at) WHERE state = 'done';
