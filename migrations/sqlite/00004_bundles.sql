-- Policy bundles, whose archives are objects of the kind bundle.

-- +goose Up

-- digest is that of the archive in force, '' before there is one; highest_sequence is the highest that ever was in force under the name.
CREATE TABLE bundles (
	name             TEXT    PRIMARY KEY CHECK (name <> ''),
	source           TEXT    NOT NULL CHECK (source IN ('api', 'configuration')),
	owner            TEXT    NOT NULL,
	location         TEXT    NOT NULL,
	keys             TEXT    NOT NULL,
	scope            TEXT    NOT NULL,
	digest           TEXT    NOT NULL,
	policy_digest    TEXT    NOT NULL,
	revision         TEXT    NOT NULL,
	sequence         INTEGER NOT NULL CHECK (sequence >= 0),
	highest_sequence INTEGER NOT NULL CHECK (highest_sequence >= sequence),
	signed_by        TEXT    NOT NULL,
	validator        TEXT    NOT NULL,
	activated_at     TEXT,
	created_by       TEXT    NOT NULL,
	created_at       TEXT    NOT NULL,
	updated_by       TEXT    NOT NULL,
	updated_at       TEXT    NOT NULL,
	version          INTEGER NOT NULL CHECK (version >= 1)
) STRICT;
CREATE TABLE bundle_history (
	id             TEXT    NOT NULL,
	from_revision  INTEGER NOT NULL,
	until_revision INTEGER,
	body           TEXT    NOT NULL,
	name           TEXT    NOT NULL,
	PRIMARY KEY (id, from_revision)
) STRICT;
CREATE INDEX bundle_history_revisions ON bundle_history (from_revision, until_revision);

-- How work in the background stands: now the last attempt to put a bundle into force, too.
CREATE TABLE upkeep_now (
	kind       TEXT NOT NULL CHECK (kind IN ('kms', 'root', 'bundle')),
	key        TEXT NOT NULL CHECK (key <> ''),
	checked_at TEXT NOT NULL,
	error      TEXT NOT NULL,
	detail     TEXT,
	PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;
INSERT INTO upkeep_now SELECT kind, key, checked_at, error, detail FROM upkeep;
DROP TABLE upkeep;
ALTER TABLE upkeep_now RENAME TO upkeep;
