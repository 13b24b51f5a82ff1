package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/verdict"
)

// Inputs are the parts of what is in force, by kind: the digest of each. The
// digest of active is that of their canonical JSON, so it depends on nothing
// else: a change that is taken back gives the old digest under a new revision.
type Inputs map[string]string

// Kinds of inputs that the store keeps itself. Others come by [Tx.SetInput].
const (
	InputSigners = "signers"
	InputTokens  = "tokens"
)

func (in Inputs) digest() (string, error) {
	body, err := facts.Canonical(in)
	if err != nil {
		return "", fmt.Errorf("digesting what is in force: %w", err)
	}
	return facts.Digest(body), nil
}

// Active names everything in force. What was acknowledged before the call is in
// it: in the process that writes it is read from memory, which every commit
// keeps in step, else from the database.
func (s *Store) Active(ctx context.Context) (verdict.Active, error) {
	if a := s.current.Load(); a != nil {
		return *a, nil
	}
	if s.write == nil {
		return readActive(ctx, s.read)
	}
	s.changing.Lock()
	defer s.changing.Unlock()
	return s.reload(ctx)
}

// reload reads active into memory. The caller holds changing, or nobody else has
// the store yet.
func (s *Store) reload(ctx context.Context) (verdict.Active, error) {
	if a := s.current.Load(); a != nil {
		return *a, nil
	}
	a, err := readActive(ctx, s.write)
	if err != nil {
		return verdict.Active{}, err
	}
	s.current.Store(&a)
	return a, nil
}

// querier is a *sql.DB or a *sql.Tx.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func readActive(ctx context.Context, q querier) (verdict.Active, error) {
	var a verdict.Active
	err := q.QueryRowContext(ctx, `SELECT revision, digest FROM active WHERE one = 1`).Scan(&a.Revision, &a.Digest)
	if errors.Is(err, sql.ErrNoRows) {
		return verdict.Active{}, fmt.Errorf("reading active: %w: its row is missing", ErrCorrupt)
	}
	if err != nil {
		return verdict.Active{}, wrap("reading active", err)
	}
	return a, nil
}

func readInputs(ctx context.Context, q querier) (Inputs, error) {
	const op = "reading the inputs"
	rows, err := q.QueryContext(ctx, `SELECT kind, digest FROM inputs`)
	if err != nil {
		return nil, wrap(op, err)
	}
	type input struct{ kind, digest string }
	list, err := collect(op, rows, func(r rower) (input, error) {
		var in input
		err := r.Scan(&in.kind, &in.digest)
		return in, err
	})
	if err != nil {
		return nil, err
	}
	in := Inputs{}
	for _, i := range list {
		in[i.kind] = i.digest
	}
	return in, nil
}

// Revision is one state of everything in force.
type Revision struct {
	Active verdict.Active
	Inputs Inputs
	At     time.Time
}

// Revision returns what was in force under a revision number, as digests.
// Revision 0, the empty installation, is not kept: [ErrNotFound].
func (s *Store) Revision(ctx context.Context, n int64) (Revision, error) {
	r := Revision{Active: verdict.Active{Revision: n}, Inputs: Inputs{}}
	err := s.read.QueryRowContext(ctx, `SELECT digest, inputs, at FROM revisions WHERE revision = ?`, n).
		Scan(&r.Active.Digest, jsonColumn{&r.Inputs}, timeColumn{&r.At})
	if err != nil {
		return Revision{}, wrap(fmt.Sprintf("reading revision %d", n), err)
	}
	return r, nil
}
