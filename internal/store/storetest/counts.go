package storetest

import (
	"errors"
	"testing" //nolint:depguard // a suite for tests: the program does not import it
	"time"

	"github.com/signet-policy/signet/internal/store"
	"github.com/signet-policy/signet/internal/verdict"
)

// testDayCounts: verdicts are counted by the day in UTC on which they were decided,
// within bounds, of which the later one is left out.
func testDayCounts(t *testing.T, f *fixture) {
	day := start.UTC().Truncate(24 * time.Hour)
	for i, r := range []struct {
		at       time.Time
		decision verdict.Decision
	}{
		{day, verdict.Allow}, {day.Add(24*time.Hour - time.Microsecond), verdict.Allow}, {day.Add(time.Hour), verdict.Deny},
		{day.AddDate(0, 0, 1), verdict.Allow}, {day.AddDate(0, 0, 1).Add(time.Hour), verdict.Unknown},
		{day.AddDate(0, 0, -1), verdict.Deny}, {day.AddDate(0, 0, 2), verdict.Deny}, // out of bounds
	} {
		rec := Record(t, i, Facts(t, "sha256:aa", "a@example.com"), image+"1")
		rec.Decided, rec.Verdict.Decision = r.at, r.decision
		f.record(t, rec)
	}
	got, err := f.reader.DayCounts(t.Context(), day, day.AddDate(0, 0, 2))
	if err != nil {
		t.Fatal(err)
	}
	type key struct {
		day      string
		decision verdict.Decision
	}
	counts := map[key]int64{}
	for _, c := range got {
		counts[key{c.Day.Format(time.DateOnly), c.Decision}] += c.Count
	}
	first, second := day.Format(time.DateOnly), day.AddDate(0, 0, 1).Format(time.DateOnly)
	same(t, map[key]int64{{first, verdict.Allow}: 2, {first, verdict.Deny}: 1, {second, verdict.Allow}: 1, {second, verdict.Unknown}: 1}, counts)
	same(t, 4, len(got))
	// Bounds within days.
	part, err := f.reader.DayCounts(t.Context(), day.Add(time.Microsecond), day.AddDate(0, 0, 1).Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	var within int64
	for _, c := range part {
		within += c.Count
	}
	same(t, int64(3), within) // not the first allow, not the unknown
	for _, bounds := range [][2]time.Time{{day.AddDate(1, 0, 0), day.AddDate(2, 0, 0)}, {day, day}, {day.AddDate(0, 0, 2), day}} {
		none, err := f.reader.DayCounts(t.Context(), bounds[0], bounds[1])
		same(t, 0, len(none))
		if err != nil {
			t.Error(err)
		}
	}
	if _, err := f.reader.DayCounts(t.Context(), time.Time{}, day); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("since ever: %v", err)
	}
}
