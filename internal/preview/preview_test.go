package preview

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/signers"
	"github.com/signet-policy/signet/internal/verdict"
)

var now = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// set is a policy that allows until a time.
type set struct {
	until time.Time
	code  string
}

func (s *set) Revision() string             { return "" }
func (s *set) Digest() string               { return s.code + s.until.String() }
func (s *set) ParamsDigest() string         { return "" }
func (s *set) Monotone() bool               { return false }
func (s *set) Context() map[string][]string { return nil }

func (s *set) Evaluate(_ context.Context, in *facts.Input) (verdict.Result, error) {
	if in.EvaluatedAt.Before(s.until) {
		return verdict.Result{Allow: true}, nil
	}
	return verdict.Result{Violations: []verdict.Reason{{Code: s.code, Message: "Image " + in.Request.Image + " is late."}}}, nil
}

// noSource is of an engine that only decides again.
type noSource struct{}

var errNoSource = errors.New("nothing is asked of anybody")

func (noSource) Parse(string) (engine.Asked, error) { return engine.Asked{}, errNoSource }
func (noSource) Resolve(context.Context, evidence.Query) (facts.Subject, error) {
	return facts.Subject{}, errNoSource
}
func (noSource) Collect(context.Context, facts.Subject, evidence.Query) (evidence.Found, error) {
	return evidence.Found{}, errNoSource
}

func newState(t *testing.T, s *set) *engine.State {
	t.Helper()
	nobody, err := signers.Compile(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &engine.State{Policies: []engine.Policy{{
		Name: "default", Mode: verdict.Enforce, Applies: func(string) bool { return true }, Set: s, Signers: nobody,
		Counts: func(facts.Signature, []facts.TrustInfo) bool { return true },
	}}}
}

// source gives rows in pages of ten.
type source struct {
	rows []Row
	at   int
	// origin is of every row.
	origin *Origin
	fail   error
}

func (s *source) Count(context.Context) (int64, error) { return int64(len(s.rows)), nil }

func (s *source) Next(context.Context) ([]Row, int64, error) {
	if s.at == len(s.rows) {
		return nil, int64(s.at), s.fail
	}
	from := s.at
	s.at = min(s.at+10, len(s.rows))
	return s.rows[from:s.at], int64(s.at), nil
}

func (s *source) Evidence(context.Context, string) ([]byte, error) { return nil, errNoSource }

func (s *source) Origin(context.Context, verdict.Active) (*Origin, error) { return s.origin, nil }

// row is the n-th verdict, the newest first, on one of a number of images.
func row(t *testing.T, n, images int) Row {
	t.Helper()
	digest := fmt.Sprintf("sha256:%064x", n%images)
	f, err := facts.New(facts.Proven{Subject: facts.Subject{Digest: digest}})
	if err != nil {
		t.Fatal(err)
	}
	asked := engine.Asked{Registry: "ghcr.io", Repository: fmt.Sprintf("acme/app-%d", n%images), Tag: "v1"}
	image := asked.Name() + ":v1"
	body, err := engine.Basis{
		Image: image, Asked: asked, Subject: facts.Subject{Registry: asked.Registry, Repository: asked.Repository, Digest: digest},
		Search: facts.Search{Complete: true},
	}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return Row{
		ID: fmt.Sprintf("%04d", n), At: now.Add(-time.Duration(n) * time.Minute), Image: image, Digest: digest, Decision: verdict.Allow, Allowed: true,
		Build: "test", FactsDigest: f.Digest(), Uses: 2,
		Basis: func() ([]byte, error) { return body, nil },
		Facts: func(context.Context) (facts.Facts, int, error) { return f, 100, nil },
	}
}

func newConfig(t *testing.T, verdicts, images int, before, after *set) (Config, *source) {
	t.Helper()
	e, err := engine.New(engine.Config{Source: noSource{}, Current: func(context.Context) (*engine.State, error) { return nil, errNoSource }, Build: "test"})
	if err != nil {
		t.Fatal(err)
	}
	in := newState(t, before)
	src := &source{origin: &Origin{State: in, Roots: "r", Current: true}}
	for n := range verdicts {
		src.rows = append(src.rows, row(t, n, images))
	}
	return Config{
		Engine: e, Source: src, Build: "test", InForce: Side{in, "r"}, Candidate: Side{newState(t, after), "r"},
		Now: now, At: now, Since: now.Add(-24 * time.Hour), MaxStaleness: time.Hour, Workers: 4,
	}, src
}

func mustRun(t *testing.T, cfg Config) *Result {
	t.Helper()
	res, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

var (
	always = &set{until: now.Add(1000 * time.Hour), code: "late"}
	never  = &set{code: "never"}
)

// Many verdicts on one question are one flip, which counts them all and names the
// newest.
func TestQuestionsAreCountedOnce(t *testing.T) {
	cfg, _ := newConfig(t, 95, 5, always, never)
	flips, last := 0, Progress{}
	cfg.Emit = func(e Event) error {
		if e.Flip != nil {
			flips++
		} else {
			last = *e.Progress
		}
		return nil
	}
	res := mustRun(t, cfg)
	if !res.Complete || !res.Exact || res.Total != (Count{5, 95}) || res.AllowToDeny != (Count{5, 95}) || len(res.Flips) != 5 || flips != 5 {
		t.Errorf("%+v, %d flips told", res, flips)
	}
	if last != (Progress{95, 95, 5}) {
		t.Errorf("the last progress is %+v", last)
	}
	newest := map[string]bool{}
	for _, f := range res.Flips {
		newest[f.VerdictID] = true
		if f.Verdicts != 19 || f.Uses != 19*3 || f.Before != verdict.Allow || f.After != verdict.Deny || f.Reasons[0].Code != "never" {
			t.Errorf("%+v", f)
		}
	}
	for _, id := range []string{"0000", "0001", "0002", "0003", "0004"} {
		if !newest[id] {
			t.Errorf("%s is the newest verdict on a question, and no flip names it: %v", id, newest)
		}
	}
	if g := res.Groups; len(g) != 1 || g[0].Count != (Count{5, 95}) || len(g[0].Images) != 5 || g[0].VerdictID != "0000" {
		t.Errorf("groups %+v", g[0])
	}
}

// Beyond the questions that are told apart, one is counted each time that it comes,
// and the result says so.
func TestTooManyQuestions(t *testing.T) {
	cfg, _ := newConfig(t, 60, 6, always, never)
	cfg.Questions, cfg.Limit, cfg.Workers = 3, 2, 1
	res := mustRun(t, cfg)
	if res.Exact || res.Total != (Count{3 + 30, 60}) || res.AllowToDeny != (Count{3 + 30, 60}) {
		t.Errorf("%+v", res)
	}
	if len(res.Flips) != 2 || !res.MoreFlips {
		t.Errorf("%d flips of 2, more: %t", len(res.Flips), res.MoreFlips)
	}
}

// A flip is the candidate's doing, or the date's: what was answered then and would
// be answered otherwise now, under what is in force, is none.
func TestFlipsAreTheCandidates(t *testing.T) {
	ended := &set{until: now.Add(-time.Second), code: "late"}
	for _, tt := range []struct {
		name          string
		before, after *set
		at            time.Time
		want          func(*Result) bool
	}{
		{"time alone has flipped it already", ended, &set{until: ended.until, code: "other"}, now, func(r *Result) bool { return r.Unchanged.Questions == 1 }},
		{"and the candidate allows it", ended, always, now, func(r *Result) bool { return r.DenyToAllow.Questions == 0 && r.Unchanged.Questions == 1 }},
		{"a date to come", always, always, now.Add(2000 * time.Hour), func(r *Result) bool { return r.AllowToDeny.Questions == 1 }},
		{"a date before the end", always, always, now.Add(time.Hour), func(r *Result) bool { return r.Unchanged.Questions == 1 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg, _ := newConfig(t, 1, 1, tt.before, tt.after)
			cfg.At = tt.at
			if res := mustRun(t, cfg); !tt.want(res) {
				t.Errorf("%+v", res)
			}
		})
	}
	// What another build, or another state, has answered is decided anew.
	cfg, src := newConfig(t, 1, 1, ended, always)
	src.rows[0].Build = "old"
	if res := mustRun(t, cfg); res.DenyToAllow.Questions != 1 || res.Groups[0].Code != "late" {
		t.Errorf("of another build: %+v", res)
	}
	cfg, src = newConfig(t, 1, 1, ended, always)
	src.origin.Current = false
	if res := mustRun(t, cfg); res.DenyToAllow.Questions != 1 {
		t.Errorf("of another state: %+v", res)
	}
}

// slow is a policy that answers no question in time.
type slow struct{ *set }

func (slow) Evaluate(context.Context, *facts.Input) (verdict.Result, error) {
	return verdict.Result{}, engine.ErrTimeLimit
}

func TestTimeLimitIsNoFlip(t *testing.T) {
	cfg, _ := newConfig(t, 1, 1, always, never)
	cfg.Candidate.State.Policies[0].Set = slow{never}
	if res := mustRun(t, cfg); res.NotReplayable.Questions != 1 || res.Skipped[0].Reason != TimeLimit || len(res.Flips) != 0 {
		t.Errorf("%+v", res)
	}
}

// Keys or trust roots that differ want evidence.
func TestOtherRootsWantEvidence(t *testing.T) {
	cfg, src := newConfig(t, 1, 1, always, never)
	cfg.Candidate.Roots = "others"
	src.rows[0].EvidenceDigest = "sha256:e"
	if res := mustRun(t, cfg); res.NotReplayable.Questions != 1 || res.Skipped[0].Reason != EvidenceDamaged || res.Unchanged.Questions != 0 {
		t.Errorf("%+v", res)
	}
}

// What ends a preview ends it; nothing is told of what was not looked at.
func TestPreviewFails(t *testing.T) {
	cfg, src := newConfig(t, 30, 30, always, never)
	src.fail = errors.New("the store is away")
	if _, err := Run(t.Context(), cfg); !errors.Is(err, src.fail) {
		t.Errorf("error %v", err)
	}
	cfg, _ = newConfig(t, 30, 30, always, never)
	gone := errors.New("gone")
	cfg.Emit = func(Event) error { return gone }
	if _, err := Run(t.Context(), cfg); !errors.Is(err, ErrEmit) || !errors.Is(err, gone) {
		t.Errorf("error %v", err)
	}
	cfg, src = newConfig(t, 1, 1, always, never)
	src.rows[0].Basis = func() ([]byte, error) { panic("oh") }
	if _, err := Run(t.Context(), cfg); err == nil {
		t.Error("a panic is no error")
	}
	ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	cfg, _ = newConfig(t, 30, 30, always, never)
	if res, err := Run(ctx, cfg); err != nil || res.Complete || res.Why == "" {
		t.Errorf("%+v, error %v", res, err)
	}
}

func TestFactsCacheIsBounded(t *testing.T) {
	c := newFactsCache(250)
	for i := range 5 {
		c.put(fmt.Sprint(i), facts.Facts{}, 100)
	}
	c.put("large", facts.Facts{}, 1000)
	if _, old := c.get("2"); old || len(c.facts) > 2 {
		t.Errorf("%d facts are kept", len(c.facts))
	}
}
