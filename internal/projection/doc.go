// Package projection reads predicates of known types into the one shape of the
// input document, [facts.Projection].
//
// Use [Parse]. It streams: a bill of materials of 50 MB costs no more memory than
// what is kept of it. It reads what a document says, and nothing is guessed: a
// document of a known type that is in none of its forms is an error, so that a
// report that nobody could read is never one without findings.
//
// Predicate types and what is read of them:
//
//	sbom         https://spdx.dev/Document[/v…]: SPDX 2.2, 2.3 and 3.0 as JSON;
//	             https://cyclonedx.org/bom[/v…]: CycloneDX 1.4 to 1.6, nested components too
//	scan         https://cosign.sigstore.dev/attestation/vuln/v1, https://in-toto.io/attestation/vulns/v0.1
//	             and v0.2: their own list, or the report of Trivy, Grype or any scanner that writes
//	             SARIF, as scanner.result or as the whole predicate
//	vex          https://openvex.dev/ns[/v…]
//	test_result  https://in-toto.io/attestation/test-result/v0.1
//	vsa          https://slsa.dev/verification_summary/v0.2 and v1
//
// cosign has wrapped documents as {"Data": …, "Timestamp": …} and as strings with
// JSON in them; both are unwrapped. Under its type for anything,
// https://cosign.sigstore.dev/attestation/v1, a bill of materials is known by its
// first fields, and everything else has no projection.
package projection
