// Package distribution brings the bytes of policy bundles to where they are used,
// and publishes them. [New] makes a [Source] of a directory, a file, an HTTP(S)
// bundle server or an OCI repository; [Push] writes to a repository.
//
// It knows nothing of what is in a bundle and verifies no signature: whoever
// fetches over a network must (policy.VerifyArchive). What it does see to is that
// bytes are bounded, whole and, from a repository, those of their digest; that
// credentials go to the one host they are for; and that what has not changed costs
// one small request.
//
// The endpoints are named by administrators alone, so they may be at private
// addresses. A registry's tokens are asked for elsewhere without its credentials,
// except from known token hosts. Redirects are followed over https, five at most, without credentials
// and client certificates once they leave the host.
package distribution
