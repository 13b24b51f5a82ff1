package projection

import (
	"encoding/json"
	"math"
	"strconv"
	"time"
)

// The times that Rego can count in nanoseconds (1677-09-21 to 2262-04-11): its
// builtins fail on others, and with them the policy.
var earliest, latest = time.Unix(0, math.MinInt64), time.Unix(0, math.MaxInt64)

// when reads a time as RFC 3339 writes it; null, "" and Go's zero time are none.
func (r *reader) when() (*time.Time, error) {
	s, err := r.text()
	if err != nil {
		return nil, err
	}
	t, ok := parseTime(s)
	if !ok {
		return nil, r.Wrong("%s is not a time like 2025-07-01T12:00:00Z", strconv.Quote(clip(s)))
	}
	return t, nil
}

// parseTime gives nil for "", and for the zero time, which programs in Go write for
// one that was not set. One that Rego cannot count is no time.
func parseTime(s string) (*time.Time, bool) {
	if s == "" {
		return nil, true
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return nil, false
	}
	switch t = t.UTC(); {
	case t.IsZero():
		return nil, true
	case t.Before(earliest), t.After(latest):
		return nil, false
	}
	return &t, true
}

// stamp is a time within a part that is decoded as a whole.
type stamp struct{ at *time.Time }

// UnmarshalJSON implements json.Unmarshaler.
func (s *stamp) UnmarshalJSON(b []byte) error {
	var text *string
	if err := json.Unmarshal(b, &text); err != nil {
		return err
	}
	if text == nil {
		return nil
	}
	at, ok := parseTime(*text)
	if !ok {
		return &notATime{*text}
	}
	s.at = at
	return nil
}

type notATime struct{ text string }

func (e *notATime) Error() string {
	return strconv.Quote(clip(e.text)) + " is not a time like 2025-07-01T12:00:00Z"
}

// clip shortens what a stranger wrote.
func clip(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
