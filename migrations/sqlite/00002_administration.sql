-- Signers gain trust roots, key rotation and a digest per row; policies, trust roots and tokens of teams come into the store.

-- +goose Up

ALTER TABLE trusted_signers ADD COLUMN trust_roots TEXT    NOT NULL DEFAULT '[]';
ALTER TABLE trusted_signers ADD COLUMN auto_rotate INTEGER NOT NULL DEFAULT 0 CHECK (auto_rotate IN (0, 1));
-- digest is of what changes a verdict; '' until the store, which alone can compute it, has been opened for writing.
ALTER TABLE trusted_signers ADD COLUMN digest      TEXT    NOT NULL DEFAULT '';

-- name is that of the body, so that a verdict's signer can be found by the name it had then.
ALTER TABLE signer_history ADD COLUMN name TEXT NOT NULL DEFAULT '';
UPDATE signer_history SET name = json_extract(body, '$.name');
CREATE INDEX signer_history_names ON signer_history (name, from_revision);

ALTER TABLE tokens ADD COLUMN team    TEXT NOT NULL DEFAULT '';
ALTER TABLE tokens ADD COLUMN images  TEXT NOT NULL DEFAULT '[]';
ALTER TABLE tokens ADD COLUMN sources TEXT NOT NULL DEFAULT '[]';

CREATE TABLE policies (
	name       TEXT    PRIMARY KEY CHECK (name <> ''),
	source     TEXT    NOT NULL CHECK (source IN ('api', 'configuration', 'embedded')),
	owner      TEXT    NOT NULL,
	body       TEXT    NOT NULL,
	digest     TEXT    NOT NULL,
	created_by TEXT    NOT NULL,
	created_at TEXT    NOT NULL,
	updated_by TEXT    NOT NULL,
	updated_at TEXT    NOT NULL,
	version    INTEGER NOT NULL CHECK (version >= 1)
) STRICT;
CREATE TABLE policy_history (
	id             TEXT    NOT NULL,
	from_revision  INTEGER NOT NULL,
	until_revision INTEGER,
	body           TEXT    NOT NULL,
	name           TEXT    NOT NULL,
	PRIMARY KEY (id, from_revision)
) STRICT;
CREATE INDEX policy_history_revisions ON policy_history (from_revision, until_revision);

-- digest names the object of kind trust_root; tuf_metadata that of kind tuf_metadata, '' for a file.
CREATE TABLE trust_roots (
	name         TEXT    PRIMARY KEY CHECK (name <> ''),
	source       TEXT    NOT NULL CHECK (source IN ('api', 'configuration', 'embedded')),
	position     INTEGER NOT NULL,
	kind         TEXT    NOT NULL CHECK (kind IN ('file', 'tuf')),
	digest       TEXT    NOT NULL,
	requires     TEXT    NOT NULL,
	images       TEXT    NOT NULL,
	tuf_url      TEXT    NOT NULL,
	target       TEXT    NOT NULL,
	tuf_metadata TEXT    NOT NULL,
	refreshed_at TEXT,
	created_by   TEXT    NOT NULL,
	created_at   TEXT    NOT NULL,
	updated_by   TEXT    NOT NULL,
	updated_at   TEXT    NOT NULL,
	version      INTEGER NOT NULL CHECK (version >= 1)
) STRICT;
CREATE TABLE root_history (
	id             TEXT    NOT NULL,
	from_revision  INTEGER NOT NULL,
	until_revision INTEGER,
	body           TEXT    NOT NULL,
	name           TEXT    NOT NULL,
	PRIMARY KEY (id, from_revision)
) STRICT;
CREATE INDEX root_history_revisions ON root_history (from_revision, until_revision);

-- Who does a work that one process does for all, and until when.
CREATE TABLE leases (
	name   TEXT PRIMARY KEY,
	holder TEXT NOT NULL CHECK (holder <> ''),
	until  TEXT NOT NULL
) STRICT;

-- How work in the background stands: the last look at a KMS key, the last refresh of a trust root.
CREATE TABLE upkeep (
	kind       TEXT NOT NULL CHECK (kind IN ('kms', 'root')),
	key        TEXT NOT NULL CHECK (key <> ''),
	checked_at TEXT NOT NULL,
	error      TEXT NOT NULL,
	detail     TEXT,
	PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;

-- The verdict that this row repeats for an assessment. It may be gone: rows are removed by age.
ALTER TABLE signature_verifications ADD COLUMN repeats TEXT;

-- The decision, by which lists are filtered besides, is looked up in the index, without the row.
DROP INDEX verifications_image;
DROP INDEX verifications_name;
DROP INDEX verifications_digest;
DROP INDEX verifications_identity;
CREATE INDEX verifications_image    ON signature_verifications (image_ref, created_at, id, decision);
CREATE INDEX verifications_name     ON signature_verifications (image_name, created_at, id, decision);
CREATE INDEX verifications_digest   ON signature_verifications (image_digest, created_at, id, decision);
CREATE INDEX verifications_identity ON signature_verifications (signer_identity, created_at, id, decision) WHERE signer_identity <> '';

-- signer_id is that of the registered signer who had the name then, NULL for one that stands in a policy.
ALTER TABLE verification_signers ADD COLUMN signer_id TEXT;
UPDATE verification_signers SET signer_id = (
	SELECT h.id FROM signature_verifications v JOIN signer_history h
	ON h.name = verification_signers.signer AND h.from_revision <= v.active_revision AND (h.until_revision IS NULL OR h.until_revision > v.active_revision)
	WHERE v.id = verification_signers.verification_id LIMIT 1);

-- The digests that a registered signer's signature let in, with the last verdict that did, and how many there are.
CREATE TABLE signer_digests (
	signer_id       TEXT    NOT NULL,
	image_digest    TEXT    NOT NULL,
	created_at      TEXT    NOT NULL,
	verification_id TEXT    NOT NULL,
	image_ref       TEXT    NOT NULL,
	signed_at       TEXT,
	count           INTEGER NOT NULL CHECK (count >= 0),
	PRIMARY KEY (signer_id, image_digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX signer_digests_time ON signer_digests (signer_id, created_at, verification_id);
-- Where max(…) stands, SQLite takes the other columns from the row that has it.
INSERT INTO signer_digests (signer_id, image_digest, verification_id, created_at, image_ref, signed_at, count)
SELECT signer_id, image_digest, substr(newest, 28), created_at, image_ref, signed_at, verdicts FROM (
	SELECT s.signer_id, v.image_digest, max(v.created_at || v.id) AS newest, v.created_at, v.image_ref,
		CASE WHEN (SELECT count(*) FROM verification_signers o WHERE o.verification_id = v.id) = 1 THEN v.signed_at END AS signed_at,
		count(*) AS verdicts
	FROM verification_signers s JOIN signature_verifications v ON v.id = s.verification_id
	WHERE s.signer_id IS NOT NULL AND v.allowed = 1
	GROUP BY s.signer_id, v.image_digest);
