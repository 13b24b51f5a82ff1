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

_times := {
	"1970-01-01T00:00:00Z", "1999-12-31T23:59:59Z", "2000-02-29T12:00:00Z", "2000-03-01T00:00:00Z", "2024-02-29T23:59:59Z",
	"2026-01-31T01:02:03Z", "2026-12-31T00:00:00Z", "2100-02-28T23:59:59Z", "2100-03-01T00:00:00Z", "2261-12-31T10:20:30Z",
}

test_time_text if {
	every text in _times {
		lib.time_text(time.parse_rfc3339_ns(text)) == text
	}
	lib.time_text(time.parse_rfc3339_ns("2026-06-01T12:00:00.999Z")) == "2026-06-01T12:00:00Z"
}
