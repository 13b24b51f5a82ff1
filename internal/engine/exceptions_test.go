package engine

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/signers"
	"github.com/signet-policy/signet/internal/verdict"
)

func newKeySigner(t *testing.T, name string) signers.Signer {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	k, err := signers.NewKey(&private.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return signers.Signer{Name: name, Type: signers.PublicKey, Keys: []signers.Key{k}, Enabled: true}
}

func waived(ends time.Time) verdict.Result {
	return verdict.Result{
		Allow: true, Warnings: []verdict.Reason{{Code: "unsigned", Message: "Waived."}},
		SatisfiedBy: []verdict.Satisfied{{Requirement: RequirementSignature, Exception: "default/exceptions/1"}},
		Exceptions:  []verdict.Exception{{Name: "default/exceptions/1", Codes: []string{"unsigned"}, Owner: "platform", Reason: "soon", ExpiresAt: ends}},
		ValidUntil:  &ends,
	}
}

// What an exception waived stands at the top of the verdict, which ends with it.
func TestExceptionsStandInTheVerdict(t *testing.T) {
	w := newWorld(t)
	w.proven.Signatures = nil
	ends := start.Add(7 * time.Second)
	w.policy.evaluate = func(*facts.Input) (verdict.Result, error) { return waived(ends), nil }
	v, _ := w.ask(Request{})
	want := []verdict.Exception{{Policy: "default", Name: "default/exceptions/1", Codes: []string{"unsigned"}, Owner: "platform", Reason: "soon", ExpiresAt: ends}}
	if diff := cmp.Diff(want, v.Exceptions); diff != "" {
		t.Errorf("exceptions (-want +got):\n%s", diff)
	}
	if v.Decision != verdict.Allow || !v.ExpiresAt.Equal(ends) {
		t.Errorf("%s until %s, want allow until %s", v.Decision, v.ExpiresAt, ends)
	}
}

// An exception takes back that more evidence can only help, so an allow by one is
// not given on an incomplete search.
func TestExceptionOnAnIncompleteSearch(t *testing.T) {
	w := newWorld(t)
	w.source.found.Search = evidence.Search{Problems: []evidence.Problem{{Code: evidence.CodeUnavailable, Message: "503"}}}
	if v, _ := w.ask(Request{}); v.Decision != verdict.Allow {
		t.Errorf("a signed image: %s", v.Decision)
	}
	w.policy.evaluate = func(*facts.Input) (verdict.Result, error) { return waived(start.Add(time.Hour)), nil }
	if v, _ := w.ask(Request{Refresh: true}); v.Decision != verdict.Unknown {
		t.Errorf("an image that is excused: %s, want unknown", v.Decision)
	}
}

func TestBoundaries(t *testing.T) {
	ends := func(d time.Duration) *time.Time { t := start.Add(d); return &t }
	a, b, gone := newKeySigner(t, "a"), newKeySigner(t, "b"), newKeySigner(t, "gone")
	a.ExpiresAt, b.NotBefore, gone.ExpiresAt = ends(3*time.Hour), ends(2*time.Hour), ends(-time.Hour)
	set, err := signers.Compile([]signers.Signer{a, b, gone})
	if err != nil {
		t.Fatal(err)
	}
	p := Policy{Signers: set, Exceptions: []Boundary{
		{BoundaryException, "p/exceptions/1", start},
		{BoundaryException, "p/exceptions/2", start.Add(4 * time.Hour)},
		{BoundaryException, "p/exceptions/3", start.Add(time.Hour)},
	}}
	want := []Boundary{
		{BoundaryException, "p/exceptions/3", start.Add(time.Hour)},
		{BoundarySigner, "a", start.Add(3 * time.Hour)},
		{BoundaryException, "p/exceptions/2", start.Add(4 * time.Hour)},
	}
	if diff := cmp.Diff(want, p.Boundaries(start)); diff != "" {
		t.Errorf("boundaries (-want +got):\n%s", diff)
	}
	var next []time.Duration
	for at := p.NextBoundary(start); at != nil; at = p.NextBoundary(*at) {
		next = append(next, at.Sub(start))
	}
	if diff := cmp.Diff([]time.Duration{time.Hour, 2 * time.Hour, 3 * time.Hour, 4 * time.Hour}, next); diff != "" {
		t.Errorf("one after the other (-want +got):\n%s", diff)
	}
}

// No answer outlasts the end of an exception, used or not.
func TestAnswersEndWithExceptions(t *testing.T) {
	w := newWorld(t)
	w.state.Policies[0].Exceptions = []Boundary{{BoundaryException, "default/exceptions/1", start.Add(2 * time.Second)}}
	if v, _ := w.ask(Request{}); !v.ExpiresAt.Equal(start.Add(2 * time.Second)) {
		t.Errorf("expires at %s", v.ExpiresAt)
	}
}
