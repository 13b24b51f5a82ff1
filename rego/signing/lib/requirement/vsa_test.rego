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
	verdict := data.signing.verdict with input as fixture.attested_alone([fixture.summary_attestation, later])
		with data.params as fixture.summarised
	verdict.valid_until == "2026-06-08T00:00:00Z"
}

_told(verdict) := {[finding.code, finding.message] | some finding in verdict.violations; not verdict.allow}

_who := "verifier@example.com (issuer https://accounts.example)"

test_none_at_all if {
	verdict := data.signing.verdict with input as fixture.nothing with data.params as fixture.summarised
	_told(verdict) == {[
		"summary_missing",
		"Image ghcr.io/org/server:v1 has no verification summary by https://verifier.example.",
	]}
}

test_only_by_strangers if {
	stranger := object.union(fixture.summary_attestation, {"trusted_signers": [], "projection": null})
	given := fixture.attested_alone([stranger])
	verdict := data.signing.verdict with input as given with data.params as fixture.summarised
	_told(verdict) == {["summary_missing", concat("", [
		"Image ghcr.io/org/server:v1 has no verification summary by https://verifier.example; ",
		sprintf("there is one by %s, who is not trusted.", [_who]),
	])]}
}

# What is said begins so for most of them.
_of_image := sprintf("The verification summary of image ghcr.io/org/server:v1 by %s ", [_who])

_faults := {
	"summary_not_trusted": [{"verifier_id": "https://other.example"}, concat("", [
		_of_image,
		"for the verifier https://other.example does not count: the policy wants the verifier https://verifier.example.",
	])],
	"summary_other_image": [{"resource_uri": "ghcr.io/org/other"}, concat("", [
		sprintf("The verification summary by %s is about ghcr.io/org/other (sha256:aa), ", [_who]),
		"not about image ghcr.io/org/server:v1 (sha256:aa).",
	])],
	"summary_other_policy": [{"policy_digest": ""}, concat("", [
		_of_image,
		"was made under the policy https://verifier.example/policies/release (none given), ",
		"not under https://verifier.example/policies/release, sha256:9a.",
	])],
	"summary_not_passed": [
		{"result": "FAILED", "verified_levels": ["FAILED", "SLSA_BUILD_LEVEL_2"]},
		concat("", [_of_image, "says FAILED, with the levels FAILED, SLSA_BUILD_LEVEL_2."]),
	],
	"summary_level_too_low": [
		{"verified_levels": ["SLSA_BUILD_LEVEL_1"]},
		concat("", [_of_image, "gives SLSA level 1, which does not meet the required level 2."]),
	],
	"summary_too_old": [{"time_verified": "2026-05-20T00:00:00Z"}, concat("", [
		_of_image,
		"is not of the last 7 days: it gives 2026-05-20T00:00:00Z as its time, ",
		"and was signed at 2026-05-30T12:00:00Z, and now it is 2026-06-01T12:00:00Z.",
	])],
}

test_each_fault_is_said if {
	every code, fault in _faults {
		verdict := data.signing.verdict with input as fixture.verified_as(fault[0]) with data.params as fixture.summarised
		_told(verdict) == {[code, fault[1]]}
	}
}

test_a_signer_that_is_no_verifier if {
	given := fixture.attested_alone([object.union(fixture.summary_attestation, {"trusted_signers": ["release"]})])
	verdict := data.signing.verdict with input as given with data.params as fixture.summarised
	some ["summary_not_trusted", message] in _told(verdict)
	endswith(message, "the policy wants it signed by verifier.")
}

test_a_verifier_without_a_log_entry if {
	given := fixture.attested_alone([object.union(fixture.summary_attestation, {"transparency": []})])
	verdict := data.signing.verdict with input as given with data.params as fixture.summarised
	some ["summary_not_trusted", message] in _told(verdict)
	endswith(message, "it has no entry in a transparency log.")
}

test_an_age_that_is_no_days_and_no_time if {
	given := fixture.attested_alone([object.union(fixture.summary_attestation, {
		"signed_at": null,
		"projection": {"summary": {"time_verified": null}},
	})])
	verdict := data.signing.verdict with input as given with data.params as fixture.summarised_with({"max_age": 90})
	some ["summary_too_old", message] in _told(verdict)
	contains(message, "is not of the last 90 seconds: it gives none given as its time, and now it is")
}

# Where provenance is asked for, the same explains that one.
test_a_summary_may_stand_in_for_provenance if {
	given := object.union(fixture.summarised, {"slsa": object.union(fixture.building.slsa, {"minimum_level": 3})})
	not requirement.needs.summary with input as fixture.verified_elsewhere with data.params as given
	low := fixture.verified_as({"verified_levels": ["SLSA_BUILD_LEVEL_2"]})
	found := requirement.violation with input as low with data.params as given
	some [_, finding] in found
	finding.code == "summary_level_too_low"
	finding.requirement == "provenance"
	endswith(finding.message, "gives SLSA level 2, which does not meet the required level 3.")
}

# The summary as one of the platform, that names it.
_of_platform(change) := object.union_n([
	fixture.summary_attestation,
	{
		"id": "sha256:platform",
		"subject_digest": fixture.platform,
		"projection": {"summary": {"resource_uri": "ghcr.io/org/server@sha256:bb"}},
	},
	change,
])

_decided(attestations, platforms) := verdict if {
	verdict := data.signing.verdict with data.params as object.union(fixture.summarised, {"platforms": platforms})
		with input as object.union(fixture.for_platform, {"attestations": attestations})
}

test_a_summary_of_the_platform_that_is_judged if {
	every platforms in ["requested", "every"] {
		verdict := _decided([_of_platform({})], platforms)
		verdict.allow
		some {"digest": "sha256:bb", "requirement": "summary", "met": true} in verdict.coverage
	}
}

test_a_summary_of_the_index_does_not_speak_for_a_platform if {
	{code | some [code, _] in _told(_decided([fixture.summary_attestation], "requested"))} == {"summary_missing"}
	{code | some [code, _] in _told(_decided([fixture.summary_attestation], "every"))} == {"platform_lacks_requirement"}
}

# It speaks of both, and its resource is the index.
test_one_summary_of_several_digests if {
	both := [fixture.summary_attestation, object.union(fixture.summary_attestation, {"subject_digest": fixture.platform})]
	verdict := _decided(both, "every")
	{code | some [code, _] in _told(verdict)} == {"platform_lacks_requirement"}
}

_second := "sha256:cc"

# Each platform must have one, so that the first of them ends it; on one platform the last.
test_summaries_of_every_platform_end_with_the_first if {
	older := {"id": "sha256:older", "projection": {"summary": {"time_verified": "2026-05-28T12:00:00Z"}}}
	second := _of_platform(object.union(older, {
		"subject_digest": _second,
		"projection": {"summary": {"resource_uri": "ghcr.io/org/server"}},
	}))
	given := object.union(fixture.for_platform, {
		"subject": object.union(fixture.good.subject, {"platforms": [
			{"os": "linux", "architecture": "amd64", "variant": "", "digest": fixture.platform},
			{"os": "linux", "architecture": "arm64", "variant": "", "digest": _second},
		]}),
		"attestations": [_of_platform({}), second],
	})
	verdict := data.signing.verdict with input as given
		with data.params as object.union(fixture.summarised, {"platforms": "every"})
	verdict.allow
	verdict.valid_until == "2026-06-04T12:00:00Z"
	one := _decided([_of_platform({}), _of_platform(older)], "requested")
	one.valid_until == "2026-06-06T12:00:00Z"
}
