-- Requests for verdicts know their token, and verdicts that were written late are found.

-- +goose Up

-- The public part of the token that asked, '' where the connection said who asks.
ALTER TABLE verdict_requests ADD COLUMN token_id TEXT NOT NULL DEFAULT '';

-- How far the work is: now also 'late', a verdict that was written long after it was given, until the watch has taken it up.
CREATE TABLE watch_marks_now (
	kind TEXT NOT NULL CHECK (kind IN ('scan', 'ending', 'late')),
	key  TEXT NOT NULL,
	at   TEXT NOT NULL,
	PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;
INSERT INTO watch_marks_now SELECT kind, key, at FROM watch_marks;
DROP TABLE watch_marks;
ALTER TABLE watch_marks_now RENAME TO watch_marks;
