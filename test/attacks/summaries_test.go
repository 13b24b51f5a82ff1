package attacks

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/signet-policy/signet/internal/testkit/ocitest"
	"github.com/signet-policy/signet/internal/testkit/registrytest"
	"github.com/signet-policy/signet/internal/testkit/sigstack"
	"github.com/signet-policy/signet/internal/verdict"
)

const (
	verifierID  = "https://verifier.example.test"
	underPolicy = "https://verifier.example.test/policies/prod"
	predicateV1 = "https://slsa.dev/verification_summary/v1"
)

// summarised asks for a summary by the release workflow, which verifies here, and for
// nothing else.
func (w *world) summarised() {
	w.policy = policyOf(map[string]any{
		"require_signature": false,
		"trusted_signers":   []any{map[string]any{"type": "keyless", "issuer": issuer, "subject": release}},
		"verification_summaries": []any{map[string]any{
			"verifiers": []any{"default/1"}, "verifier_id": verifierID, "policy_uri": underPolicy, "policy_digest": "sha256:" + digestOfPolicy, "max_age": "1d", "minimum_level": 2,
		}},
	})
}

const digestOfPolicy = "1111111111111111111111111111111111111111111111111111111111111111"

// summary is one in order, after changes to its fields.
func (w *world) summary(changes map[string]any) map[string]any {
	s := map[string]any{
		"verifier": map[string]any{"id": verifierID}, "timeVerified": w.stack.At.UTC().Format(time.RFC3339),
		"resourceUri": w.server.Host() + "/" + repo, "policy": map[string]any{"uri": underPolicy, "digest": map[string]any{"sha256": digestOfPolicy}},
		"verificationResult": "PASSED", "verifiedLevels": []any{"SLSA_BUILD_LEVEL_3"},
	}
	for field, value := range changes {
		s[field] = value
	}
	return s
}

// Verification summaries that are old, about something else, made under another
// policy, by somebody else, or that call a failure a pass: threat 29. Each is tried
// alone, and in front of one that counts, which it neither spoils nor helps.
func TestThreat29Summaries(t *testing.T) {
	t.Parallel()
	changed := func(field string, value any) func(*world) {
		return func(w *world) { w.attach(w.sign(w.stating(predicateV1, w.summary(map[string]any{field: value})))) }
	}
	for _, tt := range []struct {
		threat string
		do     func(*world)
		code   string // "": allowed
	}{
		{"one that counts", changed("slsaVersion", "1.1"), ""},
		{"past its age, by the time that it gives", changed("timeVerified", "2020-01-01T00:00:00Z"), "summary_too_old"},
		{"past its age, by when it was signed", func(w *world) {
			w.now = w.stack.At.Add(25 * time.Hour)
			// It says that it was made later than it was signed.
			w.attach(w.sign(w.stating(predicateV1, w.summary(map[string]any{"timeVerified": w.now.Add(-time.Hour).UTC().Format(time.RFC3339)}))))
		}, "summary_too_old"},
		{"made in the future", func(w *world) {
			w.attach(w.sign(w.stating(predicateV1, w.summary(map[string]any{"timeVerified": w.now.Add(time.Hour).UTC().Format(time.RFC3339)}))))
		}, "summary_too_old"},
		{"without a time", changed("timeVerified", nil), "summary_too_old"},
		{"for another resource", changed("resourceUri", "ghcr.io/acme/app"), "summary_other_image"},
		{"for a resource that begins alike", func(w *world) {
			w.attach(w.sign(w.stating(predicateV1, w.summary(map[string]any{"resourceUri": w.server.Host() + "/" + repo + "-evil"}))))
		}, "summary_other_image"},
		{"for a tag, which moves", func(w *world) {
			w.attach(w.sign(w.stating(predicateV1, w.summary(map[string]any{"resourceUri": w.server.Host() + "/" + repo + ":" + tag}))))
		}, "summary_other_image"},
		{"for another image by its statement", func(w *world) {
			w.attach(w.sign(func(r *sigstack.SignRequest) {
				w.stating(predicateV1, w.summary(nil))(r)
				r.Image = ""
				r.Statement.Subjects = []sigstack.Subject{sigstack.SubjectOf("", w.other().Digest())}
			}))
		}, "summary_missing"},
		{"under another policy", changed("policy", map[string]any{"uri": underPolicy + "/old", "digest": map[string]any{"sha256": digestOfPolicy}}), "summary_other_policy"},
		{"under an older state of the policy", changed("policy", map[string]any{"uri": underPolicy, "digest": map[string]any{"sha256": "22" + digestOfPolicy[2:]}}), "summary_other_policy"},
		{"under a policy without a digest", changed("policy", map[string]any{"uri": underPolicy}), "summary_other_policy"},
		{"a failure", changed("verificationResult", "FAILED"), "summary_not_passed"},
		{"a result that is neither", changed("verificationResult", "Passed"), "summary_missing"},
		{"a pass with a failure among its levels", changed("verifiedLevels", []any{"SLSA_BUILD_LEVEL_3", "FAILED"}), "summary_not_passed"},
		{"a lower level", changed("verifiedLevels", []any{"SLSA_BUILD_LEVEL_1"}), "summary_level_too_low"},
		{"a level in another field", func(w *world) {
			w.attach(w.sign(w.stating(predicateV1, w.summary(map[string]any{"verifiedLevels": []any{}, "dependencyLevels": map[string]any{"SLSA_BUILD_LEVEL_3": 1}}))))
		}, "summary_level_too_low"},
		{"of another verifier", changed("verifier", map[string]any{"id": verifierID + ".evil"}), "summary_not_trusted"},
		{"by a stranger who says to be the verifier", func(w *world) {
			w.attach(w.sign(w.stating(predicateV1, w.summary(nil)), func(r *sigstack.SignRequest) { r.Identity = sigstack.Workflow{Repository: "acme-evil/app"}.Identity() }))
		}, "summary_missing"},
		{"by its annotation, and an SBOM was signed", func(w *world) {
			ev := w.sign(w.stating(sigstack.PredicateSPDX, w.summary(nil)))
			ev.PredicateType = predicateV1
			w.attach(ev)
		}, "summary_missing"},
	} {
		for _, beside := range []string{"", ", beside one that counts"} {
			t.Run(tt.threat+beside, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, registrytest.Options{})
				w.now = w.stack.At.Add(time.Hour)
				// Nothing here is slow but the machine perhaps.
				w.limits.RequestTimeout, w.limits.SearchTimeout, w.limits.PolicyTime = time.Minute, 2*time.Minute, time.Minute
				w.summarised()
				tt.do(w)
				want, codes := verdict.Deny, []string{tt.code}
				if beside != "" {
					// What counts is made at the time that the attack left.
					w.now = w.stack.At.Add(time.Hour)
					w.attach(w.sign(w.stating(predicateV1, w.summary(map[string]any{"slsaVersion": "1.0"}))))
				}
				if beside != "" || tt.code == "" {
					want, codes = verdict.Allow, []string{}
				}
				_, v := w.decide(w.ask)
				got := []string{}
				for _, r := range v.Reasons {
					got = append(got, r.Code)
				}
				if v.Decision != want || !slices.Equal(got, codes) {
					t.Errorf("%s for %v, want %s for %v: %+v", v.Decision, got, want, codes, v.Reasons)
				}
				if *w.signet.Panics > 0 {
					t.Errorf("%d panics", *w.signet.Panics)
				}
			})
		}
	}
}

// What a policy asks of an index holds for provenance and summaries, whatever other
// requirement makes it read the evidence of every platform; and either counts on the
// digest that is judged.
func TestSummariesAndProvenanceOfPlatforms(t *testing.T) {
	t.Parallel()
	const requested, every = "requested", "every"
	index := func(a arches) *ocitest.Artifact { return a.image }
	amd := func(a arches) *ocitest.Artifact { return a.amd }
	arm := func(a arches) *ocitest.Artifact { return a.arm }
	type of = []func(arches) *ocitest.Artifact
	for _, tt := range []struct {
		name, platforms string
		provenance      bool
		about           of // what has one of its own
		resource        func(arches) *ocitest.Artifact
		code            string // "": allowed
		pinned          func(arches) *ocitest.Artifact
	}{
		{"requested: a summary of the index", requested, false, of{index}, nil, "summary_missing", nil},
		{"requested: provenance of the index", requested, true, of{index}, nil, "provenance_missing", nil},
		{"requested: a summary of the platform", requested, false, of{amd}, nil, "", amd},
		{"requested: provenance of the platform", requested, true, of{amd}, nil, "", amd},
		{"requested: a summary of another platform", requested, false, of{arm}, nil, "summary_missing", nil},
		{"requested: a summary of the platform that names the index", requested, false, of{amd}, index, "summary_other_image", nil},
		{"requested: provenance of both", requested, true, of{nil}, nil, "", amd},
		{"requested: a summary of both that names the platform", requested, false, of{nil}, amd, "", amd},
		{"every: a summary of the index", every, false, of{index}, nil, "platform_lacks_requirement", nil},
		{"every: a summary of each platform", every, false, of{amd, arm}, nil, "", index},
		{"every: a summary of one platform", every, false, of{amd}, nil, "platform_lacks_requirement", nil},
		{"every: provenance of each platform", every, true, of{amd, arm}, nil, "", index},
		{"unsaid: provenance of both", "", true, of{nil}, nil, "", index},
		{"unsaid: a summary of the platform", "", false, of{amd}, nil, "", amd},
		{"unsaid: a summary of the index", "", false, of{index}, nil, "", index},
		{"unsaid: a summary of both that names the platform", "", false, of{nil}, amd, "", amd},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := multi(t, "")
			a.now = a.stack.At.Add(time.Hour)
			policy := map[string]any{
				"require_signature": false,
				"trusted_signers":   []any{map[string]any{"type": "keyless", "issuer": issuer, "subject": release}},
				// Which makes the evidence of every platform read.
				"attestations": []any{map[string]any{"predicate_type": "vuln", "subjects": "every"}},
			}
			if tt.platforms != "" {
				policy["platforms"] = tt.platforms
			}
			if tt.provenance {
				policy["slsa"] = map[string]any{
					"require_attestation": true, "minimum_level": 2, "trusted_builders": []any{vouched("https://github.com/acme/app")}, "trusted_sources": []string{"https://github.com/acme/app"},
				}
			} else {
				policy["verification_summaries"] = []any{map[string]any{"verifiers": []any{"default/1"}, "verifier_id": verifierID, "max_age": "1d"}}
			}
			a.policy = policyOf(policy)
			stated := func(predicateType string, predicate any, about ...*ocitest.Artifact) *sigstack.Evidence {
				return a.sign(func(r *sigstack.SignRequest) {
					r.Image, r.Statement = "", &sigstack.Statement{PredicateType: predicateType, Predicate: predicate}
					for _, one := range about {
						r.Statement.Subjects = append(r.Statement.Subjects, sigstack.SubjectOf("", one.Digest()))
					}
				})
			}
			for _, platform := range []*ocitest.Artifact{a.amd, a.arm} {
				a.server.Attach(repo, platform, stated(sigstack.PredicateCosignVuln, map[string]any{}, platform))
			}
			for _, about := range tt.about {
				subjects := []*ocitest.Artifact{a.image, a.amd}
				if about != nil {
					subjects = []*ocitest.Artifact{about(a)}
				}
				resource := subjects[0].Digest()
				if tt.resource != nil {
					resource = tt.resource(a).Digest()
				}
				ev := stated(predicateV1, a.summary(map[string]any{"resourceUri": a.server.Host() + "/" + repo + "@" + resource}), subjects...)
				if tt.provenance {
					ev = a.sign(a.built(nil), func(r *sigstack.SignRequest) {
						r.Statement.Subjects = nil
						for _, s := range subjects {
							r.Statement.Subjects = append(r.Statement.Subjects, sigstack.SubjectOf("", s.Digest()))
						}
					})
				}
				for _, s := range subjects {
					a.server.Attach(repo, s, ev)
				}
			}
			req := a.ask
			req.Platform = "linux/amd64"
			_, v := a.decide(req)
			if tt.code != "" {
				if v.Decision != verdict.Deny || v.Reasons[0].Code != tt.code {
					t.Errorf("%s, want deny for %s: %+v", v.Decision, tt.code, v.Reasons)
				}
				return
			}
			if want := tt.pinned(a).Digest(); v.Decision != verdict.Allow || !strings.HasSuffix(v.Pinned, "@"+want) {
				t.Errorf("%s, pinned %s, want %s: %+v", v.Decision, v.Pinned, want, v.Reasons)
			}
		})
	}
}
