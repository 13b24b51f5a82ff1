package signing.lib_test

import data.signing.lib
import data.signing.lib.fixture_test as fixture

test_vouchers_that_are_named if {
	lib.vouchers(fixture.sbom([]), ["release", "other"]) == {"release"} with input as fixture.good
		with data.params as fixture.params
	lib.vouchers(fixture.sbom([]), ["other"]) == set() with input as fixture.good with data.params as fixture.params
}

test_asked_for_a_platform if {
	lib.asked_for == fixture.platform with input as fixture.for_platform with data.params as fixture.of_requested
}
