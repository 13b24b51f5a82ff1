-- Images that are decided again without being asked for, what happened to them, and who is still to be told.

-- +goose Up

SET LOCAL statement_timeout = 0;

-- One row for each question that is asked again: an image as it was asked for, at the digest that was answered, or as it is listed.
-- decision and what goes with it are those of the last allow or deny; state_key is of the state under which it was last tried.
CREATE TABLE watched (
	id               text COLLATE "C" PRIMARY KEY,
	image_ref        text NOT NULL,
	image_name       text COLLATE "C" NOT NULL,
	digest           text COLLATE "C" NOT NULL,
	platform         text NOT NULL,
	context          jsonb NOT NULL,
	roles            jsonb NOT NULL,
	environment      text NOT NULL,
	listed           text COLLATE "C" NOT NULL CHECK (listed IN ('', 'api', 'configuration')),
	listed_by        text NOT NULL,
	decision         text NOT NULL CHECK (decision IN ('', 'allow', 'deny')),
	allowed          boolean NOT NULL,
	verdict_id       text NOT NULL,
	reasons          jsonb NOT NULL,
	signers          jsonb NOT NULL,
	decided_at       timestamptz,
	decided_key      text NOT NULL,
	decided_revision bigint NOT NULL,
	state_key        text COLLATE "C" NOT NULL,
	unknown_since    timestamptz,
	unknown_told     boolean NOT NULL,
	unknown_reasons  jsonb NOT NULL,
	refreshed_at     timestamptz,
	boundary_at      timestamptz,
	due_at           timestamptz NOT NULL,
	asked_at         timestamptz,
	principals       jsonb NOT NULL,
	version          bigint NOT NULL CHECK (version >= 1)
);
CREATE INDEX watched_boundary ON watched (boundary_at) WHERE boundary_at IS NOT NULL;
CREATE INDEX watched_state    ON watched (state_key, id);
CREATE INDEX watched_due      ON watched (due_at);
CREATE INDEX watched_asked    ON watched (asked_at) WHERE listed = '';
CREATE INDEX watched_listed   ON watched (listed, id) WHERE listed <> '';
CREATE INDEX watched_name     ON watched (image_name, id);

-- Which signers met a requirement of the last decision.
CREATE TABLE watched_signers (
	signer     text COLLATE "C" NOT NULL,
	watched_id text COLLATE "C" NOT NULL REFERENCES watched (id) ON DELETE CASCADE,
	PRIMARY KEY (signer, watched_id)
);
CREATE INDEX watched_signers_watched ON watched_signers (watched_id);

-- How far the work is: 'scan', up to which time verdicts were looked at; 'ending', what was told to end, which is forgotten after its end.
CREATE TABLE watch_marks (
	kind text COLLATE "C" NOT NULL CHECK (kind IN ('scan', 'ending')),
	key  text COLLATE "C" NOT NULL,
	at   timestamptz NOT NULL,
	PRIMARY KEY (kind, key)
);

-- What happened to watched images. Ids rise in the order of their commits. body is the event as it is given to everybody.
CREATE TABLE events (
	id          text COLLATE "C" PRIMARY KEY,
	at          timestamptz NOT NULL,
	kind        text COLLATE "C" NOT NULL,
	image_ref   text NOT NULL,
	image_name  text COLLATE "C" NOT NULL,
	digest      text COLLATE "C" NOT NULL,
	environment text NOT NULL,
	before      text NOT NULL,
	after       text NOT NULL,
	verdict_id  text NOT NULL,
	body        text NOT NULL
);
CREATE INDEX events_time ON events (at);
CREATE INDEX events_kind ON events (kind, id);
CREATE INDEX events_name ON events (image_name, id);

-- What a webhook is still to be sent, in the order of the ids.
CREATE TABLE deliveries (
	webhook    text COLLATE "C" NOT NULL,
	id         text COLLATE "C" NOT NULL,
	kind       text COLLATE "C" NOT NULL,
	body       bytea NOT NULL,
	created_at timestamptz NOT NULL,
	attempts   bigint NOT NULL CHECK (attempts >= 0),
	next_at    timestamptz NOT NULL,
	error      text NOT NULL,
	PRIMARY KEY (webhook, id)
);
