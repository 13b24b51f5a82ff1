package store

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// DraftRow is a policy bundle that somebody works on. Nothing rests on it: it is not
// audited and has no history; publishing it is, and has.
type DraftRow struct {
	// Name is that of the bundle that it is to become.
	Name  string
	Owner string
	// Base is the digest of the archive that it began from, "" for none.
	Base string
	// Files are the author's own, tests included, by name.
	Files map[string]string
	// The store fills in these, but for who: UpdatedBy is given.
	CreatedBy string
	CreatedAt time.Time
	UpdatedBy string
	UpdatedAt time.Time
	Version   int64
}

const draftColumns = `name, owner, base, files, created_by, created_at, updated_by, updated_at, version`

func scanDraft(row rower) (DraftRow, error) {
	var r DraftRow
	var files string
	err := row.Scan(&r.Name, &r.Owner, &r.Base, &files, &r.CreatedBy, timeColumn{&r.CreatedAt}, &r.UpdatedBy, timeColumn{&r.UpdatedAt}, &r.Version)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal([]byte(files), &r.Files); err != nil {
		return r, fmt.Errorf("%w: draft %s: files: %w", ErrCorrupt, r.Name, err)
	}
	return r, nil
}

// Drafts lists all of them by name, without their files.
func (s *Store) Drafts(ctx context.Context) ([]DraftRow, error) {
	const op = "reading the drafts"
	rows, err := s.read.QueryContext(ctx, `SELECT name, owner, base, '{}', created_by, created_at, updated_by, updated_at, version FROM bundle_drafts ORDER BY name`)
	if err != nil {
		return nil, wrap(op, err)
	}
	return collect(op, rows, scanDraft)
}

// Draft returns one, or [ErrNotFound].
func (s *Store) Draft(ctx context.Context, name string) (DraftRow, error) {
	return readDraft(ctx, s.read, name)
}

func readDraft(ctx context.Context, q querier, name string) (DraftRow, error) {
	r, err := scanDraft(q.QueryRowContext(ctx, `SELECT `+draftColumns+` FROM bundle_drafts WHERE name = ?`, name))
	if err != nil {
		return DraftRow{}, wrap(fmt.Sprintf("reading the draft of bundle %q", name), err)
	}
	return r, nil
}

// draftLock is the number of the lock under which PostgreSQL counts drafts, so that
// two servers do not each write the last that there is room for. It is random.
const draftLock = 7302856194471836

// PutDraft keeps a draft and returns it as kept. Version is that of what it
// replaces, 0 for a new one; another is [ErrConflict]. Where the owner has one more by
// it, room is told how many others there are of that owner, and in all; its error,
// returned as it is, refuses the draft. nil is room for any number.
func (s *Store) PutDraft(ctx context.Context, r DraftRow, room func(ofOwner, all int) error) (DraftRow, error) {
	const op = "keeping a draft"
	if r.Name == "" || r.UpdatedBy == "" || len(r.Files) == 0 {
		return DraftRow{}, fmt.Errorf("%s: %w: it has a name, a person and files", op, ErrInvalid)
	}
	files, err := json.Marshal(r.Files)
	if err != nil {
		return DraftRow{}, fmt.Errorf("%s: %w", op, err)
	}
	version := r.Version
	var full error
	err = s.update(ctx, op, func(w writer) error {
		before, err := changing(version, "the draft of bundle", r.Name, func(r DraftRow) int64 { return r.Version })(readDraft(w.ctx, w.tx, r.Name))
		if err != nil {
			return err
		}
		if room != nil && (before == nil || before.Owner != r.Owner) {
			if full, err = roomFor(w, r, room); full != nil || err != nil {
				return cmp.Or(full, err)
			}
		}
		r.UpdatedAt = s.now().UTC().Truncate(time.Microsecond)
		r.Version, r.CreatedBy, r.CreatedAt = 1, r.UpdatedBy, r.UpdatedAt
		if before == nil { // one that another transaction makes meanwhile violates the key
			return w.exec(`INSERT INTO bundle_drafts (`+draftColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
				r.Name, r.Owner, r.Base, string(files), r.CreatedBy, formatTime(r.CreatedAt), r.UpdatedBy, formatTime(r.UpdatedAt), r.Version)
		}
		r.Version, r.CreatedBy, r.CreatedAt = version+1, before.CreatedBy, before.CreatedAt
		n, err := w.affected(`UPDATE bundle_drafts SET owner = ?, base = ?, files = ?, updated_by = ?, updated_at = ?, version = ? WHERE name = ? AND version = ?`,
			r.Owner, r.Base, string(files), r.UpdatedBy, formatTime(r.UpdatedAt), r.Version, r.Name, version)
		if err == nil && n == 0 {
			err = stale("the draft of bundle", r.Name, before.Version+1, version)
		}
		return err
	})
	switch {
	case full != nil:
		return DraftRow{}, full
	case err != nil:
		return DraftRow{}, err
	}
	return r, nil
}

// roomFor says why there is no room for a draft beside the others, until the end of the
// transaction. One that is there already, and changes its owner, is none of the others.
func roomFor(w writer, r DraftRow, room func(ofOwner, all int) error) (full, err error) {
	if err := w.alone(draftLock); err != nil {
		return nil, err
	}
	var ofOwner, all int
	err = w.tx.QueryRowContext(w.ctx, `SELECT count(CASE WHEN owner = ? THEN 1 END), count(*) FROM bundle_drafts WHERE name <> ?`, r.Owner, r.Name).Scan(&ofOwner, &all)
	if err != nil {
		return nil, err
	}
	return room(ofOwner, all), nil
}

// DeleteDraft removes the draft of that version; [ErrNotFound] and [ErrConflict] as
// for PutDraft.
func (s *Store) DeleteDraft(ctx context.Context, name string, version int64) error {
	return s.update(ctx, "deleting a draft", func(w writer) error {
		old, err := readDraft(w.ctx, w.tx, name)
		if err != nil {
			return err
		}
		n, err := w.affected(`DELETE FROM bundle_drafts WHERE name = ? AND version = ?`, name, version)
		if err == nil && n == 0 {
			err = stale("the draft of bundle", name, old.Version, version)
		}
		return err
	})
}
