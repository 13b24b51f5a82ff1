package store

import (
	"cmp"
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
// A kind of which there is nothing is absent.
type Inputs map[string]string

// The kinds of inputs.
const (
	InputSigners    = "signers"
	InputTokens     = "tokens"
	InputPolicies   = "policies"
	InputTrustRoots = "trust_roots"
	InputBundles    = "bundles"
	// InputSecret is of a key that is derived from the secret, so that what was
	// made with the one before is not used.
	InputSecret = "secret"
)

// inputKinds are all that there are; what an older version has kept besides is
// removed when the store is opened for writing.
var inputKinds = []string{InputSigners, InputTokens, InputPolicies, InputTrustRoots, InputBundles, InputSecret}

func (in Inputs) digest() (string, error) {
	body, err := facts.Canonical(in)
	if err != nil {
		return "", fmt.Errorf("digesting what is in force: %w", err)
	}
	return facts.Digest(body), nil
}

// digestPairs is of names and digests, in their order; "" for none.
func digestPairs(list [][2]string) (string, error) {
	if len(list) == 0 {
		return "", nil
	}
	body, err := facts.Canonical(list)
	if err != nil {
		return "", err
	}
	return facts.Digest(body), nil
}

// activeTimeout bounds a read of active on PostgreSQL: every request waits for
// one.
const activeTimeout = 2 * time.Second

// Active names everything in force. What was acknowledged before the call is in
// it: in the process that writes SQLite it is read from memory, which every
// commit keeps in step, else from the database.
func (s *Store) Active(ctx context.Context) (verdict.Active, error) {
	if a := s.current.Load(); a != nil {
		return *a, nil
	}
	if s.Shared() {
		return s.readShared(ctx)
	}
	if s.write == nil {
		return readActive(ctx, s.read, "")
	}
	if err := s.lockChanges(ctx); err != nil {
		return verdict.Active{}, err
	}
	defer s.unlockChanges()
	return s.reload(ctx)
}

// readShared reads active within activeTimeout. That this has passed is the
// database's fault, not the end of the caller's context.
func (s *Store) readShared(ctx context.Context) (verdict.Active, error) {
	bounded, cancel := context.WithTimeout(ctx, activeTimeout)
	defer cancel()
	d := cmp.Or(s.actives, s.read)
	var a verdict.Active
	err := d.retried(bounded, func() (err error) {
		a, err = readActive(bounded, d, "")
		return err
	})
	if err != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, ErrUnavailable) {
		err = fmt.Errorf("%w: no answer within %s: %w", ErrUnavailable, activeTimeout, err)
	}
	return a, err
}

// reload reads active into memory. The caller holds the lock of changes, or
// nobody else has the store yet.
func (s *Store) reload(ctx context.Context) (verdict.Active, error) {
	if a := s.current.Load(); a != nil {
		return *a, nil
	}
	a, err := readActive(ctx, s.write, "")
	if err != nil {
		return verdict.Active{}, err
	}
	s.current.Store(&a)
	return a, nil
}

// readActive reads the row; lock is "" or [dialect.forUpdate].
func readActive(ctx context.Context, q querier, lock string) (verdict.Active, error) {
	var a verdict.Active
	err := q.QueryRowContext(ctx, `SELECT revision, digest FROM active WHERE one = 1`+lock).Scan(&a.Revision, &a.Digest)
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
	list, err := collect(op, rows, scanPair)
	if err != nil {
		return nil, err
	}
	in := Inputs{}
	for _, i := range list {
		in[i[0]] = i[1]
	}
	return in, nil
}

func scanPair(r rower) ([2]string, error) {
	var p [2]string
	err := r.Scan(&p[0], &p[1])
	return p, err
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
