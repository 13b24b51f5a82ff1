package store

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"time"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/verdict"
)

// Row is what a list of verdicts shows of one: the columns of
// signature_verifications.
type Row struct {
	ID           string  `json:"id"`
	AssessmentID *string `json:"assessment_id"`
	// ImageRef is the image as it was asked for; ImageName its normalised name
	// without tag or digest, "" where it has none.
	ImageRef       string     `json:"image_ref"`
	ImageName      string     `json:"image_name"`
	ImageDigest    string     `json:"image_digest"`
	SignatureFound bool       `json:"signature_found"`
	SignatureValid bool       `json:"signature_valid"`
	SignerIdentity string     `json:"signer_identity"`
	SignerIssuer   string     `json:"signer_issuer"`
	SignedAt       *time.Time `json:"signed_at"`
	SLSALevel      int        `json:"slsa_level"`
	SLSABuilder    *string    `json:"slsa_builder"`
	// VerificationError is the first reason's message, null for an allow.
	VerificationError *string           `json:"verification_error"`
	CreatedAt         time.Time         `json:"created_at"`
	Decision          verdict.Decision  `json:"decision"`
	Allowed           bool              `json:"allowed"`
	Reasons           []verdict.Reason  `json:"reasons"`
	Principal         string            `json:"principal"`
	Labels            map[string]string `json:"labels"`
	FactsDigest       *string           `json:"facts_digest"`
	Active            verdict.Active    `json:"active"`
	Build             string            `json:"build"`
	// Repeats is the verdict that this row repeats, because it was answered from a
	// cache; nil where it was computed. The row that it names may be gone.
	Repeats *string `json:"repeats,omitempty"`
}

// Stored is one verdict whole.
type Stored struct {
	Row
	// Body is exactly what was answered.
	Body []byte
	// Frames by policy; with the facts they give the input again.
	Frames map[string]facts.Frame
	// Basis is as it was recorded, and EvidenceDigest names the evidence; nil for a
	// verdict that was recorded without.
	Basis          []byte
	EvidenceDigest *string
}

func (r *Row) dest() []any {
	return []any{
		&r.ID, &r.AssessmentID, &r.ImageRef, &r.ImageName, &r.ImageDigest,
		&r.SignatureFound, &r.SignatureValid, &r.SignerIdentity, &r.SignerIssuer, timePtrColumn{&r.SignedAt},
		&r.SLSALevel, &r.SLSABuilder, &r.VerificationError, timeColumn{&r.CreatedAt}, &r.Decision, &r.Allowed, jsonColumn{&r.Reasons},
		&r.Principal, jsonColumn{&r.Labels}, &r.FactsDigest, &r.Active.Revision, &r.Active.Digest, &r.Build, &r.Repeats,
	}
}

// Verdict returns one verdict, or [ErrNotFound].
func (s *Store) Verdict(ctx context.Context, id string) (Stored, error) {
	op := fmt.Sprintf("reading verdict %q", id)
	var v Stored
	var frames, body, basis []byte
	err := s.read.QueryRowContext(ctx, `SELECT `+verificationColumns+`, frames, verdict, basis, evidence_digest FROM signature_verifications WHERE id = ?`, id).
		Scan(append(v.dest(), &frames, &body, &basis, &v.EvidenceDigest)...)
	if err != nil {
		return Stored{}, wrap(op, err)
	}
	if v.Body, err = s.unpack(body); err != nil {
		return Stored{}, wrap(op, err)
	}
	if basis != nil {
		if v.Basis, err = s.unpack(basis); err != nil {
			return Stored{}, wrap(op, err)
		}
	}
	raw, err := s.unpack(frames)
	if err != nil {
		return Stored{}, wrap(op, err)
	}
	if err := json.Unmarshal(raw, &v.Frames); err != nil {
		return Stored{}, fmt.Errorf("%s: %w: its frames: %w", op, ErrCorrupt, err)
	}
	return v, nil
}

// Verdicts lists verdicts, newest first, and returns the cursor of the next
// page, nil after the last.
func (s *Store) Verdicts(ctx context.Context, f Filter, p Page) ([]Row, *Cursor, error) {
	const op = "listing verdicts"
	limit, err := pageSize(p.Limit, 50, 1000)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", op, err)
	}
	if err := f.validate(); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", op, err)
	}
	drive, err := f.drive(ctx, s.read)
	if err != nil {
		return nil, nil, wrap(op, err)
	}
	query, args := f.query(s.read.dialect, drive, p.After, limit+1)
	rows, err := s.read.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, nil, wrap(op, err)
	}
	list, err := collect(op, rows, func(r rower) (Row, error) {
		var row Row
		err := r.Scan(row.dest()...)
		return row, err
	})
	if err != nil {
		return nil, nil, err
	}
	return cut(list, limit, func(r Row) Cursor { return Cursor{CreatedAt: r.CreatedAt, ID: r.ID} })
}

// cut takes the row that was read beyond a page away, and tells from it that
// there is a next page.
func cut[T any](list []T, limit int, at func(T) Cursor) ([]T, *Cursor, error) {
	if len(list) <= limit {
		return list, nil, nil
	}
	list = list[:limit]
	c := at(list[limit-1])
	return list, &c, nil
}

// SignerVerdict is a digest that was allowed because of a signer, under one name of
// an image: one that has several is there under each.
type SignerVerdict struct {
	Digest string
	// ImageRef is as it was asked for the last time; VerdictID, At and SignedAt
	// are of the last verdict.
	ImageRef  string
	VerdictID string
	At        time.Time
	SignedAt  *time.Time
	// Count is how many verdicts are kept.
	Count int64
}

// SignerVerdicts lists the digests that were allowed because of a registered
// signer, whatever its name was then, the latest first, and returns the cursor of
// the next page, nil after the last. limit is 1 to 1000; 0 means 50. A digest that
// is allowed again between two pages moves in front of the cursor: who needs all of
// them takes [Store.EachSignerVerdict].
func (s *Store) SignerVerdicts(ctx context.Context, signerID string, after *Cursor, limit int) ([]SignerVerdict, *Cursor, error) {
	limit, err := pageSize(limit, 50, maxSignerVerdicts)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", listingSignerVerdicts, err)
	}
	return readSignerVerdicts(ctx, s.read, signerID, after, limit)
}

const (
	maxSignerVerdicts     = 1000
	listingSignerVerdicts = "listing a signer's verdicts"
)

// EachSignerVerdict is all that [Store.SignerVerdicts] lists, in that order and as of
// one moment, whatever is allowed meanwhile. It ends with the first error. A
// connection is held as long as it is ranged over.
func (s *Store) EachSignerVerdict(ctx context.Context, signerID string) iter.Seq2[SignerVerdict, error] {
	return func(yield func(SignerVerdict, error) bool) {
		tx, err := s.read.view(ctx)
		if err != nil {
			yield(SignerVerdict{}, wrap(listingSignerVerdicts, err))
			return
		}
		defer tx.Rollback()
		var after *Cursor
		for {
			page, next, err := readSignerVerdicts(ctx, tx, signerID, after, maxSignerVerdicts)
			if err != nil {
				yield(SignerVerdict{}, err)
				return
			}
			for _, v := range page {
				if !yield(v, nil) {
					return
				}
			}
			if next == nil {
				return
			}
			after = next
		}
	}
}

func readSignerVerdicts(ctx context.Context, q querier, signerID string, after *Cursor, limit int) ([]SignerVerdict, *Cursor, error) {
	query, args := signerVerdictsQuery(signerID, after, limit+1)
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, nil, wrap(listingSignerVerdicts, err)
	}
	list, err := collect(listingSignerVerdicts, rows, func(r rower) (SignerVerdict, error) {
		var v SignerVerdict
		err := r.Scan(&v.Digest, &v.ImageRef, &v.VerdictID, timeColumn{&v.At}, timePtrColumn{&v.SignedAt}, &v.Count)
		return v, err
	})
	if err != nil {
		return nil, nil, err
	}
	return cut(list, limit, func(v SignerVerdict) Cursor { return Cursor{CreatedAt: v.At, ID: v.VerdictID} })
}

func signerVerdictsQuery(signerID string, after *Cursor, limit int) (string, []any) {
	where, args := "signer_id = ?", []any{signerID}
	if after != nil {
		where, args = where+" AND (created_at, verification_id) < (?, ?)", append(args, formatTime(after.CreatedAt), after.ID)
	}
	return `SELECT image_digest, image_ref, verification_id, created_at, signed_at, count FROM signer_digests
		WHERE ` + where + ` ORDER BY created_at DESC, verification_id DESC LIMIT ?`, append(args, limit)
}
