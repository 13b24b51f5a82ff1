package engine

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/verdict"
)

// attest is an attestation about a digest.
func attest(subject, id, who string) facts.Attestation {
	return facts.Attestation{Signature: signed(subject, id, who), PredicateType: "https://spdx.dev/Document"}
}

// The digests whose attestations count go with what was asked for: the index, the
// platform beside it where one was asked for, or each platform by itself.
func TestAttestationMatches(t *testing.T) {
	const dev = "https://issuer.test dev@example.test"
	about := func(digest, who string) []facts.Attestation {
		return []facts.Attestation{attest(digest, "sha256:02", who)}
	}
	for _, tt := range []struct {
		name     string
		every    bool
		platform string
		list     []facts.Attestation
		want     []facts.Match
	}{
		{"of the index", false, "", about(indexDigest, "dev@example.test"), []facts.Match{{Signers: []string{"default/1"}, Principals: []string{dev}, Count: 1, Digests: []string{indexDigest}}}},
		{"of a platform that was not asked for", false, "", about(armDigest, "dev@example.test"), []facts.Match{{Signers: []string{}, Principals: []string{}, Digests: []string{indexDigest}}}},
		{"of the platform that was asked for", false, "linux/arm64", about(armDigest, "dev@example.test"), []facts.Match{{Signers: []string{"default/1"}, Principals: []string{dev}, Count: 1, Digests: []string{indexDigest, armDigest}}}},
		{"of every platform", true, "", about(armDigest, "dev@example.test"), []facts.Match{{Signers: []string{"default/1"}, Principals: []string{dev}, Count: 1, Digests: []string{armDigest}}}},
		{"of the index in place of every platform", true, "", about(indexDigest, "dev@example.test"), []facts.Match{{Signers: []string{}, Principals: []string{}, Digests: []string{armDigest}}}},
		{"by a stranger", false, "", about(indexDigest, "eve@example.test"), []facts.Match{{Signers: []string{}, Principals: []string{}, Digests: []string{indexDigest}}}},
		{"none", false, "", nil, []facts.Match{{Signers: []string{}, Principals: []string{}, Digests: []string{indexDigest}}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.proven.Attestations = tt.list
			w.state.Policies[0].Attestations = []AttestationRequirement{{
				Name: "attestation/spdx", Every: tt.every,
				Counts: func(_ facts.Attestation, trusted []string, _ []facts.TrustInfo, at time.Time) []string {
					if !at.Equal(start) {
						t.Errorf("counted at %s", at)
					}
					return trusted
				},
			}}
			w.state.Policies[0].RequireSignature = false
			w.ask(Request{Platform: tt.platform})
			for i := range tt.want {
				tt.want[i].Requirement = "attestation/spdx"
			}
			got := w.policy.last
			if tt.platform != "" {
				got = w.policy.named
			}
			if diff := cmp.Diff(tt.want, got.Matches); diff != "" {
				t.Errorf("matches (-want +got):\n%s", diff)
			}
		})
	}
}

// One who signs twice counts once, and what the policy does not count is not matched.
func TestAttestationsAreMatchedOneToOne(t *testing.T) {
	w := newWorld(t)
	w.proven.Attestations = []facts.Attestation{attest(indexDigest, "sha256:02", "dev@example.test"), attest(indexDigest, "sha256:03", "dev@example.test")}
	counts := func(_ facts.Attestation, trusted []string, _ []facts.TrustInfo, _ time.Time) []string { return trusted }
	none := func(facts.Attestation, []string, []facts.TrustInfo, time.Time) []string { return nil }
	w.state.Policies[0].Attestations = []AttestationRequirement{{Name: "twice", Counts: counts}, {Name: "never", Counts: none}}
	w.ask(Request{})
	got := []int{}
	for _, m := range w.policy.last.Matches[1:] { // after that of the signature
		got = append(got, m.Count)
	}
	if !slices.Equal(got, []int{1, 0}) {
		t.Errorf("counts %v, want 1 and 0", got)
	}
}

// Where nobody is in force there is no match at all, as for signatures.
func TestNobodyInForceIsNoMatch(t *testing.T) {
	w := newWorld(t)
	w.state.Policies[0].Signers = nil
	w.state.Policies[0].Attestations = []AttestationRequirement{{Name: "attestation/spdx"}}
	w.ask(Request{})
	if len(w.policy.last.Matches) != 0 {
		t.Errorf("matches %+v", w.policy.last.Matches)
	}
}

// A cached allow ends when what it rests on gets too old, and says so.
func TestAllowEndsWithItsFreshness(t *testing.T) {
	w := newWorld(t)
	until := start.Add(7 * time.Second)
	w.policy.evaluate = func(in *facts.Input) (verdict.Result, error) {
		if in.EvaluatedAt.Before(until) {
			return verdict.Result{Allow: true, SatisfiedBy: []verdict.Satisfied{{Requirement: "attestation/vuln", Facts: []string{"sha256:02"}}}, ValidUntil: &until}, nil
		}
		return verdict.Result{Violations: []verdict.Reason{{Code: "attestation_too_old", Message: "too old"}}}, nil
	}
	v, _ := w.ask(Request{})
	if v.Decision != verdict.Allow || !v.ExpiresAt.Equal(until) || v.ValidUntil == nil || !v.ValidUntil.Equal(until) {
		t.Errorf("%s until %s, valid until %v, want %s", v.Decision, v.ExpiresAt, v.ValidUntil, until)
	}
	w.now = until
	if v, a := w.ask(Request{}); v.Decision != verdict.Deny || a.From != FromMiss || v.ValidUntil != nil {
		t.Errorf("then %s from %s, valid until %v", v.Decision, a.From, v.ValidUntil)
	}
}

// What was decided before does not stand for now where something may have got too old.
func TestNothingOldStandsForNow(t *testing.T) {
	w := newWorld(t)
	if last := w.state.LastBoundary(start.Add(-time.Hour), start, time.Hour); !last.IsZero() {
		t.Errorf("a boundary at %s", last)
	}
	w.state.Policies[0].Ages = true
	if last := w.state.LastBoundary(start.Add(-time.Hour), start, time.Hour); !last.Equal(start) {
		t.Errorf("the last boundary is %s, want now", last)
	}
}
