package signing.rules.clean

import data.signing.lib

_clean if {
	some attestation in input.attestations
	lib.about_image(attestation.subject_digest)
	count(lib.vouchers(attestation, ["security"])) > 0
	lib.fresh(attestation, {"max_age": 86400})
	lib.scan.passes(attestation, {"maximum_severity": "high", "unknown_severity": "deny", "unfixed": "allow"})
}

# METADATA
# title: Scanned and clean
# description: No scan of the last day by the security team is free of what is critical and can be mended.
# custom:
#   code: not_clean
#   severity: high
#   remediation: Update the packages, and have the image scanned again.
violation contains {
	"code": "not_clean",
	"message": sprintf("No scan of %s by security, made since yesterday, is clean.", [lib.image]),
	"remediation": "Update the packages, and have the image scanned again.",
} if {
	not _clean
}
