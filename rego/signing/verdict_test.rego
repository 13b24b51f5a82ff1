package signing_test

import data.signing
import data.signing.lib.fixture_test as fixture

test_signed_by_a_trusted_signer if {
	signing.verdict == fixture.allowed(["sha256:dev"]) with input as fixture.good
		with data.params as fixture.params
}

# Threat 59: no evidence at all, and nothing but the default to go by.
test_no_evidence_at_all if {
	signing.verdict == fixture.denied([{
		"code": "unsigned",
		"message": "Image ghcr.io/org/server:v1 is not signed. Signature required.",
		"remediation": concat(" ", [
			"Sign it with an identity or key that this policy trusts, then ask again:",
			"cosign sign ghcr.io/org/server@sha256:aa",
		]),
		"rule": "signing.rules.unmet",
	}]) with input as fixture.nothing
		with data.params as fixture.params
}

_not_understood := fixture.denied([{
	"code": "input_not_understood",
	"message": "The input is not a document of the schema signet/input/v1, so nothing in it was believed.",
	"remediation": "Give this policy a document of the schema signet/input/v1, as signet facts prints it.",
	"rule": "signing.verdict",
}])

test_denies_by_default_without_input if {
	signing.verdict == _not_understood with data.params as fixture.params
}

test_denies_by_default_with_an_empty_input if {
	signing.verdict == _not_understood with input as {} with data.params as fixture.params
}

# A document that shows strangers' predicates is for people, and no fixture.
test_denies_a_document_with_strangers_predicates if {
	unmatched := object.union(fixture.good, {"schema": "signet/input/v1+unmatched"})
	signing.verdict == _not_understood with input as unmatched with data.params as fixture.params
}

test_denies_without_parameters if {
	signing.verdict == fixture.denied([{
		"code": "parameters_missing",
		"message": "The parameters of the policy are missing or have the wrong type, so it cannot know what to ask for.",
		"remediation": "Load the policy with parameters made from a signing policy (signet config check shows it).",
		"rule": "signing.rules",
	}]) with input as fixture.good
}

# Every list of evidence absent instead of empty: still a deny, and no error.
test_denies_when_lists_are_missing if {
	bare := object.remove(fixture.nothing, ["signatures", "attestations", "matches", "rejections", "trust", "search"])
	verdict := signing.verdict with input as bare with data.params as fixture.params
	verdict.allow == false
	[violation.code | some violation in verdict.violations] == ["no_trusted_signer"]
}

_finding(code) := {"code": code, "message": "m", "remediation": "r"}

_of(rule, code) := object.union(_finding(code), {"rule": rule})

test_rules_have_the_last_word if {
	objects := {"mine": {"violation": {_finding("objection")}}}
	verdict := signing.verdict with input as fixture.good
		with data.params as fixture.params
		with signing.rules as objects
	verdict.allow == false
	verdict.violations == [_of("signing.rules.mine", "objection")]
}

test_rules_that_find_nothing if {
	signing.verdict == fixture.allowed(["sha256:dev"]) with input as fixture.good
		with data.params as fixture.params
		with signing.rules as {"mine": {"violation": set(), "helper": {1}}, "other": {"helper": true}}
}

test_the_requirement_has_the_last_word_too if {
	not signing.allow with input as fixture.good
		with data.params as fixture.params
		with signing.lib.requirement.violation as {[0, {"code": "objection"}]}
}

# A violation without "contains" holds no findings. It denies.
test_a_violation_that_is_no_set_denies if {
	every malformed in [true, false, "text", [_finding("a")], {"key": _finding("a")}] {
		verdict := signing.verdict with input as fixture.good
			with data.params as fixture.params
			with signing.rules as {"mine": {"violation": malformed}}
		verdict.allow == false
		"rule_malformed" in {violation.code | some violation in verdict.violations}
	}
}

test_warnings_of_rules_inform if {
	remarks := {"mine": {"warning": {_finding("b"), _finding("a")}}, "also": {"warning": {_finding("c")}}}
	signing.verdict == object.union(fixture.allowed(["sha256:dev"]), {"warnings": [
		_of("signing.rules.also", "c"),
		_of("signing.rules.mine", "a"),
		_of("signing.rules.mine", "b"),
	]}) with input as fixture.good
		with data.params as fixture.params
		with signing.rules as remarks
}

# Violations come in the order in which a reader should see them, none lost.
test_violations_are_ordered if {
	required := {[20, {"code": "b"}], [3, {"code": "c"}], [20, {"code": "a"}]}
	objects := {"z": {"violation": {_finding("d")}}, "a": {"violation": {_finding("f"), _finding("e")}}}
	verdict := signing.verdict with input as fixture.good
		with data.params as fixture.params
		with signing.lib.requirement.violation as required
		with signing.rules as objects
	[violation.code | some violation in verdict.violations] == ["c", "a", "b", "e", "f", "d"]
}

test_an_exception_waives_the_requirement if {
	verdict := signing.verdict with input as fixture.nothing with data.params as fixture.excepted
	verdict == {
		"allow": true,
		"violations": [],
		"warnings": [{
			"code": "unsigned",
			"message": concat(" ", [
				"Image ghcr.io/org/server:v1 is not signed. Signature required.",
				"Waived by the exception default/exceptions/1 of platform until 2026-06-30T00:00:00Z:",
				"Signing begins with the next release.",
			]),
			"remediation": concat(" ", [
				"Sign it with an identity or key that this policy trusts, then ask again:",
				"cosign sign ghcr.io/org/server@sha256:aa",
			]),
			"rule": "signing.rules.unmet",
		}],
		"satisfied_by": [{"requirement": "signature", "exception": "default/exceptions/1"}],
		"slsa": {"level": 0, "builder": null},
		"exceptions": [{
			"name": "default/exceptions/1",
			"codes": ["unsigned"],
			"reason": "Signing begins with the next release.",
			"owner": "platform",
			"expires_at": "2026-06-30T00:00:00Z",
		}],
		"valid_until": "2026-06-30T00:00:00Z",
	}
}

test_an_exception_that_is_not_needed_is_not_named if {
	signing.verdict == fixture.allowed(["sha256:dev"]) with input as fixture.good
		with data.params as fixture.excepted
}

test_an_exception_that_ended_waives_nothing if {
	verdict := signing.verdict with input as fixture.nothing
		with data.params as fixture.excepted_until("2026-05-31T00:00:00Z")
	verdict.allow == false
	verdict.satisfied_by == []
	[violation.code | some violation in verdict.violations] == ["unsigned"]
	endswith(verdict.violations[0].remediation, "ended at 2026-05-31T00:00:00Z.)")
	object.get(verdict, "exceptions", null) == null
}

# A requirement of which only a part is waived is not met.
test_a_requirement_is_waived_as_a_whole if {
	required := {[10, _of("r", "unsigned")], [20, _of("r", "other")]}
	verdict := signing.verdict with input as fixture.nothing
		with data.params as fixture.excepted
		with signing.lib.requirement.violation as required
	verdict.allow == false
	verdict.satisfied_by == []
	[violation.code | some violation in verdict.violations] == ["other"]
	[warning.code | some warning in verdict.warnings] == ["unsigned"]
	verdict.valid_until == "2026-06-30T00:00:00Z"
}

# Nothing said against it is no waiver: the requirement is not met.
test_a_requirement_that_is_silent_is_not_waived if {
	not signing.allow with input as fixture.nothing
		with data.params as fixture.excepted
		with signing.lib.requirement.violation as set()
}

test_a_policy_that_requires_nothing_cannot_be_waived if {
	nothing := object.union(fixture.excepted, {"require_signature": false})
	not signing.allow with input as fixture.nothing with data.params as nothing
}

_excepted_until(ends, codes) := object.union(fixture.exception, {"name": ends, "codes": codes, "expires_at": ends})

test_an_exception_waives_what_a_rule_objects_to if {
	verdict := signing.verdict with input as fixture.good
		with data.params as object.union(fixture.params, {"exceptions": [
			_excepted_until("2026-06-30T00:00:00Z", ["a"]),
			_excepted_until("2026-06-20T00:00:00Z", ["b"]),
			_excepted_until("2026-06-10T00:00:00Z", ["c"]),
		]})
		with signing.rules as {"mine": {"violation": {_finding("a"), _finding("b")}}}
	verdict.allow == true
	verdict.satisfied_by == [{"requirement": "signature", "facts": ["sha256:dev"]}]
	[warning.code | some warning in verdict.warnings] == ["a", "b"]
	[exception.codes | some exception in verdict.exceptions] == [["a"], ["b"]]
	verdict.valid_until == "2026-06-20T00:00:00Z"
}

test_rules_add_requirements if {
	verdict := signing.verdict with input as fixture.good
		with data.params as fixture.params
		with signing.rules as {"mine": {"requirements": {"release": {"sha256:dev"}, "list": ["sha256:dev"]}}}
	verdict == object.union(fixture.allowed(["sha256:dev"]), {"satisfied_by": [
		{"requirement": "signature", "facts": ["sha256:dev"]},
		{"requirement": "list", "facts": ["sha256:dev"]},
		{"requirement": "release", "facts": ["sha256:dev"]},
	]})
}

test_a_requirement_of_a_rule_that_is_not_met_denies if {
	verdict := signing.verdict with input as fixture.good
		with data.params as fixture.params
		with signing.rules as {"mine": {"requirements": {"release": set()}}}
	verdict.allow == false
	verdict.violations == [{
		"code": "requirement_not_met",
		"message": "Nothing that is known of image ghcr.io/org/server:v1 meets the requirement release.",
		"remediation": "Give it what the rule signing.rules.mine asks for.",
		"rule": "signing.rules.mine",
	}]
}

_unmet := {"mine": {
	"requirements": {"release": set()},
	"violation": {object.union(_finding("no_release"), {"requirement": "release"})},
}}

test_a_rule_explains_its_own_requirement if {
	verdict := signing.verdict with input as fixture.good
		with data.params as fixture.params
		with signing.rules as _unmet
	verdict.allow == false
	verdict.violations == [_of("signing.rules.mine", "no_release")]
}

test_an_exception_waives_a_requirement_of_a_rule if {
	waiver := _excepted_until("2026-06-30T00:00:00Z", ["no_release"])
	verdict := signing.verdict with input as fixture.good
		with data.params as object.union(fixture.params, {"exceptions": [waiver]})
		with signing.rules as _unmet
	verdict.allow == true
	verdict.satisfied_by == [
		{"requirement": "signature", "facts": ["sha256:dev"]},
		{"requirement": "release", "exception": "2026-06-30T00:00:00Z"},
	]
}

# What is said of something else waives no requirement.
test_a_requirement_is_waived_by_its_own_code if {
	waiver := _excepted_until("2026-06-30T00:00:00Z", ["other"])
	verdict := signing.verdict with input as fixture.good
		with data.params as object.union(fixture.params, {"exceptions": [waiver]})
		with signing.rules as {"mine": {"requirements": {"release": set()}, "violation": {_finding("other")}}}
	verdict.allow == false
	[violation.code | some violation in verdict.violations] == ["requirement_not_met"]
	verdict.satisfied_by == [{"requirement": "signature", "facts": ["sha256:dev"]}]
}

test_malformed_requirements_deny if {
	every malformed in [
		true, {"release"}, {"release": true}, {"release": {1}}, {"release": "sha256:dev"},
		{"signature": {"sha256:dev"}}, {"": {"sha256:dev"}}, {"a": {"sha256:dev"}, "b": null},
	] {
		verdict := signing.verdict with input as fixture.good
			with data.params as fixture.params
			with signing.rules as {"mine": {"requirements": malformed}}
		verdict.allow == false
		[violation.code | some violation in verdict.violations] == ["requirement_malformed"]
	}
}

# A finding without a code can be waived by nothing, and stands.
test_a_finding_without_a_code_denies if {
	verdict := signing.verdict with input as fixture.good
		with data.params as fixture.excepted
		with signing.rules as {"mine": {"violation": {{"message": "m", "remediation": "r"}}}}
	verdict.allow == false
	verdict.violations == [{"message": "m", "remediation": "r", "rule": "signing.rules.mine"}]
}

_needs_provenance(ids) := {"signature": {"sha256:dev"}, "provenance": ids}

test_each_requirement_of_the_policy_is_met if {
	verdict := signing.verdict with input as fixture.good
		with data.params as fixture.params
		with signing.lib.requirement.needs as _needs_provenance({"sha256:built"})
	verdict.allow == true
	verdict.satisfied_by == [
		{"requirement": "provenance", "facts": ["sha256:built"]},
		{"requirement": "signature", "facts": ["sha256:dev"]},
	]
}

test_one_requirement_that_is_not_met_denies if {
	verdict := signing.verdict with input as fixture.good
		with data.params as fixture.params
		with signing.lib.requirement.needs as _needs_provenance(set())
	verdict.allow == false
	verdict.satisfied_by == [{"requirement": "signature", "facts": ["sha256:dev"]}]
	[violation.code | some violation in verdict.violations] == ["requirement_unexplained"]
}

test_a_silent_requirement_denies_whatever_is_said_of_it if {
	not signing.allow with input as fixture.good
		with data.params as fixture.params
		with signing.lib.requirement.needs as _needs_provenance(set())
		with signing.lib.requirement.violation as set()
}

# What is waived of one requirement waives no other.
test_requirements_are_waived_one_by_one if {
	said := {[10, object.union(_finding("unsigned"), {"requirement": "provenance"})]}
	verdict := signing.verdict with input as fixture.good
		with data.params as fixture.excepted
		with signing.lib.requirement.needs as {"signature": set(), "provenance": set()}
		with signing.lib.requirement.violation as said
	verdict.allow == false
	verdict.satisfied_by == [{"requirement": "provenance", "exception": "default/exceptions/1"}]
	[warning.code | some warning in verdict.warnings] == ["unsigned"]
}
