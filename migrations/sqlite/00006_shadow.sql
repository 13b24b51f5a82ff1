-- +goose Up

-- What policies of mode shadow said beside a verdict. shadow_of is the policy that they are compared with, '' for the whole verdict,
-- and compared_with its decision.
CREATE TABLE shadow_verdicts (
	verification_id TEXT    NOT NULL,
	policy          TEXT    NOT NULL,
	digest          TEXT    NOT NULL,
	params_digest   TEXT    NOT NULL,
	decision        TEXT    NOT NULL CHECK (decision IN ('allow', 'deny', 'unknown')),
	shadow_of       TEXT    NOT NULL,
	compared_with   TEXT    NOT NULL CHECK (compared_with IN ('allow', 'deny', 'unknown')),
	agrees          INTEGER NOT NULL CHECK (agrees IN (0, 1)),
	reasons         TEXT    NOT NULL,
	image_ref       TEXT    NOT NULL,
	image_name      TEXT    NOT NULL,
	created_at      TEXT    NOT NULL,
	PRIMARY KEY (verification_id, policy)
) STRICT, WITHOUT ROWID;
CREATE INDEX shadow_verdicts_policy ON shadow_verdicts (policy, agrees, created_at, verification_id, decision);
