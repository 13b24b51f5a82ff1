-- Times are text, UTC, always with microseconds (2026-11-23T12:00:00.000000Z), so that they sort as they are.
-- Digests are "sha256:<hex>". JSON columns are canonical JSON. Optional values are NULL where "none" differs from "empty".

-- +goose Up

-- The one revision and digest that name everything in force. The digest of revision 0 is that of no inputs at all: {}.
CREATE TABLE active (
	one      INTEGER PRIMARY KEY CHECK (one = 1),
	revision INTEGER NOT NULL CHECK (revision >= 0),
	digest   TEXT    NOT NULL
) STRICT;
INSERT INTO active (one, revision, digest)
VALUES (1, 0, 'sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a');

-- What active.digest is made of: signers and tokens (kept by the store), policy sets, parameters, trust roots.
CREATE TABLE inputs (
	kind   TEXT PRIMARY KEY,
	digest TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Every revision there was, with its inputs as {kind: digest}, so that a verdict can be reproduced.
CREATE TABLE revisions (
	revision INTEGER PRIMARY KEY,
	digest   TEXT NOT NULL,
	inputs   TEXT NOT NULL,
	at       TEXT NOT NULL
) STRICT;

CREATE TABLE trusted_signers (
	id              TEXT    PRIMARY KEY,
	name            TEXT    NOT NULL UNIQUE CHECK (name <> ''),
	signer_type     TEXT    NOT NULL CHECK (signer_type IN ('keyless', 'public_key', 'kms')),
	oidc_issuer     TEXT    NOT NULL,
	subject_kind    TEXT    NOT NULL CHECK (subject_kind IN ('', 'exact', 'regex')),
	subject_pattern TEXT    NOT NULL,
	public_key      TEXT    NOT NULL,
	kms_key_ref     TEXT    NOT NULL,
	fingerprints    TEXT    NOT NULL,
	claims          TEXT    NOT NULL,
	images          TEXT    NOT NULL,
	enabled         INTEGER NOT NULL CHECK (enabled IN (0, 1)),
	not_before      TEXT,
	expires_at      TEXT,
	signed_from     TEXT,
	signed_until    TEXT,
	owner           TEXT    NOT NULL,
	note            TEXT    NOT NULL,
	created_by      TEXT    NOT NULL,
	created_at      TEXT    NOT NULL,
	updated_by      TEXT    NOT NULL,
	updated_at      TEXT    NOT NULL,
	version         INTEGER NOT NULL CHECK (version >= 1)
) STRICT;

-- Each state of each signer, with the revisions in which it stood: from_revision up to, not including, until_revision.
CREATE TABLE signer_history (
	id             TEXT    NOT NULL,
	from_revision  INTEGER NOT NULL,
	until_revision INTEGER,
	body           TEXT    NOT NULL,
	PRIMARY KEY (id, from_revision)
) STRICT;
CREATE INDEX signer_history_revisions ON signer_history (from_revision, until_revision);

CREATE TABLE tokens (
	id           TEXT PRIMARY KEY,
	name         TEXT NOT NULL CHECK (name <> ''),
	role         TEXT NOT NULL CHECK (role IN ('viewer', 'verifier', 'author', 'admin')),
	hash         BLOB NOT NULL CHECK (length(hash) = 32),
	created_by   TEXT NOT NULL,
	created_at   TEXT NOT NULL,
	expires_at   TEXT NOT NULL,
	revoked_at   TEXT,
	last_used_at TEXT
) STRICT;

-- The one-time token of the first start; it makes the first administrator.
CREATE TABLE setup (
	one        INTEGER PRIMARY KEY CHECK (one = 1),
	token_id   TEXT NOT NULL,
	hash       BLOB NOT NULL CHECK (length(hash) = 32),
	created_at TEXT NOT NULL,
	expires_at TEXT NOT NULL,
	used_at    TEXT
) STRICT;

-- The secret that keys are derived from, where no secret file is configured.
CREATE TABLE secret (
	one        INTEGER PRIMARY KEY CHECK (one = 1),
	value      BLOB NOT NULL CHECK (length(value) = 32),
	created_at TEXT NOT NULL
) STRICT;

-- Immutable values by digest: policy sets, parameters, trust roots.
CREATE TABLE objects (
	kind       TEXT    NOT NULL,
	digest     TEXT    NOT NULL,
	encoding   TEXT    NOT NULL CHECK (encoding IN ('zstd')),
	size       INTEGER NOT NULL,
	body       BLOB    NOT NULL,
	created_at TEXT    NOT NULL,
	PRIMARY KEY (kind, digest)
) STRICT;

-- What verification proved, once per digest; size is that of the JSON.
CREATE TABLE facts (
	digest     TEXT    PRIMARY KEY,
	encoding   TEXT    NOT NULL CHECK (encoding IN ('zstd')),
	size       INTEGER NOT NULL,
	body       BLOB    NOT NULL,
	created_at TEXT    NOT NULL
) STRICT;

-- Every verdict that was computed. frames (facts.Frame by policy) and verdict (the bytes that were answered) are compressed.
CREATE TABLE signature_verifications (
	id                 TEXT    PRIMARY KEY,
	assessment_id      TEXT,
	image_ref          TEXT    NOT NULL,
	image_name         TEXT    NOT NULL,
	image_digest       TEXT    NOT NULL,
	signature_found    INTEGER NOT NULL CHECK (signature_found IN (0, 1)),
	signature_valid    INTEGER NOT NULL CHECK (signature_valid IN (0, 1)),
	signer_identity    TEXT    NOT NULL,
	signer_issuer      TEXT    NOT NULL,
	signed_at          TEXT,
	slsa_level         INTEGER NOT NULL,
	slsa_builder       TEXT,
	verification_error TEXT,
	created_at         TEXT    NOT NULL,
	decision           TEXT    NOT NULL CHECK (decision IN ('allow', 'deny', 'unknown')),
	allowed            INTEGER NOT NULL CHECK (allowed IN (0, 1)),
	reasons            TEXT    NOT NULL,
	principal          TEXT    NOT NULL,
	labels             TEXT    NOT NULL,
	facts_digest       TEXT    REFERENCES facts (digest),
	active_revision    INTEGER NOT NULL,
	active_digest      TEXT    NOT NULL,
	build              TEXT    NOT NULL,
	frames             BLOB    NOT NULL,
	verdict            BLOB    NOT NULL
) STRICT;
-- Lists are read newest first, page by page; each filter has an index that ends in the order of the pages.
CREATE INDEX verifications_time       ON signature_verifications (created_at, id);
CREATE INDEX verifications_image      ON signature_verifications (image_ref, created_at, id);
CREATE INDEX verifications_name       ON signature_verifications (image_name, created_at, id);
CREATE INDEX verifications_digest     ON signature_verifications (image_digest, created_at, id);
CREATE INDEX verifications_decision   ON signature_verifications (decision, created_at, id);
CREATE INDEX verifications_identity   ON signature_verifications (signer_identity, created_at, id) WHERE signer_identity <> '';
CREATE INDEX verifications_assessment ON signature_verifications (assessment_id, created_at, id) WHERE assessment_id IS NOT NULL;
CREATE INDEX verifications_facts      ON signature_verifications (facts_digest);

-- Which trusted signers met a requirement of a verdict, by the name they had then.
CREATE TABLE verification_signers (
	signer          TEXT NOT NULL,
	created_at      TEXT NOT NULL,
	verification_id TEXT NOT NULL REFERENCES signature_verifications (id) ON DELETE CASCADE,
	PRIMARY KEY (signer, created_at, verification_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX verification_signers_verification ON verification_signers (verification_id);

-- How often a verdict was given again from a cache.
CREATE TABLE verdict_uses (
	verification_id TEXT    NOT NULL,
	principal       TEXT    NOT NULL,
	minute          TEXT    NOT NULL,
	count           INTEGER NOT NULL CHECK (count > 0),
	PRIMARY KEY (verification_id, principal, minute)
) STRICT, WITHOUT ROWID;

-- Who changed what. Each row's hash covers the row and the hash before it, and rows are only ever added.
CREATE TABLE audit (
	seq       INTEGER PRIMARY KEY,
	at        TEXT    NOT NULL,
	actor     TEXT    NOT NULL CHECK (actor <> ''),
	origin    TEXT    NOT NULL,
	action    TEXT    NOT NULL,
	object    TEXT    NOT NULL,
	before    TEXT,
	after     TEXT,
	why       TEXT    NOT NULL,
	revision  INTEGER NOT NULL,
	prev_hash TEXT    NOT NULL,
	hash      TEXT    NOT NULL
) STRICT;
CREATE INDEX audit_object ON audit (object, seq);

-- +goose StatementBegin
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit
BEGIN
	SELECT RAISE(ABORT, 'the audit log is append-only');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit
BEGIN
	SELECT RAISE(ABORT, 'the audit log is append-only');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER audit_in_order BEFORE INSERT ON audit
WHEN NEW.seq <> (SELECT coalesce(max(seq), 0) + 1 FROM audit)
BEGIN
	SELECT RAISE(ABORT, 'the audit log is append-only');
END;
-- +goose StatementEnd
