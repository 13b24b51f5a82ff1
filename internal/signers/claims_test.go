package signers

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestClaimMatches(t *testing.T) {
	tests := []struct {
		name, want, have string
		meets            bool
	}{
		{"to the letter", "refs/heads/main", "refs/heads/main", true},
		{"case counts", "refs/heads/main", "refs/heads/Main", false},
		{"no prefix", "refs/heads/main", "refs/heads/main2", false},
		{"a dot is a dot", "v1.2", "v1x2", false},
		{"a regular expression is none", "v.*", "vabc", false},
		{"star", "refs/tags/v*", "refs/tags/v1.2.3", true},
		{"star takes nothing", "refs/tags/v*", "refs/tags/v", true},
		{"star stays within its segment", "refs/tags/v*", "refs/tags/v1/evil", false},
		{"star in the middle", "refs/*/main", "refs/heads/main", true},
		{"star in the middle is one segment", "refs/*/main", "refs/heads/x/main", false},
		{"star does not begin earlier", "*refs", "evil/refs", false},
		{"two stars", "https://github.com/acme/**", "https://github.com/acme/app/x", true},
		{"two stars end at what stands before", "https://github.com/acme/**", "https://github.com/acme-evil/app", false},
		{"two stars in the middle", "https://**/release.yml@*", "https://github.com/a/b/release.yml@main", true},
		{"two stars in the middle, anchored", "https://**/release.yml", "https://github.com/a/b/release.yml/evil", false},
		{"any value", "**", "x/y", true},
		{"any value, a line break", "**", "x\ny", true},
		{"line breaks do not end it", "main", "main\n", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			claims := compileClaims(map[string]string{"source_repository_ref": tt.want}, func(field, format string, args ...any) {
				t.Fatalf("%s: "+format, append([]any{field}, args...)...)
			})
			if got := claims[0].meets(map[string]string{"source_repository_ref": tt.have}); got != tt.meets {
				t.Errorf("%q meets %q: %v, want %v", tt.have, tt.want, got, tt.meets)
			}
			if claims[0].meets(map[string]string{"github_workflow_ref": tt.have}) || claims[0].meets(nil) {
				t.Error("a claim that is not there meets it")
			}
		})
	}
}

func TestClaimNames(t *testing.T) {
	names := ClaimNames()
	if !slices.IsSorted(names) || len(slices.Compact(slices.Clone(names))) != len(names) || len(names) == 0 {
		t.Errorf("names are not in order, or there twice: %v", names)
	}
	for wrong, want := range map[string]string{
		"ref":                   "did you mean github_workflow_ref or source_repository_ref?",
		"source_repository_uir": "source_repository_uri",
		"runner_enviroment":     "did you mean runner_environment?",
		"Build_Trigger":         "did you mean build_trigger?",
		"issuer":                "there are build_config_digest, build_config_uri,",
		"":                      "there are build_config_digest",
	} {
		if got := nearClaims(wrong, names); !strings.Contains(got, want) {
			t.Errorf("near %q: %q, want it to say %q", wrong, got, want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"abc", "", 3}, {"", "abc", 3}, {"kitten", "sitting", 3}, {"flaw", "lawn", 2}, {"same", "same", 0}} {
		if got := distance(tt.a, tt.b); got != tt.want {
			t.Errorf("distance(%q, %q) = %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}

// A constraint means what its doc says, by a second implementation: a star takes no
// slash, two take anything, and all else stands for itself.
func FuzzClaim(f *testing.F) {
	f.Add("refs/tags/v*", "refs/tags/v1")
	f.Add("https://**/release.yml@*", "https://github.com/a/b/release.yml@main")
	f.Add("**a**", "bab")
	f.Add("(a|b).[c]*", "(a|b).[c]")
	f.Fuzz(func(t *testing.T, want, have string) {
		if len(want) > 50 || len(have) > 200 || !utf8.ValidString(have) {
			return
		}
		refused := false
		claims := compileClaims(map[string]string{"build_trigger": want}, func(string, string, ...any) { refused = true })
		if refused != (len(claims) == 0) {
			t.Fatalf("%q is refused: %t, and there are %d constraints", want, refused, len(claims))
		}
		for _, c := range claims {
			if got := c.meets(map[string]string{"build_trigger": have}); got != means(want, have) {
				t.Errorf("%q meets %q: %t", have, want, got)
			}
		}
	})
}

// means says whether have is what want stands for. A row holds which beginnings of
// have are met by what of want has been read.
func means(want, have string) bool {
	met := make([]bool, len(have)+1)
	met[0] = true
	for want != "" {
		next := make([]bool, len(have)+1)
		two := strings.HasPrefix(want, "**")
		for i := range next {
			switch {
			case want[0] != '*':
				next[i] = i > 0 && met[i-1] && have[i-1] == want[0]
			default:
				next[i] = met[i] || i > 0 && next[i-1] && (two || have[i-1] != '/')
			}
		}
		met, want = next, want[1:]
		if two {
			want = want[1:]
		}
	}
	return met[len(have)]
}
