package signingpolicy

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/policy"
)

var (
	logged  = facts.TrustInfo{Name: "public-good", TransparencyLog: true}
	logless = facts.TrustInfo{Name: "private"}
	entry   = []facts.LogEntry{{Log: "https://rekor.example", Proof: facts.ProofInclusion}}
)

func certificate(root string, entries []facts.LogEntry, source string) facts.Signature {
	claims := map[string]string{}
	if source != "" {
		claims["source_repository_uri"] = source
	}
	return facts.Signature{
		ID: "sha256:01", SubjectDigest: "sha256:aa", TrustRoot: root, Principal: "https://a.example x", Transparency: entries,
		Annotations: map[string]string{}, Timestamps: []facts.Timestamp{},
		Signer: facts.Signer{Kind: facts.KindCertificate, Issuer: "https://a.example", Subject: "x", Claims: claims},
	}
}

func key(entries []facts.LogEntry) facts.Signature {
	s := certificate("public-good", entries, "https://github.com/org/app")
	s.Principal, s.Signer.Kind = "00", facts.KindKey
	return s
}

// cases are signatures by a trusted signer, and whether they count. The second
// test holds the Rego rules to the same table.
var cases = []struct {
	name  string
	lax   bool // verify_transparency_log: false
	ours  bool // trusted_sources: [github.com/org]
	sig   facts.Signature
	trust []facts.TrustInfo
	want  bool
}{
	{"certificate with an entry", false, false, certificate("public-good", entry, ""), []facts.TrustInfo{logged}, true},
	{"certificate without an entry", false, false, certificate("public-good", nil, ""), []facts.TrustInfo{logged}, false},
	{"certificate without an entry, log switched off", true, false, certificate("public-good", nil, ""), []facts.TrustInfo{logged}, false},
	{"certificate under a root without a log", false, false, certificate("private", nil, ""), []facts.TrustInfo{logged, logless}, true},
	{"certificate under another root than that", false, false, certificate("public-good", nil, ""), []facts.TrustInfo{logged, logless}, false},
	{"certificate under an unknown root", false, false, certificate("gone", nil, ""), []facts.TrustInfo{logless}, false},
	{"certificate where no root is known", true, false, certificate("public-good", nil, ""), nil, false},
	{"certificate under two roots of one name", false, false, certificate("private", nil, ""), []facts.TrustInfo{{Name: "private", TransparencyLog: true}, logless}, false},
	{"key with an entry", false, false, key(entry), []facts.TrustInfo{logged}, true},
	{"key without an entry", false, false, key(nil), []facts.TrustInfo{logged}, false},
	{"key without an entry, log switched off", true, false, key(nil), []facts.TrustInfo{logged}, true},
	{"key without an entry, no root has a log", false, false, key(nil), []facts.TrustInfo{logless}, true},
	{"key without an entry, one root has a log", false, false, key(nil), []facts.TrustInfo{logless, logged}, false},
	{"key where no root is known", false, false, key(nil), nil, false},
	{"no kind", true, false, facts.Signature{ID: "sha256:01", SubjectDigest: "sha256:aa", Principal: "x"}, []facts.TrustInfo{logless}, false},

	{"our source", false, true, certificate("public-good", entry, "https://github.com/org/app"), []facts.TrustInfo{logged}, true},
	{"our source itself", false, true, certificate("public-good", entry, "git+https://GitHub.com/org.git"), []facts.TrustInfo{logged}, true},
	{"a source that begins alike", false, true, certificate("public-good", entry, "https://github.com/org-evil/app"), []facts.TrustInfo{logged}, false},
	{"a source in other letters", false, true, certificate("public-good", entry, "https://github.com/Org/app"), []facts.TrustInfo{logged}, false},
	{"our source on another host", false, true, certificate("public-good", entry, "https://github.com.evil.io/org/app"), []facts.TrustInfo{logged}, false},
	{"our source below another", false, true, certificate("public-good", entry, "https://evil.io/github.com/org/app"), []facts.TrustInfo{logged}, false},
	{"a way up and down again", false, true, certificate("public-good", entry, "https://github.com/org/../evil/app"), []facts.TrustInfo{logged}, false},
	{"an empty segment", false, true, certificate("public-good", entry, "https://github.com//org/app"), []facts.TrustInfo{logged}, false},
	{"a user before the host", false, true, certificate("public-good", entry, "https://github.com@evil.io/org/app"), []facts.TrustInfo{logged}, false},
	{"a query", false, true, certificate("public-good", entry, "https://evil.io/?github.com/org/app"), []facts.TrustInfo{logged}, false},
	{"no more than a suffix", false, true, certificate("public-good", entry, "https://github.com/.git"), []facts.TrustInfo{logged}, false},
	{"a host alone", false, true, certificate("public-good", entry, "https://github.com"), []facts.TrustInfo{logged}, false},
	{"no source", false, true, certificate("public-good", entry, ""), []facts.TrustInfo{logged}, false},
	{"our source, no entry", false, true, certificate("public-good", nil, "https://github.com/org/app"), []facts.TrustInfo{logged}, false},
	{"a key cannot name its source", false, true, key(entry), []facts.TrustInfo{logged}, false},
}

func policyFor(lax, ours bool) *Policy {
	p := Default()
	p.VerifyTransparencyLog = !lax
	if ours {
		p.TrustedSources = []string{"github.com/org"}
	}
	return p
}

func TestCounts(t *testing.T) {
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			if got := policyFor(tt.lax, tt.ours).Counts(tt.sig, tt.trust); got != tt.want {
				t.Errorf("counts %v, want %v", got, tt.want)
			}
		})
	}
}

// The Rego rules must count as Go does: were they stricter, an image would be
// denied without a reason; were they laxer, the second look would be none.
func TestRegoCountsAlike(t *testing.T) {
	sets := map[[2]bool]*policy.Set{}
	for _, tt := range cases {
		kind := [2]bool{tt.lax, tt.ours}
		if sets[kind] == nil {
			params, err := policyFor(tt.lax, tt.ours).Params()
			if err != nil {
				t.Fatal(err)
			}
			if sets[kind], err = policy.Load(t.Context(), policy.Source{Params: params}); err != nil {
				t.Fatal(err)
			}
		}
		t.Run(tt.name, func(t *testing.T) {
			sig := tt.sig
			if sig.Transparency == nil {
				sig.Transparency = []facts.LogEntry{}
			}
			in := facts.NewInput(facts.Facts{}, facts.Frame{
				EvaluatedAt: time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC),
				Request:     facts.Request{Image: "i"}, Search: facts.Search{Complete: true}, Trust: tt.trust,
				// As if Go had let it through.
				Matches: []facts.Match{{Requirement: "signature", Signers: []string{"s"}, Principals: []string{sig.Principal}, Count: 1}},
			})
			in.Subject.Digest, in.Subject.Platforms = "sha256:aa", []facts.Platform{}
			in.Signatures = []facts.InputSignature{{Signature: sig, TrustedSigners: []string{"s"}}}
			got, err := sets[kind].Evaluate(t.Context(), &in)
			if err != nil {
				t.Fatal(err)
			}
			if got.Allow != tt.want {
				t.Errorf("allow %v, want %v: %+v", got.Allow, tt.want, got.Violations)
			}
		})
	}
}

func TestParams(t *testing.T) {
	for _, tt := range []struct {
		p    *Policy
		want string
	}{
		{Default(), `{"require_signature":true,"verify_transparency_log":true,"registered_signers":true,"threshold":1,"trusted_sources":null}`},
		{&Policy{RequireSignature: true, Threshold: 3, TrustedSources: []string{"github.com/a", "gitlab.example/b/c"}}, `{"require_signature":true,"verify_transparency_log":false,"registered_signers":false,"threshold":3,"trusted_sources":["github.com/a","gitlab.example/b/c"]}`},
	} {
		raw, err := tt.p.Params()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, string(raw)); diff != "" {
			t.Errorf("params (-want +got):\n%s", diff)
		}
		if _, err := policy.Load(t.Context(), policy.Source{Params: raw}); err != nil {
			t.Errorf("the policy does not take them: %v", err)
		}
	}
	// A policy that nobody made asks for nothing, and its parameters do not load.
	raw, err := (&Policy{}).Params()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := policy.Load(t.Context(), policy.Source{Params: raw}); err == nil {
		t.Errorf("the zero policy loads: %s", raw)
	}
}

func TestSourcesAreNormal(t *testing.T) {
	p := mustParse(t, good+`trusted_sources:
  - https://github.com/org
  - git+https://GITHUB.com/org.git
  - ssh://gitlab.example:2222/Group/sub/app.git/
`)
	if diff := cmp.Diff([]string{"github.com/org", "gitlab.example:2222/Group/sub/app"}, p.TrustedSources); diff != "" {
		t.Errorf("sources (-want +got):\n%s", diff)
	}
	var params struct {
		Sources []string `json:"trusted_sources"`
	}
	raw, err := p.Params()
	if err == nil {
		err = json.Unmarshal(raw, &params)
	}
	if err != nil || !slices.Equal(params.Sources, p.TrustedSources) {
		t.Errorf("params have %v, %v", params.Sources, err)
	}
}

func ExampleParse() {
	p, err := Parse([]byte("signing_policy:\n  trusted_signers: [{type: registry}]\n  threshold: 0\n  mood: strict\n"))
	fmt.Println(p, err)
	// Output:
	// <nil> line 3: threshold: 0 signers would be nobody; it must be at least 1
	// line 4: mood: there is no such field; there are attest, attestations, bundle, contents, context, cosign, default, exceptions, groups, images, mode, name, parameters, platforms, require_signature, shadow_of, slsa, threshold, trusted_keys, trusted_signers, trusted_sources, verification, verification_summaries, verify_transparency_log
}
