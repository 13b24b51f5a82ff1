package facts

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"
)

// Facts is what verification proved about one subject. The zero value proves
// nothing. Facts are immutable: accessors return copies of the lists.
type Facts struct {
	subject      Subject
	signatures   []Signature
	attestations []Attestation
	rejections   []Rejection
	digest       string
}

// Proven is the parts of a Facts in the hands of the verifier.
type Proven struct {
	Subject      Subject       `json:"subject"`
	Signatures   []Signature   `json:"signatures"`
	Attestations []Attestation `json:"attestations"`
	Rejections   []Rejection   `json:"rejections"`
}

// ErrDigest says that stored facts do not hash to the digest they are kept under.
var ErrDigest = errors.New("facts do not match their digest")

// New makes Facts. Only package verify may call it, with what it has verified.
// The order of evidence never decides: lists are sorted by id, and subject
// digest. The subject's registry, repository and tag are not part of the facts:
// they are where we looked, not what was proved.
func New(p Proven) (Facts, error) {
	f := Facts{
		subject:      factual(p.Subject),
		signatures:   slices.Clone(p.Signatures),
		attestations: slices.Clone(p.Attestations),
		rejections:   slices.Clone(p.Rejections),
	}
	for i := range f.signatures {
		f.signatures[i].complete()
	}
	for i := range f.attestations {
		f.attestations[i].complete()
		f.attestations[i].StatementSubjects = orEmpty(f.attestations[i].StatementSubjects)
		if err := f.attestations[i].compact(); err != nil {
			return Facts{}, err
		}
	}
	slices.SortFunc(f.signatures, bySubject)
	slices.SortFunc(f.attestations, func(a, b Attestation) int { return bySubject(a.Signature, b.Signature) })
	slices.SortFunc(f.rejections, func(a, b Rejection) int {
		return cmpStrings(a.ID, b.ID, a.Where, b.Where, a.Code, b.Code, a.Message, b.Message)
	})
	body, err := f.canonical()
	if err != nil {
		return Facts{}, err
	}
	f.digest = Digest(body)
	return f, nil
}

// Decode reads facts that Signet stored, and returns an error wrapping
// [ErrDigest] unless they hash to digest. It is the store's and the cache's way
// back to a verified value; bytes from anywhere else have no digest of ours.
func Decode(body []byte, digest string) (Facts, error) {
	var p Proven
	// The next encoding/json reads them in a third of the time that the present one
	// takes, which is most of a preview.
	if err := jsonv2.Unmarshal(body, &p, jsonv2.RejectUnknownMembers(true)); err != nil {
		return Facts{}, fmt.Errorf("decoding facts %s: %w", digest, err)
	}
	f, err := New(p)
	if err != nil {
		return Facts{}, err
	}
	if f.digest != digest {
		return Facts{}, fmt.Errorf("%w: want %s, have %s", ErrDigest, digest, f.digest)
	}
	return f, nil
}

// Encode gives the facts as JSON for [Decode], predicates as they were signed.
// It is not canonical, which would take three times as long and change the order
// of a predicate's keys: Decode hashes what it reads, not these bytes.
func (f Facts) Encode() ([]byte, error) { return marshal(f.proven()) }

// Digest is "sha256:<hex>" over the canonical JSON, where each predicate is
// represented by the digest of its bytes. It is "" for the zero value.
func (f Facts) Digest() string { return f.digest }

// Subject is the subject as far as it is proved: digest, media type, platforms.
func (f Facts) Subject() Subject { return f.subject }

// Signatures returns the verified signatures, sorted by subject digest and id.
func (f Facts) Signatures() []Signature { return slices.Clone(f.signatures) }

// Attestations returns the verified attestations, sorted by subject digest and id.
func (f Facts) Attestations() []Attestation { return slices.Clone(f.attestations) }

// Rejections returns the evidence that proved nothing.
func (f Facts) Rejections() []Rejection { return slices.Clone(f.rejections) }

func (f Facts) proven() Proven {
	return Proven{
		Subject: f.subject, Signatures: orEmpty(f.signatures), Attestations: orEmpty(f.attestations), Rejections: orEmpty(f.rejections),
	}
}

// canonical is what is digested: each predicate stands as the digest of its bytes.
func (f Facts) canonical() ([]byte, error) {
	p := f.proven()
	if body, ok := canonicalFacts(p); ok {
		return body, nil
	}
	return canonicalProven(p)
}

// canonicalProven is [canonicalFacts] by way of [Canonical].
func canonicalProven(p Proven) ([]byte, error) {
	p.Attestations = slices.Clone(p.Attestations)
	for i, a := range p.Attestations {
		if a.Predicate != nil {
			p.Attestations[i].Predicate = json.RawMessage(`"` + Digest(a.Predicate) + `"`)
		}
	}
	return Canonical(p)
}

// complete makes every list and map present, as the input document promises.
func (s *Signature) complete() {
	s.Transparency, s.Timestamps = orEmpty(s.Transparency), orEmpty(s.Timestamps)
	if s.Annotations == nil {
		s.Annotations = map[string]string{}
	}
	if s.Signer.Claims == nil {
		s.Signer.Claims = map[string]string{}
	}
}

// compact takes the white space out of the predicate, which any encoding of the
// facts would do as well: its digest must not depend on how often it was stored.
func (a *Attestation) compact() error {
	if a.Predicate == nil {
		return nil
	}
	var b bytes.Buffer
	if err := json.Compact(&b, a.Predicate); err != nil {
		return fmt.Errorf("predicate of %s: %w", a.ID, err)
	}
	a.Predicate = b.Bytes()
	return nil
}

func factual(s Subject) Subject {
	return Subject{Digest: s.Digest, MediaType: s.MediaType, Platforms: orEmpty(s.Platforms)}
}

func bySubject(a, b Signature) int {
	return cmpStrings(a.SubjectDigest, b.SubjectDigest, a.ID, b.ID)
}

// cmpStrings compares pairs of strings in turn.
func cmpStrings(pairs ...string) int {
	for i := 0; i+1 < len(pairs); i += 2 {
		if c := strings.Compare(pairs[i], pairs[i+1]); c != 0 {
			return c
		}
	}
	return 0
}

func orEmpty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
