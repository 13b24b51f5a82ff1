-- Verdicts are found by the code of their first reason.

-- +goose Up

CREATE INDEX verifications_reason ON signature_verifications (json_extract(reasons, '$[0].code'), created_at, id) WHERE json_extract(reasons, '$[0].code') IS NOT NULL;
