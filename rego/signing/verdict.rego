# METADATA
# title: Image signing policy
# description: >-
#   Decides from verified facts (input) and the parameters of a signing policy
#   (data.params) whether an image may run. The one entrypoint is
#   data.signing.verdict. It denies by default: it allows only when the
#   requirement is met by named signatures and no rule objects. Rules are packages
#   below data.signing.rules, each with a set "violation", a set "warning", an
#   object "requirements", or several of them. Exceptions, among the parameters,
#   waive violations until they end.
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
#   satisfied each requirement, and the SLSA level; coverage where the policy says what
#   it asks of an index.
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

verdict := object.union_n([
	{
		"allow": allow,
		"violations": [lib.standing(finding) | some finding in _found; not _is_waived(finding)],
		"warnings": array.concat(
			[lib.waived(finding, lib.waiver[finding.code]) | some finding in _found],
			[finding | some [_, finding] in array.concat(sort(requirement.warning), sort(remark))],
		),
		"satisfied_by": satisfied_by,
		"slsa": lib.slsa,
	},
	_waivers,
	_validity,
	_coverage,
]) if {
	input.schema == "signet/input/v1"
}

# What there is to hold against the image, before exceptions.
_found := [object.remove(finding, ["requirement"]) |
	some [_, finding] in array.concat(sort(requirement.violation), sort(objection))
]

_standing contains finding if {
	some finding in _found
	not _is_waived(finding)
}

# A function, because in "not lib.waiver[finding.code]" a finding without a code
# would make the whole expression undefined, and so be passed over.
_is_waived(finding) if lib.waiver[finding.code]

# The exceptions that waive something here, each with what it waives.
_used[exception] contains finding.code if {
	some finding in _found
	exception := lib.waiver[finding.code]
}

default _coverage := {}

_coverage := {"coverage": requirement.coverage} if lib.platforms != ""

default _waivers := {}

_waivers := {"exceptions": [object.union(object.remove(exception, ["images"]), {"codes": sort(codes)}) |
	some exception, codes in _used
]} if {
	count(_used) > 0
}

# When time alone may end what is said here.
default _validity := {}

_validity := {"valid_until": text} if [_, text] := min(_ends)

_ends contains [time.parse_rfc3339_ns(exception.expires_at), exception.expires_at] if some exception, _ in _used

_ends contains [ns, lib.moment(ns)] if some ns in requirement.ends

# METADATA
# title: Allow
# description: >-
#   True only when there is a requirement of the policy itself, each of them is met
#   or waived, and nothing stands against the image.
# scope: document
# custom:
#   code: allow
#   severity: none
#   remediation: Read the violations of data.signing.verdict.
#   example: >-
#     signing.allow with input as fixture.good with data.params as fixture.params
default allow := false

allow if {
	count(requirement.needs) > 0
	every name, ids in requirement.needs {
		_settled(name, ids)
	}
	count(_standing) == 0
}

_settled(_, ids) if count(ids) > 0

_settled(name, _) if count(_waivers_of_need[name]) > 0

# The exceptions that waive a requirement of the policy itself, by its name. One
# that waives only some of what is said against it waives no requirement.
_waivers_of_need[name] contains exception.name if {
	some name, ids in requirement.needs
	count(ids) == 0
	codes := {finding.code | some [_, finding] in requirement.violation; _speaks_of(finding, name)}
	every code in codes {
		lib.waiver[code]
	}
	some code in codes
	exception := lib.waiver[code]
}

# What names no requirement speaks of all of them.
_speaks_of(finding, name) if object.get(finding, "requirement", name) == name

# METADATA
# title: Satisfied requirements
# description: >-
#   Each requirement that is met, with the ids of the facts that meet it, and each
#   that is waived, with the exception that waives it.
# custom:
#   code: satisfied_by
#   severity: none
#   remediation: Read the violations of data.signing.verdict.
#   example: >-
#     signing.satisfied_by with input as fixture.good with data.params as fixture.params
satisfied_by := array.flatten([
	[{"requirement": name, "facts": sort(ids)} | some name, ids in requirement.needs; count(ids) > 0],
	[{"requirement": name, "exception": exception} |
		some name, exceptions in _waivers_of_need
		some exception in exceptions
	],
	[entry | some [_, entry] in sort(_satisfied_by_rules)],
])

_satisfied_by_rules contains [name, {"requirement": wanted, "facts": sort({id | some id in ids})}] if {
	some [name, wanted, ids] in requirement_of_rules
	count(ids) > 0
}

_satisfied_by_rules contains [name, {"requirement": wanted, "exception": exception.name}] if {
	some [name, wanted, ids] in requirement_of_rules
	count(ids) == 0
	codes := _said_of(name, wanted)
	every code in codes {
		lib.waiver[code]
	}
	some code in codes
	exception := lib.waiver[code]
}

# METADATA
# title: Objections of rules
# description: >-
#   What the packages below data.signing.rules hold against the image: every member
#   of their sets "violation", with the package as its "rule". A member may have a
#   field "requirement", the name of the requirement of its package that it explains.
# custom:
#   code: rule_objects
#   severity: high
#   remediation: Read the violations; each says what would mend it.
#   example: >-
#     signing.objection with signing.rules as {"mine": {"violation": {{"code": "old",
#     "message": "It is old.", "remediation": "Build it anew."}}}}
objection contains [name, object.union(
	object.remove(finding, ["requirement"]),
	{"rule": sprintf("signing.rules.%s", [name])},
)] if {
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
# title: Requirements of rules are met
# description: >-
#   A requirement of a rule that no fact meets denies, even where the rule holds
#   nothing against the image. A violation with a field "requirement", which names
#   it, takes the place of this one.
# custom:
#   code: requirement_not_met
#   severity: high
#   remediation: Give the image what the rule asks for.
#   example: >-
#     signing.objection with input as fixture.good with signing.rules as {"mine":
#     {"requirements": {"release": set()}}}
objection contains [name, {
	"code": "requirement_not_met",
	"message": sprintf("Nothing that is known of image %s meets the requirement %s.", [lib.image, wanted]),
	"remediation": sprintf("Give it what the rule signing.rules.%s asks for.", [name]),
	"rule": sprintf("signing.rules.%s", [name]),
}] if {
	some [name, wanted, ids] in requirement_of_rules
	count(ids) == 0
	_said_of(name, wanted) == {"requirement_not_met"}
}

# METADATA
# title: Requirements are sets of ids
# description: >-
#   Requirements that are not names with sets of ids, or take the name of the
#   signature requirement, would be passed over; they deny instead.
# custom:
#   code: requirement_malformed
#   severity: high
#   remediation: Write them as requirements.NAME contains fact.id if { … }.
#   example: >-
#     signing.objection with signing.rules as {"mine": {"requirements": {"release": true}}}
objection contains [name, {
	"code": "requirement_malformed",
	"message": sprintf("The requirements of the package signing.rules.%s are no names with sets of ids.", [name]),
	"remediation": "Write them as requirements.NAME contains fact.id if { … }, with a name other than signature.",
	"rule": sprintf("signing.rules.%s", [name]),
}] if {
	some name
	requirements := data.signing.rules[name].requirements
	not _requirements_in_order(requirements)
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

# METADATA
# title: Requirements of rules
# description: >-
#   What the packages below data.signing.rules require beside signatures: every
#   entry of their objects "requirements", each with the ids of the facts that meet
#   it. An entry without any is a requirement that is not met.
# custom:
#   code: rule_requires
#   severity: none
#   remediation: Read the violations; each says what would mend it.
#   example: >-
#     signing.satisfied_by with input as fixture.good with data.params as fixture.params
#     with signing.rules as {"mine": {"requirements": {"release": {"sha256:dev"}}}}
requirement_of_rules contains [name, wanted, ids] if {
	some name
	requirements := data.signing.rules[name].requirements
	is_object(requirements)
	some wanted, ids in requirements
	_ids_in_order(wanted, ids)
}

_ids_in_order(wanted, ids) if {
	is_string(wanted)
	not wanted in {"", "signature"}
	_is_list(ids)
	every id in ids {
		is_string(id)
	}
}

_is_list(ids) if is_set(ids)

_is_list(ids) if is_array(ids)

# The codes of what a package says of a requirement of its own.
_said_of(name, wanted) := codes if {
	codes := {finding.code |
		some finding in data.signing.rules[name].violation
		finding.requirement == wanted
	}
	count(codes) > 0
} else := {"requirement_not_met"}

_requirements_in_order(requirements) if {
	is_object(requirements)
	every wanted, ids in requirements {
		_ids_in_order(wanted, ids)
	}
}
