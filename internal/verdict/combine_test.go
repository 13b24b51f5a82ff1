package verdict

import "testing"

func TestCombine(t *testing.T) {
	p := func(m Mode, d Decision) PolicyVerdict { return PolicyVerdict{Mode: m, Decision: d} }
	tests := []struct {
		name     string
		policies []PolicyVerdict
		decision Decision
		allowed  bool
	}{
		{"no policy at all", nil, Deny, false},
		{"one allows", []PolicyVerdict{p(Enforce, Allow)}, Allow, true},
		{"one denies", []PolicyVerdict{p(Enforce, Deny)}, Deny, false},
		{"one does not know", []PolicyVerdict{p(Enforce, Unknown)}, Unknown, false},
		{"deny beats allow", []PolicyVerdict{p(Enforce, Allow), p(Enforce, Deny)}, Deny, false},
		{"unknown beats deny", []PolicyVerdict{p(Enforce, Deny), p(Enforce, Unknown), p(Enforce, Allow)}, Unknown, false},
		{"audit never blocks", []PolicyVerdict{p(Audit, Deny)}, Deny, true},
		{"audited unknown never blocks", []PolicyVerdict{p(Audit, Unknown), p(Audit, Allow)}, Unknown, true},
		{"audit does not spoil an enforced allow", []PolicyVerdict{p(Enforce, Allow), p(Audit, Deny)}, Allow, true},
		{"audit does not mend an enforced deny", []PolicyVerdict{p(Enforce, Deny), p(Audit, Allow)}, Deny, false},
		{"disabled only", []PolicyVerdict{p(Disabled, Unknown)}, Allow, true},
		{"disabled beside a deny", []PolicyVerdict{p(Disabled, Unknown), p(Enforce, Deny)}, Deny, false},
		{"an undecided policy denies", []PolicyVerdict{p(Enforce, "")}, Deny, false},
		{"an undecided policy beside an allow denies", []PolicyVerdict{p(Enforce, ""), p(Enforce, Allow)}, Deny, false},
		{"a mode that should not be enforces", []PolicyVerdict{p("", Deny)}, Deny, false},
		{"a decision that should not be denies", []PolicyVerdict{p(Enforce, "ALLOW")}, Deny, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			decision, allowed := Combine(tt.policies)
			if decision != tt.decision || allowed != tt.allowed {
				t.Errorf("Combine = %s, allowed %t; want %s, allowed %t", decision, allowed, tt.decision, tt.allowed)
			}
		})
	}
}
