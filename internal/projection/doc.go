// Package projection reads what predicates of known types say into the one shape
// that policies read ([facts.Projection]), whatever the type's version.
//
// Start with [Summary].
package projection
