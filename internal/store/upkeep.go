package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// Lease takes or keeps a named lease for a holder, a random id of the process,
// and says whether it has it until ttl from now. Another holder gets it only
// when that time has passed. On PostgreSQL the time is the database's, so that
// the clocks of the replicas do not matter.
func (s *Store) Lease(ctx context.Context, name, holder string, ttl time.Duration) (held bool, err error) {
	if name == "" || holder == "" || ttl <= 0 {
		return false, fmt.Errorf("taking a lease: %w: it has a name, a holder and a time", ErrInvalid)
	}
	err = s.update(ctx, "taking a lease", func(w writer) error {
		var n int64
		var err error
		if s.Shared() {
			n, err = w.affected(`INSERT INTO leases (name, holder, until) VALUES (?, ?, now() + ? * interval '1 microsecond')
				ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until
				WHERE leases.holder = excluded.holder OR leases.until <= now()`, name, holder, ttl.Microseconds())
		} else {
			now := s.now()
			n, err = w.affected(`INSERT INTO leases (name, holder, until) VALUES (?, ?, ?)
				ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until
				WHERE leases.holder = excluded.holder OR leases.until <= ?`, name, holder, formatTime(now.Add(ttl)), formatTime(now))
		}
		held = n == 1
		return err
	})
	return held && err == nil, err
}

// ReleaseLease gives a lease back, if the holder has it.
func (s *Store) ReleaseLease(ctx context.Context, name, holder string) error {
	return s.update(ctx, "giving a lease back", func(w writer) error {
		return w.exec(`DELETE FROM leases WHERE name = ? AND holder = ?`, name, holder)
	})
}

// The kinds of upkeep.
const (
	UpkeepKMS  = "kms"  // the key is a signer's id
	UpkeepRoot = "root" // the key is a trust root's name
	// UpkeepBundle is the last attempt to put a bundle into force; the key is its name.
	UpkeepBundle = "bundle"
)

// Upkeep is how a work in the background stands. It is not in force, and it is
// not audited.
type Upkeep struct {
	Kind, Key string
	CheckedAt time.Time
	// Error says why the last attempt failed; "" when it did not.
	Error string
	// Detail is JSON or nil: for kms, a key that waits to be accepted.
	Detail json.RawMessage
}

// PutUpkeep keeps how a work stands, in place of what was there.
func (s *Store) PutUpkeep(ctx context.Context, u Upkeep) error {
	if u.Kind != UpkeepKMS && u.Kind != UpkeepRoot && u.Kind != UpkeepBundle || u.Key == "" || u.CheckedAt.IsZero() {
		return fmt.Errorf("keeping upkeep: %w: kind %q, key %q or the time is wrong", ErrInvalid, u.Kind, u.Key)
	}
	var detail any
	if u.Detail != nil && string(u.Detail) != "null" {
		text, err := canonicalJSON(u.Detail)
		if err != nil {
			return fmt.Errorf("keeping upkeep: detail: %w", err)
		}
		detail = text
	}
	return s.update(ctx, "keeping upkeep", func(w writer) error {
		return w.exec(`INSERT INTO upkeep (kind, key, checked_at, error, detail) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT (kind, key) DO UPDATE SET checked_at = excluded.checked_at, error = excluded.error, detail = excluded.detail`,
			u.Kind, u.Key, formatTime(u.CheckedAt), printable(u.Error), detail)
	})
}

// Upkeep lists how the works of a kind stand, by key.
func (s *Store) Upkeep(ctx context.Context, kind string) ([]Upkeep, error) {
	const op = "reading upkeep"
	rows, err := s.read.QueryContext(ctx, `SELECT kind, key, checked_at, error, detail FROM upkeep WHERE kind = ? ORDER BY key`, kind)
	if err != nil {
		return nil, wrap(op, err)
	}
	return collect(op, rows, func(r rower) (Upkeep, error) {
		var u Upkeep
		err := r.Scan(&u.Kind, &u.Key, timeColumn{&u.CheckedAt}, &u.Error, canonicalColumn{&u.Detail})
		return u, err
	})
}

// DeleteUpkeep forgets how a work stands.
func (s *Store) DeleteUpkeep(ctx context.Context, kind, key string) error {
	return s.update(ctx, "forgetting upkeep", func(w writer) error {
		return w.exec(`DELETE FROM upkeep WHERE kind = ? AND key = ?`, kind, key)
	})
}
