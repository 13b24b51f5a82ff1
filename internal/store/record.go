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
	// Principal who asked.
	Principal string
	// AssessmentID and Labels are the caller's words, recorded and nothing else.
	AssessmentID string
	Labels       map[string]string
	// Decided is when; it orders the lists.
	Decided time.Time
}

// Record keeps a verdict with its facts. Verdicts that arrive together share a
// transaction; when Record returns nil, this one is on disk. [ErrConflict] for
// an id that is there already.
func (s *Store) Record(ctx context.Context, r Record) error {
	if s.write == nil {
		return ErrReadOnly
	}
	row, err := s.packRecord(r)
	if err != nil {
		return fmt.Errorf("recording a verdict: %w", err)
	}
	return s.records.record(ctx, row.insert)
}

// packedRecord is a verdict ready to be written.
type packedRecord struct {
	facts   *packedFacts
	at      string
	id      string
	values  []any
	signers []string
}

func (s *Store) packRecord(r Record) (*packedRecord, error) {
	if err := r.validate(); err != nil {
		return nil, err
	}
	v := r.Verdict
	p := &packedRecord{at: formatTime(r.Decided), id: v.ID, signers: met(r.Frames)}
	if d := r.Facts.Digest(); d != "" {
		f, err := s.packFacts(r.Facts)
		if err != nil {
			return nil, err
		}
		p.facts = &f
	}
	reasons, err := canonicalJSON(orEmpty(v.Reasons))
	if err != nil {
		return nil, err
	}
	labels, err := canonicalJSON(orEmptyMap(r.Labels))
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
	p.values = []any{
		v.ID, nullable(r.AssessmentID), v.Image, imageName(v.Pinned), v.Digest,
		v.Signature.Found, v.Signature.Valid, v.Signature.Signer, v.Signature.Issuer, formatTimePtr(v.Signature.SignedAt),
		v.SLSA.Level, builder(v.SLSA), nullable(firstReason(v)), p.at, string(v.Decision), v.Allowed, reasons,
		r.Principal, labels, nullable(v.FactsDigest), v.Active.Revision, v.Active.Digest, v.Build,
		s.pack(frames), s.pack(r.Body),
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
	principal, labels, facts_digest, active_revision, active_digest, build`

func (p *packedRecord) insert(exec execFunc) error {
	if p.facts != nil {
		if err := p.facts.insert(exec, p.at); err != nil {
			return err
		}
	}
	err := exec(`INSERT INTO signature_verifications (`+verificationColumns+`, frames, verdict)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, p.values...)
	if err != nil {
		return err
	}
	for _, name := range p.signers {
		err := exec(`INSERT INTO verification_signers (signer, created_at, verification_id) VALUES (?, ?, ?)`, name, p.at, p.id)
		if err != nil {
			return err
		}
	}
	return nil
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

// imageName is the name before the digest of a pinned reference, "" where the
// subject has none.
func imageName(pinned string) string {
	name, _, found := strings.Cut(pinned, "@")
	if !found {
		return ""
	}
	return name
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
	return *s.Builder
}
