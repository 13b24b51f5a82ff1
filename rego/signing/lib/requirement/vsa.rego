package signing.lib.requirement

# The package above this one, not this one:
# regal ignore:pointless-import
import data.signing.lib

# METADATA
# title: Need of a summary
# description: >-
#   Where summaries are accepted and provenance is not asked for, one that counts is
#   asked for by itself. Where it is, they stand in for it (lib.provenance_summaries).
# custom:
#   code: needs_summary
#   severity: none
#   remediation: Read the violations of data.signing.verdict.
#   example: >-
#     signing.lib.requirement.needs.summary with input as fixture.verified_elsewhere with
#     data.params as fixture.summarised
needs.summary := object.keys(lib.summaries) if {
	lib.params
	lib.summary_requirement == "summary"
}

# METADATA
# title: Explained need of a summary
# description: A summary that is asked for and not there is explained by the violations below.
# custom:
#   code: explained_summary
#   severity: none
#   remediation: Read the violations of data.signing.verdict.
#   example: >-
#     "summary" in signing.lib.requirement.explained with input as fixture.good with
#     data.params as fixture.summarised
explained contains "summary" if _summary_lacking

# METADATA
# title: End of summaries
# description: >-
#   Where a requirement is met by summaries alone, of the image or of one of the
#   platforms that must each meet it, it is until the last of them is too old.
# custom:
#   code: ends_summaries
#   severity: none
#   remediation: Ask the verifier again.
#   example: >-
#     signing.lib.requirement.ends with input as fixture.verified_elsewhere with data.params
#     as fixture.summarised
ends contains ns if {
	some digests in _meeting_together
	ids := {id | some digest in digests; some id in object.get(_met_of, digest, set())}
	count(ids) > 0
	every id in ids {
		lib.summaries[id]
	}
	ns := max({lib.summary_ends[id] | some id in ids})
}

# Any one of these digests is enough.
_meeting_together := {{digest} | some digest in lib.every_platform} if {
	count(lib.every_platform) > 0
} else := {lib.accepted}

# By digest, what meets the requirement for it.
_met_of[digest] contains id if {
	some met in [lib.build_proofs_of, lib.summaries_of]
	some digest, ids in met
	some id in ids
	id in needs[lib.summary_requirement]
}

# METADATA
# title: A summary is there
# description: Nobody who is trusted has said that the image was verified.
# custom:
#   code: summary_missing
#   severity: high
#   remediation: Have a verifier that the policy names verify the image and attach its summary.
#   example: >-
#     signing.verdict with input as fixture.good with data.params as fixture.summarised
violation contains _summary_finding(50, "summary_missing", {
	"message": sprintf("Image %s has no verification summary by %s%s.", [lib.image, _verifiers, _strangers]),
	"remediation": "Have the verifier verify the image and attach its summary, such as signet verify --attest does.",
}) if {
	_summary_lacking
	count(lib.told_summaries) == 0
}

# METADATA
# title: Summary by a verifier that is named
# description: The summary is signed by somebody else than the verifier, gives another id, or lacks its log entry.
# custom:
#   code: summary_not_trusted
#   severity: high
#   remediation: Name its signer among the verifiers, or have the verifier that is named verify the image.
#   example: >-
#     signing.verdict with input as fixture.verified_elsewhere with data.params as
#     fixture.summarised_with({"verifier_id": "https://other.example"})
violation contains _summary_violation(51, "summary_not_trusted", attestation, {
	"message": sprintf("The verification summary of image %s by %s for the verifier %s does not count: %s.", [
		lib.image, lib.who(attestation), attestation.projection.summary.verifier_id, why,
	]),
	"remediation": "Name its signer among the verifiers, or have the verifier that is named verify the image.",
}) if {
	some [attestation, wanted] in _told
	not lib.summary_by_verifier(attestation, wanted)
	why := _why_not_trusted(attestation, wanted)
}

# METADATA
# title: Summary about this image
# description: The summary is about another resource than the image at the digest that it speaks of.
# custom:
#   code: summary_other_image
#   severity: high
#   remediation: Have the verifier verify this image; resources in the policy allow the names that it was copied from.
#   example: >-
#     signing.verdict with input as fixture.verified_as({"resource_uri": "ghcr.io/org/other"})
#     with data.params as fixture.summarised
violation contains _summary_violation(52, "summary_other_image", attestation, {
	"message": sprintf("The verification summary by %s is about %s (%s), not about image %s (%s).", [
		lib.who(attestation),
		attestation.projection.summary.resource_uri,
		attestation.subject_digest,
		lib.image,
		attestation.subject_digest,
	]),
	"remediation": "Have the verifier verify this image; resources in the policy allow the names that it was copied from.",
}) if {
	some [attestation, wanted] in _told
	lib.summary_by_verifier(attestation, wanted)
	not lib.summary_about_image(attestation, wanted)
}

# METADATA
# title: Summary under the policy that is wanted
# description: The summary was made under another policy, or an older one.
# custom:
#   code: summary_other_policy
#   severity: high
#   remediation: Have the verifier verify the image under the policy that is wanted.
#   example: >-
#     signing.verdict with input as fixture.verified_elsewhere with data.params as
#     fixture.summarised_with({"policy_uri": "https://other.example"})
violation contains _summary_violation(53, "summary_other_policy", attestation, {
	"message": sprintf("The verification summary of image %s by %s was made under the policy %s (%s), not under %s.", [
		lib.image, lib.who(attestation), _or_none(attestation.projection.summary.policy_uri),
		_or_none(attestation.projection.summary.policy_digest), _policy_wanted(wanted),
	]),
	"remediation": "Have the verifier verify the image under the policy that is wanted.",
}) if {
	some [attestation, wanted] in _told
	lib.summary_by_verifier(attestation, wanted)
	lib.summary_about_image(attestation, wanted)
	not lib.summary_under_policy(attestation.projection.summary, wanted)
}

# METADATA
# title: Summary of a pass
# description: The verifier found that the image does not meet its policy.
# custom:
#   code: summary_not_passed
#   severity: high
#   remediation: Ask the verifier why, mend it, and have the image verified again.
#   example: >-
#     signing.verdict with input as fixture.verified_as({"result": "FAILED"}) with data.params
#     as fixture.summarised
violation contains _summary_violation(54, "summary_not_passed", attestation, {
	"message": sprintf("The verification summary of image %s by %s says %s, with the levels %s.", [
		lib.image,
		lib.who(attestation),
		attestation.projection.summary.result,
		_or_none(concat(", ", attestation.projection.summary.verified_levels)),
	]),
	"remediation": "Ask the verifier why, mend it, and have the image verified again.",
}) if {
	some [attestation, wanted] in _told
	lib.summary_by_verifier(attestation, wanted)
	lib.summary_about_image(attestation, wanted)
	not lib.summary_passed(attestation.projection.summary)
}

# METADATA
# title: Summary of a level
# description: The summary gives a lower SLSA Build level than is asked for.
# custom:
#   code: summary_level_too_low
#   severity: high
#   remediation: Build the image where a higher level can be proven, and have it verified again.
#   example: >-
#     signing.verdict with input as fixture.verified_as({"verified_levels":
#     ["SLSA_BUILD_LEVEL_1"]}) with data.params as fixture.summarised
violation contains _summary_violation(55, "summary_level_too_low", attestation, {
	"message": sprintf(
		"The verification summary of image %s by %s gives SLSA level %d, which does not meet the required level %d.",
		[lib.image, lib.who(attestation), level, minimum],
	),
	"remediation": "Build the image where a higher level can be proven, and have it verified again.",
}) if {
	some [attestation, wanted] in _told
	lib.summary_by_verifier(attestation, wanted)
	lib.summary_about_image(attestation, wanted)
	lib.summary_passed(attestation.projection.summary)
	level := lib.summary_level(attestation.projection.summary)
	minimum := max([wanted.minimum_level, _minimum_of_provenance])
	level < minimum
}

# METADATA
# title: Summary that is not too old
# description: The summary is older than is allowed, gives no time, or one that is yet to come.
# custom:
#   code: summary_too_old
#   severity: high
#   remediation: Have the verifier verify the image again.
#   example: >-
#     signing.verdict with input as fixture.verified_as({"time_verified":
#     "2026-05-01T00:00:00Z"}) with data.params as fixture.summarised
violation contains _summary_violation(56, "summary_too_old", attestation, {
	"message": sprintf("%s by %s is not of the last %s: it gives %s as its time%s, and now it is %s.", [
		sprintf("The verification summary of image %s", [lib.image]),
		lib.who(attestation),
		_age(wanted.max_age),
		_or_none(_time_verified(attestation)),
		_signed(attestation),
		input.evaluated_at,
	]),
	"remediation": "Have the verifier verify the image again.",
}) if {
	some [attestation, wanted] in _told
	lib.summary_by_verifier(attestation, wanted)
	lib.summary_about_image(attestation, wanted)
	not lib.summary_in_time(attestation, wanted)
}

_time_verified(attestation) := attestation.projection.summary.time_verified if {
	is_string(attestation.projection.summary.time_verified)
} else := ""

_signed(attestation) := sprintf(", and was signed at %s", [attestation.signed_at]) if {
	is_string(attestation.signed_at)
} else := ""

_age(seconds) := sprintf("%d days", [seconds / 86400]) if {
	seconds % 86400 == 0
} else := sprintf("%d seconds", [seconds])

# What there is to explain: each summary with each entry that its signer is named in,
# or with all of them where its signer is named in none.
_told contains [attestation, wanted] if {
	_summary_lacking
	some attestation in lib.told_summaries
	some wanted in lib.wanted_summaries
	_named_or_all(attestation, wanted)
}

_named_or_all(attestation, wanted) if {
	some name in attestation.trusted_signers
	name in wanted.verifiers
}

_named_or_all(attestation, _) if {
	count({name |
		some name in attestation.trusted_signers
		some other in lib.wanted_summaries
		name in other.verifiers
	}) == 0
}

_summary_finding(place, code, texts) := [at, object.union(finding, {"requirement": lib.summary_requirement})] if {
	[at, finding] := lib.finding(place, code, "signing.rules.summaries", texts)
}

_summary_violation(place, code, attestation, texts) := [at, told] if {
	about := object.union(texts, {"fact": attestation.id})
	[at, finding] := lib.finding_of(place, code, "signing.rules.summaries", about)
	told := object.union(finding, {"requirement": lib.summary_requirement})
}

_summary_lacking if {
	lib.params
	count(lib.wanted_summaries) > 0
	count(object.get(needs, lib.summary_requirement, set())) == 0
}

_verifiers := concat(" or ", {wanted.verifier_id | some wanted in lib.wanted_summaries})

default _strangers := ""

_strangers := sprintf("; there is one by %s, who is not trusted", [lib.few(who)]) if {
	count(lib.strange_summaries) > 0
	who := {lib.who(attestation) | some attestation in lib.strange_summaries}
}

_why_not_trusted(attestation, wanted) := sprintf("the policy wants it signed by %s", [names]) if {
	count({name | some name in attestation.trusted_signers; name in wanted.verifiers}) == 0
	names := concat(" or ", wanted.verifiers)
} else := sprintf("the policy wants the verifier %s", [wanted.verifier_id]) if {
	attestation.projection.summary.verifier_id != wanted.verifier_id
} else := "it has no entry in a transparency log"

_or_none(text) := text if {
	text != ""
} else := "none given"

_policy_wanted(wanted) := concat(", ", [text |
	some field in ["policy_uri", "policy_digest"]
	text := wanted[field]
])

default _minimum_of_provenance := 0

_minimum_of_provenance := max([1, object.get(data.params, ["slsa", "minimum_level"], 1)]) if {
	lib.summary_requirement == "provenance"
}
