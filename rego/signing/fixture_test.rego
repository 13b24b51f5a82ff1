# Inputs and parameters that the tests of this policy share.
package signing.fixture_test

params := {
	"require_signature": true,
	"verify_transparency_log": true,
	"threshold": 1,
	"trusted_sources": null,
	"registered_signers": true,
}

index := "sha256:aa"

platform := "sha256:bb"

# An image about which nothing is known: no evidence at all. A trusted signer is
# in force, so there is an assignment, which could place nobody.
nothing := {
	"schema": "signet/input/v1",
	"evaluated_at": "2026-06-01T12:00:00Z",
	"request": {"image": "ghcr.io/org/server:v1", "context": {}, "roles": []},
	"subject": {
		"registry": "ghcr.io",
		"repository": "org/server",
		"tag": "v1",
		"digest": index,
		"media_type": "application/vnd.oci.image.index.v1+json",
		"platforms": [{"os": "linux", "architecture": "amd64", "variant": "", "digest": platform}],
	},
	"search": {
		"complete": true,
		"repositories": ["ghcr.io/org/server"],
		"referrers_api": "empty",
		"fallback_tag": "empty",
		"cosign_tags": "empty",
		"items": 0,
		"problems": [],
	},
	"signatures": [],
	"attestations": [],
	"matches": [{"requirement": "signature", "signers": [], "principals": [], "count": 0}],
	"rejections": [],
	"trust": [{"name": "public-good", "digest": "sha256:00", "age": 0, "transparency_log": true}],
}

entry := {"log": "https://rekor.example", "log_id": "00", "index": 7, "integrated_at": null, "proof": "inclusion"}

# A keyless signature on the index, with a log entry, that matches no signer.
keyless(who) := {
	"id": sprintf("sha256:%s", [who]),
	"subject_digest": index,
	"format": "sigstore-bundle",
	"signed_at": "2026-05-01T12:00:00Z",
	"trust_root": "public-good",
	"annotations": {},
	"principal": sprintf("https://accounts.example %s@example.com", [who]),
	"signer": {
		"kind": "certificate",
		"issuer": "https://accounts.example",
		"subject": sprintf("%s@example.com", [who]),
		"claims": {},
		"fingerprint": "00",
		"algorithm": "ecdsa-p256",
	},
	"transparency": [entry],
	"timestamps": [],
	"trusted_signers": [],
}

# A key signature on the index, without a log entry, that matches no signer.
keyed(fingerprint) := object.union(keyless(fingerprint), {
	"principal": fingerprint,
	"signed_at": null,
	"signer": {
		"kind": "key",
		"issuer": "",
		"subject": "",
		"claims": {},
		"fingerprint": fingerprint,
		"algorithm": "ecdsa-p256",
	},
	"transparency": [],
})

trusted(signature, signers) := object.union(signature, {"trusted_signers": signers})

# The input with these signatures and this assignment: pairs of signer and principal.
signed(signatures, pairs) := object.union(nothing, {
	"signatures": signatures,
	"matches": [{
		"requirement": "signature",
		"signers": [pair[0] | some pair in pairs],
		"principals": [pair[1] | some pair in pairs],
		"count": count(pairs),
	}],
})

# One keyless signature by a trusted signer, in order in every way.
good := signed([signature], [["release", signature.principal]]) if {
	signature := trusted(keyless("dev"), ["release"])
}

denied(violations) := {
	"allow": false,
	"violations": violations,
	"warnings": [],
	"satisfied_by": [],
	"slsa": {"level": 0, "builder": null},
}

allowed(facts) := {
	"allow": true,
	"violations": [],
	"warnings": [],
	"satisfied_by": [{"requirement": "signature", "facts": facts}],
	"slsa": {"level": 0, "builder": null},
}
