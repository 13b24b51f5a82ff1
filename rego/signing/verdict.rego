# METADATA
# title: Image signing policy
# description: >-
#   Decides from verified facts (input) and the parameters of a signing policy
#   (data.params) whether an image may run. The one entrypoint is
#   data.signing.verdict. It denies by default: it allows only when the
#   requirement is met by named signatures and no rule objects. Rules are packages
#   below data.signing.rules, each with a set "violation", a set "warning", or both.
# scope: subpackages
# schemas:
#   - input: schema.input
package signing

import data.signing.lib
import data.signing.lib.requirement

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
#   example: >-
#     signing.verdict with input as {}
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
	"violations": [finding | some [_, finding] in array.concat(sort(requirement.violation), sort(objection))],
	"warnings": [finding | some [_, finding] in array.concat(sort(requirement.warning), sort(remark))],
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
#   example: >-
#     signing.allow with input as fixture.good with data.params as fixture.params
default allow := false

allow if {
	lib.signature_requirement_met
	count(requirement.violation) == 0
	count(objection) == 0
}

# METADATA
# title: Satisfied requirements
# description: Each requirement that is met, with the ids of the facts that meet it.
# custom:
#   code: satisfied_by
#   severity: none
#   remediation: Read the violations of data.signing.verdict.
#   example: >-
#     signing.satisfied_by with input as fixture.good with data.params as fixture.params
satisfied_by := [{"requirement": "signature", "facts": lib.satisfying_facts} | lib.signature_requirement_met]

# METADATA
# title: Objections of rules
# description: >-
#   What the packages below data.signing.rules hold against the image: every member
#   of their sets "violation", with the package as its "rule".
# custom:
#   code: rule_objects
#   severity: high
#   remediation: Read the violations; each says what would mend it.
#   example: >-
#     signing.objection with signing.rules as {"mine": {"violation": {{"code": "old",
#     "message": "It is old.", "remediation": "Build it anew."}}}}
objection contains [name, object.union(finding, {"rule": sprintf("signing.rules.%s", [name])})] if {
	some name
	found := data.signing.rules[name].violation
	some finding in found
}

# METADATA
# title: Rules are sets
# description: >-
#   A "violation" that is no set of findings, such as one written without
#   "contains", would be passed over; it denies instead.
# custom:
#   code: rule_malformed
#   severity: high
#   remediation: Write it as violation contains {"code", "message", "remediation"} if { … }.
#   example: >-
#     signing.objection with signing.rules as {"mine": {"violation": true}}
objection contains [name, {
	"code": "rule_malformed",
	"message": sprintf("The violation of the package signing.rules.%s is no set of findings.", [name]),
	"remediation": "Write it as violation contains {\"code\": …, \"message\": …, \"remediation\": …} if { … }.",
	"rule": sprintf("signing.rules.%s", [name]),
}] if {
	some name
	found := data.signing.rules[name].violation
	not is_set(found)
}

# METADATA
# title: Remarks of rules
# description: Every member of the sets "warning" of the packages below data.signing.rules, which inform and never deny.
# custom:
#   code: rule_remarks
#   severity: medium
#   remediation: Read the warnings; each says what would mend it.
#   example: >-
#     signing.remark with signing.rules as {"mine": {"warning": {{"code": "old", "message":
#     "It is old.", "remediation": "Build it anew."}}}}
remark contains [name, object.union(finding, {"rule": sprintf("signing.rules.%s", [name])})] if {
	some name
	found := data.signing.rules[name].warning
	some finding in found
}
