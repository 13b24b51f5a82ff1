package signing.lib.unattested

# The package above this one, not this one:
# regal ignore:pointless-import
import data.signing.lib
import data.signing.lib.attested
import data.signing.lib.results
import data.signing.lib.sbom
import data.signing.lib.scan

# Of each requirement that is not met because of what its attestations say, the newest that does not pass.
_failing contains [wanted, subject, attestation] if {
	some [wanted, n] in _unmet
	positions := attested.counting[wanted.name][n] - attested.passing[wanted.name][n]
	count(positions) > 0
	subject := _subject(wanted, input.matches[n])
	attestation := input.attestations[_newest(positions)]
}

_read(attestation, "sbom") if sbom.packages(attestation)

_read(attestation, "scan") if scan.findings(attestation)

_read(attestation, "test_result") if results.result(attestation)

default _why_not_read(_) := "is of a form that is not understood"

_why_not_read(attestation) := "is too long to be read to its end" if attestation.projection.truncated == true

_data_age(attestation) := sprintf("are of %s", [attestation.projection.tool.database_at]) if {
	is_string(attestation.projection.tool.database_at)
} else := "nobody can tell the age of"

_outcome(attestation) := concat("", [
	sprintf("the result is %s", [outcome.result]),
	_list(", failed: ", outcome.failed),
	_list(", not among those that passed: ", results.missing(attestation, lib.contents.tests)),
]) if {
	outcome := results.result(attestation)
}

default _list(_, _) := ""

_list(before, names) := sprintf("%s%s", [before, lib.few({name | some name in names})]) if {
	some _ in names
}

# METADATA
# title: Contents are read to their end
# description: >-
#   An attestation whose contents are judged is too long to be read to its end, or of a form that is not understood, so
#   that nobody can say that something is not in it.
# custom:
#   code: contents_not_read
#   severity: high
#   remediation: Make it shorter, raise the limit of the server, or write it in a form that is understood.
#   example: >-
#     signing.verdict with input as fixture.attested([fixture.truncated]) with data.params as
#     fixture.judging("licences", {"denied": ["GPL-*"], "unstated": "deny"})
violation contains _finding(wanted, 50, "contents_not_read", {
	"message": sprintf("%s has an attestation of the type %s by %s that %s, so nothing can be said not to be in it.", [
		subject, _type(wanted), lib.who(attestation), _why_not_read(attestation),
	]),
	"remediation": concat(" ", [
		"Make it shorter, or write it in a form that is understood",
		"(SPDX or CycloneDX as JSON, cosign's vuln, in-toto's vulns and test-result).",
	]),
	"fact": attestation.id,
}) if {
	some [wanted, subject, attestation] in _failing
	not _read(attestation, wanted.kind)
}

# METADATA
# title: Licences are fine
# description: Packages that an SBOM lists have licences that the policy does not let pass.
# custom:
#   code: licence_denied
#   severity: high
#   remediation: >-
#     Take the package out, or replace it; where its licence is fine here, name it in contents.licences.allowed.
#   example: >-
#     signing.verdict with input as fixture.attested([fixture.sbom([fixture.component("readline",
#     ["GPL-3.0-or-later"])])]) with data.params as fixture.judging("licences", {"denied": ["GPL-*"],
#     "unstated": "deny"})
violation contains _finding(wanted, 51, "licence_denied", {
	"message": sprintf("%s has packages with licences that are not allowed: %s.", [
		subject, lib.few(denied),
	]),
	"remediation": concat(" ", [
		"Take them out, or replace them;",
		"where such a licence is fine here, name it in contents.licences.allowed.",
	]),
	"fact": attestation.id,
}) if {
	some [wanted, subject, attestation] in _failing
	wanted.kind == "sbom"
	denied := sbom.denied(attestation, lib.contents.licences)
	count(denied) > 0
}

# METADATA
# title: Licences are stated
# description: Packages that an SBOM lists state no licence, and the policy wants one of each.
# custom:
#   code: licence_unstated
#   severity: medium
#   remediation: Have the licences filled in; contents.licences.unstated set to allow lets them pass.
#   example: >-
#     signing.verdict with input as fixture.attested([fixture.sbom([fixture.component("readline", [])])]) with
#     data.params as fixture.judging("licences", {"denied": ["GPL-*"], "unstated": "deny"})
violation contains _finding(wanted, 52, "licence_unstated", {
	"message": sprintf("%s has packages that state no licence: %s.", [
		subject, lib.few(unstated),
	]),
	"remediation": "Have the licences filled in; contents.licences.unstated: allow lets such packages pass.",
	"fact": attestation.id,
}) if {
	lib.contents.licences.unstated != "allow"
	some [wanted, subject, attestation] in _failing
	wanted.kind == "sbom"
	unstated := sbom.unstated(attestation)
	count(unstated) > 0
}

# METADATA
# title: No severe vulnerabilities
# description: A scan found vulnerabilities that are more severe than the policy lets pass, and nothing excuses them.
# custom:
#   code: vulnerability_found
#   severity: critical
#   remediation: Update the packages and scan again, or have a VEX statement say why the image is not affected.
#   example: >-
#     signing.verdict with input as fixture.attested([fixture.scan([fixture.finding("CVE-2026-1", "critical")])]) with
#     data.params as fixture.judging("vulnerabilities", {"maximum_severity": "medium"})
violation contains _finding(wanted, 53, "vulnerability_found", {
	"message": sprintf("%s has vulnerabilities above the severity %s: %s.", [
		subject, lib.contents.vulnerabilities.maximum_severity, lib.few(denied),
	]),
	"remediation": concat(" ", [
		"Update the packages, build and scan again; where the image is not affected, have a trusted signer say why",
		"(contents.vulnerabilities.vex, cosign attest --type openvex).",
	]),
	"fact": attestation.id,
}) if {
	some [wanted, subject, attestation] in _failing
	wanted.kind == "scan"
	denied := scan.denied(attestation, lib.contents.vulnerabilities)
	count(denied) > 0
}

# METADATA
# title: Scanner's data is fresh
# description: The data that a scan was made with are too old, or the scan does not say how old.
# custom:
#   code: scan_database_too_old
#   severity: high
#   remediation: Update the scanner's data and scan again.
#   example: >-
#     signing.verdict with input as fixture.attested([fixture.scan([])]) with data.params as
#     fixture.judging("vulnerabilities", {"maximum_severity": "medium", "database_max_age": 60})
violation contains _finding(wanted, 54, "scan_database_too_old", {
	"message": sprintf("%s was scanned with data that %s; at most %s are allowed.", [
		subject, _data_age(attestation),
		lib.span(lib.contents.vulnerabilities.database_max_age),
	]),
	"remediation": "Update the scanner's data, scan again, and attest the result.",
	"fact": attestation.id,
}) if {
	some [wanted, subject, attestation] in _failing
	wanted.kind == "scan"
	not scan.database_fresh(attestation, lib.contents.vulnerabilities)
}

# METADATA
# title: Tests passed
# description: A test result is worse than the policy lets pass, or a test is missing among those that passed.
# custom:
#   code: tests_not_passed
#   severity: high
#   remediation: Mend what the tests found, and attest the new result.
#   example: >-
#     signing.verdict with input as fixture.attested([fixture.tested("FAILED", ["unit"])]) with data.params as
#     fixture.judging("tests", {"result": "PASSED"})
violation contains _finding(wanted, 55, "tests_not_passed", {
	"message": sprintf("%s has not passed its tests: %s.", [subject, _outcome(attestation)]),
	"remediation": concat(" ", [
		"Mend what the tests found, and attest the new result:",
		"cosign attest --type https://in-toto.io/attestation/test-result/v0.1",
	]),
	"fact": attestation.id,
}) if {
	some [wanted, subject, attestation] in _failing
	wanted.kind == "test_result"
	results.result(attestation)
}
