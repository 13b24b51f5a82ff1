package signingpolicy

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/signet-policy/signet/internal/verdict"
)

// exceptionOf is an exception on lines of its own; fields begin on the second.
func exceptionOf(fields ...string) string {
	return "exceptions:\n  - owner: platform\n    " + strings.Join(fields, "\n    ") + "\n    reason: why\n    expires_at: 2026-06-30T00:00:00Z\n"
}

const excepted = `signing_policy:
  name: prod
  trusted_signers: [{type: registry}]
  exceptions:
    - images: ["GHCR.io/org/**"]
      codes: [unsigned, signer_not_trusted]
      reason: 'Signing begins with the next release: "v2"'
      owner: platform
      expires_at: 2026-06-30T02:00:00+02:00
`

func TestExceptions(t *testing.T) {
	p := mustParse(t, excepted)
	want := []Exception{{
		Images: []string{"GHCR.io/org/**"}, Codes: []string{"unsigned", "signer_not_trusted"},
		Reason: `Signing begins with the next release: "v2"`, Owner: "platform", ExpiresAt: time.Date(2026, 6, 30, 0, 0, 0, 0, time.UTC),
	}}
	if diff := cmp.Diff(want, p.Exceptions, cmpopts.IgnoreUnexported(Exception{})); diff != "" {
		t.Errorf("exceptions (-want +got):\n%s", diff)
	}
	canonical, err := p.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	again := mustParse(t, string(canonical))
	if diff := cmp.Diff(p.Exceptions, again.Exceptions, cmpopts.IgnoreUnexported(Exception{})); diff != "" {
		t.Errorf("exceptions of the canonical form (-want +got):\n%s", diff)
	}
	raw, err := p.Params()
	if err != nil {
		t.Fatal(err)
	}
	var params struct {
		Exceptions []map[string]any `json:"exceptions"`
	}
	if err := json.Unmarshal(raw, &params); err != nil {
		t.Fatal(err)
	}
	wantParams := []map[string]any{{
		"name": "prod/exceptions/1", "images": []any{"ghcr.io/org/**"}, "codes": []any{"unsigned", "signer_not_trusted"},
		"reason": `Signing begins with the next release: "v2"`, "owner": "platform", "expires_at": "2026-06-30T00:00:00Z",
	}}
	if diff := cmp.Diff(wantParams, params.Exceptions); diff != "" {
		t.Errorf("parameters (-want +got):\n%s", diff)
	}
}

// Parameters of a policy without exceptions are what they were before there were any.
func TestNoExceptionsInParams(t *testing.T) {
	raw, err := Default().Params()
	if err != nil || strings.Contains(string(raw), "exceptions") {
		t.Errorf("params %s, %v", raw, err)
	}
}

// Every spelling can have exceptions.
func TestExceptionsInEverySpelling(t *testing.T) {
	for _, body := range []string{
		"trusted_keys: [{keyless: true, issuer: \"https://a.example\", subject: b}]\n",
		"verification: {require_signature: true}\ntrusted_keys: [{keyless: true, issuer: \"https://a.example\", subject: b}]\ncosign: {timeout_seconds: 3}\n",
		"trusted_signers: [{type: registry}]\n",
	} {
		if p := mustParse(t, body+exceptionOf(`images: ["a.b/**"]`, "codes: [unsigned]")); len(p.Exceptions) != 1 {
			t.Errorf("%s: exceptions %+v", body, p.Exceptions)
		}
	}
}

func TestCheckExceptions(t *testing.T) {
	now := time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC)
	p := mustParse(t, excepted)
	misspelt := mustParse(t, strings.ReplaceAll(excepted, "[unsigned,", "[unsinged,"))
	ofBundle := mustParse(t, strings.ReplaceAll(excepted, "[unsigned,", "[unsinged,")+"  bundle: acme\n")
	tests := []struct {
		name   string
		policy *Policy
		rules  ExceptionRules
		want   string
	}{
		{"within 90 days", p, ExceptionRules{Now: now}, ""},
		{"at the last moment", p, ExceptionRules{Now: now, Longest: 90 * 24 * time.Hour}, ""},
		{"too long", p, ExceptionRules{Now: now, Longest: 90*24*time.Hour - time.Second}, "line 5: exceptions[0].expires_at: 2026-06-30T00:00:00Z is later than 2026-06-29T23:59:59Z, the last that is allowed now (exceptions_max_days)"},
		{"longer is allowed", p, ExceptionRules{Now: now.AddDate(-1, 0, 0), Longest: 1000 * 24 * time.Hour}, ""},
		{"ended long ago", p, ExceptionRules{Now: now.AddDate(5, 0, 0)}, ""},
		{"put again", p, ExceptionRules{Now: now, Longest: time.Hour, Before: mustParse(t, excepted)}, ""},
		{"put again with a change", p, ExceptionRules{Now: now, Longest: time.Hour, Before: mustParse(t, strings.ReplaceAll(excepted, "platform", "web"))}, "is later than"},
		{"no such code", misspelt, ExceptionRules{Now: now}, `line 5: exceptions[0].codes[0]: "unsinged" is the code of no rule of this policy; the nearest is "unsigned"`},
		{"codes of a bundle's rules", ofBundle, ExceptionRules{Now: now}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.policy.CheckExceptions(tt.rules)
			if tt.want == "" && err != nil || tt.want != "" && (!errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

func TestShadow(t *testing.T) {
	body := "mode: shadow\nshadow_of: prod\ntrusted_signers: [{type: registry}]\n"
	p := mustParse(t, body)
	if p.Mode != verdict.Shadow || p.ShadowOf != "prod" {
		t.Errorf("mode %s of %q", p.Mode, p.ShadowOf)
	}
	canonical, err := p.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	if again := mustParse(t, string(canonical)); again.ShadowOf != "prod" || again.Mode != verdict.Shadow {
		t.Errorf("again: mode %s of %q", again.Mode, again.ShadowOf)
	}
	if _, err := ParseAs("prod", []byte(body)); !errors.Is(err, ErrInvalid) {
		t.Errorf("a shadow of itself: %v", err)
	}
}
