-- Requests for verdicts know their token, and verdicts that were written late are found.

-- +goose Up

SET LOCAL statement_timeout = 0;

-- The public part of the token that asked, '' where the connection said who asks.
ALTER TABLE verdict_requests ADD COLUMN token_id text NOT NULL DEFAULT '';

-- How far the work is: now also 'late', a verdict that was written long after it was given, until the watch has taken it up.
ALTER TABLE watch_marks DROP CONSTRAINT watch_marks_kind_check;
ALTER TABLE watch_marks ADD CONSTRAINT watch_marks_kind_check CHECK (kind IN ('scan', 'ending', 'late'));
