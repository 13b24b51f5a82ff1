package signing.lib.requirement

# The package above this one, not this one:
# regal ignore:pointless-import
import data.signing.lib
import data.signing.lib.base

# METADATA
# title: Need of a base image
# description: The facts that name allowed base images only, where the parameters ask for it.
# custom:
#   code: needs_base_image
#   severity: none
#   remediation: Read the violations of data.signing.verdict.
#   example: >-
#     signing.lib.requirement.needs with input as fixture.based([fixture.built_on("docker.io/library/debian:12")]) with
#     data.params as fixture.judging("base_images", {"allowed": ["docker.io/library/debian"]})
needs["base_image"] := base.passing(lib.contents.base_images) if lib.contents.base_images

_base_facts := base.facts(lib.contents.base_images)

# METADATA
# title: Explained need of a base image
# description: The requirement of a base image where it is not met, which two violations speak of.
# custom:
#   code: explained_base_image
#   severity: none
#   remediation: Read the violations of data.signing.verdict.
#   example: >-
#     signing.lib.requirement.explained with input as fixture.based([]) with data.params as
#     fixture.judging("base_images", {"allowed": ["docker.io/library/debian"]})
explained contains "base_image" if {
	lib.contents.base_images
	count(base.passing(lib.contents.base_images)) == 0
}

# METADATA
# title: Base image is known
# description: >-
#   Nothing that counts says what the image was built on. The annotation of the manifest is signed by nobody, and does
#   not count.
# custom:
#   code: base_image_unknown
#   severity: high
#   remediation: >-
#     Attach SLSA provenance that lists the base image among its materials, or sign the image with the annotation
#     org.opencontainers.image.base.name.
#   example: >-
#     signing.verdict with input as fixture.based([]) with data.params as fixture.judging("base_images",
#     {"allowed": ["docker.io/library/debian"]})
violation contains _about("base_image", lib.finding(60, "base_image_unknown", "signing.rules.unattested", {
	"message": sprintf(
		"Nothing that a trusted signer says of image %s names the image that it was built on; allowed are: %s.",
		[lib.image, lib.few({pattern | some pattern in lib.contents.base_images.allowed})],
	),
	"remediation": concat(" ", [
		"Attach provenance that lists the base image among its materials, or sign with it:",
		"cosign sign -a org.opencontainers.image.base.name=NAME:TAG.",
	]),
})) if {
	lib.contents.base_images
	count(_base_facts) == 0
}

# METADATA
# title: Base image is allowed
# description: What the image was built on is none of the allowed images.
# custom:
#   code: base_image_not_allowed
#   severity: high
#   remediation: Build on an allowed image, or add the image to contents.base_images.
#   example: >-
#     signing.verdict with input as fixture.based([fixture.built_on("docker.io/library/alpine:3")]) with data.params as
#     fixture.judging("base_images", {"allowed": ["docker.io/library/debian"]})
violation contains _about("base_image", lib.finding_of(61, "base_image_not_allowed", "signing.rules.unattested", {
	"message": sprintf("Image %s was built on %s, which is not allowed; allowed are: %s.", [
		lib.image,
		lib.few({base.called(one) | some one in found; not base.allowed(one, lib.contents.base_images.allowed)}),
		lib.few({pattern | some pattern in lib.contents.base_images.allowed}),
	]),
	"remediation": "Build on an allowed image, or add the image to contents.base_images of the signing policy.",
	"fact": id,
})) if {
	lib.contents.base_images
	count(base.passing(lib.contents.base_images)) == 0
	some id, found in _base_facts
}

_about(name, [place, finding]) := [place, object.union(finding, {"requirement": name})]
