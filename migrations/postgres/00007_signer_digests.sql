-- A signer's digests are kept under every image name that they were allowed under, so that a compromise names them all.

-- +goose Up

SET LOCAL statement_timeout = 0;

DROP TABLE signer_digests;
-- The digests that a registered signer's signature let in, by the image's name, with the last verdict that did, and how many there are.
CREATE TABLE signer_digests (
	signer_id       text COLLATE "C" NOT NULL,
	image_digest    text COLLATE "C" NOT NULL,
	image_name      text COLLATE "C" NOT NULL,
	created_at      timestamptz NOT NULL,
	verification_id text COLLATE "C" NOT NULL,
	image_ref       text        NOT NULL,
	signed_at       timestamptz,
	count           bigint      NOT NULL CHECK (count >= 0),
	PRIMARY KEY (signer_id, image_digest, image_name)
);
CREATE INDEX signer_digests_time ON signer_digests (signer_id, created_at, verification_id);
INSERT INTO signer_digests (signer_id, image_digest, image_name, created_at, verification_id, image_ref, signed_at, count)
SELECT signer_id, image_digest, image_name, created_at, id, image_ref, signed_at, verdicts FROM (
	SELECT x.*, count(*) OVER (PARTITION BY signer_id, image_digest, image_name) AS verdicts,
		row_number() OVER (PARTITION BY signer_id, image_digest, image_name ORDER BY created_at DESC, id DESC) AS place FROM (
		SELECT DISTINCT s.signer_id, v.image_digest, v.image_name, v.created_at, v.id, v.image_ref,
			CASE WHEN (SELECT count(*) FROM verification_signers o WHERE o.verification_id = v.id) = 1 THEN v.signed_at END AS signed_at
		FROM verification_signers s JOIN signature_verifications v ON v.id = s.verification_id
		WHERE s.signer_id IS NOT NULL AND v.allowed) x) y
WHERE place = 1;
