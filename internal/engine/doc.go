// Package engine is the policy decision point: resolve, collect, verify, match,
// decide, record. There is one way through it, [Engine.Decide], for hits and
// misses, for the API and the command line.
//
// The engine knows no registry, no Sigstore, no OPA and no database: it declares
// the small interfaces it needs, and cmd/signet connects the parts.
package engine
