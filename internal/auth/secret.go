package auth

import (
	"bytes"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
)

// secretSize is the size of the installation's secret, in bytes.
const secretSize = 32

// Secret is the one secret of an installation, from which the keys for cache,
// sessions, CSRF and webhooks are derived. It never prints itself. The zero
// value derives nothing.
type Secret struct {
	key [secretSize]byte
}

// NewSecret makes a random secret.
func NewSecret() (Secret, error) {
	var s Secret
	if _, err := rand.Read(s.key[:]); err != nil {
		return Secret{}, fmt.Errorf("reading randomness: %w", err)
	}
	return s, nil
}

// ParseSecret reads the contents of a secret file: 32 raw bytes, 64 hex digits,
// or standard base64 of 32 bytes; white space at the ends of text is ignored.
// The error never quotes the contents.
func ParseSecret(b []byte) (Secret, error) {
	raw := b
	if len(b) != secretSize {
		text := bytes.TrimSpace(b)
		decoded, err := hex.DecodeString(string(text))
		if err != nil {
			decoded, err = base64.StdEncoding.DecodeString(string(text))
		}
		if err != nil || len(decoded) != secretSize {
			return Secret{}, fmt.Errorf("secret: want %d bytes, raw, in hex or in base64 (make them with: openssl rand -hex %d)", secretSize, secretSize)
		}
		raw = decoded
	}
	s := Secret{key: [secretSize]byte(raw)}
	if s == (Secret{}) {
		return Secret{}, errors.New("secret: is all zeros")
	}
	return s, nil
}

// Bytes gives the secret itself, for the store to keep.
func (s Secret) Bytes() []byte { return bytes.Clone(s.key[:]) }

// Derive makes the 32-byte key for one purpose by HKDF-SHA256 (RFC 5869) with
// the label as info. Different labels give unrelated keys.
func (s Secret) Derive(label string) ([secretSize]byte, error) {
	switch {
	case s == (Secret{}):
		return [secretSize]byte{}, errors.New("deriving a key: the secret is empty")
	case label == "":
		return [secretSize]byte{}, errors.New("deriving a key: the label is empty")
	}
	key, err := hkdf.Key(sha256.New, s.key[:], nil, "signet/v1/"+label, secretSize)
	if err != nil {
		return [secretSize]byte{}, fmt.Errorf("deriving the key %q: %w", label, err)
	}
	return [secretSize]byte(key), nil
}

const redacted = "[redacted]"

// Format keeps the secret out of messages, whatever the verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// LogValue keeps it out of logs.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }
