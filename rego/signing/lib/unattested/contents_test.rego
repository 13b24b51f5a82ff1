package signing.lib.unattested_test

import data.signing.lib.fixture_test as fixture

_messages(verdict) := concat(" ", [finding.message | some finding in verdict.violations])

_judged(attestations, topic, demand) := verdict if {
	given := fixture.attested(attestations)
	verdict := data.signing.verdict with input as given with data.params as fixture.judging(topic, demand)
}

test_a_report_that_is_not_understood if {
	unread := object.union(fixture.scan([]), {"projection": null})
	verdict := _judged([unread], "vulnerabilities", {"maximum_severity": "low", "unknown_severity": "deny", "unfixed": "deny"})
	contains(_messages(verdict), "is of a form that is not understood")
}

test_data_without_a_time if {
	timeless := object.union(fixture.scan([]), {"projection": {"tool": {"name": "s", "version": "1", "database_at": null}}})
	verdict := _judged([timeless], "vulnerabilities", {
		"maximum_severity": "low", "unknown_severity": "deny", "unfixed": "deny", "database_max_age": 60,
	})
	contains(_messages(verdict), "nobody can tell the age of")
}

test_tests_that_pass_with_failures if {
	failed := object.union(fixture.tested("PASSED", ["unit"]), {"projection": {"result": {
		"result": "PASSED", "passed": ["unit"], "warned": [], "failed": ["e2e"], "configuration": [],
	}}})
	verdict := _judged([failed], "tests", {"result": "PASSED"})
	contains(_messages(verdict), "failed: e2e")
}

test_what_passes if {
	_judged([fixture.tested("PASSED", ["unit"])], "tests", {"result": "PASSED"}).allow == true
	fine := fixture.scan([])
	until := _judged([fine], "vulnerabilities", {
		"maximum_severity": "low", "unknown_severity": "deny", "unfixed": "deny", "database_max_age": 604800,
		"vex": {"max_age": 604800},
	})
	until.allow == true
	excused := _judged(
		[fixture.scan([fixture.finding("CVE-2026-1", "high")]), fixture.excusing.attestations[0]],
		"vulnerabilities",
		{"maximum_severity": "low", "unknown_severity": "deny", "unfixed": "deny", "vex": {"max_age": 604800}},
	)
	excused.allow == true
	licensed := _judged([fixture.sbom([fixture.component("a", [])])], "licences", {"denied": ["GPL-*"], "unstated": "allow"})
	licensed.allow == true
}

test_signers_that_are_named if {
	some wanted in [{"signers": ["other"]}, {"signers": ["release"]}]
	verdict := data.signing.verdict with input as fixture.attested([]) with data.params as fixture.attesting([wanted])
	verdict.allow == false
	contains(_messages(verdict), "other")
}

test_several_have_to_sign_and_age if {
	verdict := data.signing.verdict with input as fixture.attested([fixture.sbom([])])
		with data.params as fixture.attesting([{"count": 2, "max_age": 604800}])
	verdict.allow == false
}

test_the_signers_who_may_are_told if {
	verdict := data.signing.verdict with input as fixture.attested([])
		with data.params as fixture.attesting([{"signers": ["release"]}])
	contains(_messages(verdict), "signed by release")
}

test_what_did_not_verify_is_told if {
	given := object.union(fixture.attested([]), {"rejections": [{
		"id": "sha256:ee",
		"media_type": "application/vnd.dev.sigstore.bundle.v0.3+json",
		"where": "ghcr.io/org/server",
		"code": "signature_invalid",
		"message": "the signature does not verify",
	}]})
	verdict := data.signing.verdict with input as given with data.params as fixture.attesting([{}])
	verdict.allow == false
	contains(_messages(verdict), "Not verified")
}

test_a_base_image_on_this_machine if {
	given := fixture.based([fixture.built_on("pkg:docker/localhost/debian@12")])
	verdict := data.signing.verdict with input as given
		with data.params as fixture.judging("base_images", {"allowed": ["localhost/debian"]})
	is_boolean(verdict.allow)
}

test_other_requirements_are_asked_of_platforms if {
	verdict := data.signing.verdict with input as fixture.good
		with data.params as object.union(fixture.of_every, {"slsa": fixture.building.slsa})
	verdict.allow == false
}

test_other_types_are_told if {
	verdict := data.signing.verdict with input as fixture.attested([fixture.scan([])])
		with data.params as fixture.attesting([{}])
	contains(_messages(verdict), "What it has is of other types")
}

test_strangers_are_told_who_may if {
	stranger := object.union(fixture.sbom([]), {"trusted_signers": []})
	verdict := data.signing.verdict with input as fixture.attested([stranger])
		with data.params as fixture.attesting([{"signers": ["release"]}])
	contains(_messages(verdict), "Who may: release")
}

test_requirements_of_an_image_without_platforms if {
	given := object.union(fixture.good, {"subject": object.union(fixture.good.subject, {"platforms": []})})
	verdict := data.signing.verdict with input as given
		with data.params as object.union(fixture.of_every, {"slsa": fixture.building.slsa})
	verdict.allow == false
	some covered in data.signing.lib.requirement.coverage with input as given
		with data.params as object.union(fixture.of_every, {"slsa": fixture.building.slsa})
	covered.requirement == "provenance"
}
