package signing.lib.requirement_test

import data.signing.lib.fixture_test as fixture
import data.signing.lib.requirement

test_a_summary_meets_the_requirement_until_it_is_too_old if {
	data.signing.verdict == {
		"allow": true,
		"violations": [],
		"warnings": [],
		"satisfied_by": [{"requirement": "summary", "facts": ["sha256:verifier"]}],
		"slsa": {"level": 0, "builder": null},
		"valid_until": "2026-06-06T12:00:00Z",
	} with input as fixture.verified_elsewhere with data.params as fixture.summarised
}

test_the_last_to_be_too_old_counts if {
	later := object.union(fixture.summary_attestation, {
		"id": "sha256:later",
		"signed_at": null,
		"projection": {"summary": {"time_verified": "2026-06-01T00:00:00Z"}},
	})
	verdict := data.signing.verdict with input as fixture.attested([fixture.summary_attestation, later])
		with data.params as fixture.summarised
	verdict.valid_until == "2026-06-08T00:00:00Z"
}

_messages(given, params) := {[finding.code, finding.message] | some finding in verdict.violations} if {
	verdict := data.signing.verdict with input as given with data.params as params
	not verdict.allow
}

_who := "verifier@example.com (issuer https://accounts.example)"

test_none_at_all if {
	_messages(fixture.nothing, fixture.summarised) == {[
		"summary_missing",
		"Image ghcr.io/org/server:v1 has no verification summary by https://verifier.example.",
	]}
}

test_only_by_strangers if {
	given := fixture.attested([object.union(fixture.summary_attestation, {"trusted_signers": [], "projection": null})])
	_messages(given, fixture.summarised) == {[
		"summary_missing",
		sprintf(
			"Image ghcr.io/org/server:v1 has no verification summary by https://verifier.example; there is one by %s, who is not trusted.",
			[_who],
		),
	]}
}

_faults := {
	"summary_not_trusted": [{"verifier_id": "https://other.example"}, sprintf(
		"The verification summary of image ghcr.io/org/server:v1 by %s for the verifier https://other.example does not count: %s.",
		[_who, "the policy wants the verifier https://verifier.example"],
	)],
	"summary_other_image": [{"resource_uri": "ghcr.io/org/other"}, sprintf(
		"The verification summary by %s is about ghcr.io/org/other (sha256:aa), not about image ghcr.io/org/server:v1 (sha256:aa).",
		[_who],
	)],
	"summary_other_policy": [{"policy_digest": ""}, sprintf(
		"The verification summary of image ghcr.io/org/server:v1 by %s was made under the policy %s (none given), not under %s, %s.",
		[_who, "https://verifier.example/policies/release", "https://verifier.example/policies/release", "sha256:9a"],
	)],
	"summary_not_passed": [{"result": "FAILED", "verified_levels": ["FAILED", "SLSA_BUILD_LEVEL_2"]}, sprintf(
		"The verification summary of image ghcr.io/org/server:v1 by %s says FAILED, with the levels FAILED, SLSA_BUILD_LEVEL_2.",
		[_who],
	)],
	"summary_level_too_low": [{"verified_levels": ["SLSA_BUILD_LEVEL_1"]}, sprintf(
		"The verification summary of image ghcr.io/org/server:v1 by %s gives SLSA level 1, which does not meet the required level 2.",
		[_who],
	)],
	"summary_too_old": [{"time_verified": "2026-05-20T00:00:00Z"}, sprintf(
		"The verification summary of image ghcr.io/org/server:v1 by %s is not of the last 7 days: it gives %s as its time%s, and now it is %s.",
		[_who, "2026-05-20T00:00:00Z", ", and was signed at 2026-05-30T12:00:00Z", "2026-06-01T12:00:00Z"],
	)],
}

test_each_fault_is_said if {
	every code, fault in _faults {
		_messages(fixture.verified_as(fault[0]), fixture.summarised) == {[code, fault[1]]}
	}
}

test_other_reasons_not_to_trust if {
	stranger := fixture.attested([object.union(fixture.summary_attestation, {"trusted_signers": ["release"]})])
	unlogged := fixture.attested([object.union(fixture.summary_attestation, {"transparency": []})])
	{code | some [code, _] in _messages(stranger, fixture.summarised)} == {"summary_not_trusted"}
	some [_, signer] in _messages(stranger, fixture.summarised)
	endswith(signer, "the policy wants it signed by verifier.")
	some [_, entry] in _messages(unlogged, fixture.summarised)
	endswith(entry, "it has no entry in a transparency log.")
}

test_an_age_that_is_no_days_and_no_time if {
	given := fixture.attested([object.union(fixture.summary_attestation, {
		"signed_at": null,
		"projection": {"summary": {"time_verified": null}},
	})])
	some [_, message] in _messages(given, fixture.summarised_with({"max_age": 90}))
	contains(message, "is not of the last 90 seconds: it gives none given as its time, and now it is")
}

# Where provenance is asked for, the same explains that one.
test_a_summary_may_stand_in_for_provenance if {
	given := object.union(fixture.summarised, {"slsa": {"require_attestation": true, "minimum_level": 3}})
	not requirement.needs.summary with input as fixture.verified_elsewhere with data.params as given
	low := fixture.verified_as({"verified_levels": ["SLSA_BUILD_LEVEL_2"]})
	found := requirement.violation with input as low with data.params as given
	some [_, finding] in found
	finding.code == "summary_level_too_low"
	finding.requirement == "provenance"
	endswith(finding.message, "gives SLSA level 2, which does not meet the required level 3.")
}
