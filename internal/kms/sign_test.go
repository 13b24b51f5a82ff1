package kms

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"strings"
	"testing"

	"github.com/signet-policy/signet/internal/testkit/kmstest"
)

// holds says whether sig is pub's, over a digest or, with hash 0, a message.
func holds(pub crypto.PublicKey, in, sig []byte, hash crypto.Hash) bool {
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(k, in, sig)
	case ed25519.PublicKey:
		return ed25519.Verify(k, in, sig)
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(k, hash, in, sig) == nil
	}
	return false
}

func TestSigner(t *testing.T) {
	v, a, g := kmstest.NewVault(t), kmstest.NewAWS(t), kmstest.NewGCP(t)
	v.Setenv(t)
	a.Setenv(t)
	g.Setenv(t)
	r, err := New(Config{AllowAnyHost: true, Google: Google{Endpoint: g.Endpoint, RootCAs: g.RootCAs}})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		key    *kmstest.Key
		hash   crypto.Hash
		faults *kmstest.Faults
		grant  string
	}{
		{"vault P-256", v.Key("p256", kmstest.ECDSAP256), crypto.SHA256, v.Faults, "sign/NAME"},
		{"vault P-384", v.Key("p384", kmstest.ECDSAP384), crypto.SHA384, v.Faults, "sign/NAME"},
		{"vault Ed25519", v.Key("ed25519", kmstest.Ed25519), 0, v.Faults, "sign/NAME"},
		{"vault RSA", v.Key("rsa", kmstest.RSA2048), crypto.SHA256, v.Faults, "sign/NAME"},
		{"aws P-256", a.Key("p256", kmstest.ECDSAP256), crypto.SHA256, a.Faults, "kms:Sign"},
		{"aws P-384", a.Key("p384", kmstest.ECDSAP384), crypto.SHA384, a.Faults, "kms:Sign"},
		{"google P-256", g.Key("p256", kmstest.ECDSAP256), crypto.SHA256, g.Faults, "useToSign"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := r.Signer(t.Context(), tt.key.Reference())
			if err != nil {
				t.Fatal(err)
			}
			in := []byte("a message of any length")
			if tt.hash != 0 {
				h := tt.hash.New()
				h.Write(in)
				in = h.Sum(nil)
			}
			sig, err := s.Sign(rand.Reader, in, tt.hash)
			if err != nil || !holds(tt.key.Public(), in, sig, tt.hash) || holds(tt.key.Public(), bytes.Repeat([]byte{1}, len(in)), sig, tt.hash) {
				t.Errorf("%v: %x", err, sig)
			}
			tt.faults.Deny()
			defer tt.faults.Heal()
			if _, err := s.Sign(rand.Reader, in, tt.hash); !errors.Is(err, ErrDenied) || !strings.Contains(err.Error(), tt.grant) {
				t.Errorf("refused: %v", err)
			}
			if _, err := r.Signer(t.Context(), tt.key.Reference()); !errors.Is(err, ErrDenied) {
				t.Errorf("refused: %v", err)
			}
		})
	}
	strict, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := strict.Signer(t.Context(), a.Key("other", kmstest.ECDSAP256).Reference()); !errors.Is(err, ErrNotAllowed) {
		t.Errorf("a host that is not listed: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	s, err := r.Signer(ctx, v.Key("late", kmstest.ECDSAP256).Reference())
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := s.Sign(rand.Reader, make([]byte, 32), crypto.SHA256); !errors.Is(err, ErrUnavailable) {
		t.Errorf("too late: %v", err)
	}
}
