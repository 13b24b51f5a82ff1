package auth

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestParseSecret(t *testing.T) {
	raw := bytes.Repeat([]byte("k3"), 16)
	want, err := ParseSecret(raw)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want.Bytes(), raw) {
		t.Error("raw bytes are not kept")
	}
	for name, text := range map[string]string{
		"hex":              hex.EncodeToString(raw),
		"hex and newline":  hex.EncodeToString(raw) + "\n",
		"upper-case hex":   strings.ToUpper(hex.EncodeToString(raw)),
		"base64":           base64.StdEncoding.EncodeToString(raw),
		"base64 and space": " " + base64.StdEncoding.EncodeToString(raw) + "\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseSecret([]byte(text))
			if err != nil || got != want {
				t.Errorf("ParseSecret: %v, same secret: %v", err, got == want)
			}
		})
	}
	for name, b := range map[string][]byte{
		"empty":           nil,
		"a password":      []byte("correct horse battery staple"),
		"31 bytes of hex": []byte(hex.EncodeToString(raw[1:])),
		"33 bytes":        append([]byte{1}, raw...),
		"all zeros":       make([]byte, 32),
	} {
		t.Run(name, func(t *testing.T) {
			s, err := ParseSecret(b)
			if err == nil || s != (Secret{}) {
				t.Fatalf("ParseSecret accepted it")
			}
			if len(b) > 0 && strings.Contains(err.Error(), string(b)) {
				t.Error("the error quotes the secret")
			}
		})
	}
}

func TestDerive(t *testing.T) {
	s, err := NewSecret()
	if err != nil {
		t.Fatal(err)
	}
	other, err := NewSecret()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[[32]byte]string{}
	for _, secret := range []Secret{s, other} {
		for _, label := range []string{"cache", "sessions", "csrf"} {
			key, err := secret.Derive(label)
			if err != nil {
				t.Fatal(err)
			}
			again, err := secret.Derive(label)
			if err != nil || again != key {
				t.Errorf("label %s: deriving twice differs (%v)", label, err)
			}
			if with, ok := seen[key]; ok {
				t.Errorf("label %s gives the key of %s", label, with)
			}
			seen[key] = label
		}
	}
	if _, err := (Secret{}).Derive("cache"); err == nil {
		t.Error("the empty secret derives keys")
	}
	if _, err := s.Derive(""); err == nil {
		t.Error("the empty label derives a key")
	}
}

// The vector was computed with OpenSSL: openssl kdf -keylen 32 -kdfopt
// digest:SHA256 -kdfopt hexkey:<00..1f> -kdfopt info:signet/v1/cache HKDF.
func TestDeriveVector(t *testing.T) {
	raw := make([]byte, 32)
	for i := range raw {
		raw[i] = byte(i)
	}
	s, err := ParseSecret(raw)
	if err != nil {
		t.Fatal(err)
	}
	key, err := s.Derive("cache")
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(key[:]); got != deriveVector {
		t.Errorf("Derive(cache) = %s, want %s", got, deriveVector)
	}
}

const deriveVector = "bdd7887a3cf9f3af1798b208dfd2cb868714d8fd2de02b7633feb2c6cec7d990"

func TestSecretIsNotPrinted(t *testing.T) {
	s, err := ParseSecret(bytes.Repeat([]byte("SECRET42"), 4))
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	slog.New(slog.NewJSONHandler(&buf, nil)).Info("x", "secret", s)
	fmt.Fprintf(&buf, "%v %+v %#v %s %x %d", s, s, s, s, s, struct{ S Secret }{s})
	for _, leak := range []string{"SECRET42", hex.EncodeToString([]byte("SECRET42")), "83 69 67"} {
		if strings.Contains(buf.String(), leak) {
			t.Errorf("the secret shows as %q in %s", leak, buf.String())
		}
	}
}
