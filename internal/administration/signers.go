package administration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/signers"
	"github.com/signet-policy/signet/internal/store"
)

// SignerFilter chooses signers; the zero value all of them.
type SignerFilter struct {
	// Query is looked for, without regard to case, in the name, issuer, subject,
	// key reference, owner and note, and as the beginning of a fingerprint.
	Query string
	// Type, State and Owner are compared to the letter; "" is any.
	Type, State, Owner string
	// Enabled is nil for any.
	Enabled *bool
	// Sort is one of [SignerSorts]; "" is the oldest first.
	Sort string
	// Limit is 1 to 1000; 0 means 100.
	Limit int
	// After is Next of the page before; "" begins at the oldest.
	After string
}

func (f SignerFilter) check() error {
	var mistakes FieldErrors
	if types := []string{string(signers.Keyless), string(signers.PublicKey), string(signers.KMS)}; f.Type != "" && !slices.Contains(types, f.Type) {
		mistakes.add("type", "%q is none of %s", f.Type, strings.Join(types, ", "))
	}
	if f.State != "" && !slices.Contains(signerStates(), f.State) {
		mistakes.add("state", "%q is none of %s", f.State, strings.Join(signerStates(), ", "))
	}
	if f.Sort != "" && !slices.Contains(SignerSorts(), f.Sort) {
		mistakes.add("sort", "%q is none of %s", f.Sort, strings.Join(SignerSorts(), ", "))
	}
	return mistakes.err()
}

func (f SignerFilter) matches(w client.Signer) bool {
	return (f.Type == "" || f.Type == w.Type) && (f.State == "" || f.State == w.State) && (f.Owner == "" || f.Owner == w.Owner) &&
		(f.Enabled == nil || *f.Enabled == w.Enabled) && f.found(w)
}

func (f SignerFilter) found(w client.Signer) bool {
	query := strings.ToLower(f.Query)
	for _, text := range []string{w.Name, w.Issuer, w.Subject, w.SubjectRegex, w.KMSKeyRef, w.Owner, w.Note} {
		if strings.Contains(strings.ToLower(text), query) {
			return true
		}
	}
	return slices.ContainsFunc(w.Fingerprints, func(fp string) bool { return strings.HasPrefix(fp, query) })
}

// Signers lists signers, the oldest first.
func (s *Service) Signers(ctx context.Context, c Caller, f SignerFilter) (client.Page[client.Signer], error) {
	page := client.Page[client.Signer]{Items: []client.Signer{}}
	if err := c.may(auth.Read); err != nil {
		return page, err
	}
	if err := f.check(); err != nil {
		return page, err
	}
	limit, err := pageSize(f.Limit)
	if err != nil {
		return page, err
	}
	rows, err := s.in.Signers(ctx)
	if err != nil {
		return page, err
	}
	kept, err := s.kmsStates(ctx)
	if err != nil {
		return page, err
	}
	now := s.now()
	if f.Sort != "" {
		var all []client.Signer
		for _, r := range rows {
			if w := shown(r, kept, now); f.matches(w) {
				all = append(all, w)
			}
		}
		return f.sorted(all, limit)
	}
	for _, r := range rows {
		if r.ID <= f.After {
			continue
		}
		w := shown(r, kept, now)
		if !f.matches(w) {
			continue
		}
		if len(page.Items) == limit {
			page.Next = page.Items[limit-1].ID
			break
		}
		page.Items = append(page.Items, w)
	}
	return page, nil
}

// shown is a row as the API shows it.
func shown(r store.SignerRow, kept kmsStates, now time.Time) client.Signer {
	w := wireOf(normal(r))
	w.State = stateOf(r, now)
	if r.Type == string(signers.KMS) {
		state := kept.of(r) // the zero state: never read since
		w.KMS = &state
	}
	return w
}

// show is shown for one row.
func (s *Service) show(ctx context.Context, r store.SignerRow) (client.Signer, error) {
	var kept kmsStates
	if r.Type == string(signers.KMS) {
		var err error
		if kept, err = s.kmsStates(ctx); err != nil {
			return client.Signer{}, err
		}
	}
	return shown(r, kept, s.now()), nil
}

// Signer returns one signer, or [ErrNotFound].
func (s *Service) Signer(ctx context.Context, c Caller, id string) (client.Signer, error) {
	if err := c.may(auth.Read); err != nil {
		return client.Signer{}, err
	}
	r, err := s.signer(ctx, id)
	if err != nil {
		return client.Signer{}, err
	}
	return s.show(ctx, r)
}

func (s *Service) signer(ctx context.Context, id string) (store.SignerRow, error) {
	r, err := s.in.Signer(ctx, id)
	return r, missing(err, "there is no signer with the id %q", id)
}

func signerNamed(name string) string { return fmt.Sprintf("signer %q", name) }

// CreateSigner registers a new signer. Without an owner it belongs to the
// caller's team.
func (s *Service) CreateSigner(ctx context.Context, c Caller, w client.Signer) (client.Signer, error) {
	if err := c.may(auth.Administer); err != nil {
		return client.Signer{}, err
	}
	mistakes := ofServer(w)
	w.Owner = c.ownerOf(w.Owner)
	if w.Type == string(signers.KMS) && w.PublicKey != "" {
		mistakes.add("public_key", "does not go with type kms, whose key is read from the service; leave it out")
		w.PublicKey = ""
	}
	row, more := rowOf(w, store.SignerRow{})
	if err := append(mistakes, more...).err(); err != nil {
		return client.Signer{}, err
	}
	if err := c.owns(signerNamed(w.Name), w.Owner, w.Images); err != nil {
		return client.Signer{}, err
	}
	if err := s.knownRoots(ctx, w.TrustRoots); err != nil {
		return client.Signer{}, err
	}
	if err := s.fits(ctx, []store.SignerRow{row}, nil); err != nil {
		return client.Signer{}, err
	}
	if row.Type == string(signers.KMS) {
		if err := s.pin(ctx, &row); err != nil {
			return client.Signer{}, err
		}
	}
	err := s.change(ctx, c, func(tx *store.Tx) (err error) {
		if err := fits(ctx, tx, []store.SignerRow{row}, nil); err != nil {
			return err
		}
		row, err = tx.PutSigner(ctx, row)
		return nameTaken(err, w.Name)
	})
	if err != nil {
		return client.Signer{}, err
	}
	if row.Type == string(signers.KMS) {
		s.keyRead(ctx, row)
	}
	return s.show(ctx, row)
}

// nameTaken gives the store's conflict, which for a row of the current version
// can only be its name, a message.
func nameTaken(err error, name string) error {
	if errors.Is(err, store.ErrConflict) {
		return refuse(ErrConflict, "name: %q is taken by another signer; give another name, or change that signer", name)
	}
	return err
}

// readOnlySigner are the fields of a signer that are the server's.
func readOnlySigner() []string {
	return []string{"id", "fingerprints", "state", "kms", "created_by", "created_at", "updated_by", "updated_at", "version"}
}

// ofServer finds what a request must not say of a new signer.
func ofServer(w client.Signer) FieldErrors {
	var mistakes FieldErrors
	said := map[string]bool{
		"id": w.ID != "", "fingerprints": len(w.Fingerprints) > 0, "state": w.State != "", "kms": w.KMS != nil,
		"created_by": w.CreatedBy != "", "created_at": w.CreatedAt != nil,
		"updated_by": w.UpdatedBy != "", "updated_at": w.UpdatedAt != nil, "version": w.Version != 0,
	}
	for _, field := range readOnlySigner() {
		if said[field] {
			mistakes.add(field, "is the server's to say; leave it out")
		}
	}
	return mistakes
}

// UpdateSigner changes a signer of that version by a JSON merge patch (RFC 7396)
// over what [Service.Signer] returns. Fields that are the server's may be in it
// unchanged. A kms signer whose reference changes has its key read anew. A patch
// that changes nothing writes nothing.
func (s *Service) UpdateSigner(ctx context.Context, c Caller, id string, version int64, patch []byte) (client.Signer, error) {
	if err := c.may(auth.Administer); err != nil {
		return client.Signer{}, err
	}
	old, err := s.signer(ctx, id)
	if err != nil {
		return client.Signer{}, err
	}
	if old.Version != version {
		return client.Signer{}, stale(signerNamed(old.Name), old.Version, version)
	}
	if err := c.owns(signerNamed(old.Name), old.Owner, old.Images); err != nil {
		return client.Signer{}, err
	}
	now, err := s.show(ctx, old)
	if err != nil {
		return client.Signer{}, err
	}
	next, err := mergePatch(now, patch, readOnlySigner(), []string{"name", "type", "enabled"})
	if err != nil {
		return client.Signer{}, err
	}
	readKey, err := keyAfter(old, &next, patch)
	if err != nil {
		return client.Signer{}, err
	}
	row, mistakes := rowOf(next, old)
	if err := mistakes.err(); err != nil {
		return client.Signer{}, err
	}
	if err := c.owns(signerNamed(next.Name), next.Owner, next.Images); err != nil {
		return client.Signer{}, err
	}
	// What was named before may stay: nothing keeps a signer from being disabled.
	named := slices.DeleteFunc(slices.Clone(next.TrustRoots), func(name string) bool { return slices.Contains(old.TrustRoots, name) })
	if err := s.knownRoots(ctx, named); err != nil {
		return client.Signer{}, err
	}
	if readKey {
		if err := s.pin(ctx, &row); err != nil {
			return client.Signer{}, err
		}
	}
	if sameSigner(row, old) {
		return now, nil
	}
	err = s.change(ctx, c, func(tx *store.Tx) error {
		if err := current(ctx, tx, old); err != nil {
			return err
		}
		if row.Name != old.Name {
			if err := unreferenced(ctx, tx, old.Name, "renamed"); err != nil {
				return err
			}
		}
		if row.Name != old.Name || row.SubjectPattern != old.SubjectPattern || row.SubjectKind != old.SubjectKind || row.Issuer != old.Issuer {
			if err := fits(ctx, tx, []store.SignerRow{row}, nil); err != nil {
				return err
			}
		}
		row, err = tx.PutSigner(ctx, row)
		return nameTaken(err, next.Name)
	})
	if err != nil {
		return client.Signer{}, err
	}
	switch {
	case readKey:
		s.keyRead(ctx, row)
	case old.Type == string(signers.KMS) && row.Type != old.Type:
		s.forgetKey(ctx, row.ID)
	}
	return s.show(ctx, row)
}

// keyAfter settles what becomes of the key when a patch changes the type or the
// key reference, and says whether the key must be read. A key that was read from
// a service is never kept under another reference or type, unless the patch
// itself says so.
func keyAfter(old store.SignerRow, next *client.Signer, patch []byte) (read bool, err error) {
	var said map[string]json.RawMessage
	if err := json.Unmarshal(patch, &said); err != nil {
		return false, fmt.Errorf("reading the patch: %w", err) // it was read before
	}
	_, keySaid := said["public_key"]
	wasKMS := old.Type == string(signers.KMS)
	if next.Type == string(signers.KMS) {
		if keySaid && (!wasKMS || next.PublicKey != old.PublicKey) {
			return false, fieldError("public_key", "does not go with type kms, whose key is read from the service; leave it out")
		}
		if !wasKMS || next.KMSKeyRef != old.KMSKeyRef {
			next.PublicKey = ""
			return true, nil
		}
		return false, nil
	}
	if wasKMS && !keySaid {
		next.PublicKey = ""
	}
	return false, nil
}

// sameSigner says whether a caller changed nothing.
func sameSigner(a, b store.SignerRow) bool { return reflect.DeepEqual(normal(a), normal(b)) }

// current makes sure, within the change, that a row is still what was looked at.
func current(ctx context.Context, tx *store.Tx, seen store.SignerRow) error {
	now, err := tx.Signer(ctx, seen.ID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return refuse(ErrNotFound, "%s was removed meanwhile", signerNamed(seen.Name))
	case err != nil:
		return err
	case now.Version != seen.Version:
		return stale(signerNamed(now.Name), now.Version, seen.Version)
	}
	return nil
}

func stale(what string, now, asked int64) error {
	return refuse(ErrStale, "%s is at version %d, and the change was meant for version %d; read it again", what, now, asked)
}

// DeleteSigner removes a signer of that version; the audit log and past verdicts
// keep it. One that a policy names is [ErrConflict].
func (s *Service) DeleteSigner(ctx context.Context, c Caller, id string, version int64) error {
	if err := c.may(auth.Administer); err != nil {
		return err
	}
	old, err := s.signer(ctx, id)
	if err != nil {
		return err
	}
	if old.Version != version {
		return stale(signerNamed(old.Name), old.Version, version)
	}
	if err := c.owns(signerNamed(old.Name), old.Owner, old.Images); err != nil {
		return err
	}
	err = s.change(ctx, c, func(tx *store.Tx) error {
		if err := current(ctx, tx, old); err != nil {
			return err
		}
		if err := unreferenced(ctx, tx, old.Name, "removed"); err != nil {
			return err
		}
		return tx.DeleteSigner(ctx, old.ID, old.Version)
	})
	if err == nil && old.Type == string(signers.KMS) {
		s.forgetKey(ctx, old.ID)
	}
	return err
}
