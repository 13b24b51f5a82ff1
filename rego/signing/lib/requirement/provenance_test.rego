package signing.lib.requirement_test

import data.signing.lib.fixture_test as fixture

_denied(violations, slsa) := object.union(fixture.denied(violations), {"slsa": slsa})

_allowed(id, warnings) := {
	"allow": true,
	"violations": [],
	"warnings": warnings,
	"satisfied_by": [{"requirement": "provenance", "facts": [id]}],
	"slsa": {"level": 3, "builder": fixture.workflow},
}

_none := {"level": 0, "builder": null}

_about(id, code, message, remediation) := {
	"code": code,
	"message": message,
	"remediation": remediation,
	"rule": "signing.rules.provenance",
	"fact": id,
}

test_provenance_of_a_trusted_source if {
	data.signing.verdict == _allowed("sha256:built", []) with input as fixture.built
		with data.params as fixture.building_of
}

test_provenance_of_any_source_is_said if {
	verdict := data.signing.verdict with input as fixture.built with data.params as fixture.building
	verdict == _allowed("sha256:built", [_about(
		"sha256:built",
		"any_source",
		concat(" ", [
			sprintf("The builder %s builds for everybody, and this policy names no sources:", [fixture.workflow]),
			"image ghcr.io/org/server:v1 was built of https://github.com/org/server at refs/tags/v1, and any other source",
			"would do.",
		]),
		"Name the sources that are yours in slsa.trusted_sources of the signing policy.",
	)])
}

test_signature_and_provenance if {
	given := object.union(fixture.good, {"attestations": fixture.built.attestations})
	both := object.union(fixture.building_of, {"require_signature": true})
	verdict := data.signing.verdict with input as given with data.params as both
	verdict.satisfied_by == [
		{"requirement": "provenance", "facts": ["sha256:built"]},
		{"requirement": "signature", "facts": ["sha256:dev"]},
	]
	verdict.allow

	unsigned := data.signing.verdict with input as fixture.built with data.params as both
	[violation.code | some violation in unsigned.violations] == ["unsigned"]
	not unsigned.allow

	unbuilt := data.signing.verdict with input as fixture.good with data.params as both
	[violation.code | some violation in unbuilt.violations] == ["provenance_missing"]
	not unbuilt.allow
}

_begin := concat(" ", [
	"Build it with a builder that this policy trusts (https://github.com/slsa-framework/slsa-github-generator) and attach",
	"what it attests to the image: on GitHub, actions/attest-build-provenance with push-to-registry, or",
	"slsa-github-generator. The page on builder profiles lists the builders, and what each proves.",
])

test_no_provenance if {
	data.signing.verdict == fixture.denied([{
		"code": "provenance_missing",
		"message": "Image ghcr.io/org/server:v1 has no SLSA provenance. Provenance required.",
		"remediation": _begin,
		"rule": "signing.rules.provenance",
	}]) with input as fixture.nothing
		with data.params as fixture.building
}

test_rejected_provenance if {
	rejected := [
		fixture.rejection("subject_mismatch", "signed for another digest."),
		fixture.rejection("no_signature", "a file"),
	]
	verdict := data.signing.verdict with input as object.union(fixture.nothing, {"rejections": rejected})
		with data.params as fixture.building
	[violation.message | some violation in verdict.violations] == [concat(" ", [
		"Image ghcr.io/org/server:v1 has no SLSA provenance that verifies (rejected: subject_mismatch, signed for another",
		"digest). Provenance required.",
	])]
}

# What could not be seen is not called missing.
test_no_provenance_in_an_incomplete_search if {
	verdict := data.signing.verdict with input as object.union(fixture.nothing, {"search": {"complete": false}})
		with data.params as fixture.building
	[violation.code | some violation in verdict.violations] == ["requirement_unexplained"]
	not verdict.allow
}

# An attestation of another type, and provenance of another image, are none.
test_attestation_that_is_no_provenance if {
	one := fixture.provenance("sbom", {})
	others := fixture.attested_alone([
		object.remove(one, ["build"]),
		object.union(one, {"build": null}),
		object.union(one, {"subject_digest": "sha256:ff"}),
	])
	verdict := data.signing.verdict with input as others with data.params as fixture.building
	[violation.code | some violation in verdict.violations] == ["provenance_missing"]
}

test_contradiction if {
	data.signing.verdict == _denied(
		[_about(
			"sha256:lie",
			"provenance_contradicts",
			concat(" ", [
				"The provenance of image ghcr.io/org/server:v1 says otherwise than the certificate that signed it: source.uri is",
				"\"https://github.com/eve/server\" in the certificate and \"https://github.com/org/server\" in the predicate.",
			]),
			concat(" ", [
				"Do not run the image before it is clear who built it: the certificate was given to the signer by its issuer,",
				"the predicate is what the signer wrote.",
			]),
		)],
		{"level": 0, "builder": null, "missing": {"1": ["the predicate says otherwise than the certificate"]}},
	) with input as fixture.contradicted
		with data.params as fixture.building
}

# Bad evidence beside good spoils nothing, and is told.
test_contradiction_beside_what_counts if {
	verdict := data.signing.verdict with input as fixture.doubtful with data.params as fixture.building_of
	verdict.allow
	[warning.code | some warning in verdict.warnings] == ["provenance_doubtful"]
}

test_untrusted_builder if {
	why := "the builder https://github.com/eve/x@refs/tags/v1 is not github.com/slsa-framework/slsa-github-generator"
	data.signing.verdict == _denied(
		[_about(
			"sha256:by",
			"builder_not_trusted",
			concat(" ", [
				"Image ghcr.io/org/server:v1 has provenance, but by no builder that this policy trusts (builder",
				sprintf("https://github.com/eve/x@refs/tags/v1, source https://github.com/org/server at refs/tags/v1): %s.", [why]),
			]),
			"If you trust it, add it to slsa.trusted_builders in the signing policy: - \"https://github.com/eve/x\"",
		)],
		{"level": 0, "builder": null, "missing": {"1": [why]}},
	) with input as fixture.built_by("https://github.com/eve/x@refs/tags/v1")
		with data.params as fixture.building
}

test_builder_that_nobody_vouches_for if {
	given := fixture.attested_alone([fixture.provenance("key", {
		"builder": "",
		"level": 1,
		"source": {"repository": "", "ref": "", "digest": ""},
		"missing": {"2": ["the signer k1 is not registered as one of the builder tekton-chains"]},
		"trusted_builder": null,
		"untrusted": ["nobody vouches for a builder"],
	})])
	verdict := data.signing.verdict with input as given with data.params as fixture.building
	[violation.message | some violation in verdict.violations] == [concat(" ", [
		"Image ghcr.io/org/server:v1 has provenance, but by no builder that this policy trusts (builder unknown, source",
		"unknown): the signer k1 is not registered as one of the builder tekton-chains.",
	])]
	contains(verdict.violations[0].remediation, "{builder: ADDRESS, signers: [NAME]}")
}

# A trusted builder of another policy is none of this one.
test_builder_that_this_policy_does_not_name if {
	source := {"repository": "https://github.com/org/server", "ref": "", "digest": ""}
	given := fixture.attested_alone([fixture.provenance("built", {"source": source})])
	verdict := data.signing.verdict with input as given
		with data.params as fixture.building_with({"trusted_builders": [{"builder": "https://github.com/org/other"}]})
	not verdict.allow
	[violation.code | some violation in verdict.violations] == ["builder_not_trusted"]
}

test_untrusted_source if {
	data.signing.verdict == _denied(
		[_about(
			"sha256:of",
			"build_source_not_trusted",
			concat(" ", [
				sprintf("Image ghcr.io/org/server:v1 was built by the trusted builder %s,", [fixture.workflow]),
				"of a source that this policy does not trust: the source https://github.com/eve/x is not github.com/org.",
			]),
			concat(" ", [
				"Build it from a trusted source, or add the repository to slsa.trusted_sources in the signing policy;",
				"a pull request counts only by a pattern of its ref.",
			]),
		)],
		{
			"level": 0,
			"builder": null,
			"missing": {"1": ["the source https://github.com/eve/x is not github.com/org"]},
		},
	) with input as fixture.built_of("https://github.com/eve/x")
		with data.params as fixture.building_of
}

test_source_without_a_reason if {
	given := fixture.attested_alone([fixture.provenance("of", {
		"source": {"repository": "https://github.com/eve/x", "ref": "", "digest": ""},
		"trusted_source": null,
	})])
	verdict := data.signing.verdict with input as given with data.params as fixture.building_of
	not verdict.allow
	[violation.code | some violation in verdict.violations] == ["build_source_not_trusted"]
}

test_unlogged_provenance if {
	verdict := data.signing.verdict with input as fixture.built_unlogged with data.params as fixture.building_of
	[[violation.code, violation.message] | some violation in verdict.violations] == [[
		"provenance_log_missing",
		concat(" ", [
			sprintf("The provenance of image ghcr.io/org/server:v1 by the trusted builder %s has", [fixture.workflow]),
			"no verified transparency-log entry, which this policy requires.",
		]),
	]]
	verdict.slsa.missing == {"1": ["it has no verified transparency-log entry"]}
}

_self_hosted := concat(" ", [
	"SLSA level 1 does not meet the required level 2. Image ghcr.io/org/server:v1,",
	sprintf("builder %s, source https://github.com/org/server at refs/tags/v1.", [fixture.workflow]),
	"Level 2 lacks: the runner was self-hosted, not github-hosted. Level 3 lacks: the workflow is referenced by the",
	"branch \"main\", which can move; the builder claims no more.",
])

test_level_too_low if {
	data.signing.verdict == _denied(
		[_about(
			"sha256:self",
			"slsa_level_too_low",
			_self_hosted,
			concat(" ", [
				"Build it with a builder that proves the level (the page on builder profiles says which do), or mend what is",
				"lacking.",
			]),
		)],
		{
			"level": 1,
			"builder": fixture.workflow,
			"missing": fixture.self_hosted.attestations[0].build.missing,
		},
	) with input as fixture.self_hosted
		with data.params as fixture.building
}

test_level_that_is_enough if {
	verdict := data.signing.verdict with input as fixture.self_hosted with data.params as object.union(
		fixture.building_of,
		{"slsa": {"minimum_level": 1}},
	)
	verdict.allow
	verdict.slsa.level == 1
}

# Nothing below level 1 meets a requirement, whatever the parameters say.
test_level_nought_meets_nothing if {
	given := fixture.attested_alone([fixture.provenance("none", {"level": 0, "missing": {"1": ["it speaks of another"]}})])
	verdict := data.signing.verdict with input as given with data.params as object.union(
		fixture.building_of,
		{"slsa": {"minimum_level": 0}},
	)
	not verdict.allow
	[violation.code | some violation in verdict.violations] == ["slsa_level_too_low"]
}

_wanting(parameters) := object.union(fixture.building_of, {"slsa": {"parameters": parameters}})

test_build_parameters if {
	every parameters in [
		{"workflow": {"path": "release.yml"}},
		{"workflow": {"inputs": ["a", 1]}},
		{"debug": null},
		{},
	] {
		data.signing.allow with input as fixture.built with data.params as _wanting(parameters)
	}
	every parameters in [
		{"workflow": {"path": "evil.yml"}},
		{"workflow": {"path": {"name": "release.yml"}}},
		{"workflow": {"inputs": ["a"]}},
		{"workflow": {"other": null}},
		{"workflow": "release.yml"},
		{"debug": false},
	] {
		not data.signing.allow with input as fixture.built with data.params as _wanting(parameters)
	}
}

test_other_build_parameters if {
	verdict := data.signing.verdict with input as fixture.built
		with data.params as _wanting({"workflow": {"path": "evil.yml"}, "debug": true})
	[[violation.code, violation.message] | some violation in verdict.violations] == [[
		"build_parameters_differ",
		concat(" ", [
			"The build of image ghcr.io/org/server:v1 by",
			fixture.workflow,
			"had other parameters than this policy asks for: debug; workflow.path.",
		]),
	]]
	verdict.slsa == {"level": 3, "builder": fixture.workflow}
}

# Provenance that is a stranger's, and so withheld, has no parameters.
test_withheld_provenance_has_no_parameters if {
	given := fixture.attested_alone([object.union(fixture.provenance("x", {}), {"provenance": null})])
	not data.signing.allow with input as given with data.params as _wanting({"debug": null})
}

test_unproven_profile_is_said if {
	verdict := data.signing.verdict with input as fixture.unproven with data.params as fixture.building_of
	verdict.allow
	[[warning.code, warning.message] | some warning in verdict.warnings] == [[
		"builder_unproven",
		concat(" ", [
			"The provenance of image ghcr.io/org/server:v1 fits the builder profile slsa-github-generator-generic, which is",
			"made from the builder's documentation alone.",
		]),
	]]
}

# Of many that anybody attached, three are shown; what a trusted builder made is
# shown alone.
test_strangers_do_not_drown_the_reason if {
	strangers := [fixture.provenance(sprintf("e%d", [n]), {"trusted_builder": null, "untrusted": ["it is not trusted"]}) |
		some n in [1, 2, 3, 4, 5]
	]
	alone := data.signing.verdict with input as fixture.attested_alone(strangers) with data.params as fixture.building
	[violation.fact | some violation in alone.violations] == ["sha256:e1", "sha256:e2", "sha256:e3"]

	beside := array.concat(strangers, fixture.self_hosted.attestations)
	verdict := data.signing.verdict with input as fixture.attested_alone(beside) with data.params as fixture.building
	[violation.code | some violation in verdict.violations] == ["slsa_level_too_low"]
}

# Where nothing is required, the level is told all the same.
test_provenance_that_is_not_required if {
	given := object.union(fixture.good, {"attestations": fixture.built.attestations})
	verdict := data.signing.verdict with input as given with data.params as object.union(
		fixture.building,
		{"require_signature": true, "slsa": {"require_attestation": false, "minimum_level": 0}},
	)
	verdict == object.union(
		fixture.allowed(["sha256:dev"]),
		{"slsa": {"level": 3, "builder": fixture.workflow}},
	)

	# A policy without the section trusts no builder, and tells of none.
	other := data.signing.verdict with input as given with data.params as fixture.params
	other.slsa == _none
}

test_exception_for_provenance if {
	exception := object.union(fixture.exception, {"codes": ["provenance_missing"]})
	verdict := data.signing.verdict with input as fixture.nothing
		with data.params as object.union(fixture.building, {"exceptions": [exception]})
	verdict.allow
	verdict.satisfied_by == [{"requirement": "provenance", "exception": "default/exceptions/1"}]
}

test_parameters_out_of_order_deny if {
	every slsa in [
		{"require_attestation": "yes"},
		{"minimum_level": 4},
		{"minimum_level": "2"},
		{"trusted_builders": []},
		{"trusted_builders": [{"builder": 1}]},
		{"trusted_sources": []},
		{"trusted_sources": [{"repository": null}]},
		{"parameters": []},
	] {
		verdict := data.signing.verdict with input as fixture.built with data.params as fixture.building_with(slsa)
		[violation.code | some violation in verdict.violations] == ["parameters_missing"]
	}
	some text in ["yes", [], 1]
	verdict := data.signing.verdict with input as fixture.built
		with data.params as object.union(fixture.building, {"slsa": text})
	not verdict.allow
}

# What the policy asks of an index holds for provenance, whatever else is read.
test_provenance_of_what_was_asked_for if {
	every platforms, id in {"index": "sha256:of-index", "requested": "sha256:of-platform"} {
		verdict := data.signing.verdict with data.params as object.union(fixture.building, {"platforms": platforms})
			with input as object.union(fixture.for_platform, {"attestations": [
				fixture.provenance("of-index", {}),
				object.union(fixture.provenance("of-platform", {}), {"subject_digest": fixture.platform}),
			]})
		verdict.satisfied_by == [{"requirement": "provenance", "facts": [id]}]
	}
}

# It speaks of both, and proves nothing of the platform.
test_one_provenance_of_several_digests if {
	lie := object.union(fixture.contradicted.attestations[0], {"id": "sha256:built", "subject_digest": fixture.platform})
	verdict := data.signing.verdict with data.params as object.union(fixture.building, {"platforms": "every"})
		with input as object.union(fixture.for_platform, {"attestations": [fixture.provenance("built", {}), lie]})
	{finding.code | some finding in verdict.violations} == {"platform_lacks_requirement"}
}

_of_two := object.union(fixture.good, {"subject": {"platforms": array.concat(fixture.good.subject.platforms, [{
	"os": "linux",
	"architecture": "arm64",
	"variant": "",
	"digest": "sha256:arm",
}])}})

_slsa_of_two(proofs) := verdict.slsa if {
	verdict := data.signing.verdict with data.params as object.union(fixture.building, {"platforms": "every"})
		with input as object.union(_of_two, {"attestations": proofs})
}

_proof(name, level, digest) := object.union(fixture.provenance(name, {"level": level}), {"subject_digest": digest})

# Of an index it is not said that it proves more than its weakest platform.
test_level_of_every_platform if {
	_slsa_of_two([
		_proof("amd64-weak", 2, fixture.platform),
		_proof("amd64", 3, fixture.platform),
		_proof("arm64", 2, "sha256:arm"),
		_proof("index", 3, "sha256:aa"),
	]).level == 2
	_slsa_of_two([_proof("amd64", 3, fixture.platform), _proof("arm64", 3, "sha256:arm")]).level == 3
}

test_level_where_a_platform_has_no_provenance if {
	_slsa_of_two([_proof("amd64", 3, fixture.platform), _proof("index", 3, "sha256:aa")]) == {
		"level": 0,
		"builder": null,
		"missing": {"1": ["of 1 of 2 platforms, no provenance counts"]},
	}
}

# Where the index is judged, what is proven of the index counts, as ever.
test_level_of_an_index if {
	verdict := data.signing.verdict with data.params as object.union(fixture.building, {"platforms": "index"})
		with input as object.union(_of_two, {"attestations": [
			_proof("arm64", 2, "sha256:arm"),
			_proof("index", 3, "sha256:aa"),
		]})
	verdict.slsa.level == 3
}
