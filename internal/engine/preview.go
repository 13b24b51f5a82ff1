package engine

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/verdict"
)

// LastBoundary is the last time, from since on and not after now, at which a
// signer began or ended to be trusted, or a trust root became stale, or something got
// too old, which may be at any time; the zero time when there is none. What was decided under st after it holds now, as far as Go
// knows.
func (st *State) LastBoundary(since, now time.Time, maxStaleness time.Duration) time.Time {
	var last time.Time
	later := func(t time.Time) {
		if !t.After(now) && t.After(last) && !t.Before(since) {
			last = t
		}
	}
	for _, p := range st.Policies {
		if p.Ages && p.Mode != verdict.Disabled {
			return now
		}
		for at := p.NextBoundary(since); at != nil && !at.After(now); at = p.NextBoundary(*at) {
			later(*at)
		}
	}
	for _, r := range st.Roots {
		if !r.RefreshedAt.IsZero() {
			later(r.RefreshedAt.Add(maxStaleness))
		}
	}
	return last
}

// Later is the state as it will be at a later time when nothing is changed: trust
// roots that are refreshed are as fresh then as they are now.
func (st *State) Later(now, at time.Time) *State {
	if !at.After(now) {
		return st
	}
	later := *st
	later.Roots = slices.Clone(st.Roots)
	for i, r := range later.Roots {
		if !r.RefreshedAt.IsZero() {
			later.Roots[i].RefreshedAt = r.RefreshedAt.Add(at.Sub(now))
		}
	}
	return &later
}

// KeysFor names the keys that speak for an image at a time, by their fingerprints
// and sorted. Where there are more than most, all is false.
func (st *State) KeysFor(name string, at time.Time, most int) (fingerprints []string, all bool) {
	for _, p := range st.named(name) {
		keys, more := p.Signers.KeysInScope(name, at, most)
		if more {
			return nil, false
		}
		for _, k := range keys {
			fingerprints = append(fingerprints, k.Fingerprint)
		}
	}
	slices.Sort(fingerprints)
	return slices.Compact(fingerprints), true
}

// Alike says that two states decide alike about an image whatever the facts are,
// at one time. The other way round says nothing.
func (st *State) Alike(other *State, name string) bool {
	if st == other {
		return true
	}
	if !slices.Equal(st.Roots, other.Roots) {
		return false
	}
	return slices.EqualFunc(st.named(name), other.named(name), func(a, b Policy) bool {
		return a.Name == b.Name && a.Mode == b.Mode && a.Set == b.Set && a.Signers.Digest() == b.Signers.Digest() &&
			a.RequireSignature == b.RequireSignature && a.Registered == b.Registered && a.Platforms == b.Platforms && a.AllPlatforms == b.AllPlatforms &&
			maps.Equal(a.When, b.When) && a.Fallback == b.Fallback && a.Replaces == b.Replaces && sameRequirements(a, b) && a.same(b)
	})
}

// sameRequirements says that two policies require attestations of the same names; what
// else they ask of them is the document's, which [Policy.same] compares.
func sameRequirements(a, b Policy) bool {
	return a.Ages == b.Ages && slices.EqualFunc(a.Attestations, b.Attestations, func(x, y AttestationRequirement) bool { return x.Name == y.Name && x.Every == y.Every })
}

// same says that both were compiled from one document, which is what the demands
// that only Go knows come from.
func (p Policy) same(o Policy) bool { return p.Document != "" && p.Document == o.Document }

// WantsAllPlatforms says that a policy for the image reads the evidence of every
// platform.
func (st *State) WantsAllPlatforms(name string) bool {
	return slices.ContainsFunc(st.named(name), Policy.readsAll)
}

// VerifyKept makes facts anew of kept evidence, with the trust roots and the keys of
// st as they are at a time.
func (st *State) VerifyKept(ctx context.Context, b Basis, items []evidence.Item, at time.Time) (f facts.Facts, err error) {
	defer func() {
		if p := recover(); p != nil {
			f, err = facts.Facts{}, fmt.Errorf("panic while verifying kept evidence: %v", p)
		}
	}()
	name := b.Subject.Name()
	return st.Verify(ctx, b.Subject, items, scopeKeys{st.scope(b.Asked.Name(), b.Context), name, at})
}
