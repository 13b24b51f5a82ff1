package engine

import (
	"slices"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/verdict"
)

// RequirementProvenance is the requirement of a policy that wants SLSA provenance.
const RequirementProvenance = "provenance"

// weigh puts into the frame what the provenance of an attestation proves. One that
// speaks of none of the digests that were asked for proves nothing about them.
func (p Policy) weigh(fr *facts.Frame, a facts.Attestation, asked string, accept map[string]bool) {
	if a.Provenance == nil || p.Builds == nil {
		return
	}
	if accept[a.SubjectDigest] {
		asked = a.SubjectDigest
	}
	if fr.Builds == nil {
		fr.Builds = map[string]facts.Build{}
	}
	key := facts.FactKey(a.Signature)
	fr.Builds[key] = p.Builds(a, asked, fr.TrustedSigners[key])
}

// tellsMore says whether one policy's word on the build is to stand in the verdict
// instead of another's: the higher level, then what is lacking.
func tellsMore(a, b verdict.SLSA) bool {
	return a.Level > b.Level || a.Level == b.Level && b.Builder == nil && len(b.Missing) == 0
}

// provenForPlatform says that the provenance which met a requirement speaks of a
// platform alone, so that the rest of the index is not known to be built so.
func provenForPlatform(in facts.Input, satisfied []verdict.Satisfied) bool {
	for _, s := range satisfied {
		if s.Requirement != RequirementProvenance || len(s.Facts) == 0 {
			continue
		}
		if !slices.ContainsFunc(in.Attestations, func(a facts.InputAttestation) bool {
			return a.SubjectDigest == in.Subject.Digest && a.Build != nil && a.Build.Believed() && slices.Contains(s.Facts, a.ID)
		}) {
			return true
		}
	}
	return false
}

// pinPlatform names the platform that was asked for as what to deploy.
func pinPlatform(v *verdict.Verdict, s facts.Subject, platform string) {
	if asked := facts.MatchPlatforms(s.Platforms, platform); len(asked) == 1 {
		s.Digest = asked[0].Digest
		v.Pinned = s.Pinned()
	}
}
