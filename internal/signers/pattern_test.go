package signers

import (
	"strings"
	"testing"
)

// Threat 12: a pattern stands for the whole subject, and a dot in a host name
// for a dot.
func TestPatternIsAnchored(t *testing.T) {
	tests := []struct {
		name, pattern, subject string
		want                   bool
	}{
		{"the whole subject", "https://github.com/acme/app", "https://github.com/acme/app", true},
		{"threat 12: a prefix is not enough", "https://github.com/acme", "https://github.com/acme-evil/app", false},
		{"threat 12: nor with more behind", "https://github.com/acme", "https://github.com/acme/app", false},
		{"threat 12: nothing in front", "github.com/acme/app", "https://evil.io/github.com/acme/app", false},
		{"threat 12: another host in front", "https://github.com/acme/.*", "https://github.com.evil.io/acme/app", false},
		{"threat 12: query of another host", "https://github.com/acme/.*", "https://evil.io/?https://github.com/acme/app", false},
		{"threat 12: unescaped dot", "https://github.com/acme/.*", "https://githubXcom/acme/app", false},
		{"threat 12: unescaped dot in a mail domain", ".*@my.company.com", "me@my-company.com", false},
		{"the dot itself", ".*@my.company.com", "me@my.company.com", true},
		{"escaped dot", `https://github\.com/acme/.*`, "https://github.com/acme/app", true},
		{"any character, said so", "a[^/]b", "axb", true},
		{"a dot with a quantifier stays", "https://github.com/acme.*", "https://github.com/acme/app", true},
		{"a dot beside a slash stays", "a/.b", "a/xb", true},
		{"dots in a row stay", "a..b", "axyb", true},
		{"a dot in a group", "(?:x.y|z)", "xwy", false},
		{"line breaks do not end it", "dev@example.com", "dev@example.com\nevil", false},
		{"multi-line mode does not open it", "(?m)^dev$", "evil\ndev", false},
		{"own anchors are harmless", "^https://github.com/acme/.*$", "https://github.com/acme/app", true},
		{"own anchors, still anchored", "^a|b$", "ab", false},
		{"alternatives are within the anchors", "a|b", "xb", false},
		{"alternatives match", "a|b", "b", true},
		{"case counts", "https://github.com/Acme/.*", "https://github.com/acme/app", false},
		{"unless it is switched off", "(?i)https://github.com/Acme/.*", "https://github.com/acme/app", true},
		{"unescaped dot without case", "(?i)github.com", "githubxcom", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := compilePattern(tt.pattern)
			if err != nil {
				t.Fatal(err)
			}
			if got := p.match(tt.subject); got != tt.want {
				t.Errorf("%q matches %q: %v, want %v", tt.pattern, tt.subject, got, tt.want)
			}
			if p.match(tt.subject) && !strings.HasPrefix(tt.subject, p.prefix) {
				t.Errorf("prefix %q does not begin %q, so the index would miss it", p.prefix, tt.subject)
			}
		})
	}
}

// Threat 12: compiled alone first, so that nothing can close the group that
// holds the anchors.
func TestPatternCannotEscape(t *testing.T) {
	for _, pattern := range []string{"a)|(b", "a)|(?:b", ")", "(", `a\`, "(?<n", "a{2,1}", "a{1001}", `\Qa\E)|(?:`} {
		if p, err := compilePattern(pattern); err == nil {
			t.Errorf("compilePattern(%q) gave %v, want an error", pattern, p.re)
		}
	}
}

// A pattern without a literal prefix is tried on every signature of its issuer,
// so anchors and unescaped dots must not cost it its prefix.
func TestPatternPrefix(t *testing.T) {
	for pattern, want := range map[string]string{
		"https://github.com/org/.*":      "https://github.com/org/",
		"^https://github.com/org/.*$":    "https://github.com/org/",
		`\Ahttps://github.com/org/.*`:    "https://github.com/org/",
		`https://gitlab\.com/org/[^/]+`:  "https://gitlab.com/org/",
		"dev@example.com":                "dev@example.com",
		".*@example.com":                 "",
		"(?i)https://github.com/org":     "",
		"(https://a/.*|mailto:.*)":       "",
		"^a|b$":                          "",
		"(?m)^https://github.com/org/.*": "",
	} {
		p, err := compilePattern(pattern)
		if err != nil {
			t.Errorf("%q: %v", pattern, err)
			continue
		}
		if p.prefix != want {
			t.Errorf("prefix of %q is %q, want %q", pattern, p.prefix, want)
		}
	}
}

func FuzzPattern(f *testing.F) {
	f.Add("https://github.com/org/.*", "https://github.com/org/app")
	f.Add("a|b", "ab")
	f.Add("(?i)a.b$", "a.b")
	f.Fuzz(func(t *testing.T, pattern, subject string) {
		p, err := compilePattern(pattern)
		if err != nil {
			return
		}
		loc := p.re.FindStringIndex(subject)
		if loc == nil {
			return
		}
		if loc[0] != 0 || loc[1] != len(subject) {
			t.Fatalf("%q matches %v of %q, not the whole", pattern, loc, subject)
		}
		if !strings.HasPrefix(subject, p.prefix) {
			t.Fatalf("%q matches %q, which does not begin with the prefix %q", pattern, subject, p.prefix)
		}
	})
}
