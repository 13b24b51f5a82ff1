package store

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/verdict"
)

// Watched is a question that is asked again without a caller: an image at a
// digest, and what was answered the last time.
type Watched struct {
	// ID is made from the question by who watches; see package watch.
	ID string
	// ImageRef is the image as it was asked for or listed; ImageName its
	// normalised name. Digest is the one that was answered; "" where none is yet.
	ImageRef, ImageName, Digest string
	Platform                    string
	Context                     map[string]string
	Roles                       []string
	Environment                 string
	// Listed is [ListedAPI], [ListedConfiguration], or "" for what was asked for;
	// ListedBy is who listed it.
	Listed, ListedBy string

	// Decision is the last allow or deny, "" before the first; what follows belongs
	// to it. DecidedKey names the state that it was decided under.
	Decision        verdict.Decision
	Allowed         bool
	VerdictID       string
	Reasons         []string // codes
	Signers         []string // that met a requirement, by the names they had
	DecidedAt       *time.Time
	DecidedKey      string
	DecidedRevision int64

	// StateKey names the state under which it was last tried. UnknownSince is set
	// while it cannot be decided, and UnknownTold once that was told.
	StateKey       string
	UnknownSince   *time.Time
	UnknownTold    bool
	UnknownReasons []string

	// RefreshedAt is the last time that the registry was asked anew for it.
	// BoundaryAt is when time itself may change the decision; DueAt when it is to be
	// decided again whatever happens.
	RefreshedAt, BoundaryAt *time.Time
	DueAt                   time.Time
	// AskedAt is the last time that somebody asked, nil for never; Principals who
	// did, the latest first.
	AskedAt    *time.Time
	Principals []string
	// Version is 0 for one that is not kept yet; each change raises it.
	Version int64
}

// Where a listed image stands.
const (
	ListedAPI           = "api"
	ListedConfiguration = "configuration"
)

const watchedColumns = `id, image_ref, image_name, digest, platform, context, roles, environment, listed, listed_by,
	decision, allowed, verdict_id, reasons, signers, decided_at, decided_key, decided_revision,
	state_key, unknown_since, unknown_told, unknown_reasons, refreshed_at, boundary_at, due_at, asked_at, principals, version`

func (w *Watched) dest() []any {
	return []any{
		&w.ID, &w.ImageRef, &w.ImageName, &w.Digest, &w.Platform, jsonColumn{&w.Context}, jsonColumn{&w.Roles}, &w.Environment, &w.Listed, &w.ListedBy,
		&w.Decision, &w.Allowed, &w.VerdictID, jsonColumn{&w.Reasons}, jsonColumn{&w.Signers}, timePtrColumn{&w.DecidedAt}, &w.DecidedKey, &w.DecidedRevision,
		&w.StateKey, timePtrColumn{&w.UnknownSince}, &w.UnknownTold, jsonColumn{&w.UnknownReasons}, timePtrColumn{&w.RefreshedAt}, timePtrColumn{&w.BoundaryAt},
		timeColumn{&w.DueAt}, timePtrColumn{&w.AskedAt}, jsonColumn{&w.Principals}, &w.Version,
	}
}

func scanWatched(r rower) (Watched, error) {
	var w Watched
	err := r.Scan(w.dest()...)
	return w, err
}

func (w *Watched) values() ([]any, error) {
	if w.ID == "" || w.ImageRef == "" || w.DueAt.IsZero() {
		return nil, fmt.Errorf("%w: a watched image has an id, a reference and a time when it is due", ErrInvalid)
	}
	var texts []any
	for _, v := range []any{
		orEmptyMap(w.Context), orEmpty(w.Roles), orEmpty(w.Reasons), orEmpty(w.Signers), orEmpty(w.UnknownReasons), orEmpty(w.Principals),
	} {
		text, err := canonicalJSON(v)
		if err != nil {
			return nil, err
		}
		texts = append(texts, printableJSON(text))
	}
	return []any{
		w.ID, printable(w.ImageRef), printable(w.ImageName), printable(w.Digest), printable(w.Platform), texts[0], texts[1], printable(w.Environment), w.Listed, printable(w.ListedBy),
		string(w.Decision), w.Allowed, w.VerdictID, texts[2], texts[3], formatTimePtr(w.DecidedAt), w.DecidedKey, w.DecidedRevision,
		w.StateKey, formatTimePtr(w.UnknownSince), w.UnknownTold, texts[4], formatTimePtr(w.RefreshedAt), formatTimePtr(w.BoundaryAt),
		formatTime(w.DueAt), formatTimePtr(w.AskedAt), texts[5], w.Version,
	}, nil
}

// WatchedChange is a watched image as it is to be kept, with the events that
// belong to the change: all of it is written, or nothing.
type WatchedChange struct {
	Watched Watched
	Events  []NewEvent
}

// SaveWatched keeps watched images, in one transaction: those with Version 0 are
// new, others replace the version that they were read at, which then rises. One
// that was changed or made by somebody else meanwhile is left alone, with its
// events, so that nothing is told twice. What was written is returned: the
// indexes of the changes, and the events with their ids.
func (s *Store) SaveWatched(ctx context.Context, changes []WatchedChange) (saved []int, told []Event, err error) {
	const op = "keeping watched images"
	if len(changes) == 0 {
		return nil, nil, nil
	}
	// In one order, so that two servers never wait for each other.
	order := make([]int, len(changes))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return strings.Compare(changes[a].Watched.ID, changes[b].Watched.ID) })
	err = s.update(ctx, op, func(w writer) error {
		saved, told = nil, nil
		for _, i := range order {
			ok, err := w.saveWatched(changes[i].Watched)
			if err != nil {
				return err
			}
			if !ok {
				continue
			}
			saved = append(saved, i)
			events, err := s.addEvents(w, changes[i].Events)
			if err != nil {
				return err
			}
			told = append(told, events...)
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	return saved, told, nil
}

func (w writer) saveWatched(row Watched) (bool, error) {
	before := row.Version
	row.Version++
	values, err := row.values()
	if err != nil {
		return false, err
	}
	var n int64
	if before == 0 {
		n, err = w.affected(`INSERT INTO watched (`+watchedColumns+`) VALUES (?`+strings.Repeat(", ?", len(values)-1)+`) ON CONFLICT (id) DO NOTHING`, values...)
	} else {
		columns := strings.Split(strings.Join(strings.Fields(watchedColumns), ""), ",")
		n, err = w.affected(`UPDATE watched SET `+strings.Join(columns[1:], " = ?, ")+` = ? WHERE id = ? AND version = ?`,
			append(slices.Clone(values[1:]), row.ID, before)...)
	}
	if err != nil || n == 0 {
		return false, err
	}
	if before > 0 {
		if err := w.exec(`DELETE FROM watched_signers WHERE watched_id = ?`, row.ID); err != nil {
			return false, err
		}
	}
	for _, name := range slices.Compact(slices.Sorted(slices.Values(row.Signers))) {
		if err := w.exec(`INSERT INTO watched_signers (signer, watched_id) VALUES (?, ?)`, printable(name), row.ID); err != nil {
			return false, err
		}
	}
	return true, nil
}

// Watched returns those of some watched images that are there, by id.
func (s *Store) Watched(ctx context.Context, ids ...string) (map[string]Watched, error) {
	const op = "reading watched images"
	found := map[string]Watched{}
	for some := range slices.Chunk(ids, 500) {
		args := make([]any, len(some))
		for i, id := range some {
			args[i] = id
		}
		rows, err := s.read.QueryContext(ctx, `SELECT `+watchedColumns+` FROM watched WHERE id IN (?`+strings.Repeat(", ?", len(some)-1)+`)`, args...)
		if err != nil {
			return nil, wrap(op, err)
		}
		list, err := collect(op, rows, scanWatched)
		if err != nil {
			return nil, err
		}
		for _, w := range list {
			found[w.ID] = w
		}
	}
	return found, nil
}

// WatchedFilter chooses watched images; what is zero does not restrict.
type WatchedFilter struct {
	// Listed chooses those of one list.
	Listed string
	// Signer chooses those whose last decision the signer of this name met, and
	// that were allowed.
	Signer string
	// After is the id that the page begins after.
	After string
	// Limit is 1 to 1000; 0 means 50.
	Limit int
}

// WatchedPage lists watched images by their ids. next is After of the next page,
// "" after the last.
func (s *Store) WatchedPage(ctx context.Context, f WatchedFilter) (list []Watched, next string, err error) {
	const op = "listing watched images"
	limit, err := pageSize(f.Limit, 50, 1000)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", op, err)
	}
	from, id, where, args := "watched", "id", "id > ?", []any{f.After}
	if f.Signer != "" {
		// By the signer's own index, in the order of the page: on SQLite CROSS JOIN
		// keeps to it.
		join := "JOIN"
		if !s.read.postgres {
			join = "CROSS JOIN"
		}
		from, id = "watched_signers s "+join+" watched ON watched.id = s.watched_id", "s.watched_id"
		where, args = "s.signer = ? AND s.watched_id > ? AND decision = 'allow'", []any{f.Signer, f.After}
	}
	if f.Listed != "" {
		where, args = where+" AND listed = ? AND listed <> ''", append(args, f.Listed)
	}
	rows, err := s.read.QueryContext(ctx, `SELECT `+watchedColumns+` FROM `+from+` WHERE `+where+` ORDER BY `+id+` LIMIT ?`, append(args, limit+1)...)
	if err != nil {
		return nil, "", wrap(op, err)
	}
	if list, err = collect(op, rows, scanWatched); err != nil {
		return nil, "", err
	}
	if len(list) > limit {
		list = list[:limit]
		next = list[limit-1].ID
	}
	return list, next, nil
}

// Why a watched image is to be decided again.
const (
	DueBoundary = "boundary" // a time has come that may change the decision
	DueActive   = "active"   // it was last tried under another state
	DueRefresh  = "refresh"  // the registry is to be asked anew, or it could not be decided
)

// Due is a watched image that is to be decided again.
type Due struct {
	Watched
	Why string
}

// WatchedDue returns images that are to be decided again now, the most urgent first:
// as many as limit, and one more. Of those that only wait for their daily turn
// there are a few among them whatever else there is.
func (s *Store) WatchedDue(ctx context.Context, now time.Time, stateKey string, limit int) ([]Due, error) {
	const op = "reading what is to be decided again"
	at := formatTime(now)
	var due []Due
	seen := map[string]bool{}
	take := func(why string, n int, where, order string, args ...any) error {
		if n <= 0 {
			return nil
		}
		rows, err := s.read.QueryContext(ctx, `SELECT `+watchedColumns+` FROM watched WHERE `+where+` ORDER BY `+order+` LIMIT ?`, append(args, n)...)
		if err != nil {
			return wrap(op, err)
		}
		list, err := collect(op, rows, scanWatched)
		for _, w := range list {
			if !seen[w.ID] {
				seen[w.ID] = true
				due = append(due, Due{w, why})
			}
		}
		return err
	}
	reserved := limit / 4
	if err := take(DueBoundary, limit, "boundary_at <= ?", "boundary_at", at); err != nil {
		return nil, err
	}
	// Two ranges of the index: <> would read all of it.
	for _, than := range []string{"<", ">"} {
		if err := take(DueActive, limit-reserved-len(due), "state_key "+than+" ?", "state_key, id", stateKey); err != nil {
			return nil, err
		}
	}
	if err := take(DueRefresh, max(limit-len(due), min(reserved, 1)), "due_at <= ?", "due_at", at); err != nil {
		return nil, err
	}
	return due, nil
}

// WatchedStats are sizes, for metrics.
type WatchedStats struct {
	Images int64
	// Oldest is when what has waited longest was due; nil where nothing waits.
	Oldest *time.Time
}

// WatchedStats counts watched images, and tells what waits.
func (s *Store) WatchedStats(ctx context.Context, now time.Time) (WatchedStats, error) {
	const op = "counting watched images"
	var st WatchedStats
	if err := s.read.QueryRowContext(ctx, `SELECT count(*) FROM watched`).Scan(&st.Images); err != nil {
		return WatchedStats{}, wrap(op, err)
	}
	for _, column := range []string{"boundary_at", "due_at"} {
		var at *time.Time
		if err := s.read.QueryRowContext(ctx, `SELECT min(`+column+`) FROM watched WHERE `+column+` <= ?`, formatTime(now)).Scan(timePtrColumn{&at}); err != nil {
			return WatchedStats{}, wrap(op, err)
		}
		if at != nil && (st.Oldest == nil || at.Before(*st.Oldest)) {
			st.Oldest = at
		}
	}
	return st, nil
}

// ForgetWatched removes up to limit images that nobody listed, and that nobody has
// asked for since before.
func (s *Store) ForgetWatched(ctx context.Context, before time.Time, limit int) (n int64, err error) {
	err = s.update(ctx, "forgetting watched images", func(w writer) error {
		n, err = w.affected(`DELETE FROM watched WHERE id IN (SELECT id FROM watched WHERE listed = '' AND asked_at < ? ORDER BY asked_at LIMIT ?)`, formatTime(before), limit)
		return err
	})
	return n, err
}

// PutListed lists an image, or changes its row: audited, as a change by somebody.
func (t *Tx) PutListed(ctx context.Context, row Watched) error {
	ok, err := writer{ctx, t.tx}.saveWatched(row)
	switch {
	case err != nil:
		return wrap("listing an image", err)
	case !ok:
		return fmt.Errorf("listing image %q: %w: it was changed meanwhile; ask again", row.ImageRef, ErrConflict)
	}
	after, err := listedBody(row)
	if err != nil {
		return err
	}
	return t.audit(ctx, "watch.add", "watch/"+row.ID, nil, after)
}

// DeleteListed takes an image off the list, and forgets what was known of it.
func (t *Tx) DeleteListed(ctx context.Context, row Watched) error {
	before, err := listedBody(row)
	if err != nil {
		return err
	}
	if err := t.exec(ctx, "taking an image off the list", `DELETE FROM watched WHERE id = ?`, row.ID); err != nil {
		return err
	}
	return t.audit(ctx, "watch.remove", "watch/"+row.ID, before, nil)
}

func listedBody(row Watched) (json.RawMessage, error) {
	return facts.Canonical(map[string]any{"image": printable(row.ImageRef), "environment": printable(row.Environment), "platform": printable(row.Platform)})
}

// Unlist takes images of the configuration's list that are not in keep off it.
func (s *Store) Unlist(ctx context.Context, keep []string) (n int64, err error) {
	for after := ""; ; {
		page, next, err := s.WatchedPage(ctx, WatchedFilter{Listed: ListedConfiguration, After: after, Limit: 1000})
		if err != nil {
			return n, err
		}
		for _, w := range page {
			if slices.Contains(keep, w.ID) {
				continue
			}
			err := s.update(ctx, "taking images off the list", func(wr writer) error {
				return wr.exec(`DELETE FROM watched WHERE id = ? AND listed = ?`, w.ID, ListedConfiguration)
			})
			if err != nil {
				return n, err
			}
			n++
		}
		if after = next; next == "" {
			return n, nil
		}
	}
}

// Place is where a verdict stands in the order of their times.
type Place struct {
	ID string
	At time.Time
}

// VerdictPlaces lists verdicts from one place on, the oldest first, from an index
// alone. Rows of other servers may appear before a place that was read already:
// who wants them all reads a little again, and what has a [MarkLate].
func (s *Store) VerdictPlaces(ctx context.Context, after Place, limit int) ([]Place, error) {
	const op = "reading recent verdicts"
	rows, err := s.read.QueryContext(ctx, `SELECT id, created_at FROM signature_verifications WHERE (created_at, id) > (?, ?)
		ORDER BY created_at, id LIMIT ?`, formatTime(after.At), after.ID, limit)
	if err != nil {
		return nil, wrap(op, err)
	}
	return collect(op, rows, func(r rower) (Place, error) {
		var p Place
		err := r.Scan(&p.ID, timeColumn{&p.At})
		return p, err
	})
}

// AskedVerdict is of a verdict what is needed to ask the same again.
type AskedVerdict struct {
	Row
	// Request is as the policies read it; the zero value where none was evaluated.
	Request facts.Request
	// Platform is the one that was asked for, "" for none.
	Platform string
	// Signers met a requirement, by the names that they had.
	Signers []string
	// Given says that evidence came with the request, so that asking the same again
	// would be another question.
	Given bool
	// ValidUntil is the verdict's own.
	ValidUntil *time.Time
}

// AskedVerdicts reads verdicts with the questions that they answer, in the order
// of their times. One whose frames cannot be read is left out.
func (s *Store) AskedVerdicts(ctx context.Context, ids []string) ([]AskedVerdict, error) {
	const op = "reading recent verdicts"
	if len(ids) == 0 {
		return nil, nil
	}
	args := make([]any, len(ids))
	for i, id := range ids {
		args[i] = id
	}
	rows, err := s.read.QueryContext(ctx, `SELECT `+verificationColumns+`, frames, verdict FROM signature_verifications
		WHERE id IN (?`+strings.Repeat(", ?", len(ids)-1)+`) ORDER BY created_at, id`, args...)
	if err != nil {
		return nil, wrap(op, err)
	}
	var unread error
	list, err := collect(op, rows, func(r rower) (AskedVerdict, error) {
		var v AskedVerdict
		var packed, body []byte
		if err := r.Scan(append(v.dest(), &packed, &body)...); err != nil {
			return v, err
		}
		raw, err := s.unpack(packed)
		if err == nil {
			v.ValidUntil, err = s.validUntil(body)
		}
		if err != nil {
			unread, v.ID = err, ""
			return v, nil //nolint:nilerr // one that is damaged hides no other
		}
		var frames map[string]facts.Frame
		if err := json.Unmarshal(raw, &frames); err != nil {
			unread, v.ID = err, ""
			return v, nil //nolint:nilerr // as above
		}
		for _, f := range frames {
			v.Request, v.Platform, v.Given = f.Request, cmp.Or(f.Platform, v.Platform), len(f.Given) > 0
		}
		v.Signers = met(frames)
		return v, nil
	})
	if err != nil {
		return nil, err
	}
	if unread != nil {
		list = slices.DeleteFunc(list, func(v AskedVerdict) bool { return v.ID == "" })
	}
	return list, nil
}

// validUntil reads that field of a verdict that is kept.
func (s *Store) validUntil(packed []byte) (*time.Time, error) {
	raw, err := s.unpack(packed)
	if err != nil {
		return nil, err
	}
	var v struct {
		ValidUntil *time.Time `json:"valid_until"`
	}
	err = json.Unmarshal(raw, &v)
	return v.ValidUntil, err
}

// relianceRows bounds what is read to find out who relies on an image.
const relianceRows = 500

// Reliance tells who was given a verdict on an image since a time, whatever it
// was: principals, and assessments. It looks at the latest verdicts alone, 500 at
// most.
func (s *Store) Reliance(ctx context.Context, imageRef string, since time.Time) (principals, assessments []string, err error) {
	const op = "reading who relies on an image"
	read := func(query string) ([]string, error) {
		rows, err := s.read.QueryContext(ctx, query, imageRef, formatTime(since), relianceRows)
		if err != nil {
			return nil, wrap(op, err)
		}
		list, err := collect(op, rows, func(r rower) (string, error) {
			var name string
			err := r.Scan(&name)
			return name, err
		})
		slices.Sort(list)
		return slices.Compact(list), err
	}
	const latest = `SELECT id, principal, assessment_id FROM signature_verifications WHERE image_ref = ? AND created_at >= ? ORDER BY created_at DESC, id DESC LIMIT ?`
	principals, err = read(`WITH latest AS (` + latest + `)
		SELECT principal FROM latest UNION SELECT u.principal FROM latest JOIN verdict_uses u ON u.verification_id = latest.id`)
	if err != nil {
		return nil, nil, err
	}
	assessments, err = read(`WITH latest AS (` + latest + `) SELECT DISTINCT assessment_id FROM latest WHERE assessment_id IS NOT NULL`)
	return principals, assessments, err
}

// The kinds of marks.
const (
	MarkScan   = "scan"   // the time up to which verdicts were looked at
	MarkEnding = "ending" // what was told to end, until it has ended
	MarkLate   = "late"   // by its id, a verdict that was written late, until the watch has taken it up
)

// Mark is how far a work of the watch is.
type Mark struct {
	Kind, Key string
	At        time.Time
}

// Marks lists the marks of a kind, by key.
func (s *Store) Marks(ctx context.Context, kind string) ([]Mark, error) {
	const op = "reading marks"
	rows, err := s.read.QueryContext(ctx, `SELECT kind, key, at FROM watch_marks WHERE kind = ? ORDER BY key`, kind)
	if err != nil {
		return nil, wrap(op, err)
	}
	return collect(op, rows, func(r rower) (Mark, error) {
		var m Mark
		err := r.Scan(&m.Kind, &m.Key, timeColumn{&m.At})
		return m, err
	})
}

// SetMark keeps a mark.
func (s *Store) SetMark(ctx context.Context, m Mark) error {
	return s.update(ctx, "keeping a mark", func(w writer) error { return w.setMark(m) })
}

func (w writer) setMark(m Mark) error {
	return w.exec(`INSERT INTO watch_marks (kind, key, at) VALUES (?, ?, ?) ON CONFLICT (kind, key) DO UPDATE SET at = excluded.at`, m.Kind, m.Key, formatTime(m.At))
}

// TellOnce tells events unless one of the marks is there already, and sets the
// marks: all of it or nothing.
func (s *Store) TellOnce(ctx context.Context, marks []Mark, events []NewEvent) (told []Event, err error) {
	err = s.update(ctx, "telling events", func(w writer) error {
		told = nil
		for i, m := range marks {
			n, err := w.affected(`INSERT INTO watch_marks (kind, key, at) VALUES (?, ?, ?) ON CONFLICT (kind, key) DO NOTHING`, m.Kind, m.Key, formatTime(m.At))
			if err != nil {
				return err
			}
			if i == 0 && n == 0 {
				return nil
			}
		}
		told, err = s.addEvents(w, events)
		return err
	})
	return told, err
}

// DropMarks removes some marks of a kind.
func (s *Store) DropMarks(ctx context.Context, kind string, keys []string) error {
	return s.update(ctx, "removing marks", func(w writer) error {
		for some := range slices.Chunk(keys, 500) {
			args := []any{kind}
			for _, key := range some {
				args = append(args, key)
			}
			if err := w.exec(`DELETE FROM watch_marks WHERE kind = ? AND key IN (?`+strings.Repeat(", ?", len(some)-1)+`)`, args...); err != nil {
				return err
			}
		}
		return nil
	})
}

// ForgetMarks removes marks of a kind whose time is before.
func (s *Store) ForgetMarks(ctx context.Context, kind string, before time.Time) error {
	return s.update(ctx, "forgetting marks", func(w writer) error {
		return w.exec(`DELETE FROM watch_marks WHERE kind = ? AND at < ?`, kind, formatTime(before))
	})
}

// AuditBetween lists the latest changes after one revision and up to another, the
// newest first; of many only the last limit.
func (s *Store) AuditBetween(ctx context.Context, after, upTo int64, limit int) ([]AuditEntry, error) {
	var found []AuditEntry
	for before := int64(0); ; {
		page, err := s.Audit(ctx, AuditFilter{Before: before, Limit: 200})
		if err != nil {
			return nil, err
		}
		for _, e := range page {
			if e.Revision <= after || len(found) == limit {
				return found, nil
			}
			if e.Revision <= upTo {
				found = append(found, e)
			}
		}
		if len(page) < 200 {
			return found, nil
		}
		before = page[len(page)-1].Seq
	}
}
