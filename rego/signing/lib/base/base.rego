# METADATA
# title: Base images
# description: >-
#   What an image was built on, by the signed word of whoever built it: the images among the materials of its
#   provenance, the images that its SBOM lists, or the signed annotations org.opencontainers.image.base.name and
#   …base.digest of its signature. Annotations of the manifest itself are signed by nobody, and never count.
package signing.lib.base

# The package above this one, not this one:
# regal ignore:pointless-import
import data.signing.lib
import data.signing.lib.purl

# METADATA
# title: Image in its parts
# description: >-
#   Name, tag and digest of an image as builders write it: a package URL of the type docker or oci, or a reference,
#   with docker-image:// or oci:// before it. The digest may be given apart. Undefined for what is no image.
# scope: document
# custom:
#   example: 'lib.base.image("pkg:docker/debian@12", {"sha256": "00"})'
image(address, digests) := {
	"name": full_name(_repository(parts)),
	"tag": _tag(parts),
	"digest": _digest(parts, digests),
} if {
	parts := purl.parse(address)
	parts.type in {"docker", "oci"}
}

image(address, digests) := {"name": full_name(name), "tag": tag, "digest": _given(digest, digests)} if {
	not startswith(address, "pkg:")
	[[_, name, tag, digest]] = regex.find_all_string_submatch_n(_reference_pattern, address, 1)
	_reference(address, digest)
}

_reference_pattern := concat("", [
	`\A(?:(?:docker-image|docker|oci)://)?`,
	`([a-z0-9][A-Za-z0-9.:_/-]*?)`,
	`(?::([A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?`,
	`(?:@(sha256:[0-9a-f]{64}))?\z`,
])

# A plain word is a reference only where it says so.
_reference(address, _) if regex.match(`\A(?:docker-image|docker|oci)://`, address)

_reference(_, digest) if digest != ""

_repository(parts) := parts.qualifiers.repository_url if {
	parts.type == "oci"
} else := sprintf("%s/%s", [parts.namespace, parts.name]) if {
	parts.namespace != ""
} else := parts.name

_tag(parts) := object.get(parts.qualifiers, "tag", "") if {
	_is_digest(parts.version)
} else := parts.version if {
	parts.type == "docker"
} else := object.get(parts.qualifiers, "tag", "")

_digest(parts, digests) := parts.version if {
	_is_digest(parts.version)
} else := _given(object.get(parts.qualifiers, "digest", ""), digests)

_given(digest, digests) := sprintf("sha256:%s", [digests.sha256]) if {
	not _is_digest(digest)
	digests.sha256
} else := digest

_is_digest(text) if regex.match(`\Asha256:[0-9a-f]+\z`, text)

# METADATA
# title: Full name of an image
# description: The name with its registry, as patterns have it; that of Docker Hub where none is written.
# custom:
#   example: 'lib.base.full_name("debian")'
full_name(name) := sprintf("docker.io/library/%s", [name]) if {
	not contains(name, "/")
} else := sprintf("docker.io/%s", [rest]) if {
	some hub in {"index.docker.io/", "registry-1.docker.io/", "registry.hub.docker.com/"}
	startswith(name, hub)
	rest := _in_library(trim_prefix(name, hub))
} else := sprintf("docker.io/%s", [_in_library(trim_prefix(name, "docker.io/"))]) if {
	startswith(name, "docker.io/")
} else := name if {
	[host, _] := strings.split_n(name, "/", 2)
	_is_host(host)
} else := sprintf("docker.io/%s", [name])

_in_library(name) := sprintf("library/%s", [name]) if {
	not contains(name, "/")
} else := name

_is_host("localhost")

_is_host(text) if regex.match(`[.:]`, text)

# METADATA
# title: Base images of a fact
# description: >-
#   The images that one attestation, or one signature, says this image was built on; of an image that is in
#   there itself nothing is said. An SBOM that is too long to be read to its end names none.
# custom:
#   example: >-
#     lib.base.named(fixture.built_on("docker.io/library/debian:12")) with input as fixture.good
named(fact) := ({found |
	some material in fact.provenance.materials
	found := image(material.uri, material.digest)
} | _listed(fact)) | _annotated(fact)

_listed(fact) := {found |
	fact.projection.kind == "sbom"
	fact.projection.truncated == false
	some component in fact.projection.packages
	found := image(component.purl, {})
	not lib.about_image(found.digest)
}

_annotated(fact) := {{"name": found.name, "tag": found.tag, "digest": _given_digest(found.digest, digest)} |
	name := fact.annotations["org.opencontainers.image.base.name"]
	digest := object.get(fact.annotations, "org.opencontainers.image.base.digest", "")
	found := image(sprintf("oci://%s", [name]), {})
}

_given_digest("", digest) := digest

_given_digest(digest, _) := digest if digest != ""

# METADATA
# title: Base image in words
# description: Name, tag and digest, as far as they are known.
# custom:
#   example: 'lib.base.called({"name": "docker.io/library/debian", "tag": "12", "digest": ""})'
called(found) := concat("", [found.name, _behind(":", found.tag), _behind("@", found.digest)])

_behind(_, "") := ""

_behind(mark, text) := sprintf("%s%s", [mark, text]) if text != ""

# METADATA
# title: Allowed base image
# description: >-
#   True for an image whose name matches one of the patterns; of one with a tag or a digest these must be the
#   image's.
# custom:
#   example: >-
#     lib.base.allowed({"name": "docker.io/library/debian", "tag": "12", "digest": ""},
#     ["docker.io/library/debian:12"])
allowed(found, patterns) if {
	some pattern in patterns
	[[_, name, tag, digest]] = regex.find_all_string_submatch_n(_allowed_pattern, pattern, 1)
	regex.match(lib.image_pattern(name), found.name)
	_tagged(tag, found.tag)
	digest in {"", found.digest}
}

_allowed_pattern := `\A([^@]+?)(?::([A-Za-z0-9_*][A-Za-z0-9._*-]{0,127}))?(?:@(sha256:[0-9a-f]{64}))?\z`

_tagged("", _)

_tagged(pattern, tag) if {
	pattern != ""
	regex.match(sprintf(`\A%s\z`, [replace(regex.replace(pattern, `[^a-zA-Z0-9_*]`, `\$0`), "*", ".*")]), tag)
}

# METADATA
# title: Facts about base images
# description: >-
#   The ids of the attestations and signatures that count, by any trusted signer or by those that demands.signers
#   names, each with the images that it names; none of those that name no image.
# custom:
#   example: >-
#     lib.base.facts({"allowed": ["docker.io/library/debian"]}) with input as
#     fixture.based([fixture.built_on("docker.io/library/debian:12")]) with data.params as fixture.params
facts(demands) := {fact.id: found |
	some match in input.matches
	match.requirement == "base_image"
	some list in [input.attestations, input.signatures]
	some fact in list
	fact.subject_digest in match.digests
	lib.about_image(fact.subject_digest)
	count(lib.vouchers(fact, object.get(demands, "signers", null))) > 0
	found := named(fact)
	count(found) > 0
}

# METADATA
# title: Facts that name allowed base images only
# description: The ids of lib.base.facts of which every image is allowed.
# custom:
#   example: >-
#     lib.base.passing({"allowed": ["docker.io/library/debian"]}) with input as
#     fixture.based([fixture.built_on("docker.io/library/debian:12")]) with data.params as fixture.params
passing(demands) := {id |
	some id, found in facts(demands)
	every one in found {
		allowed(one, demands.allowed)
	}
}
