package signing.rules.clean_test

import data.signing.lib.fixture_test as fixture
import data.signing.rules.clean

_scanned(findings) := fixture.attested([fixture.trusted(fixture.scan(findings), ["security"])])

test_clean if {
	clean.violation == set() with input as _scanned([]) with data.params as fixture.params
}

test_found if {
	{v.code | some v in clean.violation} == {"not_clean"} with input as _scanned([fixture.finding("CVE-2026-1", "critical")])
		with data.params as fixture.params
}

test_withheld if {
	{v.code | some v in clean.violation} == {"not_clean"} with input as fixture.attested([]) with data.params as fixture.params
}
