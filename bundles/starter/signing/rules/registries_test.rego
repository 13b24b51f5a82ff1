package signing.rules.registries_test

import data.signing.lib.fixture_test as fixture
import data.signing.rules.registries

_params := object.union(fixture.params, {"registries": ["ghcr.io"]})

_from(registry) := object.union(fixture.good, {"subject": {"registry": registry}})

_objection(allowed) := {
	"code": "registry_not_allowed",
	"message": sprintf("Image ghcr.io/org/server:v1 is not from an allowed registry: %s.", [allowed]),
	"remediation": "Push the image to an allowed registry, or add its registry to params.registries.",
}

test_allowed_registry if {
	registries.violation == set() with input as fixture.good with data.params as _params
}

test_another_registry if {
	registries.violation == {_objection("ghcr.io")} with input as _from("evil.example") with data.params as _params
}

# Without the parameter nothing is allowed.
test_no_registries if {
	registries.violation == {_objection("")} with input as fixture.good with data.params as fixture.params
}

# The rule has its say in the verdict.
test_the_verdict_has_it if {
	verdict := data.signing.verdict with input as _from("evil.example") with data.params as _params
	verdict.allow == false
	object.union(_objection("ghcr.io"), {"rule": "signing.rules.registries"}) in verdict.violations
}

# An image with no evidence at all is denied, whatever else is in order.
test_no_evidence_at_all if {
	verdict := data.signing.verdict with input as fixture.nothing with data.params as _params
	verdict.allow == false
	"unsigned" in {violation.code | some violation in verdict.violations}
}
