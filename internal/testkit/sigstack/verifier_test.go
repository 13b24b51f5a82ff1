package sigstack_test

import (
	"crypto"
	"crypto/rsa"
	"testing"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/options"

	"github.com/signet-policy/signet/internal/testkit/sigstack"
)

// verifier is sigstore's verifier for a key with exactly its algorithm.
func verifier(tb testing.TB, key *sigstack.Key) signature.Verifier {
	tb.Helper()
	load := map[sigstack.Algorithm]func() (signature.Verifier, error){
		sigstack.ECDSAP256SHA256: func() (signature.Verifier, error) { return signature.LoadVerifier(key.Public(), crypto.SHA256) },
		sigstack.ECDSAP384SHA384: func() (signature.Verifier, error) { return signature.LoadVerifier(key.Public(), crypto.SHA384) },
		sigstack.ECDSAP521SHA512: func() (signature.Verifier, error) { return signature.LoadVerifier(key.Public(), crypto.SHA512) },
		sigstack.ECDSAP384SHA256: func() (signature.Verifier, error) { return signature.LoadVerifier(key.Public(), crypto.SHA256) },
		sigstack.ECDSAP521SHA256: func() (signature.Verifier, error) { return signature.LoadVerifier(key.Public(), crypto.SHA256) },
		sigstack.Ed25519:         func() (signature.Verifier, error) { return signature.LoadVerifier(key.Public(), crypto.SHA512) },
		sigstack.Ed25519ph: func() (signature.Verifier, error) {
			return signature.LoadVerifierWithOpts(key.Public(), options.WithED25519ph())
		},
		sigstack.RSA2048PKCS1SHA256: func() (signature.Verifier, error) { return signature.LoadVerifier(key.Public(), crypto.SHA256) },
		sigstack.RSA2048PSSSHA256: func() (signature.Verifier, error) {
			return signature.LoadVerifierWithOpts(key.Public(), options.WithHash(crypto.SHA256), options.WithRSAPSS(&rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthAuto, Hash: crypto.SHA256}))
		},
	}[key.Algorithm]
	v, err := load()
	if err != nil {
		tb.Fatal(err)
	}
	return v
}
