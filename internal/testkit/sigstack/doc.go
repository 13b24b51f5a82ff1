// Package sigstack is a Sigstore in memory for tests: a Fulcio with root and
// intermediate, a certificate transparency log, timestamp authorities, a
// Rekor v1 and a Rekor v2, and the trusted_root.json that goes with them.
//
// Start with [New], then [Stack.Sign]; [Stack.TrustedRootJSON] verifies what it
// made. Nothing is faked: certificates carry embedded SCTs, log entries carry
// signed entry timestamps and audit paths through a Merkle tree that grows, and
// timestamps are RFC 3161 tokens. What comes out verifies with sigstore-go and
// with the cosign CLI.
//
//	stack, err := sigstack.New(sigstack.Options{Seed: "a"})
//	ev, err := stack.Sign(sigstack.SignRequest{
//		Image:      "sha256:…",
//		Identity:   sigstack.Email("https://accounts.example.test", "dev@example.test"),
//		Log:        sigstack.RekorV2(),
//		Timestamps: 1,
//	})
//	bundle, err := ev.Bundle(sigstack.V03)
//
// An [Evidence] is a plain struct: a test that wants a forgery edits it, or adds
// to it with [Stack.AddEntry], [Stack.AddTimestamp] and the functions in
// forge.go, before it is written out.
//
// With a seed and one goroutine the output is the same on every run, RSA keys
// and PSS salts excepted. The package is for tests and for generators of test
// data; it must never be imported by the service.
package sigstack
