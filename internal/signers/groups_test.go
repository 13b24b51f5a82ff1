package signers

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/signet-policy/signet/internal/facts"
)

// Threat 21: who counts for one group counts for no other.
func TestAssignGroups(t *testing.T) {
	group := func(name string, threshold int, signers ...string) Group {
		return Group{Name: name, Signers: signers, Threshold: threshold}
	}
	type met struct{ signers, principals []string }
	nobody := met{[]string{}, []string{}}
	tests := []struct {
		name   string
		groups []Group
		edges  map[string][]string
		want   []met
	}{
		{"no groups", nil, map[string][]string{"p": {"a"}}, nil},
		{"nobody signed", []Group{group("g", 1, "a")}, nil, []met{nobody}},
		{"a signer of no group", []Group{group("g", 1, "a")}, map[string][]string{"p": {"b"}}, []met{nobody}},
		{"both groups", []Group{group("g", 1, "a"), group("h", 1, "b")}, map[string][]string{"p": {"a"}, "q": {"b"}},
			[]met{{[]string{"a"}, []string{"p"}}, {[]string{"b"}, []string{"q"}}}},
		{"threat 21: one principal who is in both groups, the first of which he fills", []Group{group("g", 1, "a"), group("h", 1, "a", "b")}, map[string][]string{"p": {"a"}},
			[]met{{[]string{"a"}, []string{"p"}}, nobody}},
		{"threat 21: one principal under two entries", []Group{group("g", 1, "a"), group("h", 1, "b")}, map[string][]string{"p": {"a", "b"}},
			[]met{{[]string{"a"}, []string{"p"}}, nobody}},
		{"threat 21: two principals under one entry", []Group{group("g", 1, "a"), group("h", 1, "a", "b")}, map[string][]string{"p": {"a"}, "q": {"a"}},
			[]met{{[]string{"a"}, []string{"p"}}, nobody}},
		{"the greedy choice must give way", []Group{group("g", 1, "a", "b"), group("h", 1, "a")}, map[string][]string{"p": {"a"}, "q": {"b"}},
			[]met{{[]string{"b"}, []string{"q"}}, {[]string{"a"}, []string{"p"}}}},
		{"a principal must give way", []Group{group("g", 1, "a"), group("h", 1, "b")}, map[string][]string{"p": {"a", "b"}, "q": {"a"}},
			[]met{{[]string{"a"}, []string{"q"}}, {[]string{"b"}, []string{"p"}}}},
		{"no more than the threshold", []Group{group("g", 1, "a", "b")}, map[string][]string{"p": {"a"}, "q": {"b"}},
			[]met{{[]string{"a"}, []string{"p"}}}},
		{"what the first leaves is for the second", []Group{group("g", 2, "a", "b"), group("h", 1, "b", "c")}, map[string][]string{"p": {"a"}, "q": {"b"}, "r": {"c"}},
			[]met{{[]string{"a", "b"}, []string{"p", "q"}}, {[]string{"c"}, []string{"r"}}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := []facts.Match{}
			for i, m := range tt.want {
				want = append(want, facts.Match{Requirement: GroupRequirement(tt.groups[i].Name), Signers: m.signers, Principals: m.principals, Count: len(m.signers)})
			}
			for range 20 { // map order must not show
				if diff := cmp.Diff(want, AssignGroups(tt.groups, tt.edges)); diff != "" {
					t.Fatalf("AssignGroups (-want +got):\n%s", diff)
				}
			}
		})
	}
}

// The assignment keeps to the groups and the edges, uses nobody twice, and is as
// large as trying everything can make it; more evidence never makes it smaller.
func TestAssignGroupsIsLargest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var groups []Group
		for g := range rapid.IntRange(1, 3).Draw(t, "groups") {
			group := Group{Name: fmt.Sprint("g", g), Threshold: rapid.IntRange(1, 2).Draw(t, fmt.Sprint("threshold ", g))}
			for s := range 4 {
				if rapid.Bool().Draw(t, fmt.Sprintf("g%d has s%d", g, s)) {
					group.Signers = append(group.Signers, fmt.Sprint("s", s))
				}
			}
			groups = append(groups, group)
		}
		edges := map[string][]string{}
		for p := range rapid.IntRange(0, 4).Draw(t, "principals") {
			var names []string
			for s := range 4 {
				if rapid.IntRange(0, 2).Draw(t, fmt.Sprintf("edge %d-%d", p, s)) == 0 {
					names = append(names, fmt.Sprint("s", s))
				}
			}
			edges[fmt.Sprint("p", p)] = names
		}
		total := checkAssigned(t, groups, edges)
		left := make([]int, len(groups))
		for i, g := range groups {
			left[i] = g.Threshold
		}
		if want := mostForGroups(groups, left, edges, keysOf(edges), map[string]bool{}); total != want {
			t.Fatalf("%d principals are placed, want %d: %v %v", total, want, groups, edges)
		}
		for p := range edges {
			less := map[string][]string{}
			for q, names := range edges {
				if q != p {
					less[q] = names
				}
			}
			if checkAssigned(t, groups, less) > total {
				t.Fatalf("without %s more are placed", p)
			}
		}
	})
}

func checkAssigned(t *rapid.T, groups []Group, edges map[string][]string) (total int) {
	used := map[string]bool{}
	for i, m := range AssignGroups(groups, edges) {
		if m.Count != len(m.Principals) || m.Count != len(m.Signers) || m.Count > groups[i].Threshold {
			t.Fatalf("miscounted: %+v", m)
		}
		for n, p := range m.Principals {
			entry := m.Signers[n]
			if used["p "+p] || used["s "+entry] || !slices.Contains(edges[p], entry) || !slices.Contains(groups[i].Signers, entry) {
				t.Fatalf("%s as %s is used twice, or matches not: %+v", p, entry, m)
			}
			used["p "+p], used["s "+entry] = true, true
		}
		total += m.Count
	}
	return total
}

// mostForGroups tries everything.
func mostForGroups(groups []Group, left []int, edges map[string][]string, principals []string, used map[string]bool) int {
	if len(principals) == 0 {
		return 0
	}
	p, rest := principals[0], principals[1:]
	best := mostForGroups(groups, left, edges, rest, used)
	for i, g := range groups {
		for _, entry := range edges[p] {
			if left[i] == 0 || used[entry] || !slices.Contains(g.Signers, entry) {
				continue
			}
			left[i]--
			used[entry] = true
			best = max(best, 1+mostForGroups(groups, left, edges, rest, used))
			left[i]++
			used[entry] = false
		}
	}
	return best
}

func TestMeetable(t *testing.T) {
	release, security := Group{"release", []string{"a", "b"}, 1}, Group{"security", []string{"b"}, 1}
	if _, _, ok := Meetable([]Group{security, release}); !ok {
		t.Error("a for release and b for security meet both")
	}
	security.Signers, security.Threshold = []string{"a", "b"}, 2
	if short, left, ok := Meetable([]Group{release, security}); ok || short.Name != "security" || left != 1 {
		t.Errorf("Meetable = %v, %d, %t; three of two signers can never sign", short, left, ok)
	}
}
