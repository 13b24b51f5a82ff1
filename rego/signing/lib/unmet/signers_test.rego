package signing.lib.unmet_test

import data.signing.lib.fixture_test as fixture

_dev := fixture.trusted(fixture.keyless("dev"), ["release"])

test_nobody_is_trusted if {
	given := object.union(fixture.signed([fixture.keyless("dev")], []), {"matches": []})
	data.signing.verdict == fixture.denied([{
		"code": "no_trusted_signer",
		"message": concat(" ", [
			"No trusted signer is in force for image ghcr.io/org/server:v1,",
			"so no signature of it can count.",
		]),
		"remediation": concat(" ", [
			"Say first whom you trust: signet signers add --issuer URL --subject IDENTITY,",
			"or signet signers add --key FILE",
		]),
		"rule": "signing.rules.unmet",
	}]) with input as given
		with data.params as fixture.params
}

test_nobody_is_trusted_by_a_policy_with_signers_of_its_own if {
	given := object.union(fixture.nothing, {"matches": []})
	own := object.union(fixture.params, {"registered_signers": false})
	verdict := data.signing.verdict with input as given with data.params as own
	_codes(verdict) == ["unsigned", "no_trusted_signer"]
	startswith(verdict.violations[1].remediation, "Look at trusted_signers of the signing policy")
}

test_signed_by_strangers if {
	signatures := [fixture.keyless("eve"), fixture.keyed("k1")]
	data.signing.verdict == fixture.denied([{
		"code": "signer_not_trusted",
		"message": concat(" ", [
			"Image ghcr.io/org/server:v1 is signed, but by nobody whom this policy trusts:",
			"eve@example.com (issuer https://accounts.example); key k1.",
		]),
		"remediation": concat(" ", [
			"If the signer is to be trusted, add it",
			"(signet signers add, or trusted_signers in the signing policy).",
		]),
		"rule": "signing.rules.unmet",
	}]) with input as fixture.signed(signatures, [])
		with data.params as fixture.params
}

_log_missing(who, remediation, id) := {
	"code": "transparency_log_missing",
	"message": sprintf(
		"The signature of image ghcr.io/org/server:v1 by %s has no verified transparency-log entry, %s",
		[who, "which this policy requires."],
	),
	"remediation": remediation,
	"rule": "signing.rules.unmet",
	"fact": id,
}

test_certificate_without_a_log_entry if {
	unlogged := object.union(_dev, {"transparency": []})
	data.signing.verdict == fixture.denied([_log_missing(
		"dev@example.com (issuer https://accounts.example)",
		"Sign again with the transparency log (cosign uses it unless told otherwise).",
		"sha256:dev",
	)]) with input as fixture.signed([unlogged], [])
		with data.params as fixture.params
}

test_key_without_a_log_entry if {
	key := fixture.trusted(fixture.keyed("k1"), ["key"])
	data.signing.verdict == fixture.denied([_log_missing(
		"key k1",
		concat(" ", [
			"Sign again with the transparency log, or set verify_transparency_log to false,",
			"which applies to keys only.",
		]),
		"sha256:k1",
	)]) with input as fixture.signed([key], [])
		with data.params as fixture.params
}

test_key_without_a_log_entry_where_the_policy_asks_for_none if {
	key := fixture.trusted(fixture.keyed("k1"), ["key"])
	lax := object.union(fixture.params, {"verify_transparency_log": false})
	data.signing.verdict == fixture.allowed(["sha256:k1"]) with input as fixture.signed([key], [["key", "k1"]])
		with data.params as lax
}

_wanting := object.union(fixture.params, {"trusted_sources": ["github.com/org"]})

_source_missing(what) := {
	"code": "source_not_trusted",
	"message": sprintf(
		"The signature of image ghcr.io/org/server:v1 by %s %s; trusted sources: github.com/org.",
		["dev@example.com (issuer https://accounts.example)", what],
	),
	"remediation": "Build from a trusted source, or add the repository to trusted_sources.",
	"rule": "signing.rules.unmet",
	"fact": "sha256:dev",
}

test_another_source if {
	elsewhere := object.union(_dev, {"signer": {"claims": {"source_repository_uri": "https://github.com/evil/app"}}})
	missing := _source_missing("was made for the source https://github.com/evil/app")
	data.signing.verdict == fixture.denied([missing]) with input as fixture.signed([elsewhere], [])
		with data.params as _wanting
}

test_no_source if {
	missing := _source_missing("names no source repository")
	data.signing.verdict == fixture.denied([missing]) with input as fixture.signed([_dev], [])
		with data.params as _wanting
}

test_trusted_source if {
	ours := object.union(_dev, {"signer": {"claims": {"source_repository_uri": "https://github.com/org/app"}}})
	data.signing.verdict == fixture.allowed(["sha256:dev"]) with input as fixture.signed(
		[ours],
		[["release", _dev.principal]],
	)
		with data.params as _wanting
}

_short_of(have, want) := {
	"code": "threshold_not_met",
	"message": sprintf(
		"Image ghcr.io/org/server:v1 is signed by %d of the %d distinct trusted signers that this policy requires.",
		[have, want],
	),
	"remediation": "Have it signed by more of the trusted signers, each with an identity or key of its own.",
	"rule": "signing.rules.unmet",
}

test_one_of_two if {
	strict := object.union(fixture.params, {"threshold": 2})
	data.signing.verdict == fixture.denied([_short_of(1, 2)]) with input as fixture.good
		with data.params as strict
}

# The count is of those that meet every condition, and each shortfall is named.
test_one_of_two_for_want_of_a_log_entry if {
	strict := object.union(fixture.params, {"threshold": 2})
	key := fixture.trusted(fixture.keyed("k1"), ["key"])
	given := fixture.signed([_dev, key], [["release", _dev.principal]])
	verdict := data.signing.verdict with input as given with data.params as strict
	_codes(verdict) == ["transparency_log_missing", "threshold_not_met"]
	verdict.violations[1] == _short_of(1, 2)
}

test_none_of_two_for_want_of_log_entries if {
	strict := object.union(fixture.params, {"threshold": 2})
	given := fixture.signed([object.union(_dev, {"transparency": []})], [])
	verdict := data.signing.verdict with input as given with data.params as strict
	_codes(verdict) == ["transparency_log_missing", "threshold_not_met"]
	verdict.violations[1] == _short_of(0, 2)
}

# An index of which one platform is signed is not signed as a whole.
test_only_a_platform_is_signed if {
	on_platform := object.union(_dev, {"subject_digest": fixture.platform})
	data.signing.verdict == fixture.denied([
		{
			"code": "index_not_signed",
			"message": concat(" ", [
				"Image ghcr.io/org/server:v1 is an index; signatures of single platforms, which it has,",
				"do not speak for the whole.",
			]),
			"remediation": concat(" ", [
				"Sign the index, or ask for one platform with --platform:",
				"cosign sign ghcr.io/org/server@sha256:aa",
			]),
			"rule": "signing.rules.unmet",
		},
		_short_of(0, 1),
	]) with input as fixture.signed([on_platform], [])
		with data.params as fixture.params
}

test_the_platform_that_was_asked_for_is_signed if {
	on_platform := object.union(_dev, {"subject_digest": fixture.platform})
	given := fixture.signed([on_platform], [["release", _dev.principal]])
	data.signing.verdict == fixture.allowed(["sha256:dev"]) with input as given with data.params as fixture.params
}
