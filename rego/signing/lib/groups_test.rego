package signing.lib_test

import data.signing.lib
import data.signing.lib.fixture_test as fixture

_release := fixture.grouped.groups[0]

_security := fixture.grouped.groups[1]

test_groups_are_signed if {
	lib.group_signed(_release, "") with input as fixture.signed_by_groups with data.params as fixture.grouped
	lib.group_signed(_security, "") with input as fixture.signed_by_groups with data.params as fixture.grouped
}

# Threat 21: whom the assignments place twice counts for neither group.
test_one_principal_for_two_groups if {
	both := fixture.in_groups([object.union(fixture.build, {"trusted_signers": ["build", "s1"]}), fixture.logged_key], [
		fixture.group_match("release", [["build", fixture.build.principal]]),
		fixture.group_match("security", [["s1", fixture.build.principal], ["s2", fixture.s2.principal]]),
	])
	not lib.group_signed(_release, "") with input as both with data.params as fixture.grouped
	not lib.group_signed(_security, "") with input as both with data.params as fixture.grouped
}

test_one_principal_twice_in_a_group if {
	twice := fixture.in_groups([object.union(fixture.s1, {"trusted_signers": ["s1", "s2"]})], [
		fixture.group_match("release", []),
		fixture.group_match("security", [["s1", fixture.s1.principal], ["s2", fixture.s1.principal]]),
	])
	not lib.group_signed(_security, "") with input as twice with data.params as fixture.grouped
}

# An assignment to a signer of no group, or of another, is not believed.
test_a_signer_of_another_group if {
	wrong := fixture.in_groups([fixture.s1], [fixture.group_match("release", [["s1", fixture.s1.principal]])])
	not lib.group_signed(_release, "") with input as wrong with data.params as fixture.grouped
}

test_groups_without_an_assignment if {
	not lib.group_signed(_release, "") with input as fixture.good with data.params as fixture.grouped
}

_group := {"name": "a", "signers": ["x"], "threshold": 1}

test_groups_have_their_types if {
	every groups in [
		null,
		{"a": _group},
		["a"],
		[_group, _group],
		[object.union(_group, {"name": ""})],
		[object.union(_group, {"name": 1})],
		[object.union(_group, {"signers": []})],
		[object.union(_group, {"signers": "x"})],
		[object.union(_group, {"signers": ["x", ""]})],
		[object.union(_group, {"signers": [1]})],
		[object.union(_group, {"threshold": 0})],
		[object.union(_group, {"threshold": 2})],
		[object.union(_group, {"threshold": "1"})],
		[object.remove(_group, ["threshold"])],
	] {
		not lib.params with data.params as object.union(fixture.params, {"groups": groups})
	}
	lib.params with data.params as object.union(fixture.params, {"groups": [_group]})
}

test_platforms_have_their_values if {
	every mode in ["index", "requested", "every"] {
		lib.params with data.params as object.union(fixture.params, {"platforms": mode})
	}
	every mode in ["", "all", null, true, ["every"]] {
		not lib.params with data.params as object.union(fixture.params, {"platforms": mode})
	}
}
