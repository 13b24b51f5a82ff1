package registry

import (
	"slices"
	"strings"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
)

// What BuildKit's attestation manifests in an index have
// (docs.docker.com, "Image attestation storage").
const (
	annotationReferenceDigest = "vnd.docker.reference.digest"
	unknownPlatform           = "unknown"
)

// isAttestation says whether an entry of an index is a BuildKit attestation
// manifest, which always has the platform unknown/unknown. An entry that a runtime
// could choose is an image, whatever its annotations say, and containerd may choose
// one without a platform.
func (d descriptor) isAttestation() bool {
	return d.Platform != nil && d.Platform.OS == unknownPlatform && d.Platform.Architecture == unknownPlatform
}

// index is what matters of an image index.
type index struct {
	platforms    []facts.Platform
	attestations []descriptor
}

// readIndex reads the entries of an index. An index in an index is ambiguous:
// clients differ in what they make of it.
func readIndex(m manifest, lim evidence.Limits) (index, error) {
	entries, err := descriptors(m.Manifests, lim.Platforms, lim.JSONDepth, nil)
	if err != nil {
		return index{}, err
	}
	var ix index
	for _, d := range entries {
		if isIndexType(d.MediaType) {
			return index{}, ambiguous("it is an index in an index (%s)", d.Digest)
		}
		if d.isAttestation() {
			ix.attestations = append(ix.attestations, d)
			continue
		}
		p := facts.Platform{Digest: d.Digest}
		if d.Platform != nil {
			p.OS, p.Architecture, p.Variant = clip(d.Platform.OS, 64), clip(d.Platform.Architecture, 64), clip(d.Platform.Variant, 64)
		}
		ix.platforms = append(ix.platforms, p)
	}
	return ix, nil
}

// choose gives the platforms of s whose evidence is to be collected.
func choose(s facts.Subject, q evidence.Query) ([]facts.Platform, error) {
	var asked []facts.Platform
	if q.Platform != "" && (s.MediaType == "" || isIndexType(s.MediaType)) { // an image manifest is of one platform
		if asked = facts.MatchPlatforms(s.Platforms, q.Platform); len(asked) == 0 {
			return nil, noSuchPlatform(s, q)
		}
	}
	if q.AllPlatforms {
		return s.Platforms, nil
	}
	return asked, nil
}

func noSuchPlatform(s facts.Subject, q evidence.Query) error {
	var have []string
	for _, p := range s.Platforms {
		if !slices.Contains(have, p.String()) {
			have = append(have, p.String())
		}
	}
	where, want := clip(q.Image, 300), clip(q.Platform, 50)
	if len(have) == 0 {
		return problem(evidence.CodePlatformNotFound, where, "no platforms of the image are known, so %q cannot be chosen", want)
	}
	return problem(evidence.CodePlatformNotFound, where, "the image has no platform %q; it has %s", want, strings.Join(have, ", "))
}
