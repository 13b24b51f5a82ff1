package signing.lib_test

import data.signing.lib
import data.signing.lib.fixture_test as fixture

test_what_speaks_for_an_index if {
	lib.accepted == {fixture.index} with input as fixture.good with data.params as fixture.params
	lib.accepted == {fixture.index} with input as fixture.good with data.params as fixture.of_index
	lib.accepted == set() with input as fixture.good with data.params as fixture.of_requested
	lib.accepted == {fixture.index, fixture.platform} with input as fixture.good with data.params as fixture.of_every
}

test_what_speaks_for_the_platform_that_was_asked_for if {
	lib.accepted == {fixture.index, fixture.platform} with input as fixture.for_platform with data.params as fixture.params
	lib.accepted == {fixture.index} with input as fixture.for_platform with data.params as fixture.of_index
	lib.accepted == {fixture.platform} with input as fixture.for_platform with data.params as fixture.of_requested
	lib.accepted == {fixture.index, fixture.platform} with input as fixture.for_platform
		with data.params as fixture.of_every
}

_subject(change) := object.union(fixture.good, {"subject": object.union(fixture.good.subject, change)})

_manifest := _subject({"platforms": [], "media_type": "application/vnd.oci.image.manifest.v1+json"})

test_an_image_without_platforms_speaks_for_itself if {
	every params in [fixture.params, fixture.of_index, fixture.of_requested, fixture.of_every] {
		lib.accepted == {fixture.index} with input as _manifest with data.params as params
		lib.signature_requirement_met with input as _manifest with data.params as params
	}
}

# What was not read, or has no platforms although it is an index, is no such image.
test_images_that_may_have_platforms if {
	every change in [
		{"platforms": []},
		{"platforms": [], "media_type": "application/vnd.docker.distribution.manifest.list.v2+json"},
		{"platforms": [], "media_type": ""},
		{"media_type": "application/vnd.oci.image.manifest.v1+json"},
	] {
		lib.accepted == set() with input as _subject(change) with data.params as fixture.of_requested
	}
	file := _subject({"platforms": [], "media_type": "", "repository": ""})
	lib.accepted == {fixture.index} with input as file with data.params as fixture.of_requested
}

test_an_index_alone_is_not_every_platform if {
	not lib.signature_requirement_met with input as fixture.good with data.params as fixture.of_every
}

test_every_platform if {
	lib.signature_requirement_met with input as fixture.signed_recursively with data.params as fixture.of_every
	lib.satisfying_facts == ["sha256:dev", "sha256:dev-platform"] with input as fixture.signed_recursively
		with data.params as fixture.of_every
}

# A platform's signature is none of the index, nor one of the index the platform's.
test_evidence_does_not_change_places if {
	copied := object.union(fixture.signed_recursively, {"signatures": [fixture.signed_recursively.signatures[0]]})
	not lib.signature_requirement_met with input as copied with data.params as fixture.of_every
	only := object.union(fixture.signed_recursively, {"signatures": [fixture.signed_recursively.signatures[1]]})
	every params in [fixture.of_every, fixture.of_index] {
		not lib.signature_requirement_met with input as only with data.params as params
	}
	not lib.signature_requirement_met with input as fixture.for_platform with data.params as fixture.of_requested
}
