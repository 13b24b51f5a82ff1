package store

import (
	"context"
	"fmt"
	"time"
)

// Use is how often a principal was given a verdict again within one minute.
type Use struct {
	VerdictID string    `json:"verdict_id"`
	Principal string    `json:"principal"`
	Minute    time.Time `json:"minute"`
	Count     int64     `json:"count"`
}

// AddUses adds a batch of uses to what is there, all or nothing. Minute is cut
// down to the minute.
func (s *Store) AddUses(ctx context.Context, batch []Use) error {
	for _, u := range batch {
		if u.VerdictID == "" || u.Count <= 0 || u.Minute.IsZero() {
			return fmt.Errorf("adding uses: %w: a use names a verdict and a minute, and counts at least one: %+v", ErrInvalid, u)
		}
	}
	if len(batch) == 0 {
		return nil
	}
	return s.update(ctx, "adding uses", func(exec execFunc) error {
		for _, u := range batch {
			err := exec(`INSERT INTO verdict_uses (verification_id, principal, minute, count) VALUES (?, ?, ?, ?)
				ON CONFLICT (verification_id, principal, minute) DO UPDATE SET count = verdict_uses.count + excluded.count`,
				u.VerdictID, u.Principal, formatTime(u.Minute.UTC().Truncate(time.Minute)), u.Count)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// Uses lists the uses of one verdict, oldest first.
func (s *Store) Uses(ctx context.Context, verdictID string) ([]Use, error) {
	const op = "reading uses"
	rows, err := s.read.QueryContext(ctx, `SELECT verification_id, principal, minute, count FROM verdict_uses
		WHERE verification_id = ? ORDER BY minute, principal`, verdictID)
	if err != nil {
		return nil, wrap(op, err)
	}
	return collect(op, rows, func(r rower) (Use, error) {
		var u Use
		err := r.Scan(&u.VerdictID, &u.Principal, timeColumn{&u.Minute}, &u.Count)
		return u, err
	})
}
