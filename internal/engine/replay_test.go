package engine

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/signers"
	"github.com/signet-policy/signet/internal/verdict"
)

// stored is a record's basis as it comes back from a store.
func stored(t *testing.T, r Record) Kept {
	t.Helper()
	body, err := r.Basis.Encode()
	if err != nil {
		t.Fatal(err)
	}
	b, err := DecodeBasis(body)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r.Basis.Subject, b.Subject); diff != "" {
		t.Error(diff)
	}
	return Kept{Basis: b, Facts: r.Facts}
}

// Every kind of verdict comes out again to the byte, also on an engine with other
// settings.
func TestReproduce(t *testing.T) {
	tests := []struct {
		name string
		ask  func(w *world)
		want verdict.Decision
	}{
		{"allow", func(w *world) { w.ask(Request{}) }, verdict.Allow},
		{"with all that a request has", func(w *world) {
			w.ask(Request{Platform: "linux/arm64", Context: map[string]string{"environment": "prod"}, Roles: []string{"verifier"}})
		}, verdict.Allow},
		{"on leases", func(w *world) {
			w.ask(Request{})
			w.now = w.now.Add(3 * time.Second)
			w.ask(Request{Roles: []string{"viewer"}})
		}, verdict.Allow},
		{"deny", func(w *world) {
			w.policy.evaluate = func(*facts.Input) (verdict.Result, error) {
				return verdict.Result{Violations: []verdict.Reason{{Code: "no_trusted_signer", Message: "m", Remediation: "r", Rule: "x"}}}, nil
			}
			w.ask(Request{})
		}, verdict.Deny},
		{"policy error", func(w *world) {
			w.policy.evaluate = func(*facts.Input) (verdict.Result, error) { return verdict.Result{}, errors.New("division by zero") }
			w.ask(Request{})
		}, verdict.Deny},
		{"not found out", func(w *world) {
			w.source.resolveErr = &evidence.Problem{Code: evidence.CodeRateLimited, Where: "registry.test", Message: "slow down", RetryAfter: 77 * time.Second}
			w.ask(Request{})
		}, verdict.Unknown},
		{"not searched whole", func(w *world) {
			w.policy.monotone = false
			w.source.found.Search.Complete = false
			w.source.found.Search.Problems = []evidence.Problem{{Code: evidence.CodeUnavailable, Where: "registry.test", Message: "502", RetryAfter: 9 * time.Second}}
			w.ask(Request{})
		}, verdict.Unknown},
		{"an old signature that did not verify", func(w *world) {
			w.source.found.Items = []evidence.Item{{Kind: evidence.KindSimpleSigning, ID: "sha256:aa"}}
			w.proven.Signatures = nil
			w.ask(Request{})
		}, verdict.Deny},
		{"under grace", func(w *world) {
			w.state.GraceNote = "The store cannot be read."
			w.ask(Request{})
		}, verdict.Allow},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			tt.ask(w)
			r := w.recorder.records[len(w.recorder.records)-1]
			if r.Verdict.Decision != tt.want {
				t.Fatalf("the verdict to begin with: %s", r.Body)
			}
			other, err := New(Config{
				Source: w.source, Current: func(context.Context) (*State, error) { return nil, errors.New("nobody asks") }, Build: w.engine.cfg.Build,
				DecisionMaxAge: time.Hour, MaxStaleness: time.Hour, Limits: evidence.Limits{ClockSkew: time.Hour},
			})
			if err != nil {
				t.Fatal(err)
			}
			st := *w.state
			st.GraceNote = "" // what is in force says nothing of it
			body, err := other.Reproduce(t.Context(), &st, stored(t, r), r.Verdict.ID, r.Verdict.EvaluatedAt)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(r.Body), string(body)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A replay is decided by the signers, and at the time, that it is asked for.
func TestReplayUnderAnotherState(t *testing.T) {
	w := newWorld(t)
	w.ask(Request{})
	k := stored(t, w.recorder.records[0])
	none := *w.state
	none.Policies = append([]Policy{}, w.state.Policies...)
	var err error
	if none.Policies[0].Signers, err = signers.Compile(nil); err != nil {
		t.Fatal(err)
	}
	later := start.AddDate(1, 0, 0)
	r, err := w.engine.Replay(t.Context(), &none, k, later)
	if err != nil {
		t.Fatal(err)
	}
	fr := r.Frames[none.Policies[0].Name]
	if len(fr.TrustedSigners) != 0 || !fr.EvaluatedAt.Equal(later) || !r.Verdict.EvaluatedAt.Equal(later) {
		t.Errorf("a replay without signers, later: %+v", fr)
	}
	if n := len(w.recorder.records); n != 1 {
		t.Errorf("%d verdicts are recorded; a replay leaves nothing", n)
	}
}

func TestReplayRefuses(t *testing.T) {
	w := newWorld(t)
	w.ask(Request{Context: map[string]string{"environment": "prod"}})
	k := stored(t, w.recorder.records[0])
	k.Basis.Context["environment"] = "moon"
	if _, err := w.engine.Replay(t.Context(), w.state, k, start); !errors.Is(err, ErrInvalid) {
		t.Errorf("a context that the policy does not declare: %v", err)
	}
	k.Basis.Context = nil
	w.policy.evaluate = func(*facts.Input) (verdict.Result, error) { panic("a rule met its match") }
	if _, err := w.engine.Replay(t.Context(), w.state, k, start); err == nil || !strings.Contains(err.Error(), "panic") {
		t.Errorf("a panic: %v", err)
	}
	if _, err := DecodeBasis([]byte(`{"image": "x", "wanted": "more"}`)); err == nil {
		t.Error("a basis with a field that this build does not know was read")
	}
}
