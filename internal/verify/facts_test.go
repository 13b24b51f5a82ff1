package verify_test

import (
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/testkit/sigstack"
)

// Every field of the fact of a keyless signature in Rekor v1 and in Rekor v2.
func TestFactsOfKeylessSignature(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	workflow := sigstack.Workflow{}.Identity()
	for _, tt := range []struct {
		name string
		req  sigstack.SignRequest
		want func(*sigstack.Evidence) facts.Signature
	}{
		{"Rekor v1", sigstack.SignRequest{Image: image, Identity: workflow, Log: sigstack.RekorV1(), Annotations: map[string]string{"env": "prod"}}, func(ev *sigstack.Evidence) facts.Signature {
			e := ev.Entries[0]
			return facts.Signature{
				SignedAt: at(b.At), Annotations: map[string]string{"env": "prod"},
				Transparency: []facts.LogEntry{{Log: b.Rekor1.URL(), LogID: hex.EncodeToString(b.Rekor1.ID()), Index: e.LogIndex, IntegratedAt: at(b.At), Proof: facts.ProofInclusion}},
				Timestamps:   []facts.Timestamp{},
			}
		}},
		{"Rekor v1 with a promise only", sigstack.SignRequest{Image: image, Identity: workflow, Log: sigstack.RekorV1SET(), Legacy: true}, func(ev *sigstack.Evidence) facts.Signature {
			return facts.Signature{
				Format: facts.FormatSimple, SignedAt: at(b.At), Annotations: map[string]string{},
				Transparency: []facts.LogEntry{{Log: b.Rekor1.URL(), LogID: hex.EncodeToString(b.Rekor1.ID()), Index: ev.Entries[0].LogIndex, IntegratedAt: at(b.At), Proof: facts.ProofPromise}},
				Timestamps:   []facts.Timestamp{},
			}
		}},
		{"Rekor v2", sigstack.SignRequest{Image: image, Identity: workflow, Log: sigstack.RekorV2(), Timestamps: 1}, func(ev *sigstack.Evidence) facts.Signature {
			return facts.Signature{
				SignedAt: at(b.At), Annotations: map[string]string{},
				Transparency: []facts.LogEntry{{Log: b.Rekor2.URL(), LogID: hex.EncodeToString(b.Rekor2.ID()), Index: ev.Entries[0].LogIndex, Proof: facts.ProofInclusion}},
				Timestamps:   []facts.Timestamp{{Authority: b.TSAs[0].Leaf.Subject.String(), Time: b.At}},
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b.t = t
			ev := b.Sign(tt.req)
			item := b.item(ev, tt.req.Legacy)
			got := b.signature(item)
			want := tt.want(ev)
			want.ID, want.SubjectDigest, want.TrustRoot = evidence.Identify(item.Kind, item.Bytes, item.Annotations), image, "stack"
			if want.Format == "" {
				want.Format = facts.FormatBundle
			}
			const uri = "https://github.com/acme/app/.github/workflows/release.yml@refs/heads/main"
			want.Principal = sigstack.GitHubIssuer + " " + uri
			want.Signer = facts.Signer{
				Kind: facts.KindCertificate, Issuer: sigstack.GitHubIssuer, Subject: uri,
				Fingerprint: ev.Key.Fingerprint(), Algorithm: "ecdsa-p256", Claims: got.Signer.Claims,
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			for claim, value := range map[string]string{
				"github_workflow_trigger": "push", "github_workflow_repository": "acme/app", "github_workflow_ref": "refs/heads/main",
				"build_signer_uri": uri, "runner_environment": "github-hosted", "source_repository_uri": "https://github.com/acme/app",
				"source_repository_ref": "refs/heads/main", "build_config_uri": uri, "build_trigger": "push",
				"source_repository_visibility_at_signing": "public", "source_repository_owner_uri": "https://github.com/acme",
			} {
				if got.Signer.Claims[claim] != value {
					t.Errorf("claim %s: %q, want %q", claim, got.Signer.Claims[claim], value)
				}
			}
			if _, ok := got.Signer.Claims["issuer"]; ok {
				t.Error("the issuer is a claim, too")
			}
		})
	}
}

func (b *bench) item(ev *sigstack.Evidence, legacy bool) evidence.Item {
	b.t.Helper()
	if legacy {
		return b.layer(ev)
	}
	return b.bundle(ev)
}

func TestFactsOfAttestation(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	for _, legacy := range []bool{false, true} {
		req := attestationOf(sigstack.PredicateSLSA1, keylessV1())
		req.Legacy = legacy
		ev := b.Sign(req)
		got := oneAttestation(t, b.facts([]evidence.Item{b.item(ev, legacy)}))
		want := facts.Attestation{
			Signature:         got.Signature,
			PredicateType:     sigstack.PredicateSLSA1,
			StatementSubjects: []facts.StatementSubject{{Name: "app", Digest: map[string]string{"sha256": image[7:]}}},
			PayloadDigest:     facts.Digest(ev.Envelope.Payload),
			Predicate:         json.RawMessage(`{"builder":{"id":"x"}}`),
			Provenance: &facts.Provenance{
				SLSAVersion: "v1", Source: facts.Source{Digest: map[string]string{}}, Parameters: json.RawMessage("null"), Materials: []facts.Material{},
			},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		format := facts.FormatBundle
		if legacy {
			format = facts.FormatCosignDSSE
		}
		if got.Format != format || got.SignedAt == nil || got.Principal != dev.Issuer+" dev@example.test" {
			t.Errorf("%+v", got.Signature)
		}
	}
}

// Provenance is read at verification, so that a predicate over the limit has it.
func TestProvenanceOfLargePredicate(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	limits := evidence.DefaultLimits()
	limits.PredicateBytes = 64
	req := attestationOf(sigstack.PredicateSLSA02, keylessV1())
	req.Statement.Predicate = sigstack.Provenance{}.V02()
	got := oneAttestation(t, imageFacts(t, verifierWith(t, limits, b.root), []evidence.Item{b.bundle(b.Sign(req))}))
	if got.Predicate != nil || got.Provenance == nil || got.Provenance.Source.URI != "https://github.com/acme/app" || got.Provenance.Source.Ref != "refs/heads/main" {
		t.Errorf("predicate %s, provenance %+v", got.Predicate, got.Provenance)
	}
}

// A statement that calls itself provenance and is none proves nothing.
func TestProvenanceThatIsNone(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	for _, tt := range []struct {
		code      string
		predicate any
	}{
		{facts.CodeMalformed, map[string]any{"builder": "x"}},
		{facts.CodeMalformed, map[string]any{"Builder": map[string]any{"id": "x"}}},
		{facts.CodeMalformed, []any{}},
		{facts.CodeTooLarge, map[string]any{"invocation": map[string]any{"parameters": strings.Repeat("x", 2<<20)}}},
	} {
		req := attestationOf(sigstack.PredicateSLSA02, keylessV1())
		req.Statement.Predicate = tt.predicate
		b.rejected(tt.code, b.bundle(b.Sign(req)))
	}
}

// A predicate over the limit enters by its digest; one that is absent is null.
func TestPredicateLimit(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	limits := evidence.DefaultLimits()
	limits.PredicateBytes = 64
	small := verifierWith(t, limits, b.root)
	req := attestationOf(sigstack.PredicateSPDX, keylessV1())
	req.Statement.Predicate = map[string]string{"text": strings.Repeat("0123456789", 8)}
	item := b.bundle(b.Sign(req))
	if got := oneAttestation(t, imageFacts(t, small, []evidence.Item{item})); got.Predicate != nil || got.PayloadDigest == "" {
		t.Errorf("predicate %s", got.Predicate)
	}
	if got := oneAttestation(t, b.facts([]evidence.Item{item})); len(got.Predicate) < 64 {
		t.Errorf("predicate %s", got.Predicate)
	}
	none := sigstack.SignRequest{Payload: []byte(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"` + image[7:] + `"}}],"predicateType":"x"}`), Identity: dev, Log: sigstack.RekorV1()}
	if got := oneAttestation(t, b.facts([]evidence.Item{b.bundle(b.Sign(none))})); string(got.Predicate) != "null" {
		t.Errorf("predicate %s", got.Predicate)
	}
}

// Threat 41: one broken item beside a good one, in any order; and the same item
// found in two ways is one fact.
func TestEachItemAloneThreat41(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	good := b.bundle(b.Sign(keylessV2()))
	bad := bundleItem([]byte(`{"mediaType":`))
	var digest string
	for _, items := range [][]evidence.Item{{good, bad, good}, {bad, good, good}, {good, good, bad}} {
		f, err := b.v.Image(t.Context(), facts.Subject{Digest: image}, items, nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(f.Signatures()) != 1 || len(f.Rejections()) != 1 || f.Rejections()[0].Code != facts.CodeMalformed {
			t.Fatalf("%+v %+v", f.Signatures(), f.Rejections())
		}
		if digest == "" {
			digest = f.Digest()
		}
		if f.Digest() != digest {
			t.Error("the order of evidence changed the facts")
		}
	}
}

// The bytes of a good bundle, attached once more under another type, do not hide
// it, whichever is found first.
func TestSameBytesUnderAnotherType(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	good := b.bundle(b.Sign(keylessV2()))
	decoy := good
	decoy.Kind, decoy.MediaType = evidence.KindUnsigned, "application/vnd.in-toto+json"
	for _, items := range [][]evidence.Item{{good, decoy}, {decoy, good}} {
		if f := b.facts(items); len(f.Signatures()) != 1 || len(f.Rejections()) != 1 {
			t.Errorf("%+v %+v", f.Signatures(), f.Rejections())
		}
	}
}

// Evidence on the index and on a platform: each fact names the digest that it
// speaks of, and nothing that hangs elsewhere counts.
func TestPlatforms(t *testing.T) {
	b := newBench(t, sigstack.Options{})
	onIndex, onPlatform := b.bundle(b.Sign(keylessV2())), keylessV2()
	onPlatform.Image = otherImage
	item := b.bundle(b.Sign(onPlatform))
	item.SubjectDigest = otherImage
	s := facts.Subject{Digest: image, Platforms: []facts.Platform{{OS: "linux", Architecture: "amd64", Digest: otherImage}}}
	f, err := b.v.Image(t.Context(), s, []evidence.Item{onIndex, item}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, x := range f.Signatures() {
		got = append(got, x.SubjectDigest)
	}
	if diff := cmp.Diff([]string{image, otherImage}, got); diff != "" {
		t.Error(diff)
	}
	s.Platforms = nil
	f, err = b.v.Image(t.Context(), s, []evidence.Item{item}, nil)
	if err != nil {
		t.Fatal(err)
	}
	oneRejection(t, facts.CodeSubjectMismatch, f)
}
