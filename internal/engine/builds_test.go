package engine

import (
	"testing"

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
