package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/signers"
	"github.com/signet-policy/signet/internal/verdict"
)

type fakeShadows struct {
	mu   sync.Mutex
	list []ShadowVerdict
	err  error
}

func (s *fakeShadows) RecordShadows(_ context.Context, list []ShadowVerdict) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.list = append(s.list, list...)
	}
	return s.err
}

// said waits for the shadows under way and gives what they said: policy, compared
// with which and its decision, outcome.
func (s *fakeShadows) said(e *Engine) []string {
	e.shadows.work.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	out := []string{}
	for _, v := range s.list {
		out = append(out, fmt.Sprintf("%s of %q %s: %s", v.Verdict.Name, v.Of, v.ComparedWith, v.Outcome()))
	}
	return out
}

// newShadowWorld has an image that the policy in force allows, and a shadow.
func newShadowWorld(t *testing.T, shadow *fakePolicy) (*world, *fakeShadows) {
	w, kept := newWorld(t), &fakeShadows{}
	w.engine.cfg.Shadows = kept
	p := w.state.Policies[0]
	p.Name, p.Mode, p.Set = "next", verdict.Shadow, shadow
	w.state.Shadows = []Policy{p}
	return w, kept
}

func denies(*facts.Input) (verdict.Result, error) {
	return verdict.Result{Violations: []verdict.Reason{{Code: "too_old", Message: "It is too old."}}}, nil
}

// A shadow is recorded and compared, and nothing of it is in the answer, in what is
// cached or in when it expires.
func TestShadowIsNeverReturned(t *testing.T) {
	alone := newWorld(t)
	without, _ := alone.ask(Request{})
	until := start
	w, kept := newShadowWorld(t, &fakePolicy{evaluate: func(in *facts.Input) (verdict.Result, error) {
		res, err := denies(in)
		res.ValidUntil = &until
		res.Warnings = []verdict.Reason{{Code: "remark", Message: "x"}}
		return res, err
	}})
	with, a := w.ask(Request{})
	if diff := cmp.Diff([]string{`next of "" allow: would_deny`}, kept.said(w.engine)); diff != "" {
		t.Errorf("shadows (-want +got):\n%s", diff)
	}
	without.ID = with.ID
	if diff := cmp.Diff(without, with); diff != "" {
		t.Errorf("the answer (-without +with a shadow):\n%s", diff)
	}
	if _, b := w.ask(Request{}); b.From != FromMemory || string(a.Body) != string(b.Body) || strings.Contains(string(b.Body), "next") {
		t.Errorf("the hit %s: %s", b.From, b.Body)
	}
	got := kept.list[0]
	if got.VerificationID != with.ID || got.Verdict.Mode != verdict.Shadow || len(got.Verdict.Reasons) != 1 || got.Verdict.Reasons[0].Code != "too_old" || !got.At.Equal(with.EvaluatedAt) {
		t.Errorf("shadow %+v", got)
	}
	if len(kept.said(w.engine)) != 1 {
		t.Error("a hit was compared too")
	}
	counts, dropped := w.engine.ShadowCounts()
	if diff := cmp.Diff([]ShadowCount{{"next", ShadowWouldDeny, 1}}, counts); diff != "" || dropped != 0 {
		t.Errorf("counts, %d dropped (-want +got):\n%s", dropped, diff)
	}
}

func TestShadowOutcomes(t *testing.T) {
	unknown := func(*facts.Input) (verdict.Result, error) { return verdict.Result{}, ErrTimeLimit }
	tests := []struct {
		name     string
		shadow   func(*facts.Input) (verdict.Result, error)
		of       string
		unsigned bool
		want     string
	}{
		{"agrees", byMatches, "", false, `next of "" allow: agree`},
		{"would deny", denies, "", false, `next of "" allow: would_deny`},
		{"would not know", unknown, "", false, `next of "" allow: would_not_know`},
		{"would allow", func(*facts.Input) (verdict.Result, error) { return verdict.Result{Allow: true}, nil }, "", true, `next of "" deny: would_allow`},
		{"of the policy it names", byMatches, "default", false, `next of "default" allow: agree`},
		{"of one that is disabled", denies, "old", false, `next of "" allow: would_deny`},
		{"of one that is not there", denies, "gone", false, `next of "" allow: would_deny`},
		{"an error denies", func(*facts.Input) (verdict.Result, error) { return verdict.Result{}, errors.New("no") }, "", false, `next of "" allow: would_deny`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w, kept := newShadowWorld(t, &fakePolicy{evaluate: tt.shadow})
			w.state.Shadows[0].ShadowOf = tt.of
			old := w.state.Policies[0]
			old.Name, old.Mode = "old", verdict.Disabled
			w.state.Policies = append(w.state.Policies, old)
			if tt.unsigned {
				w.proven.Signatures = nil
			}
			w.ask(Request{})
			if diff := cmp.Diff([]string{tt.want}, kept.said(w.engine)); diff != "" {
				t.Errorf("shadows (-want +got):\n%s", diff)
			}
			if n := w.engine.Stats().Alarms.Load(); n != 0 {
				t.Errorf("%d alarms; a policy in shadow is being tried", n)
			}
		})
	}
}

// Whatever a shadow does, the answer is given.
func TestShadowHarmsNobody(t *testing.T) {
	tests := []struct {
		name   string
		shadow func(*facts.Input) (verdict.Result, error)
		change func(*world, *fakeShadows)
	}{
		{"panics", func(*facts.Input) (verdict.Result, error) { panic("a rule met its match") }, nil},
		{"cannot be recorded", denies, func(_ *world, s *fakeShadows) { s.err = errors.New("the disk is full") }},
		{"cannot be verified for", denies, func(w *world, _ *fakeShadows) {
			w.state.Shadows[0].Signers = keySigner(t)
			first := w.state.Verify
			calls := 0
			w.state.Verify = func(ctx context.Context, s facts.Subject, items []evidence.Item, keys Keys) (facts.Facts, error) {
				if calls++; calls > 1 {
					return facts.Facts{}, context.DeadlineExceeded
				}
				return first(ctx, s, items, keys)
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w, kept := newShadowWorld(t, &fakePolicy{evaluate: tt.shadow})
			if tt.change != nil {
				tt.change(w, kept)
			}
			if v, _ := w.ask(Request{}); v.Decision != verdict.Allow {
				t.Errorf("decision %s", v.Decision)
			}
			if said := kept.said(w.engine); len(said) != 0 {
				t.Errorf("shadows %v", said)
			}
			if counts, dropped := w.engine.ShadowCounts(); len(counts) != 0 || dropped != 1 {
				t.Errorf("counts %v, %d dropped", counts, dropped)
			}
		})
	}
}

// Nobody waits for a shadow, and what waits is bounded.
func TestShadowIsNotWaitedFor(t *testing.T) {
	gate := make(chan struct{})
	w, kept := newShadowWorld(t, &fakePolicy{evaluate: func(in *facts.Input) (verdict.Result, error) {
		<-gate
		return byMatches(in)
	}})
	for range maxShadows + 3 {
		if v, _ := w.ask(Request{Refresh: true}); v.Decision != verdict.Allow {
			t.Fatalf("decision %s", v.Decision)
		}
	}
	close(gate)
	if n := len(kept.said(w.engine)); n != maxShadows {
		t.Errorf("%d shadows, want %d", n, maxShadows)
	}
	if _, dropped := w.engine.ShadowCounts(); dropped != 3 {
		t.Errorf("%d dropped, want 3", dropped)
	}
	w.engine.Close()
	w.ask(Request{Refresh: true})
	if n := len(kept.said(w.engine)); n != maxShadows {
		t.Errorf("%d shadows after the end, want %d", n, maxShadows)
	}
}

// What is not recorded, or not about an image that was found, is not compared.
func TestShadowStandsBesideAVerdict(t *testing.T) {
	w, kept := newShadowWorld(t, &fakePolicy{evaluate: denies})
	w.recorder.err = errors.New("away")
	w.ask(Request{})
	w.recorder.err = nil
	w.source.resolveErr = &evidence.Problem{Code: evidence.CodeUnavailable, Message: "away"}
	w.now = w.now.Add(tagLease)
	w.ask(Request{})
	w.source.resolveErr = nil
	w.state.Shadows[0].Applies = func(string) bool { return false }
	w.now = w.now.Add(tagLease)
	if v, _ := w.ask(Request{}); v.Decision != verdict.Allow {
		t.Errorf("decision %s", v.Decision)
	}
	if said := kept.said(w.engine); len(said) != 0 {
		t.Errorf("shadows %v", said)
	}
}

// Only a policy in shadow there is no policy in force.
func TestOnlyAShadow(t *testing.T) {
	w, kept := newShadowWorld(t, &fakePolicy{evaluate: byMatches})
	w.state.Policies = nil
	v, _ := w.ask(Request{})
	if v.Decision != verdict.Unknown || v.Reasons[0].Code != ReasonNoActivePolicy {
		t.Errorf("decision %s, %v", v.Decision, codes(v.Reasons))
	}
	if diff := cmp.Diff([]string{`next of "" unknown: would_allow`}, kept.said(w.engine)); diff != "" {
		t.Errorf("shadows (-want +got):\n%s", diff)
	}
}

// A shadow that trusts a key sees what the key verifies; the verdict does not.
func TestShadowHasItsOwnKeys(t *testing.T) {
	var seen int
	w, kept := newShadowWorld(t, &fakePolicy{evaluate: func(in *facts.Input) (verdict.Result, error) {
		seen = len(in.Signatures)
		return verdict.Result{Allow: len(in.Signatures) == 2}, nil
	}})
	w.state.Shadows[0].Signers = keySigner(t)
	w.state.Verify = func(_ context.Context, _ facts.Subject, _ []evidence.Item, keys Keys) (facts.Facts, error) {
		proven := w.proven
		if in, _ := keys.InScope(5); len(in) > 0 {
			proven.Signatures = append(proven.Signatures, signed(indexDigest, "sha256:02", "key"))
		}
		return facts.New(proven)
	}
	w.ask(Request{})
	if diff := cmp.Diff([]string{`next of "" allow: agree`}, kept.said(w.engine)); diff != "" || seen != 2 {
		t.Errorf("the shadow saw %d signatures (-want +got):\n%s", seen, diff)
	}
	if n := len(w.recorder.records[0].Facts.Signatures()); n != 1 {
		t.Errorf("the verdict stands on %d signatures", n)
	}
}

func keySigner(t *testing.T) *signers.Set {
	t.Helper()
	set, err := signers.Compile([]signers.Signer{newKeySigner(t, "key")})
	if err != nil {
		t.Fatal(err)
	}
	return set
}
