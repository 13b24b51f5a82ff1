package signing.lib_test

import data.signing.lib
import data.signing.lib.fixture_test as fixture

test_a_summary_in_order_counts if {
	lib.summaries == {"sha256:verifier": 3} with input as fixture.verified_elsewhere with data.params as fixture.summarised
	ends := lib.summary_ends with input as fixture.verified_elsewhere with data.params as fixture.summarised
	{id: lib.moment(end) | some id, end in ends} == {"sha256:verifier": "2026-06-06T12:00:00Z"}
}

test_nothing_counts_that_nobody_wants if {
	lib.summaries == {} with input as fixture.verified_elsewhere with data.params as fixture.params
	lib.summaries == {} with input as fixture.good with data.params as fixture.summarised
}

# Each differs from the summary that counts in one way (threat 29).
_unwanted := [
	{"result": "FAILED"},
	{"result": "passed"},
	{"verified_levels": ["SLSA_BUILD_LEVEL_3", "FAILED"]},
	{"verified_levels": ["SLSA_BUILD_LEVEL_1"]},
	{"verified_levels": ["SLSA_BUILD_LEVEL_4"]},
	{"verified_levels": []},
	{"verifier_id": "https://verifier.example.evil"},
	{"verifier_id": ""},
	{"policy_uri": "https://verifier.example/policies/old"},
	{"policy_digest": "sha256:99"},
	{"policy_digest": ""},
	{"resource_uri": "ghcr.io/org/other"},
	{"resource_uri": "ghcr.io/org/server-evil"},
	{"resource_uri": "ghcr.io/org/server@sha256:cc"},
	{"resource_uri": "ghcr.io/org/server:v1"},
	{"resource_uri": "ghcr.io/ORG/server"},
	{"resource_uri": "sha256:cc"},
	{"resource_uri": ""},
	{"time_verified": "2026-05-25T11:59:59Z"},
	{"time_verified": "2026-06-01T12:05:01Z"},
	{"time_verified": null},
]

test_a_summary_that_differs_does_not_count if {
	every change in _unwanted {
		lib.summaries == {} with input as fixture.verified_as(change) with data.params as fixture.summarised
	}
}

_wanted := [
	{"resource_uri": "ghcr.io/org/server"},
	{"resource_uri": "sha256:aa"},
	{"time_verified": "2026-05-25T12:00:01Z"},
	{"time_verified": "2026-06-01T12:04:00Z"},
	{"verified_levels": ["SLSA_LEVEL_4", "MINE"]},
	{"verified_levels": ["SLSA_BUILD_LEVEL_2"]},
]

test_a_summary_in_other_words_counts if {
	every change in _wanted {
		count(lib.summaries) == 1 with input as fixture.verified_as(change) with data.params as fixture.summarised
	}
}

_differing := [
	{"trusted_signers": []},
	{"trusted_signers": ["release"]},
	{"subject_digest": fixture.platform},
	{"subject_digest": "sha256:cc"},
	{"signed_at": "2026-05-25T11:59:59Z"},
	{"transparency": []},
	{"projection": null},
	{"projection": {"kind": "sbom"}},
]

test_an_attestation_that_differs_does_not_count if {
	every change in _differing {
		given := fixture.attested_alone([object.union(fixture.summary_attestation, change)])
		lib.summaries == {} with input as given with data.params as fixture.summarised
	}
}

test_without_a_time_of_the_signature_the_other_counts if {
	given := fixture.attested_alone([object.union(fixture.summary_attestation, {"signed_at": null})])
	count(lib.summaries) == 1 with input as given with data.params as fixture.summarised
}

test_any_policy_where_none_is_wanted if {
	wanted := object.remove(fixture.wanted_summary, ["policy_uri", "policy_digest"])
	given := object.union(fixture.summarised, {"verification_summaries": [wanted]})
	count(lib.summaries) == 1 with input as fixture.verified_as({"policy_uri": ""}) with data.params as given
}

test_resources_allow_other_names if {
	given := fixture.summarised_with({"resources": ["staging.example/**"]})
	count(lib.summaries) == 1 with input as fixture.verified_as({"resource_uri": "staging.example/org/server@sha256:aa"})
		with data.params as given
	count(lib.summaries) == 0 with input as fixture.verified_as({"resource_uri": "staging.example/org/server@sha256:cc"})
		with data.params as given
	count(lib.summaries) == 0 with input as fixture.verified_as({"resource_uri": "other.example/org/server"})
		with data.params as given
}

test_summaries_stand_in_for_provenance_of_their_level if {
	given := fixture.summarised_with({"minimum_level": 0})
	lib.provenance_summaries(3) == {"sha256:verifier"} with input as fixture.verified_elsewhere with data.params as given
	lib.provenance_summaries(4) == set() with input as fixture.verified_elsewhere with data.params as given
	level_0 := fixture.verified_as({"verified_levels": ["SLSA_BUILD_LEVEL_0"]})
	lib.provenance_summaries(0) == set() with input as level_0 with data.params as given
	lib.summaries == {"sha256:verifier": 0} with input as level_0 with data.params as given
}

_out_of_order := [
	{"verifiers": []}, {"verifiers": [""]}, {"verifiers": "verifier"}, {"verifier_id": ""}, {"verifier_id": null},
	{"max_age": 0}, {"max_age": "7d"}, {"minimum_level": -1}, {"minimum_level": null}, {"resources": [7]},
	{"policy_uri": null}, {"policy_digest": 7},
]

test_each_field_of_an_entry_has_its_type if {
	lib.params == fixture.summarised with data.params as fixture.summarised
	every change in _out_of_order {
		not lib.params with data.params as fixture.summarised_with(change)
	}
	every field in ["verifiers", "verifier_id", "max_age", "minimum_level"] {
		entry := object.remove(fixture.wanted_summary, [field])
		not lib.params with data.params as object.union(fixture.params, {"verification_summaries": [entry]})
	}
	not lib.params with data.params as object.union(fixture.summarised, {"verification_summaries": {}})
}

# Summaries of these digests, whose resources name these.
_about(pairs) := [object.union(fixture.summary_attestation, {
	"id": sprintf("sha256:verifier-%s", [digest]),
	"subject_digest": digest,
	"projection": {"summary": {"resource_uri": sprintf("ghcr.io/org/server@%s", [named])}},
}) |
	some [digest, named] in pairs
]

_summaries(pairs, params) := ids if {
	ids := object.keys(lib.summaries) with data.params as object.union(fixture.summarised, params)
		with input as object.union(fixture.for_platform, {"attestations": _about(pairs)})
}

test_a_summary_counts_for_a_digest_that_was_asked_for if {
	index := [fixture.index, fixture.index]
	platform := [fixture.platform, fixture.platform]
	_summaries([index, platform], {"platforms": "requested"}) == {"sha256:verifier-sha256:bb"}
	_summaries([index, platform], {"platforms": "index"}) == {"sha256:verifier-sha256:aa"}
	every asked in [{}, {"platforms": "every"}] {
		_summaries([index, platform], asked) == {"sha256:verifier-sha256:aa", "sha256:verifier-sha256:bb"}
	}
}

test_the_resource_of_a_summary_has_its_digest if {
	swapped := [[fixture.index, fixture.platform], [fixture.platform, fixture.index]]
	every platforms in ["requested", "index", "every"] {
		_summaries(swapped, {"platforms": platforms}) == set()
	}
}
