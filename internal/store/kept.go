package store

import (
	"context"
	"fmt"
	"time"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/verdict"
)

// KeptVerdict is what deciding a verdict again takes. What it was decided on is
// unpacked when it is asked for.
type KeptVerdict struct {
	ID string
	At time.Time
	// ImageRef is the image as it was asked for, ImageName its normalised name.
	ImageRef, ImageName, ImageDigest string
	Decision                         verdict.Decision
	Allowed                          bool
	Active                           verdict.Active
	Build                            string
	// FactsDigest and EvidenceDigest are "" where there are none.
	FactsDigest, EvidenceDigest string
	// Uses is how often it was given again, LastUsed when the last time, to the
	// minute; zero for never.
	Uses     int64
	LastUsed time.Time

	s *Store
	// basis and facts are packed; nil where there are none, or where the facts are
	// too large to be read with every row.
	basis, facts []byte
	encoding     string
	size         int
}

// joinedFacts is the size in bytes, unpacked, above which facts are read one by one.
const joinedFacts = 64 << 10

// Basis is what the verdict was decided on beside the facts, as it was recorded;
// nil for one that was recorded without.
func (v *KeptVerdict) Basis() ([]byte, error) {
	if v.basis == nil {
		return nil, nil
	}
	body, err := v.s.unpack(v.basis)
	if err != nil {
		return nil, fmt.Errorf("reading the basis of verdict %s: %w", v.ID, err)
	}
	return body, nil
}

// Facts are those of the verdict, as [Store.Facts] gives them, and their size in
// bytes as they are encoded.
func (v *KeptVerdict) Facts(ctx context.Context) (f facts.Facts, size int, err error) {
	if v.facts == nil {
		f, err = v.s.Facts(ctx, v.FactsDigest)
		return f, v.size, err
	}
	raw, err := v.s.unpackSized(v.encoding, v.size, v.facts)
	if err == nil {
		f, err = facts.Decode(raw, v.FactsDigest)
	}
	if err != nil {
		return facts.Facts{}, 0, fmt.Errorf("reading facts %s: %w: %w", v.FactsDigest, ErrCorrupt, err)
	}
	return f, v.size, nil
}

// KeptVerdicts reads verdicts from since on, up to but not including until, the
// newest first, and returns the cursor of the next page, nil after the last. A
// zero time does not restrict; limit is 1 to 1000, 0 means 50.
func (s *Store) KeptVerdicts(ctx context.Context, since, until time.Time, p Page) ([]KeptVerdict, *Cursor, error) {
	const op = "reading kept verdicts"
	limit, err := pageSize(p.Limit, 50, 1000)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", op, err)
	}
	from, where, args := keptRange(s.read.dialect, Filter{Since: since, Until: until}, p.After)
	rows, err := s.read.QueryContext(ctx, `SELECT v.id, v.created_at, v.image_ref, v.image_name, v.image_digest, v.decision, v.allowed,
			v.active_revision, v.active_digest, v.build, v.facts_digest, v.evidence_digest, v.basis,
			f.encoding, f.size, CASE WHEN f.size <= ? THEN f.body END,
			(SELECT CAST(sum(u.count) AS bigint) FROM verdict_uses u WHERE u.verification_id = v.id), (SELECT max(u.minute) FROM verdict_uses u WHERE u.verification_id = v.id)
		FROM `+from+` LEFT JOIN facts f ON f.digest = v.facts_digest
		WHERE `+where+` ORDER BY v.created_at DESC, v.id DESC LIMIT ?`, append(append([]any{joinedFacts}, args...), limit+1)...)
	if err != nil {
		return nil, nil, wrap(op, err)
	}
	list, err := collect(op, rows, func(r rower) (KeptVerdict, error) {
		v := KeptVerdict{s: s}
		var factsDigest, evidenceDigest, encoding *string
		var size *int
		var uses *int64
		var used *time.Time
		err := r.Scan(&v.ID, timeColumn{&v.At}, &v.ImageRef, &v.ImageName, &v.ImageDigest, &v.Decision, &v.Allowed,
			&v.Active.Revision, &v.Active.Digest, &v.Build, &factsDigest, &evidenceDigest, &v.basis, &encoding, &size, &v.facts, &uses, timePtrColumn{&used})
		v.FactsDigest, v.EvidenceDigest, v.encoding = deref(factsDigest), deref(evidenceDigest), deref(encoding)
		v.size, v.Uses, v.LastUsed = deref(size), deref(uses), deref(used)
		return v, err
	})
	if err != nil {
		return nil, nil, err
	}
	return cut(list, limit, func(v KeptVerdict) Cursor { return Cursor{CreatedAt: v.At, ID: v.ID} })
}

// CountVerdicts counts verdicts from since on, up to but not including until.
func (s *Store) CountVerdicts(ctx context.Context, since, until time.Time) (n int64, err error) {
	from, where, args := keptRange(s.read.dialect, Filter{Since: since, Until: until}, nil)
	err = s.read.QueryRowContext(ctx, `SELECT count(*) FROM `+from+` WHERE `+where, args...).Scan(&n)
	return n, wrap("counting verdicts", err)
}

func keptRange(d dialect, f Filter, after *Cursor) (from, where string, args []any) {
	from, where = "signature_verifications v", "TRUE"
	if !d.postgres {
		from += " INDEXED BY verifications_time"
	}
	if upper, ok := f.upper(after); ok {
		where, args = where+" AND (v.created_at, v.id) < (?, ?)", append(args, formatTime(upper.CreatedAt), upper.ID)
	}
	if !f.Since.IsZero() {
		where, args = where+" AND v.created_at >= ?", append(args, formatTime(f.Since))
	}
	return from, where, args
}

// deref is what p points to, or the zero value.
func deref[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
