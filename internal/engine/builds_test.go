package engine

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/verdict"
)

// The level in a verdict is that by the builders of policies that are enforced; by those
// of policies that are tried out where none is.
func TestLevelOfEnforcedPolicies(t *testing.T) {
	for _, tt := range []struct {
		modes []verdict.Mode
		want  int
	}{
		{[]verdict.Mode{verdict.Enforce, verdict.Audit}, 1},
		{[]verdict.Mode{verdict.Audit, verdict.Enforce}, 3},
		{[]verdict.Mode{verdict.Enforce, verdict.Enforce}, 3},
		{[]verdict.Mode{verdict.Audit, verdict.Audit}, 3},
	} {
		w := newWorld(t)
		first := w.state.Policies[0]
		w.state.Policies = nil
		for i, mode := range tt.modes {
			p := first
			p.Mode, p.Name = mode, []string{"one", "three"}[i]
			level := 1 + 2*i
			p.Set = &fakePolicy{evaluate: func(*facts.Input) (verdict.Result, error) {
				return verdict.Result{Allow: true, SLSA: verdict.SLSA{Level: level}}, nil
			}}
			w.state.Policies = append(w.state.Policies, p)
		}
		if v, _ := w.ask(Request{}); v.SLSA.Level != tt.want {
			t.Errorf("%v with the levels 1 and 3: %d, want %d", tt.modes, v.SLSA.Level, tt.want)
		}
	}
}

// The first reason is one of a policy that decided.
func TestReasonsOfEnforcedPoliciesFirst(t *testing.T) {
	for _, tt := range []struct {
		modes []verdict.Mode
		want  string
	}{
		{[]verdict.Mode{verdict.Audit, verdict.Enforce, verdict.Audit}, "two one three"},
		{[]verdict.Mode{verdict.Enforce, verdict.Audit, verdict.Enforce}, "one three two"},
		{[]verdict.Mode{verdict.Audit, verdict.Audit, verdict.Audit}, "one two three"},
	} {
		w := newWorld(t)
		first := w.state.Policies[0]
		w.state.Policies = nil
		for i, mode := range tt.modes {
			p := first
			p.Mode, p.Name = mode, []string{"one", "two", "three"}[i]
			p.Set = &fakePolicy{evaluate: func(*facts.Input) (verdict.Result, error) {
				return verdict.Result{Violations: []verdict.Reason{{Code: p.Name, Message: p.Name}}}, nil
			}}
			w.state.Policies = append(w.state.Policies, p)
		}
		v, _ := w.ask(Request{})
		var codes []string
		for _, r := range v.Reasons {
			codes = append(codes, r.Code)
		}
		if got := strings.Join(codes, " "); got != tt.want {
			t.Errorf("%v: %s, want %s", tt.modes, got, tt.want)
		}
	}
}

// What is pinned is what policies that are enforced allow; what those allow that are
// tried out where none is. Nobody else is asked about the index.
func TestPinnedByEnforcedPolicies(t *testing.T) {
	for _, tt := range []struct {
		modes []verdict.Mode // of one that allows the index, and of one that does not
		want  string
	}{
		{[]verdict.Mode{verdict.Enforce, verdict.Audit}, indexDigest},
		{[]verdict.Mode{verdict.Audit, verdict.Enforce}, armDigest},
		{[]verdict.Mode{verdict.Enforce, verdict.Enforce}, armDigest},
		{[]verdict.Mode{verdict.Audit, verdict.Audit}, armDigest},
		{[]verdict.Mode{verdict.Disabled, verdict.Audit}, armDigest},
		{[]verdict.Mode{verdict.Audit, verdict.Disabled}, indexDigest},
	} {
		w := newWorld(t)
		one := &fakePolicy{evaluate: func(*facts.Input) (verdict.Result, error) { return verdict.Result{Allow: true}, nil }}
		other := &fakePolicy{evaluate: func(in *facts.Input) (verdict.Result, error) {
			return verdict.Result{Allow: in.Request.Platform != ""}, nil
		}}
		first, second := w.state.Policies[0], w.state.Policies[0]
		first.Mode, first.Name, first.Set = tt.modes[0], "one", one
		second.Mode, second.Name, second.Set = tt.modes[1], "other", other
		w.state.Policies = []Policy{first, second}
		if v, _ := w.ask(Request{Platform: "linux/arm64"}); v.Decision != verdict.Allow || !strings.HasSuffix(v.Pinned, "@"+tt.want) {
			t.Errorf("%v: %s, pinned %s, want %s", tt.modes, v.Decision, v.Pinned, tt.want)
		}
		if tt.modes[0] == verdict.Enforce && tt.modes[1] == verdict.Audit && other.calls.Load() != 1 {
			t.Errorf("%v: the one that is tried out was asked %d times", tt.modes, other.calls.Load())
		}
	}
}

// Nor do the signatures that count for a policy that is tried out, or the platform that
// it judges, say what is pinned.
func TestSignaturesForAuditPinNothing(t *testing.T) {
	for _, tt := range []struct {
		platforms string // that the second policy judges
		signed    []string
		counts    bool // for the first
	}{
		{"", []string{armDigest}, false},
		{facts.PlatformsRequested, []string{indexDigest, armDigest}, true},
	} {
		for mode, want := range map[verdict.Mode]string{verdict.Audit: indexDigest, verdict.Enforce: armDigest} {
			w := newWorld(t)
			w.proven.Signatures = nil
			for i, digest := range tt.signed {
				w.proven.Signatures = append(w.proven.Signatures, signed(digest, fmt.Sprintf("sha256:%02d", i), "dev@example.test"))
			}
			w.policy.evaluate = func(*facts.Input) (verdict.Result, error) { return verdict.Result{Allow: true}, nil }
			first, second := w.state.Policies[0], w.state.Policies[0]
			first.Name, first.Counts = "one", func(facts.Signature, []facts.TrustInfo) bool { return tt.counts }
			second.Name, second.Mode, second.Platforms = "other", mode, tt.platforms
			w.state.Policies = []Policy{first, second}
			v, _ := w.ask(Request{Platform: "linux/arm64"})
			if v.Decision != verdict.Allow || !strings.HasSuffix(v.Pinned, "@"+want) || !v.Coverage[1].Signed {
				t.Errorf("%s, platforms %q: %s, pinned %s, want %s; %+v", mode, tt.platforms, v.Decision, v.Pinned, want, v.Coverage)
			}
		}
	}
}

// What a policy says of the platform that was asked for is held against what it says
// of the index by itself, which alone can be pinned in the platform's place.
func TestIndexIsAskedToo(t *testing.T) {
	ends := func(d time.Duration) *time.Time { at := start.Add(d); return &at }
	until := func(at *time.Time) verdict.Result { return verdict.Result{Allow: true, ValidUntil: at} }
	excused := waived(start.Add(time.Minute))
	unnamed := excused
	unnamed.Exceptions = nil
	for _, tt := range []struct {
		name      string
		of, index verdict.Result
		err       error
		partial   bool
		pinned    string // "": unknown
		until     *time.Time
	}{
		{name: "allowed", of: until(nil), index: until(nil), pinned: indexDigest},
		{name: "denied", of: until(ends(time.Hour)), pinned: armDigest, until: ends(time.Hour)},
		{name: "denied in spite of an allow", of: until(nil), index: verdict.Result{Allow: true, Violations: []verdict.Reason{{Code: "x"}}}, pinned: armDigest},
		{name: "of a lower level", of: verdict.Result{Allow: true, SLSA: verdict.SLSA{Level: 2}}, index: until(nil), pinned: armDigest},
		{name: "excused", of: until(ends(time.Hour)), index: excused, pinned: armDigest, until: ends(time.Hour)},
		{name: "excused, as a bundle of its own says it", of: until(nil), index: unnamed, pinned: armDigest},
		{name: "excused, and not everything could be looked at", of: until(nil), index: excused, partial: true, pinned: armDigest},
		{name: "ends sooner", of: until(ends(time.Hour)), index: until(ends(time.Minute)), pinned: indexDigest, until: ends(time.Minute)},
		{name: "ends later", of: until(ends(time.Minute)), index: until(ends(time.Hour)), pinned: indexDigest, until: ends(time.Minute)},
		{name: "it alone ends", of: until(nil), index: until(ends(time.Minute)), pinned: indexDigest, until: ends(time.Minute)},
		{name: "it does not end", of: until(ends(time.Minute)), index: until(nil), pinned: indexDigest, until: ends(time.Minute)},
		{name: "no usable answer", of: until(nil), index: until(nil), err: errors.New("a builtin"), pinned: armDigest},
		{name: "no answer in time", of: until(ends(time.Hour)), err: fmt.Errorf("%w: at most 1s", ErrTimeLimit)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			if tt.partial {
				w.source.found.Search = evidence.Search{Problems: []evidence.Problem{{Code: evidence.CodeUnavailable, Message: "503"}}}
			}
			w.policy.evaluate = func(in *facts.Input) (verdict.Result, error) {
				if in.Request.Platform == "" {
					return tt.index, tt.err
				}
				return tt.of, nil
			}
			v, a := w.ask(Request{Platform: "linux/arm64"})
			if tt.pinned == "" {
				if v.Decision != verdict.Unknown || v.Allowed || codes(v.Reasons)[0] != ReasonTimeLimit || v.ValidUntil != nil || w.cache.count(purposeAnswer) != 0 {
					t.Errorf("%s for %v until %v", v.Decision, codes(v.Reasons), v.ValidUntil)
				}
				return
			}
			if v.Decision != verdict.Allow || !strings.HasSuffix(v.Pinned, "@"+tt.pinned) {
				t.Errorf("%s, pinned %s, want %s", v.Decision, v.Pinned, tt.pinned)
			}
			if diff := cmp.Diff(tt.until, v.ValidUntil); diff != "" {
				t.Errorf("valid until (-want +got):\n%s", diff)
			}
			if tt.until != nil && v.ExpiresAt.After(*tt.until) {
				t.Errorf("the answer outlives what it rests on: %s", a.Body)
			}
		})
	}
}
