package builders

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/facts"
)

const (
	subject = "sha256:a1a1"
	head    = "3b1f8a6e5d4c2b1a09f8e7d6c5b4a39281706f5e"
	other   = "ffff8a6e5d4c2b1a09f8e7d6c5b4a39281706f5e"
	source  = "https://github.com/acme/app"
	own     = source + "/.github/workflows/release.yml@refs/heads/main"
	gen     = "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/"
	wf      = "https://actions.github.io/buildtypes/workflow/v1"
	run     = source + "/actions/runs/7/attempts/1"
)

// build is one attestation of a test.
type build struct {
	signature  facts.Signature
	provenance *facts.Provenance
	registered []string
	roots      []string
}

// github is what GitHub's certificate for a signing workflow and an honest
// predicate look like.
func github(signer, buildType string) build {
	return build{
		signature: facts.Signature{
			SubjectDigest: subject, TrustRoot: "sigstore-public-good", Principal: githubIssuer + " " + signer,
			Signer: facts.Signer{Kind: facts.KindCertificate, Issuer: githubIssuer, Subject: signer, Claims: map[string]string{
				"build_signer_uri": signer, "runner_environment": "github-hosted", "build_trigger": "push", "run_invocation_uri": run,
				"source_repository_uri": source, "source_repository_ref": "refs/heads/main", "source_repository_digest": head,
			}},
		},
		provenance: &facts.Provenance{
			SLSAVersion: "v1", BuilderID: signer, BuildType: buildType, InvocationID: run, Parameters: json.RawMessage("{}"),
			Source: facts.Source{URI: source, Ref: "refs/heads/main", Digest: map[string]string{"gitCommit": head}}, Materials: []facts.Material{},
		},
	}
}

func keyed(buildType, builderID string, registered ...string) build {
	b := github("", buildType)
	b.signature.Principal, b.signature.Signer = "00ff", facts.Signer{Kind: facts.KindKey, Fingerprint: "00ff"}
	b.provenance.BuilderID, b.registered = builderID, registered
	return b
}

func (b build) match(t *testing.T) Result {
	t.Helper()
	return Match(embedded(t), b.signature, b.provenance, subject, Vouched{Registered: b.registered, TrustRoots: b.roots})
}

// with gives a copy after a change.
func (b build) with(change func(*build)) build {
	b.signature.Signer.Claims = maps.Clone(b.signature.Signer.Claims)
	p := *b.provenance
	p.Source.Digest = maps.Clone(p.Source.Digest)
	b.provenance = &p
	change(&b)
	return b
}

func claim(name, value string) func(*build) {
	return func(b *build) {
		if value == "" {
			delete(b.signature.Signer.Claims, name)
			return
		}
		b.signature.Signer.Claims[name] = value
	}
}

const tekton, cloudBuild = "https://tekton.dev/chains/v2", "https://cloudbuild.googleapis.com/GoogleHostedWorker"

// honest are builds that prove what their profile promises.
func honest() map[string]build {
	reusable := "https://github.com/acme/builders/.github/workflows/build.yml@" + head
	npm := github(own, "https://github.com/npm/cli/gha/v2")
	npm.provenance.BuilderID, npm.provenance.InvocationID = "https://github.com/actions/runner", "7-1"
	byob := github(gen+"delegator_generic_slsa3.yml@refs/tags/v2.1.0", "https://github.com/slsa-framework/slsa-github-generator/delegator-generic@v0")
	byob.provenance.BuilderID = "https://github.com/acme/builders/.github/workflows/tool.yml@refs/tags/v1.0.0"
	gitlab := github("https://gitlab.com/acme/sub/app//.gitlab-ci.yml@refs/heads/main", "https://gitlab.com/gitlab-org/gitlab-runner/-/blob/v17.0.0/PROVENANCE.md")
	gitlab.signature.Signer.Issuer = "https://gitlab.com"
	gitlab.signature.Signer.Claims["runner_environment"] = "gitlab-hosted"
	gitlab.signature.Signer.Claims["source_repository_uri"] = "https://gitlab.com/acme/sub/app"
	gitlab.provenance.BuilderID, gitlab.provenance.InvocationID = "https://gitlab.com/acme/sub/app/-/runners/12270837", "99"
	gitlab.provenance.Source = facts.Source{URI: "https://gitlab.com/acme/sub/app", Digest: map[string]string{"sha256": head}}
	return map[string]build{
		"slsa-github-generator-container":       github(gen+"generator_container_slsa3.yml@refs/tags/v2.1.0", "https://github.com/slsa-framework/slsa-github-generator/container@v1"),
		"slsa-github-generator-generic":         github(gen+"generator_generic_slsa3.yml@refs/tags/v2.1.0", "https://github.com/slsa-framework/slsa-github-generator/generic@v1"),
		"slsa-github-generator-container-based": github(gen+"builder_container-based_slsa3.yml@refs/tags/v2.1.0", "https://slsa.dev/container-based-build/v0.1?draft"),
		"slsa-github-generator-byob":            byob,
		"npm-github-actions":                    npm,
		"github-reusable-workflow":              github(reusable, wf),
		"github-workflow":                       github(own, wf),
		"gitlab-ci":                             gitlab,
		"tekton-chains":                         keyed("tekton.dev/v1/PipelineRun", tekton, "tekton-chains"),
		"google-cloud-build":                    keyed("https://cloud.google.com/build/gcb-buildtypes/google-worker/v1", cloudBuild, "google-cloud-build"),
		"buildkit":                              keyed("https://mobyproject.org/buildkit@v1", "https://github.com/acme/app/actions/runs/7"),
	}
}

func TestHonestBuilds(t *testing.T) {
	builds := honest()
	for _, p := range embedded(t) {
		t.Run(p.Name, func(t *testing.T) {
			b, ok := builds[p.Name]
			if !ok {
				t.Fatal("there is no build of this profile")
			}
			got := b.match(t)
			builder := b.provenance.BuilderID
			if p.Builder == IdentityCertificate {
				builder = b.signature.Signer.Subject
			}
			if got.Profile != p.Name || got.Level != p.Level || got.Unproven != p.Unproven || got.Builder != builder || len(got.Contradictions) != 0 {
				t.Errorf("%+v, want level %d of %s", got, p.Level, builder)
			}
			for level := 1; level <= 3; level++ {
				if missing := got.Missing[string(rune('0'+level))]; (len(missing) > 0) != (level > p.Level) {
					t.Errorf("level %d lacks %v", level, missing)
				}
			}
		})
	}
}

// Threats 16 to 19: each swap in an otherwise honest build of GitHub's is a
// contradiction with both values, and proves nothing.
func TestContradictions(t *testing.T) {
	for _, name := range []string{
		"slsa-github-generator-container", "slsa-github-generator-generic", "slsa-github-generator-container-based", "slsa-github-generator-byob",
		"github-reusable-workflow", "github-workflow", "npm-github-actions",
	} {
		honest := honest()[name]
		signer := honest.signature.Signer.Subject
		for _, tt := range []struct {
			name   string
			change func(*build)
			want   Contradiction
		}{
			{"builder", func(b *build) { b.provenance.BuilderID = "https://ci.evil.test/builder" }, contradiction("builder_id", signer, "https://ci.evil.test/builder")},
			{"no builder", func(b *build) { b.provenance.BuilderID = "" }, contradiction("builder_id", signer, "")},
			{"source", func(b *build) { b.provenance.Source.URI = source + "A" }, contradiction("source.uri", source, source+"A")},
			{"owner's letter case", func(b *build) { b.provenance.Source.URI = "https://github.com/ACME/app" }, contradiction("source.uri", source, "https://github.com/ACME/app")},
			{"host", func(b *build) { b.provenance.Source.URI = "https://Agithub.com/acme/app" }, contradiction("source.uri", source, "https://Agithub.com/acme/app")},
			{"tag", func(b *build) { b.provenance.Source.Ref = "refs/tags/v1" }, contradiction("source.ref", "refs/heads/main", "refs/tags/v1")},
			{"commit", func(b *build) { b.provenance.Source.Digest["gitCommit"] = other }, contradiction("source.digest", head, other)},
			{"second commit", func(b *build) { b.provenance.Source.Digest["sha1"] = other }, contradiction("source.digest", head, other)},
			{"run", func(b *build) { b.provenance.InvocationID = source + "/actions/runs/8/attempts/1" }, contradiction("invocation_id", run, source+"/actions/runs/8/attempts/1")},
			{"certificate of another source", claim("source_repository_uri", "https://github.com/evil/app"), contradiction("source.uri", "https://github.com/evil/app", source)},
			{"certificate of another commit", claim("source_repository_digest", other), contradiction("source.digest", other, head)},
		} {
			t.Run(name+"/"+tt.name, func(t *testing.T) {
				got := honest.with(tt.change).match(t)
				if got.Level != 0 || got.Missing["1"] == nil || !slices.Contains(got.Contradictions, tt.want) {
					t.Errorf("%+v, want %+v", got, tt.want)
				}
			})
		}
	}
}

// A predicate that names a builder whose workflow did not sign it.
func TestPretending(t *testing.T) {
	container := gen + "generator_container_slsa3.yml@refs/tags/v2.1.0"
	stranger := github(own, "https://github.com/slsa-framework/slsa-github-generator/container@v1").with(func(b *build) { b.provenance.BuilderID = container })
	for name, b := range map[string]build{
		"a user's workflow":     stranger,
		"GitHub's build type":   stranger.with(func(b *build) { b.provenance.BuildType = wf }),
		"BuildKit's build type": stranger.with(func(b *build) { b.provenance.BuildType = "https://mobyproject.org/buildkit@v1" }),
		"another issuer":        github(container, "x").with(func(b *build) { b.signature.Signer.Issuer = "https://issuer.evil.test" }),
		"a person's certificate": stranger.with(func(b *build) {
			b.signature.Signer = facts.Signer{Kind: facts.KindCertificate, Issuer: "https://accounts.google.com", Subject: "dev@example.test"}
		}),
		"a key":                    keyed("https://github.com/slsa-framework/slsa-github-generator/container@v1", container, "slsa-github-generator-container"),
		"a name that begins alike": github("https://github.com/slsa-framework/slsa-github-generator-evil/.github/workflows/generator_container_slsa3.yml@refs/tags/v2.1.0", "x").with(func(b *build) { b.provenance.BuilderID = container }),
	} {
		t.Run(name, func(t *testing.T) {
			got := b.match(t)
			if got.Level != 0 || len(got.Contradictions) != 1 || got.Contradictions[0].Field != "builder_id" || got.Contradictions[0].Predicate != container {
				t.Errorf("%+v", got)
			}
		})
	}
}

// What lowers the level, and what it then says.
func TestLevels(t *testing.T) {
	container := honest()["slsa-github-generator-container"]
	reusable := honest()["github-reusable-workflow"]
	refer := func(ref string) func(*build) {
		return func(b *build) {
			workflow, _, _ := strings.Cut(b.signature.Signer.Subject, "@")
			b.provenance.BuilderID = workflow + "@" + ref
			b.signature.Signer.Subject, b.signature.Signer.Claims["build_signer_uri"] = b.provenance.BuilderID, b.provenance.BuilderID
		}
	}
	for _, tt := range []struct {
		name  string
		build build
		level int
		lacks string // "level: text"
	}{
		{"self-hosted runner", container.with(claim("runner_environment", "self-hosted")), 1, "2: the runner was self-hosted, not github-hosted"},
		{"runner unknown", container.with(claim("runner_environment", "")), 1, "2: the certificate does not say that the runner was github-hosted"},
		{"pull request", container.with(claim("build_trigger", "pull_request")), 1, "2: the build was triggered by pull_request"},
		{"pull request's target", reusable.with(claim("build_trigger", "pull_request_target")), 1, "2: the build was triggered by pull_request_target"},
		{"unmerged source", container.with(func(b *build) {
			b.signature.Signer.Claims["source_repository_ref"], b.provenance.Source.Ref = "refs/pull/3/merge", "refs/pull/3/merge"
		}), 1, `2: the source is refs/pull/3/merge`},
		{"builder at a branch", container.with(refer("refs/heads/main")), 2, `3: the workflow github.com/slsa-framework/slsa-github-generator/.github/workflows/generator_container_slsa3.yml is referenced by the branch "main"`},
		{"builder at a branch that looks like a tag", reusable.with(refer("refs/heads/v2.1.0")), 2, `3: `},
		{"builder at a tag", reusable.with(refer("refs/tags/v1")), 3, ""},
		{"builder at a commit", container.with(refer(head)), 3, ""},
		{"builder at a short commit", container.with(refer(head[:7])), 2, "3: "},
		{"builder at a ref with @", container.with(refer("refs/tags/v1@refs/heads/main")), 2, "3: "},
		{"no source in the predicate", container.with(func(b *build) { b.provenance.Source.URI = "" }), 1, "2: the predicate does not name the source repository"},
		{"no commit in the predicate", container.with(func(b *build) { b.provenance.Source.Digest = nil }), 1, "2: the predicate does not name the source's commit"},
		{"no commit in the certificate", container.with(claim("source_repository_digest", "")), 1, "2: the certificate does not name the source's commit"},
		{"no source in the certificate", container.with(claim("source_repository_uri", "")), 1, "2: the certificate does not name the source repository"},
		{"Tekton, not registered", keyed("tekton.dev/v1/PipelineRun", tekton), 1, "2: the signer 00ff is not registered as one of the builder tekton-chains"},
		{"Tekton, registered for another", keyed("tekton.dev/v1/PipelineRun", tekton, "google-cloud-build"), 1, "2: the signer 00ff is not registered"},
		{"Cloud Build, not registered", keyed("https://cloud.google.com/build/gcb-buildtypes/google-worker/v1", cloudBuild), 1, "2: the signer 00ff is not registered"},
		{"BuildKit, registered", keyed("https://mobyproject.org/buildkit@v1", "", "buildkit"), 1, "2: BuildKit and docker buildx claims no more than level 1"},
		{"Cloud Build in a certificate", github(own, "https://cloud.google.com/build/gcb-buildtypes/google-worker/v1").with(func(b *build) { b.provenance.BuilderID, b.registered = cloudBuild, []string{"google-cloud-build"} }), 0, "1: no builder profile fits"},
		{"no provenance", container.with(func(b *build) { b.provenance = nil }), 0, "1: the attestation is no SLSA provenance"},
		{"another subject", container.with(func(b *build) { b.signature.SubjectDigest = "sha256:b2b2" }), 0, "1: the attestation speaks of sha256:b2b2, not of sha256:a1a1"},
		{"unknown builder", keyed("https://example.com/build", "https://ci.example"), 0, "1: no builder profile fits"},
		{"GitHub's issuer with another ending", container.with(func(b *build) { b.signature.Signer.Issuer += ".evil.test" }), 0, "1: "},
		{"user's build type", github(own, "https://example.com/build"), 0, "1: no builder profile fits"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := tt.build.match(t)
			if got.Level != tt.level {
				t.Errorf("%+v, want level %d", got, tt.level)
			}
			if level, text, ok := strings.Cut(tt.lacks, ": "); ok && !slices.ContainsFunc(got.Missing[level], func(s string) bool { return strings.HasPrefix(s, text) }) {
				t.Errorf("lacks %v, want %s", got.Missing, tt.lacks)
			}
			if tt.lacks == "" && len(got.Missing) != 0 {
				t.Errorf("lacks %v", got.Missing)
			}
		})
	}
}

// Certificates of 2022 have the old extensions alone: the workflow is in the
// subject, the repository without its host, and the runner is not told.
func TestOldCertificate(t *testing.T) {
	b := honest()["slsa-github-generator-container"].with(func(b *build) {
		b.signature.Signer.Claims = map[string]string{
			"github_workflow_repository": "acme/app", "github_workflow_ref": "refs/heads/main", "github_workflow_sha": head, "github_workflow_trigger": "workflow_dispatch",
		}
	})
	want := Result{
		Profile: "slsa-github-generator-container", Level: 1, Builder: gen + "generator_container_slsa3.yml@refs/tags/v2.1.0", Reusable: true,
		Source: Source{Repository: source, Ref: "refs/heads/main", Digest: head}, Contradictions: []Contradiction{},
		Missing: map[string][]string{"2": {"the certificate does not say that the runner was github-hosted"}},
	}
	if diff := cmp.Diff(want, b.match(t)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// Nobody but GitHub has a host that we may add.
	b.signature.Signer.Issuer = "https://gitlab.com"
	if got := b.match(t); got.Level != 0 || got.Source.Repository != "" {
		t.Errorf("%+v", got)
	}
}

func contradiction(field, certificate, predicate string) Contradiction {
	return Contradiction{Field: field, Certificate: certificate, Predicate: predicate}
}

// A private Sigstore may write GitHub's name into its certificates.
func TestTrustRoots(t *testing.T) {
	under := func(root string, roots ...string) func(*build) {
		return func(b *build) { b.signature.TrustRoot, b.roots = root, roots }
	}
	for name, b := range honest() {
		profile := profileNamed(t, name)
		foreign := b.with(under("private")).match(t)
		if profile.Signer.VouchedBy == ByRegistration || b.signature.Signer.Kind == facts.KindKey {
			if diff := cmp.Diff(b.match(t), foreign); diff != "" {
				t.Errorf("%s: a root has a part in it (-own +private):\n%s", name, diff)
			}
			continue
		}
		if foreign.Level > 1 || foreign.Builder != "" || len(foreign.Missing["2"]) == 0 {
			t.Errorf("%s under a private root: level %d, builder %q, %v", name, foreign.Level, foreign.Builder, foreign.Missing)
		}
		if diff := cmp.Diff(b.match(t), b.with(under("private", "other", "private")).match(t)); diff != "" {
			t.Errorf("%s: the policy lets the root vouch (-public +private):\n%s", name, diff)
		}
		if got := b.with(under("")).match(t); got.Builder != "" {
			t.Errorf("%s under no root: %+v", name, got)
		}
	}
}

// A user may sign BuildKit's provenance under an identity of the platform: it is
// then known who, if the platform's root says so.
func TestBuildKitUnderCertificate(t *testing.T) {
	b := github(own, "https://mobyproject.org/buildkit@v1")
	if got := b.match(t); got.Level != 1 || got.Builder != own || got.Profile != "buildkit" {
		t.Errorf("%+v", got)
	}
	if got := b.with(func(b *build) { b.signature.TrustRoot = "private" }).match(t); got.Level != 1 || got.Builder != "" {
		t.Errorf("under a private root: %+v", got)
	}
}

func profileNamed(t *testing.T, name string) Profile {
	t.Helper()
	for _, p := range embedded(t) {
		if p.Name == name {
			return p
		}
	}
	t.Fatalf("no profile %s", name)
	return Profile{}
}

// What strangers wrote is repeated in part.
func TestLongWordsAreCut(t *testing.T) {
	b := honest()["github-workflow"].with(func(b *build) { b.provenance.BuilderID = strings.Repeat("ü", 1<<20) })
	got := b.match(t)
	if len(got.Contradictions) != 1 || len(got.Contradictions[0].Predicate) > maxShown+len("…") {
		t.Errorf("%d contradictions", len(got.Contradictions))
	}
}

// The zero profiles prove nothing.
func TestNoProfiles(t *testing.T) {
	b := honest()["github-workflow"]
	if got := Match(nil, b.signature, b.provenance, subject, Vouched{}); got.Level != 0 || got.Profile != "" || got.Builder != "" {
		t.Errorf("%+v", got)
	}
}
