# METADATA
# title: Why the signature requirement is not met
# description: >-
#   The package signing.lib.requirement asks these rules only when the requirement is not
#   met. They explain; they decide nothing.
package signing.lib.unmet

# The package above this one, not this one:
# regal ignore:pointless-import
import data.signing.lib

# Evidence that may have been a signature. Plain files and attestations are not:
# an image that has only those is not signed.
_rejected contains rejection if {
	some rejection in input.rejections
	not rejection.code in {"no_signature", "signed_in_future"}
	not rejection.media_type in {"application/vnd.dsse.envelope.v1+json", "cosign-dsse"}
}

_future contains rejection if {
	some rejection in input.rejections
	rejection.code == "signed_in_future"
}

_nothing_found if {
	count(input.signatures) == 0
	count(_rejected) == 0
	count(_future) == 0
}

_pinned := lib.by_digest(lib.asked_for)

default _rejected_remedy := "Do not run the image before it is clear why; sign it anew if it is yours."

# Nothing is wrong with these but that nobody told us the key.
_rejected_remedy := concat(" ", [
	"If you trust the key that made it, add it",
	"(signet signers add --key FILE, or trusted_signers in the signing policy).",
]) if {
	every rejection in _rejected {
		rejection.code == "no_matching_key"
	}
}

# METADATA
# title: Image is signed
# description: There is no signature of any kind, and the search was complete.
# custom:
#   code: unsigned
#   severity: high
#   remediation: Sign the image (cosign sign) with an identity or key that this policy trusts, then ask again.
#   example: >-
#     signing.verdict with input as fixture.nothing with data.params as fixture.params
violation contains lib.finding(10, "unsigned", "signing.rules.unmet", {
	"message": sprintf("Image %s is not signed. Signature required.", [lib.image]),
	"remediation": sprintf(
		"Sign it with an identity or key that this policy trusts, then ask again: cosign sign %s",
		[_pinned],
	),
}) if {
	_nothing_found
	input.search.complete == true
}

# METADATA
# title: Search was complete
# description: No signature was found, but not everything could be seen, so the image is not called unsigned.
# custom:
#   code: search_incomplete
#   severity: high
#   remediation: Ask again; if it stays so, check the registry and the credentials for it.
#   example: >-
#     signing.verdict with input as object.union(fixture.nothing, {"search": {"complete":
#     false}}) with data.params as fixture.params
violation contains lib.finding(11, "search_incomplete", "signing.rules.unmet", {
	"message": sprintf("No signature of image %s was found, but the search could not be completed.", [lib.image]),
	"remediation": "Ask again; if it stays so, check the registry and the credentials for it.",
}) if {
	_nothing_found
	not input.search.complete == true
}

# METADATA
# title: Signatures verify
# description: There is evidence that may be a signature, and none of it proved anything.
# custom:
#   code: signature_rejected
#   severity: critical
#   remediation: Do not run the image before it is clear why; sign it anew if it is yours.
#   example: >-
#     signing.verdict with input as object.union(fixture.nothing, {"rejections":
#     [fixture.rejection("subject_mismatch", "signed for another digest.")]}) with
#     data.params as fixture.params
violation contains lib.finding(12, "signature_rejected", "signing.rules.unmet", {
	"message": sprintf("Image %s has no valid signature. Rejected: %s.", [lib.image, lib.few({text |
		some rejection in _rejected
		text := sprintf("%s (%s)", [rejection.code, trim_suffix(rejection.message, ".")])
	})]),
	"remediation": _rejected_remedy,
}) if {
	count(input.signatures) == 0
	count(_rejected) > 0
}

# METADATA
# title: Signed in the past
# description: A verified time lies after the time of evaluation.
# custom:
#   code: signed_in_future
#   severity: high
#   remediation: Check the clock of this machine, and of the log or timestamp authority.
#   example: >-
#     signing.verdict with input as object.union(fixture.nothing, {"rejections":
#     [fixture.rejection("signed_in_future", "signed at 2099-01-01T00:00:00Z.")]}) with
#     data.params as fixture.params
violation contains lib.finding_of(13, "signed_in_future", "signing.rules.unmet", {
	"message": sprintf(
		"A signature of image %s carries a verified time in the future: %s.",
		[lib.image, trim_suffix(rejection.message, ".")],
	),
	"remediation": "Check the clock of this machine, and of the log or timestamp authority.",
	"fact": rejection.id,
}) if {
	some rejection in _future
}
