package projection

import (
	"maps"
	"slices"

	"github.com/signet-policy/signet/internal/facts"
)

// resource is a resource descriptor of in-toto.
type resource struct {
	Name   string            `json:"name"`
	URI    string            `json:"uri"`
	Digest map[string]string `json:"digest"`
}

// readTestResult reads https://in-toto.io/attestation/test-result/v0.1.
func readTestResult(r *reader) error {
	var d struct {
		Result        string     `json:"result"`
		Configuration []resource `json:"configuration"`
		Passed        []string   `json:"passedTests"`
		Warned        []string   `json:"warnedTests"`
		Failed        []string   `json:"failedTests"`
	}
	if err := r.part(&d); err != nil {
		return err
	}
	if !slices.Contains([]string{"PASSED", "WARNED", "FAILED"}, d.Result) {
		return r.Wrong("the result is %q, which is none of PASSED, WARNED and FAILED", clip(d.Result))
	}
	t := &facts.TestResult{Result: d.Result, Configuration: []string{}}
	for _, c := range d.Configuration {
		t.Configuration = append(t.Configuration, c.called())
	}
	t.Passed, t.Warned, t.Failed = r.some(d.Passed), r.some(d.Warned), r.some(d.Failed)
	t.Configuration = r.some(t.Configuration)
	r.out.Kind, r.out.Result = facts.ProjectionTestResult, t
	return nil
}

// some is as much of a list as fits.
func (r *reader) some(list []string) []string {
	out := []string{}
	for _, s := range list {
		if r.keep(s) {
			out = append(out, s)
		}
	}
	return out
}

// called is the name, else the URI, else the digest.
func (d resource) called() string {
	switch {
	case d.Name != "":
		return d.Name
	case d.URI != "":
		return d.URI
	}
	return digest(d.Digest)
}

// digest is "<algorithm>:<hex>": SHA-256 where it is there, else the first by name.
func digest(set map[string]string) string {
	if v, ok := set["sha256"]; ok {
		return "sha256:" + v
	}
	for _, alg := range slices.Sorted(maps.Keys(set)) {
		return alg + ":" + set[alg]
	}
	return ""
}

// summary is what both versions of a SLSA VSA say.
type summary struct {
	verifier  string
	verified  stamp
	resource  string
	policy    resource
	inputs    []resource
	result    string
	levels    []string
	of        map[string]int
	slsa      string
	resultKey string
}

// readVSAV02 reads https://slsa.dev/verification_summary/v0.2.
func readVSAV02(r *reader) error {
	var d struct {
		Verifier struct {
			ID string `json:"id"`
		} `json:"verifier"`
		Verified stamp          `json:"time_verified"`
		Resource string         `json:"resource_uri"`
		Policy   resource       `json:"policy"`
		Inputs   []resource     `json:"input_attestations"`
		Result   string         `json:"verification_result"`
		Level    string         `json:"policy_level"`
		Levels   map[string]int `json:"dependency_levels"`
	}
	if err := r.part(&d); err != nil {
		return err
	}
	s := summary{
		verifier: d.Verifier.ID, verified: d.Verified, resource: d.Resource, policy: d.Policy, inputs: d.Inputs,
		result: d.Result, of: d.Levels, resultKey: "verification_result",
	}
	if d.Level != "" {
		s.levels = []string{d.Level}
	}
	return r.summary(s)
}

// readVSAV1 reads https://slsa.dev/verification_summary/v1 (SLSA 1.0 to 1.2).
func readVSAV1(r *reader) error {
	var d struct {
		Verifier struct {
			ID string `json:"id"`
		} `json:"verifier"`
		Verified stamp          `json:"timeVerified"`
		Resource string         `json:"resourceUri"`
		Policy   resource       `json:"policy"`
		Inputs   []resource     `json:"inputAttestations"`
		Result   string         `json:"verificationResult"`
		Verifies []string       `json:"verifiedLevels"`
		Levels   map[string]int `json:"dependencyLevels"`
		SLSA     string         `json:"slsaVersion"`
	}
	if err := r.part(&d); err != nil {
		return err
	}
	return r.summary(summary{
		verifier: d.Verifier.ID, verified: d.Verified, resource: d.Resource, policy: d.Policy, inputs: d.Inputs,
		result: d.Result, levels: d.Verifies, of: d.Levels, slsa: d.SLSA, resultKey: "verificationResult",
	})
}

func (r *reader) summary(s summary) error {
	switch {
	case s.verifier == "":
		return r.Wrong("the summary names no verifier")
	case s.result != "PASSED" && s.result != "FAILED":
		return r.Wrong("%s is %q, which is neither PASSED nor FAILED", s.resultKey, clip(s.result))
	}
	v := &facts.Summary{
		VerifierID: s.verifier, TimeVerified: s.verified.at, ResourceURI: s.resource,
		PolicyURI: s.policy.URI, PolicyDigest: digest(s.policy.Digest), Result: s.result,
		DependencyLevels: map[string]int{}, SLSAVersion: s.slsa,
	}
	for _, level := range slices.Sorted(maps.Keys(s.of)) {
		if r.keep(level) {
			v.DependencyLevels[level] = s.of[level]
		}
	}
	var inputs []string
	for _, in := range s.inputs {
		inputs = append(inputs, digest(in.Digest))
	}
	v.VerifiedLevels, v.InputAttestations = r.some(s.levels), r.some(inputs)
	r.out.Kind, r.out.MadeAt, r.out.Summary = facts.ProjectionVSA, s.verified.at, v
	r.out.Tool = &facts.Tool{Name: s.verifier}
	return nil
}
