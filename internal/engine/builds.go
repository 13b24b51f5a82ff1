package engine

import (
	"context"
	"errors"
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

// ofIndex finds out whether what a policy allows for the platform that was asked for is
// known to hold of the whole index: the policy allows that by itself, rests on no
// exception for it, and says the same level of it. Otherwise the policy has allowed the
// platform alone. What holds of the index ends when either does.
func (j *judged) ofIndex(ctx context.Context, st *State, p Policy, b *Basis, f facts.Facts, now time.Time) {
	switch {
	case j.verdict.Decision != verdict.Allow || b.Subject.PlatformDigest(b.Platform) == "":
		return
	case p.Platforms != "": // the policy says itself what it judges
		j.platformOnly = p.Platforms == facts.PlatformsRequested
		return
	}
	index := *b
	index.Platform = ""
	in := facts.NewInput(f, frame(st, p, &index, f, now))
	of, err := p.Set.Evaluate(ctx, &in)
	switch {
	case errors.Is(err, ErrTimeLimit): // how busy the machine is does not choose what is deployed
		j.verdict.Decision = verdict.Unknown
		j.verdict.Reasons = []verdict.Reason{timeLimitReason(p, b)}
	case err != nil || !of.Allow || len(of.Violations) > 0 || waives(of) || of.SLSA.Level != j.slsa.Level:
		j.platformOnly = true
	case j.validUntil == nil || of.ValidUntil != nil && of.ValidUntil.Before(*j.validUntil):
		j.validUntil = of.ValidUntil
	}
}

// pinPlatform names the platform that was asked for as what to deploy.
func pinPlatform(v *verdict.Verdict, s facts.Subject, platform string) {
	if asked := s.PlatformDigest(platform); asked != "" {
		s.Digest = asked
		v.Pinned = s.Pinned()
	}
}
