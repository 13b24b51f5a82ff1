package api

import (
	"strings"
)

// longestImage bounds a reference: a registry's name (255), a repository (255),
// a tag (128) and a digest (71), with room to spare.
const longestImage = 1024

// longestPlatform is more than any os/architecture/variant has.
const longestPlatform = 64

const registriesOnly = ". Over HTTP only images in registries can be named, for example ghcr.io/org/app:v1; `signet verify` on the machine itself reads files."

// Lengths of hexadecimal digests, in characters.
const (
	hexSHA256 = 64
	hexSHA512 = 128
)

// checkImage refuses what names no image in a registry, before anything parses
// it: a caller over HTTP must not make us open a file. Whether the reference is
// well-formed is for the engine to say.
func checkImage(image string) *problem {
	bad := func(detail string) *problem {
		return &problem{code: codeInvalidField, field: "image", detail: detail}
	}
	switch {
	case image == "":
		return &problem{code: codeMissingField, field: "image", detail: `The field "image" is missing. Name the image to decide on, for example ghcr.io/org/app:v1.`}
	case len(image) > longestImage:
		return bad("The field \"image\" has more than 1024 characters. Name one image, for example ghcr.io/org/app:v1.")
	case strings.ContainsFunc(image, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		return bad("The image " + shown(image) + " has a space or a character that no reference has. Write it like ghcr.io/org/app:v1.")
	case namesFile(image):
		return bad("The image " + shown(image) + " names a file" + registriesOnly)
	case strings.Contains(image, "://"):
		return bad("The image " + shown(image) + " has a scheme. Write it without, like ghcr.io/org/app:v1.")
	case bareDigest(image):
		return bad("The image " + shown(image) + " is a digest alone, which names no registry. Write it like ghcr.io/org/app@sha256:….")
	}
	return nil
}

// namesFile knows the ways in which container tools name what lies on a disk.
// oci-layout: is the one that Signet itself reads; the others, and paths, are
// refused so that the caller is told why.
func namesFile(image string) bool {
	if hasPrefixFold(image, "oci-layout:") {
		return true
	}
	for _, transport := range []string{"oci:", "oci-archive:", "docker-archive:", "dir:", "file:"} {
		if hasPrefixFold(image, transport) && looksLikePath(image[len(transport):]) {
			return true
		}
	}
	return looksLikePath(image)
}

func looksLikePath(s string) bool {
	return s == "" || strings.ContainsRune("/.~", rune(s[0])) || strings.Contains(s, `\`)
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// bareDigest knows "sha256:<hex>". A shorter tail would be the tag of an image
// of that name.
func bareDigest(image string) bool {
	algorithm, hex, ok := strings.Cut(image, ":")
	return ok && (algorithm == "sha256" && len(hex) == hexSHA256 || algorithm == "sha512" && len(hex) == hexSHA512)
}

func checkPlatform(platform string) *problem {
	if platform == "" || platformForm(platform) {
		return nil
	}
	return &problem{code: codeInvalidField, field: "platform", detail: "The platform " + shown(platform) + " is not os/architecture or os/architecture/variant, like linux/amd64 or linux/arm64/v8."}
}

// platformForm knows os/architecture[/variant] as the OCI image index spells them.
func platformForm(s string) bool {
	parts := 0
	for part := range strings.SplitSeq(s, "/") {
		parts++
		if part == "" || strings.ContainsFunc(part, notInPlatform) {
			return false
		}
	}
	return len(s) <= longestPlatform && (parts == 2 || parts == 3)
}

func notInPlatform(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' && r != '.'
}
