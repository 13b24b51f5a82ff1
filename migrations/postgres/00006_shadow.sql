-- +goose Up

SET LOCAL statement_timeout = 0;

-- What policies of mode shadow said beside a verdict. shadow_of is the policy that they are compared with, '' for the whole verdict,
-- and compared_with its decision.
CREATE TABLE shadow_verdicts (
	verification_id text COLLATE "C" NOT NULL,
	policy          text COLLATE "C" NOT NULL,
	digest          text        NOT NULL,
	params_digest   text        NOT NULL,
	decision        text        NOT NULL CHECK (decision IN ('allow', 'deny', 'unknown')),
	shadow_of       text        NOT NULL,
	compared_with   text        NOT NULL CHECK (compared_with IN ('allow', 'deny', 'unknown')),
	agrees          boolean     NOT NULL,
	reasons         jsonb       NOT NULL,
	image_ref       text        NOT NULL,
	image_name      text        NOT NULL,
	created_at      timestamptz NOT NULL,
	PRIMARY KEY (verification_id, policy)
);
CREATE INDEX shadow_verdicts_policy ON shadow_verdicts (policy, agrees, created_at, verification_id, decision);
