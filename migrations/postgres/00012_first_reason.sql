-- Refusals are found by the code of their first reason. A code is whatever a policy calls it; an
-- index takes its first 200 characters, as no row of it can hold any text.

-- +goose Up

SET LOCAL statement_timeout = 0;

-- It may have been made before, without holding up those who write (docs/operators.md, Upgrades).
CREATE INDEX IF NOT EXISTS verifications_reason ON signature_verifications ((CASE WHEN decision <> 'allow' THEN left(reasons -> 0 ->> 'code', 200) END) COLLATE "C", created_at, id)
	WHERE (CASE WHEN decision <> 'allow' THEN left(reasons -> 0 ->> 'code', 200) END) IS NOT NULL;
