-- Policy bundles, whose archives are objects of the kind bundle.

-- +goose Up

SET LOCAL statement_timeout = 0;

-- digest is that of the archive in force, '' before there is one; highest_sequence is the highest that ever was in force under the name.
CREATE TABLE bundles (
	name             text COLLATE "C" PRIMARY KEY CHECK (name <> ''),
	source           text        NOT NULL CHECK (source IN ('api', 'configuration')),
	owner            text        NOT NULL,
	location         text        NOT NULL,
	keys             jsonb       NOT NULL,
	scope            text        NOT NULL,
	digest           text        NOT NULL,
	policy_digest    text        NOT NULL,
	revision         text        NOT NULL,
	sequence         bigint      NOT NULL CHECK (sequence >= 0),
	highest_sequence bigint      NOT NULL CHECK (highest_sequence >= sequence),
	signed_by        text        NOT NULL,
	validator        text        NOT NULL,
	activated_at     timestamptz,
	created_by       text        NOT NULL,
	created_at       timestamptz NOT NULL,
	updated_by       text        NOT NULL,
	updated_at       timestamptz NOT NULL,
	version          bigint      NOT NULL CHECK (version >= 1)
);
CREATE TABLE bundle_history (
	id             text COLLATE "C" NOT NULL,
	from_revision  bigint NOT NULL,
	until_revision bigint,
	body           text   NOT NULL,
	name           text COLLATE "C" NOT NULL,
	PRIMARY KEY (id, from_revision)
);
CREATE INDEX bundle_history_revisions ON bundle_history (from_revision, until_revision);

-- How work in the background stands: now the last attempt to put a bundle into force, too.
ALTER TABLE upkeep DROP CONSTRAINT upkeep_kind_check;
ALTER TABLE upkeep ADD CONSTRAINT upkeep_kind_check CHECK (kind IN ('kms', 'root', 'bundle'));
