-- Policy bundles that people work on.

-- +goose Up

-- One row for each bundle: the author's own files, tests included, as a JSON object from name to text. They are in force only once
-- they are published. base is the digest of the archive that they began from.
CREATE TABLE bundle_drafts (
	name       TEXT    PRIMARY KEY,
	owner      TEXT    NOT NULL,
	base       TEXT    NOT NULL,
	files      TEXT    NOT NULL,
	created_by TEXT    NOT NULL,
	created_at TEXT    NOT NULL,
	updated_by TEXT    NOT NULL,
	updated_at TEXT    NOT NULL,
	version    INTEGER NOT NULL CHECK (version > 0)
) STRICT;
