package signers

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
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
		{"kms without a reference", Signer{Name: "a", Type: KMS}, ErrInvalid, "kms_key_ref: is missing"},
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
		{"kms reference that is none", Signer{Name: "a", Type: KMS, KMSKeyRef: "vault://k"}, ErrInvalid, `kms_key_ref: has the scheme "vault"`},
		{"kms with an issuer", Signer{Name: "a", Type: KMS, KMSKeyRef: "hashivault://k", Issuer: google}, ErrInvalid, "issuer: does not go with type kms; use type keyless"},
		{"kms with a key that is none", Signer{Name: "a", Type: KMS, KMSKeyRef: "hashivault://k", Keys: []Key{{}}}, ErrInvalid, "key: is no key"},
		{"reference on a key", Signer{Name: "a", Type: PublicKey, Keys: []Key{k}, KMSKeyRef: "hashivault://k"}, ErrInvalid, "kms_key_ref: does not go with type public_key; use type kms"},
		{"auto_rotate without kms", with(func(s *Signer) { s.AutoRotate = true }), ErrInvalid, "auto_rotate: does not go with type keyless"},
		{"claims on a key", Signer{Name: "a", Type: PublicKey, Keys: []Key{k}, Claims: map[string]string{"build_trigger": "push"}}, ErrInvalid, "claims: does not go with type public_key"},
		{"trust roots on a key", Signer{Name: "a", Type: PublicKey, Keys: []Key{k}, TrustRoots: []string{"a"}}, ErrInvalid, "trust_roots: does not go with type public_key"},
		{"unknown claim", with(func(s *Signer) { s.Claims = map[string]string{"source_repo_ref": "x"} }), ErrInvalid, `claims: "source_repo_ref" is not a claim of a certificate; did you mean`},
		{"empty claim", with(func(s *Signer) { s.Claims = map[string]string{"build_trigger": ""} }), ErrInvalid, "claims.build_trigger: is empty"},
		{"claim with three stars", with(func(s *Signer) { s.Claims = map[string]string{"build_trigger": "a***"} }), ErrInvalid, "claims.build_trigger: has three stars"},
		{"claim that does not print", with(func(s *Signer) { s.Claims = map[string]string{"build_trigger": "a\n"} }), ErrInvalid, "claims.build_trigger: is longer than"},
		{"empty trust root", with(func(s *Signer) { s.TrustRoots = []string{"a", ""} }), ErrInvalid, "trust_roots: number 2 is empty"},
		{"trust root twice", with(func(s *Signer) { s.TrustRoots = []string{"a", "a"} }), ErrInvalid, `trust_roots: has "a" twice`},
		{"too many trust roots", with(func(s *Signer) { s.TrustRoots = make([]string, MaxTrustRoots+1) }), ErrInvalid, "trust_roots: has 65 names"},
		{"subject that is not UTF-8", with(func(s *Signer) { s.Subject = "a\xff" }), ErrInvalid, "subject: is longer than 2048 bytes, not UTF-8"},
		{"owner with a line break", with(func(s *Signer) { s.Owner = "a\nb" }), ErrInvalid, "owner: is longer than"},
		{"note with a bell", with(func(s *Signer) { s.Note = "a\a" }), ErrInvalid, "note: is longer than"},
		{"note too long", with(func(s *Signer) { s.Note = strings.Repeat("a", MaxNoteBytes+1) }), ErrInvalid, "note: is longer than 4096"},
		{"signatures that end before they begin", with(func(s *Signer) {
			s.SignedFrom, s.SignedUntil = ptr(at("2026-02-01T00:00:00Z")), ptr(at("2026-01-01T00:00:00Z"))
		}), ErrInvalid, "signed_until: 2026-01-01T00:00:00Z is before signed_from, 2026-02-01T00:00:00Z"},
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
	moment := ptr(at("2026-01-01T00:00:00Z"))
	if err := with(func(s *Signer) { s.Note, s.SignedFrom, s.SignedUntil = "two\n\tlines", moment, moment }).Validate(); err != nil {
		t.Errorf("a good signer: %v", err)
	}
}

// A reference alone is enough to be written down, not to be put in force.
func TestUnresolvedKMS(t *testing.T) {
	s := Signer{Name: "a", Type: KMS, KMSKeyRef: "awskms:///alias/release", AutoRotate: true, Enabled: true}
	if err := s.Validate(); err != nil {
		t.Errorf("Validate: %v", err)
	}
	if _, err := Compile([]Signer{s}); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "kms_key_ref: has not been resolved") {
		t.Errorf("Compile = %v, want it refused", err)
	}
}

func TestFieldErrors(t *testing.T) {
	bad := keyless("a", "", "dev@example.com")
	bad.Claims, bad.Images = map[string]string{"build_trigger": ""}, []string{"nginx"}
	twice := keyless("b", google, "b@example.com")
	_, err := Compile([]Signer{bad, twice, twice})
	var got []string
	for _, f := range FieldErrors(fmt.Errorf("importing: %w", err)) {
		if f.Problem == "" || strings.Contains(f.Problem, "\n") {
			t.Errorf("%s: the problem is %q, not a line", f.Field, f.Problem)
		}
		got = append(got, f.Field)
	}
	if diff := cmp.Diff([]string{"issuer", "claims.build_trigger", "images", "name"}, got); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
	var first FieldError
	if !errors.As(err, &first) || first.Field != "issuer" {
		t.Errorf("As finds %+v, want the issuer's", first)
	}
	for _, err := range []error{nil, errors.New("another"), fmt.Errorf("wrapped: %w", errors.New("another"))} {
		if got := FieldErrors(err); got != nil {
			t.Errorf("FieldErrors(%v) = %v", err, got)
		}
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
