package facts

import (
	"slices"
	"time"
)

// Frame is everything in an [Input] that is not proved about the image: who
// asked, when, how the search went, and which signers in force are matched. It
// is kept with a verdict, so that the same input can be rebuilt from the facts.
type Frame struct {
	EvaluatedAt time.Time `json:"evaluated_at"`
	// ClockSkew is how far, in nanoseconds, a verified time may lie after
	// EvaluatedAt before the evidence counts as signed in the future.
	ClockSkew time.Duration `json:"clock_skew"`
	Request   Request       `json:"request"`
	// Platform is the one that was asked for, "" for none: what to ask again.
	Platform string `json:"platform,omitempty"`
	// Platforms is what the policy asks of an index: one of the Platforms constants.
	Platforms string `json:"platforms,omitempty"`
	// AllPlatforms: it reads the evidence of every platform.
	AllPlatforms bool    `json:"all_platforms,omitempty"`
	Registry     string  `json:"registry"`
	Repository   string  `json:"repository"`
	Tag          *string `json:"tag"`
	Search       Search  `json:"search"`
	Matches      []Match `json:"matches"`
	// TrustedSigners maps a fact ([FactKey]) to the trusted signers it matches.
	TrustedSigners map[string][]string `json:"trusted_signers"`
	Trust          []TrustInfo         `json:"trust"`
	// Builds maps an attestation with SLSA provenance ([FactKey]) to what it proves.
	// Frames from before there were any have none.
	Builds map[string]Build `json:"builds,omitempty"`
	// StaleRoots are trust roots past their permitted staleness: what was
	// verified with them is not known, and is withheld.
	StaleRoots []string `json:"stale_roots,omitempty"`
	// Given are the ids of evidence that came with the request: the answer is that of
	// whoever gave it, and of nobody else.
	Given []string `json:"given,omitempty"`
	// ShowUnmatched leaves strangers' predicates in, and marks the document.
	ShowUnmatched bool `json:"show_unmatched,omitempty"`
}

// FactKey names a signature or attestation within one subject: the same
// evidence may speak of an index and of its platforms.
func FactKey(s Signature) string { return s.SubjectDigest + " " + s.ID }

// NewInput puts facts into a frame. Evidence with a verified time after the
// time of evaluation becomes a rejection here, because facts know no clock.
// Predicates reach the policy only when their signature matched a trusted
// signer or is a trusted builder's, so that no rule ever reads a stranger's JSON.
// Where a policy says what it asks of an index, attestations on other digests do not
// reach it either.
func NewInput(f Facts, fr Frame) Input {
	subject := f.Subject()
	subject.Registry, subject.Repository, subject.Tag = fr.Registry, fr.Repository, fr.Tag
	subject.Platforms = orEmpty(subject.Platforms)
	in := Input{
		Schema:       InputSchema,
		EvaluatedAt:  fr.EvaluatedAt,
		Request:      fr.Request,
		Subject:      subject,
		Search:       fr.Search,
		Signatures:   []InputSignature{},
		Attestations: []InputAttestation{},
		Matches:      orEmpty(fr.Matches),
		Rejections:   orEmpty(f.Rejections()),
		Trust:        orEmpty(fr.Trust),
	}
	if fr.ShowUnmatched {
		in.Schema = UnmatchedSchema
	}
	in.Request.Roles = orEmpty(in.Request.Roles)
	if in.Request.Context == nil {
		in.Request.Context = map[string]string{}
	}
	in.Search.Repositories = orEmpty(in.Search.Repositories)
	in.Search.Problems = orEmpty(in.Search.Problems)

	accepted := subject.Accepts(fr.Platforms, fr.Platform)
	for _, s := range f.signatures {
		if !fr.reads(subject, s.SubjectDigest) {
			continue
		}
		if r, withheld := fr.Withhold(s); withheld {
			in.Rejections = append(in.Rejections, r)
			continue
		}
		in.Signatures = append(in.Signatures, InputSignature{Signature: s, TrustedSigners: fr.trusted(s)})
	}
	for _, a := range f.attestations {
		if !fr.reads(subject, a.SubjectDigest) || fr.Platforms != "" && !fr.AllPlatforms && !accepted[a.SubjectDigest] {
			continue
		}
		if r, withheld := fr.Withhold(a.Signature); withheld {
			in.Rejections = append(in.Rejections, r)
			continue
		}
		trusted := fr.trusted(a.Signature)
		projection, provenance := a.Projection, a.Provenance
		a.Projection, a.Provenance = nil, nil // the input has them in one place
		shown := InputAttestation{Attestation: a, TrustedSigners: trusted, Projection: projection, Provenance: provenance}
		build, built := fr.Builds[FactKey(a.Signature)]
		if built {
			shown.Build = build.clone()
			if build.Profile != "" {
				shown.BuilderProfile = &shown.Build.Profile
			}
		}
		if len(trusted) == 0 && !build.Believed() && !fr.ShowUnmatched {
			shown.Predicate, shown.Projection, shown.Provenance, shown.ProjectionError = nil, nil, nil, ""
		}
		in.Attestations = append(in.Attestations, shown)
	}
	return in
}

// reads says whether the policy reads evidence on a digest: on the image, on what
// was asked for by the name of a platform, and on every platform where it asks for
// all of them. What others of the policies in force had looked for is none of its
// evidence.
func (fr Frame) reads(s Subject, digest string) bool {
	others := func(p Platform) bool { return p.Digest == digest }
	return fr.AllPlatforms || digest == s.Digest || !slices.ContainsFunc(s.Platforms, others) ||
		slices.ContainsFunc(MatchPlatforms(s.Platforms, fr.Platform), others)
}

func (fr Frame) trusted(s Signature) []string {
	return orEmpty(slices.Clone(fr.TrustedSigners[FactKey(s)]))
}

// Withhold says whether a fact is kept from policies at the time of the frame,
// and the rejection that tells why.
func (fr Frame) Withhold(s Signature) (Rejection, bool) {
	switch {
	case s.InFuture(fr.EvaluatedAt.Add(fr.ClockSkew)):
		return fromFuture(s), true
	case slices.Contains(fr.StaleRoots, s.TrustRoot):
		return Rejection{
			ID: s.ID, MediaType: s.Format, Where: s.SubjectDigest, Code: CodeTrustRootStale,
			Message: "verified with the trust root " + s.TrustRoot + ", which was not refreshed for too long to be believed",
		}, true
	}
	return Rejection{}, false
}

// InFuture says whether any verified time of s lies after latest.
func (s Signature) InFuture(latest time.Time) bool {
	for _, e := range s.Transparency {
		if e.IntegratedAt != nil && e.IntegratedAt.After(latest) {
			return true
		}
	}
	for _, t := range s.Timestamps {
		if t.Time.After(latest) {
			return true
		}
	}
	return s.SignedAt != nil && s.SignedAt.After(latest)
}

func fromFuture(s Signature) Rejection {
	at := "a time"
	if s.SignedAt != nil {
		at = s.SignedAt.UTC().Format(time.RFC3339)
	}
	return Rejection{
		ID: s.ID, MediaType: s.Format, Where: s.SubjectDigest, Code: CodeSignedInFuture,
		Message: "signed at " + at + ", after the time of evaluation: check the clocks of this machine and of the log or timestamp authority",
	}
}
