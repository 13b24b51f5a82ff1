package projection

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/facts"
)

const (
	hexA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	// The example of https://slsa.dev/spec/v1.1/verification_summary, with whole digests.
	summaryV1 = `{"verifier":{"id":"https://example.com/publication_verifier","version":{"slsa-verifier-linux-amd64":"v2.3.0"}},` +
		`"timeVerified":"1985-04-12T23:20:50.52Z","resourceUri":"https://example.com/example-1.2.3.tar.gz",` +
		`"policy":{"uri":"https://example.com/example_tarball.policy","digest":{"sha256":"` + hexA + `"}},` +
		`"inputAttestations":[{"uri":"https://example.com/provenances/example-1.2.3.tar.gz.intoto.jsonl","digest":{"sha256":"` + hexA + `"}}],` +
		`"verificationResult":"PASSED","verifiedLevels":["SLSA_BUILD_LEVEL_3"],"dependencyLevels":{"SLSA_BUILD_LEVEL_3":5,"SLSA_BUILD_LEVEL_2":7},"slsaVersion":"1.0"}`
	summaryV02 = `{"verifier":{"id":"mailto:person@example.com"},"time_verified":"1985-04-12T23:20:50.52Z","resource_uri":"acme.example/app",` +
		`"policy":{"uri":"https://example.com/p"},"input_attestations":[],"verification_result":"FAILED","policy_level":"SLSA_LEVEL_3","dependency_levels":{"SLSA_LEVEL_4":1}}`
)

func TestSummary(t *testing.T) {
	at := time.Date(1985, 4, 12, 23, 20, 50, 520_000_000, time.UTC)
	for _, tt := range []struct {
		name, predicateType, predicate string
		want                           *facts.Summary
	}{
		{"v1", TypeSummaryV1, summaryV1, &facts.Summary{
			VerifierID: "https://example.com/publication_verifier", TimeVerified: &at, ResourceURI: "https://example.com/example-1.2.3.tar.gz",
			PolicyURI: "https://example.com/example_tarball.policy", PolicyDigest: "sha256:" + hexA, Result: "PASSED",
			VerifiedLevels: []string{"SLSA_BUILD_LEVEL_3"}, DependencyLevels: map[string]int{"SLSA_BUILD_LEVEL_3": 5, "SLSA_BUILD_LEVEL_2": 7},
			SLSAVersion: "1.0", InputAttestations: []string{"sha256:" + hexA},
		}},
		{"v0.2", TypeSummaryV02, summaryV02, &facts.Summary{
			VerifierID: "mailto:person@example.com", TimeVerified: &at, ResourceURI: "acme.example/app", PolicyURI: "https://example.com/p", Result: "FAILED",
			VerifiedLevels: []string{"SLSA_LEVEL_3"}, DependencyLevels: map[string]int{"SLSA_LEVEL_4": 1}, SLSAVersion: "0.1", InputAttestations: []string{},
		}},
		{"of no known type", "https://slsa.dev/provenance/v1", summaryV1, nil},
		{"of a later type", "https://slsa.dev/verification_summary/v2", summaryV1, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Summary(tt.predicateType, []byte(tt.predicate))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Whatever could be read in two ways is not read at all.
func TestSummaryThatIsNone(t *testing.T) {
	change := func(old, with string) string {
		if !strings.Contains(summaryV1, old) {
			t.Fatalf("the summary has no %s", old)
		}
		return strings.Replace(summaryV1, old, with, 1)
	}
	for _, tt := range []struct{ name, predicate, want string }{
		{"nothing", "", "empty"},
		{"null", " null ", "empty"},
		{"an array", `[]`, "should be an object"},
		{"another letter case", change(`"verificationResult"`, `"VerificationResult"`), "case"},
		{"a field twice", change(`"slsaVersion"`, `"verificationResult":"FAILED","slsaVersion"`), "duplicate"},
		{"another result", change(`"PASSED"`, `"passed"`), "neither PASSED nor FAILED"},
		{"no result", change(`"verificationResult":"PASSED",`, ``), "neither PASSED nor FAILED"},
		{"a pass that failed", change(`["SLSA_BUILD_LEVEL_3"]`, `["SLSA_BUILD_LEVEL_3","FAILED"]`), "FAILED is among its levels"},
		{"two levels", change(`["SLSA_BUILD_LEVEL_3"]`, `["SLSA_BUILD_LEVEL_1","SLSA_BUILD_LEVEL_3"]`), "several levels"},
		{"no time", change(`1985-04-12T23:20:50.52Z`, `yesterday`), "no time of RFC 3339"},
		{"a digest that is none", change(`{"sha256":"`+hexA, `{"sha256":"A`+hexA), "lower-case hex"},
		{"levels that are none", change(`["SLSA_BUILD_LEVEL_3"]`, `"SLSA_BUILD_LEVEL_3"`), "should be an array"},
		{"a long field", change(`https://example.com/publication_verifier`, strings.Repeat("x", maxSummaryText+1)), "more than 4096 bytes"},
		{"a long document", change(`"1.0"`, `"`+strings.Repeat("x", maxSummaryBytes)+`"`), "more than 1048576"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Summary(TypeSummaryV1, []byte(tt.predicate))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%+v, error %v; want one about %q", got, err, tt.want)
			}
		})
	}
}

func FuzzSummary(f *testing.F) {
	f.Add(TypeSummaryV1, []byte(summaryV1))
	f.Add(TypeSummaryV02, []byte(summaryV02))
	f.Fuzz(func(t *testing.T, predicateType string, predicate []byte) {
		s, err := Summary(predicateType, predicate)
		if err != nil && s != nil {
			t.Errorf("both %+v and error %v", s, err)
		}
		if s != nil && s.Result != summaryPassed && s.Result != summaryFailed {
			t.Errorf("result %q", s.Result)
		}
	})
}
