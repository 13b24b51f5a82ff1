package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/verdict"
)

// Actor is who changes something, and from where.
type Actor struct {
	// Name is the principal's, or who runs the command ("cli:alice").
	Name string
	// From is a network address, or "cli"; "" where it is not known.
	From string
}

// By makes an Actor of a principal.
func By(p auth.Principal, from string) Actor { return Actor{Name: p.Name, From: from} }

// Tx is a change under way. It is good only inside the function that
// [Store.Change] calls, for one goroutine.
type Tx struct {
	s    *Store
	tx   *sql.Tx
	by   Actor
	why  string
	at   time.Time
	from verdict.Active
	// head is the end of the audit log, as far as this change has written it.
	head AuditHead
	// signers and tokens say what finish must digest anew.
	signers, tokens bool
	changed         bool
}

// Change runs fn in a transaction. What fn changes is written to the audit log,
// and active is raised, in the same transaction: all of it or nothing. It
// returns active as it is afterwards, which every later [Store.Active] returns
// too; where fn changed nothing, that is the old one. fn must use the Tx, not
// the Store, and no other goroutine.
func (s *Store) Change(ctx context.Context, by Actor, why string, fn func(*Tx) error) (a verdict.Active, err error) {
	if s.write == nil {
		return verdict.Active{}, ErrReadOnly
	}
	if by.Name == "" {
		return verdict.Active{}, fmt.Errorf("%w: a change names who makes it", ErrInvalid)
	}
	s.changing.Lock()
	defer s.changing.Unlock()
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return verdict.Active{}, wrap("changing the store", err)
	}
	defer tx.Rollback()
	t := &Tx{s: s, tx: tx, by: by, why: why, at: s.now()}
	if t.from, err = readActive(ctx, tx); err != nil {
		return verdict.Active{}, err
	}
	if t.head, err = readAuditHead(ctx, tx); err != nil {
		return verdict.Active{}, err
	}
	if err := fn(t); err != nil {
		return verdict.Active{}, err
	}
	if !t.changed {
		if err := s.commit(tx); err != nil { // objects may have been put
			return verdict.Active{}, err
		}
		return t.from, nil
	}
	a, err = t.finish(ctx)
	if err != nil {
		return verdict.Active{}, err
	}
	if err := s.commit(tx); err != nil {
		return verdict.Active{}, err
	}
	s.current.Store(&a)
	return a, nil
}

// commit ends a transaction that may have changed active. When it fails, whether
// it took effect is not known, so what is in memory no longer counts.
func (s *Store) commit(tx *sql.Tx) error {
	if err := tx.Commit(); err != nil {
		s.current.Store(nil)
		return wrap("committing a change", err)
	}
	return nil
}

// finish digests what was touched and raises active.
func (t *Tx) finish(ctx context.Context) (verdict.Active, error) {
	if t.signers {
		if err := t.digestSigners(ctx); err != nil {
			return verdict.Active{}, err
		}
	}
	if t.tokens {
		if err := t.digestTokens(ctx); err != nil {
			return verdict.Active{}, err
		}
	}
	in, err := readInputs(ctx, t.tx)
	if err != nil {
		return verdict.Active{}, err
	}
	digest, err := in.digest()
	if err != nil {
		return verdict.Active{}, err
	}
	a := verdict.Active{Revision: t.revision(), Digest: digest}
	text, err := canonicalJSON(in)
	if err != nil {
		return verdict.Active{}, err
	}
	if err := t.exec(ctx, "raising active", `INSERT INTO revisions (revision, digest, inputs, at) VALUES (?, ?, ?, ?)`,
		a.Revision, a.Digest, text, formatTime(t.at)); err != nil {
		return verdict.Active{}, err
	}
	err = t.exec(ctx, "raising active", `UPDATE active SET revision = ?, digest = ? WHERE one = 1`, a.Revision, a.Digest)
	return a, err
}

// revision is the one that this change makes.
func (t *Tx) revision() int64 { return t.from.Revision + 1 }

// SetInput names the digest of one kind of input that comes from outside the
// store: "policy/<name>", "params/<name>", "root/<name>" and so on. "" removes
// it. Where nothing differs, nothing is written and active is not raised.
func (t *Tx) SetInput(ctx context.Context, kind, digest string) error {
	if kind == "" || kind == InputSigners || kind == InputTokens {
		return fmt.Errorf("%w: input kind %q is not for callers to set", ErrInvalid, kind)
	}
	before, err := t.setInput(ctx, kind, digest)
	if err != nil || before == digest {
		return err
	}
	return t.audit(ctx, "input.set", "input/"+kind, jsonString(before), jsonString(digest))
}

// setInput returns what was there before.
func (t *Tx) setInput(ctx context.Context, kind, digest string) (before string, err error) {
	const op = "setting an input"
	err = t.tx.QueryRowContext(ctx, `SELECT digest FROM inputs WHERE kind = ?`, kind).Scan(&before)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", wrap(op, err)
	}
	switch digest {
	case before:
		return before, nil
	case "":
		return before, t.exec(ctx, op, `DELETE FROM inputs WHERE kind = ?`, kind)
	default:
		return before, t.exec(ctx, op, `INSERT INTO inputs (kind, digest) VALUES (?, ?)
			ON CONFLICT (kind) DO UPDATE SET digest = excluded.digest`, kind, digest)
	}
}

func (t *Tx) exec(ctx context.Context, op, query string, args ...any) error {
	_, err := t.tx.ExecContext(ctx, query, args...)
	return wrap(op, err)
}

// SetInputs makes the inputs from outside the store exactly these, in one
// change: kinds that are not named are removed. A server calls it when it
// starts, with what its configuration holds; active is raised only if something
// differs.
func (s *Store) SetInputs(ctx context.Context, by Actor, why string, in Inputs) (verdict.Active, error) {
	return s.Change(ctx, by, why, func(t *Tx) error {
		have, err := readInputs(ctx, t.tx)
		if err != nil {
			return err
		}
		for _, kind := range sortedKeys(have) {
			if _, keep := in[kind]; keep || kind == InputSigners || kind == InputTokens {
				continue
			}
			if err := t.SetInput(ctx, kind, ""); err != nil {
				return err
			}
		}
		for _, kind := range sortedKeys(in) {
			if err := t.SetInput(ctx, kind, in[kind]); err != nil {
				return err
			}
		}
		return nil
	})
}
