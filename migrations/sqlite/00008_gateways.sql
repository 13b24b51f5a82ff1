-- +goose Up

-- The image that stands behind a gateway of an MCP gateway, which is told by its id, its URL or one of its tags.
CREATE TABLE gateways (
	name       TEXT    NOT NULL PRIMARY KEY,
	source     TEXT    NOT NULL CHECK (source IN ('api', 'configuration')),
	kind       TEXT    NOT NULL CHECK (kind IN ('gateway_id', 'url', 'tag')),
	value      TEXT    NOT NULL,
	image      TEXT    NOT NULL,
	note       TEXT    NOT NULL,
	created_by TEXT    NOT NULL,
	created_at TEXT    NOT NULL,
	updated_by TEXT    NOT NULL,
	updated_at TEXT    NOT NULL,
	version    INTEGER NOT NULL CHECK (version > 0),
	UNIQUE (kind, value)
) STRICT, WITHOUT ROWID;
