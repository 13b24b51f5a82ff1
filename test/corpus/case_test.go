package corpus

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// corpusCase is a case of the corpus; its README says what the fields mean. A
// field that is not here fails the test: it may be an expectation.
type corpusCase struct {
	caseRemarks
	Name             string          `json:"name"`
	Kind             string          `json:"kind"`
	Path             string          `json:"path"`
	Digest           string          `json:"digest"`
	Artifact         string          `json:"artifact"`
	ArtifactDigest   string          `json:"artifact_digest"`
	Trust            string          `json:"trust"`
	Formats          []string        `json:"formats"`
	SubjectManifest  string          `json:"subject_manifest"`
	Result           string          `json:"result"`
	ExpectedIdentity *expectedSigner `json:"expected_identity"`
	Checks           []corpusCheck   `json:"checks"`
	Observed         []observed      `json:"observed"`
	PredicateTypes   []string        `json:"predicate_types"`
	SLSAVersion      string          `json:"slsa_version"`
	BuilderID        string          `json:"builder_id"`
	SourceRepo       string          `json:"source_repo"`
}

type expectedSigner struct {
	Issuer string `json:"issuer"`
	SAN    string `json:"san"`
	SANRE  string `json:"san_re"`
	Key    string `json:"key"`
}

// corpusCheck is one expectation.
type corpusCheck struct {
	checkRemarks
	What           string `json:"what"`
	Expect         string `json:"expect"`
	SAN            string `json:"san"`
	SANRE          string `json:"san_re"`
	Issuer         string `json:"issuer"`
	Key            string `json:"key"`
	TLog           string `json:"tlog"`
	TSA            string `json:"tsa"`
	PredicateType  string `json:"predicateType"`
	Source         string `json:"source"`
	Branch         string `json:"branch"`
	Tag            string `json:"tag"`
	VersionedTag   string `json:"versioned_tag"`
	Builder        string `json:"builder"`
	BuilderRef     string `json:"builder_ref"`
	Trust          string `json:"trust"`
	Artifact       string `json:"artifact"`
	ArtifactDigest string `json:"artifact_digest"`
	Reason         string `json:"reason"`
	Upstream       string `json:"upstream"`
	Cosign         string `json:"cosign_3.1.3"`
	SigstoreGo     string `json:"sigstore_go_1.3.0"`
}

// observed is what the corpus's makers read from a piece of evidence, unverified.
type observed struct {
	observedRemarks
	What             string   `json:"what"`
	From             string   `json:"from"`
	SAN              string   `json:"san"`
	Issuer           string   `json:"issuer"`
	PredicateType    string   `json:"predicateType"`
	SourceRepository string   `json:"source_repository"`
	SourceRef        string   `json:"source_ref"`
	BuildSignerURI   string   `json:"build_signer_uri"`
	Runner           string   `json:"runner"`
	Subjects         []string `json:"subjects"`
	TLog             []string `json:"tlog"`
	Timestamps       int      `json:"rfc3161_timestamps"`
}

// caseRemarks, checkRemarks and observedRemarks say where a case comes from and
// what other tools answered: they are no expectations of ours.
type caseRemarks struct {
	DerivedFrom     json.RawMessage `json:"derived_from"`
	ExpectationFile json.RawMessage `json:"expectation_file"`
	License         json.RawMessage `json:"license"`
	Notes           json.RawMessage `json:"notes"`
	Origin          json.RawMessage `json:"origin"`
	SourceCommit    json.RawMessage `json:"source_commit"`
	SourcePath      json.RawMessage `json:"source_path"`
	UpstreamRef     json.RawMessage `json:"upstream_ref"`
}

type checkRemarks struct {
	CosignError     json.RawMessage `json:"cosign_error"`
	Note            json.RawMessage `json:"note"`
	Origin          json.RawMessage `json:"origin"`
	OwnFallback     json.RawMessage `json:"own_fallback"`
	SigstoreGoError json.RawMessage `json:"sigstore_go_error"`
	UpstreamError   json.RawMessage `json:"upstream_error"`
}

type observedRemarks struct {
	BuilderID     json.RawMessage `json:"builder_id"`
	StatementType json.RawMessage `json:"statementType"`
	Unreadable    json.RawMessage `json:"unreadable"`
}

func readCorpus(t *testing.T, dir string) []corpusCase {
	t.Helper()
	var cases []corpusCase
	decodeFile(t, filepath.Join(dir, "cases.json"), &cases)
	return cases
}

func decodeFile(t *testing.T, path string, into any) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	dec := json.NewDecoder(f)
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// title names a check: it is the subtest, and stands in the golden file.
func (c corpusCheck) title(n int) string {
	words := []string{fmt.Sprintf("%02d", n), c.What, c.Expect}
	switch {
	case c.Reason != "":
		words = append(words, c.Reason)
	case c.Upstream != "":
		words = append(words, c.Upstream)
	}
	s := strings.Join(words, " ")
	if len(s) > 90 {
		s = s[:90]
	}
	return s
}

// sampleCase is one of our own samples (test/testdata/samples).
type sampleCase struct {
	Name         string         `json:"name"`
	Layout       string         `json:"layout"`
	Tag          string         `json:"tag"`
	Digest       string         `json:"digest"`
	Signatures   []sampleSigned `json:"signatures"`
	Attestations []sampleSigned `json:"attestations"`
	Note         string         `json:"note"`
}

// sampleSigned is a signature or attestation that must verify.
type sampleSigned struct {
	Issuer        string            `json:"issuer"`
	Subject       string            `json:"subject"`
	Key           string            `json:"key"`
	Log           *string           `json:"log"`
	TSA           bool              `json:"tsa"`
	Format        string            `json:"format"`
	Annotations   map[string]string `json:"annotations"`
	PredicateType string            `json:"predicate_type"`
}

func readSamples(t *testing.T) []sampleCase {
	t.Helper()
	var cases []sampleCase
	decodeFile(t, filepath.Join(samples, "cases.json"), &cases)
	return cases
}

const samples = "../testdata/samples"
