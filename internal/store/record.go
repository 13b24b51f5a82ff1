package store

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/verdict"
)

// Record is a computed verdict and all that is needed to reproduce it.
type Record struct {
	Verdict *verdict.Verdict
	// Body is exactly what was answered.
	Body []byte
	// Facts the verdict stands on; the zero value where the image could not be
	// resolved.
	Facts facts.Facts
	// Frames by policy.
	Frames map[string]facts.Frame
	// Basis is what else it was decided on, as the engine encodes it; Evidence is
	// what the facts were made of, as package evidence encodes it. Either may be nil.
	Basis, Evidence []byte
	// ImageName is the image's normalised name without tag or digest, found or
	// not; "" where it has none.
	ImageName string
	// Principal who asked.
	Principal string
	// AssessmentID and Labels are the caller's words, recorded and nothing else.
	AssessmentID string
	Labels       map[string]string
	// Decided is when; it orders the lists.
	Decided time.Time
	// Late says that it is written long after that: who reads verdicts in their order
	// has passed its place, and finds it by a [MarkLate].
	Late bool
}

// Record keeps a verdict with its facts. Verdicts that arrive together share a
// transaction; when Record returns nil, this one is on disk. [ErrConflict] for
// an id that is there already, [ErrUnavailable] where too many wait already.
func (s *Store) Record(ctx context.Context, r Record) error {
	if s.write == nil {
		return ErrReadOnly
	}
	row, err := s.packRecord(r)
	if err != nil {
		return fmt.Errorf("recording a verdict: %w", err)
	}
	return s.records.record(ctx, &recording{id: row.id, order: row.order(), evidence: row.evidence, write: row.insert, size: row.size()})
}

// packedRecord is a verdict ready to be written.
type packedRecord struct {
	facts    *packedBody
	evidence *packedBody
	at       string
	id       string
	values   []any
	signers  []string
	// revision is the one that the names of signers belong to.
	revision int64
	// late is nil, or the mark by which the verdict is found.
	late *Mark
}

func (s *Store) packRecord(r Record) (*packedRecord, error) {
	if err := r.validate(); err != nil {
		return nil, err
	}
	v := r.Verdict
	p := &packedRecord{at: formatTime(r.Decided), id: v.ID, signers: met(r.Frames), revision: v.Active.Revision}
	if r.Late {
		p.late = &Mark{Kind: MarkLate, Key: v.ID, At: r.Decided}
	}
	if d := r.Facts.Digest(); d != "" {
		f, err := s.packFacts(r.Facts)
		if err != nil {
			return nil, err
		}
		p.facts = &f
	}
	var basis, evidence any // NULL
	if r.Basis != nil {
		basis = s.pack(r.Basis)
	}
	if r.Evidence != nil {
		p.evidence = &packedBody{digest: facts.Digest(r.Evidence), size: len(r.Evidence), body: s.pack(r.Evidence)}
		evidence = p.evidence.digest
	}
	reasons, err := canonicalJSON(orEmpty(v.Reasons))
	if err != nil {
		return nil, err
	}
	labels, err := labelsJSON(r.Labels)
	if err != nil {
		return nil, err
	}
	if r.Frames == nil {
		r.Frames = map[string]facts.Frame{}
	}
	frames, err := json.Marshal(r.Frames)
	if err != nil {
		return nil, fmt.Errorf("%w: frames: %w", ErrInvalid, err)
	}
	// What an image says of itself is outside bytes.
	p.values = []any{
		v.ID, nullable(printable(r.AssessmentID)), printable(v.Image), printable(r.ImageName), printable(v.Digest),
		v.Signature.Found, v.Signature.Valid, printable(v.Signature.Signer), printable(v.Signature.Issuer), formatTimePtr(v.Signature.SignedAt),
		v.SLSA.Level, builder(v.SLSA), nullable(printable(firstReason(v))), p.at, string(v.Decision), v.Allowed, printableJSON(reasons),
		printable(r.Principal), labels, nullable(v.FactsDigest), v.Active.Revision, v.Active.Digest, v.Build, nil,
		s.pack(frames), s.pack(r.Body), basis, evidence,
	}
	return p, nil
}

func (r Record) validate() error {
	v := r.Verdict
	switch {
	case v == nil:
		return fmt.Errorf("%w: there is no verdict", ErrInvalid)
	case v.ID == "" || strings.ContainsRune(v.ID, cursorSeparator):
		return fmt.Errorf("%w: verdict id: %q is not an id", ErrInvalid, v.ID)
	case v.Decision != verdict.Allow && v.Decision != verdict.Deny && v.Decision != verdict.Unknown:
		return fmt.Errorf("%w: verdict decision: %q is not allow, deny or unknown", ErrInvalid, v.Decision)
	case len(r.Body) == 0:
		return fmt.Errorf("%w: verdict body: is empty", ErrInvalid)
	case r.Decided.IsZero():
		return fmt.Errorf("%w: verdict time: is missing", ErrInvalid)
	case v.FactsDigest != r.Facts.Digest():
		return fmt.Errorf("%w: the verdict speaks of facts %q, and comes with facts %q", ErrInvalid, v.FactsDigest, r.Facts.Digest())
	}
	return nil
}

const verificationColumns = `id, assessment_id, image_ref, image_name, image_digest,
	signature_found, signature_valid, signer_identity, signer_issuer, signed_at,
	slsa_level, slsa_builder, verification_error, created_at, decision, allowed, reasons,
	principal, labels, facts_digest, active_revision, active_digest, build, repeats`

func (p *packedRecord) insert(w writer) error {
	if p.facts != nil {
		if err := p.facts.insert(w, "facts", p.at); err != nil {
			return err
		}
	}
	err := w.exec(`INSERT INTO signature_verifications (`+verificationColumns+`, frames, verdict, basis, evidence_digest)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, p.values...)
	if err != nil {
		return err
	}
	for _, name := range p.signers {
		// A signer that stands in a policy is in no history, and has no id.
		err := w.exec(`INSERT INTO verification_signers (signer, created_at, verification_id, signer_id) VALUES (?, ?, ?,
			(SELECT id FROM signer_history WHERE name = ? AND from_revision <= ? AND (until_revision IS NULL OR until_revision > ?) LIMIT 1))`,
			printable(name), p.at, p.id, name, p.revision, p.revision)
		if err != nil {
			return err
		}
	}
	if p.late != nil {
		return w.setMark(*p.late)
	}
	return nil
}

// order is by what another replica may write at the same time: the facts.
func (p *packedRecord) order() string {
	if p.facts == nil {
		return ""
	}
	return p.facts.digest
}

// size is of what is large in it, in bytes.
func (p *packedRecord) size() (n int) {
	for _, body := range []*packedBody{p.facts, p.evidence} {
		if body != nil {
			n += len(body.body)
		}
	}
	for _, v := range p.values {
		switch v := v.(type) {
		case []byte:
			n += len(v)
		case string:
			n += len(v)
		}
	}
	return n
}

// countDigests notes verdicts' digests, by the image's name, with each registered signer that they were
// allowed because of. A verdict names one signing time: where several signers met
// its requirements, it may be another's, so none is noted. All of a transaction is
// noted at its end and in one order, so that two replicas never wait for each
// other.
func countDigests(w writer, ids []any) error {
	const later = `(excluded.created_at, excluded.verification_id) > (signer_digests.created_at, signer_digests.verification_id)`
	return w.exec(`INSERT INTO signer_digests (signer_id, image_digest, image_name, created_at, verification_id, image_ref, signed_at, count)
		SELECT signer_id, image_digest, image_name, created_at, id, image_ref, signed_at, verdicts FROM (
			SELECT x.*, count(*) OVER (PARTITION BY signer_id, image_digest, image_name) AS verdicts,
				row_number() OVER (PARTITION BY signer_id, image_digest, image_name ORDER BY created_at DESC, id DESC) AS place FROM (
				SELECT DISTINCT s.signer_id, v.image_digest, v.image_name, v.created_at, v.id, v.image_ref,
					CASE WHEN (SELECT count(*) FROM verification_signers o WHERE o.verification_id = v.id) = 1 THEN v.signed_at END AS signed_at
				FROM verification_signers s JOIN signature_verifications v ON v.id = s.verification_id
				WHERE s.verification_id IN (?`+strings.Repeat(", ?", len(ids)-1)+`) AND s.signer_id IS NOT NULL AND v.allowed) x) y
		WHERE place = 1 ORDER BY signer_id, image_digest, image_name
		ON CONFLICT (signer_id, image_digest, image_name) DO UPDATE SET count = signer_digests.count + excluded.count,
			created_at = CASE WHEN `+later+` THEN excluded.created_at ELSE signer_digests.created_at END,
			verification_id = CASE WHEN `+later+` THEN excluded.verification_id ELSE signer_digests.verification_id END,
			image_ref = CASE WHEN `+later+` THEN excluded.image_ref ELSE signer_digests.image_ref END,
			signed_at = CASE WHEN `+later+` THEN excluded.signed_at ELSE signer_digests.signed_at END`, ids...)
}

// Repeat is an answer from a cache that is recorded as a row of its own, because
// it belongs to an assessment.
type Repeat struct {
	// Original is the id of the verdict that was computed, ID that of the new row.
	Original string
	ID       string
	// Body is exactly what was answered.
	Body []byte
	// Principal who asked; AssessmentID and Labels are the caller's words.
	Principal    string
	AssessmentID string
	Labels       map[string]string
	// At is when it was answered; it orders the lists.
	At time.Time
}

// Repeat keeps an answer that repeats a verdict: with that one's facts, frames
// and columns, but for those of the Repeat. [ErrNotFound] when the original is
// not kept, [ErrConflict] for an id that is there already, [ErrUnavailable] where too
// many wait already.
func (s *Store) Repeat(ctx context.Context, r Repeat) error {
	const op = "recording a repeated verdict"
	if s.write == nil {
		return ErrReadOnly
	}
	if r.ID == "" || strings.ContainsRune(r.ID, cursorSeparator) || r.Original == "" || len(r.Body) == 0 || r.At.IsZero() {
		return fmt.Errorf("%s: %w: it has an id, an original, a body and a time", op, ErrInvalid)
	}
	labels, err := labelsJSON(r.Labels)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	at, body := formatTime(r.At), s.pack(r.Body)
	return s.records.record(ctx, &recording{id: r.ID, order: r.Original, size: len(body), write: func(w writer) error {
		n, err := w.affected(`INSERT INTO signature_verifications (id, assessment_id, created_at, principal, labels, repeats, verdict, `+repeatedColumns+`)
			SELECT ?, ?, ?, ?, ?, id, ?, `+repeatedColumns+` FROM signature_verifications WHERE id = ?`+w.tx.forKeyShare(),
			r.ID, nullable(printable(r.AssessmentID)), at, printable(r.Principal), labels, body, r.Original)
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("verdict %q: %w", r.Original, ErrNotFound)
		}
		return w.exec(`INSERT INTO verification_signers (signer, created_at, verification_id, signer_id)
			SELECT signer, ?, ?, signer_id FROM verification_signers WHERE verification_id = ?`, at, r.ID, r.Original)
	}})
}

// repeatedColumns are what a repeated verdict has of its original.
const repeatedColumns = `image_ref, image_name, image_digest,
	signature_found, signature_valid, signer_identity, signer_issuer, signed_at,
	slsa_level, slsa_builder, verification_error, decision, allowed, reasons,
	facts_digest, active_revision, active_digest, build, frames, basis, evidence_digest`

func labelsJSON(labels map[string]string) (string, error) {
	text, err := canonicalJSON(orEmptyMap(labels))
	return printableJSON(text), err
}

// met names the trusted signers that met a requirement of any policy.
func met(frames map[string]facts.Frame) []string {
	var names []string
	for _, f := range frames {
		for _, m := range f.Matches {
			names = append(names, m.Signers...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// firstReason says in a sentence why an image was not simply allowed.
func firstReason(v *verdict.Verdict) string {
	if v.Decision == verdict.Allow || len(v.Reasons) == 0 {
		return ""
	}
	return v.Reasons[0].Message
}

func builder(s verdict.SLSA) any {
	if s.Builder == nil {
		return nil
	}
	return printable(*s.Builder)
}
