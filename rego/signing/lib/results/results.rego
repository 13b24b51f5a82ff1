# METADATA
# title: Test results
# description: >-
#   What tests came to (https://in-toto.io/attestation/test-result), as the projection of the attestation has it.
package signing.lib.results

_worst := {"PASSED": {"PASSED"}, "WARNED": {"PASSED", "WARNED"}}

# METADATA
# title: Result of tests
# description: >-
#   What a test result says. Undefined for an attestation that is none, is a stranger's, or is too long to be
#   read to its end.
# custom:
#   example: 'lib.results.result(fixture.tested("PASSED", []))'
result(attestation) := attestation.projection.result if {
	attestation.projection.kind == "test_result"
	attestation.projection.truncated == false
}

# METADATA
# title: Tests that are missing
# description: The tests of demands.passed that are not among those that passed.
# custom:
#   example: 'lib.results.missing(fixture.tested("PASSED", ["unit"]), {"passed": ["unit", "e2e"]})'
missing(attestation, demands) := {name |
	some name in object.get(demands, "passed", [])
	not _passed(attestation, name)
}

_passed(attestation, name) if name in result(attestation).passed

# METADATA
# title: Test result that passes
# description: >-
#   True for a test result that is not worse than demands.result, without a test that failed, and with every test of
#   demands.passed among those that passed.
# custom:
#   example: 'lib.results.passes(fixture.tested("PASSED", ["unit"]), {"result": "PASSED", "passed": ["unit"]})'
passes(attestation, demands) if {
	outcome := result(attestation)
	outcome.result in _worst[demands.result]
	not _failed(outcome)
	count(missing(attestation, demands)) == 0
}

_failed(outcome) if some _ in outcome.failed
