package engine

import (
	"context"
	"time"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/verdict"
)

// weigh puts into the frame what the provenance of an attestation proves. One that
// speaks of none of the digests that were asked for proves nothing, whatever other
// requirement it is read for.
func (p Policy) weigh(fr *facts.Frame, a facts.Attestation, accept map[string]bool) {
	if a.Provenance == nil || p.Builds == nil || !accept[a.SubjectDigest] {
		return
	}
	if fr.Builds == nil {
		fr.Builds = map[string]facts.Build{}
	}
	key := facts.FactKey(a.Signature)
	fr.Builds[key] = p.Builds(a, a.SubjectDigest, fr.TrustedSigners[key])
}

// tellsMore says whether one policy's word on the build is to stand in the verdict
// instead of another's: the higher level, then what is lacking.
func tellsMore(a, b verdict.SLSA) bool {
	return a.Level > b.Level || a.Level == b.Level && b.Builder == nil && len(b.Missing) == 0
}

// onlyForPlatform says that what a policy allows is the platform that was asked for and
// not known to be the rest of the index: it judged that platform alone, or would not
// allow the index by itself, or not say the same level of it.
func (p Policy) onlyForPlatform(ctx context.Context, st *State, b *Basis, f facts.Facts, now time.Time, said verdict.Result) bool {
	switch {
	case b.Subject.PlatformDigest(b.Platform) == "":
		return false
	case p.Platforms != "": // the policy says itself what it judges
		return p.Platforms == facts.PlatformsRequested
	}
	index := *b
	index.Platform = ""
	in := facts.NewInput(f, frame(st, p, &index, f, now))
	of, err := p.Set.Evaluate(ctx, &in)
	return err != nil || !of.Allow || len(of.Violations) > 0 || of.SLSA.Level != said.SLSA.Level
}

// pinPlatform names the platform that was asked for as what to deploy.
func pinPlatform(v *verdict.Verdict, s facts.Subject, platform string) {
	if asked := s.PlatformDigest(platform); asked != "" {
		s.Digest = asked
		v.Pinned = s.Pinned()
	}
}
