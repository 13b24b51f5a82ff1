-- A verdict keeps what it was decided on besides the facts, and the evidence that the facts were made of, so that it can be reproduced, and
-- decided anew under other policies, signers and trust roots.

-- +goose Up

SET LOCAL statement_timeout = 0;

-- What a search found, once per digest; size is that of the JSON.
CREATE TABLE evidence (
	digest     text COLLATE "C" PRIMARY KEY,
	encoding   text        NOT NULL CHECK (encoding IN ('zstd')),
	size       bigint      NOT NULL,
	body       bytea       NOT NULL,
	created_at timestamptz NOT NULL
);
-- It is compressed already.
ALTER TABLE evidence ALTER COLUMN body SET STORAGE EXTERNAL;

-- Verdicts from before have neither. basis is compressed JSON.
ALTER TABLE signature_verifications ADD COLUMN basis           bytea;
ALTER TABLE signature_verifications ADD COLUMN evidence_digest text COLLATE "C" REFERENCES evidence (digest);
ALTER TABLE signature_verifications ALTER COLUMN basis SET STORAGE EXTERNAL;
CREATE INDEX verifications_evidence ON signature_verifications (evidence_digest) WHERE evidence_digest IS NOT NULL;

-- What was in force at a time.
CREATE INDEX revisions_at ON revisions (at, revision);
