package signing.lib_test

import data.signing.lib
import data.signing.lib.fixture_test as fixture

_alice := fixture.trusted(fixture.keyless("alice"), ["a"])

_bob := fixture.trusted(fixture.keyless("bob"), ["b"])

_two := fixture.signed([_alice, _bob], [["a", _alice.principal], ["b", _bob.principal]])

_threshold(n) := object.union(fixture.params, {"threshold": n})

test_two_of_two if {
	lib.signature_requirement_met with input as _two with data.params as _threshold(2)
}

test_two_of_three if {
	not lib.signature_requirement_met with input as _two with data.params as _threshold(3)
}

test_nothing_required_is_not_met if {
	lax := object.union(fixture.params, {"require_signature": false})
	not lib.signature_requirement_met with input as _two with data.params as lax
}

test_both_facts_are_named if {
	lib.satisfying_facts == ["sha256:alice", "sha256:bob"] with input as _two
		with data.params as _threshold(2)
}

# Threat 21: one principal twice in the assignment counts once.
test_one_principal_twice if {
	twice := fixture.signed(
		[fixture.trusted(fixture.keyless("alice"), ["a", "b"])],
		[["a", _alice.principal], ["b", _alice.principal]],
	)
	not lib.signature_requirement_met with input as twice with data.params as _threshold(2)
}

# Threat 21: one signer entry for two principals is no one-to-one assignment.
test_one_signer_twice if {
	twice := fixture.signed(
		[_alice, fixture.trusted(fixture.keyless("bob"), ["a"])],
		[["a", _alice.principal], ["a", _bob.principal]],
	)
	not lib.assignment with input as twice
	not lib.signature_requirement_met with input as twice with data.params as _threshold(1)
}

# The assignment alone is not believed: its principals must have signatures that
# count.
test_assignment_without_signatures if {
	claimed := fixture.signed([], [["a", _alice.principal], ["b", _bob.principal]])
	not lib.signature_requirement_met with input as claimed with data.params as _threshold(1)
}

test_assignment_of_a_signature_that_does_not_match if {
	claimed := fixture.signed([fixture.keyless("alice")], [["a", _alice.principal]])
	not lib.signature_requirement_met with input as claimed with data.params as _threshold(1)
}

test_assignment_of_a_signature_of_another_image if {
	elsewhere := object.union(_alice, {"subject_digest": "sha256:cc"})
	not lib.signature_requirement_met with input as fixture.signed([elsewhere], [["a", _alice.principal]])
		with data.params as _threshold(1)
}

# Nor do signatures count that the assignment leaves out: a platform's signature
# does not speak for an index, which only the assignment knows.
test_signatures_without_an_assignment if {
	not lib.signature_requirement_met with input as fixture.signed([_alice], [])
		with data.params as _threshold(1)
}

test_an_assignment_that_miscounts if {
	wrong := object.union(_two, {"matches": [object.union(_two.matches[0], {"count": 3})]})
	not lib.assignment with input as wrong
}

test_two_assignments_are_none if {
	wrong := object.union(_two, {"matches": array.concat(_two.matches, _two.matches)})
	not lib.assignment with input as wrong
}

test_assignments_of_other_requirements_are_ignored if {
	other := {"requirement": "provenance", "signers": ["a"], "principals": ["p"], "count": 1}
	lib.assignment == _two.matches[0] with input as object.union(_two, {"matches": [other, _two.matches[0]]})
}

# A threshold counts only signatures that satisfy every condition: Bob's without
# its log entry is none.
test_threshold_counts_what_meets_every_condition if {
	unlogged := object.union(_bob, {"transparency": []})
	some_in := fixture.signed([_alice, unlogged], [["a", _alice.principal], ["b", _bob.principal]])
	not lib.signature_requirement_met with input as some_in with data.params as _threshold(2)
	lib.satisfying_facts == ["sha256:alice"] with input as some_in with data.params as _threshold(1)
}

test_facts_on_the_subject_come_before_those_on_a_platform if {
	on_platform := object.union(_alice, {"id": "sha256:platform", "subject_digest": fixture.platform})
	both := fixture.signed([on_platform, _alice], [["a", _alice.principal]])
	lib.satisfying_facts == ["sha256:alice"] with input as both with data.params as _threshold(1)
	only := fixture.signed([on_platform], [["a", _alice.principal]])
	lib.satisfying_facts == ["sha256:platform"] with input as only with data.params as _threshold(1)
}
