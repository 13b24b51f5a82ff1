package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/signet-policy/signet/internal/facts"
)

// The kinds of objects that a [RootRow] names.
const (
	// ObjectTrustRoot is a trusted_root.json.
	ObjectTrustRoot = "trust_root"
	// ObjectTUFMetadata is a JSON object: name of the metadata to its bytes in
	// base64.
	ObjectTUFMetadata = "tuf_metadata"
)

// RootRow is a trust root as it is kept; its bytes are objects, which are put
// first, in the same change.
type RootRow struct {
	Name string `json:"name"`
	// Source is "api", "configuration" or "embedded".
	Source string `json:"source"`
	// Position says in which order roots are tried, the lowest first.
	Position int `json:"position"`
	// Kind is "file" or "tuf".
	Kind string `json:"kind"`
	// Digest is that of the object of kind [ObjectTrustRoot].
	Digest string `json:"digest"`
	// Requires is {"log":bool,"sct":bool,"timestamp":bool}.
	Requires json.RawMessage `json:"requires"`
	// Images are globs of the images whose evidence it may vouch for; none: all.
	Images []string `json:"images"`
	TUFURL string   `json:"tuf_url"`
	Target string   `json:"target"`
	// TUFMetadata is the digest of the object of kind [ObjectTUFMetadata]; "" for
	// a file.
	TUFMetadata string `json:"tuf_metadata"`
	// RefreshedAt is when it was last known to be current; nil for a root that is
	// never to be refreshed.
	RefreshedAt *time.Time `json:"refreshed_at"`
	// The store fills in these, as in [PolicyRow].
	CreatedBy string    `json:"created_by"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedBy string    `json:"updated_by"`
	UpdatedAt time.Time `json:"updated_at"`
	Version   int64     `json:"version"`
}

// complete puts a row into the form in which it will be read again.
func (r *RootRow) complete() error {
	switch {
	case r.Name == "":
		return fmt.Errorf("%w: trust root name: is empty", ErrInvalid)
	case r.Source != "api" && r.Source != "configuration" && r.Source != "embedded":
		return fmt.Errorf("%w: trust root source: %q is not api, configuration or embedded", ErrInvalid, r.Source)
	case r.Kind != "file" && r.Kind != "tuf":
		return fmt.Errorf("%w: trust root kind: %q is not file or tuf", ErrInvalid, r.Kind)
	case r.Digest == "":
		return fmt.Errorf("%w: trust root digest: is empty", ErrInvalid)
	}
	if len(r.Requires) == 0 {
		return fmt.Errorf("%w: trust root requires: is empty", ErrInvalid)
	}
	requires, err := facts.Canonical(r.Requires)
	if err != nil {
		return fmt.Errorf("%w: trust root requires: %w", ErrInvalid, err)
	}
	r.Requires, r.Images, r.RefreshedAt = requires, orEmpty(r.Images), canonicalTime(r.RefreshedAt)
	return nil
}

// inForce leaves out who and when.
func (r RootRow) inForce() RootRow {
	r.CreatedBy, r.UpdatedBy, r.Version = "", "", 0
	r.CreatedAt, r.UpdatedAt = time.Time{}, time.Time{}
	return r
}

const rootColumns = `name, source, position, kind, digest, requires, images, tuf_url, target, tuf_metadata, refreshed_at,
	created_by, created_at, updated_by, updated_at, version`

func scanRoot(row rower) (RootRow, error) {
	var r RootRow
	err := row.Scan(&r.Name, &r.Source, &r.Position, &r.Kind, &r.Digest, canonicalColumn{&r.Requires}, strictColumn{&r.Images},
		&r.TUFURL, &r.Target, &r.TUFMetadata, timePtrColumn{&r.RefreshedAt},
		&r.CreatedBy, timeColumn{&r.CreatedAt}, &r.UpdatedBy, timeColumn{&r.UpdatedAt}, &r.Version)
	return r, err
}

// Roots lists all trust roots by position, then name.
func (s *Store) Roots(ctx context.Context) ([]RootRow, error) { return readRoots(ctx, s.read) }

// Roots lists all trust roots as this change sees them.
func (t *Tx) Roots(ctx context.Context) ([]RootRow, error) { return readRoots(ctx, t.tx) }

func readRoots(ctx context.Context, q querier) ([]RootRow, error) {
	const op = "reading the trust roots"
	rows, err := q.QueryContext(ctx, `SELECT `+rootColumns+` FROM trust_roots ORDER BY position, name`)
	if err != nil {
		return nil, wrap(op, err)
	}
	return collect(op, rows, scanRoot)
}

// Root returns one trust root, or [ErrNotFound].
func (s *Store) Root(ctx context.Context, name string) (RootRow, error) {
	return readRoot(ctx, s.read, name)
}

// Root returns one trust root as this change sees it, or [ErrNotFound].
func (t *Tx) Root(ctx context.Context, name string) (RootRow, error) {
	return readRoot(ctx, t.tx, name)
}

func readRoot(ctx context.Context, q querier, name string) (RootRow, error) {
	r, err := scanRoot(q.QueryRowContext(ctx, `SELECT `+rootColumns+` FROM trust_roots WHERE name = ?`, name))
	if err != nil {
		return RootRow{}, wrap(fmt.Sprintf("reading trust root %q", name), err)
	}
	return r, nil
}

// PutRoot keeps a trust root and returns it as kept, with versions as in
// [Tx.PutPolicy]. The objects that it names must have been put: [ErrInvalid]
// otherwise. Where nothing differs, nothing is written.
func (t *Tx) PutRoot(ctx context.Context, r RootRow) (RootRow, error) {
	if err := r.complete(); err != nil {
		return RootRow{}, err
	}
	for kind, digest := range map[string]string{ObjectTrustRoot: r.Digest, ObjectTUFMetadata: r.TUFMetadata} {
		if err := t.hasObject(ctx, kind, digest); err != nil {
			return RootRow{}, fmt.Errorf("trust root %q: %w", r.Name, err)
		}
	}
	before, err := changing(r.Version, "trust root", r.Name, func(r RootRow) int64 { return r.Version })(readRoot(ctx, t.tx, r.Name))
	if err != nil {
		return RootRow{}, err
	}
	action := "trust_root.create"
	r.Version, r.CreatedBy, r.CreatedAt = 1, t.by.Name, t.at
	if before != nil {
		same, err := sameJSON(r.inForce(), before.inForce())
		if err != nil || same {
			return *before, err
		}
		action = "trust_root.update"
		r.Version, r.CreatedBy, r.CreatedAt = before.Version+1, before.CreatedBy, before.CreatedAt
	}
	r.UpdatedBy, r.UpdatedAt = t.by.Name, t.at
	images, err := canonicalJSON(r.Images)
	if err != nil {
		return RootRow{}, err
	}
	err = t.exec(ctx, "keeping a trust root", `INSERT INTO trust_roots (`+rootColumns+`)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (name) DO UPDATE SET source = excluded.source, position = excluded.position, kind = excluded.kind,
			digest = excluded.digest, requires = excluded.requires, images = excluded.images, tuf_url = excluded.tuf_url,
			target = excluded.target, tuf_metadata = excluded.tuf_metadata, refreshed_at = excluded.refreshed_at,
			updated_by = excluded.updated_by, updated_at = excluded.updated_at, version = excluded.version`,
		r.Name, r.Source, r.Position, r.Kind, r.Digest, string(r.Requires), images, r.TUFURL, r.Target, r.TUFMetadata, formatTimePtr(r.RefreshedAt),
		r.CreatedBy, formatTime(r.CreatedAt), r.UpdatedBy, formatTime(r.UpdatedAt), r.Version)
	if err != nil {
		return RootRow{}, err
	}
	if err := t.rootChanged(ctx, action, before, &r); err != nil {
		return RootRow{}, err
	}
	return r, nil
}

func (t *Tx) hasObject(ctx context.Context, kind, digest string) error {
	if digest == "" {
		return nil
	}
	var n int
	if err := t.tx.QueryRowContext(ctx, `SELECT count(*) FROM objects WHERE kind = ? AND digest = ?`, kind, digest).Scan(&n); err != nil {
		return wrap("looking for an object", err)
	}
	if n == 0 {
		return fmt.Errorf("%w: there is no %s %s; put it first", ErrInvalid, kind, digest)
	}
	return nil
}

// DeleteRoot removes a trust root of that version; [ErrNotFound] and
// [ErrConflict] as for PutRoot. Its history and its bytes stay.
func (t *Tx) DeleteRoot(ctx context.Context, name string, version int64) error {
	old, err := readRoot(ctx, t.tx, name)
	if err != nil {
		return err
	}
	if old.Version != version {
		return stale("trust root", name, old.Version, version)
	}
	if err := t.exec(ctx, "deleting a trust root", `DELETE FROM trust_roots WHERE name = ?`, name); err != nil {
		return err
	}
	return t.rootChanged(ctx, "trust_root.delete", &old, nil)
}

func (t *Tx) rootChanged(ctx context.Context, action string, before, after *RootRow) error {
	t.touched[InputTrustRoots] = true
	return changed(ctx, t, action, "trust_root", "root_history", nameOf(before, after, func(r RootRow) string { return r.Name }), before, after)
}

func (t *Tx) digestRoots(ctx context.Context) (string, error) {
	const op = "reading the trust roots"
	rows, err := t.tx.QueryContext(ctx, `SELECT `+rootColumns+` FROM trust_roots ORDER BY name`)
	if err != nil {
		return "", wrap(op, err)
	}
	list, err := collect(op, rows, scanRoot)
	if err != nil {
		return "", err
	}
	digests, err := digestRootRows(list)
	if err != nil {
		return "", err
	}
	return digests[0], nil
}

// digestRootRows is over the rows in the order of their names.
func digestRootRows(rows []RootRow) ([]string, error) {
	pairs := make([][2]string, len(rows))
	for i, r := range rows {
		body, err := facts.Canonical(r.inForce())
		if err != nil {
			return nil, fmt.Errorf("digesting trust root %q: %w", r.Name, err)
		}
		pairs[i] = [2]string{r.Name, facts.Digest(body)}
	}
	digest, err := digestPairs(pairs)
	return []string{digest}, err
}

// RootsAt returns the trust roots that were in force under a revision, by name.
// They must hash to what the revision says, else [ErrCorrupt].
func (s *Store) RootsAt(ctx context.Context, revision int64) ([]RootRow, error) {
	return stateAt(ctx, s, InputTrustRoots, "root_history", revision, digestRootRows)
}

func sameJSON(a, b any) (bool, error) {
	x, err := canonicalJSON(a)
	if err != nil {
		return false, err
	}
	y, err := canonicalJSON(b)
	return x == y, err
}
