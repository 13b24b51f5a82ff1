package policy

import (
	"encoding/json"
	"testing"
	"testing/fstest"
	"time"

	"github.com/signet-policy/signet/internal/facts"
)

const defaultParams = `{"require_signature":true,"verify_transparency_log":true,"threshold":1,"trusted_sources":null,"registered_signers":true}`

func ptr[T any](v T) *T { return &v }

// noon is the time of evaluation in tests.
var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

const imageDigest = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

// emptyInput is an image about which nothing is known, with a trusted signer in
// force.
func emptyInput() *facts.Input {
	in := facts.NewInput(facts.Facts{}, facts.Frame{
		EvaluatedAt: noon,
		Request:     facts.Request{Image: "ghcr.io/org/server:v1"},
		Registry:    "ghcr.io", Repository: "org/server", Tag: ptr("v1"),
		Search:  facts.Search{Complete: true, ReferrersAPI: "empty", FallbackTag: "empty", CosignTags: "empty"},
		Matches: []facts.Match{{Requirement: "signature", Signers: []string{}, Principals: []string{}}},
		Trust:   []facts.TrustInfo{{Name: "public-good", Digest: "sha256:00", TransparencyLog: true}},
	})
	in.Subject.Digest = imageDigest
	in.Subject.Platforms = []facts.Platform{}
	return &in
}

// signedInput has one keyless signature by a trusted signer, with a log entry.
func signedInput() *facts.Input {
	in := emptyInput()
	const principal = "https://accounts.google.com dev@example.com"
	in.Signatures = []facts.InputSignature{{
		Signature: facts.Signature{
			ID: "sha256:01", SubjectDigest: imageDigest, Format: facts.FormatBundle, SignedAt: &noon,
			TrustRoot: "public-good", Annotations: map[string]string{}, Principal: principal,
			Signer: facts.Signer{
				Kind: facts.KindCertificate, Issuer: "https://accounts.google.com", Subject: "dev@example.com",
				Claims: map[string]string{}, Fingerprint: "00", Algorithm: "ecdsa-p256",
			},
			Transparency: []facts.LogEntry{{Log: "https://rekor.example", LogID: "00", Index: 7, IntegratedAt: &noon, Proof: facts.ProofPromise}},
			Timestamps:   []facts.Timestamp{{Authority: "tsa", Time: noon}},
		},
		TrustedSigners: []string{"release"},
	}}
	in.Matches = []facts.Match{{Requirement: "signature", Signers: []string{"release"}, Principals: []string{principal}, Count: 1}}
	return in
}

func mustLoad(t testing.TB, src Source) *Set {
	t.Helper()
	if src.Params == nil {
		src.Params = json.RawMessage(defaultParams)
	}
	s, err := Load(t.Context(), src)
	if err == nil {
		err = s.Ready(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func file(body string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(body)} }
