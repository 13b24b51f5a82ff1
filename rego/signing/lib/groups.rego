package signing.lib

# METADATA
# title: Groups
# description: The groups of signers that the policy asks for beside its threshold; none where it names none.
# custom:
#   example: 'lib.groups with data.params as fixture.grouped'
groups := object.get(params, "groups", [])

# METADATA
# title: Groups in order
# description: True when each group has a name of its own, signers, and a threshold that they can meet.
# custom:
#   example: 'lib.groups_in_order(fixture.grouped.groups)'
groups_in_order(list) if {
	is_array(list)
	count({group.name | some group in list}) == count(list)
	every group in list {
		is_string(group.name)
		group.name != ""
		is_array(group.signers)
		every signer in group.signers {
			is_string(signer)
			signer != ""
		}
		is_number(group.threshold)
		group.threshold >= 1
		group.threshold <= count({signer | some signer in group.signers})
	}
}

# METADATA
# title: Requirement of a group
# description: What the requirement of a group is called.
# custom:
#   example: 'lib.requirement_of_group("release")'
requirement_of_group(name) := sprintf("group:%s", [name])

# METADATA
# title: Vouching signatures of a group
# description: >-
#   The principals that count for a group, each with the positions of the signatures
#   that vouch: for the image as it was asked for (an empty digest) or one platform.
#   Each is assigned to one of the group's signers, and to no other group.
# custom:
#   example: >-
#     lib.vouching_of_group(fixture.grouped.groups[0], "") with input as
#     fixture.signed_by_groups with data.params as fixture.grouped
vouching_of_group(group, digest) := {principal: positions |
	match := assignment_of(requirement_of_group(group.name), digest)
	every signer in match.signers {
		signer in group.signers
	}
	some principal, positions in vouching_of(match, digest)
	not principal in _of_other_groups(group.name, digest)
}

_of_other_groups(name, digest) := {principal |
	some other in groups
	other.name != name
	some principal in assignment_of(requirement_of_group(other.name), digest).principals
}

# METADATA
# title: Group signed
# description: >-
#   True when as many distinct signers of a group as its threshold asks for signed the
#   image as it was asked for (an empty digest), or one platform by itself.
# custom:
#   example: >-
#     lib.group_signed(fixture.grouped.groups[0], "") with input as
#     fixture.signed_by_groups with data.params as fixture.grouped
group_signed(group, digest) if count(vouching_of_group(group, digest)) >= group.threshold
