package interop

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/registry"
	"github.com/signet-policy/signet/internal/signers"
	"github.com/signet-policy/signet/internal/signingpolicy"
	"github.com/signet-policy/signet/internal/testkit"
	"github.com/signet-policy/signet/internal/testkit/ocitest"
	"github.com/signet-policy/signet/internal/testkit/registrytest"
	"github.com/signet-policy/signet/internal/testkit/sigstack"
	"github.com/signet-policy/signet/internal/trust"
	"github.com/signet-policy/signet/internal/verdict"
	"github.com/signet-policy/signet/test/interop/cosigntest"
	"github.com/signet-policy/signet/test/wire"
)

// Signet verifies what the real cosign signs with a key: the facts are exactly
// what was signed, and by whom; attestations do not make an image signed.
func TestSignetVerifiesCosign(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]registrytest.Options{
		"referrers api":                        {},
		"referrers as the registry calls them": {PlainReferrers: true},
		"fallback tag":                         {NoReferrers: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cosign := cosigntest.New(t)
			server := registrytest.New(t, opts)
			for _, s := range CosignSigns(t, cosign, server) {
				t.Run(s.Name, func(t *testing.T) {
					key, err := signers.ParseKeys(string(s.Key.PublicPEM))
					if err != nil {
						t.Fatal(err)
					}
					v, in := signet(t, server, s, oneOff(t, key))
					s.compare(t, key[0].Fingerprint, in)
					decision, code := verdict.Allow, ""
					if s.Attest != "" {
						decision, code = verdict.Deny, "unsigned"
					}
					wantVerdict(t, v, decision, code)

					// The same, with the log asked of keys too: there is none.
					body, err := json.Marshal(map[string]any{"trusted_signers": []any{map[string]any{"type": "public_key", "key": key[0].PEM}}})
					if err != nil {
						t.Fatal(err)
					}
					strict, err := signingpolicy.Parse(body)
					if err != nil {
						t.Fatal(err)
					}
					if s.Attest == "" {
						code = "transparency_log_missing"
					}
					v, _ = signet(t, server, s, strict)
					wantVerdict(t, v, verdict.Deny, code)

					// And for somebody else's key.
					other := testkit.NewStack(t, sigstack.Options{}).Key("other", sigstack.ECDSAP256SHA256)
					stranger, err := signers.ParseKeys(string(other.PublicPEM()))
					if err != nil {
						t.Fatal(err)
					}
					v, in = signet(t, server, s, oneOff(t, stranger))
					if s.Attest == "" || !s.Old {
						// A bundle that does not verify may have been a signature.
						code = "signature_rejected"
					}
					wantVerdict(t, v, verdict.Deny, code)
					if n := len(in.Signatures) + len(in.Attestations); n != 0 || len(in.Rejections) != 1 || in.Rejections[0].Code != facts.CodeNoMatchingKey {
						t.Errorf("with another key: %d facts, rejections %+v", n, in.Rejections)
					}
				})
			}
		})
	}
}

func oneOff(t *testing.T, keys []signers.Key) *signingpolicy.Policy {
	t.Helper()
	p, err := signingpolicy.OneOff(keys, "", "", "")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func wantVerdict(t *testing.T, v *verdict.Verdict, decision verdict.Decision, code string) {
	t.Helper()
	var want, have []string
	if code != "" {
		want = []string{code}
	}
	for _, r := range v.Reasons {
		have = append(have, r.Code)
	}
	if v.Decision != decision || !slices.Equal(want, have) {
		t.Errorf("%s %v, want %s %v: %+v", v.Decision, have, decision, want, v.Reasons)
	}
}

// signet asks for what cosign signed. No root knows anything about it: a key
// needs none.
func signet(t *testing.T, server *registrytest.Server, s Signed, p *signingpolicy.Policy) (*verdict.Verdict, facts.Input) {
	t.Helper()
	root, err := trust.Parse("unused", testkit.NewStack(t, sigstack.Options{}).TrustedRootJSON(), nil)
	if err != nil {
		t.Fatal(err)
	}
	w := wire.New(t, wire.Config{
		Roots: []*trust.Root{root}, Policy: p,
		Registry: registry.Config{Registries: []registry.Settings{{Host: server.Host(), Insecure: true}}},
	})
	x, err := w.Engine.Examine(t.Context(), w.State, engine.Request{Image: s.Ref})
	if err != nil {
		t.Fatal(err)
	}
	in := x.Inputs[p.Name]
	if !in.Search.Complete || *w.Panics != 0 {
		t.Errorf("%d panics; search %+v", *w.Panics, in.Search)
	}
	return x.Verdict, in
}

// compare holds the facts against what cosign was told to sign.
func (s Signed) compare(t *testing.T, fingerprint string, in facts.Input) {
	t.Helper()
	if len(in.Rejections) != 0 {
		t.Errorf("rejections %+v", in.Rejections)
	}
	format := facts.FormatBundle
	var got facts.Signature
	switch {
	case s.Attest != "":
		if s.Old {
			format = facts.FormatCosignDSSE
		}
		if len(in.Signatures) != 0 || len(in.Attestations) != 1 {
			t.Fatalf("%d signatures, %d attestations", len(in.Signatures), len(in.Attestations))
		}
		a := in.Attestations[0]
		got = a.Signature
		if a.PredicateType != s.Attest {
			t.Errorf("predicate type %s, want %s", a.PredicateType, s.Attest)
		}
		var predicate struct {
			RunDetails struct {
				Builder struct{ ID string }
			}
		}
		if err := json.Unmarshal(a.Predicate, &predicate); err != nil || predicate.RunDetails.Builder.ID != "https://example.test/builder@v1" {
			t.Errorf("predicate %s, %v", a.Predicate, err)
		}
	default:
		if s.Old {
			format = facts.FormatSimple
		}
		if len(in.Signatures) != 1 || len(in.Attestations) != 0 {
			t.Fatalf("%d signatures, %d attestations", len(in.Signatures), len(in.Attestations))
		}
		got = in.Signatures[0].Signature
	}
	notes := s.Annotations
	if notes == nil {
		notes = map[string]string{}
	}
	want := facts.Signature{
		ID: got.ID, SubjectDigest: s.Image.Digest(), Format: format, Annotations: notes, Principal: fingerprint,
		Signer:       facts.Signer{Kind: facts.KindKey, Claims: map[string]string{}, Fingerprint: fingerprint, Algorithm: "ecdsa-p256"},
		Transparency: []facts.LogEntry{}, Timestamps: []facts.Timestamp{},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("fact (-want +have):\n%s", diff)
	}
}

// What cosign signs for one image proves nothing about another, to whose digest
// it is copied: cosign and Signet agree.
func TestNeitherBelievesACopy(t *testing.T) {
	t.Parallel()
	cosign := cosigntest.New(t)
	server := registrytest.New(t, registrytest.Options{})
	key := cosign.GenerateKeyPair("copy")
	signed := ocitest.Image(ocitest.ImageOptions{Content: "signed"})
	other := ocitest.Image(ocitest.ImageOptions{Content: "other"})
	server.Push("c/copy", "signed", signed)
	server.Push("c/copy", "other", other)
	cosign.SignOld(server.Image("c/copy", "signed"), key)
	layout := fetch(t, server, "/v2/c/copy/manifests/"+ocitest.Tag(signed.Digest(), ".sig"))
	server.PutManifest("c/copy", ocitest.Tag(other.Digest(), ".sig"), ocitest.MediaTypeManifest, layout)

	ref := server.Image("c/copy", "other")
	if _, err := cosign.Run("verify", "--key", key.Public, "--insecure-ignore-tlog", ref); !cosigntest.Exited(err) {
		t.Errorf("cosign believes it: %v", err)
	}
	keys, err := signers.ParseKeys(string(key.PublicPEM))
	if err != nil {
		t.Fatal(err)
	}
	v, in := signet(t, server, Signed{Ref: ref}, oneOff(t, keys))
	wantVerdict(t, v, verdict.Deny, "signature_rejected")
	if len(in.Rejections) != 1 || in.Rejections[0].Code != facts.CodeSubjectMismatch {
		t.Errorf("rejections %+v", in.Rejections)
	}
}
