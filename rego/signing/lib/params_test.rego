package signing.lib_test

import data.signing.lib
import data.signing.lib.fixture_test as fixture

test_parameters_in_order if {
	lib.params == fixture.params with data.params as fixture.params
}

test_sources_in_order if {
	given := object.union(fixture.params, {"trusted_sources": ["github.com/org"]})
	lib.params == given with data.params as given
}

# Missing parameters mean no requirements, unless a rule says otherwise.
test_each_parameter_is_needed if {
	every name, _ in fixture.params {
		not lib.params with data.params as object.remove(fixture.params, [name])
	}
}

_wrong := [
	{"require_signature": "true"},
	{"require_signature": null},
	{"verify_transparency_log": 1},
	{"registered_signers": []},
	{"threshold": 0},
	{"threshold": -1},
	{"threshold": "1"},
	{"threshold": true},
	{"trusted_sources": []},
	{"trusted_sources": ""},
	{"trusted_sources": [""]},
	{"trusted_sources": ["github.com/org", 7]},
]

test_each_parameter_has_its_type if {
	every change in _wrong {
		not lib.params with data.params as object.union(fixture.params, change)
	}
}
