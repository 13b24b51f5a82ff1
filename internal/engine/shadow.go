package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/signet-policy/signet/internal/verdict"
)

const (
	// maxShadows bounds the verdicts whose shadows wait or are worked on; what they
	// were decided on is whole in memory.
	maxShadows = 32
	// shadowTime bounds the work on one shadow, its keys and its evaluation.
	shadowTime = 5 * time.Second
)

// What the comparison of a shadow with what was decided comes to.
const (
	ShadowAgrees       = "agree"
	ShadowWouldAllow   = "would_allow"
	ShadowWouldDeny    = "would_deny"
	ShadowWouldNotKnow = "would_not_know"
)

// ShadowVerdict is what a policy of mode shadow said beside a verdict.
type ShadowVerdict struct {
	// VerificationID is the verdict's, Image what was asked about, Name its
	// normalised name.
	VerificationID, Image, Name string
	Verdict                     verdict.PolicyVerdict
	// Of is the policy that it is compared with, "" for the whole verdict, and
	// ComparedWith that one's decision.
	Of           string
	ComparedWith verdict.Decision
	At           time.Time
}

// Outcome is one of ShadowAgrees, ShadowWouldAllow, ShadowWouldDeny and
// ShadowWouldNotKnow.
func (s ShadowVerdict) Outcome() string {
	switch {
	case s.Verdict.Decision == s.ComparedWith:
		return ShadowAgrees
	case s.Verdict.Decision == verdict.Allow:
		return ShadowWouldAllow
	case s.Verdict.Decision == verdict.Deny:
		return ShadowWouldDeny
	}
	return ShadowWouldNotKnow
}

// ShadowRecorder keeps what shadows said. What cannot be kept is lost, and nobody's
// verdict with it.
type ShadowRecorder interface {
	RecordShadows(ctx context.Context, list []ShadowVerdict) error
}

// ShadowCount counts the verdicts of one shadow with one outcome.
type ShadowCount struct {
	Policy, Outcome string
	Count           int64
}

// shadows is the work that is done after answers are given.
type shadows struct {
	mu     sync.Mutex
	closed bool
	under  int // way: waiting or worked on
	work   sync.WaitGroup
	// turn is held by who works: shadows take one processor at most.
	turn sync.Mutex

	counts  map[ShadowCount]int64 // by policy and outcome
	dropped int64
}

// ShadowCounts gives how often each shadow came to which outcome, and how many
// verdicts had no shadow evaluated, because too many waited or something failed.
func (e *Engine) ShadowCounts() (counts []ShadowCount, dropped int64) {
	e.shadows.mu.Lock()
	defer e.shadows.mu.Unlock()
	for key, n := range e.shadows.counts {
		key.Count = n
		counts = append(counts, key)
	}
	slices.SortFunc(counts, func(a, b ShadowCount) int { return strings.Compare(a.Policy+" "+a.Outcome, b.Policy+" "+b.Outcome) })
	return counts, e.shadows.dropped
}

// Close waits for the shadows under way, and begins no more. Verdicts can still be
// asked for.
func (e *Engine) Close() {
	e.shadows.mu.Lock()
	e.shadows.closed = true
	e.shadows.mu.Unlock()
	e.shadows.work.Wait()
}

// shadow evaluates the policies of mode shadow that speak of the image, beside the
// answer, which is on its way: v is recorded, and is only read.
func (e *Engine) shadow(st *State, g *gathered, req Request, v *verdict.Verdict) {
	if e.cfg.Shadows == nil || g.Problem != nil {
		return // nothing is known of the image, so there is nothing to compare
	}
	in := slices.DeleteFunc(slices.Clone(st.Shadows), func(p Policy) bool { return !p.Applies(g.Subject.Name()) || !p.when(req.Context) })
	if len(in) == 0 {
		return
	}
	e.shadows.mu.Lock()
	defer e.shadows.mu.Unlock()
	if e.shadows.closed || e.shadows.under >= maxShadows {
		e.shadows.dropped++
		return
	}
	e.shadows.under++
	e.shadows.work.Go(func() { e.workOnShadows(st, in, g, req, v) })
}

func (e *Engine) workOnShadows(st *State, in []Policy, g *gathered, req Request, v *verdict.Verdict) {
	var list []ShadowVerdict
	defer func() {
		e.shadows.mu.Lock()
		defer e.shadows.mu.Unlock()
		e.shadows.under--
		if len(list) < len(in) {
			e.shadows.dropped++
		}
		if e.shadows.counts == nil {
			e.shadows.counts = map[ShadowCount]int64{}
		}
		for _, s := range list {
			e.shadows.counts[ShadowCount{Policy: s.Verdict.Name, Outcome: s.Outcome()}]++
		}
	}()
	e.shadows.turn.Lock()
	defer e.shadows.turn.Unlock()
	for _, p := range in {
		if pv, ok := e.judgeShadow(st, p, g, req, v.EvaluatedAt); ok {
			list = append(list, compare(v, p, pv, g.Subject.Name()))
		}
	}
	if len(list) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), shadowTime)
	defer cancel()
	if err := e.cfg.Shadows.RecordShadows(ctx, list); err != nil {
		e.cfg.Log.WarnContext(ctx, "recording what policies in shadow said", "verdict", v.ID, "error", err)
		list = nil
	}
}

// judgeShadow is one shadow's part, as it would be in the place of the policies in
// force; false where it failed.
func (e *Engine) judgeShadow(st *State, p Policy, g *gathered, req Request, at time.Time) (pv verdict.PolicyVerdict, ok bool) {
	ctx, cancel := context.WithTimeout(context.Background(), shadowTime)
	defer cancel()
	defer func() {
		if r := recover(); r != nil {
			e.cfg.Log.ErrorContext(ctx, "panic in a policy in shadow", "policy", p.Name, "image", req.Image, "panic", fmt.Sprint(r))
			pv, ok = verdict.PolicyVerdict{}, false
		}
	}()
	g, err := e.factsFor(ctx, st, p, g, req, at)
	if err != nil {
		e.cfg.Log.WarnContext(ctx, "verifying for a policy in shadow", "policy", p.Name, "image", req.Image, "error", err)
		return verdict.PolicyVerdict{}, false
	}
	b := e.basis(st, req, g)
	j := judgeOne(ctx, st, p, &b, g.Facts, at)
	if j.alarm != nil { // no alarm: it is being tried
		e.cfg.Log.WarnContext(ctx, "policy error in shadow", "policy", p.Name, "image", req.Image, "error", j.alarm)
	}
	return j.verdict, true
}

// factsFor verifies again where the shadow trusts keys: what was decided by others
// rests on facts that were found without them, and must.
func (e *Engine) factsFor(ctx context.Context, st *State, p Policy, g *gathered, req Request, at time.Time) (*gathered, error) {
	name := g.Subject.Name()
	if keys, _ := p.Signers.KeysInScope(name, at, 1); len(keys) == 0 {
		return g, nil
	}
	f, err := st.Verify(ctx, g.Subject, g.items, scopeKeys{append(st.scope(name, req.Context), p), name, at})
	if err != nil {
		return nil, err
	}
	own := *g
	own.Facts = f
	return &own, nil
}

// compare puts a shadow's part beside the one of the policy that it names, or the
// whole verdict where that has none that was evaluated.
func compare(v *verdict.Verdict, p Policy, pv verdict.PolicyVerdict, name string) ShadowVerdict {
	s := ShadowVerdict{VerificationID: v.ID, Image: v.Image, Name: name, Verdict: pv, ComparedWith: v.Decision, At: v.EvaluatedAt}
	for _, other := range v.Policies {
		if p.ShadowOf != "" && other.Name == p.ShadowOf && other.Mode != verdict.Disabled {
			s.Of, s.ComparedWith = other.Name, other.Decision
		}
	}
	return s
}
