package signing.lib.attested_test

import data.signing.lib.fixture_test as fixture

_met(facts) := [{"requirement": "attestation/spdx", "facts": facts}]

_codes contains violation.code if some violation in data.signing.verdict.violations

test_attestation_meets if {
	a := fixture.sbom([])
	data.signing.verdict.satisfied_by == _met([a.id]) with input as fixture.attested([a])
		with data.params as fixture.attesting([{}])
	data.signing.verdict.allow with input as fixture.attested([a]) with data.params as fixture.attesting([{}])
}

test_validity_ends_with_the_attestation if {
	data.signing.verdict.valid_until == "2026-06-02T10:00:00Z"
		with input as fixture.attested([fixture.sbom([])])
		with data.params as fixture.attesting([{"max_age": 86400}])
}

test_validity_of_two_ends_with_the_first if {
	older := object.union(fixture.trusted(fixture.sbom([]), ["other"]), {
		"id": "sha256:02",
		"principal": "p2", "signed_at": "2026-06-01T09:00:00Z",
	})
	data.signing.verdict.valid_until == "2026-06-02T09:00:00Z"
		with input as fixture.attested([fixture.sbom([]), older])
		with data.params as fixture.attesting([{"max_age": 86400, "count": 2}])
}

test_platform_is_named if {
	wanted := fixture.attesting([{"subjects": "every"}])
	[violation] := data.signing.verdict.violations
		with input as fixture.attested_by_platform([fixture.sbom([])])
		with data.params as wanted
	violation.message == concat(" ", [
		"Platform linux/amd64 of image ghcr.io/org/server:v1 has no attestation of the type spdx;",
		"one signed by a trusted signer is required.",
		"There are some about other parts of the image, which do not speak for it.",
	])
}

test_platform_has_its_own if {
	a := object.union(fixture.sbom([]), {"subject_digest": fixture.platform})
	data.signing.verdict.allow with input as fixture.attested_by_platform([a])
		with data.params as fixture.attesting([{"subjects": "every"}])
}

test_one_of_two_platforms_is_not_every if {
	a := object.union(fixture.sbom([]), {"subject_digest": fixture.platform})
	both := array.concat(fixture.attested_by_platform([]).matches, fixture.attested([]).matches)
	given := object.union(fixture.attested_by_platform([a]), {"matches": both})
	_codes == {"attestation_missing"} with input as given
		with data.params as fixture.attesting([{"subjects": "every"}])
}

test_no_match_at_all if {
	_codes == {"attestation_no_signer"} with input as fixture.nothing
		with data.params as fixture.attesting([{}])
}

test_rejected_evidence_is_said if {
	given := object.union(fixture.attested([]), {"rejections": [fixture.rejection(
		"no_matching_key",
		"no key.",
	)]})
	[violation] := data.signing.verdict.violations with input as given
		with data.params as fixture.attesting([{}])
	contains(violation.message, "Not verified: no_matching_key (no key).")
}

test_signers_are_named if {
	[violation] := data.signing.verdict.violations with input as fixture.attested([])
		with data.params as fixture.attesting([{"signers": ["a", "b"]}])
	contains(violation.message, "one signed by a or b is required")
}

test_without_a_name if {
	given := object.union(fixture.attested([]), {"subject": {"registry": "", "repository": ""}})
	[violation] := data.signing.verdict.violations with input as given
		with data.params as fixture.attesting([{}])
	endswith(violation.remediation, "FILE IMAGE")
}

test_three_are_counted_by_the_assignment if {
	list := [object.union(fixture.trusted(fixture.sbom([]), [name]), {
		"id": name,
		"principal": name,
	}) |
		some name in ["a", "b", "c"]
	]
	match := object.union(fixture.match, {
		"signers": ["a", "b", "c"], "principals": ["a", "b", "c"],
		"count": 3,
	})
	given := object.union(fixture.attested(list), {"matches": [match]})
	wanted := fixture.attesting([{"count": 3}])
	data.signing.verdict.allow with input as given with data.params as wanted

	# Rego looks again: a match that the facts do not bear out is none.
	two := object.union(given, {"attestations": array.slice(list, 0, 2)})
	_codes == {"attestation_count_not_met"} with input as two with data.params as wanted
}

test_three_are_not_judged if {
	list := [object.union(fixture.trusted(fixture.sbom([]), [name]), {
		"id": name,
		"principal": name,
	}) |
		some name in ["a", "b", "c"]
	]
	match := object.union(fixture.match, {
		"signers": ["a", "b", "c"], "principals": ["a", "b", "c"],
		"count": 3,
	})
	given := object.union(fixture.attested(list), {"matches": [match]})
	wanted := object.union(
		fixture.attesting([{"count": 3}]),
		{"contents": {"licences": {"denied": ["X"], "unstated": "deny"}}},
	)
	not data.signing.verdict.allow with input as given with data.params as wanted
}

test_an_exception_excuses if {
	exception := object.union(fixture.exception, {"codes": ["attestation_missing"]})
	wanted := object.union(fixture.attesting([{}]), {"exceptions": [exception]})
	data.signing.verdict.satisfied_by == [{"requirement": "attestation/spdx", "exception": exception.name}]
		with input as fixture.attested([])
		with data.params as wanted
}

test_explained_in_words_of_age if {
	every case in {
		"unknown": [
			object.union(fixture.sbom([]), {"signed_at": null}), {"max_age": 60},
			"has no verified time of signing",
		],
		"future": [
			object.union(fixture.sbom([]), {
				"signed_at": null,
				"projection": {"made_at": "2027-01-01T00:00:00Z"},
			}),
			{"max_age": 60, "from": "made_at"},
			"says that it was made in the future, at 2027-01-01T00:00:00Z",
		],
		"made": [
			fixture.sbom([]), {"max_age": 60, "from": "made_at"},
			"was made at 2026-06-01T09:00:00Z, 3 hours ago; at most 60 seconds are allowed",
		],
	} {
		[violation] := data.signing.verdict.violations with input as fixture.attested([case[0]])
			with data.params as fixture.attesting([case[1]])
		contains(violation.message, case[2])
	}
}

test_source_of_an_attestation if {
	sourced := object.union(fixture.attesting([{}]), {"trusted_sources": ["github.com/org"]})
	[violation] := data.signing.verdict.violations with input as fixture.attested([fixture.sbom([])])
		with data.params as sourced
	contains(violation.message, "was not made for a trusted source")
}

test_malformed_parameters if {
	every broken in {
		"count": {"attestations": [object.union(fixture.attesting([{}]).attestations[0], {"count": 0})]},
		"types": {"attestations": [object.union(fixture.attesting([{}]).attestations[0], {"types": []})]},
		"age": {"attestations": [object.union(fixture.attesting([{}]).attestations[0], {"max_age": "7d"})]},
		"topic": {"contents": {"colours": {}}},
		"severity": {"contents": {"vulnerabilities": {
			"maximum_severity": "some",
			"unknown_severity": "deny", "unfixed": "deny",
		}}},
		"licences": {"contents": {"licences": {"unstated": "deny"}}},
		"tests": {"contents": {"tests": {"result": "OK"}}},
		"base": {"contents": {"base_images": {"allowed": []}}},
	} {
		"parameters_missing" in _codes with input as fixture.good
			with data.params as object.union(fixture.params, broken)
	}
}

test_well_formed_parameters if {
	given := object.union(fixture.params, {"contents": {
		"vulnerabilities": {
			"maximum_severity": "low", "unknown_severity": "deny", "unfixed": "deny",
			"vex": {"max_age": 60},
		},
		"base_images": {"allowed": ["a/b"]},
		"tests": {"result": "PASSED", "passed": ["unit"]},
	}})
	data.signing.lib.contents_in_order(given.contents)
}
