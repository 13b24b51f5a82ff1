package signing.lib.attested_test

# The package above this one, not this one:
# regal ignore:pointless-import
import data.signing.lib
import data.signing.lib.fixture_test as fixture

# Each helper gives what its METADATA shows.
test_example_of_about if {
	got := lib.attested.about with input as fixture.attested([fixture.sbom([])]) with data.params as fixture.attesting([{}])
	json.unmarshal(json.marshal(got)) == {"attestation/spdx": {"1": [0]}}
}

test_example_of_counting if {
	got := lib.attested.counting with input as fixture.attested([fixture.sbom([])]) with data.params as fixture.attesting([{}])
	json.unmarshal(json.marshal(got)) == {"attestation/spdx": {"1": [0]}}
}

test_example_of_passing if {
	got := lib.attested.passing with input as fixture.attested([fixture.sbom([])]) with data.params as fixture.attesting([{}])
	json.unmarshal(json.marshal(got)) == {"attestation/spdx": {"1": [0]}}
}

test_example_of_judged if {
	got := lib.attested.judged("test_result") with data.params as fixture.judging("tests", {"result": "PASSED"})
	json.unmarshal(json.marshal(got)) == true
}

test_example_of_met if {
	got := lib.attested.met(lib.required_attestations[0]) with input as fixture.attested([fixture.sbom([])]) with data.params as fixture.attesting([{}])
	json.unmarshal(json.marshal(got)) == true
}

test_example_of_enough if {
	got := lib.attested.enough(lib.required_attestations[0], fixture.match, {0}) with input as fixture.attested([fixture.sbom([])]) with data.params as fixture.attesting([{}])
	json.unmarshal(json.marshal(got)) == true
}
