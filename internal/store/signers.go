package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/signet-policy/signet/internal/facts"
)

// SignerRow is a registered signer as it is kept. The store checks its shape;
// what it means is for package signers to check before it is put.
type SignerRow struct {
	// ID is a ULID, made by [Tx.PutSigner] where it is "".
	ID   string `json:"id"`
	Name string `json:"name"`
	// Type is "keyless", "public_key" or "kms".
	Type   string `json:"signer_type"`
	Issuer string `json:"oidc_issuer"`
	// SubjectKind says how SubjectPattern is compared: "exact" or "regex"; "" for
	// a key.
	SubjectKind    string `json:"subject_kind"`
	SubjectPattern string `json:"subject_pattern"`
	// PublicKey is PEM, one block or several.
	PublicKey string `json:"public_key"`
	KMSKeyRef string `json:"kms_key_ref"`
	// Fingerprints are the lower-case hex SHA-256 of each key's SPKI.
	Fingerprints []string `json:"fingerprints"`
	// Claims constrain a certificate's claims; Images are globs. Whoever cannot
	// enforce what is here must not use the row.
	Claims map[string]string `json:"claims"`
	Images []string          `json:"images"`
	// TrustRoots are the names of the roots that may vouch for it; none: any.
	TrustRoots []string `json:"trust_roots"`
	// AutoRotate takes a new key of a kms signer without asking.
	AutoRotate bool `json:"auto_rotate"`
	Enabled    bool `json:"enabled"`
	// NotBefore and ExpiresAt bound when the signer is trusted, SignedFrom and
	// SignedUntil which verified signing times count; nil is unbounded.
	NotBefore   *time.Time `json:"not_before"`
	ExpiresAt   *time.Time `json:"expires_at"`
	SignedFrom  *time.Time `json:"signed_from"`
	SignedUntil *time.Time `json:"signed_until"`
	Owner       string     `json:"owner"`
	Note        string     `json:"note"`
	// The store fills in these: who and when from the change, and Version, which
	// counts the changes from 1.
	CreatedBy string    `json:"created_by"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedBy string    `json:"updated_by"`
	UpdatedAt time.Time `json:"updated_at"`
	Version   int64     `json:"version"`
}

// inForce leaves out what changes no verdict, so that a note edited gives the
// digest that was.
func (r SignerRow) inForce() SignerRow {
	r.Owner, r.Note, r.CreatedBy, r.UpdatedBy, r.Version = "", "", "", "", 0
	r.CreatedAt, r.UpdatedAt = time.Time{}, time.Time{}
	r.AutoRotate = false
	return r
}

// digest is of what changes a verdict. It is kept beside the row, so that a
// change among thousands of signers does not read them all.
func (r SignerRow) digest() (string, error) {
	body, err := facts.Canonical(r.inForce())
	if err != nil {
		return "", fmt.Errorf("digesting signer %q: %w", r.Name, err)
	}
	return facts.Digest(body), nil
}

// digestSignerRows is over the rows in the order of their ids; "" for none. A
// second digest is what a store of schema 1 had for the same rows, if it could
// have had them.
func digestSignerRows(rows []SignerRow) ([]string, error) {
	pairs := make([][2]string, len(rows))
	for i := range rows {
		if err := rows[i].complete(); err != nil { // what schema 1 did not have
			return nil, err
		}
		digest, err := rows[i].digest()
		if err != nil {
			return nil, err
		}
		pairs[i] = [2]string{rows[i].ID, digest}
	}
	digest, err := digestPairs(pairs)
	if err != nil {
		return nil, err
	}
	first, err := digestSchema1(rows)
	if err != nil || first == "" {
		return []string{digest}, err
	}
	return []string{digest, first}, nil
}

// digestSchema1 is how a store of schema 1 digested its signers, which had
// neither trust roots nor rotation; "" where rows have them, or there are none.
// Revisions made then
// say it still.
func digestSchema1(rows []SignerRow) (string, error) {
	type row struct {
		SignerRow
		TrustRoots *struct{} `json:"trust_roots,omitempty"`
		AutoRotate *struct{} `json:"auto_rotate,omitempty"`
	}
	list := make([]row, len(rows))
	for i, r := range rows {
		if len(r.TrustRoots) > 0 || r.AutoRotate {
			return "", nil
		}
		list[i].SignerRow = r.inForce()
	}
	if len(list) == 0 {
		return "", nil
	}
	body, err := facts.Canonical(list)
	if err != nil {
		return "", fmt.Errorf("digesting the signers: %w", err)
	}
	return facts.Digest(body), nil
}

// complete puts a row into the form in which it will be read again.
func (r *SignerRow) complete() error {
	switch {
	case r.Name == "":
		return fmt.Errorf("%w: signer name: is empty", ErrInvalid)
	case r.Type != "keyless" && r.Type != "public_key" && r.Type != "kms":
		return fmt.Errorf("%w: signer type: %q is not keyless, public_key or kms", ErrInvalid, r.Type)
	case r.SubjectKind != "" && r.SubjectKind != "exact" && r.SubjectKind != "regex":
		return fmt.Errorf("%w: signer subject kind: %q is not exact or regex", ErrInvalid, r.SubjectKind)
	}
	r.Fingerprints, r.Images, r.Claims = orEmpty(r.Fingerprints), orEmpty(r.Images), orEmptyMap(r.Claims)
	r.TrustRoots = orEmpty(r.TrustRoots)
	r.NotBefore, r.ExpiresAt = canonicalTime(r.NotBefore), canonicalTime(r.ExpiresAt)
	r.SignedFrom, r.SignedUntil = canonicalTime(r.SignedFrom), canonicalTime(r.SignedUntil)
	return nil
}

const signerColumns = `id, name, signer_type, oidc_issuer, subject_kind, subject_pattern, public_key, kms_key_ref,
	fingerprints, claims, images, enabled, not_before, expires_at, signed_from, signed_until, owner, note,
	created_by, created_at, updated_by, updated_at, version, trust_roots, auto_rotate`

func scanSigner(row rower) (SignerRow, error) {
	var r SignerRow
	err := row.Scan(&r.ID, &r.Name, &r.Type, &r.Issuer, &r.SubjectKind, &r.SubjectPattern, &r.PublicKey, &r.KMSKeyRef,
		jsonColumn{&r.Fingerprints}, jsonColumn{&r.Claims}, jsonColumn{&r.Images}, &r.Enabled,
		timePtrColumn{&r.NotBefore}, timePtrColumn{&r.ExpiresAt}, timePtrColumn{&r.SignedFrom}, timePtrColumn{&r.SignedUntil},
		&r.Owner, &r.Note, &r.CreatedBy, timeColumn{&r.CreatedAt}, &r.UpdatedBy, timeColumn{&r.UpdatedAt}, &r.Version,
		jsonColumn{&r.TrustRoots}, &r.AutoRotate)
	return r, err
}

// values are those of signerColumns, and the digest.
func (r SignerRow) values() ([]any, error) {
	fingerprints, err := canonicalJSON(r.Fingerprints)
	if err != nil {
		return nil, err
	}
	claims, err := canonicalJSON(r.Claims)
	if err != nil {
		return nil, err
	}
	images, err := canonicalJSON(r.Images)
	if err != nil {
		return nil, err
	}
	roots, err := canonicalJSON(r.TrustRoots)
	if err != nil {
		return nil, err
	}
	digest, err := r.digest()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return []any{
		r.ID, r.Name, r.Type, r.Issuer, r.SubjectKind, r.SubjectPattern, r.PublicKey, r.KMSKeyRef,
		fingerprints, claims, images, r.Enabled,
		formatTimePtr(r.NotBefore), formatTimePtr(r.ExpiresAt), formatTimePtr(r.SignedFrom), formatTimePtr(r.SignedUntil),
		r.Owner, r.Note, r.CreatedBy, formatTime(r.CreatedAt), r.UpdatedBy, formatTime(r.UpdatedAt), r.Version,
		roots, r.AutoRotate, digest,
	}, nil
}

// Signers lists all registered signers by id, that is, by age.
func (s *Store) Signers(ctx context.Context) ([]SignerRow, error) { return readSigners(ctx, s.read) }

// Signers is [Store.Signers] as this change sees them.
func (t *Tx) Signers(ctx context.Context) ([]SignerRow, error) { return readSigners(ctx, t.tx) }

func readSigners(ctx context.Context, q querier) ([]SignerRow, error) {
	const op = "reading the signers"
	rows, err := q.QueryContext(ctx, `SELECT `+signerColumns+` FROM trusted_signers ORDER BY id`)
	if err != nil {
		return nil, wrap(op, err)
	}
	return collect(op, rows, scanSigner)
}

// Signer returns one signer, or [ErrNotFound].
func (s *Store) Signer(ctx context.Context, id string) (SignerRow, error) {
	return readSigner(ctx, s.read, id)
}

// Signer returns one signer as this change sees it, or [ErrNotFound].
func (t *Tx) Signer(ctx context.Context, id string) (SignerRow, error) {
	return readSigner(ctx, t.tx, id)
}

func readSigner(ctx context.Context, q querier, id string) (SignerRow, error) {
	r, err := scanSigner(q.QueryRowContext(ctx, `SELECT `+signerColumns+` FROM trusted_signers WHERE id = ?`, id))
	if err != nil {
		return SignerRow{}, wrap(fmt.Sprintf("reading signer %q", id), err)
	}
	return r, nil
}

// PutSigner keeps a signer and returns it as kept. With no ID it is new; else
// its Version must be that of the row in the store, so that nobody overwrites
// what they have not seen: [ErrConflict] otherwise, and for a name that is taken.
func (t *Tx) PutSigner(ctx context.Context, r SignerRow) (SignerRow, error) {
	if err := r.complete(); err != nil {
		return SignerRow{}, err
	}
	var before *SignerRow
	action := "signer.create"
	if r.ID == "" {
		id, err := ulid.New(ulid.Timestamp(t.at), rand.Reader)
		if err != nil {
			return SignerRow{}, fmt.Errorf("naming a signer: %w", err)
		}
		r.ID, r.Version, r.CreatedBy, r.CreatedAt = id.String(), 1, t.by.Name, t.at
	} else {
		old, err := t.unchangedSigner(ctx, r.ID, r.Version)
		if err != nil {
			return SignerRow{}, err
		}
		before, action = &old, "signer.update"
		r.Version, r.CreatedBy, r.CreatedAt = old.Version+1, old.CreatedBy, old.CreatedAt
	}
	r.UpdatedBy, r.UpdatedAt = t.by.Name, t.at
	if err := t.freeName(ctx, r.Name, r.ID); err != nil {
		return SignerRow{}, err
	}
	if err := t.writeSigner(ctx, r, before == nil); err != nil {
		return SignerRow{}, err
	}
	if err := t.signerChanged(ctx, action, r.ID, before, &r); err != nil {
		return SignerRow{}, err
	}
	return r, nil
}

func (t *Tx) writeSigner(ctx context.Context, r SignerRow, isNew bool) error {
	values, err := r.values()
	if err != nil {
		return err
	}
	if isNew {
		return t.exec(ctx, "keeping a signer", `INSERT INTO trusted_signers (`+signerColumns+`, digest)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, values...)
	}
	return t.exec(ctx, "keeping a signer", `UPDATE trusted_signers SET (`+signerColumns+`, digest)
		= (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) WHERE id = ?`, append(values, r.ID)...)
}

// DeleteSigner removes a signer of that version; [ErrNotFound] and [ErrConflict]
// as for PutSigner. Its history stays.
func (t *Tx) DeleteSigner(ctx context.Context, id string, version int64) error {
	old, err := t.unchangedSigner(ctx, id, version)
	if err != nil {
		return err
	}
	if err := t.exec(ctx, "deleting a signer", `DELETE FROM trusted_signers WHERE id = ?`, id); err != nil {
		return err
	}
	return t.signerChanged(ctx, "signer.delete", id, &old, nil)
}

func (t *Tx) unchangedSigner(ctx context.Context, id string, version int64) (SignerRow, error) {
	old, err := readSigner(ctx, t.tx, id)
	if err != nil {
		return SignerRow{}, err
	}
	if old.Version != version {
		return SignerRow{}, fmt.Errorf("signer %q: %w: it is at version %d, and the change was made to version %d; read it again", old.Name, ErrConflict, old.Version, version)
	}
	return old, nil
}

func (t *Tx) freeName(ctx context.Context, name, id string) error {
	var holder string
	err := t.tx.QueryRowContext(ctx, `SELECT id FROM trusted_signers WHERE name = ? AND id <> ?`, name, id).Scan(&holder)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil
	case err != nil:
		return wrap("reading the signers", err)
	default:
		return fmt.Errorf("signer name %q: %w: signer %s has it", name, ErrConflict, holder)
	}
}

// signerChanged audits the change and keeps the history.
func (t *Tx) signerChanged(ctx context.Context, action, id string, before, after *SignerRow) error {
	was, err := bodyOf(before)
	if err != nil {
		return fmt.Errorf("signer: %w", err)
	}
	is, err := bodyOf(after)
	if err != nil {
		return fmt.Errorf("signer: %w", err)
	}
	name := ""
	if after != nil {
		name = after.Name
	}
	if err := t.remember(ctx, "signer_history", id, name, before != nil, is); err != nil {
		return err
	}
	t.touched[InputSigners] = true
	return t.audit(ctx, action, "signer/"+id, was, is)
}

// digestSigners reads the digests of the rows alone. Rows of schema 1 have none
// yet.
func (t *Tx) digestSigners(ctx context.Context) (string, error) {
	const op = "reading the signers"
	rows, err := t.tx.QueryContext(ctx, `SELECT `+signerColumns+` FROM trusted_signers WHERE digest = '' ORDER BY id`)
	if err != nil {
		return "", wrap(op, err)
	}
	fresh, err := collect(op, rows, scanSigner)
	if err != nil {
		return "", err
	}
	for _, r := range fresh {
		digest, err := r.digest()
		if err != nil {
			return "", err
		}
		if err := t.exec(ctx, "digesting a signer", `UPDATE trusted_signers SET digest = ? WHERE id = ?`, digest, r.ID); err != nil {
			return "", err
		}
	}
	rows, err = t.tx.QueryContext(ctx, `SELECT id, digest FROM trusted_signers ORDER BY id`)
	if err != nil {
		return "", wrap(op, err)
	}
	pairs, err := collect(op, rows, scanPair)
	if err != nil {
		return "", err
	}
	digest, err := digestPairs(pairs)
	if err != nil {
		return "", fmt.Errorf("digesting the signers: %w", err)
	}
	return digest, nil
}

// SignersAt returns the signers that were in force under a revision, by id. They
// must hash to what the revision says, else [ErrCorrupt].
func (s *Store) SignersAt(ctx context.Context, revision int64) ([]SignerRow, error) {
	return stateAt(ctx, s, InputSigners, "signer_history", revision, digestSignerRows)
}
