# METADATA
# title: Image signing policy
# description: >-
#   Decides from verified facts (input) and the parameters of a signing policy
#   (data.params) whether an image may run. The one entrypoint is
#   data.signing.verdict. It denies by default: it allows only when the
#   requirement is met by named signatures and no rule objects.
package signing

import data.signing.lib
import data.signing.rules

# METADATA
# title: Verdict
# description: >-
#   The whole answer in one object: allow, violations, warnings, the facts that
#   satisfied each requirement, and the SLSA level.
# entrypoint: true
# custom:
#   code: input_not_understood
#   severity: high
#   remediation: Give this policy a document of the schema signet/input/v1, as signet facts prints it.
default verdict := {
	"allow": false,
	"violations": [{
		"code": "input_not_understood",
		"message": "The input is not a document of the schema signet/input/v1, so nothing in it was believed.",
		"remediation": "Give this policy a document of the schema signet/input/v1, as signet facts prints it.",
		"rule": "signing.verdict",
	}],
	"warnings": [],
	"satisfied_by": [],
	"slsa": {"level": 0, "builder": null},
}

verdict := {
	"allow": allow,
	"violations": [finding | some [_, finding] in sort(rules.violation)],
	"warnings": [finding | some [_, finding] in sort(rules.warning)],
	"satisfied_by": satisfied_by,
	"slsa": {"level": 0, "builder": null},
} if {
	input.schema == "signet/input/v1"
}

# METADATA
# title: Allow
# description: True only when the signature requirement is met and no rule objects.
# scope: document
# custom:
#   code: allow
#   severity: none
#   remediation: Read the violations of data.signing.verdict.
default allow := false

allow if {
	lib.signature_requirement_met
	count(rules.violation) == 0
}

# METADATA
# title: Satisfied requirements
# description: Each requirement that is met, with the ids of the facts that meet it.
# custom:
#   code: satisfied_by
#   severity: none
#   remediation: Read the violations of data.signing.verdict.
satisfied_by := [{"requirement": "signature", "facts": lib.satisfying_facts} | lib.signature_requirement_met]
