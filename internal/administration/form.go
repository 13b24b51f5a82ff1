package administration

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/signers"
	"github.com/signet-policy/signet/internal/store"
)

// How a row says which subject it means.
const (
	subjectExact = "exact"
	subjectRegex = "regex"
)

// FromRow turns what is stored of a signer into one that can be trusted. A row
// that says what this version cannot enforce is an error: leaving that out would
// trust more than was meant.
func FromRow(r store.SignerRow) (signers.Signer, error) {
	if err := signers.ValidName(r.Name); err != nil {
		return signers.Signer{}, err
	}
	fail := func(field, format string, args ...any) (signers.Signer, error) {
		return signers.Signer{}, fmt.Errorf("signer %s: %w: %s: %w", r.Name, signers.ErrInvalid, field, fmt.Errorf(format, args...))
	}
	w := wireOf(r)
	switch r.SubjectKind {
	case subjectExact, subjectRegex:
	case "":
		if r.SubjectPattern != "" {
			return fail("subject", "is there, and not how it is compared")
		}
	default:
		return fail("subject", "is compared by %q, which this version does not know", r.SubjectKind)
	}
	s, mistakes := signerOf(w)
	if err := mistakes.err(); err != nil {
		return signers.Signer{}, fmt.Errorf("signer %s: %w: %w", r.Name, signers.ErrInvalid, err)
	}
	if s.Type == signers.KMS && len(s.Keys) == 0 {
		return fail("kms_key_ref", "has no key that was read")
	}
	if !slices.Equal(fingerprints(s.Keys), r.Fingerprints) && len(s.Keys)+len(r.Fingerprints) > 0 {
		return fail("fingerprints", "are not those of the keys that are stored with them")
	}
	return s, nil
}

// FromRows is [FromRow] for all rows; one that is not understood refuses the
// whole set.
func FromRows(rows []store.SignerRow) ([]signers.Signer, error) {
	out := make([]signers.Signer, 0, len(rows))
	for _, r := range rows {
		s, err := FromRow(r)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

func fingerprints(keys []signers.Key) []string {
	out := make([]string, 0, len(keys))
	for _, k := range keys {
		out = append(out, k.Fingerprint)
	}
	return out
}

func joinPEM(keys []signers.Key) string {
	var text strings.Builder
	for _, k := range keys {
		text.WriteString(strings.TrimRight(k.PEM, "\n") + "\n")
	}
	return text.String()
}

// wireOf is what the API says of a row, but for its state.
func wireOf(r store.SignerRow) client.Signer {
	w := client.Signer{
		ID: r.ID, Name: r.Name, Type: r.Type, Issuer: r.Issuer, Claims: r.Claims, TrustRoots: r.TrustRoots,
		PublicKey: r.PublicKey, KMSKeyRef: r.KMSKeyRef, AutoRotate: r.AutoRotate, Images: r.Images, Enabled: r.Enabled,
		NotBefore: r.NotBefore, ExpiresAt: r.ExpiresAt, SignedFrom: r.SignedFrom, SignedUntil: r.SignedUntil,
		Owner: r.Owner, Note: r.Note, Fingerprints: r.Fingerprints,
		CreatedBy: r.CreatedBy, CreatedAt: &r.CreatedAt, UpdatedBy: r.UpdatedBy, UpdatedAt: &r.UpdatedAt, Version: r.Version,
	}
	if r.SubjectKind == subjectRegex {
		w.SubjectRegex = r.SubjectPattern
	} else {
		w.Subject = r.SubjectPattern
	}
	return w
}

// signerOf checks everything that is to be enforced of a signer, and all of it
// at once.
func signerOf(w client.Signer) (signers.Signer, FieldErrors) {
	var mistakes FieldErrors
	s := signers.Signer{
		Name: w.Name, Type: signers.Type(w.Type), Issuer: w.Issuer, Subject: w.Subject, SubjectRegex: w.SubjectRegex,
		Claims: w.Claims, TrustRoots: w.TrustRoots, KMSKeyRef: w.KMSKeyRef, AutoRotate: w.AutoRotate,
		Images: w.Images, Enabled: w.Enabled, NotBefore: w.NotBefore, ExpiresAt: w.ExpiresAt,
		SignedFrom: w.SignedFrom, SignedUntil: w.SignedUntil, Owner: w.Owner, Note: w.Note,
	}
	if w.PublicKey != "" {
		keys, err := signers.ParseKeys(w.PublicKey)
		if err != nil {
			mistakes.add("public_key", "%s", err)
			return s, mistakes
		}
		s.Keys = keys
	}
	if err := signers.ValidName(w.Name); err != nil {
		mistakes = append(mistakes, mistakesOf(err)...)
		s.Name = "unnamed" // said once
	}
	if err := s.Validate(); err != nil {
		mistakes = append(mistakes, mistakesOf(err)...)
	}
	s.Name = w.Name
	return s, mistakes
}

// mistakesOf are the mistakes that package signers found, by the names that the
// API has for the fields.
func mistakesOf(err error) FieldErrors {
	var out FieldErrors
	for _, e := range signers.FieldErrors(err) {
		field := e.Field
		if field == "key" {
			field = "public_key"
		}
		out = append(out, FieldError{Field: field, Problem: e.Problem})
	}
	if len(out) == 0 {
		out.add("", "%s", err)
	}
	return out
}

// rowOf puts what a caller may say of a signer into a row; base has the rest.
// The keys of a kms signer are already resolved into w.
func rowOf(w client.Signer, base store.SignerRow) (store.SignerRow, FieldErrors) {
	s, mistakes := signerOf(w)
	if len(mistakes) > 0 {
		return store.SignerRow{}, mistakes
	}
	r := base
	r.Name, r.Type, r.Issuer, r.KMSKeyRef, r.AutoRotate = w.Name, w.Type, w.Issuer, w.KMSKeyRef, w.AutoRotate
	r.SubjectKind, r.SubjectPattern = "", ""
	switch {
	case w.SubjectRegex != "":
		r.SubjectKind, r.SubjectPattern = subjectRegex, w.SubjectRegex
	case w.Subject != "":
		r.SubjectKind, r.SubjectPattern = subjectExact, w.Subject
	}
	r.PublicKey, r.Fingerprints = joinPEM(s.Keys), fingerprints(s.Keys)
	r.Claims, r.TrustRoots, r.Images, r.Enabled = w.Claims, w.TrustRoots, w.Images, w.Enabled
	r.NotBefore, r.ExpiresAt, r.SignedFrom, r.SignedUntil = w.NotBefore, w.ExpiresAt, w.SignedFrom, w.SignedUntil
	r.Owner, r.Note = w.Owner, w.Note
	return normal(r), nil
}

// normal puts a row into the form in which the store gives it back, so that two
// rows can be compared.
func normal(r store.SignerRow) store.SignerRow {
	if r.Claims == nil {
		r.Claims = map[string]string{}
	}
	r.TrustRoots, r.Images, r.Fingerprints = orEmpty(r.TrustRoots), orEmpty(r.Images), orEmpty(r.Fingerprints)
	for _, t := range []**time.Time{&r.NotBefore, &r.ExpiresAt, &r.SignedFrom, &r.SignedUntil} {
		if *t != nil {
			at := (*t).UTC().Truncate(time.Microsecond)
			*t = &at
		}
	}
	return r
}

func orEmpty[T any](items []T) []T {
	if items == nil {
		return []T{}
	}
	return items
}

// stateOf says whether a signer is in force now, and if not, why.
func stateOf(r store.SignerRow, now time.Time) string {
	switch {
	case !r.Enabled:
		return "disabled"
	case r.NotBefore != nil && now.Before(*r.NotBefore):
		return "not_yet"
	case r.ExpiresAt != nil && !now.Before(*r.ExpiresAt):
		return "expired"
	}
	return "in_force"
}

// signerStates are the values of client.Signer.State.
func signerStates() []string { return []string{"in_force", "disabled", "not_yet", "expired"} }
