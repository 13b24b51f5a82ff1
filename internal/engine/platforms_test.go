package engine

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/signers"
	"github.com/signet-policy/signet/internal/verdict"
)

// What signatures are matched for each requirement, of the image and of each
// platform.
func TestMatchesOfPlatforms(t *testing.T) {
	w := newWorld(t)
	p := &w.state.Policies[0]
	p.Platforms, p.Groups = facts.PlatformsEvery, []signers.Group{{Name: "release", Signers: []string{"default/1"}, Threshold: 1}}
	w.proven.Signatures = []facts.Signature{signed(indexDigest, "sha256:01", "dev@example.test")}
	w.ask(Request{})
	who := []string{"https://issuer.test dev@example.test"}
	match := func(requirement, digest string, signers, principals []string) facts.Match {
		return facts.Match{Requirement: requirement, SubjectDigest: digest, Signers: signers, Principals: principals, Count: len(signers)}
	}
	want := []facts.Match{
		match("signature", "", []string{"default/1"}, who), match("group:release", "", []string{"default/1"}, who),
		match("signature", armDigest, []string{}, []string{}), match("group:release", armDigest, []string{}, []string{}),
	}
	if diff := cmp.Diff(want, w.policy.last.Matches); diff != "" {
		t.Errorf("matches (-want +got):\n%s", diff)
	}
}

// The platform that was asked for is in the input where there is one of the name.
func TestPlatformInTheInput(t *testing.T) {
	w := newWorld(t)
	w.ask(Request{})
	if r := w.policy.last.Request; r.Platform != "" || r.PlatformDigest != "" {
		t.Errorf("none was asked for: %+v", r)
	}
	w.ask(Request{Platform: "linux/arm64"})
	if r := w.policy.named.Request; r.Platform != "linux/arm64" || r.PlatformDigest != armDigest {
		t.Errorf("one was asked for: %+v", r)
	}
}

// Where nobody read the manifest, a policy that speaks of platforms does not know.
func TestPlatformsNotRead(t *testing.T) {
	for platforms, want := range map[string]verdict.Decision{
		"": verdict.Allow, facts.PlatformsIndex: verdict.Allow, facts.PlatformsRequested: verdict.Unknown, facts.PlatformsEvery: verdict.Unknown,
	} {
		w := newWorld(t)
		w.source.subject.Platforms, w.proven.Subject.Platforms = nil, nil
		w.state.Policies[0].Platforms = platforms
		v, _ := w.ask(Request{EvidenceOnly: true})
		if v.Decision != want || want == verdict.Unknown && codes(v.Reasons)[0] != ReasonPlatformsNotSearched {
			t.Errorf("platforms %q: %s %v, want %s", platforms, v.Decision, codes(v.Reasons), want)
		}
		// Nor does one of whose requirements every platform must meet by itself.
		w.state.Policies[0].AllPlatforms = true
		if v, _ := w.ask(Request{EvidenceOnly: true, Refresh: true}); v.Decision != verdict.Unknown || codes(v.Reasons)[0] != ReasonPlatformsNotSearched {
			t.Errorf("platforms %q, a requirement of every platform: %s %v, want unknown", platforms, v.Decision, codes(v.Reasons))
		}
	}
}

// A shadow that asks for every platform does not know from a search that did not
// look there.
func TestShadowOfEveryPlatform(t *testing.T) {
	w := newWorld(t)
	b := Basis{Image: image, Subject: w.source.subject, Search: facts.Search{Complete: true}}
	f, err := facts.New(w.proven)
	if err != nil {
		t.Fatal(err)
	}
	p := w.state.Policies[0]
	p.Platforms = facts.PlatformsEvery
	if j := judgeOne(t.Context(), w.state, p, &b, f, start); j.verdict.Decision != verdict.Unknown || codes(j.verdict.Reasons)[0] != ReasonPlatformsNotSearched {
		t.Errorf("%s %v", j.verdict.Decision, codes(j.verdict.Reasons))
	}
	b.AllPlatforms = true
	if j := judgeOne(t.Context(), w.state, p, &b, f, start); len(j.verdict.Reasons) > 0 && j.verdict.Reasons[0].Code == ReasonPlatformsNotSearched {
		t.Errorf("looked for: %v", codes(j.verdict.Reasons))
	}
}
