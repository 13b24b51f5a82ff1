package engine

import (
	"slices"
	"time"

	"github.com/signet-policy/signet/internal/verdict"
)

// The kinds of a [Boundary].
const (
	BoundarySigner    = "signer"
	BoundaryException = "exception"
)

// Boundary is a time when something that policies rest on ends.
type Boundary struct {
	// Kind is BoundarySigner or BoundaryException.
	Kind string
	// Name of the signer or exception.
	Name string
	// Ends is when it counts no more.
	Ends time.Time
}

// NextBoundary is the first time after at when a signer begins or ends to be
// trusted, or an exception ends; nil when there is none. What was decided at at
// holds until then, as far as this policy is concerned.
func (p Policy) NextBoundary(at time.Time) *time.Time {
	next := p.Signers.NextBoundary(at)
	for _, x := range p.Exceptions {
		if x.Ends.After(at) && (next == nil || x.Ends.Before(*next)) {
			next = &x.Ends
		}
	}
	return next
}

// Boundaries are the signers and exceptions of the policy that end after at, those
// that end first at the front.
func (p Policy) Boundaries(at time.Time) []Boundary {
	var list []Boundary
	for _, x := range p.Exceptions {
		if x.Ends.After(at) {
			list = append(list, x)
		}
	}
	for name, ends := range p.Signers.Ends(at) {
		list = append(list, Boundary{Kind: BoundarySigner, Name: name, Ends: ends})
	}
	slices.SortStableFunc(list, func(a, b Boundary) int { return a.Ends.Compare(b.Ends) })
	return list
}

// exceptionsOf are those that a result says waived something, named with the
// policy that they are of.
func exceptionsOf(policy string, res verdict.Result) []verdict.Exception {
	list := slices.Clone(res.Exceptions)
	for i := range list {
		list[i].Policy = policy
	}
	return list
}

// waives says whether a result rests on an exception. More evidence can then take
// back what it allows: an image that is excused for not being signed is not excused
// for being signed by a stranger.
func waives(res verdict.Result) bool {
	return len(res.Exceptions) > 0 ||
		slices.ContainsFunc(res.SatisfiedBy, func(s verdict.Satisfied) bool { return s.Exception != "" })
}
