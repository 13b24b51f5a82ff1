package registry

import (
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// grammar is a function with the expression that it stands for.
type grammar struct {
	name    string
	is      func(string) bool
	pattern *regexp.Regexp
}

func grammars() []grammar {
	return []grammar{
		{"digest", isDigest, regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)},
		{"cosign tag", isCosignTag, regexp.MustCompile(`^sha256-[0-9a-f]{64}(\.[a-z]+)?$`)},
		{"tag", isTag, regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)},
		{"path", isPath, regexp.MustCompile(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$`)},
		{"domain", isDomain, regexp.MustCompile(`^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*$`)},
		{"number", isNumber, regexp.MustCompile(`^[0-9]+$`)},
		{"error code", isErrorCode, regexp.MustCompile(`^[A-Z][A-Z_]{1,40}$`)},
	}
}

func compare(t *testing.T, list []grammar, s string) {
	t.Helper()
	for _, g := range list {
		if got, want := g.is(s), g.pattern.MatchString(s); got != want {
			t.Errorf("%s: %q is %v, and by its expression %v", g.name, s, got, want)
		}
	}
}

func seeds() []string {
	hex := strings.Repeat("0123456789abcdef", 4)
	return []string{
		"", "a", "A", "0", "-", ".", "_", "/", "a/", "/a", "a//b", "a/b", "a.b", "a..b", "a_b", "a__b", "a___b", "a-b", "a---b", "a-_b", "a._b", "a.", "-a",
		"ghcr.io", "ghcr.io.", ".ghcr.io", "a-.b", "a.-b", "xn--a", "10.0.0.1", "é", "a\n", "a\x00", "\xff", "DENIED", "D", "DE", "_D", "D_", "Denied", "latest\n",
		"sha256:" + hex, "sha256:" + hex[1:], "sha256:" + hex + "0", "sha256:" + strings.ToUpper(hex), "sha512:" + hex, "sha256:" + hex + "\n", "SHA256:" + hex,
		"sha256-" + hex, "sha256-" + hex + ".sig", "sha256-" + hex + ".", "sha256-" + hex + ".SIG", "sha256-" + hex + ".sig.x", "sha256-" + hex[1:] + ".sig", "sha256-" + hex + "sig",
		strings.Repeat("a", 128), strings.Repeat("a", 129), strings.Repeat("A", 41), strings.Repeat("A", 42),
	}
}

func TestGrammars(t *testing.T) {
	list := grammars()
	for _, s := range seeds() {
		compare(t, list, s)
	}
	for _, g := range list {
		if !slices.ContainsFunc(seeds(), g.is) {
			t.Errorf("%s: nothing is accepted, so nothing was compared", g.name)
		}
	}
	// Every string of up to four of these characters, and longer ones by chance.
	const alphabet = "aZ0.-_/:"
	var all func(s string, more int)
	all = func(s string, more int) {
		compare(t, list, s)
		for i := 0; more > 0 && i < len(alphabet); i++ {
			all(s+alphabet[i:i+1], more-1)
		}
	}
	all("", 4)
	random := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		var s strings.Builder
		for range 5 + random.IntN(20) {
			s.WriteByte("ab.-_/"[random.IntN(6)])
		}
		compare(t, list, s.String())
	}
}

func FuzzGrammars(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s)
	}
	list := grammars()
	f.Fuzz(func(t *testing.T, s string) { compare(t, list, s) })
}
