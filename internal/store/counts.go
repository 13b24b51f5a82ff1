package store

import (
	"context"
	"fmt"
	"time"

	"github.com/signet-policy/signet/internal/verdict"
)

// DayCount is how many verdicts with one decision a day (UTC) had.
type DayCount struct {
	Day      time.Time
	Decision verdict.Decision
	Count    int64
}

// DayCounts counts verdicts from since on, up to but not including until, by day and
// decision. It reads an index alone, however large the rows are.
func (s *Store) DayCounts(ctx context.Context, since, until time.Time) ([]DayCount, error) {
	const op = "counting verdicts"
	rows, err := s.read.QueryContext(ctx, dayCountsQuery(s.read.dialect), formatTime(since), formatTime(until))
	if err != nil {
		return nil, wrap(op, err)
	}
	return collect(op, rows, func(r rower) (DayCount, error) {
		var c DayCount
		var day string
		if err := r.Scan(&c.Decision, &day, &c.Count); err != nil {
			return c, err
		}
		var err error
		if c.Day, err = time.Parse(time.DateOnly, day); err != nil {
			return c, fmt.Errorf("%w: the day %q", ErrCorrupt, day)
		}
		return c, nil
	})
}

// dayCountsQuery counts over one index: the one of decisions on SQLite, and on
// PostgreSQL whichever it takes.
func dayCountsQuery(d dialect) string {
	if d.postgres {
		return `SELECT decision, to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS day, count(*) FROM signature_verifications
			WHERE created_at >= ? AND created_at < ? GROUP BY decision, day`
	}
	// A time begins with its day.
	return `SELECT decision, substr(created_at, 1, 10) AS day, count(*) FROM signature_verifications INDEXED BY verifications_decision
		WHERE decision IN ('allow', 'deny', 'unknown') AND created_at >= ? AND created_at < ? GROUP BY decision, day`
}
