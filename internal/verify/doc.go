// Package verify turns evidence into facts: it is where bytes from a registry
// are believed or not.
//
// Start with [New], then [Verifier.Image] for what is attached to an image, or
// [Verifier.Artifact] for a bundle about any file. Both give one [facts.Facts],
// in which every piece of evidence is a signature, an attestation or a rejection
// with a code; evidence never makes them fail.
//
// How one item goes through, in the order of the files:
//
//   - item.go reads it by its kind (bundle.go, legacy.go) into one shape, and
//     statement.go or simplesigning.go reads what was signed. That is where an
//     item about another digest is turned away.
//   - attempt.go verifies it under one trust root, with its certificate
//     (certificate.go) or one candidate key (key.go). The roots are tried in the
//     configured order and never merged.
//   - entry.go, intoto.go and timestamp.go say which log entries and timestamps
//     are facts; identity.go says who signed.
//
// sigstore-go's verifier decides whether evidence verifies. Facts are not copied
// from what it looked at but from what was checked: see "Every field of a fact
// names what was checked for it" in docs/design.md. The package never reads the
// clock and opens no connection.
package verify
