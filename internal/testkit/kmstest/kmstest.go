// Package kmstest has doubles of key management services: Vault's transit engine
// ([NewVault]), AWS KMS ([NewAWS]) and Google's Cloud KMS ([NewGCP]). Each speaks
// the service's own protocol on loopback, checks who asks, and signs with real
// keys, so that the real clients can be tried on them.
//
//	v := kmstest.NewVault(t)
//	v.Setenv(t) // clients in this process go there
//	key := v.Key("release", kmstest.ECDSAP256)
//	sig, err := key.Signer(t).Sign(rand.Reader, digest, crypto.SHA256) // over the wire
//
// For another process give it Environment. What is not needed to read a key and to
// sign with it is left out.
package kmstest

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Algorithm is what a key is for, as Vault names it.
type Algorithm string

// The kinds of keys. AWS and Google have no Ed25519 that sigstore's clients know.
const (
	ECDSAP256 Algorithm = "ecdsa-p256"
	ECDSAP384 Algorithm = "ecdsa-p384"
	Ed25519   Algorithm = "ed25519"
	RSA2048   Algorithm = "rsa-2048"
	// Symmetric encrypts, and has no public key.
	Symmetric Algorithm = "aes256-gcm96"
)

func (a Algorithm) generate() (crypto.Signer, error) {
	switch a {
	case ECDSAP256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case ECDSAP384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case Ed25519:
		_, k, err := ed25519.GenerateKey(rand.Reader)
		return k, err
	case RSA2048:
		return rsa.GenerateKey(rand.Reader, 2048)
	case Symmetric:
		return nil, nil //nolint:nilnil // a key that signs nothing
	default:
		return nil, fmt.Errorf("no algorithm %q", a)
	}
}

// hash is what the algorithm signs digests of; 0 for Ed25519, which signs messages.
func (a Algorithm) hash() crypto.Hash {
	switch a {
	case Ed25519:
		return 0
	case ECDSAP384:
		return crypto.SHA384
	default:
		return crypto.SHA256
	}
}

// fault is how a service fails.
type fault int

const (
	none fault = iota
	denied
	sealed
	throttled
	down
)

// Faults make a double misbehave, from the next request on.
type Faults struct {
	mu    sync.Mutex
	fault fault
	delay time.Duration
	calls int
	stop  chan struct{}
}

func (f *Faults) set(to fault) { f.mu.Lock(); defer f.mu.Unlock(); f.fault = to }

// Deny makes the service know the caller and refuse.
func (f *Faults) Deny() { f.set(denied) }

// Down makes the service end every connection without an answer; over gRPC it
// answers Unavailable.
func (f *Faults) Down() { f.set(down) }

// Slow makes every answer, a fault too, wait for d.
func (f *Faults) Slow(d time.Duration) { f.mu.Lock(); defer f.mu.Unlock(); f.delay = d }

// Heal takes every fault back.
func (f *Faults) Heal() { f.set(none); f.Slow(0) }

// Calls is how many requests arrived.
func (f *Faults) Calls() int { f.mu.Lock(); defer f.mu.Unlock(); return f.calls }

// arrive counts a request, waits as long as the service is slow, and returns how it
// fails.
func (f *Faults) arrive(ctx context.Context) fault {
	f.mu.Lock()
	f.calls++
	delay := f.delay
	f.mu.Unlock()
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-ctx.Done():
		case <-f.stop: // the test is over
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fault
}

// Key is a key in a double.
type Key struct {
	t         testing.TB
	name      string
	algorithm Algorithm
	reference string
	signer    func(testing.TB, *Key) crypto.Signer

	mu       sync.Mutex
	versions []crypto.Signer
	disabled bool
	served   []byte
}

func newKey(t testing.TB, name string, a Algorithm, reference string, signer func(testing.TB, *Key) crypto.Signer) *Key {
	t.Helper()
	k := &Key{t: t, name: name, algorithm: a, reference: reference, signer: signer}
	k.Rotate()
	return k
}

// Reference names the key's newest version, as sigstore writes it.
func (k *Key) Reference() string { return k.reference }

// Public is the newest version's public key, not asked for over the wire.
func (k *Key) Public() crypto.PublicKey { _, s := k.newest(); return s.Public() }

// Rotate gives the key another version, which Reference names from now on.
func (k *Key) Rotate() {
	k.t.Helper()
	s, err := k.algorithm.generate()
	if err != nil {
		k.t.Fatal(err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.versions = append(k.versions, s)
}

// Disable makes the service keep the key and refuse to use it. Vault has no such thing.
func (k *Key) Disable() { k.mu.Lock(); defer k.mu.Unlock(); k.disabled = true }

// Serve makes the service give these bytes in the place of the public key: of the
// PEM for Vault and Google, of the DER for AWS. Nil undoes it.
func (k *Key) Serve(public []byte) { k.mu.Lock(); defer k.mu.Unlock(); k.served = public }

// Signer signs with the newest version, over the wire, by sigstore's client of the
// service. It ends the test where the client cannot be made.
func (k *Key) Signer(t testing.TB) crypto.Signer { t.Helper(); return k.signer(t, k) }

func (k *Key) isDisabled() bool { k.mu.Lock(); defer k.mu.Unlock(); return k.disabled }

// newest returns the newest version and its number, from 1.
func (k *Key) newest() (int, crypto.Signer) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.versions), k.versions[len(k.versions)-1]
}

func (k *Key) version(n int) (crypto.Signer, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if n < 1 || n > len(k.versions) {
		return nil, false
	}
	return k.versions[n-1], true
}

// der and pem are the public key of a version, or what Serve put in its place.
func (k *Key) der(s crypto.Signer) []byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.served != nil {
		return k.served
	}
	der, err := x509.MarshalPKIXPublicKey(s.Public())
	if err != nil {
		k.t.Errorf("encoding the key %s: %v", k.name, err)
	}
	return der
}

func (k *Key) pem(s crypto.Signer) string {
	der := k.der(s)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.served != nil {
		return string(k.served)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// sign signs a digest, or with hash 0 a message.
func sign(s crypto.Signer, hash crypto.Hash, in []byte) ([]byte, error) {
	if s == nil {
		return nil, fmt.Errorf("the key does not sign")
	}
	_, edwards := s.(ed25519.PrivateKey)
	if edwards != (hash == 0) || hash != 0 && len(in) != hash.Size() {
		return nil, fmt.Errorf("%d bytes are no digest that this key signs", len(in))
	}
	return s.Sign(rand.Reader, in, hash)
}

// setenv sets NAME=value pairs for the test.
func setenv(t *testing.T, environment []string) {
	t.Helper()
	for _, e := range environment {
		name, value, _ := strings.Cut(e, "=")
		t.Setenv(name, value)
	}
}

// certificate makes a certificate for loopback, which is its own CA.
func certificate(t testing.TB) (cert tls.Certificate, ca []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "kmstest"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func write(t testing.TB, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// mustBe says that a key's algorithm is one that the service has.
func mustBe(t testing.TB, a Algorithm, of ...Algorithm) {
	t.Helper()
	if !slices.Contains(of, a) {
		t.Fatalf("this service has no keys of type %s", a)
	}
}
