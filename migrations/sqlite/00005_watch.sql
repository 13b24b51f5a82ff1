-- Images that are decided again without being asked for, what happened to them, and who is still to be told.

-- +goose Up

-- One row for each question that is asked again: an image as it was asked for, at the digest that was answered, or as it is listed.
-- decision and what goes with it are those of the last allow or deny; state_key is of the state under which it was last tried.
CREATE TABLE watched (
	id               TEXT    PRIMARY KEY,
	image_ref        TEXT    NOT NULL,
	image_name       TEXT    NOT NULL,
	digest           TEXT    NOT NULL,
	platform         TEXT    NOT NULL,
	context          TEXT    NOT NULL,
	roles            TEXT    NOT NULL,
	environment      TEXT    NOT NULL,
	listed           TEXT    NOT NULL CHECK (listed IN ('', 'api', 'configuration')),
	listed_by        TEXT    NOT NULL,
	decision         TEXT    NOT NULL CHECK (decision IN ('', 'allow', 'deny')),
	allowed          INTEGER NOT NULL CHECK (allowed IN (0, 1)),
	verdict_id       TEXT    NOT NULL,
	reasons          TEXT    NOT NULL,
	signers          TEXT    NOT NULL,
	decided_at       TEXT,
	decided_key      TEXT    NOT NULL,
	decided_revision INTEGER NOT NULL,
	state_key        TEXT    NOT NULL,
	unknown_since    TEXT,
	unknown_told     INTEGER NOT NULL CHECK (unknown_told IN (0, 1)),
	unknown_reasons  TEXT    NOT NULL,
	refreshed_at     TEXT,
	boundary_at      TEXT,
	due_at           TEXT    NOT NULL,
	asked_at         TEXT,
	principals       TEXT    NOT NULL,
	version          INTEGER NOT NULL CHECK (version >= 1)
) STRICT;
CREATE INDEX watched_boundary ON watched (boundary_at) WHERE boundary_at IS NOT NULL;
CREATE INDEX watched_state    ON watched (state_key, id);
CREATE INDEX watched_due      ON watched (due_at);
CREATE INDEX watched_asked    ON watched (asked_at) WHERE listed = '';
CREATE INDEX watched_listed   ON watched (listed, id) WHERE listed <> '';
CREATE INDEX watched_name     ON watched (image_name, id);

-- Which signers met a requirement of the last decision.
CREATE TABLE watched_signers (
	signer     TEXT NOT NULL,
	watched_id TEXT NOT NULL REFERENCES watched (id) ON DELETE CASCADE,
	PRIMARY KEY (signer, watched_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX watched_signers_watched ON watched_signers (watched_id);

-- How far the work is: 'scan', up to which time verdicts were looked at; 'ending', what was told to end, which is forgotten after its end.
CREATE TABLE watch_marks (
	kind TEXT NOT NULL CHECK (kind IN ('scan', 'ending')),
	key  TEXT NOT NULL,
	at   TEXT NOT NULL,
	PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;

-- What happened to watched images. Ids rise in the order of their commits. body is the event as it is given to everybody.
CREATE TABLE events (
	id          TEXT PRIMARY KEY,
	at          TEXT NOT NULL,
	kind        TEXT NOT NULL,
	image_ref   TEXT NOT NULL,
	image_name  TEXT NOT NULL,
	digest      TEXT NOT NULL,
	environment TEXT NOT NULL,
	before      TEXT NOT NULL,
	after       TEXT NOT NULL,
	verdict_id  TEXT NOT NULL,
	body        TEXT NOT NULL
) STRICT;
CREATE INDEX events_time ON events (at);
CREATE INDEX events_kind ON events (kind, id);
CREATE INDEX events_name ON events (image_name, id);

-- What a webhook is still to be sent, in the order of the ids.
CREATE TABLE deliveries (
	webhook    TEXT    NOT NULL,
	id         TEXT    NOT NULL,
	kind       TEXT    NOT NULL,
	body       BLOB    NOT NULL,
	created_at TEXT    NOT NULL,
	attempts   INTEGER NOT NULL CHECK (attempts >= 0),
	next_at    TEXT    NOT NULL,
	error      TEXT    NOT NULL,
	PRIMARY KEY (webhook, id)
) STRICT, WITHOUT ROWID;
