package engine

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"
	"golang.org/x/sync/singleflight"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/verdict"
)

// Cache keeps bytes until their own expiry. Whatever is wrong with it is a miss.
type Cache interface {
	// Get also tells which tier had the value: FromMemory or FromRedis.
	Get(ctx context.Context, purpose string, key [32]byte, now time.Time) (value []byte, expiry time.Time, tier string, ok bool)
	Put(ctx context.Context, purpose string, key [32]byte, value []byte, expiry time.Time)
}

// Record is one computed verdict with all that is needed to reproduce it.
type Record struct {
	Verdict *verdict.Verdict
	Body    []byte
	// Basis, Facts and Items (the evidence that the facts were made of) are what it
	// was decided on; Frames, by policy, follow from them.
	Basis  Basis
	Facts  facts.Facts
	Items  []evidence.Item
	Frames map[string]facts.Frame
	// ImageName is the image's normalised name, found or not.
	ImageName string
	Principal string
	// AssessmentID and Labels are the caller's words, recorded and nothing else.
	AssessmentID string
	Labels       map[string]string
	Decided      time.Time
}

// Repeat is a verdict that was given again, from a cache or from work under way,
// to a caller whose assessment wants a row of its own.
type Repeat struct {
	// Original is the id of the verdict that is repeated; ID and Body are those
	// of the row to be made.
	Original, ID string
	Body         []byte
	Principal    string
	AssessmentID string
	Labels       map[string]string
	At           time.Time
}

// Recorder keeps verdicts. A verdict that cannot be recorded is not given: the
// caller gets unknown.
type Recorder interface {
	Record(ctx context.Context, r Record) error
	// Repeat errs with [ErrForgotten] when the original is not kept any more.
	Repeat(ctx context.Context, r Repeat) error
	// Defer takes a verdict that could not be recorded now, for a cause that Record
	// gave, to record it when the store is back; false when it cannot take any more,
	// or the store's return would mend nothing. It is asked only while the operator
	// accepts the last known state.
	Defer(r Record, cause error) bool
}

// Uses counts how often a verdict was given again. It must not block.
type Uses interface {
	Add(verdictID, principal string, at time.Time)
}

// Decisions is told of every verdict that is given, repeated ones too. It must not
// block, and must not change what it is given.
type Decisions interface {
	Decided(d Decided)
}

// Decided is one verdict that was given.
type Decided struct {
	Request Request
	Answer  Answer
	// At is when it was given, Took how long that took.
	At   time.Time
	Took time.Duration
}

// Config of an engine. Source, Current and Build are needed.
type Config struct {
	Source Source
	// Current gives what is in force now. It is called once per request, and
	// what was acknowledged before the request must be in it.
	Current func(ctx context.Context) (*State, error)
	// Cache, Recorder, Uses and Decisions are optional: the command line has none.
	Cache     Cache
	Recorder  Recorder
	Uses      Uses
	Decisions Decisions
	// Attester gives the verifier's own word about verdicts, where it is asked for;
	// nil: nobody can give it.
	Attester Attester
	// Shadows keeps what policies of mode shadow said; nil: they are not evaluated.
	Shadows ShadowRecorder
	// Second gives second opinions; nil: nobody does.
	Second SecondVerifier
	Limits evidence.Limits
	// Settings is a digest of what this process was configured with and active
	// does not name: processes that differ in it share no cached results.
	Settings string
	// DecisionMaxAge bounds how long an answer may be repeated (60 s).
	DecisionMaxAge time.Duration
	// MaxStaleness bounds the age of a trust root that is to be refreshed (14 days).
	MaxStaleness time.Duration
	// Deadline bounds the work on one verdict (30 s).
	Deadline time.Duration
	// Build names this binary; results of other builds are never reused.
	Build string
	Now   func() time.Time
	Log   *slog.Logger
}

// Engine decides. It is safe for concurrent use.
type Engine struct {
	cfg     Config
	flights singleflight.Group
	stats   Stats
	shadows shadows
}

// Stats counts what the engine did since it started.
type Stats struct {
	Hits, Misses, Alarms atomic.Int64
	Allow, Deny, Unknown atomic.Int64
}

// New checks cfg and fills in defaults.
func New(cfg Config) (*Engine, error) {
	switch {
	case cfg.Source == nil:
		return nil, errors.New("engine: Config.Source is missing")
	case cfg.Current == nil:
		return nil, errors.New("engine: Config.Current is missing")
	case cfg.Build == "":
		return nil, errors.New("engine: Config.Build is missing: results of different builds must not mix")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Limits == (evidence.Limits{}) {
		cfg.Limits = evidence.DefaultLimits()
	}
	cfg.DecisionMaxAge = orDefault(cfg.DecisionMaxAge, time.Minute)
	cfg.MaxStaleness = orDefault(cfg.MaxStaleness, 14*24*time.Hour)
	cfg.Deadline = orDefault(cfg.Deadline, 30*time.Second)
	return &Engine{cfg: cfg}, nil
}

func orDefault(d, def time.Duration) time.Duration {
	if d <= 0 {
		return def
	}
	return d
}

// Request asks for a verdict.
type Request struct {
	Image    string
	Platform string
	Context  map[string]string
	// Roles of the principal, given to the policy.
	Roles     []string
	Principal string
	// AssessmentID and Labels are the caller's words: recorded, never in the input
	// and never in a key. With an assessment the answer has a row of its own.
	AssessmentID string
	Labels       map[string]string
	// RequestID names the call, and BatchID the batch that it is an item of: for the
	// decision log alone.
	RequestID, BatchID string
	// Refresh bypasses leases and cached answers.
	Refresh      bool
	EvidenceOnly bool
	// Attest asks for an attestation of the verdict beside it.
	Attest bool
	// Evidence are Sigstore bundles that count beside what is found, for this answer
	// alone.
	Evidence [][]byte
}

// Where an answer came from.
const (
	FromMemory = "memory"
	FromRedis  = "redis"
	FromMiss   = "miss"
)

// Answer is a verdict as bytes, with what the faces need to know of it.
type Answer struct {
	Body       []byte
	From       string
	Decision   verdict.Decision
	Allowed    bool
	RetryAfter int
	// Recorded says that the verdict can be read again by its id, now or, under
	// active.grace, when the store is back.
	Recorded bool
}

// Current gives what is in force, for one request.
func (e *Engine) Current(ctx context.Context) (*State, error) { return e.cfg.Current(ctx) }

// Stats gives the counters.
func (e *Engine) Stats() *Stats { return &e.stats }

// Decide answers req under st, which the caller got from [Engine.Current] for
// this very request. An error wraps [ErrInvalid] or is the end of ctx; whatever
// else goes wrong is an unknown verdict.
func (e *Engine) Decide(ctx context.Context, st *State, req Request) (Answer, error) {
	if e.cfg.Decisions == nil {
		a, err := e.decide(ctx, st, req)
		return e.attested(ctx, st, req, a, err)
	}
	begun := e.cfg.Now()
	a, err := e.decide(ctx, st, req)
	if err == nil {
		at := e.cfg.Now()
		e.cfg.Decisions.Decided(Decided{Request: req, Answer: a, At: at, Took: at.Sub(begun)})
	}
	return e.attested(ctx, st, req, a, err)
}

func (e *Engine) decide(ctx context.Context, st *State, req Request) (Answer, error) {
	// What is in the cache under this key was a good request when it was put there,
	// under the same active: it needs no second look.
	key := answerKey(e.cfg.Build+e.cfg.Settings, st, req)
	fresh := req.Refresh || e.cfg.Cache == nil // what is cached will not do
	if !fresh {
		if a, ok := e.cached(ctx, key); ok {
			again, err := e.again(ctx, st, req, a)
			if !errors.Is(err, ErrForgotten) {
				e.stats.Hits.Add(1)
				return again, err
			}
			fresh = true
		}
	}
	asked, err := e.check(st, req)
	if err != nil {
		return Answer{}, err
	}
	e.stats.Misses.Add(1)
	// A refresh must not join older work.
	a, own, err := e.fly(ctx, st, req, asked, key, fresh, fresh && e.cfg.Cache != nil)
	if own || err != nil {
		return a, err
	}
	again, err := e.again(ctx, st, req, a)
	switch {
	case !errors.Is(err, ErrForgotten):
		return again, err
	case e.cfg.Recorder == nil || a.Decision == verdict.Unknown: // it was never to be recorded: there is nothing to repeat
		return a, nil
	}
	// What was joined waits to be recorded, and an assessment wants a row now.
	a, _, err = e.fly(ctx, st, req, asked, key, true, true)
	return a, err
}

// fly computes an answer, or alone is false and somebody else is at it: then it
// waits for theirs, which is not the caller's own. fresh says that what is cached
// will not do.
func (e *Engine) fly(ctx context.Context, st *State, req Request, asked Asked, key [32]byte, fresh, alone bool) (a Answer, own bool, err error) {
	flight := string(key[:])
	if alone {
		flight += ulid.Make().String()
	}
	// The work goes on when the first caller leaves: others wait for it, and
	// the next to ask finds it in the cache.
	led := false // written before done is sent to, if at all
	done := e.flights.DoChan(flight, func() (any, error) {
		if !fresh { // the flight before may have landed since we looked
			if a, ok := e.cached(ctx, key); ok {
				return a, nil
			}
		}
		led = true
		work, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.cfg.Deadline)
		defer cancel()
		return e.compute(work, st, req, asked, key)
	})
	select {
	case r := <-done:
		a, _ := r.Val.(Answer)
		return a, led, r.Err
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return e.unknown(st, req, asked, verdict.Reason{
				Code: ReasonStillVerifying, Rule: "engine",
				Message:     "Verification of " + req.Image + " was not finished in time.",
				Remediation: "Ask again: the work goes on, and its result is kept.",
			}, 2), true, nil
		}
		return Answer{}, true, ctx.Err()
	}
}

// Examination is a verdict with the documents that it was decided on, for a
// person at a command line. It is neither recorded nor cached.
type Examination struct {
	Verdict *verdict.Verdict
	// Body is the verdict as every face gives it.
	Body []byte
	// Inputs are the documents by policy; empty when the image could not be
	// resolved or no policy speaks of it.
	Inputs map[string]facts.Input
}

// Examine goes the same way as [Engine.Decide], and shows its work.
func (e *Engine) Examine(ctx context.Context, st *State, req Request) (Examination, error) {
	asked, err := e.check(st, req)
	if err != nil {
		return Examination{}, err
	}
	g := e.gather(ctx, st, req, asked)
	if err := g.mistake(); err != nil {
		return Examination{}, err
	}
	_, d := e.judge(ctx, st, req, g)
	body, err := encode(d.verdict)
	if err != nil {
		return Examination{}, err
	}
	x := Examination{Verdict: d.verdict, Body: body, Inputs: map[string]facts.Input{}}
	for name, fr := range d.frames {
		x.Inputs[name] = facts.NewInput(g.Facts, fr)
	}
	return x, nil
}

// Facts gathers what is known of an image as policy p would read it, whether p
// speaks of the image or not. The document tells how the search went.
func (e *Engine) Facts(ctx context.Context, st *State, p Policy, req Request, showUnmatched bool) (facts.Input, error) {
	asked, err := e.check(st, req)
	if err != nil {
		return facts.Input{}, err
	}
	g := e.gather(ctx, st, req, asked)
	if err := g.mistake(); err != nil {
		return facts.Input{}, err
	}
	b := e.basis(st, req, g)
	fr := frame(st, p, &b, g.Facts, e.now())
	fr.ShowUnmatched = showUnmatched
	in := facts.NewInput(g.Facts, fr)
	if g.Subject.Digest == "" { // not resolved: name at least what was asked for
		in.Subject.Registry, in.Subject.Repository, in.Subject.Digest = asked.Registry, asked.Repository, asked.Digest
		if asked.Tag != "" {
			in.Subject.Tag = &asked.Tag
		}
	}
	return in, nil
}

// check refuses what the caller can mend, before anything is asked of anybody.
func (e *Engine) check(st *State, req Request) (Asked, error) {
	asked, err := e.cfg.Source.Parse(req.Image)
	if err != nil {
		return Asked{}, fmt.Errorf("%w: image: %w", ErrInvalid, err)
	}
	for k, v := range req.Context {
		if err := declared(st.named(asked.Name()), k, v); err != nil {
			return Asked{}, err
		}
	}
	return asked, checkGiven(req.Evidence, e.cfg.Limits)
}

// declared accepts a context key that some policy in scope declares with this value.
func declared(in []Policy, key, value string) error {
	known := false
	for _, p := range in {
		values, ok := p.Set.Context()[key]
		if v, wanted := p.When[key]; wanted {
			values, ok = append(slices.Clone(values), v), true
		}
		known = known || ok
		for _, v := range values {
			if v == value {
				return nil
			}
		}
	}
	if known {
		return fmt.Errorf("%w: context.%s: %q is not one of the values that the policy declares", ErrInvalid, key, value)
	}
	return fmt.Errorf("%w: context.%s: no policy for this image declares this key (.manifest, metadata.signet.context)", ErrInvalid, key)
}

// compute is the miss path. It never panics and never returns an allow that was
// not recorded where verdicts are recorded.
func (e *Engine) compute(ctx context.Context, st *State, req Request, asked Asked, key [32]byte) (a Answer, err error) {
	defer func() {
		if p := recover(); p != nil {
			e.stats.Alarms.Add(1)
			e.cfg.Log.ErrorContext(ctx, "panic while deciding", "image", req.Image, "panic", fmt.Sprint(p))
			a, err = e.unknown(st, req, asked, internalReason(), 10), nil
		}
	}()
	g := e.gather(ctx, st, req, asked)
	if err := g.mistake(); err != nil {
		return Answer{}, err
	}
	g.second = e.second(ctx, st, req, g)
	begins(ctx, StageDecide)
	b, d := e.judge(ctx, st, req, g)
	return e.finish(ctx, st, req, key, g, Record{Verdict: d.verdict, Basis: b, Facts: g.Facts, Frames: d.frames}), nil
}

// judge decides now over what was gathered, and raises an alarm for each policy
// that gave no usable answer.
func (e *Engine) judge(ctx context.Context, st *State, req Request, g *gathered) (Basis, decided) {
	b := e.basis(st, req, g)
	d := judge(ctx, e.cfg.Build, st, &b, g.Facts, e.now())
	for name, err := range d.alarms {
		e.stats.Alarms.Add(1)
		e.cfg.Log.ErrorContext(ctx, "policy error", "policy", name, "image", req.Image, "error", err)
	}
	return b, d
}

// finish encodes, records and caches a verdict, in this order. rec has the verdict
// and what it was decided on.
func (e *Engine) finish(ctx context.Context, st *State, req Request, key [32]byte, g *gathered, rec Record) Answer {
	v := rec.Verdict
	var err error
	if rec.Body, err = encode(v); err != nil {
		e.cfg.Log.ErrorContext(ctx, "encoding a verdict", "image", req.Image, "error", err)
		return e.unknown(st, req, g.Asked, internalReason(), 10)
	}
	recorded := false
	if e.cfg.Recorder != nil {
		rec.Items, rec.ImageName, rec.Principal = g.items, g.Asked.Name(), req.Principal
		rec.AssessmentID, rec.Labels, rec.Decided = req.AssessmentID, req.Labels, v.EvaluatedAt
		err := e.cfg.Recorder.Record(ctx, rec)
		recorded = err == nil
		if err != nil && (st.GraceNote == "" || !e.cfg.Recorder.Defer(rec, err)) {
			e.cfg.Log.ErrorContext(ctx, "recording a verdict", "image", req.Image, "error", err)
			return e.unknown(st, req, g.Asked, notRecorded(), retryNotRecorded)
		}
	}
	a := Answer{Body: rec.Body, From: FromMiss, Decision: v.Decision, Allowed: v.Allowed, RetryAfter: v.RetryAfter, Recorded: e.cfg.Recorder != nil}
	e.count(v.Decision)
	e.keep(ctx, st, key, g, a, v)
	if recorded {
		e.shadow(st, g, req, v)
	}
	return a
}

func (e *Engine) count(d verdict.Decision) {
	switch d {
	case verdict.Allow:
		e.stats.Allow.Add(1)
	case verdict.Deny:
		e.stats.Deny.Add(1)
	default:
		e.stats.Unknown.Add(1)
	}
}

// unknown makes an answer without facts, which is neither cached nor recorded.
func (e *Engine) unknown(st *State, req Request, asked Asked, why verdict.Reason, retry int) Answer {
	now := e.now()
	v := blank(e.cfg.Build, st, req.Image, asked.Digest, facts.Subject{Registry: asked.Registry, Repository: asked.Repository, Digest: asked.Digest}, now)
	v.Decision, v.Allowed = verdict.Unknown, false
	v.Reasons = []verdict.Reason{why}
	v.RetryAfter = retry
	body, err := encode(v)
	if err != nil { // no field of a blank verdict can fail to encode
		body = []byte(`{"decision":"unknown","allowed":false}`)
	}
	e.stats.Unknown.Add(1)
	return Answer{Body: body, From: FromMiss, Decision: verdict.Unknown, RetryAfter: retry}
}

// retryNotRecorded is in seconds.
const retryNotRecorded = 5

func notRecorded() verdict.Reason {
	return verdict.Reason{
		Code: ReasonStoreUnavailable, Rule: "engine",
		Message:     "The verdict could not be recorded, so it is not given.",
		Remediation: "Ask again; the operator finds the cause in the server's log and at /readyz.",
	}
}

func internalReason() verdict.Reason {
	return verdict.Reason{
		Code: ReasonInternal, Rule: "engine",
		Message:     "Something went wrong inside Signet; nothing was decided.",
		Remediation: "Ask again; the operator finds the cause in the server's log under this request id.",
	}
}

// now is in whole microseconds, UTC: what a store and JSON both keep.
func (e *Engine) now() time.Time { return e.cfg.Now().UTC().Truncate(time.Microsecond) }

func newID(at time.Time) string {
	return ulid.MustNew(ulid.Timestamp(at), rand.Reader).String()
}
