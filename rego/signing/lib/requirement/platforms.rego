package signing.lib.requirement

# The package above this one, not this one:
# regal ignore:pointless-import
import data.signing.lib

# METADATA
# title: Platforms that are not signed
# scope: rule
# description: The signature requirement is explained where a platform is not signed by itself.
# custom:
#   code: explained_by_platforms
#   severity: none
#   remediation: Read the violations of data.signing.verdict.
#   example: >-
#     signing.lib.requirement.explained with input as fixture.good with data.params as
#     fixture.of_every
explained contains "signature" if {
	count(input.signatures) > 0
	some target, _ in _platform_targets
	not lib.signed(target)
}

explained contains "signature" if {
	lib.platforms == "requested"
	not lib.requested
}

# METADATA
# title: Platform was asked for
# description: The policy judges one platform of an index, and none was asked for, or several have its name.
# custom:
#   code: platform_not_requested
#   severity: high
#   remediation: Ask for one platform of the image (--platform).
#   example: >-
#     signing.verdict with input as fixture.good with data.params as fixture.of_requested
violation contains lib.finding(5, "platform_not_requested", "signing.rules", {
	"message": sprintf("This policy judges the platform that is asked for, and image %s was asked for %s.", [
		lib.image, _which_platform,
	]),
	"remediation": sprintf("Ask for one platform by the name that the index has for it%s.", [_known_platforms]),
}) if {
	lib.platforms == "requested"
	not lib.requested
}

# METADATA
# title: Platform is signed
# description: Too few distinct trusted signers signed a platform of the index by itself, as the policy wants it.
# custom:
#   code: platform_not_signed
#   severity: high
#   remediation: Sign the platform's manifest by its digest; cosign sign --recursive signs the index and every platform.
#   example: >-
#     signing.verdict with input as fixture.good with data.params as fixture.of_every
violation contains lib.explains("signature", lib.finding(35, "platform_not_signed", "signing.rules", {
	"message": sprintf("%s is itself signed by %d of the %d distinct trusted signers that this policy requires.", [
		lib.platform_in_words(digest), _signers_of(target), lib.params.threshold,
	]),
	"remediation": sprintf(
		"Sign its manifest (cosign sign --recursive signs an index and every platform): cosign sign %s",
		[lib.by_digest(digest)],
	),
})) if {
	count(input.signatures) > 0
	some target, digest in _platform_targets
	not lib.signed(target)
}

# METADATA
# title: Every platform meets the requirement
# description: >-
#   A requirement other than signatures is met, but not by facts about each platform,
#   as the policy wants it.
# custom:
#   code: platform_lacks_requirement
#   severity: high
#   remediation: Give each platform's manifest what the requirement asks for.
#   example: >-
#     signing.verdict with input as fixture.good with data.params as fixture.of_every with
#     signing.lib.requirement.needs as {"provenance": {"sha256:dev"}}
violation contains lib.finding(36, "platform_lacks_requirement", "signing.rules", {
	"message": sprintf("%s does not meet the requirement %s, which this policy asks of every platform.", [
		lib.platform_in_words(digest), name,
	]),
	"remediation": sprintf("Give its manifest what the requirement asks for; attest %s.", [lib.by_digest(digest)]),
}) if {
	some name, ids in needs
	count(ids) > 0
	not name in _met_by_signatures
	some digest in lib.every_platform
	not _is_covered(digest, name)
}

default _which_platform := "as a whole"

_which_platform := sprintf("as %s, which several of its manifests are called", [input.request.platform]) if {
	input.request.platform != ""
}

_known_platforms := concat("", [sprintf(", for example --platform %s/%s", [platform.os, platform.architecture]) |
	platform := input.subject.platforms[0]
])

# By target, the digest of each platform that must be signed by itself.
_platform_targets[digest] := digest if {
	lib.params.require_signature == true
	some digest in lib.every_platform
}

_platform_targets[""] := lib.requested if {
	lib.params.require_signature == true
	lib.platforms == "requested"
	lib.may_have_platforms
}

default _signers_of(_) := 0

_signers_of(target) := count(lib.vouching_of(lib.assignment_of("signature", target), target))

_is_covered(digest, name) if name in covered[digest]

# METADATA
# title: Covered digests
# scope: rule
# description: >-
#   By digest, the requirements that are met for it: those of signatures by signatures
#   on it where the policy says so, others by facts about it.
# custom:
#   code: covered
#   severity: none
#   remediation: Read the violations of data.signing.verdict.
#   example: >-
#     signing.lib.requirement.covered with input as fixture.good with data.params as
#     fixture.of_every
covered[digest] contains "signature" if {
	some target, digest in _judged
	lib.signed(target)
}

covered[digest] contains lib.requirement_of_group(group.name) if {
	some target, digest in _judged
	some group in lib.groups
	lib.group_signed(group, target)
}

# METADATA
# title: Digests that are covered by facts
# description: The digests that the facts speak of which meet a requirement other than signatures.
# custom:
#   code: covered_by_facts
#   severity: none
#   remediation: Read the violations of data.signing.verdict.
#   example: >-
#     signing.lib.requirement.covered["sha256:aa"] with input as fixture.good with
#     data.params as fixture.params with signing.lib.requirement.needs as {"provenance":
#     {"sha256:dev"}}
covered[fact.subject_digest] contains name if {
	some name, ids in needs
	not name in _met_by_signatures
	some fact in array.concat(input.signatures, input.attestations)
	fact.id in ids
	_meets(fact, name)
}

_meets(fact, name) if not _proves_apart(fact, name)

_meets(fact, _) if fact.id in object.get(_met_of, fact.subject_digest, set())

# Provenance and a summary may speak of several digests, and prove something of one of them.
_proves_apart(fact, "provenance") if fact.build

_proves_apart(fact, name) if {
	name in {"provenance", "summary"}
	fact.projection.kind == "vsa"
}

_met_by_signatures := {"signature"} | {lib.requirement_of_group(group.name) | some group in lib.groups}

# By target, the digests that the policy judges where it says what it asks of an index.
_judged[""] := input.subject.digest if lib.platforms in {"index", "every"}

_judged[""] := lib.requested if lib.platforms == "requested"

_judged[digest] := digest if some digest in lib.every_platform

# METADATA
# title: Coverage
# description: >-
#   Where the policy says what it asks of an index: for each digest that it judges
#   each requirement, and whether it is met.
# custom:
#   code: coverage
#   severity: none
#   remediation: Read the violations of data.signing.verdict.
#   example: >-
#     signing.lib.requirement.coverage with input as fixture.good with data.params as
#     fixture.of_every
coverage := [{"digest": digest, "requirement": name, "met": name in object.get(covered, digest, set())} |
	some target, digest in _judged
	some name, _ in needs
	_asked_of(name, target)
]

_asked_of(name, _) if name in _met_by_signatures

_asked_of(name, target) if {
	not name in _met_by_signatures
	target != ""
}

# Requirements other than signatures are asked of the platforms, not of their index.
_asked_of(name, "") if {
	not name in _met_by_signatures
	count(lib.every_platform) == 0
}
