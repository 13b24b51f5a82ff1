package signing.rules.release

import data.signing.lib

# METADATA
# title: Released
# description: A trusted signature whose annotation says that this is a release.
# custom:
#   code: released
#   severity: none
#   remediation: Read the violations.
requirements.release contains signature.id if {
	some signature in input.signatures
	lib.trusted(signature)
	signature.annotations.channel == "stable"
}

# METADATA
# title: Released by somebody trusted
# description: No trusted signature says that the image is a release.
# custom:
#   code: not_released
#   severity: high
#   remediation: Sign it with the annotation channel=stable.
violation contains {
	"code": "not_released",
	"message": sprintf("Nobody says that %s is a release.", [lib.image]),
	"remediation": "Sign it with the annotation channel=stable.",
	"requirement": "release",
} if {
	count(requirements.release) == 0
}
