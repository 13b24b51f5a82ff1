package engine

import (
	"fmt"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/signers"
)

// target is what a policy asks signatures of: the image as it was asked for, or one
// of its platforms.
type target struct {
	// digest is the platform's, "" for the image as it was asked for.
	digest string
	// accept are the digests whose signatures count.
	accept map[string]bool
	// edges are the principals whose signatures count, each with the signer entries
	// that they match.
	edges map[string][]string
}

// targets are those of a policy. An index speaks for its platforms, unless the
// policy says otherwise.
func targets(p Policy, s facts.Subject, platform string) []target {
	if p.Platforms != facts.PlatformsEvery {
		return []target{{accept: s.Accepts(p.Platforms, platform), edges: map[string][]string{}}}
	}
	list := []target{{accept: map[string]bool{s.Digest: true}, edges: map[string][]string{}}}
	for _, d := range s.PlatformDigests() {
		list = append(list, target{digest: d, accept: map[string]bool{d: true}, edges: map[string][]string{}})
	}
	return list
}

// matches are the assignments for each target, of the signature requirement and of
// each group.
func matches(p Policy, list []target) []facts.Match {
	var out []facts.Match
	for _, t := range list {
		all := append([]facts.Match{signers.Assign(RequirementSignature, t.edges)}, signers.AssignGroups(p.Groups, t.edges)...)
		for i := range all {
			all[i].SubjectDigest = t.digest
		}
		out = append(out, all...)
	}
	return out
}

// readsAll says that a policy reads the evidence of every platform of an index.
func (p Policy) readsAll() bool { return p.AllPlatforms || p.Platforms == facts.PlatformsEvery }

// notSearched says that a policy asks for the evidence of every platform, and that
// it was not looked for: the verdict was given when no policy in force asked, or the
// policy is only being tried.
func notSearched(p Policy, b *Basis) bool {
	return p.readsAll() && !b.AllPlatforms && len(b.Subject.Platforms) > 0
}

// notRead says that a policy, or one of its requirements, speaks of platforms, and
// that nobody knows whether the image has any: evidence alone was asked for, and its
// manifest is not there.
func notRead(p Policy, s facts.Subject) bool {
	return (p.readsAll() || p.Platforms == facts.PlatformsRequested) && s.MediaType == "" && len(s.Platforms) == 0 && s.MayHavePlatforms()
}

func platformsProblem(p Policy, b *Basis) *evidence.Problem {
	problem := &evidence.Problem{Code: ReasonPlatformsNotSearched}
	switch {
	case notRead(p, b.Subject):
		problem.Message = fmt.Sprintf("The manifest of image %s was not read, so its platforms are not known, of which policy %s speaks.", b.Image, p.Name)
	case notSearched(p, b):
		problem.Message = fmt.Sprintf("The evidence of every platform of image %s was not looked for, which policy %s asks for.", b.Image, p.Name)
	default:
		return nil
	}
	return problem
}
