package signing.lib.requirement

# The package above this one, not this one:
# regal ignore:pointless-import
import data.signing.lib

# METADATA
# title: Groups of signers
# description: >-
#   The requirement of each group, with the ids of the signatures that meet it, on each
#   platform where the policy asks for every one.
# custom:
#   code: needs_of_groups
#   severity: none
#   remediation: Read the violations of data.signing.verdict.
#   example: >-
#     signing.lib.requirement.needs["group:security"] with input as fixture.signed_by_groups
#     with data.params as fixture.grouped
needs[name] := {input.signatures[i].id |
	every target in _targets {
		lib.group_signed(group, target)
	}
	some target in _targets
	some positions in lib.vouching_of_group(group, target)
	some i in positions
} if {
	some group in lib.groups
	name := lib.requirement_of_group(group.name)
}

# What signatures are asked of: the image as it was asked for, which is "", and each
# platform where the policy asks for every one.
_targets contains ""

_targets contains digest if some digest in lib.every_platform

# METADATA
# title: Groups that are not met
# description: The requirements of groups that are not met, about each of which there is a violation.
# custom:
#   code: explained_groups
#   severity: none
#   remediation: Read the violations of data.signing.verdict.
#   example: >-
#     signing.lib.requirement.explained with input as fixture.good with data.params as
#     fixture.grouped
explained contains name if {
	some group in lib.groups
	name := lib.requirement_of_group(group.name)
	count(needs[name]) == 0
}

# METADATA
# title: Each group signed
# description: >-
#   Fewer distinct signers of a group signed than its threshold asks for. Who counts
#   for one group counts for no other.
# custom:
#   code: group_not_met
#   severity: high
#   remediation: Have it signed by more of the signers of the group, none of whom counts for another group.
#   example: >-
#     signing.verdict with input as fixture.good with data.params as fixture.grouped
violation contains lib.explains(
	lib.requirement_of_group(group.name),
	lib.finding(40 + i, "group_not_met", "signing.rules", {
		"message": sprintf("%s is signed by %d of the %d distinct signers of the group %s that this policy requires%s.", [
			lib.what(target), count(vouching), group.threshold, group.name, _who_signed(group, target, vouching),
		]),
		"remediation": sprintf("Have it signed by %s: cosign sign %s", [
			_who_is_missing(group, target),
			lib.by_digest(_digest_of(target)),
		]),
	}),
) if {
	some i, group in lib.groups
	some target in _targets
	not lib.group_signed(group, target)
	vouching := lib.vouching_of_group(group, target)
}

_digest_of("") := lib.asked_for

_digest_of(target) := target if target != ""

_who_signed(group, target, vouching) := concat("", [
sprintf(": %s", [said]) |
	said := lib.few({sentence |
		some sentence in (_signed_for(vouching) | _counts_elsewhere(group, target))
	})
	said != ""
])

_signed_for(vouching) := {sprintf("%s signed", [lib.who(signature)]) |
	some positions in vouching
	some i in positions
	signature := input.signatures[i]
}

_counts_elsewhere(group, target) := {sprintf("%s counts for the group %s already", [lib.who(signature), other.name]) |
	some other in lib.groups
	other.name != group.name
	some positions in lib.vouching_of_group(other, target)
	some i in positions
	signature := input.signatures[i]
	some signer in signature.trusted_signers
	signer in group.signers
}

# The signers of the group that count for no group yet.
_who_is_missing(group, target) := concat(" or ", sort({signer |
	some signer in group.signers
	not signer in _counting_signers(target)
}))

_counting_signers(target) := {signer |
	some group in lib.groups
	some signer in lib.assignment_of(lib.requirement_of_group(group.name), target).signers
}
