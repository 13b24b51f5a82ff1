-- +goose Up

SET LOCAL statement_timeout = 0;

-- The image that stands behind a gateway of an MCP gateway, which is told by its id, its URL or one of its tags.
CREATE TABLE gateways (
	name       text COLLATE "C" NOT NULL PRIMARY KEY,
	source     text        NOT NULL CHECK (source IN ('api', 'configuration')),
	kind       text        NOT NULL CHECK (kind IN ('gateway_id', 'url', 'tag')),
	value      text COLLATE "C" NOT NULL,
	image      text        NOT NULL,
	note       text        NOT NULL,
	created_by text        NOT NULL,
	created_at timestamptz NOT NULL,
	updated_by text        NOT NULL,
	updated_at timestamptz NOT NULL,
	version    bigint      NOT NULL CHECK (version > 0),
	UNIQUE (kind, value)
);
