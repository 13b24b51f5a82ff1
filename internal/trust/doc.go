// Package trust holds trust roots: the certificate authorities, transparency
// logs, certificate-transparency logs and timestamp authorities that one
// Sigstore instance runs, and which proofs that instance is trusted to give.
//
// Start with [Parse] for a trusted_root.json, [ParseAll] for a file that may
// hold several (JSON lines), or [Embedded] for the public-good instance. A
// [Root] is immutable and is never merged with another: a log of one root must
// not vouch for a certificate of the other. [Older] compares a root with the one
// that it would replace. [Refresh] brings the newest trusted_root.json of a TUF
// repository; it is never called by this package itself, so that being offline
// is the caller's decision alone.
//
// Parsing a root whole costs about a fifth of a millisecond, so nothing is put
// off: a root that is wrong in any part is refused when it is read.
package trust
