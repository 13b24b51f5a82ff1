package signing.lib.scan_test

# The package above this one, not this one:
# regal ignore:pointless-import
import data.signing.lib
import data.signing.lib.fixture_test as fixture

_bare(severity) := {"id": "CVE-2026-9", "severity": severity}

test_a_finding_that_names_little if {
	lib.scan.called(_bare("unknown")) == "CVE-2026-9 (unknown)"
}

_denied(finding, demands) := found if {
	found := lib.scan.denied(fixture.scan([finding]), demands) with input as fixture.good with data.params as fixture.params
}

test_what_is_tolerated if {
	count(_denied(_bare("low"), {"maximum_severity": "low"})) == 0
	count(_denied(_bare("unknown"), {"maximum_severity": "low", "unknown_severity": "allow"})) == 0
	count(_denied(_bare("critical"), {"maximum_severity": "low", "unfixed": "allow"})) == 0
}

test_what_is_not if {
	count(_denied(_bare("medium"), {"maximum_severity": "low"})) == 1
	count(_denied(_bare("unknown"), {"maximum_severity": "low"})) == 1
	count(_denied(fixture.finding("CVE-2026-1", "high"), {"maximum_severity": "low", "unfixed": "allow"})) == 1
}
