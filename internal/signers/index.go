package signers

import (
	"cmp"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/signet-policy/signet/internal/glob"
)

// identities is an index over keyless signers by subject: those of one issuer, or
// for explanations those of all.
type identities struct {
	exact map[string][]*entry
	// prefixed holds patterns by their literal prefix, and lengths the lengths
	// of those prefixes, so that a lookup costs one map access per length.
	prefixed map[string][]*entry
	lengths  []int
	bare     []*entry
	// sorted is by the literal text in lower case, so that what a subject has most
	// in common with stands beside it.
	sorted []*entry
}

func newIdentities() *identities {
	return &identities{exact: map[string][]*entry{}, prefixed: map[string][]*entry{}}
}

func (x *identities) add(e *entry) {
	x.sorted = append(x.sorted, e)
	switch {
	case e.pattern == nil:
		x.exact[e.Subject] = append(x.exact[e.Subject], e)
	case e.pattern.prefix == "":
		x.bare = append(x.bare, e)
	default:
		p := e.pattern.prefix
		if at, found := slices.BinarySearch(x.lengths, len(p)); !found {
			x.lengths = slices.Insert(x.lengths, at, len(p))
		}
		x.prefixed[p] = append(x.prefixed[p], e)
	}
}

// finish is called when everything is added.
func (x *identities) finish() {
	slices.SortFunc(x.sorted, func(a, b *entry) int {
		return cmp.Or(strings.Compare(a.literal, b.literal), strings.Compare(a.Name, b.Name))
	})
}

// recognise gives the entries whose subject that is.
func (x *identities) recognise(subject string) []*entry {
	if x == nil || subject == "" {
		return nil
	}
	found := slices.Clone(x.exact[subject])
	for _, n := range x.lengths {
		if n > len(subject) {
			break
		}
		for _, e := range x.prefixed[subject[:n]] {
			if e.pattern.match(subject) {
				found = append(found, e)
			}
		}
	}
	for _, e := range x.bare {
		if e.pattern.match(subject) {
			found = append(found, e)
		}
	}
	return found
}

// near gives at most n entries, among them those that have most in common with
// the subject.
func (x *identities) near(subject string, n int) []*entry {
	at, _ := slices.BinarySearchFunc(x.sorted, strings.ToLower(subject), func(e *entry, s string) int { return strings.Compare(e.literal, s) })
	from := max(0, at-n/2)
	return x.sorted[from:min(len(x.sorted), from+n)]
}

// scopes is an index over all signers by the images that they may sign.
type scopes struct {
	everywhere scope
	some       glob.Index[*scope]
}

// scope is what is trusted for the images of one pattern.
type scope struct {
	// force is when anybody is trusted.
	force spans
	// keys are those that are trusted at some time, the one that is trusted longest
	// first.
	keys  []scopedKey
	byKey map[string]int // position in keys, while it is built
}

// scopedKey is a public key, and when any signer that has it is trusted.
type scopedKey struct {
	Key
	force spans
}

func newScopes(entries []*entry) *scopes {
	x := &scopes{}
	byPattern := map[string]*scope{}
	for _, e := range entries {
		if !e.Enabled {
			continue
		}
		if e.scope.All() {
			x.everywhere.add(e)
			continue
		}
		for _, g := range e.scope.Globs() {
			s := byPattern[g.String()]
			if s == nil {
				s = &scope{}
				byPattern[g.String()] = s
				x.some.Add(g, s)
			}
			s.add(e)
		}
	}
	x.everywhere.finish()
	for _, s := range byPattern {
		s.finish()
	}
	return x
}

func (s *scope) add(e *entry) {
	when := span{e.NotBefore, e.ExpiresAt}
	s.force = append(s.force, when)
	for _, k := range e.Keys {
		at, there := s.byKey[k.Fingerprint]
		if !there {
			if s.byKey == nil {
				s.byKey = map[string]int{}
			}
			at = len(s.keys)
			s.byKey[k.Fingerprint] = at
			s.keys = append(s.keys, scopedKey{Key: k})
		}
		s.keys[at].force = append(s.keys[at].force, when)
	}
}

func (s *scope) finish() {
	s.byKey = nil
	s.force = s.force.merged()
	for i := range s.keys {
		s.keys[i].force = s.keys[i].force.merged()
	}
	slices.SortFunc(s.keys, func(a, b scopedKey) int {
		return cmp.Or(-compareEnds(a.force.end(), b.force.end()), strings.Compare(a.Fingerprint, b.Fingerprint))
	})
}

// of gives the scopes that an image is in.
func (x *scopes) of(name string) iter.Seq[*scope] {
	return func(yield func(*scope) bool) {
		if x == nil || !yield(&x.everywhere) {
			return
		}
		for s := range x.some.Match(name) {
			if !yield(s) {
				return
			}
		}
	}
}

// span is a time from and including from until and excluding until; nil is
// unbounded.
type span struct{ from, until *time.Time }

// spans are in order and apart once they are merged.
type spans []span

// merged is the same time in as few spans as can be. It changes s.
func (s spans) merged() spans {
	slices.SortFunc(s, func(a, b span) int { return compareBegins(a.from, b.from) })
	out := s[:0]
	for _, next := range s {
		last := len(out) - 1
		switch {
		case last < 0 || out[last].until != nil && next.from != nil && next.from.After(*out[last].until):
			out = append(out, next)
		case compareEnds(next.until, out[last].until) > 0:
			out[last].until = next.until
		}
	}
	return slices.Clip(out)
}

// covers says whether a time is in one of the spans.
func (s spans) covers(at time.Time) bool {
	i, _ := slices.BinarySearchFunc(s, at, func(sp span, at time.Time) int {
		if sp.from != nil && sp.from.After(at) {
			return 1
		}
		return -1
	})
	return i > 0 && (s[i-1].until == nil || at.Before(*s[i-1].until))
}

// end is when the last span ends; there is one.
func (s spans) end() *time.Time { return s[len(s)-1].until }

// compareBegins orders times of which nil is before all.
func compareBegins(a, b *time.Time) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return -1
	case b == nil:
		return 1
	}
	return a.Compare(*b)
}

// compareEnds orders times of which nil is after all.
func compareEnds(a, b *time.Time) int {
	if a == nil || b == nil {
		return compareBegins(b, a)
	}
	return a.Compare(*b)
}
