package engine

import (
	"maps"
	"slices"
	"time"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/signers"
)

// AttestationRequirement is an attestation that a policy requires.
type AttestationRequirement struct {
	// Name of the requirement; input.matches names it.
	Name string
	// Every says that each platform of an index needs its own.
	Every bool
	// Counts gives those of an attestation's trusted signers for whom it counts at a
	// time, before matching: it is of the type, as fresh and as well logged as the
	// policy wants it.
	Counts func(a facts.Attestation, trusted []string, trust []facts.TrustInfo, at time.Time) []string
}

// attestationMatches matches the attestations that a policy requires, one match for
// each requirement, or for each platform. They name the digests whose attestations
// count, so that one of another platform than was asked for never does.
func attestationMatches(p Policy, b *Basis, f facts.Facts, fr facts.Frame) []facts.Match {
	var matches []facts.Match
	for _, r := range p.Attestations {
		for _, digests := range attestedDigests(p, r, b) {
			edges := map[string][]string{} // principal → signer entries
			for _, a := range f.Attestations() {
				trusted := fr.TrustedSigners[facts.FactKey(a.Signature)]
				if len(trusted) == 0 || !slices.Contains(digests, a.SubjectDigest) {
					continue
				}
				if names := r.Counts(a, trusted, fr.Trust, fr.EvaluatedAt); len(names) > 0 {
					edges[a.Principal] = append(edges[a.Principal], names...)
				}
			}
			m := signers.Assign(r.Name, edges)
			m.Digests = digests
			matches = append(matches, m)
		}
	}
	return matches
}

// attestedDigests are the digests that a requirement speaks of: one list for the
// image, or one for each platform.
func attestedDigests(p Policy, r AttestationRequirement, b *Basis) [][]string {
	if platforms := b.Subject.PlatformDigests(); (r.Every || p.Platforms == facts.PlatformsEvery) && len(platforms) > 0 {
		lists := make([][]string, 0, len(platforms))
		for _, d := range platforms {
			lists = append(lists, []string{d})
		}
		return lists
	}
	return [][]string{slices.Sorted(maps.Keys(b.Subject.Accepts(p.Platforms, b.Platform)))}
}
