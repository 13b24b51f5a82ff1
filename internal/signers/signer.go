package signers

import (
	"crypto"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"

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
	// KMS is a key in a key management service. It is refused by this version.
	KMS Type = "kms"
)

// Limits on what a signer's fields may hold.
const (
	MaxNameBytes     = 200
	MaxIdentityBytes = 2048
	MaxPatternBytes  = 1024
	MaxKeys          = 64
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
	// Keys are those of a PublicKey signer, at least one.
	Keys []Key
	// Images are glob patterns (package glob) for the images that the signer may
	// sign; none means every image.
	Images  []string
	Enabled bool
	// NotBefore and ExpiresAt bound when the signer is trusted; nil is unbounded.
	NotBefore, ExpiresAt *time.Time
	// Owner and Note are for people.
	Owner, Note string
}

// Validate checks one signer. Errors wrap [ErrInvalid] or [ErrUnsupported],
// begin with the field's name, and are all reported together.
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
		return fmt.Errorf("%w: name: %q is not a name; use at most %d letters, digits, dots, dashes and underscores, a letter or digit first", ErrInvalid, name, MaxNameBytes)
	}
	return nil
}

// entry is a signer that was checked, ready to be matched.
type entry struct {
	Signer
	pattern *pattern
	scope   glob.Scope
}

func (s Signer) compile() (*entry, error) {
	e := &entry{Signer: s}
	var problems []error
	add := func(field, format string, args ...any) {
		problems = append(problems, fmt.Errorf("%w: %s: %w", ErrInvalid, field, fmt.Errorf(format, args...)))
	}
	if s.Name == "" || len(s.Name) > MaxNameBytes || hasControl(s.Name) {
		add("name", "is missing, longer than %d bytes, or has control characters", MaxNameBytes)
	}
	switch s.Type {
	case Keyless:
		s.checkIdentity(add)
		if s.SubjectRegex != "" {
			p, err := compilePattern(s.SubjectRegex)
			if err != nil {
				add("subject_regex", "%w", err)
			}
			e.pattern = p
		}
	case PublicKey:
		s.checkKeys(add)
	case KMS:
		problems = append(problems, fmt.Errorf("%w: type: kms is enforced by a later version; export the public key and use type public_key until then", ErrUnsupported))
	case "":
		add("type", "is missing; write keyless or public_key")
	default:
		add("type", "%q is not a signer type; write keyless or public_key", s.Type)
	}
	scope, err := glob.NewScope(s.Images)
	if err != nil {
		add("images", "%w", err)
	}
	e.scope = scope
	if s.NotBefore != nil && s.ExpiresAt != nil && !s.NotBefore.Before(*s.ExpiresAt) {
		add("expires_at", "%s is not after not_before, %s", s.ExpiresAt.UTC().Format(time.RFC3339), s.NotBefore.UTC().Format(time.RFC3339))
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return e, nil
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
			add("issuer", "%w", err)
		}
	}
	if len(s.Subject) > MaxIdentityBytes || hasControl(s.Subject) {
		add("subject", "is longer than %d bytes or has control characters", MaxIdentityBytes)
	}
	if s.Subject != strings.TrimSpace(s.Subject) {
		add("subject", "begins or ends with white space, which no certificate has")
	}
	if len(s.Keys) > 0 {
		add("key", "does not go with type keyless; use type public_key")
	}
}

func checkIssuer(issuer string) error {
	if len(issuer) > MaxIdentityBytes || hasControl(issuer) || issuer != strings.TrimSpace(issuer) {
		return fmt.Errorf("is longer than %d bytes, or has white space around it or control characters", MaxIdentityBytes)
	}
	u, err := url.Parse(issuer)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return fmt.Errorf("%q is not a URL; write it as the certificate has it, for example https://accounts.google.com", issuer)
	}
	return nil
}

func (s Signer) checkKeys(add func(field, format string, args ...any)) {
	if len(s.Keys) == 0 {
		add("key", "is missing; paste the public key, from -----BEGIN PUBLIC KEY----- on")
	}
	if len(s.Keys) > MaxKeys {
		add("key", "has %d keys; at most %d may stand for one signer", len(s.Keys), MaxKeys)
	}
	for i, k := range s.Keys {
		want, err := NewKey(k.PublicKey)
		if err != nil {
			add("key", "%w", err)
			continue
		}
		if k.Fingerprint != want.Fingerprint || k.Algorithm != want.Algorithm {
			add("key", "number %d has a fingerprint or algorithm of another key; make it with ParseKeys or NewKey", i+1)
		}
	}
	for field, value := range map[string]string{"issuer": s.Issuer, "subject": s.Subject, "subject_regex": s.SubjectRegex} {
		if value != "" {
			add(field, "does not go with type public_key; use type keyless")
		}
	}
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || (r >= 0x7f && r < 0xa0) })
}

// in says whether the signer is trusted at a time, from NotBefore up to, and
// not including, ExpiresAt.
func (e *entry) in(at time.Time) bool {
	return e.Enabled && (e.NotBefore == nil || !at.Before(*e.NotBefore)) && (e.ExpiresAt == nil || at.Before(*e.ExpiresAt))
}

func (e *entry) trusts(name string, at time.Time) bool { return e.in(at) && e.scope.Covers(name) }
