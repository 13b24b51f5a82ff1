package projection

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/strictjson"
)

// The predicate types of SLSA verification summaries
// (https://slsa.dev/verification_summary/v0.2 and v1).
const (
	TypeSummaryV02 = "https://slsa.dev/verification_summary/v0.2"
	TypeSummaryV1  = "https://slsa.dev/verification_summary/v1"
)

// Limits on what a summary lists.
const (
	maxSummaryBytes  = 1 << 20
	maxSummaryDepth  = 32
	maxSummaryLevels = 64
	maxSummaryInputs = 1000
	maxSummaryText   = 4096
)

// Results of a summary.
const (
	summaryPassed = "PASSED"
	summaryFailed = "FAILED"
)

// buildTrack precedes the levels of SLSA's build track.
const buildTrack = "SLSA_BUILD_LEVEL_"

// Summary gives what a SLSA verification summary says, in one shape for its
// versions; nil where the predicate type is none. What a verifier could be misread
// about is an error: fields in another letter case or twice, a result that is
// neither PASSED nor FAILED, a pass that lists FAILED among its levels, two levels of
// the build track, a time that is none.
func Summary(predicateType string, predicate []byte) (*facts.Summary, error) {
	var read func([]byte) (*facts.Summary, error)
	switch predicateType {
	case TypeSummaryV02:
		read = readSummaryV02
	case TypeSummaryV1:
		read = readSummaryV1
	default:
		return nil, nil //nolint:nilnil // no summary, and no mistake
	}
	switch {
	case len(predicate) == 0 || string(bytes.TrimSpace(predicate)) == "null":
		return nil, errors.New("the verification summary is empty")
	case len(predicate) > maxSummaryBytes:
		return nil, fmt.Errorf("the verification summary has %d bytes, more than %d", len(predicate), maxSummaryBytes)
	}
	s, err := read(predicate)
	if err == nil {
		err = checkSummary(s)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the verification summary: %w", err)
	}
	return s, nil
}

// summaryResource is a resource descriptor of in-toto, or what came before it.
type summaryResource struct {
	URI    string            `json:"uri"`
	Digest map[string]string `json:"digest"`
}

// readSummaryV1 reads https://slsa.dev/spec/v1.1/verification_summary.
func readSummaryV1(predicate []byte) (*facts.Summary, error) {
	var d struct {
		Verifier struct {
			ID string `json:"id"`
		} `json:"verifier"`
		TimeVerified       string            `json:"timeVerified"`
		ResourceURI        string            `json:"resourceUri"`
		Policy             summaryResource   `json:"policy"`
		InputAttestations  []summaryResource `json:"inputAttestations"`
		VerificationResult string            `json:"verificationResult"`
		VerifiedLevels     []string          `json:"verifiedLevels"`
		DependencyLevels   map[string]int    `json:"dependencyLevels"`
		SLSAVersion        string            `json:"slsaVersion"`
	}
	if err := decodeSummary(predicate, &d); err != nil {
		return nil, err
	}
	s := &facts.Summary{
		VerifierID: d.Verifier.ID, ResourceURI: d.ResourceURI, PolicyURI: d.Policy.URI, Result: d.VerificationResult,
		VerifiedLevels: d.VerifiedLevels, DependencyLevels: d.DependencyLevels, SLSAVersion: d.SLSAVersion,
	}
	return s, finishSummary(s, "timeVerified", d.TimeVerified, d.Policy, d.InputAttestations)
}

// readSummaryV02 reads https://slsa.dev/verification_summary/v0.2, which has one
// level, of SLSA v0.1, and other letters.
func readSummaryV02(predicate []byte) (*facts.Summary, error) {
	var d struct {
		Verifier struct {
			ID string `json:"id"`
		} `json:"verifier"`
		TimeVerified       string            `json:"time_verified"`
		ResourceURI        string            `json:"resource_uri"`
		Policy             summaryResource   `json:"policy"`
		InputAttestations  []summaryResource `json:"input_attestations"`
		VerificationResult string            `json:"verification_result"`
		PolicyLevel        string            `json:"policy_level"`
		DependencyLevels   map[string]int    `json:"dependency_levels"`
	}
	if err := decodeSummary(predicate, &d); err != nil {
		return nil, err
	}
	s := &facts.Summary{
		VerifierID: d.Verifier.ID, ResourceURI: d.ResourceURI, PolicyURI: d.Policy.URI, Result: d.VerificationResult,
		DependencyLevels: d.DependencyLevels, SLSAVersion: "0.1",
	}
	if d.PolicyLevel != "" {
		s.VerifiedLevels = []string{d.PolicyLevel}
	}
	return s, finishSummary(s, "time_verified", d.TimeVerified, d.Policy, d.InputAttestations)
}

// finishSummary fills in what the versions share.
func finishSummary(s *facts.Summary, field, at string, policy summaryResource, inputs []summaryResource) (err error) {
	if at != "" {
		t, err := time.Parse(time.RFC3339Nano, at)
		if err != nil {
			return fmt.Errorf("%s is %q, which is no time of RFC 3339", field, clipSummary(at))
		}
		t = t.UTC()
		s.TimeVerified = &t
	}
	if s.PolicyDigest, err = oneDigest("the policy", policy.Digest); err != nil {
		return err
	}
	if len(inputs) > maxSummaryInputs {
		return fmt.Errorf("it lists %d input attestations, more than %d", len(inputs), maxSummaryInputs)
	}
	s.InputAttestations = []string{}
	for i, in := range inputs {
		digest, err := oneDigest(fmt.Sprintf("input attestation %d", i+1), in.Digest)
		if err != nil {
			return err
		}
		if digest != "" {
			s.InputAttestations = append(s.InputAttestations, digest)
		}
	}
	if s.VerifiedLevels == nil {
		s.VerifiedLevels = []string{}
	}
	if s.DependencyLevels == nil {
		s.DependencyLevels = map[string]int{}
	}
	return nil
}

// oneDigest is the SHA-256 where there is one, else the first by algorithm; "" for
// none.
func oneDigest(what string, digests map[string]string) (string, error) {
	names := make([]string, 0, len(digests))
	for name, value := range digests {
		if value == "" || strings.Trim(value, "0123456789abcdef") != "" {
			return "", fmt.Errorf("the %s digest of %s is %q, which is no lower-case hex", clipSummary(name), what, clipSummary(value))
		}
		names = append(names, name)
	}
	slices.Sort(names)
	switch {
	case len(names) == 0:
		return "", nil
	case digests["sha256"] != "":
		return "sha256:" + digests["sha256"], nil
	}
	return names[0] + ":" + digests[names[0]], nil
}

// checkSummary refuses what contradicts itself.
func checkSummary(s *facts.Summary) error {
	switch s.Result {
	case summaryPassed, summaryFailed:
	default:
		return fmt.Errorf("its result is %q, which is neither PASSED nor FAILED", clipSummary(s.Result))
	}
	if len(s.VerifiedLevels) > maxSummaryLevels {
		return fmt.Errorf("it lists %d levels, more than %d", len(s.VerifiedLevels), maxSummaryLevels)
	}
	build := 0
	for _, level := range s.VerifiedLevels {
		if level == summaryFailed && s.Result == summaryPassed {
			return errors.New("its result is PASSED, and FAILED is among its levels")
		}
		if strings.HasPrefix(level, buildTrack) {
			build++
		}
	}
	if build > 1 {
		// "Users MUST NOT include more than one level per SLSA track"
		return errors.New("it lists several levels of the build track, of which there may be one")
	}
	for _, text := range append([]string{s.VerifierID, s.ResourceURI, s.PolicyURI, s.SLSAVersion}, s.VerifiedLevels...) {
		if len(text) > maxSummaryText {
			return fmt.Errorf("one of its fields has more than %d bytes", maxSummaryText)
		}
	}
	return nil
}

// decodeSummary reads JSON, and says which field is of the wrong type.
func decodeSummary(b []byte, v any) error {
	err := strictjson.DecodeKnown(b, maxSummaryDepth, v)
	var wrong *json.UnmarshalTypeError
	if !errors.As(err, &wrong) {
		return err
	}
	field, want := wrong.Field, "an object"
	if field == "" {
		field = "the document"
	}
	switch wrong.Type.Kind() {
	case reflect.String:
		want = "a string"
	case reflect.Slice:
		want = "an array"
	case reflect.Int:
		want = "an integer"
	}
	return fmt.Errorf("%s is of type %s and should be %s", field, wrong.Value, want)
}

// clipSummary shortens a stranger's text for a message.
func clipSummary(s string) string {
	const most = 80
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
