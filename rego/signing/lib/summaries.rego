package signing.lib

# METADATA
# title: Wanted summaries
# description: Whose verification summaries count, as the parameters say; none where they do not.
# custom:
#   example: 'lib.wanted_summaries with data.params as fixture.summarised'
wanted_summaries := object.get(data.params, "verification_summaries", [])

# METADATA
# title: Wanted summaries in order
# description: >-
#   True when each entry says whose summaries count, of which verifier, and how old
#   they may be in seconds.
# custom:
#   example: 'lib.summaries_in_order([fixture.wanted_summary])'
summaries_in_order(list) if {
	is_array(list)
	every wanted in list {
		_each_text(wanted.verifiers)
		count(wanted.verifiers) > 0
		is_string(wanted.verifier_id)
		wanted.verifier_id != ""
		is_number(wanted.max_age)
		wanted.max_age > 0
		is_number(wanted.minimum_level)
		wanted.minimum_level >= 0
		_each_text(object.get(wanted, "resources", []))
		is_string(object.get(wanted, "policy_uri", ""))
		is_string(object.get(wanted, "policy_digest", ""))
	}
}

_each_text(list) if {
	is_array(list)
	every text in list {
		is_string(text)
		text != ""
	}
}

# METADATA
# title: Summaries
# description: >-
#   The verification summaries that count for this image, by the ids of their
#   attestations, each with the SLSA Build level that it gives: signed by a verifier
#   that the parameters name, under its own id, about this image, under the policy
#   that is wanted, passed, and not too old.
# custom:
#   example: >-
#     lib.summaries with input as fixture.verified_elsewhere with data.params as
#     fixture.summarised
summaries[attestation.id] := summary_level(attestation.projection.summary) if {
	some attestation in told_summaries
	some wanted in wanted_summaries
	summary_counts(attestation, wanted)
}

# METADATA
# title: Summaries by digest
# description: >-
#   The ids of the same by the digest that they speak of. One attestation may speak of
#   several, and count for that which its resource names.
# custom:
#   example: >-
#     lib.summaries_of["sha256:aa"] with input as fixture.verified_elsewhere with data.params
#     as fixture.summarised
summaries_of[attestation.subject_digest] contains attestation.id if {
	some attestation in told_summaries
	some wanted in wanted_summaries
	summary_counts(attestation, wanted)
}

# METADATA
# title: Summaries that can stand in for provenance
# description: >-
#   The ids of the summaries that count and give at least this level. Provenance that
#   there is at all is level 1, so that no lower one stands in for it.
# custom:
#   example: >-
#     lib.provenance_summaries(2) with input as fixture.verified_elsewhere with data.params
#     as fixture.summarised
provenance_summaries(minimum) := {id | some id, level in summaries; level >= max([1, minimum])}

# METADATA
# title: Ends of summaries
# description: >-
#   When each summary that counts becomes too old, in nanoseconds, by the ids of their
#   attestations.
# custom:
#   example: >-
#     lib.summary_ends with input as fixture.verified_elsewhere with data.params as
#     fixture.summarised
summary_ends[attestation.id] := max(ends) if {
	some attestation in told_summaries
	summaries[attestation.id]
	ends := {end |
		some wanted in wanted_summaries
		summary_counts(attestation, wanted)
		end := min(_summary_times(attestation)) + (wanted.max_age * 1000000000)
	}
}

# METADATA
# title: Told summaries
# description: >-
#   The attestations of trusted signers that are verification summaries and speak of
#   what was asked for (lib.accepted). Those of others cannot be read.
# custom:
#   example: >-
#     lib.told_summaries with input as fixture.verified_elsewhere with data.params as
#     fixture.summarised
told_summaries contains attestation if {
	some attestation in input.attestations
	attestation.projection.kind == "vsa"
	attestation.subject_digest in accepted
}

# METADATA
# title: Summaries by strangers
# description: The attestations that call themselves verification summaries and match no trusted signer.
# custom:
#   example: 'lib.strange_summaries with input as fixture.verified_elsewhere'
strange_summaries contains attestation if {
	some attestation in input.attestations
	startswith(attestation.predicate_type, "https://slsa.dev/verification_summary/")
	count(attestation.trusted_signers) == 0
	about_image(attestation.subject_digest)
}

# METADATA
# title: Summary counts
# description: True for a summary that is in order in every way that an entry of the parameters asks for.
# custom:
#   example: >-
#     lib.summary_counts(fixture.summary_attestation, fixture.wanted_summary) with input as
#     fixture.verified_elsewhere with data.params as fixture.summarised
summary_counts(attestation, wanted) if {
	summary_by_verifier(attestation, wanted)
	summary_about_image(attestation, wanted)
	summary_under_policy(attestation.projection.summary, wanted)
	summary_passed(attestation.projection.summary)
	summary_level(attestation.projection.summary) >= wanted.minimum_level
	summary_in_time(attestation, wanted)
}

# METADATA
# title: Summary by a verifier
# description: >-
#   True when one of the verifiers signed, with the log entry that the policy asks
#   for, and the summary gives the id that is theirs.
# custom:
#   example: >-
#     lib.summary_by_verifier(fixture.summary_attestation, fixture.wanted_summary) with input
#     as fixture.verified_elsewhere with data.params as fixture.summarised
summary_by_verifier(attestation, wanted) if {
	attestation.projection.summary.verifier_id == wanted.verifier_id
	logged(attestation)
	some name in attestation.trusted_signers
	name in wanted.verifiers
}

# METADATA
# title: Summary about the image
# description: >-
#   True when the statement is about a digest that was asked for (lib.accepted), and the
#   resource is this image at that digest: its name, name@digest or the digest alone, or
#   one of the names that the parameters allow in the place of its own.
# custom:
#   example: >-
#     lib.summary_about_image(fixture.summary_attestation, fixture.wanted_summary) with input
#     as fixture.verified_elsewhere with data.params as fixture.summarised
summary_about_image(attestation, wanted) if {
	attestation.subject_digest in accepted
	_names_image(attestation.projection.summary.resource_uri, attestation.subject_digest, wanted)
}

_names_image(resource, digest, _) if resource == digest

_names_image(resource, digest, wanted) if {
	name := trim_suffix(resource, sprintf("@%s", [digest]))
	_wanted_name(name, wanted)
}

_wanted_name(name, _) if name == _name

_wanted_name(name, wanted) if {
	not contains(name, "@")
	some pattern in object.get(wanted, "resources", [])
	regex.match(image_pattern(pattern), name)
}

# METADATA
# title: Summary under the policy
# description: True when the summary says that it was made under the policy that is wanted, or any will do.
# custom:
#   example: 'lib.summary_under_policy(fixture.summary, fixture.wanted_summary)'
summary_under_policy(summary, wanted) if {
	object.get(wanted, "policy_uri", summary.policy_uri) == summary.policy_uri
	object.get(wanted, "policy_digest", summary.policy_digest) == summary.policy_digest
}

# METADATA
# title: Summary of a pass
# description: True when the result is PASSED, and no level says otherwise.
# custom:
#   example: 'lib.summary_passed(fixture.summary)'
summary_passed(summary) if {
	summary.result == "PASSED"
	every level in summary.verified_levels {
		level != "FAILED"
	}
}

_levels := {
	"SLSA_BUILD_LEVEL_1": 1,
	"SLSA_BUILD_LEVEL_2": 2,
	"SLSA_BUILD_LEVEL_3": 3,
	# Those of SLSA v0.1, as SLSA v1.0 says what became of them.
	"SLSA_LEVEL_1": 1,
	"SLSA_LEVEL_2": 2,
	"SLSA_LEVEL_3": 3,
	"SLSA_LEVEL_4": 3,
}

# METADATA
# title: Level of a summary
# description: The SLSA Build level that a summary gives, 0 where it gives none.
# custom:
#   example: 'lib.summary_level(fixture.summary)'
summary_level(summary) := max({0} | {n | some level in summary.verified_levels; n := _levels[level]})

# METADATA
# title: Summary in time
# description: >-
#   True when the time that the summary gives, and that of its signature where it is
#   known, are no further back than the parameters allow, and the former not ahead:
#   five minutes are left to clocks.
# custom:
#   example: >-
#     lib.summary_in_time(fixture.summary_attestation, fixture.wanted_summary) with input as
#     fixture.verified_elsewhere
summary_in_time(attestation, wanted) if {
	# What has no time would be an error of a builtin, and so of the whole policy.
	is_string(attestation.projection.summary.time_verified)
	verified := time.parse_rfc3339_ns(attestation.projection.summary.time_verified)
	verified <= _now + 300000000000
	min(_summary_times(attestation)) + (wanted.max_age * 1000000000) > _now
}

# The times that a summary may be too old by.
_summary_times(attestation) := {verified} | {signed |
	is_string(attestation.signed_at)
	signed := time.parse_rfc3339_ns(attestation.signed_at)
} if {
	is_string(attestation.projection.summary.time_verified)
	verified := time.parse_rfc3339_ns(attestation.projection.summary.time_verified)
}

# METADATA
# title: Requirement of summaries
# description: >-
#   The name of the requirement that summaries meet: provenance, where the parameters
#   ask for that, else their own.
# custom:
#   example: 'lib.summary_requirement with data.params as fixture.summarised'
summary_requirement := "provenance" if {
	params.slsa.require_attestation == true
} else := "summary" if {
	count(wanted_summaries) > 0
}
