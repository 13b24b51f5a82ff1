-- Verdicts that are asked for now and fetched later.

-- +goose Up

SET LOCAL statement_timeout = 0;

-- One row for each, until it is fetched no more. While state is 'waiting' a server may claim it, until claimed_until; verdict is
-- the answer to the byte, once it is 'done'.
CREATE TABLE verdict_requests (
	id            text COLLATE "C" PRIMARY KEY,
	principal     text NOT NULL,
	role          text NOT NULL,
	images        jsonb NOT NULL,
	image_ref     text NOT NULL,
	image_name    text COLLATE "C" NOT NULL,
	platform      text NOT NULL,
	context       jsonb NOT NULL,
	refresh       boolean NOT NULL,
	assessment_id text NOT NULL,
	labels        jsonb NOT NULL,
	state         text NOT NULL CHECK (state IN ('waiting', 'done')),
	attempts      bigint NOT NULL CHECK (attempts >= 0),
	created_at    timestamptz NOT NULL,
	next_at       timestamptz NOT NULL,
	claimant      text NOT NULL,
	claimed_until timestamptz,
	message       text NOT NULL,
	decision      text NOT NULL CHECK (decision IN ('', 'allow', 'deny', 'unknown')),
	verdict_id    text NOT NULL,
	verdict       bytea,
	finished_at   timestamptz
);
CREATE INDEX verdict_requests_next     ON verdict_requests (next_at, id) WHERE state = 'waiting';
CREATE INDEX verdict_requests_finished ON verdict_requests (finished_at) WHERE state = 'done';
