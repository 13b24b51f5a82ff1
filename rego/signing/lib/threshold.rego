package signing.lib

# METADATA
# title: Assignment
# description: >-
#   The largest one-to-one assignment between distinct principals and signer
#   entries, principals[n] with signers[n]. It was computed before this policy was
#   asked; undefined unless there is exactly one, and it names each signer once.
# custom:
#   example: 'lib.assignment with input as fixture.good'
assignment := match if {
	[match] = [m | some m in input.matches; m.requirement == "signature"]
	count({signer | some signer in match.signers}) == match.count
}

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
	signature.principal == principal
	assignment.signers[n] in signature.trusted_signers
	about_image(signature.subject_digest)
	logged(signature)
	sourced(signature)
}

# METADATA
# title: Signature requirement
# description: True when as many distinct trusted signers signed as the threshold asks for.
# custom:
#   example: >-
#     lib.signature_requirement_met with input as fixture.good with data.params as
#     fixture.params
signature_requirement_met if {
	params.require_signature == true
	count(vouching) >= params.threshold
}

# METADATA
# title: Satisfying facts
# description: >-
#   The ids of the signatures that meet the requirement. For each principal those on
#   the digest that was asked for are named, those on a platform only where there
#   are no others.
# custom:
#   example: 'lib.satisfying_facts with input as fixture.good with data.params as fixture.params'
satisfying_facts := sort({input.signatures[i].id | some principal; some i in best_of(vouching[principal])})

# METADATA
# title: Best signatures
# description: Those of a set that speak of the digest that was asked for; all of them where none does.
# custom:
#   example: 'lib.best_of({0}) with input as fixture.good'
best_of(signatures) := direct if {
	direct := {i | some i in signatures; input.signatures[i].subject_digest == input.subject.digest}
	count(direct) > 0
} else := signatures
