package api

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/pep"
	"github.com/signet-policy/signet/internal/verdict"
)

const (
	testID    = "01JZ5X3F8Q0000000000000000"
	testImage = "registry.example/org/server:v1"
)

// fakeDecider answers with functions; nil ones are the plain case.
type fakeDecider struct {
	current func(context.Context) (*engine.State, error)
	decide  func(context.Context, *engine.State, engine.Request) (engine.Answer, error)
}

func (f *fakeDecider) Current(ctx context.Context) (*engine.State, error) { return f.current(ctx) }

func (f *fakeDecider) Decide(ctx context.Context, st *engine.State, req engine.Request) (engine.Answer, error) {
	return f.decide(ctx, st, req)
}

// fakeVerdicts answers with functions.
type fakeVerdicts struct {
	verdict  func(context.Context, string) ([]byte, error)
	basis    func(context.Context, string) (facts.Facts, map[string]facts.Frame, error)
	list     func(context.Context, VerdictFilter, string, int) (client.Page[client.Verification], error)
	uses     func(context.Context, string) ([]client.Use, error)
	question func(context.Context, string) (Question, error)
}

func (f *fakeVerdicts) List(ctx context.Context, filter VerdictFilter, cursor string, limit int) (client.Page[client.Verification], error) {
	return f.list(ctx, filter, cursor, limit)
}

func (f *fakeVerdicts) Uses(ctx context.Context, id string) ([]client.Use, error) {
	return f.uses(ctx, id)
}

func (f *fakeVerdicts) Verdict(ctx context.Context, id string) ([]byte, error) {
	return f.verdict(ctx, id)
}

func (f *fakeVerdicts) Basis(ctx context.Context, id string) (facts.Facts, map[string]facts.Frame, error) {
	return f.basis(ctx, id)
}

func (f *fakeVerdicts) Question(ctx context.Context, id string) (Question, error) {
	return f.question(ctx, id)
}

// fakePast answers with functions.
type fakePast struct {
	reproduce func(context.Context, string) (client.Reproduction, error)
	at        func(context.Context, string, time.Time) (client.PastVerdict, error)
}

func (f *fakePast) Reproduce(ctx context.Context, id string) (client.Reproduction, error) {
	return f.reproduce(ctx, id)
}

func (f *fakePast) At(ctx context.Context, image string, at time.Time) (client.PastVerdict, error) {
	return f.at(ctx, image, at)
}

// fakeRequests answers with functions.
type fakeRequests struct {
	add func(context.Context, pep.Question) (client.VerdictRequestStatus, error)
	get func(context.Context, string) (client.VerdictRequestStatus, string, error)
}

func (f *fakeRequests) Add(ctx context.Context, q pep.Question) (client.VerdictRequestStatus, error) {
	return f.add(ctx, q)
}

func (f *fakeRequests) Get(ctx context.Context, id string) (client.VerdictRequestStatus, string, error) {
	return f.get(ctx, id)
}

// bed is a server with fakes behind it and a token for every role.
type bed struct {
	*Server
	decider  *fakeDecider
	verdicts *fakeVerdicts
	past     *fakePast
	admin    *fakeAdministration
	events   *fakeEvents
	requests *fakeRequests
	swap     func(*auth.Tokens, error) // what is in force, see swappable
	previews *fakePreviews
	bench    *fakeBench
	state    *engine.State
	tokens   map[string]string // by role, and "expired", "revoked"
	now      time.Time
}

var testNow = time.Date(2025, 7, 1, 12, 0, 0, 0, time.UTC)

// newBed makes one; change may alter the configuration before New.
func newBed(t testing.TB, change func(*Config)) *bed {
	t.Helper()
	return newBedAt(t, testNow, change)
}

func newBedAt(t testing.TB, now time.Time, change func(*Config)) *bed {
	t.Helper()
	b := &bed{now: now, tokens: map[string]string{}}
	var list []auth.Token
	add := func(as string, role auth.Role, born time.Time, revoked *time.Time) {
		plain, tok, err := auth.NewToken(auth.NewTokenRequest{Name: as + "-token", Role: role, CreatedBy: "test"}, born)
		if err != nil {
			t.Fatal(err)
		}
		tok.RevokedAt = revoked
		b.tokens[as], list = plain, append(list, tok)
	}
	for _, r := range auth.Roles() {
		add(string(r), r, b.now, nil)
	}
	add("expired", auth.Admin, b.now.Add(-2*auth.DefaultTTL), nil)
	add("revoked", auth.Admin, b.now, &testNow)
	tokens, err := auth.NewTokens(list)
	if err != nil {
		t.Fatal(err)
	}
	b.state = &engine.State{Active: verdict.Active{Revision: 7, Digest: "sha256:" + strings.Repeat("a", 64)}, Tokens: tokens}
	b.decider = &fakeDecider{
		current: func(context.Context) (*engine.State, error) { return b.state, nil },
		decide: func(context.Context, *engine.State, engine.Request) (engine.Answer, error) {
			return answer(t, verdict.Allow, true, engine.FromMemory), nil
		},
	}
	b.verdicts = &fakeVerdicts{
		verdict: func(context.Context, string) ([]byte, error) { return nil, ErrNotFound },
		basis: func(context.Context, string) (facts.Facts, map[string]facts.Frame, error) {
			return facts.Facts{}, nil, ErrNotFound
		},
		list: func(context.Context, VerdictFilter, string, int) (client.Page[client.Verification], error) {
			return client.Page[client.Verification]{}, nil
		},
		uses:     func(context.Context, string) ([]client.Use, error) { return nil, nil },
		question: func(context.Context, string) (Question, error) { return Question{}, nil },
	}
	b.past = &fakePast{
		reproduce: func(context.Context, string) (client.Reproduction, error) { return client.Reproduction{}, ErrNotFound },
		at: func(context.Context, string, time.Time) (client.PastVerdict, error) {
			return client.PastVerdict{}, ErrNotFound
		},
	}
	b.admin = &fakeAdministration{}
	b.events = &fakeEvents{live: make(chan Event, 16)}
	b.previews = &fakePreviews{}
	b.bench = &fakeBench{}
	b.requests = &fakeRequests{
		add: func(_ context.Context, q pep.Question) (client.VerdictRequestStatus, error) {
			return client.VerdictRequestStatus{ID: testID, State: client.RequestWaiting, Image: q.Image, CreatedAt: testNow}, nil
		},
		get: func(context.Context, string) (client.VerdictRequestStatus, string, error) {
			return client.VerdictRequestStatus{}, "", ErrNotFound
		},
	}
	cfg := Config{
		Requests: b.requests,
		Decider:  b.decider, Verdicts: b.verdicts, Past: b.past, Administration: b.admin, Previews: b.previews, Workbench: b.bench, ImageName: imageName, Events: b.events, Build: "test",
		Now: func() time.Time { return b.now },
	}
	if change != nil {
		change(&cfg)
	}
	if b.Server, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	return b
}

// imageName is enough of one for the images of these tests.
func imageName(image string) (string, error) {
	name, _, _ := strings.Cut(image, "@")
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name = name[:i]
	}
	if !strings.Contains(name, "/") {
		return "", errors.New("the image has no registry")
	}
	return name, nil
}

// answer is what the engine would give: its own encoding of a whole verdict.
func answer(t testing.TB, d verdict.Decision, allowed bool, from string) engine.Answer {
	t.Helper()
	builder := "https://github.com/slsa-framework/slsa-github-generator"
	signed := testNow.Add(-time.Hour)
	v := verdict.Verdict{
		ID: testID, Decision: d, Allowed: allowed, Image: testImage, Digest: "sha256:" + strings.Repeat("b", 64),
		Pinned: "registry.example/org/server@sha256:" + strings.Repeat("b", 64),
		Policies: []verdict.PolicyVerdict{{
			Name: "default", Revision: "1.0.0", Digest: "sha256:" + strings.Repeat("c", 64), ParamsDigest: "sha256:" + strings.Repeat("d", 64),
			Mode: verdict.Enforce, Decision: d, Reasons: []verdict.Reason{}, Warnings: []verdict.Reason{},
			SatisfiedBy: []verdict.Satisfied{{Requirement: "signature", Facts: []string{"sha256:" + strings.Repeat("e", 64)}}},
		}},
		Reasons: []verdict.Reason{}, Warnings: []verdict.Reason{},
		Signature:       verdict.SignatureInfo{Found: true, Valid: true, Signer: "builder@example.com", Issuer: "https://accounts.example.com", SignedAt: &signed},
		TransparencyLog: verdict.LogInfo{Verified: true}, SLSA: verdict.SLSA{Level: 2, Builder: &builder},
		Coverage:    []verdict.Coverage{{Digest: "sha256:" + strings.Repeat("b", 64), Signed: true}},
		FactsDigest: "sha256:" + strings.Repeat("f", 64), Active: verdict.Active{Revision: 7, Digest: "sha256:" + strings.Repeat("a", 64)},
		Build: "test", EvaluatedAt: testNow, ExpiresAt: testNow.Add(time.Minute),
	}
	a := engine.Answer{From: from, Decision: d, Allowed: allowed}
	if d != verdict.Allow {
		v.Reasons = []verdict.Reason{{
			Code: "image_not_signed", Message: "Image " + testImage + " is not signed. Signature required.",
			Remediation: "Sign it.", Rule: "require_signature", Fact: "sha256:" + strings.Repeat("e", 64),
			Nearest: &verdict.Nearest{Fact: "sha256:" + strings.Repeat("e", 64), Principal: "p", Signer: "s", Field: "issuer", Want: "a", Have: "b", Why: "the issuer differs"},
		}}
		v.Policies[0].Reasons = v.Reasons
		v.TransparencyLog = verdict.LogInfo{Reason: "no verified signature"}
		v.SLSA.Builder, v.Signature.SignedAt = nil, nil
	}
	if d == verdict.Unknown {
		v.RetryAfter, a.RetryAfter = 30, 30
	}
	body, err := encode(v)
	if err != nil {
		t.Fatal(err)
	}
	a.Body = body
	return a
}

// request makes one with the token of as ("" for none).
func (b *bed) request(t testing.TB, as, method, path, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body == "" {
		r.Body = http.NoBody
	} else {
		r.Header.Set("Content-Type", mediaJSON)
	}
	if as != "" {
		r.Header.Set("Authorization", "Bearer "+b.tokens[as])
	}
	return r
}

// recorded sends r without holding the answer against anything.
func recorded(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// metric is the sum of all series of one name.
func (b *bed) metric(t testing.TB, name string) float64 {
	t.Helper()
	w := recorded(b, b.request(t, "viewer", http.MethodGet, "/metrics", ""))
	var sum float64
	for line := range strings.Lines(w.Body.String()) {
		series, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if base, _, _ := strings.Cut(series, "{"); !ok || base != name {
			continue
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			t.Fatalf("metric %s: %v", line, err)
		}
		sum += n
	}
	return sum
}

// someFacts has one of everything.
func someFacts(t testing.TB) facts.Facts {
	t.Helper()
	at := testNow.Add(-time.Hour)
	subject := "sha256:" + strings.Repeat("b", 64)
	sig := facts.Signature{
		ID: "sha256:" + strings.Repeat("1", 64), SubjectDigest: subject, Format: facts.FormatBundle, SignedAt: &at, TrustRoot: "public-good",
		Annotations: map[string]string{"team": "a"}, Principal: "https://issuer.example ci@example.com",
		Signer:       facts.Signer{Kind: facts.KindCertificate, Issuer: "https://issuer.example", Subject: "ci@example.com", Claims: map[string]string{"runner_environment": "github-hosted"}, Fingerprint: strings.Repeat("2", 64), Algorithm: "ecdsa-p256"},
		Transparency: []facts.LogEntry{{Log: "https://log.example", LogID: "ab", Index: 7, IntegratedAt: &at, Proof: facts.ProofPromise}, {Log: "https://log.example", LogID: "ab", Proof: facts.ProofInclusion}},
		Timestamps:   []facts.Timestamp{{Authority: "CN=tsa", Time: at}},
	}
	f, err := facts.New(facts.Proven{
		Subject:    facts.Subject{Digest: subject, MediaType: "application/vnd.oci.image.index.v1+json", Platforms: []facts.Platform{{OS: "linux", Architecture: "amd64", Digest: "sha256:" + strings.Repeat("3", 64)}}},
		Signatures: []facts.Signature{sig},
		Attestations: []facts.Attestation{{
			Signature: sig, PredicateType: "https://slsa.dev/provenance/v1", PayloadDigest: subject, Predicate: []byte(`{"a":["<b>",1]}`),
			StatementSubjects: []facts.StatementSubject{{Name: "app", Digest: map[string]string{"sha256": strings.Repeat("b", 64)}}},
		}},
		Rejections: []facts.Rejection{{ID: "sha256:" + strings.Repeat("4", 64), MediaType: "application/json", Where: "somewhere", Code: facts.CodeMalformed, Message: "is broken"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func someFrame() facts.Frame {
	subject := "sha256:" + strings.Repeat("b", 64)
	tag := "v1"
	return facts.Frame{
		EvaluatedAt: testNow, ClockSkew: time.Minute,
		Request:  facts.Request{Image: testImage, Context: map[string]string{"stage": "prod"}, Roles: []string{"verifier"}},
		Registry: "registry.example", Repository: "org/server", Tag: &tag,
		Search: facts.Search{
			Complete: true, Repositories: []string{"registry.example/org/server"}, ReferrersAPI: "found", FallbackTag: "not_asked", CosignTags: "empty", Items: 2,
			Problems: []facts.Problem{{Code: "registry_unavailable", Where: "there", Message: "slow"}},
		},
		Matches:        []facts.Match{{Requirement: "signature", Signers: []string{"default/1"}, Principals: []string{"p"}, Count: 1}},
		TrustedSigners: map[string][]string{subject + " sha256:" + strings.Repeat("1", 64): {"default/1"}},
		Trust:          []facts.TrustInfo{{Name: "public-good", Digest: subject, Age: 5, TransparencyLog: true}},
	}
}
