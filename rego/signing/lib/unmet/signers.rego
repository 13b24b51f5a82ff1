package signing.lib.unmet

# The package above this one, not this one:
# regal ignore:pointless-import
import data.signing.lib

# The assignment is there whenever a trusted signer is in force, however few
# signatures it could place.
_somebody_trusted if {
	some match in input.matches
	match.requirement == "signature"
}

default _whom_to_trust := "Look at trusted_signers of the signing policy: none is in force for this image at this time."

_whom_to_trust := concat(" ", [
	"Say first whom you trust: signet signers add --issuer URL --subject IDENTITY,",
	"or signet signers add --key FILE",
]) if {
	lib.params.registered_signers
}

_trusted contains i if {
	some i, signature in input.signatures
	lib.trusted(signature)
}

_counting contains i if {
	some i in _trusted
	lib.logged(input.signatures[i])
	lib.sourced(input.signatures[i])
}

default _log_remedy(_) := "Sign again with the transparency log (cosign uses it unless told otherwise)."

_log_remedy("key") := concat(" ", [
	"Sign again with the transparency log, or set verify_transparency_log to false,",
	"which applies to keys only.",
])

_named_source(signature) := sprintf("was made for the source %s", [address]) if {
	address := signature.signer.claims.source_repository_uri
} else := "names no source repository"

_short_of_signers if count(_counting) > 0

_short_of_signers if lib.params.threshold > 1

# METADATA
# title: Somebody is trusted
# description: No trusted signer is in force for this image, so no signature can count.
# custom:
#   code: no_trusted_signer
#   severity: high
#   remediation: Say whom you trust first (signet signers add).
#   example: >-
#     signing.verdict with input as object.union(fixture.nothing, {"matches": []}) with
#     data.params as fixture.params
violation contains lib.finding(20, "no_trusted_signer", "signing.rules.unmet", {
	"message": sprintf("No trusted signer is in force for image %s, so no signature of it can count.", [lib.image]),
	"remediation": _whom_to_trust,
}) if {
	not _somebody_trusted
}

# METADATA
# title: Signer is trusted
# description: The image is signed, and nobody who signed it is a trusted signer.
# custom:
#   code: signer_not_trusted
#   severity: high
#   remediation: If the signer is to be trusted, add it (signet signers add, or trusted_signers in the signing policy).
#   example: >-
#     signing.verdict with input as fixture.signed([fixture.keyless("eve")], []) with
#     data.params as fixture.params
violation contains lib.finding(21, "signer_not_trusted", "signing.rules.unmet", {
	"message": sprintf("Image %s is signed, but by nobody whom this policy trusts: %s.", [lib.image, lib.few({who |
		some signature in input.signatures
		who := lib.who(signature)
	})]),
	"remediation": concat(" ", [
		"If the signer is to be trusted, add it",
		"(signet signers add, or trusted_signers in the signing policy).",
	]),
}) if {
	_somebody_trusted
	count(input.signatures) > 0
	count(_trusted) == 0
}

# METADATA
# title: Signature is in a transparency log
# description: >-
#   A trusted signature has no verified log entry, although its trust root has a
#   log, so it does not count.
# custom:
#   code: transparency_log_missing
#   severity: high
#   remediation: Sign again with the transparency log, or, for keys only, set verify_transparency_log to false.
#   example: >-
#     signing.verdict with input as fixture.signed([object.union(fixture.good.signatures[0],
#     {"transparency": []})], []) with data.params as fixture.params
violation contains lib.finding_of(30, "transparency_log_missing", "signing.rules.unmet", {
	"message": sprintf(
		"The signature of image %s by %s has no verified transparency-log entry, which this policy requires.",
		[lib.image, lib.who(signature)],
	),
	"remediation": _log_remedy(signature.signer.kind),
	"fact": signature.id,
}) if {
	some i in _trusted
	signature := input.signatures[i]
	not lib.logged(signature)
}

# METADATA
# title: Source is trusted
# description: The certificate of a trusted signature does not name a trusted source repository.
# custom:
#   code: source_not_trusted
#   severity: high
#   remediation: Build from a trusted source, or add the repository to trusted_sources.
#   example: >-
#     signing.verdict with input as fixture.good with data.params as
#     object.union(fixture.params, {"trusted_sources": ["github.com/org"]})
violation contains lib.finding_of(31, "source_not_trusted", "signing.rules.unmet", {
	"message": sprintf(
		"The signature of image %s by %s %s; trusted sources: %s.",
		[lib.image, lib.who(signature), _named_source(signature), lib.few(lib.params.trusted_sources)],
	),
	"remediation": "Build from a trusted source, or add the repository to trusted_sources.",
	"fact": signature.id,
}) if {
	some i in _trusted
	signature := input.signatures[i]
	not lib.sourced(signature)
}

# METADATA
# title: Index is signed
# description: Only platforms of the index are signed, and the image was asked for as a whole.
# custom:
#   code: index_not_signed
#   severity: high
#   remediation: Sign the index (cosign sign), or ask for one platform (--platform).
#   example: >-
#     signing.verdict with input as fixture.signed([object.union(fixture.good.signatures[0],
#     {"subject_digest": fixture.platform})], []) with data.params as fixture.params
violation contains lib.finding(32, "index_not_signed", "signing.rules.unmet", {
	"message": sprintf(
		"Image %s is an index; signatures of single platforms, which it has, do not speak for the whole.",
		[lib.image],
	),
	"remediation": sprintf("Sign the index%s: cosign sign %s", [_or_one_platform, _pinned]),
}) if {
	lib.platforms != "requested"
	count(_counting) > 0
	count(lib.vouching) == 0
	every i in _counting {
		input.signatures[i].subject_digest != input.subject.digest
	}
}

# METADATA
# title: Enough signers
# description: Fewer distinct trusted signers signed than the threshold asks for.
# custom:
#   code: threshold_not_met
#   severity: high
#   remediation: Have it signed by more of the trusted signers, each with an identity or key of its own.
#   example: >-
#     signing.verdict with input as fixture.good with data.params as
#     object.union(fixture.params, {"threshold": 2})
violation contains lib.finding(33, "threshold_not_met", "signing.rules.unmet", {
	"message": sprintf(
		"Image %s is signed by %d of the %d distinct trusted signers that this policy requires.",
		[lib.image, count(lib.vouching), lib.params.threshold],
	),
	"remediation": "Have it signed by more of the trusted signers, each with an identity or key of its own.",
}) if {
	lib.platforms != "requested"
	count(_trusted) > 0
	_short_of_signers
}

# Of a policy that does not say otherwise.
_or_one_platform := {true: ", or ask for one platform with --platform", false: ""}[lib.platforms == ""]
