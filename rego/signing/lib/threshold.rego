package signing.lib

# METADATA
# title: Assignment
# description: >-
#   The largest one-to-one assignment between distinct principals and signer
#   entries, principals[n] with signers[n]. It was computed before this policy was
#   asked; undefined unless there is exactly one, and it names each signer once.
# custom:
#   example: 'lib.assignment with input as fixture.good'
assignment := assignment_of("signature", "")

# METADATA
# title: Assignment of a requirement
# description: >-
#   The one assignment of a requirement, for the image as it was asked for (an empty
#   digest) or for one of its platforms.
# custom:
#   example: 'lib.assignment_of("signature", "") with input as fixture.good'
assignment_of(requirement, digest) := match if {
	[match] = [m |
		some m in input.matches
		m.requirement == requirement
		_matched_on(m) == digest
	]
	count({signer | some signer in match.signers}) == match.count
}

_matched_on(match) := object.get(match, "subject_digest", "")

# METADATA
# title: Vouching signatures
# description: >-
#   The principals of the assignment, each with the positions in input.signatures
#   of the signatures that vouch for it: they match its signer entry, speak of the
#   image or one of its platforms, and have the log entry and the source that the
#   policy asks for. A principal without any is left out.
# custom:
#   example: 'lib.vouching with input as fixture.good with data.params as fixture.params'
vouching[principal] contains i if {
	some n, principal in assignment.principals
	some i, signature in input.signatures
	_vouches(assignment, n, signature, "")
}

# METADATA
# title: Vouching signatures of an assignment
# description: >-
#   The same for any assignment, of the image as it was asked for (an empty digest) or
#   of one of its platforms, whose own signatures alone vouch for it.
# custom:
#   example: >-
#     lib.vouching_of(lib.assignment, "") with input as fixture.good with data.params as
#     fixture.params
vouching_of(match, digest) := {principal: positions |
	some principal in match.principals
	positions := {i |
		some n, named in match.principals
		named == principal # an input that names one twice has it once
		some i, signature in input.signatures
		_vouches(match, n, signature, digest)
	}
	count(positions) > 0
}

# The signature is one by the n-th of the match, and meets every condition.
_vouches(match, n, signature, digest) if {
	signature.principal == match.principals[n]
	match.signers[n] in signature.trusted_signers
	_speaks_for(digest, signature.subject_digest)
	logged(signature)
	sourced(signature)
}

# Where the policy does not say, the assignment alone knows which platform was
# asked for.
_speaks_for("", digest) if {
	platforms == ""
	about_image(digest)
}

_speaks_for("", digest) if {
	platforms in {"index", "every"}
	digest == input.subject.digest
}

_speaks_for("", digest) if {
	platforms == "requested"
	digest == requested
}

_speaks_for(platform, digest) if {
	platform != ""
	platform == digest
}

# METADATA
# title: Signature requirement
# description: >-
#   True when as many distinct trusted signers signed as the threshold asks for, and
#   each platform too where the policy asks for every one.
# custom:
#   example: >-
#     lib.signature_requirement_met with input as fixture.good with data.params as
#     fixture.params
signature_requirement_met if {
	params.require_signature == true
	signed("")
	every digest in every_platform {
		signed(digest)
	}
}

# METADATA
# title: Signed by enough
# description: >-
#   True when as many distinct trusted signers as the threshold asks for signed the
#   image as it was asked for (an empty digest), or one platform by itself.
# custom:
#   example: 'lib.signed("") with input as fixture.good with data.params as fixture.params'
signed(digest) if count(vouching_of(assignment_of("signature", digest), digest)) >= params.threshold

# METADATA
# title: Satisfying facts
# description: >-
#   The ids of the signatures that meet the requirement. For each principal those on
#   the digest that was asked for are named, those on a platform only where there
#   are no others.
# custom:
#   example: 'lib.satisfying_facts with input as fixture.good with data.params as fixture.params'
satisfying_facts := sort({input.signatures[i].id | some i in array.concat(
	[i | some positions in vouching; some i in best_of(positions)],
	[i |
		some digest in every_platform
		some positions in vouching_of(assignment_of("signature", digest), digest)
		some i in positions
	],
)})

# METADATA
# title: Best signatures
# description: Those of a set that speak of the digest that was asked for; all of them where none does.
# custom:
#   example: 'lib.best_of({0}) with input as fixture.good'
best_of(signatures) := direct if {
	direct := {i | some i in signatures; input.signatures[i].subject_digest == input.subject.digest}
	count(direct) > 0
} else := signatures
