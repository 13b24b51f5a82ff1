# METADATA
# title: Requirements of the policy itself
# description: >-
#   What every policy asks for before its own rules are asked: parameters that are
#   there, and what they ask for, such as signatures by enough trusted signers. Each
#   requirement is in needs; each rule contributes to violation, which denies, or to
#   warning, which informs. A violation with a field "requirement" explains the one
#   of that name. In a verdict these rules are called signing.rules and
#   signing.rules.unmet, as they always were.
package signing.lib.requirement

# The package above this one, not this one:
# regal ignore:pointless-import
import data.signing.lib
import data.signing.lib.unmet

# METADATA
# title: Needs
# description: >-
#   By name, each requirement of the parameters, with the ids of the facts that meet
#   it: an empty set where nothing does.
# custom:
#   code: needs
#   severity: none
#   remediation: Read the violations of data.signing.verdict.
#   example: >-
#     signing.lib.requirement.needs.signature with input as fixture.good with data.params as
#     fixture.params
needs["signature"] := {id | some id in lib.satisfying_facts; lib.signature_requirement_met} if {
	lib.params.require_signature == true
}

# METADATA
# title: Explained needs
# description: >-
#   The requirements that are not met and about which there is a violation of their
#   own, which takes the place of requirement_unexplained.
# custom:
#   code: explained
#   severity: none
#   remediation: Read the violations of data.signing.verdict.
#   example: >-
#     signing.lib.requirement.explained with input as fixture.nothing with data.params as
#     fixture.params
explained contains "signature" if {
	not lib.signed("")
	count(unmet.violation) > 0
}

# METADATA
# title: Needs are met
# description: >-
#   A requirement that no fact meets denies, even where nothing else is said about it.
# custom:
#   code: requirement_unexplained
#   severity: high
#   remediation: Give the image what the policy asks for.
#   example: >-
#     signing.verdict with input as fixture.good with data.params as fixture.params with
#     signing.lib.requirement.needs as {"provenance": set()}
violation contains lib.finding(0, "requirement_unexplained", "signing.rules", {
	"message": sprintf("Nothing that is known of image %s meets the requirement %s.", [lib.image, name]),
	"remediation": "Give the image what the policy asks for.",
}) if {
	some name, ids in needs
	count(ids) == 0
	not name in explained
}

# METADATA
# title: Parameters are there
# description: A policy without its parameters would ask for nothing; it denies instead.
# custom:
#   code: parameters_missing
#   severity: high
#   remediation: Load the policy with parameters made from a signing policy (signet config check shows it).
#   example: >-
#     signing.verdict with input as fixture.good with data.params as {}
violation contains lib.finding(0, "parameters_missing", "signing.rules", {
	"message": "The parameters of the policy are missing or have the wrong type, so it cannot know what to ask for.",
	"remediation": "Load the policy with parameters made from a signing policy (signet config check shows it).",
}) if {
	not lib.params
}

# METADATA
# title: Something is required
# description: A policy that asks for nothing allows nothing.
# custom:
#   code: no_requirement
#   severity: high
#   remediation: Set require_signature to true; to block nothing, set the mode to audit or disabled.
#   example: >-
#     signing.verdict with input as fixture.good with data.params as
#     object.union(fixture.params, {"require_signature": false})
violation contains lib.finding(0, "no_requirement", "signing.rules", {
	"message": "The policy requires nothing, so there is nothing that an image could satisfy.",
	"remediation": "Set require_signature to true; to block nothing, set the mode to audit or disabled.",
}) if {
	lib.params
	count(needs) == 0
}

# METADATA
# title: Signature requirement is met
# description: Why too few distinct trusted signers signed, in the words of the package signing.lib.unmet.
# custom:
#   code: signature_required
#   severity: high
#   remediation: Read the violations; each says what would mend it.
#   example: >-
#     signing.verdict with input as fixture.nothing with data.params as fixture.params
violation contains [place, object.union(finding, {"requirement": "signature"})] if {
	lib.params.require_signature == true
	not lib.signed("")
	some [place, finding] in unmet.violation
}

# METADATA
# title: Trust root without a log
# description: A signature counts without a log entry, because its trust root has no log at all.
# custom:
#   code: root_without_log
#   severity: medium
#   remediation: Use a trust root with a transparency log where you can.
#   example: >-
#     signing.verdict with input as fixture.unlogged with data.params as fixture.params
warning contains lib.finding_of(0, "root_without_log", "signing.rules", {
	"message": sprintf(
		"The signature of image %s by %s counts without a log entry: %s.",
		[lib.image, lib.who(signature), _why_no_log(signature)],
	),
	"remediation": "Use a trust root with a transparency log where you can.",
	"fact": signature.id,
}) if {
	some positions in lib.vouching
	some i in positions
	signature := input.signatures[i]
	lib.without_log(signature)
}

_why_no_log(signature) := sprintf("its trust root %s has no log", [signature.trust_root]) if {
	signature.signer.kind == "certificate"
} else := "no trust root in use has a log"
