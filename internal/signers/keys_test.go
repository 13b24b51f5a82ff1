package signers

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
)

func ecKey(t *testing.T, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newKey(t *testing.T) Key {
	t.Helper()
	k, err := NewKey(&ecKey(t, elliptic.P256()).PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// rsaPublic is a public key of that size; its modulus is odd and no more.
func rsaPublic(bits, e int) *rsa.PublicKey {
	n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
	return &rsa.PublicKey{N: n.SetBit(n, 0, 1), E: e}
}

func pkix(t *testing.T, pub crypto.PublicKey) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return block("PUBLIC KEY", der)
}

func block(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func TestParseKeys(t *testing.T) {
	edPublic, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, pem, algorithm string
		pub                  crypto.PublicKey
	}{
		{"ECDSA P-256", "", "ecdsa-p256", &ecKey(t, elliptic.P256()).PublicKey},
		{"ECDSA P-384", "", "ecdsa-p384", &ecKey(t, elliptic.P384()).PublicKey},
		{"ECDSA P-521", "", "ecdsa-p521", &ecKey(t, elliptic.P521()).PublicKey},
		{"Ed25519", "", "ed25519", edPublic},
		{"RSA 2048", "", "rsa-2048", rsaPublic(2048, 65537)},
		{"RSA 4096", "", "rsa-4096", rsaPublic(4096, 3)},
		{"RSA, PKCS #1", block("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(rsaPublic(3072, 65537))), "rsa-3072", rsaPublic(3072, 65537)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			der, err := x509.MarshalPKIXPublicKey(tt.pub)
			if err != nil {
				t.Fatal(err)
			}
			text := tt.pem
			if text == "" {
				text = pkix(t, tt.pub)
			}
			keys, err := ParseKeys("made by hand\n" + text + "\n")
			if err != nil {
				t.Fatal(err)
			}
			if len(keys) != 1 {
				t.Fatalf("%d keys, want 1", len(keys))
			}
			sum := sha256.Sum256(der)
			if got, want := keys[0].Fingerprint, hex.EncodeToString(sum[:]); got != want {
				t.Errorf("fingerprint %s, want that of the SPKI, %s", got, want)
			}
			if keys[0].Algorithm != tt.algorithm {
				t.Errorf("algorithm %s, want %s", keys[0].Algorithm, tt.algorithm)
			}
			if keys[0].PEM != text {
				t.Errorf("PEM %q, want %q", keys[0].PEM, text)
			}
			if !keys[0].PublicKey.(interface{ Equal(crypto.PublicKey) bool }).Equal(tt.pub) {
				t.Error("another key came back")
			}
		})
	}
}

func TestParseSeveralKeys(t *testing.T) {
	a, b := pkix(t, &ecKey(t, elliptic.P256()).PublicKey), pkix(t, &ecKey(t, elliptic.P384()).PublicKey)
	keys, err := ParseKeys(a + b + a)
	if err != nil {
		t.Fatal(err)
	}
	if len(keys) != 2 || keys[0].PEM != a || keys[1].PEM != b {
		t.Errorf("got %d keys, want the two, each once and in order", len(keys))
	}
}

func TestParseKeysRefuses(t *testing.T) {
	private := ecKey(t, elliptic.P256())
	sec1, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	x25519, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good := pkix(t, &private.PublicKey)
	tests := []struct {
		name, pem, want string
	}{
		{"nothing", "", "is not PEM"},
		{"a path", "/etc/keys/cosign.pub", "not the name of a file"},
		{"PKCS #8 private key", block("PRIVATE KEY", pkcs8), "is a private key"},
		{"SEC 1 private key", block("EC PRIVATE KEY", sec1), "is a private key"},
		{"cosign private key", block("ENCRYPTED SIGSTORE PRIVATE KEY", []byte("sealed")), "is a private key"},
		{"private key after a public one", good + block("PRIVATE KEY", pkcs8), "is a private key"},
		{"certificate", block("CERTIFICATE", []byte("der")), "is a certificate, not a public key"},
		{"certificate request", block("CERTIFICATE REQUEST", []byte("der")), "is a certificate"},
		{"some other block", block("PGP PUBLIC KEY BLOCK", []byte("der")), `of type "PGP PUBLIC KEY BLOCK"`},
		{"not DER", block("PUBLIC KEY", []byte("der")), "cannot be read as a public key"},
		{"cut short", good[:len(good)-30], "cut short or damaged"},
		{"second one cut short", good + good[:len(good)-30], "has 2 PEM blocks of which 1"},
		{"damaged before a good one", strings.Replace(good, "MFk", "M!k", 1) + good, "cut short or damaged"},
		{"curve P-224", pkix(t, &ecKey(t, elliptic.P224()).PublicKey), "is on curve P-224"},
		{"RSA 1024", pkix(t, rsaPublic(1024, 65537)), "RSA key of 1024 bits"},
		{"RSA too long", pkix(t, rsaPublic(maxRSABits+8, 65537)), "RSA key of 16392 bits"},
		{"RSA with an even exponent", pkix(t, rsaPublic(2048, 4)), "public exponent 4"},
		{"RSA with exponent 1", pkix(t, rsaPublic(2048, 1)), "public exponent 1"},
		{"X25519", pkix(t, x25519.PublicKey()), "signs nothing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			keys, err := ParseKeys(tt.pem)
			if err == nil {
				t.Fatalf("got %d keys and no error", len(keys))
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q, want it to say %q", err, tt.want)
			}
			if strings.Contains(err.Error(), "BEGIN PRIVATE") || len(tt.pem) > 100 && strings.Contains(err.Error(), tt.pem[40:80]) {
				t.Errorf("the error repeats the key: %q", err)
			}
		})
	}
}

func FuzzParseKeys(f *testing.F) {
	f.Add("-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----\n")
	f.Add("-----BEGIN RSA PUBLIC KEY-----\nMAA=\n-----END RSA PUBLIC KEY-----\n")
	f.Fuzz(func(t *testing.T, text string) {
		keys, err := ParseKeys(text)
		if err == nil && len(keys) == 0 {
			t.Fatal("no key and no error")
		}
		for _, k := range keys {
			again, err := ParseKeys(k.PEM)
			if err != nil || len(again) != 1 || again[0].Fingerprint != k.Fingerprint {
				t.Fatalf("the PEM of a key that was read does not read back: %v", err)
			}
		}
	})
}
