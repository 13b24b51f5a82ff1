package store

import (
	"context"
	"encoding/json"
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
// [Store.Change] calls, for one goroutine. After an error of one of its methods
// the change is to be given up.
type Tx struct {
	s    *Store
	tx   *tx
	by   Actor
	why  string
	at   time.Time
	from verdict.Active
	// head is the end of the audit log, as far as this change has written it.
	head AuditHead
	// touched are the kinds of inputs that finish must digest anew.
	touched map[string]bool
	changed bool
	// objects are those that were put, where nobody else will see them.
	objects map[ObjectName][]byte
}

// lockChanges is held over each write transaction and the change of current that
// follows it. Changes of one process wait here and not each on a connection of
// its own, of which there are few.
func (s *Store) lockChanges(ctx context.Context) error {
	select {
	case s.changing <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for another change: %w", ctx.Err())
	}
}

func (s *Store) unlockChanges() { <-s.changing }

// Change runs fn in a transaction. What fn changes is written to the audit log,
// and active is raised, in the same transaction: all of it or nothing. It
// returns active as it is afterwards, which every later [Store.Active] returns
// too; where fn changed nothing, that is the old one. Changes are serial, over
// all processes that share the store. fn must use the Tx, not the Store, and no
// other goroutine.
//
// An [ErrUnavailable] of the commit itself leaves open whether the change was
// made: who must know reads again.
func (s *Store) Change(ctx context.Context, by Actor, why string, fn func(*Tx) error) (a verdict.Active, err error) {
	t, end, err := s.beginChange(ctx, by, why)
	if err != nil {
		return verdict.Active{}, err
	}
	defer end()
	tx := t.tx
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
	if !s.Shared() {
		s.current.Store(&a)
	}
	return a, nil
}

// beginChange begins a change; end takes back what was not committed.
func (s *Store) beginChange(ctx context.Context, by Actor, why string) (t *Tx, end func(), err error) {
	if s.write == nil {
		return nil, nil, ErrReadOnly
	}
	if by.Name == "" {
		return nil, nil, fmt.Errorf("%w: a change names who makes it", ErrInvalid)
	}
	if err := s.lockChanges(ctx); err != nil {
		return nil, nil, err
	}
	tx, err := s.write.begin(ctx)
	if err != nil {
		s.unlockChanges()
		return nil, nil, wrap("changing the store", err)
	}
	end = func() {
		_ = tx.Rollback() // after a commit it does nothing
		s.unlockChanges()
	}
	t = &Tx{s: s, tx: tx, by: by, why: why, touched: map[string]bool{}}
	// First of all: whoever changes something holds this row until the end.
	if t.from, err = readActive(ctx, tx, tx.forUpdate()); err != nil {
		end()
		return nil, nil, err
	}
	t.at = s.now()
	if t.head, err = readAuditHead(ctx, tx); err != nil {
		end()
		return nil, nil, err
	}
	return t, end, nil
}

// Try runs fn as [Store.Change] does, returns what would be in force then, and
// takes all of it back: nothing is written, in the audit log neither, and active
// is as it was. The snapshot is whole, has the objects that fn put, and names an
// active that never was. Other changes wait meanwhile, so fn must not take long.
func (s *Store) Try(ctx context.Context, by Actor, why string, fn func(*Tx) error) (Snapshot, error) {
	t, end, err := s.beginChange(ctx, by, why)
	if err != nil {
		return Snapshot{}, err
	}
	defer end()
	t.objects = map[ObjectName][]byte{}
	if err := fn(t); err != nil {
		return Snapshot{}, err
	}
	if t.changed {
		if _, err := t.finish(ctx); err != nil {
			return Snapshot{}, err
		}
	}
	snap, err := readSnapshot(ctx, t.tx, nil)
	if err != nil {
		return Snapshot{}, err
	}
	snap.Objects = t.objects
	return snap, nil
}

// commit ends a transaction that may have changed active. When it fails, whether
// it took effect is not known, so what is in memory no longer counts.
func (s *Store) commit(tx *tx) error {
	if err := tx.Commit(); err != nil {
		s.current.Store(nil)
		return wrap("committing a change", err)
	}
	return nil
}

// finish digests what was touched and raises active.
func (t *Tx) finish(ctx context.Context) (verdict.Active, error) {
	digests := map[string]func(context.Context) (string, error){
		InputSigners: t.digestSigners, InputTokens: t.digestTokens, InputPolicies: t.digestPolicies,
		InputTrustRoots: t.digestRoots, InputBundles: t.digestBundles, InputSecret: t.digestSecret,
	}
	for _, kind := range sortedKeys(t.touched) {
		digest, err := digests[kind](ctx)
		if err != nil {
			return verdict.Active{}, err
		}
		if err := t.setInput(ctx, kind, digest); err != nil {
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

// Note writes an entry of the audit log that changes nothing else. It raises
// active, as every change does. before and after are JSON or nil.
func (t *Tx) Note(ctx context.Context, action, object string, before, after json.RawMessage) error {
	if action == "" || object == "" {
		return fmt.Errorf("%w: an audit entry names an action and an object", ErrInvalid)
	}
	for _, j := range []json.RawMessage{before, after} {
		if j != nil && !json.Valid(j) {
			return fmt.Errorf("%w: audit entry %s: before and after are JSON", ErrInvalid, action)
		}
	}
	return t.audit(ctx, action, object, before, after)
}

// setInput makes a kind's digest the given one; "" removes it.
func (t *Tx) setInput(ctx context.Context, kind, digest string) error {
	const op = "setting an input"
	if digest == "" {
		return t.exec(ctx, op, `DELETE FROM inputs WHERE kind = ?`, kind)
	}
	return t.exec(ctx, op, `INSERT INTO inputs (kind, digest) VALUES (?, ?)
		ON CONFLICT (kind) DO UPDATE SET digest = excluded.digest`, kind, digest)
}

func (t *Tx) exec(ctx context.Context, op, query string, args ...any) error {
	_, err := t.tx.ExecContext(ctx, query, args...)
	return wrap(op, err)
}
