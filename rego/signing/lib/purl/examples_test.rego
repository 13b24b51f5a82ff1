package signing.lib.purl_test

# The package above this one, not this one:
# regal ignore:pointless-import
import data.signing.lib

# Each helper gives what its METADATA shows.
test_example_of_parse if {
	got := lib.purl.parse("pkg:npm/%40angular/core@12.3.1?arch=x64")
	json.unmarshal(json.marshal(got)) == {"name": "core", "namespace": "@angular", "qualifiers": {"arch": "x64"}, "type": "npm", "version": "12.3.1"}
}

test_example_of_means if {
	got := lib.purl.means("pkg:deb/debian/openssl", "pkg:deb/debian/openssl@3.0.11?arch=amd64")
	json.unmarshal(json.marshal(got)) == true
}
