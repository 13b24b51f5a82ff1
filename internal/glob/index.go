package glob

import (
	"iter"
	"slices"
	"strings"
)

// Index finds among many patterns those that match a name. It looks them up by
// the literal text that they begin with, so that a lookup costs one map access
// for each length that such a text has, however many patterns there are. The zero
// value is empty. It is safe for concurrent use once nothing is added any more.
type Index[V any] struct {
	byPrefix map[string][]indexed[V]
	lengths  []int // of the prefixes, ascending
}

type indexed[V any] struct {
	glob  Glob
	value V
}

// Add puts a pattern in. The zero Glob matches nothing, and is not kept.
func (x *Index[V]) Add(g Glob, value V) {
	if len(g.segments) == 0 {
		return
	}
	if x.byPrefix == nil {
		x.byPrefix = map[string][]indexed[V]{}
	}
	prefix, _, _ := strings.Cut(g.String(), "*")
	if at, found := slices.BinarySearch(x.lengths, len(prefix)); !found {
		x.lengths = slices.Insert(x.lengths, at, len(prefix))
	}
	x.byPrefix[prefix] = append(x.byPrefix[prefix], indexed[V]{g, value})
}

// Match gives the values of the patterns that match name, the shortest literal
// text first; of patterns that begin alike in the order in which they were added.
func (x *Index[V]) Match(name string) iter.Seq[V] {
	return func(yield func(V) bool) {
		normal := normalName(name)
		if normal == "" || len(x.lengths) == 0 {
			return
		}
		segments := strings.Split(normal, "/")
		for _, n := range x.lengths {
			if n > len(normal) {
				return
			}
			for _, e := range x.byPrefix[normal[:n]] {
				if e.glob.match(segments) && !yield(e.value) {
					return
				}
			}
		}
	}
}
