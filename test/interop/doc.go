// Package interop holds tests with the real cosign CLI: what the test kit signs,
// cosign verifies, with no check turned off; what cosign signs, Signet verifies.
package interop
