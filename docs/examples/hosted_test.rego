package signing.rules.hosted_test

import data.signing.lib.fixture_test as fixture
import data.signing.rules.hosted

_signed(claims) := object.union(fixture.good, {"signatures": [object.union(fixture.good.signatures[0], {"signer": {"claims": claims}})]})

test_hosted if {
	hosted.violation == set() with input as _signed({"runner_environment": "github-hosted"})
}

test_elsewhere if {
	{v.code | some v in hosted.violation} == {"not_hosted"} with input as _signed({"runner_environment": "self-hosted"})
}

test_nothing if {
	{v.code | some v in hosted.violation} == {"not_hosted"} with input as fixture.nothing
}
