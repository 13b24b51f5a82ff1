package signingpolicy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/signet-policy/signet/internal/builders"
	"github.com/signet-policy/signet/internal/facts"
)

// weighing holds provenance against the profiles and what the policy trusts.
type weighing struct {
	profiles     []builders.Profile
	registration []string // names of the profiles that wait for a registration
	builders     []weighedBuilder
	sources      []weighedSource
}

type weighedBuilder struct {
	TrustedBuilder
	is builders.TrustedBuilder
}

type weighedSource struct {
	TrustedSource
	is builders.TrustedSource
}

// Builds gives the function that says what the provenance of an attestation proves
// about subject ("sha256:<hex>"), under these profiles, and whether the policy
// trusts who built it and of what. trusted are the names of the trusted signers
// that the signature matches. Errors wrap [ErrInvalid].
func (p *Policy) Builds(profiles []builders.Profile) (func(a facts.Attestation, subject string, trusted []string) facts.Build, error) {
	w := &weighing{profiles: profiles}
	for _, profile := range profiles {
		if profile.Signer.VouchedBy == builders.ByRegistration {
			w.registration = append(w.registration, profile.Name)
		}
	}
	if p.SLSA == nil {
		return w.weigh, nil
	}
	for _, b := range p.SLSA.Builders {
		is, err := b.compile()
		if err != nil {
			return nil, fmt.Errorf("%w: policy %s: slsa: %w", ErrInvalid, p.Name, err)
		}
		w.builders = append(w.builders, weighedBuilder{b, is})
	}
	for _, s := range p.provenanceSources() {
		is, err := s.compile()
		if err != nil {
			return nil, fmt.Errorf("%w: policy %s: slsa: %w", ErrInvalid, p.Name, err)
		}
		w.sources = append(w.sources, weighedSource{s, is})
	}
	return w.weigh, nil
}

// maxUntrusted bounds the reasons that are given: there may be as many as trusted
// builders.
const maxUntrusted = 3

// weigh takes the trusted builder under which most is proven; where none is the
// builder, what is proven with nothing added to the profiles.
func (w *weighing) weigh(a facts.Attestation, subject string, trusted []string) facts.Build {
	best, found := facts.Build{}, false
	var untrusted []string
	for _, b := range w.builders {
		result, why := w.under(b, a, subject, trusted)
		if why != "" {
			untrusted = append(untrusted, why)
			continue
		}
		build := w.build(result, a, &b.Builder)
		if !found || better(build, best) {
			best, found = build, true
		}
	}
	if found {
		return best
	}
	build := w.build(builders.Match(w.profiles, a.Signature, a.Provenance, subject, builders.Vouched{}), a, nil)
	slices.Sort(untrusted)
	untrusted = slices.Compact(untrusted)
	if len(untrusted) == 0 {
		untrusted = []string{"the policy trusts no builder"}
	}
	build.Untrusted = append(untrusted[:min(len(untrusted), maxUntrusted)], build.Untrusted...)
	return build
}

// better prefers what the policy trusts wholly, then what proves more.
func better(a, b facts.Build) bool {
	if len(a.Untrusted) != len(b.Untrusted) {
		return len(a.Untrusted) < len(b.Untrusted)
	}
	return a.Level > b.Level
}

// under is what is proven when one of the trusted builders is believed, and why it
// is not the builder ("" : it is).
func (w *weighing) under(b weighedBuilder, a facts.Attestation, subject string, trusted []string) (builders.Result, string) {
	vouched := builders.Vouched{TrustRoots: b.TrustRoots}
	if len(b.Signers) > 0 {
		vouched.Registered = w.registration
	}
	r := builders.Match(w.profiles, a.Signature, a.Provenance, subject, vouched)
	_, why := b.is.Match(r)
	switch {
	case why != "":
	case len(b.Signers) > 0 && !slices.ContainsFunc(trusted, func(name string) bool { return slices.Contains(b.Signers, name) }):
		why = fmt.Sprintf("the builder %s is signed for by none of its signers (%s)", r.Builder, few(b.Signers))
	case len(b.TrustRoots) > 0 && a.Signer.Kind == facts.KindCertificate && !slices.Contains(b.TrustRoots, a.TrustRoot):
		why = fmt.Sprintf("the builder %s is vouched for by the trust root %s, and not by %s", r.Builder, a.TrustRoot, few(b.TrustRoots))
	}
	return r, why
}

func few(names []string) string {
	if len(names) <= maxUntrusted {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:maxUntrusted], ", "), len(names)-maxUntrusted)
}

// build adds to a result what the policy thinks of its builder and source.
func (w *weighing) build(r builders.Result, a facts.Attestation, builder *string) facts.Build {
	b := facts.Build{
		Profile: r.Profile, Unproven: r.Unproven, Level: r.Level, Builder: r.Builder, Reusable: r.Reusable, Source: r.Source,
		Contradictions: r.Contradictions, Missing: r.Missing, TrustedBuilder: builder, Untrusted: []string{},
	}
	if a.Provenance == nil {
		return b
	}
	var why string
	for _, s := range w.sources {
		ok, reason := s.is.Match(r, a.Provenance.Source.URI)
		if ok {
			b.TrustedSource = &s.Repository
			return b
		}
		if why == "" || len(w.sources) == 1 {
			why = reason
		}
	}
	switch {
	case len(w.sources) > 1 && r.Source.Repository != "":
		why = fmt.Sprintf("the source %s at %q is none of those that are trusted", r.Source.Repository, r.Source.Ref)
	case len(w.sources) == 0 && builders.Unmerged(r.Source.Ref):
		// Without sources every other one is as good.
		why = fmt.Sprintf("the source is at %s, which nobody has merged", r.Source.Ref)
	}
	if why != "" {
		b.Untrusted = append(b.Untrusted, why)
	}
	return b
}
