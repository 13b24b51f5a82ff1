package signing.lib.requirement_test

import data.signing.lib.fixture_test as fixture

_group_not_met(message, remediation) := {
	"code": "group_not_met",
	"message": message,
	"remediation": remediation,
	"rule": "signing.rules",
}

test_both_groups_signed if {
	data.signing.verdict == object.union(fixture.allowed(["sha256:build", "sha256:s1", "sha256:s2"]), {"satisfied_by": [
		{"requirement": "group:release", "facts": ["sha256:build"]},
		{"requirement": "group:security", "facts": ["sha256:s1", "sha256:s2"]},
		{"requirement": "signature", "facts": ["sha256:build", "sha256:s1", "sha256:s2"]},
	]}) with input as fixture.signed_by_groups
		with data.params as fixture.grouped
}

test_one_of_two_of_a_group if {
	given := fixture.in_groups([fixture.build, fixture.s1], [
		fixture.group_match("release", [["build", fixture.build.principal]]),
		fixture.group_match("security", [["s1", fixture.s1.principal]]),
	])
	verdict := data.signing.verdict with input as given with data.params as fixture.grouped
	verdict.violations == [_group_not_met(
		concat(" ", [
			"Image ghcr.io/org/server:v1 is signed by 1 of the 2 distinct signers of the group security that this policy",
			"requires: s1@example.com (issuer https://accounts.example) signed.",
		]),
		"Have it signed by s2 or s3: cosign sign ghcr.io/org/server@sha256:aa",
	)]
}

# Who signs for one group is named where another one misses them.
test_who_counts_for_another_group if {
	lead := object.union(fixture.build, {"trusted_signers": ["build", "s1"]})
	given := fixture.in_groups([lead], [
		fixture.group_match("release", [["build", lead.principal]]),
		fixture.group_match("security", []),
	])
	verdict := data.signing.verdict with input as given with data.params as fixture.grouped
	verdict.violations == [_group_not_met(
		concat(" ", [
			"Image ghcr.io/org/server:v1 is signed by 0 of the 2 distinct signers of the group security that this policy",
			"requires: build@example.com (issuer https://accounts.example) counts for the group release already.",
		]),
		"Have it signed by s1 or s2 or s3: cosign sign ghcr.io/org/server@sha256:aa",
	)]
}

test_every_group_says_what_it_misses if {
	verdict := data.signing.verdict with input as fixture.nothing with data.params as fixture.grouped
	[violation.code | some violation in verdict.violations] == [
		"unsigned",
		"group_not_met",
		"group_not_met",
	]
}

# A waiver of the group's code is none of the signature's.
test_a_group_is_waived if {
	exception := object.union(fixture.exception, {"codes": ["group_not_met"]})
	waived := object.union(fixture.grouped, {"exceptions": [exception]})
	verdict := data.signing.verdict with input as fixture.good with data.params as waived
	verdict.allow
	verdict.satisfied_by == [
		{"requirement": "signature", "facts": ["sha256:dev"]},
		{"requirement": "group:release", "exception": exception.name},
		{"requirement": "group:security", "exception": exception.name},
	]
	not data.signing.allow with input as fixture.nothing with data.params as waived
}
