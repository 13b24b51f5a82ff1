package signing.lib_test

import data.signing.lib

test_moments if {
	every text in [
		"1970-01-01T00:00:00Z", "2000-02-29T23:59:59Z", "2024-12-31T12:34:56Z",
		"2026-03-01T00:00:01Z", "2100-02-28T01:02:03Z",
	] {
		lib.moment(time.parse_rfc3339_ns(text)) == text
	}
	lib.moment(time.parse_rfc3339_ns("2026-06-01T10:00:00.999Z")) == "2026-06-01T10:00:00Z"
}

test_spans if {
	[lib.span(n) | some n in [1, 119, 120, 7199, 7200, 172799, 172800]] == [
		"1 seconds",
		"119 seconds", "2 minutes", "119 minutes", "2 hours", "47 hours", "2 days",
	]
}
