package projection

import (
	"encoding/json"
	"strconv"
	"time"
)

// when reads a time as RFC 3339 writes it; null and "" are none.
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

// parseTime gives nil for "". A year that JSON cannot write, once it is in UTC, is
// no time.
func parseTime(s string) (*time.Time, bool) {
	if s == "" {
		return nil, true
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return nil, false
	}
	if t = t.UTC(); t.Year() < 1 || t.Year() > 9999 {
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
