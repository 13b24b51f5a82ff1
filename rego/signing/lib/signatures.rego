package signing.lib

# METADATA
# title: Trusted signature
# description: True for a signature that matches a trusted signer and speaks of the image or one of its platforms.
# custom:
#   example: 'lib.trusted(fixture.good.signatures[0]) with input as fixture.good'
trusted(signature) if {
	count(signature.trusted_signers) > 0
	about_image(signature.subject_digest)
}

# METADATA
# title: Digest of the image
# description: True for the digest that was asked for, and for those of the platforms of an index.
# scope: document
# custom:
#   example: 'lib.about_image("sha256:aa") with input as fixture.good'
about_image(digest) if digest == input.subject.digest

about_image(digest) if {
	some platform in input.subject.platforms
	platform.digest == digest
}

# METADATA
# title: Logged
# description: >-
#   True for a signature of which the transparency log asks no more: it has a
#   verified entry, or its trust root has no log at all, or it was made with a key
#   and the policy does not ask keys for the log. Certificates are asked for it
#   whatever the policy says.
# scope: document
# custom:
#   example: >-
#     lib.logged(fixture.good.signatures[0]) with input as fixture.good with data.params as
#     fixture.params
logged(signature) if count(signature.transparency) > 0

logged(signature) if without_log(signature)

logged(signature) if {
	signature.signer.kind == "key"
	params.verify_transparency_log == false
}

# METADATA
# title: Under a root without a log
# description: >-
#   True for a signature without a log entry that could not have one. The root of a
#   certificate, named in trust_root, has no log; for a key, no root in use has one.
# scope: document
# custom:
#   example: 'lib.without_log(fixture.unlogged.signatures[0]) with input as fixture.unlogged'
without_log(signature) if {
	signature.signer.kind == "certificate"
	count(signature.transparency) == 0
	all_without_log([root | some root in input.trust; root.name == signature.trust_root])
}

without_log(signature) if {
	signature.signer.kind == "key"
	count(signature.transparency) == 0
	all_without_log(input.trust)
}

# METADATA
# title: Roots without a log
# description: True when there is at least one root and each says of itself that it has no log.
# custom:
#   example: 'lib.all_without_log(fixture.unlogged.trust)'
all_without_log(roots) if {
	count(roots) > 0
	every root in roots {
		root.transparency_log == false
	}
}
