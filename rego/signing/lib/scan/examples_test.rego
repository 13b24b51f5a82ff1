package signing.lib.scan_test

# The package above this one, not this one:
# regal ignore:pointless-import
import data.signing.lib
import data.signing.lib.fixture_test as fixture

# Each helper gives what its METADATA shows.
test_example_of_findings if {
	got := lib.scan.findings(fixture.scan([fixture.finding("CVE-2026-1", "high")]))
	json.unmarshal(json.marshal(got)) == [{"fixed_in": "3.0.12", "id": "CVE-2026-1", "package": "openssl", "purl": "pkg:deb/debian/openssl@3.0.11?arch=amd64", "score": null, "severity": "high", "version": "3.0.11"}]
}

test_example_of_called if {
	got := lib.scan.called(fixture.finding("CVE-2026-1", "high"))
	json.unmarshal(json.marshal(got)) == "CVE-2026-1 (high) in openssl 3.0.11, mended in 3.0.12"
}

test_example_of_denied if {
	got := lib.scan.denied(fixture.scan([fixture.finding("CVE-2026-1", "high")]), {"maximum_severity": "medium"}) with input as fixture.good
	json.unmarshal(json.marshal(got)) == ["CVE-2026-1 (high) in openssl 3.0.11, mended in 3.0.12"]
}

test_example_of_database_fresh if {
	got := lib.scan.database_fresh(fixture.scan([]), {"database_max_age": 86400}) with input as fixture.good
	json.unmarshal(json.marshal(got)) == true
}

test_example_of_passes if {
	got := lib.scan.passes(fixture.scan([]), {"maximum_severity": "none"}) with input as fixture.good
	json.unmarshal(json.marshal(got)) == true
}
