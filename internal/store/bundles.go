package store

import (
	"context"
	"fmt"
	"time"
)

// ObjectBundle is the kind of object that is a policy bundle's archive.
const ObjectBundle = "bundle"

// BundleRow is a policy bundle as it is kept. Its archive is an object of kind
// [ObjectBundle], which is put first, in the same change or before.
type BundleRow struct {
	Name string `json:"name"`
	// Source is "api", or "configuration" for a bundle that servers fetch.
	Source string `json:"source"`
	// Owner is the team that may change it; "" is the whole installation.
	Owner string `json:"owner"`
	// Location is where it is fetched from; "" for one that is uploaded.
	Location string `json:"location"`
	// Keys are the public keys, PEM by key id, of which one must have signed its
	// archives; none: they need not be signed. Scope is that of the signatures.
	Keys  map[string]string `json:"keys"`
	Scope string            `json:"scope"`
	// Digest is the SHA-256 of the archive in force; "" before there is one, and
	// then so are the fields up to SignedBy.
	Digest string `json:"digest"`
	// PolicyDigest is that of what the archive makes a policy of.
	PolicyDigest string `json:"policy_digest"`
	// Revision is what the archive's manifest calls it, Sequence its number there.
	Revision string `json:"revision"`
	Sequence int64  `json:"sequence"`
	// SignedBy is the id of the key that has signed it; "" where none is wanted.
	SignedBy string `json:"signed_by"`
	// HighestSequence is the highest that ever was in force under this name.
	HighestSequence int64 `json:"highest_sequence"`
	// Validator is what the source said of the archive in force, to ask it whether
	// that is still the newest. It is no part of the history.
	Validator string `json:"-"`
	// ActivatedAt is when the archive was put into force; nil before there is one.
	ActivatedAt *time.Time `json:"activated_at"`
	// The store fills in these, as in [PolicyRow].
	CreatedBy string    `json:"created_by"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedBy string    `json:"updated_by"`
	UpdatedAt time.Time `json:"updated_at"`
	Version   int64     `json:"version"`
}

// complete puts a row into the form in which it will be read again.
func (r *BundleRow) complete() error {
	switch {
	case r.Name == "":
		return fmt.Errorf("%w: bundle name: is empty", ErrInvalid)
	case r.Source != "api" && r.Source != "configuration":
		return fmt.Errorf("%w: bundle source: %q is not api or configuration", ErrInvalid, r.Source)
	case r.Sequence < 0 || r.HighestSequence < r.Sequence:
		return fmt.Errorf("%w: bundle sequence: %d is negative, or above the highest, %d", ErrInvalid, r.Sequence, r.HighestSequence)
	case (r.Digest == "") != (r.ActivatedAt == nil):
		return fmt.Errorf("%w: bundle activated_at: goes with the digest of what is in force", ErrInvalid)
	}
	if r.Keys == nil {
		r.Keys = map[string]string{}
	}
	r.ActivatedAt = canonicalTime(r.ActivatedAt)
	return nil
}

// kept leaves out who and when.
func (r BundleRow) kept() BundleRow {
	r.CreatedBy, r.UpdatedBy, r.Version = "", "", 0
	r.CreatedAt, r.UpdatedAt, r.ActivatedAt = time.Time{}, time.Time{}, nil
	return r
}

const bundleColumns = `name, source, owner, location, keys, scope, digest, policy_digest, revision, sequence, highest_sequence,
	signed_by, validator, activated_at, created_by, created_at, updated_by, updated_at, version`

func scanBundle(row rower) (BundleRow, error) {
	var r BundleRow
	err := row.Scan(&r.Name, &r.Source, &r.Owner, &r.Location, strictColumn{&r.Keys}, &r.Scope, &r.Digest, &r.PolicyDigest, &r.Revision,
		&r.Sequence, &r.HighestSequence, &r.SignedBy, &r.Validator, timePtrColumn{&r.ActivatedAt},
		&r.CreatedBy, timeColumn{&r.CreatedAt}, &r.UpdatedBy, timeColumn{&r.UpdatedAt}, &r.Version)
	return r, err
}

// Bundles lists all policy bundles by name.
func (s *Store) Bundles(ctx context.Context) ([]BundleRow, error) { return readBundles(ctx, s.read) }

// Bundles lists all policy bundles by name as this change sees them.
func (t *Tx) Bundles(ctx context.Context) ([]BundleRow, error) { return readBundles(ctx, t.tx) }

func readBundles(ctx context.Context, q querier) ([]BundleRow, error) {
	const op = "reading the bundles"
	rows, err := q.QueryContext(ctx, `SELECT `+bundleColumns+` FROM bundles ORDER BY name`)
	if err != nil {
		return nil, wrap(op, err)
	}
	return collect(op, rows, scanBundle)
}

// Bundle returns one policy bundle, or [ErrNotFound].
func (s *Store) Bundle(ctx context.Context, name string) (BundleRow, error) {
	return readBundle(ctx, s.read, name)
}

// Bundle returns one policy bundle as this change sees it, or [ErrNotFound].
func (t *Tx) Bundle(ctx context.Context, name string) (BundleRow, error) {
	return readBundle(ctx, t.tx, name)
}

func readBundle(ctx context.Context, q querier, name string) (BundleRow, error) {
	r, err := scanBundle(q.QueryRowContext(ctx, `SELECT `+bundleColumns+` FROM bundles WHERE name = ?`, name))
	if err != nil {
		return BundleRow{}, wrap(fmt.Sprintf("reading bundle %q", name), err)
	}
	return r, nil
}

// PutBundle keeps a policy bundle and returns it as kept, with versions as in
// [Tx.PutPolicy]. Its archive must have been put: [ErrInvalid] otherwise. Where
// nothing differs but the validator and the time of the activation, nothing is
// written.
func (t *Tx) PutBundle(ctx context.Context, r BundleRow) (BundleRow, error) {
	if err := r.complete(); err != nil {
		return BundleRow{}, err
	}
	if err := t.hasObject(ctx, ObjectBundle, r.Digest); err != nil {
		return BundleRow{}, fmt.Errorf("bundle %q: %w", r.Name, err)
	}
	before, err := changing(r.Version, "bundle", r.Name, func(r BundleRow) int64 { return r.Version })(readBundle(ctx, t.tx, r.Name))
	if err != nil {
		return BundleRow{}, err
	}
	action := "bundle.create"
	r.Version, r.CreatedBy, r.CreatedAt = 1, t.by.Name, t.at
	if before != nil {
		same, err := sameJSON(r.kept(), before.kept())
		if err != nil || same {
			return *before, err
		}
		action = "bundle.update"
		if r.Digest != before.Digest {
			action = "bundle.activate"
		}
		r.Version, r.CreatedBy, r.CreatedAt = before.Version+1, before.CreatedBy, before.CreatedAt
	}
	r.UpdatedBy, r.UpdatedAt = t.by.Name, t.at
	keys, err := canonicalJSON(r.Keys)
	if err != nil {
		return BundleRow{}, err
	}
	err = t.exec(ctx, "keeping a bundle", `INSERT INTO bundles (`+bundleColumns+`)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (name) DO UPDATE SET source = excluded.source, owner = excluded.owner, location = excluded.location, keys = excluded.keys,
			scope = excluded.scope, digest = excluded.digest, policy_digest = excluded.policy_digest, revision = excluded.revision,
			sequence = excluded.sequence, highest_sequence = excluded.highest_sequence, signed_by = excluded.signed_by,
			validator = excluded.validator, activated_at = excluded.activated_at,
			updated_by = excluded.updated_by, updated_at = excluded.updated_at, version = excluded.version`,
		r.Name, r.Source, r.Owner, r.Location, keys, r.Scope, r.Digest, r.PolicyDigest, r.Revision, r.Sequence, r.HighestSequence,
		r.SignedBy, r.Validator, formatTimePtr(r.ActivatedAt), r.CreatedBy, formatTime(r.CreatedAt), r.UpdatedBy, formatTime(r.UpdatedAt), r.Version)
	if err != nil {
		return BundleRow{}, err
	}
	if err := t.bundleChanged(ctx, action, before, &r); err != nil {
		return BundleRow{}, err
	}
	return r, nil
}

// DeleteBundle removes a policy bundle of that version; [ErrNotFound] and
// [ErrConflict] as for PutBundle. Its history and its archives stay.
func (t *Tx) DeleteBundle(ctx context.Context, name string, version int64) error {
	old, err := readBundle(ctx, t.tx, name)
	if err != nil {
		return err
	}
	if old.Version != version {
		return stale("bundle", name, old.Version, version)
	}
	if err := t.exec(ctx, "deleting a bundle", `DELETE FROM bundles WHERE name = ?`, name); err != nil {
		return err
	}
	return t.bundleChanged(ctx, "bundle.delete", &old, nil)
}

func (t *Tx) bundleChanged(ctx context.Context, action string, before, after *BundleRow) error {
	t.touched[InputBundles] = true
	return changed(ctx, t, action, "bundle", "bundle_history", nameOf(before, after, func(r BundleRow) string { return r.Name }), before, after)
}

// NoteValidator keeps what the source says now of the archive that is in force, if
// it is still that of the digest. It changes nothing that is in force, and is not
// audited.
func (s *Store) NoteValidator(ctx context.Context, name, digest, validator string) error {
	return s.update(ctx, "keeping a bundle's validator", func(w writer) error {
		return w.exec(`UPDATE bundles SET validator = ? WHERE name = ? AND digest = ?`, validator, name, digest)
	})
}

func (t *Tx) digestBundles(ctx context.Context) (string, error) {
	const op = "reading the bundles"
	rows, err := t.tx.QueryContext(ctx, `SELECT name, digest FROM bundles ORDER BY name`)
	if err != nil {
		return "", wrap(op, err)
	}
	pairs, err := collect(op, rows, scanPair)
	if err != nil {
		return "", err
	}
	return digestPairs(pairs)
}

func digestBundleRows(rows []BundleRow) ([]string, error) {
	pairs := make([][2]string, len(rows))
	for i, r := range rows {
		pairs[i] = [2]string{r.Name, r.Digest}
	}
	digest, err := digestPairs(pairs)
	return []string{digest}, err
}

// BundlesAt returns the policy bundles that were in force under a revision, by
// name. They must hash to what the revision says, else [ErrCorrupt].
func (s *Store) BundlesAt(ctx context.Context, revision int64) ([]BundleRow, error) {
	return stateAt(ctx, s, InputBundles, "bundle_history", revision, digestBundleRows)
}

// Past is a state that something in force has had.
type Past[T any] struct {
	Row T
	// From is the revision that made it so, Until the one that ended it; nil where
	// it still is.
	From  int64
	Until *int64
}

// PolicyHistory lists the states that a policy has had, oldest first; none for a
// name that never was.
func (s *Store) PolicyHistory(ctx context.Context, name string) ([]Past[PolicyRow], error) {
	return past[PolicyRow](ctx, s.read, "policy_history", name)
}

// PolicyHistory is [Store.PolicyHistory] as this change sees it.
func (t *Tx) PolicyHistory(ctx context.Context, name string) ([]Past[PolicyRow], error) {
	return past[PolicyRow](ctx, t.tx, "policy_history", name)
}

// BundleHistory lists the states that a policy bundle has had, oldest first; none
// for a name that never was.
func (s *Store) BundleHistory(ctx context.Context, name string) ([]Past[BundleRow], error) {
	return past[BundleRow](ctx, s.read, "bundle_history", name)
}

// BundleHistory is [Store.BundleHistory] as this change sees it.
func (t *Tx) BundleHistory(ctx context.Context, name string) ([]Past[BundleRow], error) {
	return past[BundleRow](ctx, t.tx, "bundle_history", name)
}

func past[T any](ctx context.Context, q querier, table, id string) ([]Past[T], error) {
	op := "reading " + table
	rows, err := q.QueryContext(ctx, `SELECT body, from_revision, until_revision FROM `+table+` WHERE id = ? ORDER BY from_revision`, id)
	if err != nil {
		return nil, wrap(op, err)
	}
	return collect(op, rows, func(r rower) (Past[T], error) {
		var p Past[T]
		err := r.Scan(strictColumn{&p.Row}, &p.From, &p.Until)
		return p, err
	})
}

// AuditOf is the newest entry about an object at or before a revision, or
// [ErrNotFound]. object is for example "policy/default".
func (s *Store) AuditOf(ctx context.Context, object string, revision int64) (AuditEntry, error) {
	e, err := scanAudit(s.read.QueryRowContext(ctx, `SELECT `+auditColumns+` FROM audit
		WHERE object = ? AND revision <= ? ORDER BY seq DESC LIMIT 1`, object, revision))
	if err != nil {
		return AuditEntry{}, wrap(fmt.Sprintf("reading the audit log of %s", object), err)
	}
	return e, nil
}
