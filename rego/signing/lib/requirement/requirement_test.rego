package signing.lib.requirement_test

import data.signing.lib.fixture_test as fixture

test_policy_that_requires_nothing_denies if {
	lax := object.union(fixture.params, {"require_signature": false})
	data.signing.verdict == fixture.denied([{
		"code": "no_requirement",
		"message": "The policy requires nothing, so there is nothing that an image could satisfy.",
		"remediation": "Set require_signature to true; to block nothing, set the mode to audit or disabled.",
		"rule": "signing.rules",
	}]) with input as fixture.good
		with data.params as lax
}

_warning(who, why, id) := {
	"code": "root_without_log",
	"message": sprintf(
		"The signature of image ghcr.io/org/server:v1 by %s counts without a log entry: %s.",
		[who, why],
	),
	"remediation": "Use a trust root with a transparency log where you can.",
	"rule": "signing.rules",
	"fact": id,
}

_private := {"trust": [{"name": "private", "digest": "sha256:01", "age": 0, "transparency_log": false}]}

test_root_without_a_log_is_said if {
	signature := object.union(
		fixture.trusted(fixture.keyless("dev"), ["release"]),
		{"trust_root": "private", "transparency": []},
	)
	given := object.union(fixture.signed([signature], [["release", signature.principal]]), _private)
	data.signing.verdict == object.union(fixture.allowed(["sha256:dev"]), {"warnings": [_warning(
		"dev@example.com (issuer https://accounts.example)",
		"its trust root private has no log",
		"sha256:dev",
	)]}) with input as given
		with data.params as fixture.params
}

test_key_under_roots_without_a_log_is_said if {
	signature := fixture.trusted(fixture.keyed("k1"), ["key"])
	given := object.union(fixture.signed([signature], [["key", "k1"]]), _private)
	data.signing.verdict == object.union(
		fixture.allowed(["sha256:k1"]),
		{"warnings": [_warning("key k1", "no trust root in use has a log", "sha256:k1")]},
	) with input as given
		with data.params as fixture.params
}
