package sigstack

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	_ "crypto/sha512" // registers SHA-384 and SHA-512 for crypto.Hash.New
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
)

// Algorithm is a key type together with the way it signs.
type Algorithm int

// The algorithms that Sigstore knows. The two P-384/P-521 variants with SHA-256
// are what old cosign clients did with such keys.
const (
	ECDSAP256SHA256 Algorithm = iota
	ECDSAP384SHA384
	ECDSAP521SHA512
	ECDSAP384SHA256
	ECDSAP521SHA256
	Ed25519
	Ed25519ph
	RSA2048PKCS1SHA256
	RSA2048PSSSHA256
)

// Algorithms lists every [Algorithm], for tests that go through all of them.
func Algorithms() []Algorithm {
	return []Algorithm{
		ECDSAP256SHA256, ECDSAP384SHA384, ECDSAP521SHA512, ECDSAP384SHA256, ECDSAP521SHA256,
		Ed25519, Ed25519ph, RSA2048PKCS1SHA256, RSA2048PSSSHA256,
	}
}

// scheme is what an algorithm means. details and hashName are the names that
// protobuf-specs gives to them (PublicKeyDetails, HashAlgorithm).
type scheme struct {
	name     string
	hash     crypto.Hash
	hashName string
	details  string
}

func (a Algorithm) scheme() scheme {
	switch a {
	case ECDSAP256SHA256:
		return scheme{"ecdsa-p256-sha256", crypto.SHA256, "SHA2_256", "PKIX_ECDSA_P256_SHA_256"}
	case ECDSAP384SHA384:
		return scheme{"ecdsa-p384-sha384", crypto.SHA384, "SHA2_384", "PKIX_ECDSA_P384_SHA_384"}
	case ECDSAP521SHA512:
		return scheme{"ecdsa-p521-sha512", crypto.SHA512, "SHA2_512", "PKIX_ECDSA_P521_SHA_512"}
	case ECDSAP384SHA256:
		return scheme{"ecdsa-p384-sha256", crypto.SHA256, "SHA2_256", "PKIX_ECDSA_P384_SHA_256"}
	case ECDSAP521SHA256:
		return scheme{"ecdsa-p521-sha256", crypto.SHA256, "SHA2_256", "PKIX_ECDSA_P521_SHA_256"}
	case Ed25519:
		return scheme{"ed25519", 0, "SHA2_256", "PKIX_ED25519"}
	case Ed25519ph:
		return scheme{"ed25519ph", crypto.SHA512, "SHA2_512", "PKIX_ED25519_PH"}
	case RSA2048PKCS1SHA256:
		return scheme{"rsa-2048-pkcs1-sha256", crypto.SHA256, "SHA2_256", "PKIX_RSA_PKCS1V15_2048_SHA256"}
	case RSA2048PSSSHA256:
		return scheme{"rsa-2048-pss-sha256", crypto.SHA256, "SHA2_256", "PKIX_RSA_PSS_2048_SHA256"}
	default:
		return scheme{name: fmt.Sprintf("Algorithm(%d)", int(a))}
	}
}

// String is a short name that is fit for a subtest.
func (a Algorithm) String() string { return a.scheme().name }

// Key is a private key and the algorithm that it signs with.
type Key struct {
	Algorithm Algorithm
	signer    crypto.Signer
}

// NewKey makes a random key.
func NewKey(alg Algorithm) (*Key, error) {
	var seed [32]byte
	if _, err := rand.Read(seed[:]); err != nil {
		return nil, fmt.Errorf("reading randomness: %w", err)
	}
	return deriveKey(seed[:], "key", alg)
}

// KeyFrom wraps a private key that was made elsewhere.
func KeyFrom(signer crypto.Signer, alg Algorithm) *Key {
	return &Key{Algorithm: alg, signer: signer}
}

// Public is the public key.
func (k *Key) Public() crypto.PublicKey { return k.signer.Public() }

// Signer is the private key, for callers that write it to a file of their own.
func (k *Key) Signer() crypto.Signer { return k.signer }

// SPKI is the DER SubjectPublicKeyInfo.
func (k *Key) SPKI() []byte {
	der, err := x509.MarshalPKIXPublicKey(k.Public())
	if err != nil {
		// Every key here was made by this package from a type that x509 knows.
		panic(fmt.Sprintf("sigstack: encoding a public key: %v", err))
	}
	return der
}

// PublicPEM is the public key as a PEM block of type PUBLIC KEY.
func (k *Key) PublicPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: k.SPKI()})
}

// Fingerprint is the lower-case hexadecimal SHA-256 of the SPKI.
func (k *Key) Fingerprint() string {
	sum := sha256.Sum256(k.SPKI())
	return hex.EncodeToString(sum[:])
}

// Hint is what cosign writes as the public key hint of a bundle: the base64
// SHA-256 of the SPKI.
func (k *Key) Hint() string {
	sum := sha256.Sum256(k.SPKI())
	return base64.StdEncoding.EncodeToString(sum[:])
}

// Digest hashes a message with the key's hash; pure Ed25519 has none and yields
// SHA-256, which is what a bundle then says about the artifact.
func (k *Key) Digest(message []byte) []byte {
	h := k.Algorithm.scheme().hash
	if h == 0 {
		h = crypto.SHA256
	}
	return sum(h, message)
}

// SignMessage signs a message the way the key's algorithm says.
func (k *Key) SignMessage(message []byte) ([]byte, error) {
	s := k.Algorithm.scheme()
	switch k.Algorithm {
	case Ed25519:
		return k.signer.Sign(nil, message, crypto.Hash(0))
	case Ed25519ph:
		return k.signer.Sign(nil, sum(s.hash, message), &ed25519.Options{Hash: crypto.SHA512})
	case RSA2048PSSSHA256:
		opts := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: s.hash}
		return k.signer.Sign(rand.Reader, sum(s.hash, message), opts)
	default:
		if s.hash == 0 {
			return nil, fmt.Errorf("signing with %v: unknown algorithm", k.Algorithm)
		}
		// A nil source makes ECDSA deterministic (RFC 6979); PKCS #1 v1.5 always is.
		return k.signer.Sign(nil, sum(s.hash, message), s.hash)
	}
}

func sum(h crypto.Hash, message []byte) []byte {
	w := h.New()
	w.Write(message)
	return w.Sum(nil)
}

// deriveKey makes the key that belongs to a seed and a label. RSA keys cannot be
// derived: each call makes a new one.
func deriveKey(seed []byte, label string, alg Algorithm) (*Key, error) {
	var (
		signer crypto.Signer
		err    error
	)
	switch alg {
	case ECDSAP256SHA256:
		signer, err = deriveECDSA(seed, label, elliptic.P256())
	case ECDSAP384SHA384, ECDSAP384SHA256:
		signer, err = deriveECDSA(seed, label, elliptic.P384())
	case ECDSAP521SHA512, ECDSAP521SHA256:
		signer, err = deriveECDSA(seed, label, elliptic.P521())
	case Ed25519, Ed25519ph:
		var b []byte
		if b, err = expand(seed, label+"/ed25519", ed25519.SeedSize); err == nil {
			signer = ed25519.NewKeyFromSeed(b)
		}
	case RSA2048PKCS1SHA256, RSA2048PSSSHA256:
		signer, err = rsa.GenerateKey(rand.Reader, 2048)
	default:
		err = fmt.Errorf("unknown algorithm %v", alg)
	}
	if err != nil {
		return nil, fmt.Errorf("deriving key %q: %w", label, err)
	}
	return &Key{Algorithm: alg, signer: signer}, nil
}

func expand(seed []byte, label string, n int) ([]byte, error) {
	return hkdf.Key(sha256.New, seed, nil, "sigstack/"+label, n)
}

func deriveECDSA(seed []byte, label string, curve elliptic.Curve) (crypto.Signer, error) {
	bits := curve.Params().BitSize
	for i := range 256 {
		b, err := expand(seed, fmt.Sprintf("%s/%s/%d", label, curve.Params().Name, i), (bits+7)/8)
		if err != nil {
			return nil, err
		}
		if extra := len(b)*8 - bits; extra > 0 {
			b[0] &= 0xff >> extra
		}
		// Refused are only zero and numbers at or above the group order: one in 2^32 for P-256.
		if key, err := ecdsa.ParseRawPrivateKey(curve, b); err == nil {
			return deterministic{key}, nil
		}
	}
	return nil, fmt.Errorf("no scalar for %s in 256 tries", curve.Params().Name)
}

// deterministic signs without randomness, whatever source the caller passes:
// x509.CreateCertificate insists on one.
type deterministic struct{ *ecdsa.PrivateKey }

func (d deterministic) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return d.PrivateKey.Sign(nil, digest, opts)
}
