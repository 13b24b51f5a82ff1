package signers

import (
	"maps"
	"slices"

	"github.com/signet-policy/signet/internal/facts"
)

// Group is a requirement that some of its signers sign.
type Group struct {
	Name string
	// Signers are the names of signer entries.
	Signers []string
	// Threshold is how many of them must have signed.
	Threshold int
}

// GroupRequirement is what input.matches calls the requirement of a group.
func GroupRequirement(name string) string { return "group:" + name }

// AssignGroups fills the thresholds of groups with distinct principals: a principal
// counts for one group and once, and so does a signer entry, whatever groups they
// are in. The result, one match for each group in their order, is a largest one:
// all groups are met whenever they can be met together, and where they cannot the
// earlier group is filled first. edges is as for [Assign], and the result depends
// on groups and edges alone.
func AssignGroups(groups []Group, edges map[string][]string) []facts.Match {
	principals := slices.Sorted(maps.Keys(edges))
	var entries []string
	for _, p := range principals {
		entries = append(entries, edges[p]...)
	}
	slices.Sort(entries)
	entries = slices.Compact(entries)

	// One unit flows from a group through an entry, which only one can pass, to a
	// principal and on to the sink.
	net := newNetwork(len(groups) + 2*len(entries) + len(principals) + 1)
	sink := len(net.next) - 1
	enter := func(e int) int { return len(groups) + 2*e }
	leave := func(e int) int { return enter(e) + 1 }
	principal := func(p int) int { return len(groups) + 2*len(entries) + p }
	for g, group := range groups {
		for _, name := range slices.Compact(slices.Sorted(slices.Values(group.Signers))) {
			if e, matched := slices.BinarySearch(entries, name); matched {
				net.connect(g, enter(e))
			}
		}
	}
	for e := range entries {
		net.connect(enter(e), leave(e))
	}
	for p, name := range principals {
		for _, entry := range slices.Compact(slices.Sorted(slices.Values(edges[name]))) {
			e, _ := slices.BinarySearch(entries, entry)
			net.connect(leave(e), principal(p))
		}
		net.connect(principal(p), sink)
	}
	for g, group := range groups {
		for range group.Threshold {
			if !net.augment(g, sink) {
				break
			}
		}
	}

	out := make([]facts.Match, 0, len(groups))
	for g, group := range groups {
		m := facts.Match{Requirement: GroupRequirement(group.Name), Signers: []string{}, Principals: []string{}}
		for p, name := range principals {
			for e, entry := range entries {
				if net.flows(g, enter(e)) && net.flows(leave(e), principal(p)) {
					m.Principals, m.Signers = append(m.Principals, name), append(m.Signers, entry)
				}
			}
		}
		m.Count = len(m.Principals)
		out = append(out, m)
	}
	return out
}

// Meetable says whether groups can be met together by signers each of which is
// somebody else. Where not, short is the first that cannot, and left how many
// signers there are for it.
func Meetable(groups []Group) (short Group, left int, ok bool) {
	edges := map[string][]string{}
	for _, g := range groups {
		for _, entry := range g.Signers {
			edges[entry] = []string{entry}
		}
	}
	for i, m := range AssignGroups(groups, edges) {
		if m.Count < groups[i].Threshold {
			return groups[i], m.Count, false
		}
	}
	return Group{}, 0, true
}

// network is a graph each of whose edges carries one unit (L. R. Ford, D. R.
// Fulkerson, "Maximal flow through a network", 1956).
type network struct {
	// next are the nodes that an edge leads to from each node, or back from it, in
	// the order in which they were connected.
	next [][]int
	// free says that an edge, or the way back along a used one, is free.
	free map[[2]int]bool
}

func newNetwork(nodes int) network {
	return network{next: make([][]int, nodes), free: map[[2]int]bool{}}
}

func (n network) connect(from, to int) {
	n.next[from], n.next[to] = append(n.next[from], to), append(n.next[to], from)
	n.free[[2]int{from, to}], n.free[[2]int{to, from}] = true, false
}

// flows says whether a unit flows along the edge, false where there is none.
func (n network) flows(from, to int) bool {
	back, there := n.free[[2]int{to, from}]
	return there && back
}

// augment sends one more unit along a shortest free path. What flows out of other
// nodes than from stays as much as it was.
func (n network) augment(from, to int) bool {
	before := map[int]int{from: from}
	for queue := []int{from}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		if at == to {
			for at != from {
				n.free[[2]int{before[at], at}], n.free[[2]int{at, before[at]}] = false, true
				at = before[at]
			}
			return true
		}
		for _, next := range n.next[at] {
			if _, seen := before[next]; !seen && n.free[[2]int{at, next}] {
				before[next] = at
				queue = append(queue, next)
			}
		}
	}
	return false
}
