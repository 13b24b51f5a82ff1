package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"testing"

	"github.com/signet-policy/signet/internal/verdict"
)

// fakeAttester attests everything, and remembers who waited.
type fakeAttester struct {
	bodies []string
	waits  []bool
}

func (a *fakeAttester) Attest(_ context.Context, v *verdict.Verdict) *verdict.Attestation {
	body, _ := encode(v)
	a.bodies = append(a.bodies, string(body))
	return &verdict.Attestation{Result: verdict.AttestedPassed, Bundle: json.RawMessage(`{}`)}
}

func (a *fakeAttester) Push(_ context.Context, _ *verdict.Verdict, _ *verdict.Attestation, wait bool) {
	a.waits = append(a.waits, wait)
}

// decidedBodies are the answers that the decision log is told of.
type decidedBodies struct{ got [][]byte }

func (d *decidedBodies) Decided(what Decided) { d.got = append(d.got, what.Answer.Body) }

// An attestation is beside the answer, from a cache or not, and nowhere else.
func TestAttested(t *testing.T) {
	w := newWorld(t)
	attester, log := &fakeAttester{}, &decidedBodies{}
	w.engine.cfg.Attester, w.engine.cfg.Decisions = attester, log
	ask := func(attest bool) Answer {
		t.Helper()
		a, err := w.engine.Decide(t.Context(), w.state, Request{Image: image, Attest: attest})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	plain, missed, hit := ask(false), ask(true), ask(true)
	if bytes.Contains(plain.Body, []byte(`"attestation"`)) || !bytes.Contains(missed.Body, []byte(`"attestation"`)) {
		t.Errorf("%s\n%s", plain.Body, missed.Body)
	}
	if hit.From != FromMemory && hit.From != FromRedis {
		t.Errorf("the last came from %s", hit.From)
	}
	if !bytes.Equal(missed.Body, hit.Body) {
		t.Errorf("another answer:\n%s\n%s", missed.Body, hit.Body)
	}
	if !bytes.HasPrefix(missed.Body, bytes.TrimSuffix(plain.Body, []byte("}\n"))) {
		t.Errorf("the verdict was changed:\n%s\n%s", plain.Body, missed.Body)
	}
	for _, body := range append(log.got, []byte(attester.bodies[0]), []byte(attester.bodies[1])) {
		if !bytes.Equal(body, plain.Body) {
			t.Errorf("logged or attested was\n%s", body)
		}
	}
	for _, r := range w.recorder.records {
		if bytes.Contains(r.Body, []byte(`"attestation"`)) {
			t.Errorf("recorded was %s", r.Body)
		}
	}
	// A policy asks, and nobody waits for the registry.
	w.state.Attests, w.state.Policies[0].Attest = true, true
	if got := ask(false); !bytes.Contains(got.Body, []byte(`"attestation"`)) || len(attester.waits) != 3 || attester.waits[2] || !attester.waits[1] {
		t.Errorf("%s; waited %v", got.Body, attester.waits)
	}
	// Without a key the answer says so, and is none the worse.
	w.engine.cfg.Attester = nil
	got := ask(false)
	var v verdict.Verdict
	if err := json.Unmarshal(got.Body, &v); err != nil || v.Decision != plain.Decision || v.Attestation == nil || v.Attestation.Reason == nil {
		t.Errorf("%v %s", err, got.Body)
	}
}
