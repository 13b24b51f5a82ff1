package signingpolicy

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const withParameters = `signing_policy:
  trusted_signers: [{type: registry}]
  bundle: acme
  parameters:
    registries: [ghcr.io, "no", "12", ""]
    limits:
      - days: 30
        ratio: 1.50
        note: "two\n  lines"
        off: null
        strict: true
`

func TestParameters(t *testing.T) {
	p := mustParse(t, withParameters)
	want := `{"limits":[{"days":30,"note":"two\n  lines","off":null,"ratio":1.50,"strict":true}],"registries":["ghcr.io","no","12",""]}`
	if p.Bundle != "acme" || string(p.Parameters) != want {
		t.Fatalf("bundle %q, parameters %s", p.Bundle, p.Parameters)
	}
	params, err := p.Params()
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]any
	if err := json.Unmarshal(params, &all); err != nil || len(all) != 7 || all["threshold"] != 1.0 || all["registered_signers"] != true {
		t.Errorf("data.params is %s (%v)", params, err)
	}
	body, err := p.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	again := mustParse(t, string(body))
	if diff := cmp.Diff(p, again, ignoreScope); diff != "" {
		t.Errorf("read again (-want +got):\n%s", diff)
	}
	if twice, err := again.Canonical(); err != nil || string(twice) != string(body) {
		t.Errorf("the canonical form is not one: %s (%v)", twice, err)
	}
}

func TestParameterErrorNamesTheLine(t *testing.T) {
	p := mustParse(t, withParameters)
	err := p.ParameterError([]Mistake{{"limits.0.days", "must be at most 7"}, {"", "owner is required"}, {"registries.9", "is wrong"}})
	want := "line 5: parameters.registries.9: is wrong\nline 5: parameters: owner is required\nline 7: parameters.limits.0.days: must be at most 7"
	if !errors.Is(err, ErrInvalid) || err.Error() != strings.Join(sortLines(want), "\n") {
		t.Errorf("%v", err)
	}
}

// sortLines keeps the order of what has one line: the mistakes come as they were
// given there.
func sortLines(s string) []string {
	lines := strings.Split(s, "\n")
	return []string{lines[1], lines[0], lines[2]}
}

func TestWithParams(t *testing.T) {
	one := &Policy{Name: OneOffName, Mode: "enforce"}
	p, err := one.WithParams([]byte(`{"require_signature": true, "verify_transparency_log": false, "threshold": 2, "trusted_sources": ["github.com/acme"], "registered_signers": true, "days": 3}`))
	if err != nil {
		t.Fatal(err)
	}
	want := &Policy{Name: OneOffName, Mode: "enforce", RequireSignature: true, Threshold: 2, TrustedSources: []string{"github.com/acme"}, UseRegistered: true, Parameters: json.RawMessage(`{"days":3}`)}
	if diff := cmp.Diff(want, p, ignoreScope); diff != "" {
		t.Error(diff)
	}
	for name, tt := range map[string][2]string{
		"no JSON":         {`x`, "parameters"},
		"twice":           {`{"days": 1, "days": 2}`, "days"},
		"a missing one":   {`{"days": 1, "threshold": 1, "trusted_sources": null, "registered_signers": true, "verify_transparency_log": true}`, "require_signature: missing"},
		"a threshold":     {`{"require_signature": true, "verify_transparency_log": false, "threshold": 0, "trusted_sources": null, "registered_signers": true}`, "threshold: 0 signers"},
		"of another type": {`{"require_signature": "yes", "verify_transparency_log": false, "threshold": 1, "trusted_sources": null, "registered_signers": true}`, "require_signature"},
	} {
		if _, err := one.WithParams([]byte(tt[0])); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tt[1]) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
