package signing.lib.sbom_test

# The package above this one, not this one:
# regal ignore:pointless-import
import data.signing.lib
import data.signing.lib.fixture_test as fixture

# Each helper gives what its METADATA shows.
test_example_of_packages if {
	got := lib.sbom.packages(fixture.sbom([fixture.component("openssl", ["Apache-2.0"])]))
	json.unmarshal(json.marshal(got)) == [{"licences": ["Apache-2.0"], "name": "openssl", "purl": "pkg:deb/debian/openssl@1.0?arch=amd64", "version": "1.0"}]
}

test_example_of_called if {
	got := lib.sbom.called({"name": "openssl", "version": "3.0.11"})
	json.unmarshal(json.marshal(got)) == "openssl 3.0.11"
}

test_example_of_denied if {
	got := lib.sbom.denied(fixture.sbom([fixture.component("readline", ["GPL-3.0-or-later"])]), {"denied": ["GPL-*"]})
	json.unmarshal(json.marshal(got)) == ["readline 1.0 (GPL-3.0-or-later)"]
}

test_example_of_unstated if {
	got := lib.sbom.unstated(fixture.sbom([fixture.component("readline", [])]))
	json.unmarshal(json.marshal(got)) == ["readline 1.0"]
}

test_example_of_passes if {
	got := lib.sbom.passes(fixture.sbom([fixture.component("openssl", ["Apache-2.0"])]), {"denied": ["GPL-*"], "unstated": "deny"})
	json.unmarshal(json.marshal(got)) == true
}
