package signers

import (
	"maps"
	"slices"

	"github.com/signet-policy/signet/internal/facts"
)

// Assign finds the largest one-to-one assignment between distinct principals
// and signer entries: no principal counts twice because several entries name
// it, and no entry twice because several principals fit its pattern. edges maps
// a principal to the names of the signers that it matches. The result depends
// on edges alone: pairs are in order of the principals, Signers[i] being the one
// for Principals[i].
func Assign(requirement string, edges map[string][]string) facts.Match {
	principals := slices.Sorted(maps.Keys(edges))
	a := assignment{edges: map[string][]string{}, holder: map[string]string{}}
	for _, p := range principals {
		names := slices.Clone(edges[p])
		slices.Sort(names)
		a.edges[p] = slices.Compact(names)
	}
	for _, p := range principals {
		a.place(p, map[string]bool{})
	}
	signer := map[string]string{}
	for name, p := range a.holder {
		signer[p] = name
	}
	m := facts.Match{Requirement: requirement, Signers: []string{}, Principals: []string{}}
	for _, p := range principals {
		if name, ok := signer[p]; ok {
			m.Principals = append(m.Principals, p)
			m.Signers = append(m.Signers, name)
		}
	}
	m.Count = len(m.Principals)
	return m
}

// assignment grows along augmenting paths (H. W. Kuhn, "The Hungarian method
// for the assignment problem", 1955, for the unweighted case).
type assignment struct {
	edges  map[string][]string
	holder map[string]string // signer name → principal
}

// place gives p a signer, moving earlier principals to other signers where that
// frees one. tried keeps it from going round in circles.
func (a assignment) place(p string, tried map[string]bool) bool {
	for _, name := range a.edges[p] {
		if tried[name] {
			continue
		}
		tried[name] = true
		holder, taken := a.holder[name]
		if !taken || a.place(holder, tried) {
			a.holder[name] = p
			return true
		}
	}
	return false
}
