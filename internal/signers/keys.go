package signers

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// RSA keys are accepted from 2048 bits (NIST SP 800-131A) to 16384, above which
// a verification takes so long that a key is a denial of service.
const (
	minRSABits = 2048
	maxRSABits = 16384
)

// ParseKeys reads public keys in PEM: one or several blocks of PUBLIC KEY (PKIX)
// or RSA PUBLIC KEY (PKCS #1). A key that is given twice is returned once. The
// error says what was found instead, and never repeats its bytes.
func ParseKeys(text string) ([]Key, error) {
	var keys []Key
	seen := map[string]bool{}
	blocks := 0
	for rest := []byte(text); ; {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			break
		}
		blocks++
		k, err := parseBlock(block)
		if err != nil {
			return nil, err
		}
		if !seen[k.Fingerprint] {
			seen[k.Fingerprint] = true
			keys = append(keys, k)
		}
	}
	switch begun := strings.Count(text, "-----BEGIN "); {
	case begun == 0 && blocks == 0:
		return nil, errors.New("is not PEM; paste the public key itself, from -----BEGIN PUBLIC KEY----- on, not the name of a file")
	case begun != blocks:
		// pem.Decode skips what it cannot read, and a key would be lost.
		return nil, fmt.Errorf("has %d PEM blocks of which %d can be read; the others are cut short or damaged", begun, blocks)
	}
	return keys, nil
}

func parseBlock(block *pem.Block) (Key, error) {
	switch {
	case strings.HasSuffix(block.Type, "PRIVATE KEY"):
		return Key{}, errors.New("is a private key, which must stay secret; give the public key (cosign public-key --key cosign.key)")
	case strings.Contains(block.Type, "CERTIFICATE"):
		return Key{}, errors.New("is a certificate, not a public key; for a Fulcio identity use type keyless with issuer and subject, else take the key out of it (openssl x509 -pubkey -noout)")
	}
	var pub crypto.PublicKey
	var err error
	switch block.Type {
	case "PUBLIC KEY":
		pub, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		pub, err = x509.ParsePKCS1PublicKey(block.Bytes)
	default:
		return Key{}, fmt.Errorf("is a PEM block of type %q; a public key is PUBLIC KEY or RSA PUBLIC KEY", block.Type)
	}
	if err != nil {
		return Key{}, fmt.Errorf("cannot be read as a public key: %w", err)
	}
	k, err := NewKey(pub)
	if err != nil {
		return Key{}, err
	}
	k.PEM = string(pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes}))
	return k, nil
}

// NewKey makes a Key of a parsed public key, and refuses algorithms and sizes
// that no signature is verified with: anything but ECDSA on P-256, P-384 or
// P-521, Ed25519, and RSA from 2048 bits.
func NewKey(pub crypto.PublicKey) (Key, error) {
	algorithm, err := algorithmOf(pub)
	if err != nil {
		return Key{}, err
	}
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return Key{}, fmt.Errorf("cannot be encoded: %w", err)
	}
	sum := sha256.Sum256(der)
	return Key{
		PEM:         string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})),
		PublicKey:   pub,
		Fingerprint: hex.EncodeToString(sum[:]),
		Algorithm:   algorithm,
	}, nil
}

func algorithmOf(pub crypto.PublicKey) (string, error) {
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		switch name := k.Params().Name; name {
		case "P-256", "P-384", "P-521":
			return "ecdsa-p" + name[2:], nil
		default:
			return "", fmt.Errorf("is on curve %s; use P-256, P-384 or P-521", name)
		}
	case ed25519.PublicKey:
		return "ed25519", nil
	case *rsa.PublicKey:
		bits := k.N.BitLen()
		if bits < minRSABits || bits > maxRSABits {
			return "", fmt.Errorf("is an RSA key of %d bits; use %d to %d", bits, minRSABits, maxRSABits)
		}
		if k.E < 3 || k.E%2 == 0 {
			return "", fmt.Errorf("is an RSA key with the public exponent %d; it must be odd and at least 3", k.E)
		}
		return fmt.Sprintf("rsa-%d", bits), nil
	case nil:
		return "", errors.New("is no key")
	default:
		return "", fmt.Errorf("is a key of type %T, which signs nothing that is verified here; use ECDSA, Ed25519 or RSA", pub)
	}
}
