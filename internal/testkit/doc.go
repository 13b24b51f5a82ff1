// Package testkit is the workshop of Signet's tests. Start with [NewStack], a
// Sigstore in memory that fails the test when something cannot be made.
//
//   - sigstack makes real evidence: certificates, log entries, timestamps,
//     bundles and cosign's old formats, and forgeries of each.
//   - ocitest makes small images, indexes and signature manifests, and reads and
//     writes OCI layouts.
//   - registrytest is a registry on loopback that can misbehave, with helpers that
//     publish images and evidence the way cosign does.
//   - kmstest has doubles of Vault, AWS KMS and Google's Cloud KMS on loopback, which
//     sign with real keys.
//   - pgtest has PostgreSQL databases and redistest Redis servers of a test's own.
//   - oidctest is a small OpenID Connect provider on loopback.
//   - tuftest is a private TUF repository on loopback.
//   - require says what a test needs that may be missing on a machine.
//
// Nothing outside tests and generators of test data imports it.
package testkit
