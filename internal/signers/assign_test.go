package signers

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/signet-policy/signet/internal/facts"
)

// Threat 21: a threshold counts distinct principals, each with a signer entry
// of its own.
func TestAssign(t *testing.T) {
	tests := []struct {
		name                string
		edges               map[string][]string
		signers, principals []string
	}{
		{"nobody", nil, []string{}, []string{}},
		{"nobody trusted", map[string][]string{"p": nil}, []string{}, []string{}},
		{"one", map[string][]string{"p": {"s"}}, []string{"s"}, []string{"p"}},
		{"threat 21: one principal, two entries", map[string][]string{"p": {"s1", "s2"}}, []string{"s1"}, []string{"p"}},
		{"threat 21: one key signing twice", map[string][]string{"p": {"s", "s"}}, []string{"s"}, []string{"p"}},
		{"two principals, one entry", map[string][]string{"p1": {"s"}, "p2": {"s"}}, []string{"s"}, []string{"p1"}},
		{"two and two", map[string][]string{"p1": {"s1"}, "p2": {"s2"}}, []string{"s1", "s2"}, []string{"p1", "p2"}},
		{"the greedy choice must give way", map[string][]string{"p1": {"s1", "s2"}, "p2": {"s1"}}, []string{"s2", "s1"}, []string{"p1", "p2"}},
		{"a chain of three gives way", map[string][]string{"p1": {"s1", "s2"}, "p2": {"s2", "s3"}, "p3": {"s1"}}, []string{"s2", "s3", "s1"}, []string{"p1", "p2", "p3"}},
		{"order of names does not matter", map[string][]string{"p2": {"s2", "s1"}, "p1": {"s2", "s1"}}, []string{"s2", "s1"}, []string{"p1", "p2"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := facts.Match{Requirement: "signature", Signers: tt.signers, Principals: tt.principals, Count: len(tt.principals)}
			for range 20 { // map order must not show
				if diff := cmp.Diff(want, Assign("signature", tt.edges)); diff != "" {
					t.Fatalf("Assign (-want +got):\n%s", diff)
				}
			}
		})
	}
}

// The assignment is one-to-one, along edges, and as large as trying everything
// can make it.
func TestAssignIsLargest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		edges := map[string][]string{}
		for p := range rapid.IntRange(0, 6).Draw(t, "principals") {
			var names []string
			for s := range 6 {
				if rapid.IntRange(0, 2).Draw(t, fmt.Sprintf("edge %d-%d", p, s)) == 0 {
					names = append(names, fmt.Sprint("s", s))
				}
			}
			edges[fmt.Sprint("p", p)] = names
		}
		m := Assign("r", edges)
		used := map[string]bool{}
		for i, p := range m.Principals {
			if used[p] || used[m.Signers[i]] {
				t.Fatalf("%s or %s is used twice: %+v", p, m.Signers[i], m)
			}
			used[p], used[m.Signers[i]] = true, true
			if !slices.Contains(edges[p], m.Signers[i]) {
				t.Fatalf("%s does not match %s", p, m.Signers[i])
			}
		}
		if want := largest(edges, slices.Clone(keysOf(edges)), map[string]bool{}); m.Count != want || len(m.Signers) != want || len(m.Principals) != want {
			t.Fatalf("count %d, want %d for %v", m.Count, want, edges)
		}
	})
}

func keysOf(edges map[string][]string) []string {
	var ks []string
	for k := range edges {
		ks = append(ks, k)
	}
	return ks
}

// largest tries everything.
func largest(edges map[string][]string, left []string, taken map[string]bool) int {
	if len(left) == 0 {
		return 0
	}
	best := largest(edges, left[1:], taken)
	for _, s := range edges[left[0]] {
		if !taken[s] {
			taken[s] = true
			best = max(best, 1+largest(edges, left[1:], taken))
			taken[s] = false
		}
	}
	return best
}
