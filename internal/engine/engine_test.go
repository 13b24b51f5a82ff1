package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/signers"
	"github.com/signet-policy/signet/internal/testkit/eventually"
	"github.com/signet-policy/signet/internal/verdict"
)

const (
	indexDigest = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
	armDigest   = "sha256:2222222222222222222222222222222222222222222222222222222222222222"
	image       = "registry.test/org/app:v1"
)

var start = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// world is one engine over fakes that can be told to misbehave.
type world struct {
	t        *testing.T
	engine   *Engine
	state    *State
	cache    *fakeCache
	source   *fakeSource
	policy   *fakePolicy
	recorder *fakeRecorder
	now      time.Time
	proven   facts.Proven
}

type fakeSource struct {
	mu                 sync.Mutex
	resolves, collects int
	resolveErr         error
	found              evidence.Found
	collectErr         error
	subject            facts.Subject
	gate               chan struct{} // closed to let resolve go on
	panics             bool
}

func (s *fakeSource) Parse(img string) (Asked, error) {
	if strings.ContainsAny(img, " \n") {
		return Asked{}, &evidence.Problem{Code: evidence.CodeInvalidReference, Message: "not a reference"}
	}
	a := Asked{Registry: "registry.test", Repository: "org/app", Tag: "v1", Scope: "anonymous"}
	if _, digest, ok := strings.Cut(img, "@"); ok {
		a.Tag, a.Digest = "", digest
	}
	return a, nil
}

func (s *fakeSource) Resolve(ctx context.Context, _ evidence.Query) (facts.Subject, error) {
	s.mu.Lock()
	s.resolves++
	gate := s.gate
	s.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return facts.Subject{}, ctx.Err()
		}
	}
	if s.panics {
		panic("a parser met its match")
	}
	return s.subject, s.resolveErr
}

func (s *fakeSource) Collect(context.Context, facts.Subject, evidence.Query) (evidence.Found, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.collects++
	return s.found, s.collectErr
}

type fakePolicy struct {
	evaluate func(in *facts.Input) (verdict.Result, error)
	monotone bool
	calls    atomic.Int64
	mu       sync.Mutex
	last     facts.Input
	named    facts.Input // the last that named a platform
}

func (*fakePolicy) Revision() string     { return "1" }
func (*fakePolicy) Digest() string       { return "sha256:policy" }
func (*fakePolicy) ParamsDigest() string { return "sha256:params" }
func (p *fakePolicy) Monotone() bool     { return p.monotone }
func (*fakePolicy) Context() map[string][]string {
	return map[string][]string{"environment": {"prod", "dev"}}
}
func (p *fakePolicy) Evaluate(_ context.Context, in *facts.Input) (verdict.Result, error) {
	p.calls.Add(1)
	p.mu.Lock()
	p.last = *in
	if in.Request.Platform != "" {
		p.named = *in
	}
	p.mu.Unlock()
	return p.evaluate(in)
}

type fakeCache struct {
	tier   string
	mu     sync.Mutex
	values map[string]fakeValue
}

type fakeValue struct {
	body   []byte
	expiry time.Time
}

func (c *fakeCache) Get(_ context.Context, purpose string, key [32]byte, now time.Time) ([]byte, time.Time, string, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, ok := c.values[fmt.Sprintf("%s %x", purpose, key)]
	if !ok || !v.expiry.After(now) {
		return nil, time.Time{}, "", false
	}
	return v.body, v.expiry, c.tier, true
}

func (c *fakeCache) Put(_ context.Context, purpose string, key [32]byte, value []byte, expiry time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.values[fmt.Sprintf("%s %x", purpose, key)] = fakeValue{value, expiry}
}

func (c *fakeCache) count(purpose string) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k := range c.values {
		if strings.HasPrefix(k, purpose+" ") {
			n++
		}
	}
	return n
}

type fakeRecorder struct {
	mu       sync.Mutex
	records  []Record
	repeats  []Repeat
	deferred []Record
	err      error
	// full refuses to defer.
	full      bool
	repeatErr error
}

func (r *fakeRecorder) Repeat(_ context.Context, rep Repeat) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.repeatErr == nil {
		r.repeats = append(r.repeats, rep)
	}
	return r.repeatErr
}

func (r *fakeRecorder) Defer(rec Record, _ error) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.full {
		r.deferred = append(r.deferred, rec)
	}
	return !r.full
}

func (r *fakeRecorder) Record(_ context.Context, rec Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return r.err
	}
	r.records = append(r.records, rec)
	return nil
}

func signed(subject, id, who string) facts.Signature {
	return facts.Signature{
		ID: id, SubjectDigest: subject, Format: facts.FormatBundle, TrustRoot: "test", Principal: "https://issuer.test " + who,
		Signer:       facts.Signer{Kind: facts.KindCertificate, Issuer: "https://issuer.test", Subject: who},
		Transparency: []facts.LogEntry{{Log: "https://log.test", LogID: "00", Index: 1, Proof: facts.ProofInclusion}},
	}
}

// newWorld is an image signed by dev@example.test, whom the policy trusts.
func newWorld(t *testing.T) *world {
	w := &world{t: t, now: start, cache: &fakeCache{tier: FromMemory, values: map[string]fakeValue{}}, recorder: &fakeRecorder{}}
	tag := "v1"
	w.source = &fakeSource{
		subject: facts.Subject{
			Registry: "registry.test", Repository: "org/app", Tag: &tag, Digest: indexDigest,
			Platforms: []facts.Platform{{OS: "linux", Architecture: "arm64", Digest: armDigest}},
		},
		found: evidence.Found{Search: evidence.Search{Complete: true, ReferrersAPI: evidence.ProbeFound}},
	}
	w.policy = &fakePolicy{monotone: true, evaluate: byMatches}
	w.proven = facts.Proven{Subject: w.source.subject, Signatures: []facts.Signature{signed(indexDigest, "sha256:01", "dev@example.test")}}
	set, err := signers.Compile([]signers.Signer{{
		Name: "default/1", Type: signers.Keyless, Issuer: "https://issuer.test", Subject: "dev@example.test", Enabled: true,
	}})
	if err != nil {
		t.Fatal(err)
	}
	w.state = &State{
		Active: verdict.Active{Revision: 7, Digest: "sha256:active"},
		Policies: []Policy{{
			Name: "default", Mode: verdict.Enforce, Applies: func(string) bool { return true }, Set: w.policy, Signers: set,
			Counts: func(facts.Signature, []facts.TrustInfo) bool { return true }, RequireSignature: true, Registered: true,
		}},
		Roots: []Root{{Name: "test", Digest: "sha256:root", HasLog: true}},
		Verify: func(context.Context, facts.Subject, []evidence.Item, Keys) (facts.Facts, error) {
			return facts.New(w.proven)
		},
	}
	w.engine, err = New(Config{
		Source: w.source, Current: func(context.Context) (*State, error) { return w.state, nil },
		Cache: w.cache, Recorder: w.recorder, Build: "test", Now: func() time.Time { return w.now },
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// byMatches is a policy that wants one match.
func byMatches(in *facts.Input) (verdict.Result, error) {
	if len(in.Matches) == 1 && in.Matches[0].Count > 0 {
		return verdict.Result{Allow: true}, nil
	}
	return verdict.Result{Violations: []verdict.Reason{{Code: "signer_not_trusted", Message: "nobody we trust"}}}, nil
}

func (w *world) ask(req Request) (verdict.Verdict, Answer) {
	w.t.Helper()
	if req.Image == "" {
		req.Image = image
	}
	a, err := w.engine.Decide(w.t.Context(), w.state, req)
	if err != nil {
		w.t.Fatal(err)
	}
	var v verdict.Verdict
	if err := json.Unmarshal(a.Body, &v); err != nil {
		w.t.Fatalf("%v in %s", err, a.Body)
	}
	if v.Decision != a.Decision || v.Allowed != a.Allowed {
		w.t.Errorf("the answer says %s %t, its body %s %t", a.Decision, a.Allowed, v.Decision, v.Allowed)
	}
	return v, a
}

func codes(reasons []verdict.Reason) []string {
	out := []string{}
	for _, r := range reasons {
		out = append(out, r.Code)
	}
	return out
}

func TestAllowIsRecordedThenCached(t *testing.T) {
	w := newWorld(t)
	first, a := w.ask(Request{})
	if a.Decision != verdict.Allow || a.From != FromMiss {
		t.Fatalf("first answer %s from %s: %s", a.Decision, a.From, a.Body)
	}
	second, b := w.ask(Request{})
	if b.From != FromMemory || string(a.Body) != string(b.Body) || first.ID != second.ID {
		t.Errorf("the hit does not repeat the miss's bytes: %s from %s", b.Body, b.From)
	}
	w.cache.tier = FromRedis
	if _, b = w.ask(Request{}); b.From != FromRedis || string(a.Body) != string(b.Body) {
		t.Errorf("the hit does not say that Redis had it: %s from %s", b.Body, b.From)
	}
	if len(w.recorder.records) != 1 || w.recorder.records[0].Verdict.ID != first.ID {
		t.Errorf("%d records", len(w.recorder.records))
	}
	if want := "registry.test/org/app@" + indexDigest; first.Pinned != want {
		t.Errorf("pinned %q, want %q", first.Pinned, want)
	}
	want := []verdict.Coverage{{Digest: indexDigest, Signed: true}, {Digest: armDigest, Platform: "linux/arm64", Signed: true}}
	if diff := cmp.Diff(want, first.Coverage); diff != "" {
		t.Errorf("coverage (-want +got):\n%s", diff)
	}
}

// Stages are told to who begins the work; a hit has none.
func TestProgress(t *testing.T) {
	w := newWorld(t)
	var told []Stage
	ctx := WithProgress(t.Context(), func(s Stage) { told = append(told, s) })
	for range 2 {
		if _, err := w.engine.Decide(ctx, w.state, Request{Image: image}); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]Stage{StageResolve, StageCollect, StageVerify, StageDecide}, told); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAnswersEndWithTheirLeases(t *testing.T) {
	w := newWorld(t)
	byTag, _ := w.ask(Request{})
	if got := byTag.ExpiresAt.Sub(start); got != tagLease {
		t.Errorf("an answer by tag lives %s, the tag's lease is %s", got, tagLease)
	}
	w.now = w.now.Add(tagLease)
	if _, a := w.ask(Request{}); a.From != FromMiss {
		t.Error("the answer outlived the tag's lease")
	}
	if w.source.resolves != 2 || w.source.collects != 1 {
		t.Errorf("%d resolves, %d searches; the search's own lease is longer: want 2, 1", w.source.resolves, w.source.collects)
	}
	byDigest, _ := w.ask(Request{Image: "registry.test/org/app@" + indexDigest})
	if got := byDigest.ExpiresAt.Sub(w.now); got != time.Minute {
		t.Errorf("an answer by digest lives %s, want decision_max_age", got)
	}
}

func TestNothingTrustedIsLookedForAgainSoon(t *testing.T) {
	w := newWorld(t)
	w.proven.Signatures = nil
	if v, _ := w.ask(Request{}); v.Decision != verdict.Deny {
		t.Fatalf("decision %s", v.Decision)
	}
	w.now = w.now.Add(searchLeaseNothing)
	w.ask(Request{})
	if w.source.collects != 2 {
		t.Errorf("%d searches, want 2: somebody may have signed in the meantime", w.source.collects)
	}
}

// What is lacking may be attached any moment, whatever else is there.
func TestWhatIsLackingIsLookedForAgainSoon(t *testing.T) {
	w := newWorld(t)
	w.policy.evaluate = func(in *facts.Input) (verdict.Result, error) {
		if len(in.Attestations) == 0 {
			return verdict.Result{Violations: []verdict.Reason{{Code: "attestation_missing", Rule: "signing.rules.unattested"}}}, nil
		}
		return verdict.Result{Allow: true}, nil
	}
	if v, _ := w.ask(Request{}); v.Decision != verdict.Deny || !v.Coverage[0].Signed {
		t.Fatalf("%s, %+v", v.Decision, v.Coverage)
	}
	w.proven.Attestations = []facts.Attestation{attest(indexDigest, "sha256:02", "dev@example.test")}
	w.now = w.now.Add(searchLeaseNothing)
	if v, _ := w.ask(Request{}); v.Decision != verdict.Allow || w.source.collects != 2 {
		t.Errorf("%s after %d searches, want allow after 2", v.Decision, w.source.collects)
	}
	// What was enough is kept for long, until it is not any more.
	w.now = w.now.Add(2 * searchLeaseNothing)
	if v, _ := w.ask(Request{}); v.Decision != verdict.Allow || w.source.collects != 2 {
		t.Errorf("%s after %d searches, want allow after 2", v.Decision, w.source.collects)
	}
	w.state.Active.Digest = "sha256:stricter"
	w.policy.evaluate = func(*facts.Input) (verdict.Result, error) {
		return verdict.Result{Violations: []verdict.Reason{{Code: "attestation_missing", Rule: "signing.rules.unattested"}}}, nil
	}
	for range 2 { // the second does not put it off
		if v, _ := w.ask(Request{}); v.Decision != verdict.Deny || w.source.collects != 2 {
			t.Errorf("%s after %d searches, want deny after 2", v.Decision, w.source.collects)
		}
		w.now = w.now.Add(searchLeaseNothing / 2)
	}
	w.ask(Request{})
	if w.source.collects != 3 {
		t.Errorf("%d searches, want 3", w.source.collects)
	}
}

// A request that was answered from a lease cuts short that one only, and not what a
// refresh has found meanwhile.
func TestNewerSearchIsNotCutShort(t *testing.T) {
	w := newWorld(t)
	w.source.found.Items = []evidence.Item{{ID: "old"}}
	w.ask(Request{})
	w.now = w.now.Add(time.Second)
	w.state.Active.Digest = "sha256:stricter"
	refreshed := false
	w.policy.evaluate = func(*facts.Input) (verdict.Result, error) {
		if !refreshed {
			refreshed = true
			w.source.found.Items = []evidence.Item{{ID: "new"}}
			w.policy.evaluate = byMatches
			w.ask(Request{Refresh: true})
		}
		return verdict.Result{Violations: []verdict.Reason{{Code: "attestation_missing", Rule: "signing.rules.unattested"}}}, nil
	}
	if v, _ := w.ask(Request{}); v.Decision != verdict.Deny || w.source.collects != 2 {
		t.Fatalf("%s after %d searches, want deny after 2", v.Decision, w.source.collects)
	}
	for key, kept := range w.cache.values {
		if !strings.HasPrefix(key, purposeSearch+" ") {
			continue
		}
		var l lease
		if err := json.Unmarshal(kept.body, &l); err != nil {
			t.Fatal(err)
		}
		if len(l.Items) != 1 || l.Items[0].ID != "new" || !kept.expiry.Equal(w.now.Add(searchLeaseFound)) {
			t.Errorf("kept are %+v until %s, want what the refresh has found, until %s", l.Items, kept.expiry, w.now.Add(searchLeaseFound))
		}
	}
}

func TestWhatMissesTheCache(t *testing.T) { // threat 52
	tests := []struct {
		name   string
		change func(*world, *Request)
	}{
		{"another active", func(w *world, _ *Request) { w.state.Active.Digest = "sha256:other" }},
		{"another role", func(_ *world, r *Request) { r.Roles = []string{"admin"} }},
		{"another context", func(_ *world, r *Request) { r.Context = map[string]string{"environment": "prod"} }},
		{"another platform", func(_ *world, r *Request) { r.Platform = "linux/arm64" }},
		{"another spelling", func(_ *world, r *Request) { r.Image = "registry.test/org/app:v1@" + indexDigest }},
		{"refresh", func(_ *world, r *Request) { r.Refresh = true }},
		{"last known state", func(w *world, _ *Request) { w.state.GraceNote = "store down" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.ask(Request{})
			var req Request
			tt.change(w, &req)
			if _, a := w.ask(req); a.From != FromMiss {
				t.Error("answered from the cache")
			}
		})
	}
}

func TestRefreshAsksTheRegistryAgain(t *testing.T) {
	w := newWorld(t)
	w.ask(Request{})
	w.ask(Request{Refresh: true})
	if w.source.resolves != 2 || w.source.collects != 2 {
		t.Errorf("%d resolves, %d searches, want 2, 2", w.source.resolves, w.source.collects)
	}
}

func TestProblemsOfTheRegistry(t *testing.T) { // threats 31, 32, 34
	tests := []struct {
		code     string
		decision verdict.Decision
	}{
		{evidence.CodeImageNotFound, verdict.Unknown},
		{evidence.CodeUnauthorized, verdict.Unknown},
		{evidence.CodeRateLimited, verdict.Unknown},
		{evidence.CodeUnavailable, verdict.Unknown},
		{evidence.CodeAddressRefused, verdict.Unknown},
		{evidence.CodeNotAllowed, verdict.Unknown},
		{evidence.CodeRedirectRefused, verdict.Unknown},
		{evidence.CodePlatformNotFound, verdict.Unknown},
		{evidence.CodeDigestMismatch, verdict.Deny},
		{evidence.CodeManifestAmbiguous, verdict.Deny},
		{evidence.CodeManifestUnsupported, verdict.Deny},
		{"a code from the future", verdict.Unknown},
	}
	for _, tt := range tests {
		t.Run(tt.code, func(t *testing.T) {
			w := newWorld(t)
			w.source.resolveErr = fmt.Errorf("resolving: %w", &evidence.Problem{Code: tt.code, Where: "registry.test", Message: "no", RetryAfter: 17 * time.Second})
			v, a := w.ask(Request{})
			if v.Decision != tt.decision || v.Allowed || w.policy.calls.Load() != 0 {
				t.Errorf("decision %s, allowed %t, %d evaluations", v.Decision, v.Allowed, w.policy.calls.Load())
			}
			if diff := cmp.Diff([]string{tt.code}, codes(v.Reasons)); diff != "" {
				t.Error(diff)
			}
			if v.Reasons[0].Message == "" || v.Reasons[0].Remediation == "" {
				t.Error("a reason without words")
			}
			if tt.decision == verdict.Unknown && (a.RetryAfter != 17 || w.cache.count(purposeAnswer) != 0) {
				t.Errorf("retry after %d, %d answers cached", a.RetryAfter, w.cache.count(purposeAnswer))
			}
		})
	}
}

func TestAnErrorThatWeDoNotKnowIsUnknown(t *testing.T) { // threat 58
	w := newWorld(t)
	w.source.resolveErr = errors.New("something new")
	if v, _ := w.ask(Request{}); v.Decision != verdict.Unknown {
		t.Errorf("decision %s", v.Decision)
	}
}

func TestIncompleteSearch(t *testing.T) {
	problem := evidence.Problem{Code: evidence.CodeRateLimited, Where: "registry.test", Message: "429", RetryAfter: 9 * time.Second}
	tests := []struct {
		name     string
		monotone bool
		signed   bool
		want     verdict.Decision
	}{
		{"monotone policy, trusted signature seen", true, true, verdict.Allow},
		{"monotone policy, nothing seen", true, false, verdict.Unknown},
		{"another policy", false, true, verdict.Unknown},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.policy.monotone = tt.monotone
			w.source.found.Search = evidence.Search{Complete: false, Problems: []evidence.Problem{problem}}
			if !tt.signed {
				w.proven.Signatures = nil
			}
			v, _ := w.ask(Request{})
			if v.Decision != tt.want {
				t.Errorf("decision %s, want %s", v.Decision, tt.want)
			}
			if tt.want == verdict.Unknown && (v.RetryAfter != 9 || v.Reasons[0].Code != evidence.CodeRateLimited || !strings.Contains(v.Reasons[0].Message, "429")) {
				t.Errorf("retry after %d, reasons %+v", v.RetryAfter, v.Reasons)
			}
			if w.cache.count(purposeSearch) != 0 {
				t.Error("an incomplete search was kept")
			}
		})
	}
}

func TestPolicyOutcomes(t *testing.T) { // threats 48, 59
	tests := []struct {
		name   string
		result verdict.Result
		err    error
		want   verdict.Decision
		code   string
	}{
		{"allow", verdict.Result{Allow: true}, nil, verdict.Allow, ""},
		{"allow with a violation", verdict.Result{Allow: true, Violations: []verdict.Reason{{Code: "x"}}}, nil, verdict.Deny, "x"},
		{"deny without a reason", verdict.Result{}, nil, verdict.Deny, ReasonPolicyDenied},
		{"error", verdict.Result{Allow: true}, errors.New("undefined"), verdict.Deny, ReasonPolicyError},
		{"too much to be asked", verdict.Result{}, fmt.Errorf("%w: over 8 bytes", ErrInputTooLarge), verdict.Unknown, evidence.CodeEvidenceTooLarge},
		{"time limit", verdict.Result{Allow: true}, fmt.Errorf("%w: 1s", ErrTimeLimit), verdict.Unknown, ReasonTimeLimit},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.policy.evaluate = func(*facts.Input) (verdict.Result, error) { return tt.result, tt.err }
			v, _ := w.ask(Request{})
			if v.Decision != tt.want || v.Allowed != (tt.want == verdict.Allow) {
				t.Errorf("decision %s, allowed %t, want %s", v.Decision, v.Allowed, tt.want)
			}
			if tt.code != "" && (len(v.Reasons) != 1 || v.Reasons[0].Code != tt.code) {
				t.Errorf("reasons %v, want %s", codes(v.Reasons), tt.code)
			}
		})
	}
}

func TestModes(t *testing.T) {
	tests := []struct {
		mode     verdict.Mode
		decision verdict.Decision
		allowed  bool
		warning  string
	}{
		{verdict.Enforce, verdict.Deny, false, ""},
		{verdict.Audit, verdict.Deny, true, ""},
		{verdict.Disabled, verdict.Allow, true, ReasonPolicyDisabled},
	}
	for _, tt := range tests {
		t.Run(string(tt.mode), func(t *testing.T) {
			w := newWorld(t)
			w.proven.Signatures = nil
			w.state.Policies[0].Mode = tt.mode
			for _, from := range []string{FromMiss, FromMemory} {
				v, a := w.ask(Request{})
				if v.Decision != tt.decision || v.Allowed != tt.allowed || a.From != from {
					t.Errorf("%s: decision %s, allowed %t, from %s", from, v.Decision, v.Allowed, a.From)
				}
				if tt.warning != "" && (len(v.Warnings) != 1 || v.Warnings[0].Code != tt.warning) {
					t.Errorf("warnings %v", codes(v.Warnings))
				}
			}
		})
	}
}

func TestNoPolicy(t *testing.T) {
	w := newWorld(t)
	w.state.Policies[0].Applies = func(string) bool { return false }
	if v, _ := w.ask(Request{}); v.Decision != verdict.Deny || v.Reasons[0].Code != ReasonNoPolicy {
		t.Errorf("no policy speaks of the image: %s %v", v.Decision, codes(v.Reasons))
	}
	w = newWorld(t)
	w.state.Policies = nil
	if v, _ := w.ask(Request{}); v.Decision != verdict.Unknown || v.Reasons[0].Code != ReasonNoActivePolicy {
		t.Errorf("no policy at all: %s %v", v.Decision, codes(v.Reasons))
	}
}

func TestStaleRoot(t *testing.T) { // threat 28
	w := newWorld(t)
	w.state.Roots[0].RefreshedAt = start.Add(-13 * 24 * time.Hour)
	if v, _ := w.ask(Request{}); v.Decision != verdict.Allow {
		t.Errorf("13 days: %s", v.Decision)
	}
	w.now = w.now.Add(48 * time.Hour)
	v, _ := w.ask(Request{})
	if v.Decision != verdict.Unknown || v.Reasons[0].Code != ReasonTrustRootStale {
		t.Errorf("15 days: %s %v", v.Decision, codes(v.Reasons))
	}
	if v.Signature.Valid || v.Coverage[0].Signed {
		t.Errorf("what was verified with a stale root is shown as valid: %+v", v.Signature)
	}
	// A stranger's signature under the stale root does not spoil a good one.
	good := signed(indexDigest, "sha256:07", "dev@example.test")
	good.TrustRoot = "fresh"
	w.proven.Signatures = append(w.proven.Signatures, good)
	if v, _ := w.ask(Request{Refresh: true}); v.Decision != verdict.Allow {
		t.Errorf("a good signature beside one under a stale root: %s %v", v.Decision, codes(v.Reasons))
	}
	w.policy.monotone = false
	if v, _ := w.ask(Request{Refresh: true}); v.Decision != verdict.Unknown {
		t.Errorf("the same for a policy that more evidence could hurt: %s", v.Decision)
	}
	w.policy.monotone = true
	w.proven.Signatures = w.proven.Signatures[:1]
	w.proven.Signatures[0].TrustRoot = "another"
	if v, _ := w.ask(Request{}); v.Decision != verdict.Allow {
		t.Errorf("a stale root that nothing stands on: %s", v.Decision)
	}
}

func TestAnswerEndsWhenARootGoesStale(t *testing.T) {
	w := newWorld(t)
	w.state.Roots[0].RefreshedAt = start.Add(-14*24*time.Hour + 3*time.Second)
	if v, _ := w.ask(Request{}); v.ExpiresAt.Sub(start) != 3*time.Second {
		t.Errorf("expires after %s, want 3s", v.ExpiresAt.Sub(start))
	}
}

// A verdict is found by the image's name, whether the image was found or not.
func TestRecordedUnderItsName(t *testing.T) {
	w := newWorld(t)
	w.ask(Request{})
	w.source.resolveErr = &evidence.Problem{Code: evidence.CodeUnavailable, Message: "down"}
	w.ask(Request{Refresh: true})
	for i, r := range w.recorder.records {
		if r.ImageName != "registry.test/org/app" {
			t.Errorf("verdict %d (%s) is recorded under %q", i, r.Verdict.Decision, r.ImageName)
		}
	}
	if len(w.recorder.records) != 2 {
		t.Errorf("%d verdicts are recorded", len(w.recorder.records))
	}
}

func TestWhatCannotBeRecordedIsNotGiven(t *testing.T) {
	w := newWorld(t)
	w.recorder.err = errors.New("disk full")
	v, a := w.ask(Request{})
	if v.Decision != verdict.Unknown || v.Allowed || v.Reasons[0].Code != ReasonStoreUnavailable || a.RetryAfter == 0 {
		t.Errorf("%s %v", v.Decision, codes(v.Reasons))
	}
	if w.cache.count(purposeAnswer) != 0 {
		t.Error("an answer that was not recorded was cached")
	}
}

func TestPanicIsUnknown(t *testing.T) {
	w := newWorld(t)
	w.source.panics = true
	v, _ := w.ask(Request{})
	if v.Decision != verdict.Unknown || v.Reasons[0].Code != ReasonInternal || w.engine.Stats().Alarms.Load() != 1 {
		t.Errorf("%s %v", v.Decision, codes(v.Reasons))
	}
}

func TestManyCallersOneVerification(t *testing.T) { // threat 57
	w := newWorld(t)
	w.source.gate = make(chan struct{})
	leaving, leave := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() {
		_, err := w.engine.Decide(leaving, w.state, Request{Image: image})
		gone <- err
	}()
	eventually.Holds(t, "the image is resolved", func() bool { w.source.mu.Lock(); defer w.source.mu.Unlock(); return w.source.resolves == 1 })
	var wg sync.WaitGroup
	answers := make([]Answer, 50)
	for i := range answers {
		wg.Go(func() { answers[i], _ = w.engine.Decide(t.Context(), w.state, Request{Image: image}) })
	}
	eventually.Holds(t, "everybody has asked", func() bool { return w.engine.Stats().Misses.Load() == 51 })
	leave()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("the caller that left: %v", err)
	}
	close(w.source.gate)
	wg.Wait()
	for _, a := range answers {
		if a.Decision != verdict.Allow {
			t.Fatalf("a waiting caller got %s: %s", a.Decision, a.Body)
		}
	}
	if w.source.resolves != 1 || w.policy.calls.Load() != 1 || len(w.recorder.records) != 1 {
		t.Errorf("%d resolves, %d evaluations, %d records; want one each", w.source.resolves, w.policy.calls.Load(), len(w.recorder.records))
	}
}

func TestDeadlineIsStillVerifying(t *testing.T) {
	w := newWorld(t)
	w.source.gate = make(chan struct{})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	a, err := w.engine.Decide(ctx, w.state, Request{Image: image})
	if err != nil || a.Decision != verdict.Unknown || a.Allowed || !strings.Contains(string(a.Body), ReasonStillVerifying) {
		t.Errorf("at the deadline: %v, %s", err, a.Body)
	}
	close(w.source.gate)
	eventually.Holds(t, "the answer is remembered", func() bool { return w.cache.count(purposeAnswer) == 1 })
	if _, b := w.ask(Request{}); b.From != FromMemory {
		t.Error("the work did not go on")
	}
}

func TestBadRequests(t *testing.T) {
	w := newWorld(t)
	tests := []struct {
		req  Request
		says string
	}{
		{Request{Image: "not a reference"}, "not a reference"},
		{Request{Image: image, Context: map[string]string{"colour": "red"}}, "context.colour"},
		{Request{Image: image, Context: map[string]string{"environment": "moon"}}, `"moon"`},
	}
	for _, tt := range tests {
		_, err := w.engine.Decide(t.Context(), w.state, tt.req)
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%+v: %v", tt.req, err)
		}
	}
	if v, _ := w.ask(Request{Context: map[string]string{"environment": "prod"}}); v.Decision != verdict.Allow || w.policy.last.Request.Context["environment"] != "prod" {
		t.Errorf("a declared context: %s", v.Decision)
	}
}

func TestPlatform(t *testing.T) {
	w := newWorld(t)
	w.proven.Signatures = []facts.Signature{signed(armDigest, "sha256:02", "dev@example.test")}
	if v, _ := w.ask(Request{}); v.Decision != verdict.Deny {
		t.Errorf("only a platform is signed, and the whole index was asked for: %s", v.Decision)
	}
	v, _ := w.ask(Request{Platform: "linux/arm64"})
	if v.Decision != verdict.Allow || v.Pinned != "registry.test/org/app@"+armDigest {
		t.Errorf("the platform asked for is signed: %s, pinned %s", v.Decision, v.Pinned)
	}
	if v, _ := w.ask(Request{Platform: "linux/amd64"}); v.Decision != verdict.Deny {
		t.Errorf("another platform is signed: %s", v.Decision)
	}
}

func TestSignatureThatDoesNotCountIsNoMatch(t *testing.T) {
	w := newWorld(t)
	w.state.Policies[0].Counts = func(facts.Signature, []facts.TrustInfo) bool { return false }
	v, _ := w.ask(Request{})
	if v.Decision != verdict.Deny || v.Coverage[0].Signed {
		t.Errorf("%s, coverage %+v", v.Decision, v.Coverage)
	}
	if got := w.policy.last.Signatures[0].TrustedSigners; len(got) != 1 {
		t.Errorf("the policy must still see who signed: %v", got)
	}
}

func TestDenyNamesTheCommandThatMendsIt(t *testing.T) {
	w := newWorld(t)
	w.proven.Signatures = []facts.Signature{signed(indexDigest, "sha256:09", "eve'; rm -rf / #\u202e\n@example.test")}
	v, _ := w.ask(Request{})
	want := `signet signers add --issuer 'https://issuer.test' --subject 'eve'\''; rm -rf / #\u202e\u000a@example.test'`
	if len(v.Reasons) != 1 || !strings.Contains(v.Reasons[0].Remediation, want) {
		t.Errorf("remediation %q, want %q in it", v.Reasons[0].Remediation, want)
	}
	if v.Reasons[0].Nearest == nil {
		t.Error("no nearest signature")
	}
	w.state.Policies[0].Registered = false
	v, _ = w.ask(Request{Refresh: true})
	if got := v.Reasons[0].Remediation; !strings.Contains(got, "signet verify --issuer 'https://issuer.test' --subject 'eve") || !strings.Contains(got, "- {type: keyless, issuer: ") {
		t.Errorf("remediation under a policy of inline signers: %q", got)
	}
}

func TestArtifactNeededIsUnknown(t *testing.T) {
	w := newWorld(t)
	w.proven = facts.Proven{Subject: w.source.subject, Rejections: []facts.Rejection{{ID: "x", Code: facts.CodeArtifactNeeded}}}
	if v, _ := w.ask(Request{}); v.Decision != verdict.Unknown || v.Reasons[0].Code != facts.CodeArtifactNeeded {
		t.Errorf("%s %v", v.Decision, codes(v.Reasons))
	}
}

func TestFactsShowsWhateverHappened(t *testing.T) {
	w := newWorld(t)
	w.source.resolveErr = &evidence.Problem{Code: evidence.CodeUnavailable, Where: "registry.test", Message: "down"}
	in, err := w.engine.Facts(t.Context(), w.state, w.state.Policies[0], Request{Image: image}, false)
	if err != nil || in.Search.Complete || len(in.Search.Problems) != 1 || in.Subject.Repository != "org/app" {
		t.Errorf("%v %+v", err, in)
	}
}

func TestNewRefuses(t *testing.T) {
	w := newWorld(t)
	current := func(context.Context) (*State, error) { return nil, ErrState }
	for _, cfg := range []Config{{}, {Source: w.source}, {Source: w.source, Current: current}} {
		if _, err := New(cfg); err == nil {
			t.Errorf("New(%+v) made an engine", cfg)
		}
	}
}

func TestBarrierReadStartsAfterTheCaller(t *testing.T) {
	var reads atomic.Int64
	release := make(chan struct{})
	entered := make(chan int64, 16)
	b := NewBarrier(func(context.Context) (verdict.Active, error) {
		n := reads.Add(1)
		entered <- n
		<-release
		return verdict.Active{Revision: n}, nil
	})
	results := make(chan int64, 101)
	read := func() {
		a, err := b.Read(context.Background())
		if err != nil {
			t.Error(err)
		}
		results <- a.Revision
	}
	go read()
	<-entered // the first read is under way
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(read)
	}
	eventually.Holds(t, "somebody waits for the next reading", func() bool { b.mu.Lock(); defer b.mu.Unlock(); return b.next != nil })
	time.Sleep(20 * time.Millisecond) // let all of them join
	close(release)
	wg.Wait()
	first, joined := 0, 0
	for range 101 {
		if <-results == 1 {
			first++
		} else {
			joined++
		}
	}
	if first != 1 || joined != 100 {
		t.Errorf("%d callers were given the read that was under way, %d a later one; want 1, 100", first, joined)
	}
	if n := reads.Load(); n > 10 { // those who came late, on a machine that is busy, were given another
		t.Errorf("%d reads for 101 callers", n)
	}
}

func TestBarrierGivesUpWithItsCaller(t *testing.T) {
	hang := make(chan struct{})
	defer close(hang)
	b := NewBarrier(func(context.Context) (verdict.Active, error) { <-hang; return verdict.Active{}, nil })
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	if _, err := b.Read(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Read = %v", err)
	}
}

func TestBarrierOutlivesAPanic(t *testing.T) {
	reads := 0
	b := NewBarrier(func(context.Context) (int, error) {
		if reads++; reads == 1 {
			panic("oops")
		}
		return reads, nil
	})
	if n, err := b.Read(t.Context()); err == nil || !strings.Contains(err.Error(), "oops") {
		t.Errorf("Read = %d, %v", n, err)
	}
	if n, err := b.Read(t.Context()); err != nil || n != 2 {
		t.Errorf("the next Read = %d, %v", n, err)
	}
}
