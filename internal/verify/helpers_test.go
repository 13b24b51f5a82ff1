package verify_test

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"testing"

	"github.com/signet-policy/signet/internal/evidence"
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
