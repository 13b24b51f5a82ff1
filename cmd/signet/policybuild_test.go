package main

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"strings"
	"testing"

	"github.com/signet-policy/signet/internal/policy"
	"github.com/signet-policy/signet/internal/testkit/kmstest"
)

// A key that is in a KMS and stays there signs a bundle, over the service's own
// protocol; whoever has its public half verifies it.
func TestKMSSignsBundles(t *testing.T) {
	w := newWorld(t, "")
	v, a := kmstest.NewVault(w), kmstest.NewAWS(w)
	w.env = append(append(w.env, v.Environment()...), a.Environment()...)
	w.do("policy", "init", w.path("mine"))
	for name, key := range map[string]*kmstest.Key{
		"ES256": v.Key("p256", kmstest.ECDSAP256), "EdDSA": v.Key("ed25519", kmstest.Ed25519), "RS256": v.Key("rsa", kmstest.RSA2048), "ES384": a.Key("p384", kmstest.ECDSAP384),
	} {
		t.Run(name, func(t *testing.T) {
			archive := w.path(name + ".tar.gz")
			w.do("policy", "build", w.path("mine"), "-o", archive, "--signing-key", key.Reference(), "--key-id", "release")
			der, err := x509.MarshalPKIXPublicKey(key.Public())
			if err != nil {
				t.Fatal(err)
			}
			body, err := os.ReadFile(archive)
			if err != nil {
				t.Fatal(err)
			}
			text := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
			got, err := policy.VerifyArchive(body, policy.VerificationKeys{Keys: map[string]string{"release": text}})
			if err != nil || got.Algorithm != name {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
	v.Deny()
	code, _, errs := w.run("policy", "build", w.path("mine"), "-o", w.path("denied.tar.gz"), "--signing-key", "hashivault://p256")
	if code != exitUsage || !strings.Contains(errs, "access denied") || strings.Contains(errs, v.Token) {
		t.Errorf("exit code %d: %s", code, errs)
	}
	if _, err := os.Stat(w.path("denied.tar.gz")); err == nil {
		t.Error("something was written")
	}
}
