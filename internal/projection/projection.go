package projection

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/strictjson"
)

// Predicate types with one name.
const (
	TypeCosignCustom = "https://cosign.sigstore.dev/attestation/v1"
	TypeCosignVuln   = "https://cosign.sigstore.dev/attestation/vuln/v1"
	TypeVulnsV01     = "https://in-toto.io/attestation/vulns/v0.1"
	TypeVulnsV02     = "https://in-toto.io/attestation/vulns/v0.2"
	TypeTestResult   = "https://in-toto.io/attestation/test-result/v0.1"
	TypeVSAV02       = "https://slsa.dev/verification_summary/v0.2"
	TypeVSAV1        = "https://slsa.dev/verification_summary/v1"
)

// Predicate types that may end with a version.
var (
	spdxType      = regexp.MustCompile(`^https://spdx\.dev/Document(/v[0-9]+(\.[0-9]+)*)?$`)
	cyclonedxType = regexp.MustCompile(`^https://cyclonedx\.org/bom(/v[0-9]+(\.[0-9]+)*)?$`)
	openvexType   = regexp.MustCompile(`^https://openvex\.dev/ns(/v[0-9]+(\.[0-9]+)*)?$`)
)

// Limits bound what is kept of one predicate. What is beyond them makes the
// projection truncated; the document is read to its end all the same.
type Limits struct {
	// Entries is the number of packages, findings or statements.
	Entries int
	// Bytes is their size, encoded as JSON.
	Bytes int64
	// Depth is how deep the predicate may be nested.
	Depth int
}

// Known says whether predicates of a type may have a projection.
func Known(predicateType string) bool { return reading(predicateType) != nil }

// Parse gives what a predicate says, or nil where it is of no type that we know.
// Keys count in their exact letter case; duplicate keys, values of the wrong type,
// and documents in a form that is not known are errors.
func Parse(predicateType string, predicate io.Reader, lim Limits) (*facts.Projection, error) {
	read := reading(predicateType)
	if read == nil {
		return nil, nil
	}
	r := &reader{
		Stream: strictjson.NewStream(predicate, lim.Depth), lim: lim, out: &facts.Projection{},
		left: &room{entries: lim.Entries, bytes: lim.Bytes, held: held},
	}
	if err := read(r); err != nil {
		return nil, err
	}
	if r.out.Kind == "" {
		return nil, nil
	}
	if err := r.End(); err != nil {
		return nil, err
	}
	if r.out.Tool != nil && *r.out.Tool == (facts.Tool{}) {
		r.out.Tool = nil
	}
	return r.out, nil
}

// reading is how predicates of a type are read, nil for a type that is not known.
func reading(predicateType string) func(*reader) error {
	switch predicateType {
	case TypeCosignCustom:
		return readCustom
	case TypeCosignVuln, TypeVulnsV01, TypeVulnsV02:
		return readScan
	case TypeTestResult:
		return readTestResult
	case TypeVSAV02:
		return readVSAV02
	case TypeVSAV1:
		return readVSAV1
	}
	switch {
	case spdxType.MatchString(predicateType):
		return func(r *reader) error { return readSBOM(r, formSPDX2, formSPDX3) }
	case cyclonedxType.MatchString(predicateType):
		return func(r *reader) error { return readSBOM(r, formCycloneDX) }
	case openvexType.MatchString(predicateType):
		return readOpenVEX
	}
	return nil
}

// Bounds of single values, in bytes, whatever the limits say.
const (
	longestText  = 64 << 10
	largestPart  = 1 << 20
	held         = 32 << 20 // of what is kept until the end of a document
	longestTexts = 1 << 20
)

// room is what may still be kept.
type room struct {
	entries     int
	bytes, held int64
	full        bool
}

// reader is one predicate being read.
type reader struct {
	*strictjson.Stream
	lim  Limits
	out  *facts.Projection
	left *room
}

// within reads a document inside of this one, to the same projection.
func (r *reader) within(doc io.Reader) *reader {
	inner := *r
	inner.Stream = strictjson.NewStream(doc, r.lim.Depth)
	return &inner
}

// keep says whether an entry still fits; the first that does not is the end of the
// list, so that what is kept is always the beginning.
func (r *reader) keep(entry any) bool {
	if r.left.full {
		return false
	}
	body, err := json.Marshal(entry)
	if err != nil || r.left.entries < 1 || int64(len(body)) > r.left.bytes {
		r.cut()
		return false
	}
	r.left.entries--
	r.left.bytes -= int64(len(body))
	return true
}

func (r *reader) cut() { r.left.full, r.out.Truncated = true, true }

// hold says whether some bytes may be kept until the end of the document.
func (r *reader) hold(texts ...string) bool {
	for _, s := range texts {
		r.left.held -= int64(len(s)) + 64
	}
	if r.left.held < 0 {
		r.cut()
	}
	return !r.left.full
}

func (r *reader) tool() *facts.Tool {
	if r.out.Tool == nil {
		r.out.Tool = &facts.Tool{}
	}
	return r.out.Tool
}

// text reads a string; null is "".
func (r *reader) text() (string, error) {
	if r.Kind() == strictjson.KindNull {
		return "", r.Skip()
	}
	return r.String(longestText)
}

// into reads a string into s.
func (r *reader) into(s *string) error {
	v, err := r.text()
	*s = v
	return err
}

// texts reads a list of strings, or one string for a list of one.
func (r *reader) texts() ([]string, error) {
	var out []string
	size := 0
	add := func() error {
		v, err := r.text()
		if err != nil {
			return err
		}
		if size += len(v) + 16; size > longestTexts {
			return r.Wrong("a list of strings with more than %d bytes", longestTexts)
		}
		if v != "" {
			out = append(out, v)
		}
		return nil
	}
	if r.Kind() != strictjson.KindArray {
		return out, add()
	}
	return out, r.Array(add)
}

// part reads a small value into a Go type; null leaves it as it is.
func (r *reader) part(v any) error {
	raw, err := r.Raw(largestPart)
	if err != nil {
		return err
	}
	if err := strictjson.DecodeKnown(raw, r.lim.Depth, v); err != nil {
		return wrongType(r, err)
	}
	return nil
}

// wrongType says a decoding error in the words of JSON.
func wrongType(r *reader, err error) error {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		field := wrong.Field
		if field == "" {
			field = "the value"
		}
		return r.Wrong("%s is of type %s", field, wrong.Value)
	}
	var strict *strictjson.Error
	if errors.As(err, &strict) {
		return r.Wrong("%s", strict)
	}
	return r.Wrong("%s", err)
}

// object reads an object, or null for an empty one.
func (r *reader) object(names *strictjson.Names, each func(key string) error) error {
	if r.Kind() == strictjson.KindNull {
		return r.Skip()
	}
	return r.Object(names, each)
}

// list reads an array, or null for an empty one.
func (r *reader) list(each func() error) error {
	if r.Kind() == strictjson.KindNull {
		return r.Skip()
	}
	return r.Array(each)
}

func unknownForm(what string) error {
	return fmt.Errorf("the predicate is in no form of %s that can be read", what)
}
