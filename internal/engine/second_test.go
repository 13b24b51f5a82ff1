package engine

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/verdict"
)

// fakeSecond answers about every signer alike.
type fakeSecond struct {
	verified bool
	err      error
	narrow   bool
	asked    []SecondQuestion
}

func (*fakeSecond) Wanted(context map[string]string) string {
	if context["plugin"] == "P" {
		return "plugin-p"
	}
	return ""
}

func (s *fakeSecond) Verify(_ context.Context, q SecondQuestion) ([]SecondAnswer, error) {
	s.asked = append(s.asked, q)
	if s.err != nil {
		return nil, s.err
	}
	var out []SecondAnswer
	for _, id := range q.Signers {
		out = append(out, SecondAnswer{Signer: id.Name, Narrow: s.narrow, Verified: s.verified, Output: "what cosign printed"})
	}
	return out, nil
}

// withPlugin puts a policy beside the fallback that speaks of a plugin's questions
// alone.
func withPlugin(t *testing.T, second SecondVerifier) *world {
	w := newWorld(t)
	w.engine.cfg.Second = second
	p := w.state.Policies[0]
	p.Name, p.When, p.Replaces = "plugin-p", map[string]string{"plugin": "P"}, true
	w.state.Policies[0].Fallback = true
	w.state.Policies = append(w.state.Policies, p)
	w.state.RootFiles = func(string) []RootFile { return []RootFile{{Name: "test", Body: []byte("{}")}} }
	return w
}

func (w *world) policies(req Request) []string {
	v, _ := w.ask(req)
	var names []string
	for _, p := range v.Policies {
		names = append(names, p.Name)
	}
	return names
}

// A policy with a context speaks of such questions alone, and the fallback is silent
// beside it; one that somebody wrote is not.
func TestPolicyWithContext(t *testing.T) {
	w := withPlugin(t, nil)
	asPlugin := Request{Context: map[string]string{"plugin": "P"}}
	if diff := cmp.Diff([]string{"default"}, w.policies(Request{})); diff != "" {
		t.Errorf("without it (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"plugin-p"}, w.policies(asPlugin)); diff != "" {
		t.Errorf("with it (-want +got):\n%s", diff)
	}
	w = withPlugin(t, nil)
	w.state.Policies[0].Fallback = false
	if diff := cmp.Diff([]string{"default", "plugin-p"}, w.policies(asPlugin)); diff != "" {
		t.Errorf("beside one that was written (-want +got):\n%s", diff)
	}
	w = withPlugin(t, nil)
	w.state.Policies[1].Replaces = false // it came by the API, from whom may write for a few images
	if diff := cmp.Diff([]string{"default", "plugin-p"}, w.policies(asPlugin)); diff != "" {
		t.Errorf("beside one that only adds (-want +got):\n%s", diff)
	}
	w = withPlugin(t, nil)
	w.state.Policies[1].Mode = verdict.Disabled // nobody else would decide
	if names := w.policies(asPlugin); !slices.Contains(names, "default") {
		t.Errorf("beside a disabled one: %v", names)
	}
	_, err := w.engine.Decide(t.Context(), w.state, Request{Image: image, Context: map[string]string{"plugin": "Q"}})
	if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), `"Q" is not one of the values`) {
		t.Errorf("a plugin that nobody knows: %v", err)
	}
}

func TestSecondOpinion(t *testing.T) {
	asPlugin := Request{Context: map[string]string{"plugin": "P"}}
	stranger := []facts.Signature{signed(indexDigest, "sha256:01", "stranger@example.test")}
	for _, tt := range []struct {
		name       string
		second     *fakeSecond
		signatures []facts.Signature // nil: the trusted one
		rejected   string
		want       string
	}{
		{"both find it", &fakeSecond{verified: true}, nil, "", "allow "},
		{"only we find it", &fakeSecond{}, nil, "", "unknown verifiers_disagree"},
		{"both find nothing", &fakeSecond{}, stranger, "", "deny signer_not_trusted"},
		{"only the other finds it", &fakeSecond{verified: true}, stranger, "", "unknown verifiers_disagree"},
		{"for conditions that it was not told", &fakeSecond{verified: true, narrow: true}, stranger, "", "deny signer_not_trusted"},
		{"for what we alone look at", &fakeSecond{verified: true}, stranger, facts.CodeCertificateIdentity, "deny signer_not_trusted"},
		{"though something else was rejected", &fakeSecond{verified: true}, stranger, facts.CodeSignatureInvalid, "unknown verifiers_disagree"},
		{"it cannot be run", &fakeSecond{err: errors.New("it is gone")}, nil, "", "unknown second_opinion_unavailable"},
		{"it cannot be run for what is denied", &fakeSecond{err: errors.New("it is gone")}, stranger, "", "deny signer_not_trusted"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := withPlugin(t, tt.second)
			if tt.signatures != nil {
				w.proven.Signatures = tt.signatures
			}
			if tt.rejected != "" {
				w.proven.Rejections = []facts.Rejection{{ID: "x", Code: tt.rejected, Message: "m"}}
			}
			v, a := w.ask(asPlugin)
			if got := string(v.Decision) + " " + strings.Join(codes(v.Reasons), " "); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
			if a.Decision == verdict.Unknown && a.Allowed {
				t.Error("it is allowed")
			}
			if v.Decision == verdict.Unknown && strings.HasSuffix(tt.want, "disagree") {
				if n := v.Reasons[0].Nearest; n == nil || n.Have != "what cosign printed" || n.Want == "" || n.Signer != "default/1" {
					t.Errorf("both outputs: %+v", n)
				}
			}
			if q := tt.second.asked; len(q) != 1 || q[0].Policy != "plugin-p" || q[0].Digests[0] != indexDigest || len(q[0].Roots) != 1 {
				t.Errorf("asked %+v", q)
			}
			// The same, decided again, without the program.
			w.engine.cfg.Second = nil
			kept := w.recorder.records[len(w.recorder.records)-1]
			b, err := kept.Basis.Encode()
			if err != nil {
				t.Fatal(err)
			}
			basis, err := DecodeBasis(b)
			if err != nil {
				t.Fatal(err)
			}
			again, err := w.engine.Replay(t.Context(), w.state, Kept{Basis: basis, Facts: kept.Facts}, w.now)
			if err != nil || again.Verdict.Decision != v.Decision || !slices.Equal(codes(again.Verdict.Reasons), codes(v.Reasons)) {
				t.Errorf("decided again: %+v, %v", again.Verdict, err)
			}
		})
	}
	quiet := &fakeSecond{}
	w := withPlugin(t, quiet)
	if v, _ := w.ask(Request{}); v.Decision != verdict.Allow || len(quiet.asked) > 0 {
		t.Errorf("asked by another: %s, %+v", v.Decision, quiet.asked)
	}
}
