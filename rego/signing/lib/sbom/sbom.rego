# METADATA
# title: Bills of materials
# description: What SBOMs list, SPDX and CycloneDX alike, as the projection of the attestation has it.
package signing.lib.sbom

import data.signing.lib.licence

# METADATA
# title: Packages
# description: >-
#   What an SBOM lists. Undefined for an attestation that is none, is a stranger's, or is too long to be read
#   to its end: of such a one nobody can say that something is not in it.
# custom:
#   example: 'lib.sbom.packages(fixture.sbom([fixture.component("openssl", ["Apache-2.0"])]))'
packages(attestation) := object.get(attestation.projection, "packages", []) if {
	attestation.projection.kind == "sbom"
	attestation.projection.truncated == false
}

# METADATA
# title: Package in words
# description: The name of a package, with its version where there is one.
# custom:
#   example: 'lib.sbom.called({"name": "openssl", "version": "3.0.11"})'
called(component) := trim_space(sprintf("%s %s", [component.name, component.version]))

# METADATA
# title: Packages with a licence that is not fine
# description: >-
#   Those of which a licence does not pass lib.licence.fine, each in words with the licence. A package
#   that states several licences is under all of them.
# custom:
#   example: >-
#     lib.sbom.denied(fixture.sbom([fixture.component("readline", ["GPL-3.0-or-later"])]),
#     {"denied": ["GPL-*"]})
denied(attestation, demands) := {text |
	some component in packages(attestation)
	some expression in component.licences
	not licence.fine(expression, demands)
	text := sprintf("%s (%s)", [called(component), expression])
}

# METADATA
# title: Packages without a licence
# description: Those that state none, in words; NOASSERTION and NONE state none.
# custom:
#   example: 'lib.sbom.unstated(fixture.sbom([fixture.component("readline", [])]))'
unstated(attestation) := {called(component) |
	some component in packages(attestation)
	not _stated(component)
}

_stated(component) if some _ in component.licences

# METADATA
# title: SBOM whose licences pass
# description: True for an SBOM, read to its end, of which every package has licences that are fine.
# custom:
#   example: >-
#     lib.sbom.passes(fixture.sbom([fixture.component("openssl", ["Apache-2.0"])]),
#     {"denied": ["GPL-*"], "unstated": "deny"})
passes(attestation, demands) if {
	is_array(packages(attestation))
	count(denied(attestation, demands)) == 0
	_all_stated(attestation, demands)
}

_all_stated(_, demands) if demands.unstated == "allow"

_all_stated(attestation, _) if count(unstated(attestation)) == 0
