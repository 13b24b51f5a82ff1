-- Verdicts are found by the code of their first reason.

-- +goose Up

SET LOCAL statement_timeout = 0;

CREATE INDEX verifications_reason ON signature_verifications ((reasons -> 0 ->> 'code'), created_at, id) WHERE (reasons -> 0 ->> 'code') IS NOT NULL;
