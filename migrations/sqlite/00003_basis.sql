-- A verdict keeps what it was decided on besides the facts, and the evidence that the facts were made of, so that it can be reproduced, and
-- decided anew under other policies, signers and trust roots.

-- +goose Up

-- What a search found, once per digest; size is that of the JSON.
CREATE TABLE evidence (
	digest     TEXT    PRIMARY KEY,
	encoding   TEXT    NOT NULL CHECK (encoding IN ('zstd')),
	size       INTEGER NOT NULL,
	body       BLOB    NOT NULL,
	created_at TEXT    NOT NULL
) STRICT;

-- Verdicts from before have neither. basis is compressed JSON.
ALTER TABLE signature_verifications ADD COLUMN basis           BLOB;
ALTER TABLE signature_verifications ADD COLUMN evidence_digest TEXT REFERENCES evidence (digest);
CREATE INDEX verifications_evidence ON signature_verifications (evidence_digest) WHERE evidence_digest IS NOT NULL;

-- What was in force at a time.
CREATE INDEX revisions_at ON revisions (at, revision);
