package glob

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMatch(t *testing.T) {
	tests := []struct {
		name, pattern, image string
		want                 bool
	}{
		{"exact", "ghcr.io/org/app", "ghcr.io/org/app", true},
		{"exact is not a prefix", "ghcr.io/org/app", "ghcr.io/org/app-evil", false},
		{"exact is not a suffix", "ghcr.io/org/app", "evil.io/ghcr.io/org/app", false},
		{"star is one segment", "ghcr.io/org/*", "ghcr.io/org/app", true},
		{"star stays within its segment", "ghcr.io/org/*", "ghcr.io/org/team/app", false},
		{"star does not cross backwards", "ghcr.io/*/app", "ghcr.io/a/b/app", false},
		{"star within a segment", "ghcr.io/org/app-*", "ghcr.io/org/app-web", true},
		{"star in the middle of a segment", "ghcr.io/org/a*z", "ghcr.io/org/abcz", true},
		{"star in the middle goes back", "ghcr.io/org/a*bc", "ghcr.io/org/abbc", true},
		{"star wants the rest", "ghcr.io/org/a*z", "ghcr.io/org/abc", false},
		{"deep is below", "ghcr.io/org/**", "ghcr.io/org/app", true},
		{"deep crosses", "ghcr.io/org/**", "ghcr.io/org/team/app", true},
		{"deep is not the parent itself", "ghcr.io/org/**", "ghcr.io/org", false},
		{"deep ends at the slash", "ghcr.io/org/**", "ghcr.io/org-evil/app", false},
		{"deep in the middle, none", "ghcr.io/**/app", "ghcr.io/app", true},
		{"deep in the middle, several", "ghcr.io/**/app", "ghcr.io/a/b/app", true},
		{"deep in the middle goes back", "ghcr.io/**/a/app", "ghcr.io/a/a/b/a/app", true},
		{"deep in the middle wants the rest", "ghcr.io/**/app", "ghcr.io/a/b/other", false},
		{"deep in front", "**/app", "ghcr.io/org/app", true},
		{"deep alone", "**", "ghcr.io/org/app", true},
		{"two deeps", "**/org/**", "ghcr.io/x/org/a/b", true},
		{"host with a star", "*.example.com/app", "a.example.com/app", true},
		{"host with a star is anchored", "*.example.com/app", "a.example.com.evil.io/app", false},
		{"any host", "*/org/app", "ghcr.io/org/app", true},

		// Spellings of one registry that could slip past a pattern.
		{"upper-case host asked", "ghcr.io/org/**", "GHCR.io/org/app", true},
		{"upper-case host written", "GHCR.io/org/**", "ghcr.io/org/app", true},
		{"default port asked", "ghcr.io/org/**", "ghcr.io:443/org/app", true},
		{"default port with zeros", "ghcr.io/org/**", "ghcr.io:0443/org/app", true},
		{"default port written", "ghcr.io:443/org/**", "ghcr.io/org/app", true},
		{"empty port", "ghcr.io/org/**", "ghcr.io:/org/app", true},
		{"another port is another registry", "ghcr.io/org/**", "ghcr.io:5000/org/app", false},
		{"port with zeros", "r.example.com:5000/app", "r.example.com:05000/app", true},
		{"final dot", "ghcr.io/org/**", "ghcr.io./org/app", true},
		{"final dot and port", "ghcr.io/org/**", "ghcr.io.:443/org/app", true},
		{"hub by its index name", "docker.io/library/*", "index.docker.io/library/nginx", true},
		{"hub by its registry name", "docker.io/library/*", "registry-1.docker.io/library/nginx", true},
		{"hub by its old name", "docker.io/library/*", "registry.hub.docker.com/library/nginx", true},
		{"hub without library", "docker.io/library/nginx", "docker.io/nginx", true},
		{"hub pattern by its index name", "index.docker.io/library/nginx", "docker.io/library/nginx", true},
		{"IPv6 host", "[::1]:5000/app", "[::1]:5000/app", true},
		{"IPv6 host, default port", "[::1]/app", "[::1]:443/app", true},
		{"IPv6 host, other port", "[::1]/app", "[::1]:5000/app", false},

		{"no name matches no pattern", "**", "", false},
		{"host alone is no name", "**", "ghcr.io", false},
		{"empty path", "**", "ghcr.io/", false},
		{"repository case counts", "ghcr.io/org/app", "ghcr.io/Org/app", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g, err := Compile(tt.pattern)
			if err != nil {
				t.Fatal(err)
			}
			if got := g.Match(tt.image); got != tt.want {
				t.Errorf("%s matches %s: %v, want %v", tt.pattern, tt.image, got, tt.want)
			}
		})
	}
}

func TestCompileRefuses(t *testing.T) {
	tests := []struct {
		name, pattern, want string
	}{
		{"empty", "", "is empty"},
		{"too long", "ghcr.io/" + strings.Repeat("a", maxBytes), "longer than 512"},
		{"scheme", "https://ghcr.io/org/**", "write host/path"},
		{"digest", "ghcr.io/org/app@sha256:00", "has a digest"},
		{"tag", "ghcr.io/org/app:v1", "has a tag"},
		{"tag with a star", "ghcr.io/org/app:*", "has a tag"},
		{"host only", "ghcr.io", "write ghcr.io/**"},
		{"star only", "*", "write ** for every image"},
		{"short name", "nginx", "write docker.io/library/nginx"},
		{"hub name without host", "org/app", "write docker.io/org/app"},
		{"long name without host", "org/team/**", "for example ghcr.io/org/team/**"},
		{"hub with one part", "docker.io/nginx", "write docker.io/library/nginx"},
		{"hub with one star", "docker.io/*", "docker.io/** for all"},
		{"leading slash", "/org/app", "begins with a slash"},
		{"trailing slash", "ghcr.io/org/", "empty segment"},
		{"two slashes", "ghcr.io//app", "empty segment"},
		{"dots", "ghcr.io/org/../app", ". or .. segment"},
		{"deep beside letters", "ghcr.io/org**", "stands alone"},
		{"deep beside letters in the host", "**.io/org", "stands alone"},
		{"three stars", "ghcr.io/***", "stands alone"},
		{"upper-case path", "ghcr.io/Org/app", "upper-case"},
		{"question mark", "ghcr.io/org/ap?", "only * and **"},
		{"class", "ghcr.io/org/[ab]", "only * and **"},
		{"braces in the host", "{ghcr,quay}.io/org", "only * and **"},
		{"negation", "!ghcr.io/org/app", "only * and **"},
		{"space", "ghcr.io/org /app", "at byte 12"},
		{"not ASCII", "ghcr.io/örg/app", "at byte 9"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Compile(tt.pattern)
			if err == nil {
				t.Fatalf("Compile(%q) gave no error", tt.pattern)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Compile(%q) = %v, want it to say %q", tt.pattern, err, tt.want)
			}
		})
	}
}

func TestScope(t *testing.T) {
	everything, err := NewScope(nil)
	if err != nil {
		t.Fatal(err)
	}
	some, err := NewScope([]string{"GHCR.io:443/org/**", "quay.io/org/app"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"ghcr.io/org/**", "quay.io/org/app"}, some.Patterns()); diff != "" {
		t.Error(diff)
	}
	if !everything.All() || some.All() {
		t.Error("All: want true without patterns, false with")
	}
	for _, tt := range []struct {
		scope Scope
		image string
		want  bool
	}{
		{everything, "ghcr.io/org/app", true},
		{everything, "", true},
		{some, "ghcr.io/org/app", true},
		{some, "quay.io/org/app", true},
		{some, "quay.io/org/other", false},
		{some, "", false},
	} {
		if got := tt.scope.Covers(tt.image); got != tt.want {
			t.Errorf("%v covers %q: %v, want %v", tt.scope.Patterns(), tt.image, got, tt.want)
		}
	}
	if _, err := NewScope([]string{"ghcr.io/org/**", "nginx"}); err == nil {
		t.Error("a scope with one bad pattern gave no error")
	}
	if (Glob{}).Match("ghcr.io/org/app") {
		t.Error("the zero Glob matches")
	}
}

// The matcher must agree with the plain definition of the wildcards, and never
// take long over hostile patterns.
func FuzzMatch(f *testing.F) {
	f.Add("ghcr.io/**/a/*b*/c", "ghcr.io/x/a/abb/c")
	f.Add("**", "ghcr.io/a")
	f.Add("docker.io/library/*", "index.docker.io/nginx")
	f.Fuzz(func(t *testing.T, pattern, image string) {
		g, err := Compile(pattern)
		if err != nil {
			return
		}
		again, err := Compile(g.String())
		if err != nil {
			t.Fatalf("%q compiles, its normal form %q does not: %v", pattern, g, err)
		}
		got := g.Match(image)
		if again.Match(image) != got {
			t.Fatalf("%q and its normal form %q disagree on %q", pattern, g, image)
		}
		if got && image == "" {
			t.Fatalf("%q matches a subject without a name", pattern)
		}
		host, path, ok := strings.Cut(image, "/")
		if ok && host != "" && path != "" && !strings.Contains(pattern, "*") {
			host = normalHost(host)
			if host == hub && !strings.Contains(path, "/") {
				path = "library/" + path
			}
			if want := g.String() == host+"/"+path; got != want {
				t.Fatalf("%q without wildcards matches %q: %v", pattern, image, got)
			}
		}
	})
}
