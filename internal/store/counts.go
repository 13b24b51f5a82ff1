package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/signet-policy/signet/internal/verdict"
)

// DayCount is how many verdicts with one decision a day (UTC) had.
type DayCount struct {
	Day      time.Time
	Decision verdict.Decision
	Count    int64
}

// mostDays are counted at once.
const mostDays = 3660

// DayCounts counts verdicts from since on, up to but not including until, by day and
// decision; days that had none are left out. It reads an index alone, however large
// the rows are, and errs with [ErrInvalid] for more than ten years.
func (s *Store) DayCounts(ctx context.Context, since, until time.Time) ([]DayCount, error) {
	const op = "counting verdicts"
	since, until = since.UTC(), until.UTC()
	if !since.Before(until) {
		return nil, nil
	}
	if until.Sub(since) > mostDays*24*time.Hour {
		return nil, fmt.Errorf("%s: %w: at most %d days are counted at once", op, ErrInvalid, mostDays)
	}
	query, args := dayCountsQuery(s.read.dialect, since, until)
	rows, err := s.read.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, wrap(op, err)
	}
	all, err := collect(op, rows, func(r rower) (DayCount, error) {
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
	return slices.DeleteFunc(all, func(c DayCount) bool { return c.Count == 0 }), err
}

// dayCountsQuery counts one stretch of an index for each day and decision. To group
// all rows by the day of their time takes several times as long: each day is
// computed then, and on SQLite sorted. Those that had none are in the answer: to leave
// them out here would have PostgreSQL count twice.
func dayCountsQuery(d dialect, since, until time.Time) (query string, args []any) {
	at, index := "?", " INDEXED BY verifications_decision"
	if d.postgres {
		at, index = "CAST(? AS timestamptz)", ""
	}
	var days []string
	for from := since; from.Before(until); {
		day := from.Truncate(24 * time.Hour)
		to := day.AddDate(0, 0, 1)
		if until.Before(to) {
			to = until
		}
		days = append(days, "(CAST(? AS text), "+at+", "+at+")")
		args = append(args, day.Format(time.DateOnly), formatTime(from), formatTime(to))
		from = to
	}
	return `WITH days (day, since, until) AS (VALUES ` + strings.Join(days, ", ") + `), decisions (decision) AS (VALUES ('allow'), ('deny'), ('unknown'))
		SELECT c.decision, d.day, (SELECT count(*) FROM signature_verifications v` + index + `
			WHERE v.decision = c.decision AND v.created_at >= d.since AND v.created_at < d.until)
		FROM days d CROSS JOIN decisions c`, args
}
