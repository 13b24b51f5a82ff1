package signingpolicy

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/builders"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/policy"
)

const wholeSLSA = `name: strict
require_signature: false
trusted_signers:
  - {type: keyless, issuer: https://a.example, subject: chains@a.example}
  - {type: registry, names: [cloud-build]}
slsa:
  require_attestation: true
  minimum_level: 3
  trusted_builders:
    - https://github.com/acme/workflows/.github/workflows/build.yml
    - {builder: https://github.com/slsa-framework/slsa-github-generator, version: ">=2.0.0, <3.0.0", commits: [3b1f8a6e5d4c2b1a09f8e7d6c5b4a39281706f5e]}
    - {builder: https://tekton.dev/chains/v2, signers: [strict/1, cloud-build]}
    - {builder: https://github.com/acme/app, trust_roots: [private]}
  trusted_sources:
    - https://github.com/acme/lib
    - {repository: https://github.com/acme/app, tag: "v*", branch: [main, "release/*"], ref: "refs/pull/**"}
  parameters:
    workflow: {path: .github/workflows/release.yml}
    "yes": [1, two, null]
`

// The canonical form says the same as what was written, whatever was.
func TestSLSARoundTrip(t *testing.T) {
	for name, text := range map[string]string{
		"everything":     wholeSLSA,
		"the least":      asking("trusted_builders: [https://github.com/a/b]"),
		"a level alone":  good + "slsa: {minimum_level: 2, trusted_builders: [github.com/a/b]}\n",
		"only shown":     good + "slsa: {require_attestation: false, minimum_level: 1, trusted_builders: [github.com/a/b]}\n",
		"no signer":      "require_signature: false\nslsa: {require_attestation: true, trusted_builders: [github.com/a/b]}\n",
		"of no sources":  good + "trusted_sources: [github.com/a]\nslsa: {require_attestation: true, trusted_builders: [github.com/a/b]}\n",
		"level nought":   asking("minimum_level: 0", "trusted_builders: [https://github.com/a/b]"),
		"other sources":  good + "trusted_sources: [github.com/a]\nslsa: {minimum_level: 1, trusted_builders: [github.com/a/b], trusted_sources: [github.com/c]}\n",
		"the gateway's":  "verification: {require_signature: true}\nslsa: {require_attestation: true, minimum_level: 2, trusted_builders: [\"https://github.com/a/b\"]}\ncosign: {timeout_seconds: 30}\n" + good,
		"JSON":           `{"signing_policy": {"trusted_signers": [{"type": "registry"}], "slsa": {"minimum_level": 3, "trusted_builders": [{"builder": "github.com/a/b", "version": ">=1.0.0"}]}}}`,
		"trusted_keys":   "trusted_keys: [{keyless: true, issuer: https://a.example, subject: x}]\nslsa: {minimum_level: 3, trusted_builders: [github.com/a/b]}\n",
		"a registration": good + "slsa: {minimum_level: 2, trusted_builders: [{builder: https://tekton.dev/chains/v2, signers: [chains]}]}\n",
	} {
		t.Run(name, func(t *testing.T) {
			p := mustParse(t, text)
			body, err := p.Canonical()
			if err != nil {
				t.Fatal(err)
			}
			again := mustParse(t, string(body))
			if diff := cmp.Diff(p, again, ignoreScope); diff != "" {
				t.Errorf("(-written +read again):\n%s\nin\n%s", diff, body)
			}
			raw, err := p.Params()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := policy.Load(t.Context(), policy.Source{Params: raw}); err != nil {
				t.Errorf("the policy does not take the parameters: %v\n%s", err, raw)
			}
			// A file of parameters says the same of provenance; where the sources are those
			// of the whole policy they are written out.
			from, err := p.WithParams(raw)
			if err != nil {
				t.Fatal(err)
			}
			rawAgain, err := from.Params()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(canonicalJSON(t, raw), canonicalJSON(t, rawAgain)); diff != "" {
				t.Errorf("(-params +again):\n%s", diff)
			}
		})
	}
}

func canonicalJSON(t *testing.T, raw json.RawMessage) string {
	t.Helper()
	body, err := facts.Canonical(raw)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestSLSAParams(t *testing.T) {
	raw, err := mustParse(t, wholeSLSA).Params()
	if err != nil {
		t.Fatal(err)
	}
	var have struct {
		SLSA json.RawMessage `json:"slsa"`
	}
	if err := json.Unmarshal(raw, &have); err != nil {
		t.Fatal(err)
	}
	want := `{"require_attestation":true,"minimum_level":3,"trusted_builders":[` +
		`{"builder":"https://github.com/acme/workflows/.github/workflows/build.yml"},` +
		`{"builder":"https://github.com/slsa-framework/slsa-github-generator","version":"\u003e=2.0.0, \u003c3.0.0","commits":["3b1f8a6e5d4c2b1a09f8e7d6c5b4a39281706f5e"]},` +
		`{"builder":"https://tekton.dev/chains/v2","signers":["strict/1","cloud-build"]},{"builder":"https://github.com/acme/app","trust_roots":["private"]}],` +
		`"trusted_sources":[{"repository":"https://github.com/acme/lib"},{"repository":"https://github.com/acme/app","refs":["refs/pull/**"],"tags":["v*"],"branches":["main","release/*"]}],` +
		`"parameters":{"workflow":{"path":".github/workflows/release.yml"},"yes":[1,"two",null]}}`
	if diff := cmp.Diff(want, string(have.SLSA)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	inherits := mustParse(t, good+"trusted_sources: [https://github.com/acme]\nslsa: {minimum_level: 1, trusted_builders: [github.com/a/b]}\n")
	if diff := cmp.Diff([]TrustedSource{{Repository: "github.com/acme"}}, inherits.paramSLSA().TrustedSources); diff != "" {
		t.Errorf("the sources of the policy (-want +got):\n%s", diff)
	}
	for name, slsa := range map[string]string{
		"no builders":        `{"require_attestation": true, "minimum_level": 1, "trusted_builders": [], "trusted_sources": null}`,
		"a level beside no":  `{"require_attestation": false, "minimum_level": 2, "trusted_builders": [{"builder": "github.com/a/b"}], "trusted_sources": null}`,
		"no level":           `{"require_attestation": true, "minimum_level": 0, "trusted_builders": [{"builder": "github.com/a/b"}], "trusted_sources": null}`,
		"a builder":          `{"require_attestation": true, "minimum_level": 1, "trusted_builders": [{"builder": "x"}], "trusted_sources": null}`,
		"a source":           `{"require_attestation": true, "minimum_level": 1, "trusted_builders": [{"builder": "github.com/a/b"}], "trusted_sources": [{"repository": "x"}]}`,
		"an unknown field":   `{"require_attestation": true, "minimum_level": 1, "trusted_builders": [{"builder": "github.com/a/b", "tag": "x"}], "trusted_sources": null}`,
		"a level of drafts":  `{"require_attestation": true, "minimum_level": 4, "trusted_builders": [{"builder": "github.com/a/b"}], "trusted_sources": null}`,
		"a level of another": `{"require_attestation": true, "minimum_level": "2", "trusted_builders": [{"builder": "github.com/a/b"}], "trusted_sources": null}`,
	} {
		_, err := Default().WithParams([]byte(`{"require_signature": true, "verify_transparency_log": true, "threshold": 1, "trusted_sources": null, "registered_signers": true, "slsa": ` + slsa + `}`))
		if err == nil || !strings.Contains(err.Error(), "slsa") && !strings.Contains(err.Error(), "tag") && !strings.Contains(err.Error(), "minimum_level") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A document without a name is given one, and its signers are named by it.
func TestSLSASignersOfANamedPolicy(t *testing.T) {
	const text = "trusted_signers: [{type: keyless, issuer: https://a.example, subject: x}]\nslsa: {minimum_level: 2, trusted_builders: [{builder: https://tekton.dev/chains/v2, signers: [%/1]}]}\n"
	if _, err := ParseAs("release", []byte(strings.ReplaceAll(text, "%", "release"))); err != nil {
		t.Error(err)
	}
	if _, err := ParseAs("release", []byte(strings.ReplaceAll(text, "%", "default"))); err == nil || !strings.Contains(err.Error(), "release/1") {
		t.Errorf("%v", err)
	}
}

const (
	commit    = "3b1f8a6e5d4c2b1a09f8e7d6c5b4a39281706f5e"
	generator = "https://github.com/slsa-framework/slsa-github-generator"
	container = generator + "/.github/workflows/generator_container_slsa3.yml"
	app       = "https://github.com/acme/app"
	subject   = "sha256:a1a1"
)

// built is an honest attestation of slsa-github-generator at a ref, of a source at
// a ref.
func built(at, repository, ref string) facts.Attestation {
	const issuer = "https://token.actions.githubusercontent.com"
	signer := container + "@" + at
	return facts.Attestation{
		Signature: facts.Signature{
			SubjectDigest: subject, TrustRoot: "sigstore-public-good", Principal: issuer + " " + signer,
			Signer: facts.Signer{Kind: facts.KindCertificate, Issuer: issuer, Subject: signer, Claims: map[string]string{
				"build_signer_uri": signer, "runner_environment": "github-hosted", "build_trigger": "push",
				"source_repository_uri": repository, "source_repository_ref": ref, "source_repository_digest": commit,
			}},
		},
		Provenance: &facts.Provenance{
			SLSAVersion: "v0.2", BuilderID: signer, BuildType: "https://github.com/slsa-framework/slsa-github-generator/container@v1",
			Source: facts.Source{URI: repository, Ref: ref, Digest: map[string]string{"sha1": commit}},
		},
	}
}

func weigher(t *testing.T, text string) func(a facts.Attestation, subject string, trusted []string) facts.Build {
	t.Helper()
	profiles, err := builders.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	weigh, err := mustParse(t, text).Builds(profiles)
	if err != nil {
		t.Fatal(err)
	}
	return weigh
}

// Which builders and sources a policy trusts.
func TestBuilds(t *testing.T) {
	for _, tt := range []struct {
		name, slsa            string
		at, repository, ref   string
		builder, source, says string
	}{
		{name: "trusted", slsa: "trusted_builders: [" + generator + "]", builder: generator},
		{name: "none is", slsa: "trusted_builders: [github.com/acme/app]", says: "is not github.com/acme/app"},
		{name: "a version", slsa: `trusted_builders: [{builder: ` + generator + `, version: ">=2.0.0"}]`, builder: generator},
		{name: "an older version", slsa: `trusted_builders: [{builder: ` + generator + `, version: ">=2.0.0"}]`, at: "refs/tags/v1.9.0", says: "the version v1.9.0 of the builder"},
		{name: "a branch called as a version", slsa: `trusted_builders: [{builder: ` + generator + `, version: ">=2.0.0"}]`, at: "refs/heads/v2.1.0", says: "is at no tag, so it has no version"},
		{name: "a listed commit", slsa: `trusted_builders: [{builder: ` + generator + `, version: ">=2.0.0", commits: [` + commit + `]}]`, at: commit, builder: generator},
		{name: "a commit", slsa: `trusted_builders: [{builder: ` + generator + `, version: ">=2.0.0"}]`, at: commit, says: "is at a commit that is not listed"},
		{name: "the second of two", slsa: `trusted_builders: [{builder: ` + generator + `, version: ">=3.0.0"}, ` + container + `]`, builder: container},
		{name: "evil", slsa: "trusted_builders: [" + generator + "-evil]", says: "is not github.com/slsa-framework/slsa-github-generator-evil"},
		{name: "of a source", slsa: "trusted_builders: [" + generator + "]\n  trusted_sources: [github.com/acme/app]", builder: generator, source: "github.com/acme/app"},
		{name: "of an owner", slsa: "trusted_builders: [" + generator + "]\n  trusted_sources: [github.com/other, github.com/acme]", builder: generator, source: "github.com/acme"},
		{name: "example-packageA", slsa: "trusted_builders: [" + generator + "]\n  trusted_sources: [github.com/acme/app]", repository: app + "A", builder: generator, says: "the source https://github.com/acme/appA is not github.com/acme/app"},
		{name: "Agithub.com", slsa: "trusted_builders: [" + generator + "]\n  trusted_sources: [github.com/acme/app]", repository: "https://Agithub.com/acme/app", builder: generator, says: "is not github.com/acme/app"},
		{name: "upper-case owner", slsa: "trusted_builders: [" + generator + "]\n  trusted_sources: [github.com/acme/app]", repository: "https://github.com/Acme/app", builder: generator, says: "is not github.com/acme/app"},
		{name: "upper-case host", slsa: "trusted_builders: [https://GitHub" + ".com/slsa-framework/slsa-github-generator.git]\n  trusted_sources: [git+https://GITHUB.com/acme/app.git]", builder: "https://GitHub" + ".com/slsa-framework/slsa-github-generator.git", source: "git+https://GITHUB.com/acme/app.git"},
		{name: "none of several sources", slsa: "trusted_builders: [" + generator + "]\n  trusted_sources: [github.com/a, github.com/b]", builder: generator, says: `the source https://github.com/acme/app at "refs/tags/v1.2.3" is none of those that are trusted`},
		{name: "a tag", slsa: "trusted_builders: [" + generator + "]\n  trusted_sources: [{repository: github.com/acme/app, tag: v*}]", builder: generator, source: "github.com/acme/app"},
		{name: "a branch", slsa: "trusted_builders: [" + generator + "]\n  trusted_sources: [{repository: github.com/acme/app, branch: main}]", builder: generator, says: `the source ref "refs/tags/v1.2.3" is none`},
		{name: "a pull request", slsa: "trusted_builders: [" + generator + "]", ref: "refs/pull/7/merge", builder: generator, says: "the source is at refs/pull/7/merge, which nobody has merged"},
		{name: "a pull request of the source", slsa: "trusted_builders: [" + generator + "]\n  trusted_sources: [github.com/acme/app]", ref: "refs/pull/7/merge", builder: generator, says: "which nobody has merged"},
		{name: "a pull request that is meant", slsa: "trusted_builders: [" + generator + "]\n  trusted_sources: [{repository: github.com/acme/app, ref: refs/pull/**}]", ref: "refs/pull/7/merge", builder: generator, source: "github.com/acme/app"},
		{name: "signed by nobody of ours", slsa: "trusted_builders: [{builder: " + generator + ", signers: [other]}]", says: "is signed for by none of its signers (other)"},
		{name: "signed by one of ours", slsa: "trusted_builders: [{builder: " + generator + ", signers: [other, ours]}]", builder: generator},
		{name: "another root", slsa: "trusted_builders: [{builder: " + generator + ", trust_roots: [private]}]", says: "by the trust root sigstore-public-good, and not by private"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			or := func(s, other string) string {
				if s == "" {
					return other
				}
				return s
			}
			a := built(or(tt.at, "refs/tags/v2.1.0"), or(tt.repository, app), or(tt.ref, "refs/tags/v1.2.3"))
			got := weigher(t, asking(tt.slsa))(a, subject, []string{"ours"})
			if text(got.TrustedBuilder) != tt.builder || text(got.TrustedSource) != tt.source {
				t.Errorf("builder %q of source %q, want %q of %q", text(got.TrustedBuilder), text(got.TrustedSource), tt.builder, tt.source)
			}
			if says := strings.Join(got.Untrusted, "; "); !strings.Contains(says, tt.says) || (tt.says == "") != (says == "") {
				t.Errorf("says %q, want %q", says, tt.says)
			}
			if got.Believed() != (tt.says == "") {
				t.Errorf("believed: %v", got.Believed())
			}
		})
	}
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// A private Sigstore that says it is GitHub's proves nothing, until the policy
// says so for that root.
func TestBuildsUnderPrivateRoot(t *testing.T) {
	a := built("refs/tags/v2.1.0", app, "refs/tags/v1.2.3")
	a.TrustRoot = "private"
	got := weigher(t, asking("trusted_builders: ["+generator+"]"))(a, subject, nil)
	if got.Level > 1 || got.TrustedBuilder != nil || got.Builder != "" {
		t.Errorf("%+v", got)
	}
	got = weigher(t, asking("trusted_builders: [{builder: "+generator+", trust_roots: [private]}]"))(a, subject, nil)
	if got.Level != 3 || text(got.TrustedBuilder) != generator {
		t.Errorf("%+v", got)
	}
}

// A builder without an issuer of its own is whom its signers are said to be.
func TestBuildsOfRegisteredSigners(t *testing.T) {
	const chains = "https://tekton.dev/chains/v2"
	a := facts.Attestation{
		Signature: facts.Signature{SubjectDigest: subject, Principal: "00ff", Signer: facts.Signer{Kind: facts.KindKey, Fingerprint: "00ff"}},
		Provenance: &facts.Provenance{
			SLSAVersion: "v0.2", BuilderID: chains, BuildType: "tekton.dev/v1/PipelineRun",
			Source: facts.Source{URI: app + ".git", Digest: map[string]string{"sha1": commit}},
		},
	}
	weigh := weigher(t, asking("trusted_builders: [{builder: "+chains+", signers: [chains]}]", "trusted_sources: ["+app+"]"))
	got := weigh(a, subject, []string{"chains"})
	if got.Level != 2 || text(got.TrustedBuilder) != chains || text(got.TrustedSource) != app || got.Source.Repository != app+".git" || got.Source.Digest != commit {
		t.Errorf("%+v", got)
	}
	for name, got := range map[string]facts.Build{
		"a trusted signer that is not the builder's": weigh(a, subject, []string{"release"}),
		"nobody":               weigh(a, subject, nil),
		"no signers are named": weigher(t, asking("trusted_builders: ["+chains+"]"))(a, subject, []string{"chains"}),
	} {
		if got.Level > 1 || got.TrustedBuilder != nil || got.TrustedSource != nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
	a.Provenance.BuilderID = "https://tekton.dev/chains/v1"
	if got := weigh(a, subject, []string{"chains"}); got.TrustedBuilder != nil {
		t.Errorf("another builder's: %+v", got)
	}
}

// Without the section nobody is trusted, and yet it is said what is proven.
func TestBuildsWithoutTheSection(t *testing.T) {
	got := weigher(t, good)(built("refs/tags/v2.1.0", app, "refs/heads/main"), subject, []string{"ours"})
	if got.Level != 3 || got.Profile != "slsa-github-generator-container" || got.Believed() || got.TrustedBuilder != nil {
		t.Errorf("%+v", got)
	}
	other := weigher(t, asking("trusted_builders: ["+generator+"]"))(built("refs/tags/v2.1.0", app, "refs/heads/main"), "sha256:b2b2", nil)
	if other.Level != 0 || other.Believed() {
		t.Errorf("of another subject: %+v", other)
	}
}
