package signing.lib.requirement

# The package above this one, not this one:
# regal ignore:pointless-import
import data.signing.lib

# METADATA
# title: Provenance is required
# description: >-
#   SLSA provenance of the level that the policy asks for, by a builder that it trusts, or
#   a summary that stands in for it.
# custom:
#   code: needs_provenance
#   severity: none
#   remediation: Read the violations of data.signing.verdict.
#   example: >-
#     signing.lib.requirement.needs.provenance with input as fixture.built with data.params
#     as fixture.building
needs["provenance"] := lib.build_proofs | lib.provenance_summaries(lib.params.slsa.minimum_level) if {
	lib.params.slsa.require_attestation == true
}

# METADATA
# title: Provenance that is not met is explained
# description: >-
#   Provenance is there, and it is said what it lacks; or the search was complete, and
#   it is said that there is none.
# custom:
#   code: explained_provenance
#   severity: none
#   remediation: Read the violations of data.signing.verdict.
#   example: >-
#     signing.lib.requirement.explained with input as fixture.self_hosted with data.params
#     as fixture.building
explained contains "provenance" if {
	_unproven
	_seen
}

_unproven if {
	lib.params.slsa.require_attestation == true
	count(needs.provenance) == 0
}

_seen if count(lib.provenances) > 0

_seen if input.search.complete == true

_of_need([place, finding]) := [place, object.union(finding, {"requirement": "provenance"})]

default _but_rejected := ""

_but_rejected := sprintf(" that verifies (rejected: %s)", [lib.few(reasons)]) if {
	reasons := {sprintf("%s, %s", [rejection.code, trim_suffix(rejection.message, ".")]) |
		some rejection in input.rejections
		rejection.code != "no_signature"
	}
	count(reasons) > 0
}

# How far a provenance comes: the first thing that it lacks.
_lacking(attestation) := "agreement" if {
	count(attestation.build.contradictions) > 0
} else := "builder" if {
	not lib.by_trusted_builder(attestation)
} else := "source" if {
	not lib.built_in_trust(attestation)
} else := "log" if {
	not lib.logged(attestation)
} else := "level" if {
	attestation.build.level < max([1, lib.params.slsa.minimum_level])
} else := "parameters"

# Of those that lack the same at most three are shown: anybody can attach more.
_shown[what] := array.slice(sort(ids), 0, 3) if {
	some what in {"agreement", "builder", "source", "log", "level", "parameters"}
	ids := {[input.attestations[i].id, i] | some i in lib.nearest_provenances; _lacking(input.attestations[i]) == what}
}

_builder(build) := build.builder if {
	build.builder != ""
} else := "unknown"

_source(build) := sprintf("%s at %s", [build.source.repository, build.source.ref]) if {
	build.source.repository != ""
	build.source.ref != ""
} else := build.source.repository if {
	build.source.repository != ""
} else := "unknown"

_contradictions(build) := lib.few({text |
	some c in build.contradictions
	text := sprintf("%s is %q in the certificate and %q in the predicate", [c.field, c.certificate, c.predicate])
})

# Where nobody vouches for a builder, the second level says why.
_why_not(build) := concat("; ", array.flatten([
	object.get(build.missing, "1", []),
	[why | some why in object.get(build.missing, "2", []); build.builder == ""],
	[why | some why in build.untrusted; build.builder != ""],
]))

_builder_remedy(build) := sprintf(
	"If you trust it, add it to slsa.trusted_builders in the signing policy: - %q",
	[split(build.builder, "@")[0]],
) if {
	build.builder != ""
} else := concat(" ", [
	"Say who vouches for the builder, with the trusted builder in the signing policy: the signers that are its own",
	"({builder: ADDRESS, signers: [NAME]}), or the trust root of your own that may",
	"({builder: ADDRESS, trust_roots: [NAME]}).",
])

_higher_levels(build) := concat("", [text |
	some level in [1, 2, 3]
	level > build.level
	why := build.missing[sprintf("%d", [level])]
	text := sprintf(" Level %d lacks: %s.", [level, concat("; ", why)])
])

_proofs contains attestation if {
	lib.params.slsa.require_attestation == true
	some i in lib.credited
	attestation := input.attestations[i]
	attestation.id in lib.build_proofs
}

# METADATA
# title: There is provenance
# description: There is no SLSA provenance that verifies, and the search was complete.
# custom:
#   code: provenance_missing
#   severity: high
#   remediation: >-
#     Build it with a builder that attests what it builds, such as GitHub's attestations
#     or slsa-github-generator, and attach the attestation to the image.
#   example: >-
#     signing.verdict with input as fixture.good with data.params as fixture.building
violation contains _of_need(lib.finding(40, "provenance_missing", "signing.rules.provenance", {
	"message": sprintf("Image %s has no SLSA provenance%s. Provenance required.", [lib.image, _but_rejected]),
	"remediation": sprintf(
		concat(" ", [
			"Build it with a builder that this policy trusts (%s) and attach what it attests to the image: on GitHub,",
			"actions/attest-build-provenance with push-to-registry, or slsa-github-generator. The page on builder profiles",
			"lists the builders, and what each proves.",
		]),
		[lib.few({entry.builder | some entry in lib.params.slsa.trusted_builders})],
	),
})) if {
	_unproven
	count(lib.provenances) == 0
	input.search.complete == true
}

# METADATA
# title: Certificate and predicate agree
# description: The provenance says otherwise than the certificate that signed it, so it proves nothing.
# custom:
#   code: provenance_contradicts
#   severity: critical
#   remediation: Do not run the image before it is clear who built it.
#   example: >-
#     signing.verdict with input as fixture.contradicted with data.params as
#     fixture.building
violation contains _of_need(lib.finding_of(41, "provenance_contradicts", "signing.rules.provenance", {
	"message": sprintf(
		"The provenance of image %s says otherwise than the certificate that signed it: %s.",
		[lib.image, _contradictions(attestation.build)],
	),
	"remediation": concat(" ", [
		"Do not run the image before it is clear who built it: the certificate was given to the signer by its issuer,",
		"the predicate is what the signer wrote.",
	]),
	"fact": attestation.id,
})) if {
	_unproven
	some [_, i] in _shown.agreement
	attestation := input.attestations[i]
}

# METADATA
# title: Builder is trusted
# description: There is provenance, and none of it is by a builder that the policy trusts.
# custom:
#   code: builder_not_trusted
#   severity: high
#   remediation: If the builder is to be trusted, add it to slsa.trusted_builders in the signing policy.
#   example: >-
#     signing.verdict with input as fixture.built_by("https://github.com/eve/x") with
#     data.params as fixture.building
violation contains _of_need(lib.finding_of(42, "builder_not_trusted", "signing.rules.provenance", {
	"message": sprintf(
		"Image %s has provenance, but by no builder that this policy trusts (builder %s, source %s): %s.",
		[lib.image, _builder(attestation.build), _source(attestation.build), _why_not(attestation.build)],
	),
	"remediation": _builder_remedy(attestation.build),
	"fact": attestation.id,
})) if {
	_unproven
	some [_, i] in _shown.builder
	attestation := input.attestations[i]
}

# METADATA
# title: Source of the build is trusted
# description: A trusted builder built it, of a source that the policy does not trust.
# custom:
#   code: build_source_not_trusted
#   severity: high
#   remediation: Build it from a trusted source, or add the repository to slsa.trusted_sources.
#   example: >-
#     signing.verdict with input as fixture.built_of("https://github.com/eve/x") with
#     data.params as fixture.building
violation contains _of_need(lib.finding_of(43, "build_source_not_trusted", "signing.rules.provenance", {
	"message": sprintf(
		"Image %s was built by the trusted builder %s, of a source that this policy does not trust: %s.",
		[lib.image, attestation.build.builder, concat("; ", attestation.build.untrusted)],
	),
	"remediation": concat(" ", [
		"Build it from a trusted source, or add the repository to slsa.trusted_sources in the signing policy;",
		"a pull request counts only by a pattern of its ref.",
	]),
	"fact": attestation.id,
})) if {
	_unproven
	some [_, i] in _shown.source
	attestation := input.attestations[i]
}

# METADATA
# title: Provenance is in a transparency log
# description: Trusted provenance has no verified log entry, although its trust root has a log.
# custom:
#   code: provenance_log_missing
#   severity: high
#   remediation: Attest again with the transparency log, or, for keys only, set verify_transparency_log to false.
#   example: >-
#     signing.verdict with input as fixture.built_unlogged with data.params as
#     fixture.building
violation contains _of_need(lib.finding_of(44, "provenance_log_missing", "signing.rules.provenance", {
	"message": sprintf(
		concat(" ", [
			"The provenance of image %s by the trusted builder %s has no verified transparency-log entry,",
			"which this policy requires.",
		]),
		[lib.image, attestation.build.builder],
	),
	"remediation": "Attest again with the transparency log, or, for keys only, set verify_transparency_log to false.",
	"fact": attestation.id,
})) if {
	_unproven
	some [_, i] in _shown.log
	attestation := input.attestations[i]
}

# METADATA
# title: SLSA level is high enough
# description: The provenance proves a lower SLSA Build level than the policy asks for.
# custom:
#   code: slsa_level_too_low
#   severity: high
#   remediation: Build it with a builder that proves the level, or mend what the message says is lacking.
#   example: >-
#     signing.verdict with input as fixture.self_hosted with data.params as
#     fixture.building
violation contains _of_need(lib.finding_of(45, "slsa_level_too_low", "signing.rules.provenance", {
	"message": sprintf(
		"SLSA level %d does not meet the required level %d. Image %s, builder %s, source %s.%s",
		[build.level, lib.params.slsa.minimum_level, lib.image, _builder(build), _source(build), _higher_levels(build)],
	),
	"remediation": concat(" ", [
		"Build it with a builder that proves the level (the page on builder profiles says which do), or mend what is",
		"lacking.",
	]),
	"fact": attestation.id,
})) if {
	_unproven
	some [_, i] in _shown.level
	attestation := input.attestations[i]
	build := attestation.build
}

# METADATA
# title: Build parameters are as asked for
# description: The provenance is good, and the build had other parameters than the policy asks for.
# custom:
#   code: build_parameters_differ
#   severity: high
#   remediation: Build it with the parameters that slsa.parameters in the signing policy asks for.
#   example: >-
#     signing.verdict with input as fixture.built with data.params as
#     fixture.building_with({"parameters": {"workflow": "other"}})
violation contains _of_need(lib.finding_of(46, "build_parameters_differ", "signing.rules.provenance", {
	"message": sprintf(
		"The build of image %s by %s had other parameters than this policy asks for: %s.",
		[lib.image, attestation.build.builder, lib.few(lib.other_parameters(attestation))],
	),
	"remediation": "Build it with the parameters that slsa.parameters in the signing policy asks for.",
	"fact": attestation.id,
})) if {
	_unproven
	some [_, i] in _shown.parameters
	attestation := input.attestations[i]
}

# METADATA
# title: Any source will do
# description: >-
#   The provenance that counts is by a builder that everybody can use, and the policy
#   names no sources: whoever can write to the image's repository can have it built.
# custom:
#   code: any_source
#   severity: medium
#   remediation: Name the sources in slsa.trusted_sources.
#   example: >-
#     signing.verdict with input as fixture.built with data.params as fixture.building
warning contains lib.finding_of(40, "any_source", "signing.rules.provenance", {
	"message": sprintf(
		concat(" ", [
			"The builder %s builds for everybody, and this policy names no sources:",
			"image %s was built of %s, and any other source would do.",
		]),
		[attestation.build.builder, lib.image, _source(attestation.build)],
	),
	"remediation": "Name the sources that are yours in slsa.trusted_sources of the signing policy.",
	"fact": attestation.id,
}) if {
	is_null(lib.params.slsa.trusted_sources)
	some attestation in _proofs
	attestation.build.reusable == true
}

# METADATA
# title: Builder profile is proven
# description: The provenance that counts fits a profile of which there is no real evidence among our tests.
# custom:
#   code: builder_unproven
#   severity: low
#   remediation: Compare what the provenance says with what you know of the build.
#   example: >-
#     signing.verdict with input as fixture.unproven with data.params as fixture.building
warning contains lib.finding_of(41, "builder_unproven", "signing.rules.provenance", {
	"message": sprintf(
		"The provenance of image %s fits the builder profile %s, which is made from the builder's documentation alone.",
		[lib.image, attestation.build.profile],
	),
	"remediation": "Compare what the provenance says with what you know of the build.",
	"fact": attestation.id,
}) if {
	some attestation in _proofs
	attestation.build.unproven == true
}

# METADATA
# title: Trusted provenance without a contradiction
# description: >-
#   Provenance that counts is there; beside it is some that says otherwise than its
#   certificate, under the name of a trusted builder.
# custom:
#   code: provenance_doubtful
#   severity: medium
#   remediation: Find out who attached it.
#   example: >-
#     signing.verdict with input as fixture.doubtful with data.params as fixture.building
warning contains lib.finding_of(42, "provenance_doubtful", "signing.rules.provenance", {
	"message": sprintf(
		"Beside the provenance that counts, image %s has some that says otherwise than the certificate that signed it: %s.",
		[lib.image, _contradictions(attestation.build)],
	),
	"remediation": "Find out who attached it, and why.",
	"fact": attestation.id,
}) if {
	count(_proofs) > 0
	some [_, i] in _shown.agreement
	attestation := input.attestations[i]
}
