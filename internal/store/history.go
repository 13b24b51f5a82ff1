package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/signet-policy/signet/internal/facts"
)

// remember keeps a state in one of the tables of history, whose names are
// constants: body from this revision on, nil for no more. name is what the row
// is called; existed says that there may be states before.
func (t *Tx) remember(ctx context.Context, table, id, name string, existed bool, body []byte) error {
	op := "keeping " + table
	rev := t.revision()
	if existed {
		// A second change in one transaction replaces the first: no verdict saw it.
		if err := t.exec(ctx, op, `DELETE FROM `+table+` WHERE id = ? AND from_revision = ?`, id, rev); err != nil {
			return err
		}
		if err := t.exec(ctx, op, `UPDATE `+table+` SET until_revision = ? WHERE id = ? AND until_revision IS NULL`, rev, id); err != nil {
			return err
		}
	}
	if body == nil {
		return nil
	}
	return t.exec(ctx, op, `INSERT INTO `+table+` (id, from_revision, until_revision, body, name) VALUES (?, ?, NULL, ?, ?)`,
		id, rev, string(body), name)
}

// stateAt reads one kind of input as it was under a revision, by id. It must
// hash to what the revision says, else [ErrCorrupt].
func stateAt[T any](ctx context.Context, s *Store, kind, table string, revision int64, digest func([]T) ([]string, error)) ([]T, error) {
	op := fmt.Sprintf("reading the %s of revision %d", kind, revision)
	if revision == 0 {
		return []T{}, nil // the empty installation
	}
	rev, err := s.Revision(ctx, revision)
	if err != nil {
		return nil, err
	}
	rows, err := s.read.QueryContext(ctx, `SELECT body FROM `+table+`
		WHERE from_revision <= ? AND (until_revision IS NULL OR until_revision > ?) ORDER BY id`, revision, revision)
	if err != nil {
		return nil, wrap(op, err)
	}
	list, err := collect(op, rows, func(r rower) (T, error) {
		var row T
		err := r.Scan(strictColumn{&row})
		return row, err
	})
	if err != nil {
		return nil, err
	}
	digests, err := digest(list)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", op, ErrCorrupt, err)
	}
	for _, d := range digests {
		if d == rev.Inputs[kind] {
			return list, nil
		}
	}
	return nil, fmt.Errorf("%s: %w: they hash to %q, and the revision says %q", op, ErrCorrupt, digests, rev.Inputs[kind])
}

// bodyOf is a row as the audit log and history keep it, nil for none.
func bodyOf[T any](r *T) (json.RawMessage, error) {
	if r == nil {
		return nil, nil
	}
	b, err := facts.Canonical(r)
	if err != nil {
		return nil, errors.Join(ErrInvalid, err)
	}
	return b, nil
}
