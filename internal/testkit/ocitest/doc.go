// Package ocitest makes small OCI images, indexes and the manifests that carry
// signatures, as plain values, and writes and reads OCI image layouts.
//
// Start with [Image] and [Bundle] (cosign's new format) or [Cosign] (its old
// one), and hand the result to registrytest or to a [Layout]. Manifests are
// written by hand and not by a library, so that any of them can be wrong on
// purpose: see [Raw].
package ocitest
