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
