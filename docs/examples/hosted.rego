package signing.rules.hosted

import data.signing.lib

_hosted if {
	some signature in input.signatures
	lib.trusted(signature)
	signature.signer.claims.runner_environment == "github-hosted"
}

# METADATA
# title: Built on a hosted runner
# description: No trusted signature was made on a runner that GitHub hosts.
# custom:
#   code: not_hosted
#   severity: high
#   remediation: Build it with the release workflow.
violation contains {
	"code": "not_hosted",
	"message": sprintf("Image %s was not signed by a hosted build.", [lib.image]),
	"remediation": "Build it with the release workflow.",
} if {
	not _hosted
}
