package store

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/signet-policy/signet/internal/facts"
)

// encodingZstd names how bodies are kept (RFC 8878).
const encodingZstd = "zstd"

// maxBody bounds what a stored body may unpack to, in bytes.
const maxBody = 1 << 30

// openCodec makes the packers, of which each Store has its own.
func (s *Store) openCodec() (err error) {
	if !s.cfg.ReadOnly {
		s.enc, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithLowerEncoderMem(true))
		if err != nil {
			return fmt.Errorf("opening the store: %w", err)
		}
	}
	s.dec, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(maxBody), zstd.WithDecoderLowmem(true))
	if err != nil {
		return fmt.Errorf("opening the store: %w", err)
	}
	return nil
}

func (s *Store) closeCodec() {
	if s.enc != nil {
		_ = s.enc.Close() // it writes nowhere
	}
	if s.dec != nil {
		s.dec.Close()
	}
}

func (s *Store) pack(b []byte) []byte { return s.enc.EncodeAll(b, make([]byte, 0, len(b)/2+64)) }

// unpack refuses anything but what pack makes.
func (s *Store) unpack(b []byte) ([]byte, error) {
	out, err := s.dec.DecodeAll(b, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: unpacking: %w", ErrCorrupt, err)
	}
	return out, nil
}

// timeLayout sorts as text as the times do.
const timeLayout = "2006-01-02T15:04:05.000000Z"

func formatTime(t time.Time) string { return t.UTC().Format(timeLayout) }

func formatTimePtr(t *time.Time) any {
	if t == nil {
		return nil
	}
	return formatTime(*t)
}

// canonicalTime is t as the store gives it back: UTC, whole microseconds.
func canonicalTime(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	c := t.UTC().Truncate(time.Microsecond)
	return &c
}

// timeColumn scans a time.
type timeColumn struct{ dst *time.Time }

func (c timeColumn) Scan(src any) error {
	if t, ok := src.(time.Time); ok { // PostgreSQL has times
		*c.dst = t.UTC()
		return nil
	}
	text, ok := src.(string)
	if !ok {
		return fmt.Errorf("%w: a time is kept as %T", ErrCorrupt, src)
	}
	t, err := time.Parse(timeLayout, text)
	if err != nil {
		return fmt.Errorf("%w: a time reads %q", ErrCorrupt, text)
	}
	*c.dst = t.UTC()
	return nil
}

// timePtrColumn scans a time that may be absent.
type timePtrColumn struct{ dst **time.Time }

func (c timePtrColumn) Scan(src any) error {
	if src == nil {
		*c.dst = nil
		return nil
	}
	var t time.Time
	if err := (timeColumn{&t}).Scan(src); err != nil {
		return err
	}
	*c.dst = &t
	return nil
}

// jsonColumn scans a JSON column into dst. What an older build has written and
// this one does not know is left out.
type jsonColumn struct{ dst any }

func (c jsonColumn) Scan(src any) error { return decodeColumn(src, c.dst, false) }

// strictColumn is for what restricts trust: a field that is not known is an
// error, because leaving it out could widen it.
type strictColumn struct{ dst any }

func (c strictColumn) Scan(src any) error { return decodeColumn(src, c.dst, true) }

// canonicalColumn scans a JSON column as canonical JSON: PostgreSQL has its own
// order of keys. NULL is nil.
type canonicalColumn struct{ dst *json.RawMessage }

func (c canonicalColumn) Scan(src any) error {
	*c.dst = nil
	if src == nil {
		return nil
	}
	var raw json.RawMessage
	if err := decodeColumn(src, &raw, true); err != nil {
		return err
	}
	b, err := facts.Canonical(raw)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	*c.dst = b
	return nil
}

func decodeColumn(src, dst any, strict bool) error {
	var text string
	switch src := src.(type) {
	case string:
		text = src
	case []byte:
		text = string(src)
	default:
		return fmt.Errorf("%w: JSON is kept as %T", ErrCorrupt, src)
	}
	dec := json.NewDecoder(strings.NewReader(text))
	if strict {
		dec.DisallowUnknownFields()
	}
	if err := dec.Decode(dst); err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return nil
}

// canonicalJSON is for columns: nil slices and maps must have been made empty
// by the caller.
func canonicalJSON(v any) (string, error) {
	b, err := facts.Canonical(v)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return string(b), nil
}

// jsonString is s as JSON, and nil for "".
func jsonString(s string) json.RawMessage {
	if s == "" {
		return nil
	}
	b, err := json.Marshal(s)
	if err != nil {
		return nil // a string always encodes
	}
	return b
}

// rower is a *sql.Row or the current row of *sql.Rows.
type rower interface{ Scan(dest ...any) error }

// collect scans all rows and closes them.
func collect[T any](op string, rows *sql.Rows, scan func(rower) (T, error)) ([]T, error) {
	defer rows.Close()
	list := []T{}
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, wrap(op, err)
		}
		list = append(list, v)
	}
	return list, wrap(op, rows.Err())
}

// printable is s as both databases keep text: PostgreSQL has no zero character
// and nothing that is not UTF-8. It is for what is shown of outside bytes; what
// was decided from them is kept to the byte elsewhere.
func printable(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// printableJSON is printable for the strings in JSON that we have encoded.
func printableJSON(s string) string {
	if !strings.Contains(s, `\u0000`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] != '\\':
			b.WriteByte(s[i])
		case strings.HasPrefix(s[i:], `\u0000`):
			b.WriteString(`\ufffd`)
			i += len(`\u0000`) - 1
		default: // an escape, whose second byte may be a backslash
			b.WriteString(s[i : i+2])
			i++
		}
	}
	return b.String()
}

func nullable(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// pageSize checks a limit: 0 means def.
func pageSize(n, def, most int) (int, error) {
	switch {
	case n == 0:
		return def, nil
	case n < 0 || n > most:
		return 0, fmt.Errorf("%w: limit is %d, want 1 to %d", ErrInvalid, n, most)
	default:
		return n, nil
	}
}

func orEmpty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

func orNil[T any](s []T) []T {
	if len(s) == 0 {
		return nil
	}
	return s
}

func orEmptyMap(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}
