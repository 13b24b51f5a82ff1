package glob

import "strings"

// Within says that every name that a pattern of inner matches is matched by one of
// outer, too. No patterns at all stand for every name, so an empty outer contains
// everything, and an empty inner is only within an empty outer.
//
// It is conservative: what it cannot show is false, and so is a pattern that does
// not compile. A pattern is shown to be within another when they are equal, when
// it is a single name that the other matches, or when it lies below one that ends
// in "/**", segment by segment.
func Within(inner, outer []string) bool {
	if len(outer) == 0 {
		return true
	}
	if len(inner) == 0 {
		return false
	}
	var around []Glob
	for _, o := range outer {
		if g, err := Compile(o); err == nil {
			around = append(around, g)
		}
	}
	for _, p := range inner {
		g, err := Compile(p)
		if err != nil || !withinAny(g, around) {
			return false
		}
	}
	return true
}

func withinAny(g Glob, around []Glob) bool {
	for _, o := range around {
		if g.within(o) {
			return true
		}
	}
	return false
}

func (g Glob) within(o Glob) bool {
	if g.String() == o.String() {
		return true
	}
	if !strings.Contains(g.String(), "*") {
		return o.Match(g.String())
	}
	last := len(o.segments) - 1
	if o.segments[last] != deep || len(g.segments) <= last {
		return false
	}
	for i, want := range o.segments[:last] {
		if g.segments[i] != want && (strings.Contains(g.segments[i], "*") || !matchSegment(want, g.segments[i])) {
			return false
		}
	}
	return true
}
