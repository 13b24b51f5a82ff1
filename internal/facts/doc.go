// Package facts holds what Signet knows about one subject (an image digest):
// signatures, attestations and rejections, free of time, request and signers.
//
// Start with [Facts]. It cannot be written by hand: [New] is called by package
// verify alone (a test over the syntax tree keeps it so), and stored facts come
// back through [Decode], which recomputes their digest. [Input] is the document
// that a Rego policy reads: facts plus a frame (request, search, matches, time).
// An Input read from a file is just that, a file: it can be evaluated, but
// nothing in Signet records, caches or answers it.
package facts
