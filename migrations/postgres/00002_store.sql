-- The whole store. Its first version here has the number of the SQLite schema that it agrees with.
-- Texts that are compared or sorted have the collation "C", in which they sort as bytes, as they do on SQLite.
-- What is hashed is text and stays as it was written; other JSON is jsonb.

-- +goose Up

-- However long it takes: every migration begins so.
SET LOCAL statement_timeout = 0;

-- The one revision and digest that name everything in force. Every change locks this row first, so that changes are serial over all replicas.
CREATE TABLE active (
	one      integer PRIMARY KEY CHECK (one = 1),
	revision bigint  NOT NULL CHECK (revision >= 0),
	digest   text    NOT NULL
);
INSERT INTO active (one, revision, digest)
VALUES (1, 0, 'sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a');

-- What active.digest is made of.
CREATE TABLE inputs (
	kind   text COLLATE "C" PRIMARY KEY,
	digest text NOT NULL
);

-- Every revision there was, with its inputs as {kind: digest}, so that a verdict can be reproduced.
CREATE TABLE revisions (
	revision bigint      PRIMARY KEY,
	digest   text        NOT NULL,
	inputs   jsonb       NOT NULL,
	at       timestamptz NOT NULL
);

CREATE TABLE trusted_signers (
	id              text COLLATE "C" PRIMARY KEY,
	name            text COLLATE "C" NOT NULL UNIQUE CHECK (name <> ''),
	signer_type     text        NOT NULL CHECK (signer_type IN ('keyless', 'public_key', 'kms')),
	oidc_issuer     text        NOT NULL,
	subject_kind    text        NOT NULL CHECK (subject_kind IN ('', 'exact', 'regex')),
	subject_pattern text        NOT NULL,
	public_key      text        NOT NULL,
	kms_key_ref     text        NOT NULL,
	fingerprints    jsonb       NOT NULL,
	claims          jsonb       NOT NULL,
	images          jsonb       NOT NULL,
	enabled         boolean     NOT NULL,
	not_before      timestamptz,
	expires_at      timestamptz,
	signed_from     timestamptz,
	signed_until    timestamptz,
	owner           text        NOT NULL,
	note            text        NOT NULL,
	created_by      text        NOT NULL,
	created_at      timestamptz NOT NULL,
	updated_by      text        NOT NULL,
	updated_at      timestamptz NOT NULL,
	version         bigint      NOT NULL CHECK (version >= 1),
	trust_roots     jsonb       NOT NULL,
	auto_rotate     boolean     NOT NULL,
	digest          text        NOT NULL
);

-- Each state of each signer, with the revisions in which it stood: from_revision up to, not including, until_revision.
CREATE TABLE signer_history (
	id             text COLLATE "C" NOT NULL,
	from_revision  bigint NOT NULL,
	until_revision bigint,
	body           text   NOT NULL,
	name           text COLLATE "C" NOT NULL,
	PRIMARY KEY (id, from_revision)
);
CREATE INDEX signer_history_revisions ON signer_history (from_revision, until_revision);
CREATE INDEX signer_history_names ON signer_history (name, from_revision);

CREATE TABLE tokens (
	id           text COLLATE "C" PRIMARY KEY,
	name         text        NOT NULL CHECK (name <> ''),
	role         text        NOT NULL CHECK (role IN ('viewer', 'verifier', 'author', 'admin')),
	hash         bytea       NOT NULL CHECK (length(hash) = 32),
	created_by   text        NOT NULL,
	created_at   timestamptz NOT NULL,
	expires_at   timestamptz NOT NULL,
	revoked_at   timestamptz,
	last_used_at timestamptz,
	team         text        NOT NULL,
	images       jsonb       NOT NULL,
	sources      jsonb       NOT NULL
);

-- The one-time token of the first start; it makes the first administrator.
CREATE TABLE setup (
	one        integer     PRIMARY KEY CHECK (one = 1),
	token_id   text        NOT NULL,
	hash       bytea       NOT NULL CHECK (length(hash) = 32),
	created_at timestamptz NOT NULL,
	expires_at timestamptz NOT NULL,
	used_at    timestamptz
);

-- The secret that keys are derived from, where no secret file is configured.
CREATE TABLE secret (
	one        integer     PRIMARY KEY CHECK (one = 1),
	value      bytea       NOT NULL CHECK (length(value) = 32),
	created_at timestamptz NOT NULL
);

CREATE TABLE policies (
	name       text COLLATE "C" PRIMARY KEY CHECK (name <> ''),
	source     text        NOT NULL CHECK (source IN ('api', 'configuration', 'embedded')),
	owner      text        NOT NULL,
	body       text        NOT NULL,
	digest     text        NOT NULL,
	created_by text        NOT NULL,
	created_at timestamptz NOT NULL,
	updated_by text        NOT NULL,
	updated_at timestamptz NOT NULL,
	version    bigint      NOT NULL CHECK (version >= 1)
);
CREATE TABLE policy_history (
	id             text COLLATE "C" NOT NULL,
	from_revision  bigint NOT NULL,
	until_revision bigint,
	body           text   NOT NULL,
	name           text COLLATE "C" NOT NULL,
	PRIMARY KEY (id, from_revision)
);
CREATE INDEX policy_history_revisions ON policy_history (from_revision, until_revision);

-- digest names the object of kind trust_root; tuf_metadata that of kind tuf_metadata, '' for a file.
CREATE TABLE trust_roots (
	name         text COLLATE "C" PRIMARY KEY CHECK (name <> ''),
	source       text        NOT NULL CHECK (source IN ('api', 'configuration', 'embedded')),
	position     bigint      NOT NULL,
	kind         text        NOT NULL CHECK (kind IN ('file', 'tuf')),
	digest       text        NOT NULL,
	requires     jsonb       NOT NULL,
	images       jsonb       NOT NULL,
	tuf_url      text        NOT NULL,
	target       text        NOT NULL,
	tuf_metadata text        NOT NULL,
	refreshed_at timestamptz,
	created_by   text        NOT NULL,
	created_at   timestamptz NOT NULL,
	updated_by   text        NOT NULL,
	updated_at   timestamptz NOT NULL,
	version      bigint      NOT NULL CHECK (version >= 1)
);
CREATE TABLE root_history (
	id             text COLLATE "C" NOT NULL,
	from_revision  bigint NOT NULL,
	until_revision bigint,
	body           text   NOT NULL,
	name           text COLLATE "C" NOT NULL,
	PRIMARY KEY (id, from_revision)
);
CREATE INDEX root_history_revisions ON root_history (from_revision, until_revision);

-- Who does a work that one process does for all, and until when, by the clock of the database.
CREATE TABLE leases (
	name   text COLLATE "C" PRIMARY KEY,
	holder text        NOT NULL CHECK (holder <> ''),
	until  timestamptz NOT NULL
);

-- How work in the background stands: the last look at a KMS key, the last refresh of a trust root.
CREATE TABLE upkeep (
	kind       text COLLATE "C" NOT NULL CHECK (kind IN ('kms', 'root')),
	key        text COLLATE "C" NOT NULL CHECK (key <> ''),
	checked_at timestamptz NOT NULL,
	error      text        NOT NULL,
	detail     jsonb,
	PRIMARY KEY (kind, key)
);

-- Immutable values by digest.
CREATE TABLE objects (
	kind       text COLLATE "C" NOT NULL,
	digest     text COLLATE "C" NOT NULL,
	encoding   text        NOT NULL CHECK (encoding IN ('zstd')),
	size       bigint      NOT NULL,
	body       bytea       NOT NULL,
	created_at timestamptz NOT NULL,
	PRIMARY KEY (kind, digest)
);

-- What verification proved, once per digest; size is that of the JSON.
CREATE TABLE facts (
	digest     text COLLATE "C" PRIMARY KEY,
	encoding   text        NOT NULL CHECK (encoding IN ('zstd')),
	size       bigint      NOT NULL,
	body       bytea       NOT NULL,
	created_at timestamptz NOT NULL
);

-- Every verdict that was computed. frames (facts.Frame by policy) and verdict (the bytes that were answered) are compressed.
CREATE TABLE signature_verifications (
	id                 text COLLATE "C" PRIMARY KEY,
	assessment_id      text COLLATE "C",
	image_ref          text COLLATE "C" NOT NULL,
	image_name         text COLLATE "C" NOT NULL,
	image_digest       text COLLATE "C" NOT NULL,
	signature_found    boolean     NOT NULL,
	signature_valid    boolean     NOT NULL,
	signer_identity    text COLLATE "C" NOT NULL,
	signer_issuer      text        NOT NULL,
	signed_at          timestamptz,
	slsa_level         integer     NOT NULL,
	slsa_builder       text,
	verification_error text,
	created_at         timestamptz NOT NULL,
	decision           text COLLATE "C" NOT NULL CHECK (decision IN ('allow', 'deny', 'unknown')),
	allowed            boolean     NOT NULL,
	reasons            jsonb       NOT NULL,
	principal          text        NOT NULL,
	labels             jsonb       NOT NULL,
	facts_digest       text COLLATE "C" REFERENCES facts (digest),
	active_revision    bigint      NOT NULL,
	active_digest      text        NOT NULL,
	build              text        NOT NULL,
	frames             bytea       NOT NULL,
	verdict            bytea       NOT NULL,
	repeats            text
);
-- They are compressed already.
ALTER TABLE signature_verifications ALTER COLUMN frames SET STORAGE EXTERNAL, ALTER COLUMN verdict SET STORAGE EXTERNAL;
ALTER TABLE facts ALTER COLUMN body SET STORAGE EXTERNAL;
ALTER TABLE objects ALTER COLUMN body SET STORAGE EXTERNAL;
-- Lists are read newest first, page by page; each filter has an index that has the order of the pages.
-- The decision, by which lists are filtered besides, is looked up in the index, without the row.
CREATE INDEX verifications_time       ON signature_verifications (created_at, id);
CREATE INDEX verifications_image      ON signature_verifications (image_ref, created_at, id, decision);
CREATE INDEX verifications_name       ON signature_verifications (image_name, created_at, id, decision);
CREATE INDEX verifications_digest     ON signature_verifications (image_digest, created_at, id, decision);
CREATE INDEX verifications_decision   ON signature_verifications (decision, created_at, id);
CREATE INDEX verifications_identity   ON signature_verifications (signer_identity, created_at, id, decision) WHERE signer_identity <> '';
CREATE INDEX verifications_assessment ON signature_verifications (assessment_id, created_at, id) WHERE assessment_id IS NOT NULL;
CREATE INDEX verifications_facts      ON signature_verifications (facts_digest);

-- Which trusted signers met a requirement of a verdict, by the name they had then, and by id where they were registered.
CREATE TABLE verification_signers (
	signer          text COLLATE "C" NOT NULL,
	created_at      timestamptz NOT NULL,
	verification_id text COLLATE "C" NOT NULL REFERENCES signature_verifications (id) ON DELETE CASCADE,
	signer_id       text COLLATE "C",
	PRIMARY KEY (signer, created_at, verification_id)
);
CREATE INDEX verification_signers_verification ON verification_signers (verification_id);

-- The digests that a registered signer's signature let in, with the last verdict that did, and how many there are.
CREATE TABLE signer_digests (
	signer_id       text COLLATE "C" NOT NULL,
	image_digest    text COLLATE "C" NOT NULL,
	created_at      timestamptz NOT NULL,
	verification_id text COLLATE "C" NOT NULL,
	image_ref       text        NOT NULL,
	signed_at       timestamptz,
	count           bigint      NOT NULL CHECK (count >= 0),
	PRIMARY KEY (signer_id, image_digest)
);
CREATE INDEX signer_digests_time ON signer_digests (signer_id, created_at, verification_id);

-- How often a verdict was given again from a cache.
CREATE TABLE verdict_uses (
	verification_id text COLLATE "C" NOT NULL,
	principal       text COLLATE "C" NOT NULL,
	minute          timestamptz NOT NULL,
	count           bigint      NOT NULL CHECK (count > 0),
	PRIMARY KEY (verification_id, principal, minute)
);

-- Who changed what. Each row's hash covers the row and the hash before it, and rows are only ever added.
CREATE TABLE audit (
	seq       bigint      PRIMARY KEY,
	at        timestamptz NOT NULL,
	actor     text        NOT NULL CHECK (actor <> ''),
	origin    text        NOT NULL,
	action    text        NOT NULL,
	object    text COLLATE "C" NOT NULL,
	before    text,
	after     text,
	why       text        NOT NULL,
	revision  bigint      NOT NULL,
	prev_hash text        NOT NULL,
	hash      text        NOT NULL
);
CREATE INDEX audit_object ON audit (object, seq);

-- +goose StatementBegin
CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = 'integrity_constraint_violation';
END
$$;
-- +goose StatementEnd
CREATE TRIGGER audit_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
	FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
-- +goose StatementBegin
CREATE FUNCTION audit_in_order() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.seq <> (SELECT coalesce(max(seq), 0) + 1 FROM audit) THEN
		RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = 'integrity_constraint_violation';
	END IF;
	RETURN NEW;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER audit_in_order BEFORE INSERT ON audit
	FOR EACH ROW EXECUTE FUNCTION audit_in_order();
