package signing.lib_test

import data.signing.lib
import data.signing.lib.fixture_test as fixture

_logless := {"name": "private", "digest": "sha256:01", "age": 0, "transparency_log": false}

_unlogged(signature) := object.union(signature, {"transparency": []})

test_trusted if {
	lib.trusted(fixture.trusted(fixture.keyless("dev"), ["release"])) with input as fixture.nothing
}

test_trusted_on_a_platform if {
	signature := object.union(fixture.trusted(fixture.keyless("dev"), ["release"]), {"subject_digest": fixture.platform})
	lib.trusted(signature) with input as fixture.nothing
}

test_not_trusted_without_a_signer if {
	not lib.trusted(fixture.keyless("dev")) with input as fixture.nothing
}

test_not_trusted_on_another_image if {
	signature := object.union(fixture.trusted(fixture.keyless("dev"), ["release"]), {"subject_digest": "sha256:cc"})
	not lib.trusted(signature) with input as fixture.nothing
}

test_logged_with_an_entry if {
	lib.logged(fixture.keyless("dev")) with input as fixture.nothing with data.params as fixture.params
}

test_certificate_needs_an_entry if {
	not lib.logged(_unlogged(fixture.keyless("dev"))) with input as fixture.nothing
		with data.params as fixture.params
}

test_certificate_needs_an_entry_whatever_the_policy_says if {
	lax := object.union(fixture.params, {"verify_transparency_log": false})
	not lib.logged(_unlogged(fixture.keyless("dev"))) with input as fixture.nothing with data.params as lax
}

test_key_needs_an_entry if {
	not lib.logged(fixture.keyed("k1")) with input as fixture.nothing with data.params as fixture.params
}

test_key_needs_none_when_the_policy_says_so if {
	lax := object.union(fixture.params, {"verify_transparency_log": false})
	lib.logged(fixture.keyed("k1")) with input as fixture.nothing with data.params as lax
}

test_certificate_of_a_root_without_a_log if {
	signature := object.union(_unlogged(fixture.keyless("dev")), {"trust_root": "private"})
	roots := array.concat(fixture.nothing.trust, [_logless])
	lib.logged(signature) with input as object.union(fixture.nothing, {"trust": roots})
		with data.params as fixture.params
}

test_certificate_of_another_root_than_the_one_without_a_log if {
	roots := array.concat(fixture.nothing.trust, [_logless])
	not lib.logged(_unlogged(fixture.keyless("dev"))) with input as object.union(fixture.nothing, {"trust": roots})
		with data.params as fixture.params
}

test_certificate_of_an_unknown_root if {
	signature := object.union(_unlogged(fixture.keyless("dev")), {"trust_root": "unheard-of"})
	not lib.logged(signature) with input as fixture.nothing with data.params as fixture.params
}

# A root that does not say whether it has a log has one.
test_certificate_of_a_root_that_does_not_say if {
	signature := object.union(_unlogged(fixture.keyless("dev")), {"trust_root": "private"})
	roots := [object.remove(_logless, ["transparency_log"])]
	not lib.logged(signature) with input as object.union(fixture.nothing, {"trust": roots})
		with data.params as fixture.params
}

test_key_when_no_root_has_a_log if {
	lib.logged(fixture.keyed("k1")) with input as object.union(fixture.nothing, {"trust": [_logless]})
		with data.params as fixture.params
}

test_key_when_one_root_has_a_log if {
	roots := array.concat(fixture.nothing.trust, [_logless])
	not lib.logged(fixture.keyed("k1")) with input as object.union(fixture.nothing, {"trust": roots})
		with data.params as fixture.params
}

test_key_when_no_root_is_known if {
	not lib.logged(fixture.keyed("k1")) with input as object.union(fixture.nothing, {"trust": []})
		with data.params as fixture.params
}
