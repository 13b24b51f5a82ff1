package verify

import (
	"encoding/hex"
	"encoding/json"
	"strings"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/strictjson"
)

// Types of in-toto statements that we read
// (https://github.com/in-toto/attestation/tree/main/spec).
const (
	statementV1  = "https://in-toto.io/Statement/v1"
	statementV01 = "https://in-toto.io/Statement/v0.1"
)

// statement is an in-toto statement as our own decoder reads it: the fields of
// facts come from here and from nowhere else.
type statement struct {
	Type          string             `json:"_type"`
	Subject       []statementSubject `json:"subject"`
	PredicateType string             `json:"predicateType"`
	Predicate     json.RawMessage    `json:"predicate"`
}

type statementSubject struct {
	Name        string                     `json:"name"`
	Digest      map[string]string          `json:"digest"`
	Annotations map[string]json.RawMessage `json:"annotations"`
}

// maxSubjectDigests is how many digests of one subject sigstore-go reads.
const maxSubjectDigests = 32

// readStatement decodes a DSSE payload. Unknown fields are ignored, as the
// in-toto specification says; a known field in other letter case is refused,
// because other readers would take it for the field.
func readStatement(payload []byte, depth, subjects int) (*statement, *rejection) {
	var s statement
	if err := strictjson.DecodeKnown(payload, depth, &s); err != nil {
		return nil, reject(facts.CodeMalformed, "the signed statement cannot be read: %s", cause(err))
	}
	switch {
	case s.Type != statementV1 && s.Type != statementV01:
		return nil, reject(facts.CodeUnsupported, "the signed statement is of type %s, which is not an in-toto statement v0.1 or v1", short(s.Type))
	case s.PredicateType == "":
		return nil, reject(facts.CodeMalformed, "the signed statement names no predicate type")
	case len(s.Subject) == 0:
		return nil, reject(facts.CodeMalformed, "the signed statement has no subject")
	case len(s.Subject) > subjects:
		return nil, reject(facts.CodeTooLarge, "the signed statement has %d subjects, more than the limit statement_subjects of %d", len(s.Subject), subjects)
	}
	for i, sub := range s.Subject {
		if len(sub.Digest) > maxSubjectDigests {
			return nil, reject(facts.CodeTooLarge, "subject %d of the signed statement has %d digests, more than %d", i, len(sub.Digest), maxSubjectDigests)
		}
	}
	return &s, nil
}

// about finds the subject that is the target, and the digest that sigstore-go is
// to check again. A subject counts when it has at least one digest that we can
// compare and every such digest is the target's.
func (s *statement) about(t *target) (*statementSubject, digest, *rejection) {
	for i := range s.Subject {
		if d, ok := t.matches(s.Subject[i].Digest); ok {
			return &s.Subject[i], d, nil
		}
	}
	what := "another digest"
	if len(s.Subject) == 1 {
		for _, alg := range algorithms {
			if v, ok := s.Subject[0].Digest[alg]; ok {
				what = short(alg + ":" + v)
				break
			}
		}
	}
	return nil, digest{}, reject(facts.CodeSubjectMismatch, "signed for %s, not for %s", what, t.name)
}

// annotations renders what was signed: strings as they are, anything else as JSON.
func annotations(raw map[string]json.RawMessage) map[string]string {
	out := make(map[string]string, len(raw))
	for k, v := range raw {
		var s string
		if err := json.Unmarshal(v, &s); err != nil || v[0] != '"' {
			s = string(v)
		}
		out[k] = s
	}
	return out
}

func (s *statement) factSubjects() []facts.StatementSubject {
	out := make([]facts.StatementSubject, len(s.Subject))
	for i, sub := range s.Subject {
		d := sub.Digest
		if d == nil {
			d = map[string]string{}
		}
		out[i] = facts.StatementSubject{Name: sub.Name, Digest: d}
	}
	return out
}

// target is what evidence must be about.
type target struct {
	// name is "sha256:<hex>" (or sha512 where no SHA-256 is known).
	name string
	// digests are by algorithm: sha256, sha384, sha512.
	digests map[string][]byte
	// content are an artifact's bytes, nil where they are not known. An image's
	// are never needed.
	content []byte
	image   bool
}

// digest is one digest of the target.
type digest struct {
	algorithm string
	value     []byte
}

// algorithms that a target may be known by, the usual one first.
var algorithms = [...]string{"sha256", "sha512", "sha384"}

func (t *target) matches(set map[string]string) (digest, bool) {
	var found digest
	for _, alg := range algorithms {
		want, known := t.digests[alg]
		have, named := set[alg]
		if !known || !named {
			continue
		}
		if hex.EncodeToString(want) != have {
			return digest{}, false
		}
		if found.value == nil {
			found = digest{alg, want}
		}
	}
	return found, found.value != nil
}

// imageTarget is the image (or one of its platforms) that an item hangs on.
func imageTarget(d string) (*target, bool) {
	raw, ok := parseDigest(d, "sha256", 32)
	if !ok {
		return nil, false
	}
	return &target{name: d, digests: map[string][]byte{"sha256": raw}, image: true}, true
}

func parseDigest(d, alg string, size int) ([]byte, bool) {
	h, ok := strings.CutPrefix(d, alg+":")
	if !ok || len(h) != 2*size || h != strings.ToLower(h) {
		return nil, false
	}
	raw, err := hex.DecodeString(h)
	return raw, err == nil
}
