// Package builders says what provenance proves: which build platform's word it
// is, up to which SLSA Build level, and where predicate and certificate
// contradict each other.
//
// Use [Embedded] or [Parse] for the profiles, [Match] for one attestation, and
// [TrustedBuilder] and [TrustedSource] to ask whether the result is one that a
// policy trusts. Nothing here reads a clock, a network or a file.
//
// The predicate is the words of whoever signed it. Where the builder's own
// workflow does not sign apart from the user's steps, those are the user's
// words: they never raise a level, and count only as far as the certificate says
// the same.
package builders
