package attacks

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/signingpolicy"
	"github.com/signet-policy/signet/internal/testkit/ocitest"
	"github.com/signet-policy/signet/internal/testkit/registrytest"
	"github.com/signet-policy/signet/internal/testkit/sigstack"
	"github.com/signet-policy/signet/internal/trust"
	"github.com/signet-policy/signet/internal/verdict"
	"github.com/signet-policy/signet/test/wire"
)

// grouped is a policy whose groups release and security must both sign.
func (w *world) grouped(security int, signers ...map[string]any) string {
	named := []any{}
	for _, s := range signers {
		named = append(named, s)
	}
	return policyOf(map[string]any{"trusted_signers": named, "verify_transparency_log": false, "groups": []any{
		map[string]any{"name": "release", "signers": []any{"ci", "lead"}},
		map[string]any{"name": "security", "signers": []any{"lead", "audit"}, "threshold": security},
	}})
}

// ci, lead and audit are signers of a policy: a workflow and two keys.
func (w *world) three() []map[string]any {
	key := func(name string) map[string]any {
		s := w.keySigner(name)
		s["name"] = name
		return s
	}
	return []map[string]any{{"name": "ci", "type": "keyless", "issuer": issuer, "subject": release}, key("lead"), key("audit")}
}

// Threat 21 over groups: who counts for one counts for no other.
func TestGroups(t *testing.T) {
	t.Parallel()
	groups := func(w *world) { w.policy = w.grouped(1, w.three()...) }
	short := func(message string) func(w *world, v verdict.Verdict, _ facts.Facts) {
		return func(w *world, v verdict.Verdict, _ facts.Facts) {
			var all []string
			for _, r := range v.Reasons {
				all = append(all, r.Message+" "+r.Remediation)
			}
			if !strings.Contains(strings.Join(all, "\n"), message) {
				w.Errorf("no reason says %q: %s", message, all)
			}
		}
	}
	play(t, []attack{
		{
			threat: "21 one key of both groups",
			do: func(w *world) {
				groups(w)
				w.attach(w.byKey("lead"))
			},
			// The workflow's signature takes its place in release.
			decision: verdict.Deny, reason: "group_not_met", signatures: 1,
			check: short("0 of the 1 distinct signers of the group security that this policy requires: key "),
		},
		{
			threat: "21 one key of both groups signs twice",
			do: func(w *world) {
				groups(w)
				w.attach(w.byKey("lead"))
				w.attach(w.byKey("lead", func(r *sigstack.SignRequest) { r.Annotations = map[string]string{"n": "2"} }))
			},
			decision: verdict.Deny, reason: "group_not_met", signatures: 2,
		},
		{
			threat: "21 the same key in two entries, one for each group",
			do: func(w *world) {
				list := w.three()
				list[2]["key"] = list[1]["key"]
				w.policy = w.grouped(1, list...)
				w.attach(w.byKey("lead"))
			},
			decision: verdict.Deny, reason: "group_not_met", signatures: 1,
		},
		{
			threat: "21 signers of one group only",
			do: func(w *world) {
				groups(w)
				w.attach(w.sign())
			},
			decision: verdict.Deny, reason: "group_not_met", signatures: 1, beside: verdict.Deny,
			check: short("Have it signed by default/audit or default/lead: cosign sign "),
		},
		{
			threat: "21 two workflows by one entry's pattern",
			do: func(w *world) {
				list := w.three()
				list[0] = map[string]any{"name": "ci", "type": "keyless", "issuer": issuer, "subject_regex": `https://github\.com/acme/.*`}
				w.policy = w.grouped(1, list...)
				w.attach(w.sign(as(sigstack.Workflow{Repository: "acme/one"}.Identity())))
				w.attach(w.sign(as(sigstack.Workflow{Repository: "acme/two"}.Identity())))
			},
			decision: verdict.Deny, reason: "group_not_met", signatures: 2, beside: verdict.Deny,
		},
		{
			threat: "21 a threshold of two in one group, whose second signer is the other's only one",
			do: func(w *world) {
				w.policy = w.grouped(2, w.three()...)
				w.attach(w.byKey("lead"))
				w.attach(w.byKey("audit"))
			},
			decision: verdict.Deny, reason: "group_not_met", signatures: 2,
		},
		{
			threat: "21 a stranger beside one group",
			do: func(w *world) {
				groups(w)
				w.attach(w.byKey("audit"))
				w.attach(w.sign(as(sigstack.Workflow{Repository: "evil/app"}.Identity())))
			},
			decision: verdict.Deny, reason: "group_not_met", signatures: 2,
		},
	})
}

// arches are the platforms of the image that these attacks are about.
type arches struct {
	*world
	amd, arm *ocitest.Artifact
}

// multi is an index of two platforms under a policy that says what it asks of it.
func multi(t *testing.T, platforms string, more ...*ocitest.Artifact) arches {
	t.Helper()
	w := newWorld(t, registrytest.Options{})
	a := arches{world: w}
	a.amd = ocitest.Image(ocitest.ImageOptions{Content: "amd " + t.Name()})
	a.arm = ocitest.Image(ocitest.ImageOptions{Content: "arm " + t.Name(), Platform: ocitest.Platform{OS: "linux", Architecture: "arm64"}})
	w.image = ocitest.Index(append([]*ocitest.Artifact{a.amd, a.arm}, more...)...)
	w.server.Push(repo, tag, w.image)
	w.policy = a.policyOf(platforms)
	return a
}

func (a arches) policyOf(platforms string) string {
	more := map[string]any{"trusted_signers": []any{map[string]any{"type": "keyless", "issuer": issuer, "subject": release}}}
	if platforms != "" {
		more["platforms"] = platforms
	}
	return policyOf(more)
}

// signs attaches a good signature of an artifact to it.
func (a arches) signs(what ...*ocitest.Artifact) {
	a.Helper()
	for _, w := range what {
		a.server.Attach(repo, w, a.sign(func(r *sigstack.SignRequest) { r.Image = w.Digest() }))
	}
}

func (a arches) wants(platform string, want verdict.Decision, codes ...string) verdict.Verdict {
	a.Helper()
	req := a.ask
	req.Platform = platform
	_, v := a.decide(req)
	var have []string
	for _, r := range v.Reasons {
		have = append(have, r.Code)
	}
	if v.Decision != want || !slices.Equal(have, codes) {
		a.Errorf("platform %q: %s %v, want %s %v; %+v", platform, v.Decision, have, want, codes, v.Reasons)
	}
	return v
}

// again is Signet after a change to another policy, with the same caches.
func (a arches) again(policy string) *wire.Signet {
	a.Helper()
	p := must(signingpolicy.Parse([]byte(policy)))(a)
	s := wire.New(a, wire.Config{
		Roots: []*trust.Root{must(trust.Parse("first", a.stack.TrustedRootJSON(), a.requires))(a)}, Policy: p,
		Registry: a.registry, Limits: a.limits, Cache: a.cache, Memo: memo{a.cache}, Recorder: a.record, Now: func() time.Time { return a.now },
	})
	s.State.Active = verdict.Active{Revision: 2, Digest: "sha256:after"}
	return s
}

// What of an index and its platforms is signed, and what each policy makes of it.
func TestPlatforms(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name      string
		platforms string
		signs     func(a arches) []*ocitest.Artifact
		platform  string
		decision  verdict.Decision
		codes     []string
		pinned    func(a arches) *ocitest.Artifact
	}{
		{"every: all is signed", "every", func(a arches) []*ocitest.Artifact { return []*ocitest.Artifact{a.image, a.amd, a.arm} }, "", verdict.Allow, nil, func(a arches) *ocitest.Artifact { return a.image }},
		{"every: one platform was asked for, and all is signed", "every", func(a arches) []*ocitest.Artifact { return []*ocitest.Artifact{a.image, a.amd, a.arm} }, "linux/amd64", verdict.Allow, nil, nil},
		{"every: one platform is not signed", "every", func(a arches) []*ocitest.Artifact { return []*ocitest.Artifact{a.image, a.amd} }, "", verdict.Deny, []string{"platform_not_signed"}, nil},
		{"every: the other platform was asked for", "every", func(a arches) []*ocitest.Artifact { return []*ocitest.Artifact{a.image, a.amd} }, "linux/amd64", verdict.Deny, []string{"platform_not_signed"}, nil},
		{"every: the index is not signed", "every", func(a arches) []*ocitest.Artifact { return []*ocitest.Artifact{a.amd, a.arm} }, "", verdict.Deny, []string{"index_not_signed", "threshold_not_met"}, nil},
		{"every: nothing is signed", "every", func(arches) []*ocitest.Artifact { return nil }, "", verdict.Deny, []string{"unsigned"}, nil},
		{"requested: the platform", "requested", func(a arches) []*ocitest.Artifact { return []*ocitest.Artifact{a.image, a.arm} }, "linux/arm64", verdict.Allow, nil, func(a arches) *ocitest.Artifact { return a.arm }},
		{"requested: only the index is signed", "requested", func(a arches) []*ocitest.Artifact { return []*ocitest.Artifact{a.image} }, "linux/arm64", verdict.Deny, []string{"platform_not_signed"}, nil},
		{"requested: another platform is signed", "requested", func(a arches) []*ocitest.Artifact { return []*ocitest.Artifact{a.amd} }, "linux/arm64", verdict.Deny, []string{"unsigned"}, nil},
		{"requested: none was asked for", "requested", func(a arches) []*ocitest.Artifact { return []*ocitest.Artifact{a.image, a.amd, a.arm} }, "", verdict.Deny, []string{"platform_not_requested"}, nil},
		{"index: the index", "index", func(a arches) []*ocitest.Artifact { return []*ocitest.Artifact{a.image} }, "linux/arm64", verdict.Allow, nil, func(a arches) *ocitest.Artifact { return a.image }},
		{"index: only the platform that was asked for is signed", "index", func(a arches) []*ocitest.Artifact { return []*ocitest.Artifact{a.arm} }, "linux/arm64", verdict.Deny, []string{"index_not_signed", "threshold_not_met"}, nil},
		{"unsaid: only the platform that was asked for is signed", "", func(a arches) []*ocitest.Artifact { return []*ocitest.Artifact{a.arm} }, "linux/arm64", verdict.Allow, nil, func(a arches) *ocitest.Artifact { return a.arm }},
		{"unsaid: the index is signed", "", func(a arches) []*ocitest.Artifact { return []*ocitest.Artifact{a.image} }, "linux/arm64", verdict.Allow, nil, func(a arches) *ocitest.Artifact { return a.image }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := multi(t, tt.platforms)
			a.signs(tt.signs(a)...)
			v := a.wants(tt.platform, tt.decision, tt.codes...)
			if tt.pinned != nil && !strings.HasSuffix(v.Pinned, "@"+tt.pinned(a).Digest()) {
				t.Errorf("pinned %s, want %s", v.Pinned, tt.pinned(a).Digest())
			}
			a.replays(v)
		})
	}
}

// replays: the verdict's own basis and facts give the same verdict again.
func (a arches) replays(v verdict.Verdict) {
	a.Helper()
	rec := a.record.last()
	body, err := a.signet.Engine.Reproduce(a.Context(), a.signet.State, engine.Kept{Basis: rec.Basis, Facts: rec.Facts}, v.ID, v.EvaluatedAt)
	if err != nil || string(body) != string(rec.Body) {
		a.Errorf("reproduced (-recorded +again):\n%s%v", cmp.Diff(string(rec.Body), string(body)), err)
	}
}

// The coverage and the reason name the platform that fails, and what to sign.
func TestPlatformsAreNamed(t *testing.T) {
	t.Parallel()
	a := multi(t, "every", ocitest.BuildKitAttestation(ocitest.Image(ocitest.ImageOptions{Content: "attested"}), []byte("{}")))
	a.signs(a.image, a.amd)
	v := a.wants("", verdict.Deny, "platform_not_signed")
	met := func(is bool) []verdict.Requirement {
		return []verdict.Requirement{{Policy: "default", Requirement: "signature", Met: is}}
	}
	want := []verdict.Coverage{
		{Digest: a.image.Digest(), Signed: true, Requirements: met(true)},
		{Digest: a.amd.Digest(), Platform: "linux/amd64", Signed: true, Requirements: met(true)},
		{Digest: a.arm.Digest(), Platform: "linux/arm64", Requirements: met(false)},
	}
	if diff := cmp.Diff(want, v.Coverage); diff != "" {
		t.Errorf("coverage (-want +got):\n%s", diff)
	}
	name := a.server.Host() + "/" + repo + "@" + a.arm.Digest()
	if r := v.Reasons[0]; !strings.HasPrefix(r.Message, "Platform linux/arm64 of image ") || !strings.HasSuffix(r.Remediation, "cosign sign "+name) {
		t.Errorf("reason: %s %s", r.Message, r.Remediation)
	}
}

// Evidence stays where it belongs, whatever it is attached to.
func TestPlatformsSwapped(t *testing.T) {
	t.Parallel()
	t.Run("the signature of one platform under another", func(t *testing.T) {
		t.Parallel()
		a := multi(t, "every")
		a.signs(a.image, a.amd)
		a.server.Attach(repo, a.arm, a.sign(func(r *sigstack.SignRequest) { r.Image = a.amd.Digest() }))
		a.wants("", verdict.Deny, "platform_not_signed")
		if got := rejectionCodes(a.record.last().Facts); !slices.Equal(got, []string{facts.CodeSubjectMismatch}) {
			t.Errorf("rejections %v", got)
		}
	})
	t.Run("the signature of the index under a platform", func(t *testing.T) {
		t.Parallel()
		a := multi(t, "every")
		a.signs(a.image, a.amd)
		a.server.Attach(repo, a.arm, a.sign(func(r *sigstack.SignRequest) { r.Image = a.image.Digest() }))
		a.wants("", verdict.Deny, "platform_not_signed")
	})
	t.Run("an index of platforms that are signed in another index", func(t *testing.T) {
		t.Parallel()
		a := multi(t, "every")
		a.signs(a.image, a.amd, a.arm)
		w := a.image
		a.image = ocitest.Index(a.arm, a.amd) // the same platforms, put together by somebody else
		a.server.Push(repo, tag, a.image)
		a.server.Attach(repo, a.image, a.sign(func(r *sigstack.SignRequest) { r.Image = w.Digest() }))
		a.wants("", verdict.Deny, "index_not_signed", "threshold_not_met")
	})
	t.Run("an image that calls itself an attestation, and has no platform", func(t *testing.T) {
		t.Parallel()
		image := ocitest.BuildKitAttestation(ocitest.Image(ocitest.ImageOptions{Content: "attested"}), []byte("{}"))
		image.Platform = nil // so that containerd may choose it
		a := multi(t, "every", image)
		a.signs(a.image, a.amd, a.arm)
		a.wants("", verdict.Deny, "platform_not_signed")
	})
	t.Run("one digest for two platforms", func(t *testing.T) {
		t.Parallel()
		a := multi(t, "every")
		again := ocitest.Image(ocitest.ImageOptions{Content: "amd " + t.Name()})
		again.Platform = &ocitest.Platform{OS: "linux", Architecture: "riscv64"}
		a.image = ocitest.Index(a.amd, again)
		a.server.Push(repo, tag, a.image)
		a.signs(a.image)
		v := a.wants("", verdict.Deny, "platform_not_signed")
		if !strings.HasPrefix(v.Reasons[0].Message, "Platform linux/amd64 and linux/riscv64 of image ") {
			t.Errorf("the reason names both: %s", v.Reasons[0].Message)
		}
		a.signs(a.amd)
		a.ask.Refresh = true
		if v := a.wants("", verdict.Allow); len(v.Coverage) != 3 || !v.Coverage[1].Signed || !v.Coverage[2].Signed {
			t.Errorf("coverage %+v", v.Coverage)
		}
	})
}

// A policy that begins to ask for every platform is not answered from a search that
// did not look there, nor from what was recorded then.
func TestPlatformsBeginToCount(t *testing.T) {
	t.Parallel()
	a := multi(t, "")
	a.signs(a.image, a.amd, a.arm)
	a.wants("", verdict.Allow)
	before := a.record.last()
	plain, every := a.signet, a.again(a.policyOf("every"))

	a.signet = every
	v := a.wants("", verdict.Allow)
	if len(v.Coverage) != 3 || !v.Coverage[1].Signed || !v.Coverage[2].Signed {
		t.Errorf("coverage %+v", v.Coverage)
	}
	r, err := every.Engine.Replay(t.Context(), every.State, engine.Kept{Basis: before.Basis, Facts: before.Facts}, a.now)
	if err != nil || r.Verdict.Decision != verdict.Unknown || r.Verdict.Reasons[0].Code != engine.ReasonPlatformsNotSearched {
		t.Errorf("replayed: %+v, %v", r.Verdict, err)
	}
	// And the other way round: what was found on platforms is none of this policy's
	// evidence.
	after := a.record.last()
	r, err = plain.Engine.Replay(t.Context(), plain.State, engine.Kept{Basis: after.Basis, Facts: after.Facts}, a.now)
	if err != nil {
		t.Fatal(err)
	}
	in := facts.NewInput(after.Facts, r.Frames["default"])
	if len(in.Signatures) != 1 || in.Signatures[0].SubjectDigest != a.image.Digest() {
		body, _ := json.Marshal(in.Signatures)
		t.Errorf("signatures in the input: %s", body)
	}
}
