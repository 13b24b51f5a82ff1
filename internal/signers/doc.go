// Package signers holds the identities and keys that may be trusted, and finds
// out which of them made a signature.
//
// Begin with [Compile], which checks signers and makes an immutable [Set].
// [Set.Match] names the signers that a verified signature matches for an image
// at a time, [Assign] turns such matches into the largest one-to-one assignment
// between distinct principals and signer entries, which is what a threshold
// counts, and [Set.Nearest] explains what came close when nothing matched.
// [Set.KeyByFingerprint] and [Set.KeysInScope] give the keys to verify with. What a
// verdict asks costs the same among ten signers and among ten thousand.
//
// Nothing here reads a clock, a file or the network.
package signers
