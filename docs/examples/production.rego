package signing.rules.production

import data.signing.lib

_production if {
	some signature in input.signatures
	lib.trusted(signature)
	signature.annotations.env == "prod"
}

# METADATA
# title: Built for production
# description: No trusted signature says that the image is for production.
# custom:
#   code: not_for_production
#   severity: high
#   remediation: Sign it for production.
violation contains {
	"code": "not_for_production",
	"message": sprintf("Nobody says that %s is for production.", [lib.image]),
	"remediation": "Sign it for production.",
} if {
	not _production
}
