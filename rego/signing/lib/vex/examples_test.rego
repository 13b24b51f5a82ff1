package signing.lib.vex_test

# The package above this one, not this one:
# regal ignore:pointless-import
import data.signing.lib
import data.signing.lib.fixture_test as fixture

# Each helper gives what its METADATA shows.
test_example_of_documents if {
	got := lib.vex.documents("sha256:aa", {}) with input as fixture.excusing with data.params as fixture.params
	json.unmarshal(json.marshal(got)) == [0]
}

test_example_of_excused if {
	got := lib.vex.excused(fixture.finding("CVE-2026-1", "high"), "sha256:aa", {}) with input as fixture.excusing with data.params as fixture.params
	json.unmarshal(json.marshal(got)) == true
}
