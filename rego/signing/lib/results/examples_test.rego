package signing.lib.results_test

# The package above this one, not this one:
# regal ignore:pointless-import
import data.signing.lib
import data.signing.lib.fixture_test as fixture

# Each helper gives what its METADATA shows.
test_example_of_result if {
	got := lib.results.result(fixture.tested("PASSED", []))
	json.unmarshal(json.marshal(got)) == {"configuration": [], "failed": [], "passed": [], "result": "PASSED", "warned": []}
}

test_example_of_missing if {
	got := lib.results.missing(fixture.tested("PASSED", ["unit"]), {"passed": ["unit", "e2e"]})
	json.unmarshal(json.marshal(got)) == ["e2e"]
}

test_example_of_passes if {
	got := lib.results.passes(fixture.tested("PASSED", ["unit"]), {"result": "PASSED", "passed": ["unit"]})
	json.unmarshal(json.marshal(got)) == true
}
