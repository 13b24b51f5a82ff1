package signing.lib.base_test

import data.signing.lib.base
import data.signing.lib.fixture_test as fixture

_digest := "sha256:1111111111111111111111111111111111111111111111111111111111111111"

_called(address, digests) := base.called(base.image(address, digests))

test_images if {
	every case in [
		["pkg:docker/debian@12?platform=linux%2Famd64", {}, "docker.io/library/debian:12"],
		["pkg:docker/ghcr.io/org/base@v1", {"sha256": "11"}, "ghcr.io/org/base:v1@sha256:11"],
		["pkg:docker/org/base", {}, "docker.io/org/base"],
		[
			"pkg:oci/base@sha256%3A11?repository_url=ghcr.io/org/base&tag=v1", {},
			"ghcr.io/org/base:v1@sha256:11",
		],
		["pkg:oci/base@v2?repository_url=ghcr.io/org/base&digest=sha256:22", {}, "ghcr.io/org/base@sha256:22"],
		["docker-image://docker.io/library/golang:1.22", {}, "docker.io/library/golang:1.22"],
		["docker-image://index.docker.io/debian", {}, "docker.io/library/debian"],
		["oci://localhost:5000/a/b", {}, "localhost:5000/a/b"],
		[sprintf("ghcr.io/org/base@%s", [_digest]), {}, sprintf("ghcr.io/org/base@%s", [_digest])],
	] {
		_called(case[0], case[1]) == case[2]
	}
}

test_no_images if {
	every address in [
		"git+https://github.com/org/app", "https://example.com/x.tar.gz", "debian",
		"pkg:npm/left-pad@1",
	] {
		not base.image(address, {})
	}
}

test_allowed_patterns if {
	found := {"name": "docker.io/library/debian", "tag": "12-slim", "digest": _digest}
	every pattern in [
		"docker.io/library/*", "docker.io/library/debian:12-*",
		sprintf("docker.io/library/debian:12-slim@%s", [_digest]),
	] {
		base.allowed(found, [pattern])
	}
	every pattern in [
		"docker.io/library/debian:12", "docker.io/library/deb",
		sprintf("docker.io/library/debian@%s", [replace(_digest, "1", "2")]),
	] {
		not base.allowed(found, [pattern])
	}
}

test_signed_annotation if {
	signature := object.union(fixture.good.signatures[0], {"annotations": {
		"org.opencontainers.image.base.name": "debian:12",
		"org.opencontainers.image.base.digest": _digest,
	}})
	given := object.union(fixture.based([]), {"signatures": [signature]})
	wanted := fixture.judging("base_images", {"allowed": [sprintf(
		"docker.io/library/debian:12@%s",
		[_digest],
	)]})
	data.signing.verdict.satisfied_by == [{"requirement": "base_image", "facts": [signature.id]}]
		with input as given
		with data.params as wanted
}

test_annotation_with_a_digest_in_the_name if {
	signature := {"annotations": {"org.opencontainers.image.base.name": sprintf("debian@%s", [_digest])}}
	{found.digest | some found in base.named(signature)} == {_digest}
}

test_a_cut_list_names_nothing if base.named(fixture.truncated) == set()

test_names_with_their_registry if {
	base.full_name("localhost/debian") == "localhost/debian"
	base.full_name("ghcr.io/org/base") == "ghcr.io/org/base"
	base.full_name("org/base") == "docker.io/org/base"
}
