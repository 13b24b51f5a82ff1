package signers

import (
	"crypto"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/glob"
)

// Type says what a signer is recognised by.
type Type string

// Types of signers. The zero value is none of them and does not compile.
const (
	// Keyless is a Fulcio certificate identity: issuer and subject.
	Keyless Type = "keyless"
	// PublicKey is one key, or several of which any counts for this one signer.
	PublicKey Type = "public_key"
	// KMS is a key in a key management service, named by a reference. It is
	// matched by the public keys that were resolved and pinned; nobody is asked.
	KMS Type = "kms"
)

// Limits on what a signer's fields may hold.
const (
	MaxNameBytes     = 200
	MaxIdentityBytes = 2048
	MaxPatternBytes  = 1024
	MaxNoteBytes     = 4096
	MaxKeys          = 64
	MaxTrustRoots    = 64
)

// Key is one public key of a signer.
type Key struct {
	// PEM is the key as it was given, one block.
	PEM string
	// PublicKey is the parsed key: *ecdsa.PublicKey, ed25519.PublicKey or
	// *rsa.PublicKey.
	PublicKey crypto.PublicKey
	// Fingerprint is the lower-case hex SHA-256 of the DER SubjectPublicKeyInfo.
	Fingerprint string
	// Algorithm is "ecdsa-p256", "ecdsa-p384", "ecdsa-p521", "ed25519" or
	// "rsa-<bits>".
	Algorithm string
}

// Signer is an identity or key that may be trusted. The zero value is refused,
// and a signer that is not Enabled matches nothing.
type Signer struct {
	// Name is unique in a set: the registered name, or "<policy>/<position>".
	Name string
	Type Type
	// Issuer is the OIDC issuer's URL, compared to the letter. Keyless only.
	Issuer string
	// Subject is the certificate's SAN, compared to the letter. Keyless only,
	// and instead of SubjectRegex.
	Subject string
	// SubjectRegex is an RE2 pattern for the whole SAN. Keyless only.
	SubjectRegex string
	// Claims constrain the certificate's claims by name ([ClaimNames]): each must
	// be there and equal the value to the letter, in which * stands for any run
	// without a slash and ** for any run. Keyless only.
	Claims map[string]string
	// TrustRoots are the names of the trust roots that may vouch for the identity;
	// none means any. Keyless only.
	TrustRoots []string
	// Keys are those of a PublicKey signer, at least one. For KMS they are those
	// that the reference was resolved to: [Signer.Validate] does without,
	// [Compile] does not.
	Keys []Key
	// KMSKeyRef names the key, see [ParseKMSRef]. AutoRotate says that a new key
	// there is taken without an administrator; it decides nothing here. KMS only.
	KMSKeyRef  string
	AutoRotate bool
	// Images are glob patterns (package glob) for the images that the signer may
	// sign; none means every image.
	Images  []string
	Enabled bool
	// NotBefore and ExpiresAt bound when the signer is trusted; nil is unbounded.
	NotBefore, ExpiresAt *time.Time
	// SignedFrom and SignedUntil bound which signatures count, both inclusive:
	// they are compared with the verified signing time, and a signature without
	// one is outside of either. nil is unbounded.
	SignedFrom, SignedUntil *time.Time
	// Owner and Note are for people.
	Owner, Note string
}

// Validate checks one signer. The error joins a [FieldError] for each mistake. A
// KMS signer may lack its keys, which nobody has resolved yet.
func (s Signer) Validate() error {
	_, err := s.compile()
	return err
}

// registeredName is what a signer in the store may be called. A slash is kept
// for the inline signers of policies.
var registeredName = regexp.MustCompile(`\A[A-Za-z0-9][A-Za-z0-9._-]*\z`)

// ValidName checks the name of a registered signer: letters, digits, dots,
// dashes and underscores, so that it never looks like an inline signer's.
func ValidName(name string) error {
	if len(name) > MaxNameBytes || !registeredName.MatchString(name) {
		return FieldError{"name", fmt.Sprintf("%q is not a name; use at most %d letters, digits, dots, dashes and underscores, a letter or digit first", name, MaxNameBytes)}
	}
	return nil
}

// entry is a signer that was checked, ready to be matched.
type entry struct {
	Signer
	pattern *pattern
	claims  []claim
	scope   glob.Scope
	// literal is the subject, or what it begins with, in lower case.
	literal string
}

func (s Signer) compile() (*entry, error) {
	e := &entry{Signer: s}
	var problems []error
	add := func(field, format string, args ...any) {
		problems = append(problems, FieldError{field, fmt.Sprintf(format, args...)})
	}
	if s.Name == "" || len(s.Name) > MaxNameBytes || unprintable(s.Name) {
		add("name", "is missing, longer than %d bytes, not UTF-8, or has control characters", MaxNameBytes)
	}
	switch s.Type {
	case Keyless:
		s.checkIdentity(add)
		if s.SubjectRegex != "" {
			p, err := compilePattern(s.SubjectRegex)
			if err != nil {
				add("subject_regex", "%s", err)
			}
			e.pattern = p
		}
		e.claims = compileClaims(s.Claims, add)
		s.checkRoots(add)
	case PublicKey:
		if len(s.Keys) == 0 {
			add("key", "is missing; paste the public key, from -----BEGIN PUBLIC KEY----- on")
		}
		s.checkKeys(add)
	case KMS:
		if s.KMSKeyRef == "" {
			add("kms_key_ref", "is missing; write %s", kmsSchemes)
		} else if _, err := ParseKMSRef(s.KMSKeyRef); err != nil {
			add("kms_key_ref", "%s", err)
		}
		s.checkKeys(add)
	case "":
		add("type", "is missing; write keyless, public_key or kms")
	default:
		add("type", "%q is not a signer type; write keyless, public_key or kms", s.Type)
	}
	s.checkForeign(add)
	scope, err := glob.NewScope(s.Images)
	if err != nil {
		add("images", "%s", err)
	}
	e.scope = scope
	s.checkTimes(add)
	if len(s.Owner) > MaxNameBytes || unprintable(s.Owner) {
		add("owner", "is longer than %d bytes, not UTF-8, or has control characters", MaxNameBytes)
	}
	if len(s.Note) > MaxNoteBytes || unprintable(strings.NewReplacer("\n", "", "\t", "").Replace(s.Note)) {
		add("note", "is longer than %d bytes, not UTF-8, or has control characters other than line breaks and tabs", MaxNoteBytes)
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	e.literal = strings.ToLower(e.Subject)
	if e.pattern != nil {
		e.literal = strings.ToLower(e.pattern.prefix)
	}
	return e, nil
}

// checkForeign refuses fields of another type, which would say something that
// nobody enforces.
func (s Signer) checkForeign(add func(field, format string, args ...any)) {
	foreign := func(field string, set bool, of ...Type) {
		if !set || slices.Contains(of, s.Type) || !slices.Contains([]Type{Keyless, PublicKey, KMS}, s.Type) {
			return
		}
		add(field, "does not go with type %s; use type %s", s.Type, of[0])
	}
	foreign("issuer", s.Issuer != "", Keyless)
	foreign("subject", s.Subject != "", Keyless)
	foreign("subject_regex", s.SubjectRegex != "", Keyless)
	foreign("claims", len(s.Claims) > 0, Keyless)
	foreign("trust_roots", len(s.TrustRoots) > 0, Keyless)
	foreign("key", len(s.Keys) > 0, PublicKey, KMS)
	foreign("kms_key_ref", s.KMSKeyRef != "", KMS)
	foreign("auto_rotate", s.AutoRotate, KMS)
}

func (s Signer) checkTimes(add func(field, format string, args ...any)) {
	if s.NotBefore != nil && s.ExpiresAt != nil && !s.NotBefore.Before(*s.ExpiresAt) {
		add("expires_at", "%s is not after not_before, %s", s.ExpiresAt.UTC().Format(time.RFC3339), s.NotBefore.UTC().Format(time.RFC3339))
	}
	if s.SignedFrom != nil && s.SignedUntil != nil && s.SignedUntil.Before(*s.SignedFrom) {
		add("signed_until", "%s is before signed_from, %s", s.SignedUntil.UTC().Format(time.RFC3339), s.SignedFrom.UTC().Format(time.RFC3339))
	}
}

func (s Signer) checkRoots(add func(field, format string, args ...any)) {
	if len(s.TrustRoots) > MaxTrustRoots {
		add("trust_roots", "has %d names; at most %d are read", len(s.TrustRoots), MaxTrustRoots)
	}
	for i, name := range s.TrustRoots {
		switch {
		case name == "" || len(name) > MaxNameBytes || unprintable(name):
			add("trust_roots", "number %d is empty, longer than %d bytes, not UTF-8, or has control characters", i+1, MaxNameBytes)
		case slices.Contains(s.TrustRoots[:i], name):
			add("trust_roots", "has %q twice", name)
		}
	}
}

func (s Signer) checkIdentity(add func(field, format string, args ...any)) {
	subject := s.Subject != "" || s.SubjectRegex != ""
	switch {
	case s.Issuer == "" && !subject:
		add("issuer", "is missing, and subject too; a keyless signer needs both")
	case s.Issuer == "":
		add("issuer", "is missing; a subject alone would be trusted from any issuer")
	case !subject:
		add("subject", "is missing; an issuer alone would trust everybody it knows: write subject or subject_regex")
	}
	if s.Subject != "" && s.SubjectRegex != "" {
		add("subject_regex", "stands beside subject; write one of them")
	}
	if s.Issuer != "" {
		if err := checkIssuer(s.Issuer); err != nil {
			add("issuer", "%s", err)
		}
	}
	if len(s.Subject) > MaxIdentityBytes || unprintable(s.Subject) {
		add("subject", "is longer than %d bytes, not UTF-8, or has control characters", MaxIdentityBytes)
	}
	if s.Subject != strings.TrimSpace(s.Subject) {
		add("subject", "begins or ends with white space, which no certificate has")
	}
}

func checkIssuer(issuer string) error {
	if len(issuer) > MaxIdentityBytes || unprintable(issuer) || issuer != strings.TrimSpace(issuer) {
		return fmt.Errorf("is longer than %d bytes, is not UTF-8, or has white space around it or control characters", MaxIdentityBytes)
	}
	u, err := url.Parse(issuer)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return fmt.Errorf("%q is not a URL; write it as the certificate has it, for example https://accounts.google.com", issuer)
	}
	return nil
}

func (s Signer) checkKeys(add func(field, format string, args ...any)) {
	if len(s.Keys) > MaxKeys {
		add("key", "has %d keys; at most %d may stand for one signer", len(s.Keys), MaxKeys)
	}
	for i, k := range s.Keys {
		want, err := NewKey(k.PublicKey)
		if err != nil {
			add("key", "%s", err)
			continue
		}
		if k.Fingerprint != want.Fingerprint || k.Algorithm != want.Algorithm {
			add("key", "number %d has a fingerprint or algorithm of another key; make it with ParseKeys or NewKey", i+1)
		}
	}
}

// unprintable says that s has what a person cannot see or compare, or what does
// not survive YAML and JSON.
func unprintable(s string) bool {
	return !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || (r >= 0x7f && r < 0xa0) })
}

// in says whether the signer is trusted at a time, from NotBefore up to, and
// not including, ExpiresAt.
func (e *entry) in(at time.Time) bool {
	return e.Enabled && (e.NotBefore == nil || !at.Before(*e.NotBefore)) && (e.ExpiresAt == nil || at.Before(*e.ExpiresAt))
}

func (e *entry) trusts(name string, at time.Time) bool { return e.in(at) && e.scope.Covers(name) }

// accepts says whether a signature by the signer's identity or key is one that
// the signer was meant for: by its claims, its trust root and when it was made.
func (e *entry) accepts(sig facts.Signature) bool {
	for _, c := range e.claims {
		if !c.meets(sig.Signer.Claims) {
			return false
		}
	}
	return (len(e.TrustRoots) == 0 || slices.Contains(e.TrustRoots, sig.TrustRoot)) && e.signedWithin(sig.SignedAt)
}

func (e *entry) signedWithin(t *time.Time) bool {
	if t == nil {
		return e.SignedFrom == nil && e.SignedUntil == nil
	}
	return (e.SignedFrom == nil || !t.Before(*e.SignedFrom)) && (e.SignedUntil == nil || !t.After(*e.SignedUntil))
}
