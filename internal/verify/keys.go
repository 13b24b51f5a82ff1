package verify

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/options"
)

// minRSABits is the smallest RSA key that may sign.
const minRSABits = 2048

// scheme is one way in which a key may have signed.
type scheme struct {
	verifier signature.Verifier
	// hash is what is hashed before signing, 0 for pure Ed25519, which needs the
	// signed bytes themselves.
	hash crypto.Hash
}

// schemes are the ways that a PEM key stands for, the usual one first.
func schemes(key crypto.PublicKey) ([]scheme, error) {
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		return ecdsaSchemes(k)
	case ed25519.PublicKey:
		pure, err := signature.LoadED25519Verifier(k)
		if err != nil {
			return nil, err
		}
		prehashed, err := signature.LoadED25519phVerifier(k)
		if err != nil {
			return nil, err
		}
		return []scheme{{pure, 0}, {prehashed, crypto.SHA512}}, nil
	case *rsa.PublicKey:
		if k.N.BitLen() < minRSABits {
			return nil, fmt.Errorf("an RSA key of %d bits, less than %d", k.N.BitLen(), minRSABits)
		}
		pkcs1, err := signature.LoadRSAPKCS1v15Verifier(k, crypto.SHA256)
		if err != nil {
			return nil, err
		}
		pss, err := signature.LoadRSAPSSVerifier(k, crypto.SHA256, nil)
		if err != nil {
			return nil, err
		}
		return []scheme{{pkcs1, crypto.SHA256}, {pss, crypto.SHA256}}, nil
	}
	return nil, fmt.Errorf("a key of type %T", key)
}

func ecdsaSchemes(k *ecdsa.PublicKey) ([]scheme, error) {
	var hashes []crypto.Hash
	switch k.Curve {
	case elliptic.P256():
		hashes = []crypto.Hash{crypto.SHA256}
	case elliptic.P384():
		hashes = []crypto.Hash{crypto.SHA384, crypto.SHA256}
	case elliptic.P521():
		hashes = []crypto.Hash{crypto.SHA512, crypto.SHA256}
	default:
		return nil, fmt.Errorf("an ECDSA key on curve %s", k.Params().Name)
	}
	out := make([]scheme, 0, len(hashes))
	for _, h := range hashes {
		v, err := signature.LoadECDSAVerifier(k, h)
		if err != nil {
			return nil, err
		}
		out = append(out, scheme{v, h})
	}
	return out, nil
}

// algorithmOf names a key's algorithm for people: "ecdsa-p256", "ed25519",
// "rsa-2048".
func algorithmOf(key crypto.PublicKey) string {
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		return fmt.Sprintf("ecdsa-p%d", k.Params().BitSize)
	case ed25519.PublicKey:
		return "ed25519"
	case *rsa.PublicKey:
		return fmt.Sprintf("rsa-%d", k.N.BitLen())
	}
	return "unknown"
}

// fingerprintDER is the lower-case hex SHA-256 of a DER SubjectPublicKeyInfo.
func fingerprintDER(spki []byte) string {
	sum := sha256.Sum256(spki)
	return hex.EncodeToString(sum[:])
}

// candidate is a key that may have signed an item.
type candidate struct {
	key         crypto.PublicKey
	fingerprint string
	schemes     []scheme
}

func newCandidate(key crypto.PublicKey) (*candidate, error) {
	ways, err := schemes(key)
	if err != nil {
		return nil, err
	}
	spki, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, err
	}
	return &candidate{key: key, fingerprint: fingerprintDER(spki), schemes: ways}, nil
}

func (c *candidate) same(o *candidate) bool { return c.fingerprint == o.fingerprint }

// hinted are the fingerprints that a bundle's public key hint may stand for: it is
// the base64 or hex SHA-256 of the key's SubjectPublicKeyInfo, as cosign writes it.
func hinted(hint string) []string {
	if len(hint) == hex.EncodedLen(sha256.Size) {
		return []string{hint}
	}
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding, base64.RawStdEncoding, base64.RawURLEncoding} {
		if raw, err := enc.DecodeString(hint); err == nil && len(raw) == sha256.Size {
			return []string{hex.EncodeToString(raw)}
		}
	}
	return nil
}

// signed is what a signature is over, hashed at most once per algorithm however
// many keys are tried.
type signed struct {
	sig []byte
	// content is what was signed; nil where only digests are known.
	content []byte
	// whole reads what was signed from where it is: nil where content has it, or
	// nobody does.
	whole   func() io.Reader
	digests map[crypto.Hash][]byte
}

// by finds the way in which the key made the signature, nil if it did not.
func (s *signed) by(ways []scheme) signature.Verifier {
	for _, w := range ways {
		if s.verifies(w) {
			return w.verifier
		}
	}
	return nil
}

func (s *signed) verifies(w scheme) bool {
	if w.hash == 0 {
		// Without the content sigstore's verifier would check a signature over
		// nothing, which proves nothing about a digest.
		if s.content == nil && s.whole != nil {
			// Ed25519 hashes the message twice over: it is needed in one piece.
			content, err := io.ReadAll(s.whole())
			return err == nil && w.verifier.VerifySignature(bytes.NewReader(s.sig), bytes.NewReader(content)) == nil
		}
		return s.content != nil && w.verifier.VerifySignature(bytes.NewReader(s.sig), bytes.NewReader(s.content)) == nil
	}
	d := s.digest(w.hash)
	return d != nil && w.verifier.VerifySignature(bytes.NewReader(s.sig), bytes.NewReader(nil), options.WithDigest(d)) == nil
}

func (s *signed) digest(h crypto.Hash) []byte {
	if d, ok := s.digests[h]; ok || s.content == nil && s.whole == nil {
		return d
	}
	hasher := h.New()
	if s.content != nil {
		hasher.Write(s.content)
	} else if _, err := io.Copy(hasher, s.whole()); err != nil {
		return nil
	}
	if s.digests == nil {
		s.digests = map[crypto.Hash][]byte{}
	}
	s.digests[h] = hasher.Sum(nil)
	return s.digests[h]
}
