package signers

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func keyless(name, issuer, subject string) Signer {
	return Signer{Name: name, Type: Keyless, Issuer: issuer, Subject: subject, Enabled: true}
}

func matching(name, issuer, regex string) Signer {
	return Signer{Name: name, Type: Keyless, Issuer: issuer, SubjectRegex: regex, Enabled: true}
}

const (
	google = "https://accounts.google.com"
	github = "https://token.actions.githubusercontent.com"
)

func at(s string) time.Time {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		panic(err)
	}
	return t
}

func ptr[T any](v T) *T { return &v }

// Threats 13 and 14: half an identity, or one that says two things, is an error
// that names the field.
func TestValidateRefuses(t *testing.T) {
	k := newKey(t)
	good := keyless("a", google, "dev@example.com")
	with := func(change func(*Signer)) Signer {
		s := good
		change(&s)
		return s
	}
	tests := []struct {
		name   string
		signer Signer
		is     error
		want   string
	}{
		{"zero value", Signer{}, ErrInvalid, "type: is missing"},
		{"no name", with(func(s *Signer) { s.Name = "" }), ErrInvalid, "name: is missing"},
		{"name with a line break", with(func(s *Signer) { s.Name = "a\nb" }), ErrInvalid, "name: "},
		{"unknown type", with(func(s *Signer) { s.Type = "gpg" }), ErrInvalid, `type: "gpg" is not a signer type`},
		{"kms", with(func(s *Signer) { s.Type = KMS }), ErrUnsupported, "type: kms is enforced by a later version"},
		{"threat 13: subject without issuer", with(func(s *Signer) { s.Issuer = "" }), ErrInvalid, "issuer: is missing; a subject alone"},
		{"threat 13: pattern without issuer", Signer{Name: "a", Type: Keyless, SubjectRegex: ".*", Enabled: true}, ErrInvalid, "issuer: is missing; a subject alone"},
		{"threat 13: issuer without subject", with(func(s *Signer) { s.Subject = "" }), ErrInvalid, "subject: is missing; an issuer alone"},
		{"threat 13: neither", with(func(s *Signer) { s.Issuer, s.Subject = "", "" }), ErrInvalid, "issuer: is missing, and subject too"},
		{"threat 13: subject and pattern", with(func(s *Signer) { s.SubjectRegex = "dev@.*" }), ErrInvalid, "subject_regex: stands beside subject"},
		{"issuer without scheme", with(func(s *Signer) { s.Issuer = "accounts.google.com" }), ErrInvalid, "issuer: \"accounts.google.com\" is not a URL"},
		{"issuer with a blank", with(func(s *Signer) { s.Issuer = google + " " }), ErrInvalid, "issuer: "},
		{"subject with a blank", with(func(s *Signer) { s.Subject = " dev@example.com" }), ErrInvalid, "subject: begins or ends with white space"},
		{"subject too long", with(func(s *Signer) { s.Subject = strings.Repeat("a", MaxIdentityBytes+1) }), ErrInvalid, "subject: is longer"},
		{"key on a keyless signer", with(func(s *Signer) { s.Keys = []Key{k} }), ErrInvalid, "key: does not go with type keyless"},
		{"no key", Signer{Name: "a", Type: PublicKey}, ErrInvalid, "key: is missing"},
		{"issuer on a key", Signer{Name: "a", Type: PublicKey, Keys: []Key{k}, Issuer: google}, ErrInvalid, "issuer: does not go with type public_key"},
		{"key that is none", Signer{Name: "a", Type: PublicKey, Keys: []Key{{}}}, ErrInvalid, "key: is no key"},
		{"fingerprint of another key", Signer{Name: "a", Type: PublicKey, Keys: []Key{{PublicKey: k.PublicKey, Fingerprint: "00", Algorithm: k.Algorithm}}}, ErrInvalid, "fingerprint or algorithm of another key"},
		{"too many keys", Signer{Name: "a", Type: PublicKey, Keys: make([]Key, MaxKeys+1)}, ErrInvalid, "key: has 65 keys"},
		{"image pattern", with(func(s *Signer) { s.Images = []string{"nginx"} }), ErrInvalid, "images: image pattern \"nginx\""},
		{"ends before it begins", with(func(s *Signer) {
			s.NotBefore, s.ExpiresAt = ptr(at("2026-02-01T00:00:00Z")), ptr(at("2026-01-01T00:00:00Z"))
		}), ErrInvalid, "expires_at: 2026-01-01T00:00:00Z is not after not_before, 2026-02-01T00:00:00Z"},
		{"pattern too long", matching("a", google, strings.Repeat("a", MaxPatternBytes+1)), ErrInvalid, "subject_regex: is longer"},
		{"pattern that does not compile", matching("a", google, "a("), ErrInvalid, "subject_regex: is not a regular expression (RE2)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.signer.Validate()
			if !errors.Is(err, tt.is) {
				t.Fatalf("Validate() = %v, want it to wrap %v", err, tt.is)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Validate() = %v, want it to say %q", err, tt.want)
			}
			if _, err := Compile([]Signer{tt.signer}); err == nil {
				t.Error("Compile accepts what Validate refuses")
			}
		})
	}
	if err := good.Validate(); err != nil {
		t.Errorf("a good signer: %v", err)
	}
}

func TestValidateReportsEverything(t *testing.T) {
	err := Signer{Name: "a", Type: Keyless, SubjectRegex: "a(", Images: []string{"nginx"}}.Validate()
	for _, want := range []string{"issuer:", "subject_regex:", "images:"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Validate() = %v, want it to name %s too", err, want)
		}
	}
}

func TestValidName(t *testing.T) {
	for _, name := range []string{"release", "team-a.prod_2", strings.Repeat("a", MaxNameBytes)} {
		if err := ValidName(name); err != nil {
			t.Errorf("ValidName(%q): %v", name, err)
		}
	}
	// A registered signer that could be taken for "<policy>/<position>" would
	// count where only that policy's own signer may.
	for _, name := range []string{"", "default/1", ".hidden", "a b", "a\n", strings.Repeat("a", MaxNameBytes+1)} {
		if err := ValidName(name); !errors.Is(err, ErrInvalid) {
			t.Errorf("ValidName(%q) = %v, want ErrInvalid", name, err)
		}
	}
}
