-- Policy bundles that people work on.

-- +goose Up

SET LOCAL statement_timeout = 0;

-- One row for each bundle: the author's own files, tests included, as a JSON object from name to text. They are in force only once
-- they are published. base is the digest of the archive that they began from.
CREATE TABLE bundle_drafts (
	name       text COLLATE "C" PRIMARY KEY,
	owner      text NOT NULL,
	base       text NOT NULL,
	files      text NOT NULL,
	created_by text NOT NULL,
	created_at timestamptz NOT NULL,
	updated_by text NOT NULL,
	updated_at timestamptz NOT NULL,
	version    bigint NOT NULL CHECK (version > 0)
);
