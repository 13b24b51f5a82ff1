package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/signet-policy/signet/internal/facts"
)

// AuditEntry is one change. Before and After are JSON, null where there is none.
type AuditEntry struct {
	// Seq counts from 1 without a gap.
	Seq    int64           `json:"seq"`
	At     time.Time       `json:"at"`
	Actor  string          `json:"actor"`
	From   string          `json:"from"`
	Action string          `json:"action"`
	Object string          `json:"object"`
	Before json.RawMessage `json:"before"`
	After  json.RawMessage `json:"after"`
	Why    string          `json:"why"`
	// Revision is that of active which the change made.
	Revision int64 `json:"revision"`
	// PrevHash is the Hash of the entry before, 64 zeros for the first. Hash is
	// the hex SHA-256 of this entry's canonical JSON without Hash.
	PrevHash string `json:"prev_hash"`
	Hash     string `json:"hash,omitempty"`
}

// AuditHead is the end of the audit log. Kept elsewhere, it shows later that
// nothing before it was changed or cut off.
type AuditHead struct {
	Seq  int64  `json:"seq"`
	Hash string `json:"hash"`
}

// noHash stands before the first entry.
var noHash = strings.Repeat("0", 2*sha256.Size)

func (e AuditEntry) sum() (string, error) {
	e.Hash = ""
	body, err := facts.Canonical(e)
	if err != nil {
		return "", fmt.Errorf("hashing audit entry %d: %w", e.Seq, err)
	}
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:]), nil
}

// audit appends an entry; every change of a Tx goes through it.
func (t *Tx) audit(ctx context.Context, action, object string, before, after json.RawMessage) error {
	e := AuditEntry{
		Seq: t.head.Seq + 1, At: t.at, Actor: t.by.Name, From: t.by.From, Action: action, Object: object,
		Before: before, After: after, Why: t.why, Revision: t.revision(), PrevHash: t.head.Hash,
	}
	hash, err := e.sum()
	if err != nil {
		return err
	}
	err = t.exec(ctx, "writing the audit log", `INSERT INTO audit
		(seq, at, actor, origin, action, object, before, after, why, revision, prev_hash, hash)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		e.Seq, formatTime(e.At), e.Actor, e.From, e.Action, e.Object,
		nullable(string(before)), nullable(string(after)), e.Why, e.Revision, e.PrevHash, hash)
	if err != nil {
		return err
	}
	t.head = AuditHead{Seq: e.Seq, Hash: hash}
	t.changed = true
	return nil
}

// AuditFilter chooses entries, newest first.
type AuditFilter struct {
	// Object is for example "signer/01J…"; "" is all.
	Object string
	// Name is that of what was changed: in its object, or in what was before or after.
	Name string
	// Actor is who changed it, and Action how what was done begins.
	Actor, Action string
	// Since and Until bound the time: from Since on, up to but not including Until.
	Since, Until time.Time
	// After is the Seq that is looked down to, excluded.
	After int64
	// Before is the Seq that the page ends at, excluded; 0 begins at the newest.
	Before int64
	// Limit is 1 to 1000; 0 means 100.
	Limit int
}

const auditColumns = `seq, at, actor, origin, action, object, before, after, why, revision, prev_hash, hash`

// Audit lists entries, newest first.
func (s *Store) Audit(ctx context.Context, f AuditFilter) ([]AuditEntry, error) {
	const op = "reading the audit log"
	limit, err := pageSize(f.Limit, 100, 1000)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	if f.Before <= 0 {
		f.Before = math.MaxInt64
	}
	where, args := f.where(s.read.dialect)
	rows, err := s.read.QueryContext(ctx, `SELECT `+auditColumns+` FROM audit WHERE `+where+` ORDER BY seq DESC LIMIT ?`, append(args, limit)...)
	if err != nil {
		return nil, wrap(op, err)
	}
	return collect(op, rows, scanAudit)
}

// where has an index for the object alone: the rest is checked entry by entry.
func (f AuditFilter) where(d dialect) (string, []any) {
	where, args := "seq < ?", []any{f.Before}
	and := func(condition string, values ...any) { where, args = where+" AND "+condition, append(args, values...) }
	if f.After > 0 {
		and("seq > ?", f.After)
	}
	if f.Object != "" {
		and("object = ?", f.Object)
	}
	if f.Name != "" {
		named := `(substr(object, instr(object, '/') + 1) = ? OR json_extract(before, '$.name') = ? OR json_extract(after, '$.name') = ?)`
		if d.postgres { // its JSON has no NUL, and one would be an error of the whole query
			const name = `replace(%s, '\u0000', '\ufffd')::jsonb ->> 'name' = ?`
			named = `(substr(object, strpos(object, '/') + 1) = ? OR ` + fmt.Sprintf(name, "before") + ` OR ` + fmt.Sprintf(name, "after") + `)`
		}
		and(named, f.Name, f.Name, f.Name)
	}
	if f.Actor != "" {
		and("actor = ?", f.Actor)
	}
	if f.Action != "" {
		and("substr(action, 1, ?) = ?", utf8.RuneCountInString(f.Action), f.Action)
	}
	if !f.Since.IsZero() {
		and("at >= ?", formatTime(f.Since))
	}
	if !f.Until.IsZero() {
		and("at < ?", formatTime(f.Until))
	}
	return where, args
}

func scanAudit(r rower) (AuditEntry, error) {
	var e AuditEntry
	var before, after sql.NullString
	err := r.Scan(&e.Seq, timeColumn{&e.At}, &e.Actor, &e.From, &e.Action, &e.Object, &before, &after, &e.Why, &e.Revision, &e.PrevHash, &e.Hash)
	e.Before, e.After = rawOrNil(before), rawOrNil(after)
	return e, err
}

// AuditHead returns the end of the audit log; for an empty one Seq is 0.
func (s *Store) AuditHead(ctx context.Context) (AuditHead, error) { return readAuditHead(ctx, s.read) }

func readAuditHead(ctx context.Context, q querier) (AuditHead, error) {
	h := AuditHead{Hash: noHash}
	err := q.QueryRowContext(ctx, `SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1`).Scan(&h.Seq, &h.Hash)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return AuditHead{}, wrap("reading the audit log", err)
	}
	return h, nil
}

// VerifyAudit checks the whole chain, and that it contains known: a head that
// was kept elsewhere, or the zero value. An error wrapping [ErrCorrupt] names
// the first entry that does not fit. It returns the head of what was checked.
func (s *Store) VerifyAudit(ctx context.Context, known AuditHead) (AuditHead, error) {
	tx, err := s.read.view(ctx)
	if err != nil {
		return AuditHead{}, wrap("checking the audit log", err)
	}
	defer tx.Rollback()
	if err := tx.patient(ctx); err != nil {
		return AuditHead{}, wrap("checking the audit log", err)
	}
	return verifyAudit(ctx, tx, known)
}

func verifyAudit(ctx context.Context, q querier, known AuditHead) (AuditHead, error) {
	const op = "checking the audit log"
	rows, err := q.QueryContext(ctx, `SELECT `+auditColumns+` FROM audit ORDER BY seq`)
	if err != nil {
		return AuditHead{}, wrap(op, err)
	}
	defer rows.Close()
	head := AuditHead{Hash: noHash}
	for rows.Next() {
		e, err := scanAudit(rows)
		if err != nil {
			return AuditHead{}, wrap(op, err)
		}
		if err := head.follows(e); err != nil {
			return AuditHead{}, fmt.Errorf("%s: %w", op, err)
		}
		head = AuditHead{Seq: e.Seq, Hash: e.Hash}
		if e.Seq == known.Seq && e.Hash != known.Hash {
			return AuditHead{}, fmt.Errorf("%s: %w: entry %d has the hash %s, but %s was kept for it", op, ErrCorrupt, e.Seq, e.Hash, known.Hash)
		}
	}
	if err := rows.Err(); err != nil {
		return AuditHead{}, wrap(op, err)
	}
	if head.Seq < known.Seq {
		return AuditHead{}, fmt.Errorf("%s: %w: the log ends at entry %d, but entry %d was there", op, ErrCorrupt, head.Seq, known.Seq)
	}
	return head, nil
}

// follows checks that e is the next entry after h.
func (h AuditHead) follows(e AuditEntry) error {
	if e.Seq != h.Seq+1 {
		return fmt.Errorf("%w: entry %d is followed by %d", ErrCorrupt, h.Seq, e.Seq)
	}
	if e.PrevHash != h.Hash {
		return fmt.Errorf("%w: entry %d does not name the hash of the entry before it", ErrCorrupt, e.Seq)
	}
	sum, err := e.sum()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if sum != e.Hash {
		return fmt.Errorf("%w: entry %d does not hash to what it says", ErrCorrupt, e.Seq)
	}
	return nil
}

func rawOrNil(s sql.NullString) json.RawMessage {
	if !s.Valid {
		return nil
	}
	return json.RawMessage(s.String)
}
