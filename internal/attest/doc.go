// Package attest makes the verifier's own word about a verdict: a SLSA
// verification summary (VSA, https://slsa.dev/spec/v1.1/verification_summary),
// signed as a DSSE envelope and as a Sigstore bundle of it.
//
// Start with [New] and [Attester.Attest]. What is said follows from the verdict
// alone ([Summarize]), so that the same verdict says the same whenever it is
// asked. A verdict that was not plainly enforced says nothing: audit mode,
// exceptions, disabled policies, grace and "could not find out" never become
// PASSED, and what could not be found out is no FAILED either.
package attest
