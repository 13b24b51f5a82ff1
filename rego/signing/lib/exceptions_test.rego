package signing.lib_test

import data.signing.lib
import data.signing.lib.fixture_test as fixture

_with(change) := object.union(fixture.params, {"exceptions": [object.union(fixture.exception, change)]})

test_exceptions_may_be_absent if {
	lib.exceptions == [] with data.params as fixture.params
	lib.exceptions == [] with data.params as {}
	not lib.waiver.unsigned with input as fixture.nothing with data.params as fixture.params
}

test_exceptions_in_order if {
	lib.params == fixture.excepted with data.params as fixture.excepted
}

test_each_field_of_an_exception_is_needed if {
	every name, _ in fixture.exception {
		given := object.union(fixture.params, {"exceptions": [object.remove(fixture.exception, [name])]})
		not lib.params with data.params as given
	}
}

test_each_field_of_an_exception_has_its_type if {
	every change in [
		{"name": ""}, {"owner": ""}, {"reason": 1}, {"expires_at": null},
		{"images": []}, {"images": "ghcr.io/org/**"}, {"images": [1]},
		{"codes": []}, {"codes": "unsigned"}, {"codes": [null]},
	] {
		not lib.params with data.params as _with(change)
	}
	not lib.params with data.params as object.union(fixture.params, {"exceptions": null})
}

_image(registry, repository) := object.union(fixture.nothing, {"subject": {
	"registry": registry,
	"repository": repository,
}})

test_waives_until_its_end if {
	lib.waiver.unsigned.name == "default/exceptions/1" with input as fixture.nothing with data.params as fixture.excepted
	lib.waiver.unsigned.name == "default/exceptions/1" with input as fixture.nothing
		with data.params as fixture.excepted_until("2026-06-01T12:00:01Z")
	not lib.waiver.unsigned with input as fixture.nothing
		with data.params as fixture.excepted_until("2026-06-01T12:00:00Z")
	not lib.waiver.unsigned with input as fixture.nothing
		with data.params as fixture.excepted_until("2026-05-31T00:00:00Z")
}

test_ended_from_its_end_on if {
	ended := lib.ended_waiver.unsigned.expires_at with input as fixture.nothing
		with data.params as fixture.excepted_until("2026-06-01T12:00:00Z")
	ended == "2026-06-01T12:00:00Z"
	not lib.ended_waiver.unsigned with input as fixture.nothing with data.params as fixture.excepted
}

test_waives_no_other_code if {
	not lib.waiver.signer_not_trusted with input as fixture.nothing with data.params as fixture.excepted
}

test_some_codes_are_never_waived if {
	every code in lib.never_waived {
		not lib.waiver[code] with input as fixture.nothing with data.params as _with({"codes": [code]})
		not lib.ended_waiver[code] with input as fixture.nothing
			with data.params as _with({"codes": [code], "expires_at": "2026-01-01T00:00:00Z"})
	}
}

test_waives_no_other_image if {
	not lib.waiver.unsigned with input as _image("ghcr.io", "other/app") with data.params as fixture.excepted
	not lib.waiver.unsigned with input as _image("ghcr.io", "") with data.params as _with({"images": ["**"]})
	not lib.waiver.unsigned with input as _image("", "org/app") with data.params as _with({"images": ["**"]})
}

test_the_last_to_end_is_named if {
	later := object.union(fixture.exception, {"name": "later", "expires_at": "2026-07-30T00:00:00Z"})
	sooner := object.union(fixture.exception, {"name": "sooner", "expires_at": "2026-06-02T00:00:00Z"})
	given := object.union(fixture.params, {"exceptions": [fixture.exception, later, sooner]})
	lib.waiver.unsigned.name == "later" with input as fixture.nothing with data.params as given
}

_matches := {
	"ghcr.io/org/app": {"ghcr.io/org/app"},
	"ghcr.io/org/*": {"ghcr.io/org/app"},
	"ghcr.io/org/**": {"ghcr.io/org/app", "ghcr.io/org/team/app"},
	"ghcr.io/**/app": {"ghcr.io/app", "ghcr.io/org/app", "ghcr.io/org/team/app"},
	"ghcr.io/o*g/app": {"ghcr.io/org/app"},
	"**": {"ghcr.io/app", "ghcr.io/org/app", "ghcr.io/org/team/app", "ghcrXio/org/app", "ghcr.io/org"},
	"*/org/app": {"ghcr.io/org/app", "ghcrXio/org/app"},
}

_names := {"ghcr.io/app", "ghcr.io/org/app", "ghcr.io/org/team/app", "ghcrXio/org/app", "ghcr.io/org"}

test_patterns if {
	every pattern, want in _matches {
		{name | some name in _names; regex.match(lib.image_pattern(pattern), name)} == want
	}
}

test_waived_names_the_exception if {
	finding := {"code": "old", "message": "It is old.", "remediation": "Build it anew.", "rule": "mine"}
	lib.waived(finding, fixture.exception) == object.union(finding, {"message": concat("", [
		"It is old. Waived by the exception default/exceptions/1 of platform until 2026-06-30T00:00:00Z:",
		" Signing begins with the next release.",
	])})
}

# A finding that lacks something is passed on as it is: whoever reads it refuses it.
test_a_finding_that_lacks_its_message_is_passed_on if {
	lib.waived({"code": "old"}, fixture.exception) == {"code": "old"}
}

test_standing_names_the_exception_that_ended if {
	finding := {"code": "unsigned", "message": "It is not signed.", "remediation": "Sign it."}
	lib.standing(finding) == finding with input as fixture.nothing with data.params as fixture.params
	told := lib.standing(finding) with input as fixture.nothing
		with data.params as fixture.excepted_until("2026-05-31T00:00:00Z")
	told.remediation == concat(" ", [
		"Sign it.",
		"(The exception default/exceptions/1 of platform ended at 2026-05-31T00:00:00Z.)",
	])
}
