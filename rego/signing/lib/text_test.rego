package signing.lib_test

import data.signing.lib
import data.signing.lib.fixture_test as fixture

test_who if {
	lib.who(fixture.keyless("dev")) == "dev@example.com (issuer https://accounts.example)"
	lib.who(fixture.keyed("k1")) == "key k1"
}

test_few if {
	lib.few({"b", "a"}) == "a; b"
	lib.few({"e", "d", "c", "b", "a"}) == "a; b; c; and 2 more"
}

test_image if {
	lib.image == "ghcr.io/org/server:v1" with input as fixture.nothing
	lib.image == "(no image)" with input as {}
}

test_findings if {
	texts := {"message": "m", "remediation": "r", "fact": "f"}
	finding := {"code": "c", "message": "m", "remediation": "r", "rule": "u"}
	lib.finding(7, "c", "u", texts) == [7, finding]
	lib.finding_of(7, "c", "u", texts) == [7, object.union(finding, {"fact": "f"})]
}
