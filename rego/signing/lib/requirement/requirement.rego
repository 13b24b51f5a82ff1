# METADATA
# title: The signature requirement
# description: >-
#   What every policy asks for before its own rules are asked: parameters that are
#   there, and signatures by enough trusted signers. Each rule contributes to
#   violation, which denies, or to warning, which informs. In a verdict these rules
#   are called signing.rules and signing.rules.unmet, as they always were.
package signing.lib.requirement

# The package above this one, not this one:
# regal ignore:pointless-import
import data.signing.lib
import data.signing.lib.unmet

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
	lib.params.require_signature == false
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
violation contains finding if {
	lib.params.require_signature == true
	not lib.signature_requirement_met
	some finding in unmet.violation
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
