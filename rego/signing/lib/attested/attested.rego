# METADATA
# title: Required attestations
# description: >-
#   Which attestations are about what a policy requires, which of them count, and which say what it asks for.
package signing.lib.attested

# The package above this one, not this one:
# regal ignore:pointless-import
import data.signing.lib
import data.signing.lib.results
import data.signing.lib.sbom
import data.signing.lib.scan

# METADATA
# title: Attestations about what was asked for
# description: >-
#   For each required attestation by its name, and each of its matches (one for the image, or one for each platform),
#   the positions in input.attestations of those of the wanted type that speak of it, whoever signed them.
# custom:
#   example: >-
#     lib.attested.about with input as fixture.attested([fixture.sbom([])]) with data.params as
#     fixture.attesting([{}])
about[wanted.name][n] := {i |
	some i, attestation in input.attestations
	attestation.predicate_type in wanted.types
	attestation.subject_digest in match.digests
	lib.about_image(attestation.subject_digest)
} if {
	some wanted in lib.required_attestations
	some n, match in input.matches
	match.requirement == wanted.name
}

# METADATA
# title: Attestations that count
# description: Of about those by signers who may sign them, and fresh, whatever they say.
# custom:
#   example: >-
#     lib.attested.counting with input as fixture.attested([fixture.sbom([])]) with data.params as
#     fixture.attesting([{}])
counting[name][n] := {i |
	some i in positions
	_counts(input.attestations[i], wanted)
} if {
	some wanted in lib.required_attestations
	name := wanted.name
	some n, positions in about[name]
}

_counts(attestation, wanted) if {
	count(lib.vouchers(attestation, object.get(wanted, "signers", null))) > 0
	lib.fresh(attestation, wanted)
}

# METADATA
# title: Attestations that pass
# description: Of counting those that say what the parameters ask for under contents.
# custom:
#   example: >-
#     lib.attested.passing with input as fixture.attested([fixture.sbom([])]) with data.params as
#     fixture.attesting([{}])
passing[name][n] := {i |
	some i in positions
	_passes(input.attestations[i], object.get(wanted, "kind", ""))
} if {
	some wanted in lib.required_attestations
	name := wanted.name
	some n, positions in counting[name]
}

_passes(_, kind) if not judged(kind)

_passes(attestation, "sbom") if sbom.passes(attestation, lib.contents.licences)

_passes(attestation, "scan") if scan.passes(attestation, lib.contents.vulnerabilities)

_passes(attestation, "test_result") if results.passes(attestation, lib.contents.tests)

# METADATA
# title: Judged kind
# description: True for a kind of attestation of whose contents the parameters ask something.
# scope: document
# custom:
#   example: 'lib.attested.judged("test_result") with data.params as fixture.judging("tests", {"result": "PASSED"})'
judged("sbom") if lib.contents.licences

judged("scan") if lib.contents.vulnerabilities

judged("test_result") if lib.contents.tests

# METADATA
# title: Attestation requirement
# description: >-
#   True for a required attestation that as many distinct trusted signers as it wants have signed, for the image or for
#   every platform, as it says.
# custom:
#   example: >-
#     lib.attested.met(lib.required_attestations[0]) with input as fixture.attested([fixture.sbom([])])
#     with data.params as fixture.attesting([{}])
met(wanted) if {
	matches := passing[wanted.name]
	count(matches) > 0
	every n, positions in matches {
		enough(wanted, input.matches[n], positions)
	}
}

# METADATA
# title: Distinct signers of an attestation
# description: >-
#   True when so many distinct principals, as many distinct signers beside them, made attestations at these positions.
#   Up to two that is enough for one of each for every one of them; for more of them the assignment counts that was
#   computed before this policy was asked.
# scope: document
# custom:
#   example: >-
#     lib.attested.enough(lib.required_attestations[0], fixture.match, {0}) with input as
#     fixture.attested([fixture.sbom([])]) with data.params as fixture.attesting([{}])
enough(wanted, _, positions) if {
	wanted.count <= 2
	count({input.attestations[i].principal | some i in positions}) >= wanted.count
	signers := object.get(wanted, "signers", null)
	count({name | some i in positions; some name in lib.vouchers(input.attestations[i], signers)}) >= wanted.count
}

enough(wanted, match, positions) if {
	wanted.count > 2
	not judged(object.get(wanted, "kind", ""))
	count({name | some name in match.signers}) == match.count
	signers := object.get(wanted, "signers", null)
	count({principal |
		some n, principal in match.principals
		some i in positions
		input.attestations[i].principal == principal
		match.signers[n] in lib.vouchers(input.attestations[i], signers)
	}) >= wanted.count
}
