package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/signet-policy/signet/internal/verdict"
)

// ShadowRow is what a policy of mode shadow said beside a verdict.
type ShadowRow struct {
	// VerificationID is the verdict's. ImageRef is the image as it was asked for,
	// ImageName its normalised name.
	VerificationID, ImageRef, ImageName string
	// Policy is the one in shadow, with the digests of what was evaluated.
	Policy, Digest, ParamsDigest string
	Decision                     verdict.Decision
	Reasons                      []verdict.Reason
	// ShadowOf is the policy that it is compared with, "" for the whole verdict, and
	// ComparedWith that one's decision.
	ShadowOf     string
	ComparedWith verdict.Decision
	CreatedAt    time.Time
}

func (r ShadowRow) validate() error {
	switch {
	case r.VerificationID == "" || r.Policy == "" || r.CreatedAt.IsZero():
		return fmt.Errorf("%w: a shadow has a verdict, a policy and a time: %+v", ErrInvalid, r)
	case Filter{Decision: r.Decision}.validate() != nil || r.Decision == "":
		return fmt.Errorf("%w: shadow decision: %q is not allow, deny or unknown", ErrInvalid, r.Decision)
	case Filter{Decision: r.ComparedWith}.validate() != nil || r.ComparedWith == "":
		return fmt.Errorf("%w: shadow compared with: %q is not allow, deny or unknown", ErrInvalid, r.ComparedWith)
	}
	return nil
}

// RecordShadows keeps what the policies in shadow said beside one verdict, all or
// nothing. What is kept already stays as it is.
func (s *Store) RecordShadows(ctx context.Context, list []ShadowRow) error {
	const op = "recording shadows"
	rows := make([][]any, 0, len(list))
	for _, r := range list {
		if err := r.validate(); err != nil {
			return fmt.Errorf("%s: %w", op, err)
		}
		reasons, err := canonicalJSON(orEmpty(r.Reasons))
		if err != nil {
			return fmt.Errorf("%s: %w", op, err)
		}
		rows = append(rows, []any{
			r.VerificationID, r.Policy, r.Digest, r.ParamsDigest, string(r.Decision), r.ShadowOf, string(r.ComparedWith),
			r.Decision == r.ComparedWith, printableJSON(reasons), printable(r.ImageRef), printable(r.ImageName), formatTime(r.CreatedAt),
		})
	}
	return s.update(ctx, op, func(w writer) error {
		for _, args := range rows {
			err := w.exec(`INSERT INTO shadow_verdicts (verification_id, policy, digest, params_digest, decision, shadow_of, compared_with,
				agrees, reasons, image_ref, image_name, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
				ON CONFLICT (verification_id, policy) DO NOTHING`, args...)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// ShadowCounts tells how a policy's shadows compare since a time.
type ShadowCounts struct {
	// Agree decided as what they were compared with; the others would have
	// decided this instead.
	Agree, WouldAllow, WouldDeny, WouldNotKnow int64
}

// ShadowCounts counts what a policy in shadow said from a time on.
func (s *Store) ShadowCounts(ctx context.Context, policy string, since time.Time) (ShadowCounts, error) {
	const op = "counting shadows"
	type count struct {
		agrees   bool
		decision string
		n        int64
	}
	var c ShadowCounts
	rows, err := s.read.QueryContext(ctx, `SELECT agrees, decision, count(*) FROM shadow_verdicts
		WHERE policy = ? AND created_at >= ? GROUP BY agrees, decision`, policy, formatTime(since))
	if err != nil {
		return c, wrap(op, err)
	}
	counts, err := collect(op, rows, func(r rower) (count, error) {
		var got count
		err := r.Scan(&got.agrees, &got.decision, &got.n)
		return got, err
	})
	for _, got := range counts {
		switch {
		case got.agrees:
			c.Agree += got.n
		case got.decision == string(verdict.Allow):
			c.WouldAllow += got.n
		case got.decision == string(verdict.Deny):
			c.WouldDeny += got.n
		default:
			c.WouldNotKnow += got.n
		}
	}
	return c, err
}

// ShadowDisagreements lists where a policy in shadow decided otherwise from a time
// on, the latest first. limit is 1 to 1000, 0 means 50.
func (s *Store) ShadowDisagreements(ctx context.Context, policy string, since time.Time, after *Cursor, limit int) ([]ShadowRow, *Cursor, error) {
	const op = "listing shadows"
	limit, err := pageSize(limit, 50, 1000)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", op, err)
	}
	where, args := "policy = ? AND agrees = ? AND created_at >= ?", []any{policy, false, formatTime(since)}
	if after != nil {
		where, args = where+" AND (created_at, verification_id) < (?, ?)", append(args, formatTime(after.CreatedAt), after.ID)
	}
	rows, err := s.read.QueryContext(ctx, `SELECT verification_id, policy, digest, params_digest, decision, shadow_of, compared_with,
		reasons, image_ref, image_name, created_at FROM shadow_verdicts
		WHERE `+where+` ORDER BY created_at DESC, verification_id DESC LIMIT ?`, append(args, limit+1)...)
	if err != nil {
		return nil, nil, wrap(op, err)
	}
	list, err := collect(op, rows, func(r rower) (ShadowRow, error) {
		var got ShadowRow
		var decision, compared string
		var reasons json.RawMessage
		err := r.Scan(&got.VerificationID, &got.Policy, &got.Digest, &got.ParamsDigest, &decision, &got.ShadowOf, &compared,
			canonicalColumn{&reasons}, &got.ImageRef, &got.ImageName, timeColumn{&got.CreatedAt})
		if err == nil {
			err = json.Unmarshal(reasons, &got.Reasons)
		}
		got.Decision, got.ComparedWith = verdict.Decision(decision), verdict.Decision(compared)
		return got, err
	})
	if err != nil {
		return nil, nil, err
	}
	return cut(list, limit, func(r ShadowRow) Cursor { return Cursor{CreatedAt: r.CreatedAt, ID: r.VerificationID} })
}
