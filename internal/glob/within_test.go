package glob

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestWithin(t *testing.T) {
	one := func(p ...string) []string { return p }
	tests := []struct {
		name         string
		inner, outer []string
		want         bool
	}{
		{"everything in everything", nil, nil, true},
		{"something in everything", one("ghcr.io/org/**"), nil, true},
		{"everything in something", nil, one("ghcr.io/org/**"), false},
		{"everything in every name: a subject may have none", nil, one("**"), false},
		{"equal", one("ghcr.io/org/**"), one("ghcr.io/org/**"), true},
		{"equal with stars", one("*.example.com/a*/**/b"), one("*.example.com/a*/**/b"), true},
		{"below", one("ghcr.io/org/team/**"), one("ghcr.io/org/**"), true},
		{"below, one name", one("ghcr.io/org/app"), one("ghcr.io/org/**"), true},
		{"below, one segment", one("ghcr.io/org/*"), one("ghcr.io/org/**"), true},
		{"below every name", one("*/**/a*"), one("**"), true},
		{"every name, written otherwise", one("**"), one("*/**"), false},
		{"above", one("ghcr.io/**"), one("ghcr.io/org/**"), false},
		{"beside: a name that begins alike", one("ghcr.io/org-evil/**"), one("ghcr.io/org/**"), false},
		{"beside: a star that takes more", one("ghcr.io/org*/**"), one("ghcr.io/org/**"), false},
		{"the parent itself", one("ghcr.io/org"), one("ghcr.io/org/**"), false},
		{"another registry", one("quay.io/org/app"), one("ghcr.io/org/**"), false},
		{"any registry", one("*/org/app"), one("ghcr.io/org/**"), false},
		{"deep where a segment is", one("ghcr.io/**/app"), one("ghcr.io/org/**"), false},
		{"deep in the middle, going round", one("ghcr.io/org/**/app"), one("ghcr.io/org/team/**"), false},
		{"deep in the middle, below", one("ghcr.io/org/**/app"), one("ghcr.io/org/**"), true},
		{"deep in the middle of the outer, equal there", one("ghcr.io/**/team/app*"), one("ghcr.io/**/team/**"), true},
		{"deep in the middle of the outer, otherwise", one("ghcr.io/a/b/team/app*"), one("ghcr.io/**/team/**"), false},
		{"deep in the middle of the outer, a name", one("ghcr.io/a/b/team/app"), one("ghcr.io/**/team/**"), true},
		{"a name in one star", one("ghcr.io/org/app"), one("ghcr.io/org/*"), true},
		{"a deeper name in one star", one("ghcr.io/org/team/app"), one("ghcr.io/org/*"), false},
		{"deep in one star", one("ghcr.io/org/**"), one("ghcr.io/org/*"), false},
		{"star in a longer star: not shown", one("ghcr.io/org/app-*"), one("ghcr.io/org/*"), false},
		{"a host in a star", one("a.example.com/x/**"), one("*.example.com/**"), true},
		{"a star in a star of hosts: not shown", one("a*.example.com/x/**"), one("*.example.com/**"), false},
		{"a host beyond the star", one("example.com.evil.io/x/**"), one("*.example.com/**"), false},
		{"host in upper case, inner", one("GHCR.io/org/app"), one("ghcr.io/org/**"), true},
		{"host in upper case, outer", one("ghcr.io/org/app"), one("GHCR.IO/org/**"), true},
		{"default port and final dot", one("ghcr.io.:443/org/*"), one("ghcr.io/org/**"), true},
		{"another port", one("ghcr.io:5000/org/*"), one("ghcr.io/org/**"), false},
		{"hub by another name, inner", one("index.docker.io/library/*"), one("docker.io/library/**"), true},
		{"hub by another name, outer", one("docker.io/library/nginx"), one("registry-1.docker.io/library/**"), true},
		{"hub above library", one("docker.io/**"), one("docker.io/library/**"), false},
		{"every pattern must be", one("ghcr.io/org/a", "quay.io/org/a"), one("ghcr.io/org/**"), false},
		{"in different ones", one("ghcr.io/org/a", "quay.io/org/a"), one("ghcr.io/org/**", "quay.io/**"), true},
		{"two halves are no whole: not shown", one("ghcr.io/**"), one("ghcr.io/*", "ghcr.io/*/**"), false},
		{"inner that does not compile", one("docker.io/*"), one("docker.io/**"), false},
		{"inner that is empty", one(""), one("**"), false},
		{"outer that does not compile", one("ghcr.io/org/a"), one("ghcr.io", "org/**"), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Within(tt.inner, tt.outer); got != tt.want {
				t.Errorf("%v within %v: %v, want %v", tt.inner, tt.outer, got, tt.want)
			}
		})
	}
}

// drawPattern draws patterns and names of few letters, so that they often meet.
func drawPattern(t *rapid.T, label string, segments []string) string {
	hosts := []string{"a.io", "A.io:443", "b.io", "docker.io", "index.docker.io"}
	if slices.Contains(segments, "**") {
		hosts = append(hosts, "*.io", "**", "*")
	}
	parts := append([]string{rapid.SampledFrom(hosts).Draw(t, label)},
		rapid.SliceOfN(rapid.SampledFrom(segments), 1, 3).Draw(t, label)...)
	return strings.Join(parts, "/")
}

var (
	wild = []string{"a", "b", "ab", "library", "*", "a*", "**"}
	tame = []string{"a", "b", "ab", "library"}
)

// What is said to be within matches no name that the outer one does not.
func TestWithinIsSound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		inner, outer, name := drawPattern(t, "inner", wild), drawPattern(t, "outer", wild), drawPattern(t, "name", tame)
		if !Within([]string{inner}, []string{outer}) {
			return
		}
		i, o := must(t, inner), must(t, outer)
		if i.Match(name) && !o.Match(name) {
			t.Fatalf("%s is within %s, and alone matches %s", inner, outer, name)
		}
	})
}

func must(t *rapid.T, pattern string) Glob {
	g, err := Compile(pattern)
	if err != nil {
		t.Fatalf("Within spoke of %s, which does not compile: %v", pattern, err)
	}
	return g
}

// The index finds what trying every pattern in turn finds.
func TestIndexAgreesWithScan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var x Index[string]
		var globs []Glob
		for i := range rapid.IntRange(0, 8).Draw(t, "patterns") {
			if g, err := Compile(drawPattern(t, fmt.Sprint("pattern ", i), wild)); err == nil {
				globs = append(globs, g)
				x.Add(g, g.String())
			}
		}
		name := drawPattern(t, "name", tame)
		var want []string
		for _, g := range globs {
			if g.Match(name) {
				want = append(want, g.String())
			}
		}
		got := slices.Collect(x.Match(name))
		slices.Sort(want)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%s (-scan +index):\n%s", name, diff)
		}
	})
}

func TestIndex(t *testing.T) {
	var x Index[int]
	if got := slices.Collect(x.Match("ghcr.io/org/app")); got != nil {
		t.Errorf("the zero index holds %v", got)
	}
	x.Add(Glob{}, 0)
	for i, p := range []string{"ghcr.io/org/app", "**", "ghcr.io/org/a*", "ghcr.io/org/**", "quay.io/**", "ghcr.io/org/**/app"} {
		g, err := Compile(p)
		if err != nil {
			t.Fatal(err)
		}
		x.Add(g, i+1)
	}
	if diff := cmp.Diff([]int{2, 4, 6, 3, 1}, slices.Collect(x.Match("GHCR.io/org/app"))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for v := range x.Match("ghcr.io/org/app") { // and stops when it is told to
		if v != 2 {
			t.Errorf("went on to %d", v)
		}
		break
	}
	if got := slices.Collect(x.Match("")); got != nil {
		t.Errorf("a subject without a name matches %v", got)
	}
}
