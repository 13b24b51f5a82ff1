# METADATA
# title: Statements about vulnerabilities
# description: >-
#   VEX documents (https://openvex.dev) by trusted signers, and which findings of a scan they excuse.
package signing.lib.vex

# The package above this one, not this one:
# regal ignore:pointless-import
import data.signing.lib
import data.signing.lib.purl

# METADATA
# title: VEX documents that count
# description: >-
#   The positions in input.attestations of VEX documents about a digest, or about the index that it belongs to
#   where that speaks for its platforms (lib.accepted), by signers that the demands name (any trusted one where
#   they name none), and not older than demands.max_age seconds. One that is too long to be read to its end does
#   not count: what it takes back may be missing.
# custom:
#   example: 'lib.vex.documents("sha256:aa", {}) with input as fixture.excusing with data.params as fixture.params'
documents(digest, demands) := {i |
	some i, attestation in input.attestations
	attestation.projection.kind == "vex"
	attestation.projection.truncated == false
	attestation.subject_digest in ({digest} | ({input.subject.digest} & lib.accepted))
	count(lib.vouchers(attestation, object.get(demands, "signers", null))) > 0
	lib.fresh(attestation, demands)
}

# METADATA
# title: Excused finding
# description: >-
#   True when a VEX document that counts says last of a finding that the image is not affected, and why, or that
#   it is fixed. Of several statements in one document about one finding the latest counts.
# custom:
#   example: >-
#     lib.vex.excused(fixture.finding("CVE-2026-1", "high"), "sha256:aa", {}) with input as fixture.excusing with
#     data.params as fixture.params
excused(finding, digest, demands) if {
	is_object(demands)
	some i in documents(digest, demands)
	_excused_by(input.attestations[i], finding, {digest, input.subject.digest})
}

_excused_by(document, finding, digests) if {
	about := [[_made(document, statement), statement] |
		some statement in document.projection.statements
		_vulnerability(statement, finding)
		_product(statement, finding, digests)
	]
	count(about) > 0
	latest := max([at | some [at, _] in about])
	every pair in about {
		_past_or_excuses(pair, latest)
	}
}

_past_or_excuses([at, _], latest) if at < latest

_past_or_excuses([_, statement], _) if _excuses(statement)

_excuses(statement) if {
	statement.status == "not_affected"
	statement.justification != ""
}

_excuses(statement) if statement.status == "fixed"

_made(document, statement) := time.parse_rfc3339_ns(statement.timestamp) if {
	is_string(statement.timestamp)
	is_object(document)
} else := time.parse_rfc3339_ns(document.projection.made_at) if {
	is_string(document.projection.made_at)
} else := 0

_vulnerability(statement, finding) if statement.vulnerability == finding.id

_vulnerability(statement, finding) if finding.id in statement.aliases

# A statement that names no product speaks of what the document is attached to.
_product(statement, _, _) if not _names_products(statement)

_product(statement, finding, _) if {
	some item in statement.products
	purl.means(item, finding.purl)
}

_product(statement, _, digests) if {
	some item in statement.products
	_image(item, digests)
}

# A product that is named by nothing that is read, such as a CPE, may be this one: no
# excuse comes of it, but what takes one back is heard.
_product(statement, _, _) if {
	"" in statement.products
	not _excuses(statement)
}

_names_products(statement) if some _ in statement.products

# An image: a package URL of the type oci, a name with a digest, or the digest alone.
_image(item, digests) if {
	parts := purl.parse(item)
	parts.type == "oci"
	parts.version in digests
}

_image(item, digests) if {
	regex.match(`\A(?:[^@?#]+@)?sha256:[0-9a-f]{64}\z`, item)
	some digest in digests
	endswith(item, digest)
}
