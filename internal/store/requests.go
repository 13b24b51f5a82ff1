package store

import (
	"context"
	"fmt"
	"time"

	"github.com/signet-policy/signet/internal/verdict"
)

// VerdictRequest is a verdict that was asked for, to be fetched later.
type VerdictRequest struct {
	// ID is a ULID.
	ID string
	// Principal who asked, in its Role and bound to its Images (none: all); TokenID is of
	// the token that it asked with, "" where the connection said who asks.
	Principal, Role, TokenID string
	Images                   []string
	// The question, as it was asked.
	ImageRef, ImageName, Platform string
	Context                       map[string]string
	Refresh                       bool
	AssessmentID                  string
	Labels                        map[string]string
	// Done says that the rest of it is there.
	Done bool
	// Attempts came to nothing so far; the next is at NextAt. Message says why the
	// last one did, or why there is no verdict.
	Attempts          int
	CreatedAt, NextAt time.Time
	Message           string
	Decision          verdict.Decision
	// VerdictID is "" where there is no verdict; Verdict is its JSON.
	VerdictID  string
	Verdict    []byte
	FinishedAt *time.Time
}

const requestColumns = `id, principal, role, images, image_ref, image_name, platform, context, refresh, assessment_id, labels,
	state, attempts, created_at, next_at, message, decision, verdict_id, verdict, finished_at, token_id`

// The states of a request.
const (
	requestWaiting = "waiting"
	requestDone    = "done"
)

func (s *Store) scanRequest(r rower) (VerdictRequest, error) {
	var q VerdictRequest
	var state string
	var body []byte
	err := r.Scan(&q.ID, &q.Principal, &q.Role, jsonColumn{&q.Images}, &q.ImageRef, &q.ImageName, &q.Platform, jsonColumn{&q.Context}, &q.Refresh,
		&q.AssessmentID, jsonColumn{&q.Labels}, &state, &q.Attempts, timeColumn{&q.CreatedAt}, timeColumn{&q.NextAt}, &q.Message, &q.Decision,
		&q.VerdictID, &body, timePtrColumn{&q.FinishedAt}, &q.TokenID)
	if err != nil {
		return q, err
	}
	q.Done = state == requestDone
	if body != nil {
		q.Verdict, err = s.unpack(body)
	}
	return q, err
}

// AddVerdictRequest keeps a request that holder works on until then. While there are
// most that wait, it errs with [ErrConflict].
func (s *Store) AddVerdictRequest(ctx context.Context, q VerdictRequest, holder string, until time.Time, most int) error {
	const op = "keeping a request for a verdict"
	if q.ID == "" || q.Principal == "" || q.ImageRef == "" || q.CreatedAt.IsZero() || holder == "" || until.IsZero() {
		return fmt.Errorf("%s: %w: it has an id, a principal, an image, a time and a holder", op, ErrInvalid)
	}
	images, err := canonicalJSON(orEmpty(q.Images))
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	asked, err := canonicalJSON(orEmptyMap(q.Context))
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	labels, err := labelsJSON(q.Labels)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return s.update(ctx, op, func(w writer) error {
		var waiting int
		if err := w.tx.QueryRowContext(w.ctx, `SELECT count(*) FROM verdict_requests WHERE state = 'waiting'`).Scan(&waiting); err != nil {
			return err
		}
		if waiting >= most {
			return fmt.Errorf("%w: %d requests for verdicts wait already", ErrConflict, waiting)
		}
		at := formatTime(q.CreatedAt)
		return w.exec(`INSERT INTO verdict_requests (`+requestColumns+`, claimant, claimed_until)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			q.ID, printable(q.Principal), q.Role, images, printable(q.ImageRef), printable(q.ImageName), printable(q.Platform), printableJSON(asked), q.Refresh,
			printable(q.AssessmentID), labels, requestWaiting, 0, at, at, "", "", "", nil, nil, q.TokenID, holder, formatTime(until))
	})
}

// VerdictRequest returns one, or [ErrNotFound].
func (s *Store) VerdictRequest(ctx context.Context, id string) (VerdictRequest, error) {
	q, err := s.scanRequest(s.read.QueryRowContext(ctx, `SELECT `+requestColumns+` FROM verdict_requests WHERE id = ?`, id))
	return q, wrap(fmt.Sprintf("reading the request %q", id), err)
}

// ClaimVerdictRequests gives at most most requests whose time has come and on which
// nobody is at work, for holder to work on until then.
func (s *Store) ClaimVerdictRequests(ctx context.Context, holder string, now, until time.Time, most int) (mine []VerdictRequest, err error) {
	const op = "claiming requests for verdicts"
	const free = `state = 'waiting' AND next_at <= ? AND (claimed_until IS NULL OR claimed_until <= ?)`
	at := formatTime(now)
	rows, err := s.read.QueryContext(ctx, `SELECT `+requestColumns+` FROM verdict_requests WHERE `+free+` ORDER BY next_at, id LIMIT ?`, at, at, most)
	if err != nil {
		return nil, wrap(op, err)
	}
	due, err := collect(op, rows, s.scanRequest)
	if err != nil || len(due) == 0 {
		return nil, err
	}
	err = s.update(ctx, op, func(w writer) error {
		mine = nil
		for _, q := range due {
			n, err := w.affected(`UPDATE verdict_requests SET claimant = ?, claimed_until = ? WHERE id = ? AND `+free, holder, formatTime(until), q.ID, at, at)
			if err != nil {
				return err
			}
			if n == 1 {
				mine = append(mine, q)
			}
		}
		return nil
	})
	return mine, err
}

// DeferVerdictRequest gives back a claim of holder's, to be tried again at q.NextAt.
func (s *Store) DeferVerdictRequest(ctx context.Context, q VerdictRequest, holder string) error {
	return s.update(ctx, "deferring a request for a verdict", func(w writer) error {
		return w.exec(`UPDATE verdict_requests SET attempts = ?, next_at = ?, message = ?, claimant = '', claimed_until = NULL
			WHERE id = ? AND claimant = ? AND state = 'waiting'`, q.Attempts, formatTime(q.NextAt), printable(q.Message), q.ID, holder)
	})
}

// FinishVerdictRequest keeps the answer to a request that holder has claimed, and
// tells of it. Where another has it by now it errs with [ErrConflict].
func (s *Store) FinishVerdictRequest(ctx context.Context, q VerdictRequest, holder string, events []NewEvent) (told []Event, err error) {
	const op = "finishing a request for a verdict"
	if q.FinishedAt == nil || q.Decision == "" {
		return nil, fmt.Errorf("%s: %w: it has a decision and a time", op, ErrInvalid)
	}
	var body any
	if q.Verdict != nil {
		body = s.pack(q.Verdict)
	}
	err = s.update(ctx, op, func(w writer) error {
		n, err := w.affected(`UPDATE verdict_requests SET state = 'done', attempts = ?, message = ?, decision = ?, verdict_id = ?, verdict = ?, finished_at = ?,
			claimant = '', claimed_until = NULL WHERE id = ? AND claimant = ? AND state = 'waiting'`,
			q.Attempts, printable(q.Message), string(q.Decision), q.VerdictID, body, formatTimePtr(q.FinishedAt), q.ID, holder)
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("%w: another server has the request %s", ErrConflict, q.ID)
		}
		told, err = s.addEvents(w, events)
		return err
	})
	return told, err
}

// FreeVerdictRequests gives back all claims: for the only process there is, when it
// starts.
func (s *Store) FreeVerdictRequests(ctx context.Context) error {
	return s.update(ctx, "freeing requests for verdicts", func(w writer) error {
		return w.exec(`UPDATE verdict_requests SET claimant = '', claimed_until = NULL WHERE state = 'waiting' AND claimed_until IS NOT NULL`)
	})
}

// PruneVerdictRequests removes those that were done before end, a batch of 500, and
// says whether there may be more.
func (s *Store) PruneVerdictRequests(ctx context.Context, end time.Time) (more bool, err error) {
	err = s.update(ctx, "removing old requests for verdicts", func(w writer) error {
		n, err := w.affected(`DELETE FROM verdict_requests WHERE id IN (
			SELECT id FROM verdict_requests WHERE state = 'done' AND finished_at < ? ORDER BY finished_at LIMIT ?)`, formatTime(end), pruneBatch)
		more = n == pruneBatch
		return err
	})
	return more, err
}
