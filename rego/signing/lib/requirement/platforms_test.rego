package signing.lib.requirement_test

import data.signing.lib.fixture_test as fixture

_covered(digest, met) := {"digest": digest, "requirement": "signature", "met": met}

test_index_and_every_platform if {
	data.signing.verdict == object.union(fixture.allowed(["sha256:dev", "sha256:dev-platform"]), {"coverage": [
		_covered(fixture.index, true),
		_covered(fixture.platform, true),
	]}) with input as fixture.signed_recursively
		with data.params as fixture.of_every
}

_platform_not_signed := {
	"code": "platform_not_signed",
	"message": concat(" ", [
		"Platform linux/amd64 of image ghcr.io/org/server:v1 (sha256:bb)",
		"is itself signed by 0 of the 1 distinct trusted signers that this policy requires.",
	]),
	"remediation": concat(" ", [
		"Sign its manifest (cosign sign --recursive signs an index and every platform):",
		"cosign sign ghcr.io/org/server@sha256:bb",
	]),
	"rule": "signing.rules",
}

test_a_platform_is_not_signed if {
	data.signing.verdict == object.union(fixture.denied([_platform_not_signed]), {"coverage": [
		_covered(fixture.index, true),
		_covered(fixture.platform, false),
	]}) with input as fixture.good
		with data.params as fixture.of_every
}

test_the_requested_platform_is_not_signed if {
	data.signing.verdict == object.union(
		fixture.denied([_platform_not_signed]),
		{"coverage": [_covered(fixture.platform, false)]},
	) with input as fixture.for_platform
		with data.params as fixture.of_requested
}

test_the_requested_platform_is_signed if {
	signature := fixture.on_platform(fixture.good.signatures[0])
	given := object.union(fixture.for_platform, {"signatures": [signature]})
	data.signing.verdict == object.union(
		fixture.allowed(["sha256:dev-platform"]),
		{"coverage": [_covered(fixture.platform, true)]},
	) with input as given
		with data.params as fixture.of_requested
}

_not_requested(how) := {
	"code": "platform_not_requested",
	"message": sprintf(
		"This policy judges the platform that is asked for, and image ghcr.io/org/server:v1 was asked for %s.",
		[how],
	),
	"remediation": concat(" ", [
		"Ask for one platform by the name that the index has for it,",
		"for example --platform linux/amd64.",
	]),
	"rule": "signing.rules",
}

_several := _not_requested("as linux/arm, which several of its manifests are called")

test_no_platform_was_asked_for if {
	verdict := data.signing.verdict with input as fixture.good with data.params as fixture.of_requested
	verdict.violations == [_not_requested("as a whole")]
}

test_several_have_the_platforms_name if {
	several := object.union(fixture.good, {"request": {
		"image": "ghcr.io/org/server:v1",
		"context": {},
		"roles": [],
		"platform": "linux/arm",
	}})
	verdict := data.signing.verdict with input as several with data.params as fixture.of_requested
	verdict.violations == [_several]
}

# That it is not known what was asked for is never waived.
test_no_platform_is_never_waived if {
	exception := object.union(fixture.exception, {"codes": ["platform_not_requested", "unsigned"]})
	waived := object.union(fixture.of_requested, {"exceptions": [exception]})
	not data.signing.allow with input as fixture.good with data.params as waived
}

_provenance(digests) := object.union(fixture.signed_recursively, {"attestations": [
object.union(fixture.keyless("ci"), {"id": sprintf("sha256:att-%d", [i]), "subject_digest": digest}) |
	some i, digest in digests
]})

_needs := {
	"signature": {"sha256:dev"},
	"provenance": {"sha256:att-0", "sha256:att-1"},
}

# Requirements other than signatures are asked of each platform, and not of the index.
test_other_requirements_of_every_platform if {
	verdict := data.signing.verdict with input as _provenance([fixture.platform])
		with data.params as fixture.of_every
		with data.signing.lib.requirement.needs as _needs
	verdict.allow
	verdict.coverage == [
		_covered(fixture.index, true),
		{"digest": fixture.platform, "requirement": "provenance", "met": true},
		_covered(fixture.platform, true),
	]
}

test_other_requirements_that_only_the_index_meets if {
	verdict := data.signing.verdict with input as _provenance([fixture.index])
		with data.params as fixture.of_every
		with data.signing.lib.requirement.needs as _needs
	verdict.violations == [{
		"code": "platform_lacks_requirement",
		"message": concat(" ", [
			"Platform linux/amd64 of image ghcr.io/org/server:v1 (sha256:bb) does not meet the requirement provenance,",
			"which this policy asks of every platform.",
		]),
		"remediation": "Give its manifest what the requirement asks for; attest ghcr.io/org/server@sha256:bb.",
		"rule": "signing.rules",
	}]
}

test_groups_of_every_platform if {
	policy := object.union(fixture.of_every, {"groups": [{"name": "release", "signers": ["release"], "threshold": 1}]})
	principal := fixture.good.signatures[0].principal
	matches := array.concat(fixture.signed_recursively.matches, [
		fixture.group_match("release", [["release", principal]]),
		fixture.platform_match("group:release", [["release", principal]]),
	])
	given := object.union(fixture.signed_recursively, {"matches": matches})
	data.signing.allow with input as given with data.params as policy

	short := object.union(given, {"matches": array.slice(matches, 0, 3)})
	verdict := data.signing.verdict with input as short with data.params as policy
	verdict.violations == [_group_not_met(
		concat(" ", [
			"Platform linux/amd64 of image ghcr.io/org/server:v1 (sha256:bb) is signed by 0 of the 1 distinct signers",
			"of the group release that this policy requires.",
		]),
		"Have it signed by release: cosign sign ghcr.io/org/server@sha256:bb",
	)]
}
