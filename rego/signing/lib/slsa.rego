package signing.lib

# METADATA
# title: Provenances
# description: >-
#   The positions in input.attestations of SLSA provenance of what was asked for
#   (lib.accepted). What each proves is in its field build, computed before this
#   policy was asked.
# custom:
#   example: 'lib.provenances with input as fixture.built with data.params as fixture.building'
provenances contains i if {
	some i, attestation in input.attestations
	is_object(attestation.build)
	attestation.subject_digest in accepted
}

# METADATA
# title: Built by whom the policy trusts
# description: >-
#   True for provenance whose builder is a trusted builder of the policy, and whose
#   source is a trusted one where the policy names any. Who that is was computed
#   before; here it is made sure that it is one of this policy's.
# custom:
#   example: >-
#     lib.built_in_trust(fixture.built.attestations[0]) with data.params as
#     fixture.building
built_in_trust(attestation) if {
	by_trusted_builder(attestation)
	count(attestation.build.untrusted) == 0
	_of_trusted_source(attestation.build)
}

# METADATA
# title: By a trusted builder
# description: True for provenance whose builder is a trusted builder of the policy, whatever the source is.
# custom:
#   example: >-
#     lib.by_trusted_builder(fixture.built.attestations[0]) with data.params as
#     fixture.building
by_trusted_builder(attestation) if {
	attestation.build.trusted_builder in {entry.builder | some entry in params.slsa.trusted_builders}
}

_of_trusted_source(_) if is_null(params.slsa.trusted_sources)

_of_trusted_source(build) if build.trusted_source in {entry.repository | some entry in params.slsa.trusted_sources}

# METADATA
# title: Built so
# description: >-
#   True for provenance that has all build parameters that the policy asks for, each
#   at its place with the same value.
# scope: document
# custom:
#   example: >-
#     lib.built_so(fixture.built.attestations[0]) with data.params as fixture.building
built_so(attestation) if count(other_parameters(attestation)) == 0

# METADATA
# title: Other parameters
# description: The names of the build parameters that the policy asks for and this provenance does not have.
# custom:
#   example: >-
#     lib.other_parameters(fixture.built.attestations[0]) with data.params as
#     fixture.building
other_parameters(attestation) := {concat(".", [sprintf("%v", [step]) | some step in path]) |
	some [path, value] in _wanted_parameters
	not _has_parameter(attestation, path, value)
}

_has_parameter(attestation, path, value) if {
	# By a path of any length:
	# regal ignore:superfluous-object-get
	object.get(attestation.provenance.parameters, path, {"absent": path}) == value
}

# What stands at the ends: a value, or a list as a whole.
_wanted_parameters contains [path, value] if {
	walk(object.get(params.slsa, "parameters", {}), [path, value])
	not is_object(value)
}

# METADATA
# title: Credited provenances
# description: >-
#   The positions in input.attestations of provenance that counts for something: by
#   a trusted builder, of a trusted source, with the log entry that the policy asks
#   for, and without a contradiction.
# custom:
#   example: >-
#     lib.credited with input as fixture.built with data.params as fixture.building
credited contains i if {
	some i in provenances
	attestation := input.attestations[i]
	count(attestation.build.contradictions) == 0
	attestation.build.level >= 1
	built_in_trust(attestation)
	logged(attestation)
}

# METADATA
# title: Proofs of the build
# description: >-
#   The ids of the facts that meet the requirement for provenance: credited, of the
#   level that the policy asks for, and with its build parameters.
# custom:
#   example: >-
#     lib.build_proofs with input as fixture.built with data.params as fixture.building
build_proofs contains id if {
	some ids in build_proofs_of
	some id in ids
}

# METADATA
# title: Proofs of the build by digest
# description: >-
#   The same by the digest that they speak of. One attestation may speak of several,
#   and prove something of some of them.
# custom:
#   example: >-
#     lib.build_proofs_of["sha256:aa"] with input as fixture.built with data.params as
#     fixture.building
build_proofs_of[attestation.subject_digest] contains attestation.id if {
	some i in credited
	attestation := input.attestations[i]
	attestation.build.level >= max([1, params.slsa.minimum_level])
	built_so(attestation)
}

# METADATA
# title: SLSA level
# description: >-
#   The highest SLSA Build level that credited provenance proves, who built, and what
#   each higher level lacked. Where every platform is judged it is that of the platform
#   of which the least is proven: nobody knows which of them will run. Without any it is
#   level 0, and what the provenance that comes nearest lacks.
# scope: document
# custom:
#   example: 'lib.slsa with input as fixture.built with data.params as fixture.building'
default slsa := {"level": 0, "builder": null}

slsa := object.union({"level": build.level, "builder": build.builder}, _missing(build.missing)) if {
	count(credited) > 0
	[_, _, i] := _least_of_platforms
	build := input.attestations[i].build
} else := {"level": 0, "builder": null, "missing": {"1": [text]}} if {
	count(credited) > 0
	text := sprintf("of %d of %d platforms, no provenance counts", [
		count({digest | some digest in every_platform; not _best_of[digest]}),
		count(every_platform),
	])
} else := {"level": 0, "builder": null, "missing": object.union(build.missing, {"1": lacks})} if {
	params.slsa
	[_, _, i] := max({_by_level(i) | some i in nearest_provenances})
	build := input.attestations[i].build
	lacks := array.flatten([object.get(build.missing, "1", []), build.untrusted, _lacks_log(input.attestations[i])])
	count(lacks) > 0
}

# What sorts provenance by what it proves.
_by_level(i) := [input.attestations[i].build.level, input.attestations[i].id, i]

# The best of the image, or of the platform whose best is the least.
_least_of_platforms := max({_by_level(i) | some i in credited}) if {
	count(every_platform) == 0
} else := min({best | some best in _best_of}) if {
	every digest in every_platform {
		_best_of[digest]
	}
}

_best_of[digest] := max(proofs) if {
	some digest in every_platform
	proofs := {_by_level(i) | some i in credited; input.attestations[i].subject_digest == digest}
	count(proofs) > 0
}

_missing(levels) := {"missing": levels} if count(levels) > 0

_missing(levels) := {} if count(levels) == 0

_lacks_log(attestation) := [] if logged(attestation)

_lacks_log(attestation) := ["it has no verified transparency-log entry"] if not logged(attestation)

# METADATA
# title: Nearest provenances
# description: Those by a trusted builder, whatever else they lack; all of them where there are none.
# custom:
#   example: >-
#     lib.nearest_provenances with input as fixture.built with data.params as
#     fixture.building
nearest_provenances := by_trusted if {
	by_trusted := {i | some i in provenances; by_trusted_builder(input.attestations[i])}
	count(by_trusted) > 0
} else := provenances

# METADATA
# title: SLSA in order
# description: True for parameters of provenance that say everything, so that nothing is asked for by halves.
# scope: document
# custom:
#   example: 'lib.slsa_in_order(fixture.building.slsa)'
slsa_in_order(null)

slsa_in_order(asked) if {
	is_boolean(asked.require_attestation)
	asked.minimum_level in {0, 1, 2, 3}
	count(asked.trusted_builders) > 0
	every entry in asked.trusted_builders {
		is_string(entry.builder)
	}
	_sources_in_order(asked.trusted_sources)
	is_object(object.get(asked, "parameters", {}))
}

_sources_in_order(null)

_sources_in_order(sources) if {
	count(sources) > 0
	every entry in sources {
		is_string(entry.repository)
	}
}
