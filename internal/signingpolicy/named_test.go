package signingpolicy

import (
	"errors"
	"strings"
	"testing"
)

func TestParseAs(t *testing.T) {
	const inline = "trusted_signers: [{type: keyless, issuer: https://a.example, subject: x}]\n"
	tests := []struct {
		name, as, text, want string
	}{
		{"unnamed", "strict", inline, ""},
		{"unnamed, below its key", "strict", "signing_policy: {trusted_signers: [{type: keyless, issuer: https://a.example, subject: x}]}", ""},
		{"named the same", "strict", "name: strict\n" + inline, ""},
		{"named otherwise", "strict", "name: lax\n" + inline, `line 1: name: is "lax" in the document, and it was to be "strict"`},
		{"named as the unnamed are", "strict", "name: default\n" + inline, `line 1: name: is "default" in the document`},
		{"no name to have", "Strict", inline, `line 1: name: "Strict" is not a name`},
		{"no policy", "strict", "threshold: 0\n", "line 1: threshold: "},
		{"nothing", "strict", "", "line 1: the document is empty"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := ParseAs(tt.as, []byte(tt.text))
			if tt.want != "" {
				if p != nil || !errors.Is(err, ErrInvalid) || !strings.HasPrefix(err.Error(), tt.want) {
					t.Fatalf("ParseAs = %+v, %v, want %q", p, err, tt.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if p.Name != "strict" || p.Inline[0].Name != "strict/1" {
				t.Errorf("the policy is %q with the signer %q", p.Name, p.Inline[0].Name)
			}
			text, err := p.Canonical()
			if err != nil {
				t.Fatal(err)
			}
			if again := mustParse(t, string(text)); again.Name != "strict" {
				t.Errorf("the canonical form is called %q", again.Name)
			}
		})
	}
}
