package verify_test

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"testing"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/trust"
	"github.com/signet-policy/signet/internal/verify"
)

func ofDigest(items []evidence.Item, digest string) []evidence.Item {
	var out []evidence.Item
	for _, e := range items {
		if e.SubjectDigest == digest {
			out = append(out, e)
		}
	}
	return out
}

func fingerprint(t testing.TB, key crypto.PublicKey) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

func verifierWith(t testing.TB, limits evidence.Limits, roots ...*trust.Root) *verify.Verifier {
	t.Helper()
	v, err := verify.New(verify.Config{Roots: roots, Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func artifactFacts(t testing.TB, v *verify.Verifier, a verify.Artifact, items []evidence.Item, scope ...crypto.PublicKey) facts.Facts {
	t.Helper()
	f, err := v.Artifact(t.Context(), a, items, verify.KeyList(scope...))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func artifactOf(b []byte) verify.Artifact { return verify.Artifact{Bytes: b} }

func digestOf(b []byte) verify.Artifact {
	sum := sha256.Sum256(b)
	return verify.Artifact{Digests: map[string]string{"sha256": hex.EncodeToString(sum[:])}}
}
