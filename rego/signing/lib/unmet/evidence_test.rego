package signing.lib.unmet_test

import data.signing.lib.fixture_test as fixture

_codes(verdict) := [violation.code | some violation in verdict.violations]

_with(change) := object.union(fixture.nothing, change)

test_incomplete_search_is_not_called_unsigned if {
	data.signing.verdict == fixture.denied([{
		"code": "search_incomplete",
		"message": "No signature of image ghcr.io/org/server:v1 was found, but the search could not be completed.",
		"remediation": "Ask again; if it stays so, check the registry and the credentials for it.",
		"rule": "signing.rules.unmet",
	}]) with input as _with({"search": {"complete": false}})
		with data.params as fixture.params
}

# An incomplete search does not undo what was found.
test_signature_found_in_an_incomplete_search if {
	data.signing.verdict == fixture.allowed(["sha256:dev"]) with input as object.union(
		fixture.good,
		{"search": {"complete": false}},
	)
		with data.params as fixture.params
}

_rejection(code, message) := {
	"id": "sha256:bad",
	"media_type": "application/vnd.dev.sigstore.bundle.v0.3+json",
	"where": "ghcr.io/org/server (referrer)",
	"code": code,
	"message": message,
}

test_rejected_signature if {
	rejected := [
		_rejection("subject_mismatch", "signed for another digest."),
		_rejection("log_entry_invalid", "the entry does not verify"),
	]
	data.signing.verdict == fixture.denied([{
		"code": "signature_rejected",
		"message": concat(" ", [
			"Image ghcr.io/org/server:v1 has no valid signature. Rejected: log_entry_invalid (the entry does not verify);",
			"subject_mismatch (signed for another digest).",
		]),
		"remediation": "Do not run the image before it is clear why; sign it anew if it is yours.",
		"rule": "signing.rules.unmet",
	}]) with input as _with({"rejections": rejected})
		with data.params as fixture.params
}

test_signed_with_an_unknown_key if {
	rejected := [_rejection("no_matching_key", "signed with a key that is not known.")]
	verdict := data.signing.verdict with input as _with({"rejections": rejected}) with data.params as fixture.params
	_codes(verdict) == ["signature_rejected"]
	verdict.violations[0].remediation == concat(" ", [
		"If you trust the key that made it, add it",
		"(signet signers add --key FILE, or trusted_signers in the signing policy).",
	])
}

# Threats 9 and 10: a plain file or an attestation is no signature, verified or not.
test_image_with_attestations_only_is_unsigned if {
	rejected := [
		_rejection("no_signature", "an SBOM as a plain blob"),
		object.union(_rejection("malformed", "no envelope"), {"media_type": "application/vnd.dsse.envelope.v1+json"}),
	]
	attestation := object.union(fixture.trusted(fixture.keyless("dev"), ["release"]), {
		"predicate_type": "https://spdx.dev/Document",
		"predicate": {},
	})
	verdict := data.signing.verdict with input as _with({"rejections": rejected, "attestations": [attestation]})
		with data.params as fixture.params
	_codes(verdict) == ["unsigned"]
}

test_signed_in_the_future if {
	rejected := [_rejection("signed_in_future", "signed at 2099-01-01T00:00:00Z.")]
	data.signing.verdict == fixture.denied([{
		"code": "signed_in_future",
		"message": concat(" ", [
			"A signature of image ghcr.io/org/server:v1 carries a verified time in the future:",
			"signed at 2099-01-01T00:00:00Z.",
		]),
		"remediation": "Check the clock of this machine, and of the log or timestamp authority.",
		"rule": "signing.rules.unmet",
		"fact": "sha256:bad",
	}]) with input as _with({"rejections": rejected})
		with data.params as fixture.params
}

# Threat 41: a broken item beside a good one takes nothing from it.
test_rejection_beside_a_good_signature if {
	rejected := [_rejection("malformed", "not a bundle")]
	data.signing.verdict == fixture.allowed(["sha256:dev"]) with input as object.union(
		fixture.good,
		{"rejections": rejected},
	)
		with data.params as fixture.params
}

test_subject_without_a_name if {
	given := _with({"subject": {"registry": "", "repository": ""}})
	verdict := data.signing.verdict with input as given with data.params as fixture.params
	endswith(verdict.violations[0].remediation, "cosign sign IMAGE")
}
