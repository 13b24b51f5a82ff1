package facts

import (
	"slices"
	"strings"
)

// MatchPlatforms gives the platforms that want names, "os/architecture[/variant]",
// where the default variants may be left out (arm64 is arm64/v8, arm is arm/v7,
// amd64 is amd64/v1). Without a variant in want, and none that is the default,
// every variant matches. The result is empty when nothing does, or when want is
// misspelt.
func MatchPlatforms(platforms []Platform, want string) []Platform {
	os, rest, _ := strings.Cut(want, "/")
	arch, variant, _ := strings.Cut(rest, "/")
	if os == "" || arch == "" {
		return nil
	}
	var exact, similar []Platform
	for _, p := range platforms {
		if p.OS != os || p.Architecture != arch {
			continue
		}
		similar = append(similar, p)
		if fullVariant(arch, p.Variant) == fullVariant(arch, variant) {
			exact = append(exact, p)
		}
	}
	if len(exact) > 0 || variant != "" {
		return exact
	}
	return similar
}

func fullVariant(arch, variant string) string {
	if variant != "" {
		return variant
	}
	switch arch {
	case "arm64":
		return "v8"
	case "arm":
		return "v7"
	case "amd64":
		return "v1"
	}
	return ""
}

// What a policy asks of an index. Without any of them a signature on the index
// speaks for it, and one on the platform that was asked for speaks for that one.
const (
	// PlatformsIndex asks for evidence on the index itself, whatever platform was
	// asked for.
	PlatformsIndex = "index"
	// PlatformsRequested asks for evidence on the manifest of the platform that was
	// asked for; the index does not speak for it.
	PlatformsRequested = "requested"
	// PlatformsEvery asks for signatures on the index and on each of its platforms,
	// and for every other requirement on each platform.
	PlatformsEvery = "every"
)

// mediaTypesOfIndexes are OCI's and Docker's.
var mediaTypesOfIndexes = []string{"application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"}

// MayHavePlatforms says whether the subject is an index, or its manifest was not
// read, so that it may be one.
func (s Subject) MayHavePlatforms() bool {
	return len(s.Platforms) > 0 || slices.Contains(mediaTypesOfIndexes, s.MediaType) || s.MediaType == "" && s.Repository != ""
}

// PlatformDigest is the digest of the platform that want names, "" where there is
// none, or where manifests that differ have the name: one of them does not speak
// for the others.
func (s Subject) PlatformDigest(want string) string {
	digest := ""
	for _, p := range MatchPlatforms(s.Platforms, want) {
		if digest != "" && digest != p.Digest {
			return ""
		}
		digest = p.Digest
	}
	return digest
}

// PlatformDigests are the digests of the platforms in their order, each once.
func (s Subject) PlatformDigests() []string {
	var digests []string
	for _, p := range s.Platforms {
		if !slices.Contains(digests, p.Digest) {
			digests = append(digests, p.Digest)
		}
	}
	return digests
}

// Accepts are the digests evidence on which may speak for what was asked, where a
// policy asks of an index what platforms says ("" for nothing), and a platform was
// asked for or not ("").
func (s Subject) Accepts(platforms, platform string) map[string]bool {
	accept := map[string]bool{}
	asked := s.PlatformDigest(platform)
	if platforms != PlatformsRequested || !s.MayHavePlatforms() {
		accept[s.Digest] = true
	}
	if asked != "" && (platforms == "" || platforms == PlatformsRequested) {
		accept[asked] = true
	}
	if platforms == PlatformsEvery {
		for _, d := range s.PlatformDigests() {
			accept[d] = true
		}
	}
	return accept
}
