package signing.lib

# METADATA
# title: Platforms
# description: >-
#   What the policy asks of an index: "index", "requested", "every", or "" where it
#   does not say.
# custom:
#   example: 'lib.platforms with data.params as fixture.of_every'
platforms := object.get(params, "platforms", "")

# METADATA
# title: Image that may have platforms
# description: True for an index, and for an image whose manifest was not read.
# scope: document
# custom:
#   example: 'lib.may_have_platforms with input as fixture.good'
may_have_platforms if count(input.subject.platforms) > 0

may_have_platforms if input.subject.media_type in {
	"application/vnd.oci.image.index.v1+json",
	"application/vnd.docker.distribution.manifest.list.v2+json",
}

may_have_platforms if {
	input.subject.media_type == ""
	input.subject.repository != ""
}

# METADATA
# title: Manifest that was asked for
# description: >-
#   The digest of the manifest of the platform that was asked for; of an image that
#   has no platforms its own. Undefined where no platform of the index was asked for.
# scope: document
# custom:
#   example: 'lib.requested with input as fixture.for_platform'
requested := input.request.platform_digest if input.request.platform_digest != ""

requested := input.subject.digest if not may_have_platforms

# METADATA
# title: What is to be signed
# description: >-
#   The digest of the image, or of the platform that was asked for, where the policy
#   asks for signatures on that.
# custom:
#   example: 'lib.asked_for with input as fixture.for_platform with data.params as fixture.params'
asked_for := requested if {
	platforms == "requested"
} else := input.subject.digest

# METADATA
# title: Digests that speak for what was asked
# description: >-
#   The digests evidence on which may meet a requirement: of an index that it has, of
#   the platform that was asked for, or of any platform where the policy asks for
#   every one.
# scope: document
# custom:
#   example: 'lib.accepted["sha256:aa"] with input as fixture.good with data.params as fixture.params'
accepted contains input.subject.digest if platforms in {"", "index", "every"}

accepted contains input.request.platform_digest if {
	platforms == ""
	input.request.platform_digest != ""
}

accepted contains requested if platforms == "requested"

accepted contains platform.digest if {
	platforms == "every"
	some platform in input.subject.platforms
}

# METADATA
# title: Platforms that are asked for one by one
# description: The digests of all platforms where the policy asks for every one, else none.
# custom:
#   example: 'lib.every_platform with input as fixture.good with data.params as fixture.of_every'
every_platform contains platform.digest if {
	platforms == "every"
	some platform in input.subject.platforms
}

# METADATA
# title: Platform in words
# description: The names that an index has for a digest, with the image.
# custom:
#   example: 'lib.platform_in_words("sha256:bb") with input as fixture.good'
platform_in_words(digest) := sprintf("Platform %s of image %s (%s)", [
	concat(" and ", sort({name |
		some platform in input.subject.platforms
		platform.digest == digest
		name := trim_suffix(sprintf("%s/%s/%s", [platform.os, platform.architecture, platform.variant]), "/")
	})),
	image, digest,
])

# METADATA
# title: Subject of a sentence
# description: The image as it was asked for, for an empty digest, or one of its platforms.
# scope: document
# custom:
#   example: 'lib.what("") with input as fixture.good'
what("") := sprintf("Image %s", [image])

what(digest) := platform_in_words(digest) if digest != ""

# METADATA
# title: Name by digest
# description: What to sign, as cosign wants it. An image without a name is IMAGE.
# custom:
#   example: 'lib.by_digest("sha256:bb") with input as fixture.good'
by_digest(digest) := sprintf("%s/%s@%s", [input.subject.registry, input.subject.repository, digest]) if {
	input.subject.repository != ""
} else := "IMAGE"
