package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
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
	rows := rowsOfUses(batch)
	return s.update(ctx, "adding uses", func(w writer) error {
		for some := range slices.Chunk(rows, usesPerStatement) {
			args := make([]any, 0, 4*len(some))
			for _, r := range some {
				args = append(args, r.verdict, r.principal, r.minute, r.count)
			}
			err := w.exec(`INSERT INTO verdict_uses (verification_id, principal, minute, count) VALUES (?, ?, ?, ?)`+
				strings.Repeat(`, (?, ?, ?, ?)`, len(some)-1)+`
				ON CONFLICT (verification_id, principal, minute) DO UPDATE SET count = verdict_uses.count + excluded.count`, args...)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// usesPerStatement bounds one statement of AddUses: a batch of thousands must not
// take a round trip for each.
const usesPerStatement = 500

type useRow struct {
	verdict, principal, minute string
	count                      int64
}

// rowsOfUses are the rows to be counted up, each once, and in the one order in
// which all replicas write them, so that two never wait for each other.
func rowsOfUses(batch []Use) []useRow {
	rows := make([]useRow, len(batch))
	for i, u := range batch {
		rows[i] = useRow{u.VerdictID, u.Principal, formatTime(u.Minute.UTC().Truncate(time.Minute)), u.Count}
	}
	slices.SortFunc(rows, func(a, b useRow) int {
		return cmp.Or(strings.Compare(a.verdict, b.verdict), strings.Compare(a.principal, b.principal), strings.Compare(a.minute, b.minute))
	})
	out := rows[:0]
	for _, r := range rows {
		if last := len(out) - 1; last >= 0 && out[last].verdict == r.verdict && out[last].principal == r.principal && out[last].minute == r.minute {
			out[last].count += r.count
			continue
		}
		out = append(out, r)
	}
	return out
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
