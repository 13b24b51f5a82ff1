package signing.lib.unattested_test

import data.signing.lib.fixture_test as fixture

# Each finding, as its METADATA shows it.
_codes(verdict) := {finding.code | some finding in verdict.violations}

test_contents_not_read if {
	given := fixture.attested([fixture.truncated])
	verdict := data.signing.verdict with input as given with data.params as fixture.judging("licences", {"denied": ["GPL-*"], "unstated": "deny"})
	verdict.allow == false
	"contents_not_read" in _codes(verdict)
}

test_licence_denied if {
	given := fixture.attested([fixture.sbom([fixture.component("readline", ["GPL-3.0-or-later"])])])
	verdict := data.signing.verdict with input as given with data.params as fixture.judging("licences", {"denied": ["GPL-*"], "unstated": "deny"})
	verdict.allow == false
	"licence_denied" in _codes(verdict)
}

test_licence_unstated if {
	given := fixture.attested([fixture.sbom([fixture.component("readline", [])])])
	verdict := data.signing.verdict with input as given with data.params as fixture.judging("licences", {"denied": ["GPL-*"], "unstated": "deny"})
	verdict.allow == false
	"licence_unstated" in _codes(verdict)
}

test_vulnerability_found if {
	given := fixture.attested([fixture.scan([fixture.finding("CVE-2026-1", "critical")])])
	verdict := data.signing.verdict with input as given with data.params as fixture.judging("vulnerabilities", {"maximum_severity": "medium"})
	verdict.allow == false
	"vulnerability_found" in _codes(verdict)
}

test_scan_database_too_old if {
	given := fixture.attested([fixture.scan([])])
	verdict := data.signing.verdict with input as given with data.params as fixture.judging("vulnerabilities", {"maximum_severity": "medium", "database_max_age": 60})
	verdict.allow == false
	"scan_database_too_old" in _codes(verdict)
}

test_tests_not_passed if {
	given := fixture.attested([fixture.tested("FAILED", ["unit"])])
	verdict := data.signing.verdict with input as given with data.params as fixture.judging("tests", {"result": "PASSED"})
	verdict.allow == false
	"tests_not_passed" in _codes(verdict)
}

test_attestation_no_signer if {
	given := fixture.nothing
	verdict := data.signing.verdict with input as given with data.params as fixture.attesting([{}])
	verdict.allow == false
	"attestation_no_signer" in _codes(verdict)
}

test_attestation_missing if {
	given := fixture.attested([])
	verdict := data.signing.verdict with input as given with data.params as fixture.attesting([{}])
	verdict.allow == false
	"attestation_missing" in _codes(verdict)
}

test_attestation_signer_not_trusted if {
	given := fixture.attested([object.union(fixture.sbom([]), {"trusted_signers": []})])
	verdict := data.signing.verdict with input as given with data.params as fixture.attesting([{}])
	verdict.allow == false
	"attestation_signer_not_trusted" in _codes(verdict)
}

test_attestation_not_counted if {
	given := fixture.attested([object.union(fixture.sbom([]), {"transparency": []})])
	verdict := data.signing.verdict with input as given with data.params as fixture.attesting([{}])
	verdict.allow == false
	"attestation_not_counted" in _codes(verdict)
}

test_attestation_too_old if {
	given := fixture.attested([fixture.sbom([])])
	verdict := data.signing.verdict with input as given with data.params as fixture.attesting([{"max_age": 3600}])
	verdict.allow == false
	"attestation_too_old" in _codes(verdict)
}

test_attestation_count_not_met if {
	given := fixture.attested([fixture.sbom([])])
	verdict := data.signing.verdict with input as given with data.params as fixture.attesting([{"count": 2}])
	verdict.allow == false
	"attestation_count_not_met" in _codes(verdict)
}

test_base_image_unknown if {
	given := fixture.based([])
	verdict := data.signing.verdict with input as given with data.params as fixture.judging("base_images", {"allowed": ["docker.io/library/debian"]})
	verdict.allow == false
	"base_image_unknown" in _codes(verdict)
}

test_base_image_not_allowed if {
	given := fixture.based([fixture.built_on("docker.io/library/alpine:3")])
	verdict := data.signing.verdict with input as given with data.params as fixture.judging("base_images", {"allowed": ["docker.io/library/debian"]})
	verdict.allow == false
	"base_image_not_allowed" in _codes(verdict)
}
