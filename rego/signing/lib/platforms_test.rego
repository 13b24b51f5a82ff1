package signing.lib_test

import data.signing.lib
import data.signing.lib.fixture_test as fixture

_accepted(given, params) := digests if {
	digests := lib.accepted with input as given with data.params as params
}

test_what_speaks_for_an_index if {
	_accepted(fixture.good, fixture.params) == {fixture.index}
	_accepted(fixture.good, fixture.of_index) == {fixture.index}
	_accepted(fixture.good, fixture.of_requested) == set()
	_accepted(fixture.good, fixture.of_every) == {fixture.index, fixture.platform}
}

test_what_speaks_for_the_platform_that_was_asked_for if {
	_accepted(fixture.for_platform, fixture.params) == {fixture.index, fixture.platform}
	_accepted(fixture.for_platform, fixture.of_index) == {fixture.index}
	_accepted(fixture.for_platform, fixture.of_requested) == {fixture.platform}
	_accepted(fixture.for_platform, fixture.of_every) == {fixture.index, fixture.platform}
}

_subject(change) := object.union(fixture.good, {"subject": object.union(fixture.good.subject, change)})

_manifest := _subject({"platforms": [], "media_type": "application/vnd.oci.image.manifest.v1+json"})

test_an_image_without_platforms_speaks_for_itself if {
	every params in [fixture.params, fixture.of_index, fixture.of_requested, fixture.of_every] {
		_accepted(_manifest, params) == {fixture.index}
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
		_accepted(_subject(change), fixture.of_requested) == set()
	}
	file := _subject({"platforms": [], "media_type": "", "repository": ""})
	_accepted(file, fixture.of_requested) == {fixture.index}
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
