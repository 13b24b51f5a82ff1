-- Refusals are found by the code of their first reason. A code is whatever a policy calls it; an
-- index takes its first 200 characters, as no row of it can hold any text.

-- +goose Up

CREATE INDEX verifications_reason ON signature_verifications ((CASE WHEN decision <> 'allow' THEN substr(json_extract(reasons, '$[0].code'), 1, 200) END), created_at, id)
	WHERE (CASE WHEN decision <> 'allow' THEN substr(json_extract(reasons, '$[0].code'), 1, 200) END) IS NOT NULL;
