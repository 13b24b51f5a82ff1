package store

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/signet-policy/signet/internal/verdict"
)

// Filter chooses verdicts; what is zero does not restrict.
type Filter struct {
	AssessmentID string
	Digest       string
	// Signer is a trusted signer's name: verdicts in which it met a requirement.
	Signer string
	// ImageRef is the image as it was asked for, ImageName its normalised name.
	ImageRef  string
	ImageName string
	// Identity is who really signed.
	Identity string
	Decision verdict.Decision
	// ReasonCode is the code of the first reason of what was not allowed; its first 200
	// characters count.
	ReasonCode string
	// Since and Until bound the time: from Since on, up to but not including Until.
	Since, Until time.Time
}

func (f Filter) validate() error {
	switch f.Decision {
	case "", verdict.Allow, verdict.Deny, verdict.Unknown:
		return nil
	default:
		return fmt.Errorf("%w: decision: %q is not allow, deny or unknown", ErrInvalid, f.Decision)
	}
}

// Page is a part of a list, newest first.
type Page struct {
	// After is the Cursor that the page before returned; nil begins at the newest.
	After *Cursor
	// Limit is 1 to 1000; 0 means 50.
	Limit int
}

// Cursor is a place in a list. It stays good while rows are added.
type Cursor struct {
	CreatedAt time.Time
	ID        string
}

const cursorSeparator = '|'

// String is opaque to callers: URL-safe, read back by [ParseCursor].
func (c Cursor) String() string {
	return base64.RawURLEncoding.EncodeToString([]byte(formatTime(c.CreatedAt) + string(cursorSeparator) + c.ID))
}

// ParseCursor reads what [Cursor.String] wrote.
func ParseCursor(s string) (Cursor, error) {
	raw, err := base64.RawURLEncoding.DecodeString(s)
	if err == nil {
		at, id, found := strings.Cut(string(raw), string(cursorSeparator))
		t, err := time.Parse(timeLayout, at)
		if err == nil && found && id != "" {
			return Cursor{CreatedAt: t.UTC(), ID: id}, nil
		}
	}
	return Cursor{}, fmt.Errorf("%w: cursor: take it from the page before, unchanged", ErrInvalid)
}

// chooser is a filter of one value, and the index that has its rows in the order of
// the list.
type chooser struct{ index, condition, value string }

// byReason finds refusals by the code of their first reason, as the index has it: of its
// first 200 characters.
func byReason(d dialect) string {
	const of = `(CASE WHEN v.decision <> 'allow' THEN %s END)`
	if d.postgres {
		code := fmt.Sprintf(of, `left(v.reasons -> 0 ->> 'code', 200)`)
		return code + ` COLLATE "C" = left(?, 200) AND ` + code + ` IS NOT NULL`
	}
	code := fmt.Sprintf(of, `substr(json_extract(v.reasons, '$[0].code'), 1, 200)`)
	return code + ` = substr(?, 1, 200) AND ` + code + ` IS NOT NULL`
}

// choosers are the filters of f that an index has, in the order of how few rows each
// usually leaves.
func (f Filter) choosers(d dialect) []chooser {
	return slices.DeleteFunc([]chooser{
		{"verifications_assessment", "v.assessment_id = ?", f.AssessmentID},
		{"verifications_digest", "v.image_digest = ?", f.Digest},
		{bySigner, `EXISTS (SELECT 1 FROM verification_signers s
			WHERE s.signer = ? AND s.created_at = v.created_at AND s.verification_id = v.id)`, f.Signer},
		{"verifications_image", "v.image_ref = ?", f.ImageRef},
		{"verifications_name", "v.image_name = ?", f.ImageName},
		// The index leaves out the empty identity, and SQLite wants that said.
		{"verifications_identity", "v.signer_identity = ? AND v.signer_identity <> ''", f.Identity},
		{"verifications_reason", byReason(d), f.ReasonCode},
		{"verifications_decision", "v.decision = ?", string(f.Decision)},
	}, func(c chooser) bool { return c.value == "" })
}

// driven is from what a chooser reads its rows, with the columns of their order.
func (c chooser) driven(d dialect) (from, condition, at, id string) {
	from, condition, at, id = "signature_verifications v", c.condition, "v.created_at", "v.id"
	switch {
	case c.index == bySigner:
		join := "CROSS JOIN" // keeps SQLite to this order
		if d.postgres {
			join = "JOIN"
		}
		return "verification_signers s " + join + " signature_verifications v ON v.id = s.verification_id", "s.signer = ?", "s.created_at", "s.verification_id"
	case !d.postgres:
		from += " INDEXED BY " + c.index
	}
	return from, condition, at, id
}

// looked is how many rows of an index are counted to find the one to read.
const looked = 2000

// drive is the chooser whose index has the fewest rows for f: of the first [looked]
// of each, so that finding it costs no more than a page does. PostgreSQL chooses by
// itself, from what it knows of the rows.
func (f Filter) drive(ctx context.Context, q *db) (chooser, error) {
	all := f.choosers(q.dialect)
	if len(all) == 0 {
		return chooser{index: "verifications_time"}, nil
	}
	if len(all) == 1 || q.postgres {
		return all[0], nil
	}
	best, fewest := all[0], looked+1
	for _, c := range all {
		from, where, at, _ := c.driven(q.dialect)
		if c.index == bySigner {
			from = "verification_signers s"
		}
		args := []any{c.value}
		if !f.Since.IsZero() {
			where, args = where+" AND "+at+" >= ?", append(args, formatTime(f.Since))
		}
		if !f.Until.IsZero() {
			where, args = where+" AND "+at+" < ?", append(args, formatTime(f.Until))
		}
		var n int
		if err := q.QueryRowContext(ctx, "SELECT count(*) FROM (SELECT 1 FROM "+from+" WHERE "+where+" LIMIT ?)", append(args, looked)...).Scan(&n); err != nil {
			return chooser{}, err
		}
		if n < fewest {
			best, fewest = c, n
		}
	}
	return best, nil
}

// query reads the index of one chooser from one place on, on SQLite by name, so that
// nothing talks it into another one; the other filters are checked row by row.
func (f Filter) query(d dialect, drive chooser, after *Cursor, limit int) (string, []any) {
	from, condition, at, id := drive.driven(d)
	var where []string
	var args []any
	for _, c := range f.choosers(d) {
		if c.index == drive.index {
			c.condition = condition
		}
		where, args = append(where, c.condition), append(args, c.value)
	}
	if upper, ok := f.upper(after); ok {
		where, args = append(where, "("+at+", "+id+") < (?, ?)"), append(args, formatTime(upper.CreatedAt), upper.ID)
	}
	if !f.Since.IsZero() {
		where, args = append(where, at+" >= ?"), append(args, formatTime(f.Since))
	}
	query := "SELECT " + rowColumns + " FROM " + from
	if len(where) > 0 {
		query += " WHERE " + strings.Join(where, " AND ")
	}
	return query + " ORDER BY " + at + " DESC, " + id + " DESC LIMIT ?", append(args, limit)
}

// bySigner stands for the index of verification_signers.
const bySigner = "verification_signers"

// rowColumns are the columns of a Row, of table v.
var rowColumns = "v." + strings.Join(strings.Fields(verificationColumns), " v.")

// upper is the place that the page ends before: the cursor, or Until, which is
// before every id of its time.
func (f Filter) upper(after *Cursor) (Cursor, bool) {
	switch {
	case after != nil && (f.Until.IsZero() || after.CreatedAt.Before(f.Until)):
		return *after, true
	case !f.Until.IsZero():
		return Cursor{CreatedAt: f.Until}, true
	default:
		return Cursor{}, false
	}
}
