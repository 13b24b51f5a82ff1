package attacks

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/attest"
	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/testkit/ocitest"
	"github.com/signet-policy/signet/internal/testkit/registrytest"
	"github.com/signet-policy/signet/internal/testkit/sigstack"
	"github.com/signet-policy/signet/internal/verdict"
)

const generator = "https://github.com/slsa-framework/slsa-github-generator"

// wanting asks for provenance of level 2 by these builders, of acme's application,
// and for no signature.
func wanting(builders ...any) string {
	return policyOf(map[string]any{"require_signature": false, "slsa": map[string]any{
		"require_attestation": true, "minimum_level": 2, "trusted_builders": builders, "trusted_sources": []string{"https://github.com/acme/app"},
	}})
}

// vouched is a builder for which the world's own Sigstore may vouch.
func vouched(builder string) map[string]any {
	return map[string]any{"builder": builder, "trust_roots": []string{"first"}}
}

// built is provenance of the image by the release workflow, after an edit.
func (w *world) built(edit func(*sigstack.Provenance)) func(*sigstack.SignRequest) {
	var p sigstack.Provenance
	if edit != nil {
		edit(&p)
	}
	return w.stating(sigstack.PredicateSLSA1, p.V1())
}

// generated is provenance by the generator at a ref.
func (w *world) generated(at string) func(*sigstack.SignRequest) {
	signer := generator + "/.github/workflows/generator_container_slsa3.yml@" + at
	stating := w.stating(sigstack.PredicateSLSA02, sigstack.Provenance{BuilderID: signer, BuildType: generator + "/container@v1"}.V02())
	return func(r *sigstack.SignRequest) {
		stating(r)
		r.Identity = sigstack.Workflow{Signer: signer}.Identity()
	}
}

// wantsBuilds begins every attack here: provenance is asked for, and the good
// neighbour has some.
func (w *world) wantsBuilds() {
	w.policy = wanting(vouched("https://github.com/acme/app"), vouched(generator))
	w.good = w.built(nil)
}

// Provenance in place of other provenance: threats 2 to 4, 8 to 11, 17 to 20.
func TestProvenance(t *testing.T) {
	t.Parallel()
	with := func(do func(w *world)) func(*world) {
		return func(w *world) { w.wantsBuilds(); do(w) }
	}
	attacks := []attack{
		{
			threat:   "2 signature in place of provenance",
			do:       with(func(w *world) { w.attach(w.sign()) }),
			decision: verdict.Deny, reason: "provenance_missing", signatures: 1,
		},
		{
			threat: "3 and 4 an SBOM in place of provenance",
			do: with(func(w *world) {
				w.attach(w.sign(w.stating(sigstack.PredicateSPDX, sigstack.Provenance{}.V1())))
			}),
			decision: verdict.Deny, reason: "provenance_missing", attestations: 1,
		},
		{
			threat: "8 provenance of another image",
			do: with(func(w *world) {
				other := w.other().Digest()
				w.attach(w.sign(w.built(nil), func(r *sigstack.SignRequest) {
					r.Statement.Subjects = []sigstack.Subject{sigstack.SubjectOf(w.ask.Image, other)}
				}))
			}),
			decision: verdict.Deny, reason: "provenance_missing", rejections: []string{facts.CodeSubjectMismatch},
		},
		{
			threat: "9 provenance without a signature",
			do: with(func(w *world) {
				w.push(w.plain("application/vnd.in-toto+json", w.provenance()))
			}),
			decision: verdict.Deny, reason: "provenance_missing", rejections: []string{facts.CodeNoSignature},
		},
		{
			threat: "10 BuildKit's provenance in an index",
			do: func(w *world) {
				w.image = ocitest.Index(w.image, ocitest.BuildKitAttestation(w.image, w.provenance()))
				w.server.Push(repo, tag, w.image)
				w.wantsBuilds()
			},
			decision: verdict.Deny, reason: "provenance_missing", rejections: []string{facts.CodeNoSignature},
		},
		{
			threat: "11 a stranger's signature under our predicate",
			do: with(func(w *world) {
				w.attach(w.sign(w.built(nil), as(sigstack.Workflow{Repository: "evil/app"}.Identity())))
			}),
			decision: verdict.Deny, reason: "provenance_contradicts", attestations: 1,
		},
		{
			threat: "11 our signature on another statement, the predicate in a stranger's",
			do: with(func(w *world) {
				w.attach(w.sign(w.stating(sigstack.PredicateSPDX, map[string]any{"spdxVersion": "SPDX-2.3"})))
				w.attach(w.sign(w.built(nil), as(sigstack.Email("https://accounts.evil.test", "dev@example.test"))))
			}),
			decision: verdict.Deny, reason: "builder_not_trusted", attestations: 2,
		},
		{
			threat: "12 a source that begins like ours",
			do: with(func(w *world) {
				w.attach(w.sign(w.built(func(p *sigstack.Provenance) {
					p.BuilderID = "https://github.com/acme/appA/.github/workflows/release.yml@refs/heads/main"
					p.Parameters = map[string]any{"workflow": map[string]any{"ref": "refs/heads/main", "repository": "https://github.com/acme/appA"}}
					p.SourceURI, p.InvocationID = "git+https://github.com/acme/appA@refs/heads/main", "https://github.com/acme/appA/actions/runs/7000007/attempts/1"
				}), as(sigstack.Workflow{Repository: "acme/appA"}.Identity())))
			}),
			decision: verdict.Deny, reason: "builder_not_trusted", attestations: 1,
		},
		{
			threat: "17 a pull request",
			do: with(func(w *world) {
				const ref = "refs/pull/7/merge"
				w.attach(w.sign(w.built(func(p *sigstack.Provenance) {
					p.BuilderID = "https://github.com/acme/app/.github/workflows/release.yml@" + ref
					p.Parameters = map[string]any{"workflow": map[string]any{"ref": ref, "repository": "https://github.com/acme/app"}}
					p.SourceURI = "git+https://github.com/acme/app@" + ref
				}), as(sigstack.Workflow{Trigger: "pull_request", Ref: ref}.Identity())))
			}),
			decision: verdict.Deny, reason: "build_source_not_trusted", attestations: 1,
		},
		{
			threat: "17 a pull request's trigger on our branch",
			do: with(func(w *world) {
				w.attach(w.sign(w.built(nil), as(sigstack.Workflow{Trigger: "pull_request_target"}.Identity())))
			}),
			decision: verdict.Deny, reason: "slsa_level_too_low", attestations: 1,
		},
		{
			threat: "17 a self-hosted runner",
			do: with(func(w *world) {
				w.attach(w.sign(w.built(func(p *sigstack.Provenance) { p.BuilderID = "https://github.com/actions/runner/self-hosted" }),
					as(sigstack.Workflow{Runner: "self-hosted"}.Identity())))
			}),
			decision: verdict.Deny, reason: "slsa_level_too_low", attestations: 1,
		},
		{
			threat: "19 the generator at a branch",
			do: with(func(w *world) {
				w.attach(w.sign(w.generated("refs/heads/main")))
			}),
			decision: verdict.Deny, reason: "builder_not_trusted", attestations: 1,
		},
		{
			threat: "19 a branch called as a version",
			do: func(w *world) {
				w.policy = wanting(map[string]any{"builder": generator, "version": ">=2.0.0", "trust_roots": []string{"first"}})
				w.good = w.generated("refs/tags/v2.1.0")
				w.attach(w.sign(w.generated("refs/heads/v2.1.0")))
			},
			decision: verdict.Deny, reason: "builder_not_trusted", attestations: 1,
		},
		{
			threat: "20 another instance says that it is GitHub's",
			do: func(w *world) {
				w.wantsBuilds()
				w.policy = wanting("https://github.com/acme/app", generator) // and no root of ours may vouch
				w.attach(w.sign(w.built(nil)))
			},
			decision: verdict.Deny, reason: "builder_not_trusted", attestations: 1, beside: verdict.Deny,
		},
		{
			threat: "18 a key says that it is the generator",
			do: func(w *world) {
				w.wantsBuilds()
				w.policy = policyOf(map[string]any{
					"require_signature": false, "verify_transparency_log": false,
					"trusted_signers": []any{map[string]any{"type": "public_key", "key": string(w.stack.Key("release", sigstack.ECDSAP256SHA256).PublicPEM())}},
					"slsa":            map[string]any{"minimum_level": 1, "trusted_builders": []any{vouched(generator), vouched("https://github.com/acme/app")}},
				})
				w.attach(w.byKey("release", w.built(func(p *sigstack.Provenance) {
					p.BuilderID = generator + "/.github/workflows/generator_container_slsa3.yml@refs/tags/v2.1.0"
				})))
			},
			decision: verdict.Deny, reason: "provenance_contradicts", attestations: 1,
		},
	}
	for name, edit := range map[string]func(*sigstack.Provenance){
		"builder": func(p *sigstack.Provenance) { p.BuilderID = "https://ci.evil.test/builder" },
		"source": func(p *sigstack.Provenance) {
			p.Parameters = map[string]any{"workflow": map[string]any{"ref": "refs/heads/main", "repository": "https://github.com/evil/app"}}
		},
		"ref": func(p *sigstack.Provenance) {
			p.Parameters = map[string]any{"workflow": map[string]any{"ref": "refs/tags/v1", "repository": "https://github.com/acme/app"}}
		},
		"commit": func(p *sigstack.Provenance) { p.SourceCommit = "ffffffffffffffffffffffffffffffffffffffff" },
		"run":    func(p *sigstack.Provenance) { p.InvocationID = "https://github.com/acme/app/actions/runs/8/attempts/1" },
	} {
		attacks = append(attacks, attack{
			threat:   "18 the predicate says another " + name + " than the certificate",
			do:       with(func(w *world) { w.attach(w.sign(w.built(edit))) }),
			decision: verdict.Deny, reason: "provenance_contradicts", attestations: 1,
			check: func(w *world, v verdict.Verdict, _ facts.Facts) {
				if v.SLSA.Level != 0 || v.SLSA.Builder != nil || len(v.SLSA.Missing["1"]) == 0 {
					w.Errorf("%+v", v.SLSA)
				}
				b := w.record.last().Frames[w.signet.State.Policies[0].Name].Builds
				if len(b) != 1 {
					w.Errorf("the frame keeps %+v", b)
				}
			},
		})
	}
	play(t, attacks)
}

// provenance is a statement about the image that nobody signed.
func (w *world) provenance() []byte {
	w.Helper()
	return must(sigstack.Statement{
		Subjects: []sigstack.Subject{sigstack.SubjectOf("", w.digest())}, PredicateType: sigstack.PredicateSLSA1, Predicate: sigstack.Provenance{}.V1(),
	}.JSON())(w)
}

// What a policy requires beside signatures speaks for the platform that it is about:
// where the index has none of its own, it is not what the verdict pins, nor what a
// summary of the verdict is about.
func TestRequirementsOfOnePlatform(t *testing.T) {
	t.Parallel()
	scan := map[string]any{"scanner": map[string]any{"uri": "pkg:github/aquasecurity/trivy", "result": map[string]any{"Results": []any{}}}}
	sbom := map[string]any{
		"bomFormat": "CycloneDX", "specVersion": "1.5", "components": []any{map[string]any{"name": "debian", "purl": "pkg:docker/debian@12"}},
	}
	const cyclonedx = "https://cyclonedx.org/bom"
	asked := func(attestation map[string]any) map[string]any {
		return map[string]any{"attestations": []any{attestation}}
	}
	// Who attests what to which digest.
	type fact struct {
		predicateType string
		predicate     any
		where         func(a arches) *ocitest.Artifact
		who           *sigstack.Identity
	}
	index := func(a arches) *ocitest.Artifact { return a.image }
	amd := func(a arches) *ocitest.Artifact { return a.amd }
	arm := func(a arches) *ocitest.Artifact { return a.arm }
	signature := func(where func(arches) *ocitest.Artifact, who *sigstack.Identity) fact {
		return fact{where: where, who: who}
	}
	second, third := sigstack.Workflow{Repository: "acme/security"}.Identity(), sigstack.Workflow{Repository: "acme/tools"}.Identity()
	two := map[string]any{"threshold": 2}
	// The third is one of the first entry too, and of one that is not asked for.
	alike := asked(map[string]any{"predicate_type": "vuln", "count": 2, "signers": []any{"default/1", "default/2"}})
	alike["trusted_signers"] = []any{
		map[string]any{"type": "keyless", "issuer": issuer, "subject_regex": `https://github\.com/acme/(app|tools)/.*`},
		map[string]any{"type": "keyless", "issuer": issuer, "subject": second.URIs[0]},
		map[string]any{"type": "keyless", "issuer": issuer, "subject": third.URIs[0]},
	}
	for _, tt := range []struct {
		name     string
		policy   map[string]any
		facts    []fact
		platform string
		pinned   func(a arches) *ocitest.Artifact // nil: denied
	}{
		{"a scan of the platform", asked(map[string]any{"predicate_type": "vuln"}), []fact{{sigstack.PredicateCosignVuln, scan, amd, nil}}, "linux/amd64", amd},
		{"a scan of the index", asked(map[string]any{"predicate_type": "vuln"}), []fact{{sigstack.PredicateCosignVuln, scan, index, nil}}, "linux/amd64", index},
		{"of both", asked(map[string]any{"predicate_type": "vuln"}), []fact{{sigstack.PredicateCosignVuln, scan, index, nil}, {sigstack.PredicateCosignVuln, scan, amd, nil}}, "linux/amd64", index},
		{"none was asked for", asked(map[string]any{"predicate_type": "vuln"}), []fact{{sigstack.PredicateCosignVuln, scan, amd, nil}}, "", nil},
		{"every: of both platforms", asked(map[string]any{"predicate_type": "vuln", "subjects": "every"}), []fact{{sigstack.PredicateCosignVuln, scan, amd, nil}, {sigstack.PredicateCosignVuln, scan, arm, nil}}, "linux/amd64", index},
		{"a base image", map[string]any{"contents": map[string]any{"base_images": map[string]any{"allowed": []any{"docker.io/library/debian:12"}}}}, []fact{{cyclonedx, sbom, amd, nil}}, "linux/amd64", amd},
		{"two scans, one of the index", asked(map[string]any{"predicate_type": "vuln", "count": 2}), []fact{{sigstack.PredicateCosignVuln, scan, index, nil}, {sigstack.PredicateCosignVuln, scan, amd, second}}, "linux/amd64", amd},
		{"two scans of the index, by one of those that are asked for", alike, []fact{
			{sigstack.PredicateCosignVuln, scan, index, nil}, {sigstack.PredicateCosignVuln, scan, index, third}, {sigstack.PredicateCosignVuln, scan, amd, second},
		}, "linux/amd64", amd},
		{"two signers, one of the index", two, []fact{signature(amd, second)}, "linux/amd64", amd},
		{"two signers of the index", two, []fact{signature(index, second), signature(amd, second)}, "linux/amd64", index},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := multi(t, "")
			a.now = a.stack.At.Add(time.Hour)
			policy := map[string]any{"trusted_signers": []any{
				map[string]any{"type": "keyless", "issuer": issuer, "subject": release},
				map[string]any{"type": "keyless", "issuer": issuer, "subject": second.URIs[0]},
			}}
			maps.Copy(policy, tt.policy)
			a.policy = policyOf(policy)
			a.signs(a.image)
			for _, f := range tt.facts {
				where := f.where(a)
				a.server.Attach(repo, where, a.sign(func(r *sigstack.SignRequest) {
					if r.Image = where.Digest(); f.predicateType != "" {
						r.Image = ""
						r.Statement = &sigstack.Statement{Subjects: []sigstack.Subject{sigstack.SubjectOf("", where.Digest())}, PredicateType: f.predicateType, Predicate: f.predicate}
					}
					if f.who != nil {
						r.Identity = f.who
					}
				}))
			}
			req := a.ask
			req.Platform = tt.platform
			_, v := a.decide(req)
			if tt.pinned == nil {
				if v.Decision != verdict.Deny {
					t.Errorf("%s, want deny", v.Decision)
				}
				return
			}
			if want := tt.pinned(a).Digest(); v.Decision != verdict.Allow || !strings.HasSuffix(v.Pinned, "@"+want) {
				t.Fatalf("%s, pinned %s, want %s: %+v", v.Decision, v.Pinned, want, v.Reasons)
			}
			s, why := attest.Summarize(&v, "https://signet.example.test")
			if s == nil || "sha256:"+s.Digest != tt.pinned(a).Digest() {
				t.Errorf("the summary is about %+v, %v", s, why)
			}
		})
	}
}

// What holds of the platform that was asked for holds of the index only where that
// meets the policy by itself: not by way of an exception, whether everything could be
// looked at or not, and for no longer than it does.
func TestIndexByItself(t *testing.T) {
	t.Parallel()
	index := func(a arches) *ocitest.Artifact { return a.image }
	amd := func(a arches) *ocitest.Artifact { return a.amd }
	type scan struct {
		where func(a arches) *ocitest.Artifact
		after time.Duration // the time of the stack
	}
	for _, tt := range []struct {
		name             string
		excused, partial bool
		scans            []scan
		pinned           func(a arches) *ocitest.Artifact
		ends             time.Duration // after the time of the stack
		silent           string        // why there is no summary
	}{
		{name: "a scan of the platform, and the index is excused", excused: true, scans: []scan{{amd, 0}}, pinned: amd, ends: 24 * time.Hour},
		{name: "and not everything could be looked at", excused: true, partial: true, scans: []scan{{amd, 0}}, pinned: amd, ends: 24 * time.Hour},
		{name: "a scan of the index, which needs no excuse", excused: true, scans: []scan{{index, 0}}, pinned: index, ends: 24 * time.Hour},
		{name: "both are excused", excused: true, pinned: amd, ends: 48 * time.Hour, silent: attest.CodeExcepted},
		{name: "the scan of the index is older", scans: []scan{{index, 0}, {amd, 30 * time.Minute}}, pinned: index, ends: 24 * time.Hour},
		{name: "the scan of the platform is older", scans: []scan{{amd, 0}, {index, 30 * time.Minute}}, pinned: index, ends: 24*time.Hour + 30*time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := multi(t, "")
			a.now = a.stack.At.Add(time.Hour)
			policy := map[string]any{
				"trusted_signers": []any{map[string]any{"type": "keyless", "issuer": issuer, "subject": release}},
				"attestations":    []any{map[string]any{"predicate_type": "vuln", "max_age": "1d"}},
			}
			if tt.excused {
				policy["exceptions"] = []any{map[string]any{
					"images": []any{a.server.Host() + "/**"}, "codes": []any{"attestation_missing"}, "reason": "the scanner is new", "owner": "platform",
					"expires_at": a.stack.At.Add(48 * time.Hour).Format(time.RFC3339),
				}}
			}
			a.policy = policyOf(policy)
			a.signs(a.image)
			for _, s := range tt.scans {
				where := s.where(a)
				a.server.Attach(repo, where, a.sign(func(r *sigstack.SignRequest) {
					r.Image, r.At = "", a.stack.At.Add(s.after)
					r.Statement = &sigstack.Statement{Subjects: []sigstack.Subject{sigstack.SubjectOf("", where.Digest())}, PredicateType: sigstack.PredicateCosignVuln, Predicate: map[string]any{}}
				}))
			}
			if tt.partial {
				a.server.On(registrytest.Manifest(ocitest.Tag(a.image.Digest(), ".sig")), registrytest.RetryAfter(http.StatusServiceUnavailable, 600))
			}
			req := a.ask
			req.Platform = "linux/amd64"
			_, v := a.decide(req)
			if want := tt.pinned(a).Digest(); v.Decision != verdict.Allow || !strings.HasSuffix(v.Pinned, "@"+want) {
				t.Fatalf("%s, pinned %s, want %s: %+v", v.Decision, v.Pinned, want, v.Reasons)
			}
			if want := a.stack.At.Add(tt.ends); v.ValidUntil == nil || !v.ValidUntil.Equal(want) {
				t.Errorf("valid until %v, want %s", v.ValidUntil, want)
			}
			s, why := attest.Summarize(&v, "https://signet.example.test")
			switch {
			case tt.silent != "":
				if s != nil || why.Code != tt.silent {
					t.Errorf("the summary is %+v, %v", s, why)
				}
			case s == nil || "sha256:"+s.Digest != tt.pinned(a).Digest():
				t.Errorf("the summary is about %+v, %v", s, why)
			}
		})
	}
}

// What is proven of one platform is said of that platform: where the index is allowed
// whatever its level, a summary of it does not have the platform's.
func TestLevelOfOnePlatform(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		platform, level string
		pinned          func(a arches) *ocitest.Artifact
	}{
		{"", "SLSA_BUILD_LEVEL_0", func(a arches) *ocitest.Artifact { return a.image }},
		{"linux/arm64", "SLSA_BUILD_LEVEL_0", func(a arches) *ocitest.Artifact { return a.image }},
		{"linux/amd64", "SLSA_BUILD_LEVEL_2", func(a arches) *ocitest.Artifact { return a.amd }},
	} {
		t.Run("asked for "+tt.platform, func(t *testing.T) {
			t.Parallel()
			a := multi(t, "")
			a.now = a.stack.At.Add(time.Hour)
			a.policy = policyOf(map[string]any{
				"trusted_signers": []any{map[string]any{"type": "keyless", "issuer": issuer, "subject": release}},
				"slsa": map[string]any{
					"require_attestation": false, "trusted_builders": []any{vouched("https://github.com/acme/app")}, "trusted_sources": []string{"https://github.com/acme/app"},
				},
			})
			a.signs(a.image)
			a.server.Attach(repo, a.amd, a.sign(a.built(nil), func(r *sigstack.SignRequest) {
				r.Statement.Subjects = []sigstack.Subject{sigstack.SubjectOf("", a.amd.Digest())}
			}))
			req := a.ask
			req.Platform = tt.platform
			_, v := a.decide(req)
			if want := tt.pinned(a).Digest(); v.Decision != verdict.Allow || !strings.HasSuffix(v.Pinned, "@"+want) {
				t.Fatalf("%s, pinned %s, want %s: %+v", v.Decision, v.Pinned, want, v.Reasons)
			}
			s, why := attest.Summarize(&v, "https://signet.example.test")
			if s == nil || "sha256:"+s.Digest != tt.pinned(a).Digest() || !slices.Equal(s.VerifiedLevels, []string{tt.level}) {
				t.Errorf("the summary is %+v, %v; want %s", s, why, tt.level)
			}
		})
	}
}

// Provenance of one platform speaks for that platform: the index is not known to be
// built so, and is not what the verdict pins. What was decided on is kept, and gives
// the same bytes again.
func TestProvenanceOfOnePlatform(t *testing.T) {
	t.Parallel()
	w := newWorld(t, registrytest.Options{})
	w.wantsBuilds()
	amd64 := w.image
	arm64 := ocitest.Image(ocitest.ImageOptions{Content: "arm64", Platform: ocitest.Platform{OS: "linux", Architecture: "arm64"}})
	w.server.Attach(repo, amd64, w.sign(w.built(nil)))
	w.image = ocitest.Index(amd64, arm64)
	w.server.Push(repo, tag, w.image)

	for _, tt := range []struct {
		platform, reason, pinned string
		decision                 verdict.Decision
	}{
		{"", "provenance_missing", w.image.Digest(), verdict.Deny},
		{"linux/arm64", "provenance_missing", w.image.Digest(), verdict.Deny},
		{"linux/amd64", "", amd64.Digest(), verdict.Allow},
	} {
		t.Run("asked for "+tt.platform, func(t *testing.T) {
			w.T = t
			req := w.ask
			req.Platform = tt.platform
			a, v := w.decide(req)
			if v.Decision != tt.decision || !strings.HasSuffix(v.Pinned, "@"+tt.pinned) {
				t.Errorf("%s, pinned %s: %+v", v.Decision, v.Pinned, v.Reasons)
			}
			if tt.reason != "" && v.Reasons[0].Code != tt.reason {
				t.Errorf("%+v", v.Reasons)
			}
			rec := w.record.last()
			again, err := w.signet.Engine.Reproduce(t.Context(), w.signet.State, engine.Kept{Basis: rec.Basis, Facts: rec.Facts}, v.ID, v.EvaluatedAt)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(a.Body), string(again)); diff != "" {
				t.Errorf("decided again (-first +again):\n%s", diff)
			}
		})
	}
}
