# METADATA
# title: Why a required attestation is missing
# description: >-
#   The package signing.lib.requirement passes on what these rules say of required attestations that are not there. They
#   explain; they decide nothing. For each match of a requirement, of the image or of one platform, one of them speaks.
package signing.lib.unattested

# The package above this one, not this one:
# regal ignore:pointless-import
import data.signing.lib
import data.signing.lib.attested

# Each requirement that is not met, with the matches in which it is not.
_unmet contains [wanted, n] if {
	some wanted in lib.required_attestations
	some n, positions in attested.passing[wanted.name]
	not attested.enough(wanted, input.matches[n], positions)
}

_matched contains match.requirement if some match in input.matches

_finding(wanted, place, code, texts) := [place, object.union(
	{"code": code, "rule": "signing.rules.unattested", "requirement": wanted.name},
	texts,
)]

# What the type is called by whoever wrote the policy.
_type(wanted) := wanted.predicate_type

_whom(wanted) := sprintf(" signed by %s", [concat(" or ", wanted.signers)]) if {
	wanted.signers
} else := " signed by a trusted signer"

_signers(wanted) := concat(", ", wanted.signers) if {
	wanted.signers
} else := "any trusted signer of the policy"

# What a match speaks of.
_subject(wanted, match) := min(_platforms[match.digests[0]]) if {
	wanted.subjects == "every"
} else := _image

_image := sprintf("Image %s", [lib.image])

_platforms[platform.digest] contains sprintf("Platform %s of image %s", [name, lib.image]) if {
	some platform in input.subject.platforms
	name := concat("/", [part | some part in [platform.os, platform.architecture, platform.variant]; part != ""])
}

_reference(match) := sprintf("%s/%s@%s", [input.subject.registry, input.subject.repository, match.digests[0]]) if {
	input.subject.repository != ""
} else := "IMAGE"

_attest(wanted, match) := sprintf("cosign attest --type %s --predicate FILE %s", [_type(wanted), _reference(match)])

# What is there instead.
_there(wanted) := " There are some about other parts of the image, which do not speak for it." if {
	some attestation in input.attestations
	attestation.predicate_type in wanted.types
} else := sprintf(" Not verified: %s.", [lib.few(_not_verified)]) if {
	count(_not_verified) > 0
} else := sprintf(" What it has is of other types: %s.", [lib.few(types)]) if {
	types := {attestation.predicate_type | some attestation in input.attestations}
	count(types) > 0
} else := ""

_not_verified contains sprintf("%s (%s)", [rejection.code, trim_suffix(rejection.message, ".")]) if {
	some rejection in input.rejections
	rejection.code != "no_signature"
}

_by_signers(wanted, positions) := {i |
	some i in positions
	some name in input.attestations[i].trusted_signers
	name in object.get(wanted, "signers", [name])
}

_vouched(wanted, positions) := {i |
	some i in positions
	count(lib.vouchers(input.attestations[i], object.get(wanted, "signers", null))) > 0
}

default _lacks(_) := "was not made for a trusted source"

_lacks(attestation) := "has no verified transparency-log entry, which this policy requires" if {
	not lib.logged(attestation)
}

# The one that was signed last; of those that were signed at one time, or at none that is known, that with the
# last id.
_newest(positions) := i if {
	[_, _, i] := max({[_signed(input.attestations[i]), input.attestations[i].id, i] | some i in positions})
}

_signed(attestation) := lib.attested_at(attestation, "signed_at")

_signed(attestation) := 0 if not lib.attested_at(attestation, "signed_at")

_verbs := {"signed_at": "was signed", "made_at": "was made"}

_unknown := {
	"signed_at": "has no verified time of signing, so nobody can tell how old it is",
	"made_at": "does not say when it was made, so nobody can tell how old it is",
}

_how_old(attestation, wanted) := sprintf("%s at %s, %s ago", [
	_verbs[wanted.from],
	lib.moment(at),
	lib.span((time.parse_rfc3339_ns(input.evaluated_at) - at) / 1000000000),
]) if {
	at := lib.attested_at(attestation, wanted.from)
	at <= time.parse_rfc3339_ns(input.evaluated_at)
} else := sprintf("says that it was made in the future, at %s", [lib.moment(at)]) if {
	at := lib.attested_at(attestation, wanted.from)
} else := _unknown[wanted.from]

# METADATA
# title: Somebody may attest
# description: No trusted signer is in force for this image, so no attestation can count.
# custom:
#   code: attestation_no_signer
#   severity: high
#   remediation: Say first whom you trust (signet signers add).
#   example: >-
#     signing.verdict with input as fixture.nothing with data.params as fixture.attesting([{}])
violation contains _finding(wanted, 40, "attestation_no_signer", {
	"message": sprintf(
		"An attestation of the type %s is required, and no trusted signer is in force for image %s who could sign it.",
		[_type(wanted), lib.image],
	),
	"remediation": "Look at trusted_signers of the signing policy; signet signers add registers one.",
}) if {
	some wanted in lib.required_attestations
	not wanted.name in _matched
}

# METADATA
# title: Attestation is there
# description: >-
#   There is no attestation of the required type. The signed type counts, never an annotation of whoever pushed it.
# custom:
#   code: attestation_missing
#   severity: high
#   remediation: Attach the attestation (cosign attest), signed by somebody whom the policy lets sign it.
#   example: >-
#     signing.verdict with input as fixture.attested([]) with data.params as fixture.attesting([{}])
violation contains _finding(wanted, 41, "attestation_missing", {
	"message": sprintf("%s has no attestation of the type %s; one%s is required.%s", [
		_subject(wanted, match), _type(wanted), _whom(wanted), _there(wanted),
	]),
	"remediation": sprintf("Attach one: %s", [_attest(wanted, match)]),
}) if {
	some [wanted, n] in _unmet
	match := input.matches[n]
	count(attested.about[wanted.name][n]) == 0
}

# METADATA
# title: Attestation is by a trusted signer
# description: There are attestations of the required type, and nobody signed one who may.
# custom:
#   code: attestation_signer_not_trusted
#   severity: high
#   remediation: Have it signed by a signer whom the policy lets sign it, or add its signer.
#   example: >-
#     signing.verdict with input as fixture.attested([object.union(fixture.sbom([]), {"trusted_signers": []})]) with
#     data.params as fixture.attesting([{}])
violation contains _finding(wanted, 42, "attestation_signer_not_trusted", {
	"message": sprintf("%s has an attestation of the type %s by nobody who may sign it: %s. Who may: %s.", [
		_subject(wanted, match), _type(wanted),
		lib.few({lib.who(input.attestations[i]) | some i in positions}), _signers(wanted),
	]),
	"remediation": sprintf("Have it signed by one of them: %s", [_attest(wanted, match)]),
}) if {
	some [wanted, n] in _unmet
	match := input.matches[n]
	positions := attested.about[wanted.name][n]
	count(positions) > 0
	count(_by_signers(wanted, positions)) == 0
}

# METADATA
# title: Attestation is in the log, and from a trusted source
# description: >-
#   The attestations by signers who may sign them lack the log entry that the policy asks for, or where any trusted
#   signer may sign them the source.
# custom:
#   code: attestation_not_counted
#   severity: high
#   remediation: Attest again with the transparency log, from a trusted source.
#   example: >-
#     signing.verdict with input as fixture.attested([object.union(fixture.sbom([]), {"transparency": []})]) with
#     data.params as fixture.attesting([{}])
violation contains _finding(wanted, 43, "attestation_not_counted", {
	"message": sprintf("%s has an attestation of the type %s by %s, which %s.", [
		_subject(wanted, match), _type(wanted), lib.who(attestation), _lacks(attestation),
	]),
	"remediation": sprintf("Attest again with the log, from a trusted source: %s", [_attest(wanted, match)]),
	"fact": attestation.id,
}) if {
	some [wanted, n] in _unmet
	match := input.matches[n]
	positions := _by_signers(wanted, attested.about[wanted.name][n])
	count(positions) > 0
	count(_vouched(wanted, positions)) == 0
	attestation := input.attestations[_newest(positions)]
}

# METADATA
# title: Attestation is fresh
# description: The attestations by signers who may sign them are too old, or nobody can tell how old they are.
# custom:
#   code: attestation_too_old
#   severity: high
#   remediation: Make the attestation anew, and sign it.
#   example: >-
#     signing.verdict with input as fixture.attested([fixture.sbom([])]) with data.params as
#     fixture.attesting([{"max_age": 3600}])
violation contains _finding(wanted, 44, "attestation_too_old", {
	"message": sprintf("%s has an attestation of the type %s by %s, which %s; at most %s are allowed.", [
		_subject(wanted, match), _type(wanted), lib.who(attestation), _how_old(attestation, wanted), lib.span(wanted.max_age),
	]),
	"remediation": sprintf("Make it anew: %s", [_attest(wanted, match)]),
	"fact": attestation.id,
}) if {
	some [wanted, n] in _unmet
	match := input.matches[n]
	positions := _vouched(wanted, attested.about[wanted.name][n])
	count(positions) > 0
	count(attested.counting[wanted.name][n]) == 0
	attestation := input.attestations[_newest(positions)]
}

# METADATA
# title: Enough signers attested
# description: Fewer distinct trusted signers made the attestation than the policy asks for.
# custom:
#   code: attestation_count_not_met
#   severity: high
#   remediation: Have it attested by more of the signers who may, each with an identity or key of its own.
#   example: >-
#     signing.verdict with input as fixture.attested([fixture.sbom([])]) with data.params as
#     fixture.attesting([{"count": 2}])
violation contains _finding(wanted, 45, "attestation_count_not_met", {
	"message": sprintf("%s has attestations of the type %s by %d of the %d distinct signers that this policy requires.", [
		_subject(wanted, match), _type(wanted),
		count({input.attestations[i].principal | some i in positions}), wanted.count,
	]),
	"remediation": "Have it attested by more of the signers who may, each with an identity or key of its own.",
}) if {
	some [wanted, n] in _unmet
	wanted.count > 1
	match := input.matches[n]
	positions := attested.passing[wanted.name][n]
	count(positions) > 0
}
