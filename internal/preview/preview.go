package preview

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/verdict"
)

const (
	defaultQuestions = 1 << 17
	defaultLimit     = 1000
	defaultEvery     = 500 * time.Millisecond
	// mostGroups bounds what rules can invent as reasons; what comes after is counted
	// under the code "other".
	mostGroups = 1000
	// factsKept bounds the facts that are kept decoded, by their encoded size.
	factsKept = 4 << 20
)

// ErrEmit wraps an error of [Config.Emit].
var ErrEmit = errors.New("telling what was found")

// Run looks at every verdict of the source, once each. A context that passes its
// deadline ends it early: the result is what was found until then, and not
// complete. Any other end, and an error of the source, is an error.
func Run(ctx context.Context, cfg Config) (*Result, error) {
	if cfg.Workers <= 0 {
		cfg.Workers = runtime.GOMAXPROCS(0)
	}
	if cfg.Limit <= 0 {
		cfg.Limit = defaultLimit
	}
	if cfg.Questions <= 0 {
		cfg.Questions = defaultQuestions
	}
	if cfg.Emit == nil {
		cfg.Emit = func(Event) error { return nil }
	}
	if cfg.Every <= 0 {
		cfg.Every = defaultEvery
	}
	cfg.Candidate.State = cfg.Candidate.State.Later(cfg.Now, cfg.At)
	r := &run{
		cfg: cfg, questions: map[[16]byte]*question{}, groups: map[groupKey]*Group{}, skipped: map[string]*Skipped{},
		boundary: cfg.InForce.State.LastBoundary(cfg.Since, cfg.Now, cfg.MaxStaleness), facts: newFactsCache(factsKept),
	}
	r.result.Exact = true
	total, err := cfg.Source.Count(ctx)
	if err == nil {
		err = r.all(ctx, total)
	}
	r.finish()
	switch {
	case err == nil:
		r.result.Complete = true
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		r.result.Why = "the time was up"
	default:
		return nil, err
	}
	return &r.result, nil
}

// run is a preview under way.
type run struct {
	cfg      Config
	boundary time.Time
	facts    *factsCache
	done     atomic.Int64

	mu        sync.Mutex
	questions map[[16]byte]*question
	groups    map[groupKey]*Group
	skipped   map[string]*Skipped
	flips     int64
	result    Result
}

type groupKey struct {
	direction    Direction
	policy, code string
}

// question is what is remembered of one: where its verdicts are counted.
type question struct {
	count *Count
	tally *Tally
	flip  *Flip
	// waiting are verdicts that came before it was decided.
	waiting []Row
	decided bool
}

// all reads and decides.
func (r *run) all(ctx context.Context, total int64) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	pages := make(chan []Row, 1)
	var workers sync.WaitGroup
	for range r.cfg.Workers {
		workers.Go(func() {
			for rows := range pages {
				for i := range rows {
					if ctx.Err() != nil {
						return
					}
					if err := r.look(ctx, &rows[i]); err != nil {
						stop(err)
						return
					}
				}
			}
		})
	}
	told := time.Now()
	err := func() error {
		defer close(pages)
		for {
			rows, done, err := r.cfg.Source.Next(ctx)
			if err != nil || rows == nil {
				return err
			}
			r.done.Store(done)
			for part := range slices.Chunk(rows, 32) {
				select {
				case pages <- part:
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			}
			if now := time.Now(); now.Sub(told) >= r.cfg.Every {
				told = now
				if err := r.progress(total); err != nil {
					return err
				}
			}
		}
	}()
	if err != nil {
		stop(err)
	}
	workers.Wait()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return r.progress(total)
}

func (r *run) progress(total int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.emit(Event{Progress: &Progress{Done: r.done.Load(), Total: max(total, r.done.Load()), Flips: r.flips}})
}

// emit is called under the lock.
func (r *run) emit(e Event) error {
	if err := r.cfg.Emit(e); err != nil {
		return fmt.Errorf("%w: %w", ErrEmit, err)
	}
	return nil
}

// outcome is what became of a question.
type outcome struct {
	// skipped is why it cannot be told, with message.
	skipped, message string
	before, after    verdict.Decision
	reasons          []Reason
}

func skip(reason, format string, args ...any) outcome {
	return outcome{skipped: reason, message: fmt.Sprintf(format, args...)}
}

// look takes one verdict. Its errors end the preview.
func (r *run) look(ctx context.Context, row *Row) (err error) {
	defer func() {
		if p := recover(); p != nil { // of this verdict alone, not of the process
			err = fmt.Errorf("panic while looking at verdict %s: %v", row.ID, p)
		}
	}()
	body, err := row.Basis()
	if err != nil {
		return fmt.Errorf("reading verdict %s: %w", row.ID, err)
	}
	var b engine.Basis
	var early outcome
	if body == nil {
		early = skip(NoBasis, "The verdict is of an older Signet, which did not keep what it was decided on.")
	} else if b, err = engine.DecodeBasis(body); err != nil {
		early = skip(BasisUnreadable, "What the verdict was decided on was kept by another version of Signet, and is not understood: %s.", err)
	} else if b.Problem != nil || row.FactsDigest == "" {
		early = skip(NotResolved, "The image could not be resolved, or its evidence not be read, so nothing is known of it.")
	}
	q, mine := r.claim(questionKey(row, &b), row)
	if !mine {
		return nil
	}
	o := early
	if o.skipped == "" {
		if o, err = r.decide(ctx, row, &b); err != nil {
			return err
		}
	}
	return r.settle(q, row, &b, o)
}

// claim counts a verdict to its question. The first who comes with a question
// decides it.
func (r *run) claim(key [16]byte, row *Row) (q *question, mine bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.result.ReachedTo.IsZero() || row.At.Before(r.result.ReachedTo) {
		r.result.ReachedTo = row.At
	}
	r.result.Total.Verdicts++
	if q, ok := r.questions[key]; ok {
		if q.decided {
			q.add(row)
		} else {
			q.waiting = append(q.waiting, Row{ID: row.ID, At: row.At, Uses: row.Uses, LastUsed: row.LastUsed})
		}
		return q, false
	}
	q = &question{}
	r.result.Total.Questions++
	if len(r.questions) < r.cfg.Questions {
		r.questions[key] = q
	} else {
		r.result.Exact = false
	}
	return q, true
}

// add counts one more verdict on a question that is decided.
func (q *question) add(row *Row) {
	q.count.Verdicts++
	if q.tally != nil {
		q.tally.Verdicts++
		q.tally.newer(row)
	}
	if f := q.flip; f != nil {
		f.Verdicts++
		f.Uses += 1 + row.Uses
		if row.At.After(f.newest) {
			f.newest, f.VerdictID = row.At, row.ID
		}
		f.LastAsked = later(f.LastAsked, later(row.At, row.LastUsed))
	}
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

func (t *Tally) newer(row *Row) {
	if t.VerdictID == "" || row.At.After(t.newest) {
		t.newest, t.VerdictID = row.At, row.ID
	}
}

// question adds one, under the lock.
func (t *Tally) question(image string) {
	t.Questions++
	switch {
	case slices.Contains(t.Images, image):
	case len(t.Images) < mostImages:
		t.Images = append(t.Images, image)
	default:
		t.MoreImages = true
	}
}

// settle counts what became of a question, and tells of a flip.
func (r *run) settle(q *question, row *Row, b *engine.Basis, o outcome) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	res := &r.result
	var direction Direction
	switch {
	case o.skipped != "":
		q.count = &res.NotReplayable
		s := r.skipped[o.skipped]
		if s == nil {
			s = &Skipped{Reason: o.skipped, Message: o.message}
			r.skipped[o.skipped] = s
		}
		q.tally = &s.Tally
	case o.before == o.after:
		q.count = &res.Unchanged
	case o.after == verdict.Unknown:
		q.count, direction = &res.ToUnknown, ToUnknown
	case o.before == verdict.Unknown:
		q.count, direction = &res.FromUnknown, FromUnknown
	case o.after == verdict.Allow:
		q.count, direction = &res.DenyToAllow, DenyToAllow
	default:
		q.count, direction = &res.AllowToDeny, AllowToDeny
	}
	q.count.Questions++
	var told error
	if direction != "" {
		q.tally = &r.group(direction, o.reasons).Tally
		r.flips++
		if len(res.Flips) < r.cfg.Limit {
			q.flip = &Flip{
				Image: row.asked(), Digest: row.Digest, Platform: b.Platform, Context: b.Context, Roles: b.Roles,
				Before: o.before, After: o.after, Direction: direction, Reasons: o.reasons,
			}
			res.Flips = append(res.Flips, q.flip)
		} else {
			res.MoreFlips = true
		}
	}
	if q.tally != nil {
		q.tally.question(row.asked())
	}
	q.decided = true
	q.add(row)
	for i := range q.waiting {
		q.add(&q.waiting[i])
	}
	q.waiting = nil
	if q.flip != nil {
		f := *q.flip
		told = r.emit(Event{Flip: &f})
	}
	return told
}

// group is that of a direction and its first reason.
func (r *run) group(d Direction, reasons []Reason) *Group {
	var why Reason
	if len(reasons) > 0 {
		why = reasons[0]
	}
	key := groupKey{d, why.Policy, why.Code}
	g := r.groups[key]
	if g == nil && len(r.groups) >= mostGroups {
		why = Reason{Code: "other", Message: "Reasons of their own, of which there are too many to list."}
		key = groupKey{d, "", why.Code}
		g = r.groups[key]
	}
	if g == nil {
		g = &Group{Direction: d, Reason: why}
		r.groups[key] = g
	}
	return g
}

// decide decides a question before and after.
func (r *run) decide(ctx context.Context, row *Row, b *engine.Basis) (outcome, error) {
	name := b.Asked.Name()
	before, after := r.cfg.InForce, r.cfg.Candidate
	if wanted := after.State.WantsAllPlatforms(name) || before.State.WantsAllPlatforms(name); wanted && !b.AllPlatforms && len(b.Subject.Platforms) > 0 {
		return skip(PlatformsNotSearched, "A policy would read the evidence of every platform of the image, and that was not looked for."), nil
	}
	origin, err := r.cfg.Source.Origin(ctx, row.Active)
	if err != nil {
		if ctx.Err() != nil {
			return outcome{}, context.Cause(ctx)
		}
		return skip(TrustUnknown, "What was in force when the verdict was given cannot be read: %s.", err), nil
	}
	holds := origin.Current && row.At.After(r.boundary)
	good := holds || verifies(before, r.cfg.Now, origin, row.At, name)
	goodAfter := verifies(after, r.cfg.At, origin, row.At, name)
	if good && goodAfter && r.cfg.At.Equal(r.cfg.Now) && before.State.Alike(after.State, name) {
		return outcome{before: verdict.Allow, after: verdict.Allow}, nil // whatever it is, it is the same
	}
	f, err := r.storedFacts(ctx, row)
	switch {
	case ctx.Err() != nil:
		return outcome{}, context.Cause(ctx)
	case err != nil:
		return skip(FactsDamaged, "The facts that were kept cannot be read: %s.", err), nil
	}
	k := engine.Kept{Basis: *b, Facts: f}
	if !goodAfter {
		var o outcome
		if k.Facts, o, err = r.verifyAnew(ctx, row, b, after.State, r.cfg.At); err != nil || o.skipped != "" {
			return o, err
		}
	}
	then, o, err := r.replay(ctx, after.State, k, r.cfg.At)
	if err != nil || o.skipped != "" {
		return o, err
	}
	is := effective(then.Verdict)
	if recorded := effectiveOf(row.Decision, row.Allowed); holds && row.Build == r.cfg.Build && recorded != verdict.Unknown && recorded == is {
		return outcome{before: is, after: is}, nil
	}
	k.Facts = f
	if !good {
		if k.Facts, o, err = r.verifyAnew(ctx, row, b, before.State, r.cfg.Now); err != nil || o.skipped != "" {
			return o, err
		}
	}
	now, o, err := r.replay(ctx, before.State, k, r.cfg.Now)
	if err != nil || o.skipped != "" {
		return o, err
	}
	o = outcome{before: effective(now.Verdict), after: is}
	if o.before != o.after {
		o.reasons = reasonsOf(then.Verdict)
		if is == verdict.Allow {
			o.reasons = reasonsOf(now.Verdict)
		}
	}
	return o, nil
}

// mostKeys is how many keys of an image are compared one by one.
const mostKeys = 1000

// verifies says whether what is verified under a side at a time would be the facts
// that were verified under origin then.
func verifies(s Side, at time.Time, origin *Origin, then time.Time, name string) bool {
	if s.Roots != origin.Roots {
		return false
	}
	now, all := s.State.KeysFor(name, at, mostKeys)
	was, allThen := origin.State.KeysFor(name, then, mostKeys)
	return all && allThen && slices.Equal(now, was)
}

// replay decides again.
func (r *run) replay(ctx context.Context, st *engine.State, k engine.Kept, at time.Time) (engine.Replayed, outcome, error) {
	x, err := r.cfg.Engine.Replay(ctx, st, k, at)
	if err == nil && timedOut(x.Verdict) { // which says as much of the load as of the policy: it has a second chance
		x, err = r.cfg.Engine.Replay(ctx, st, k, at)
	}
	switch {
	case err == nil && timedOut(x.Verdict):
		return x, skip(TimeLimit, "A policy did not answer within its time limit."), nil
	case err == nil:
		return x, outcome{}, nil
	case ctx.Err() != nil:
		return x, outcome{}, context.Cause(ctx)
	case errors.Is(err, engine.ErrInvalid):
		return x, skip(ContextUndeclared, "What was asked cannot be asked of these policies: %s.", strings.TrimPrefix(err.Error(), engine.ErrInvalid.Error()+": ")), nil
	}
	return x, skip(ReplayFailed, "Deciding again failed: %s.", err), nil
}

func timedOut(v *verdict.Verdict) bool {
	return v.Decision == verdict.Unknown && slices.ContainsFunc(v.Reasons, func(r verdict.Reason) bool { return r.Code == engine.ReasonTimeLimit })
}

// verifyAnew makes facts of the evidence that was kept.
func (r *run) verifyAnew(ctx context.Context, row *Row, b *engine.Basis, st *engine.State, at time.Time) (facts.Facts, outcome, error) {
	var items []evidence.Item
	switch {
	case row.EvidenceDigest != "":
		body, err := r.cfg.Source.Evidence(ctx, row.EvidenceDigest)
		if ctx.Err() != nil {
			return facts.Facts{}, outcome{}, context.Cause(ctx)
		}
		var left []string
		if err == nil {
			items, left, err = evidence.Kept(body)
		}
		switch {
		case err != nil:
			return facts.Facts{}, skip(EvidenceDamaged, "The evidence that was kept cannot be read: %s.", err), nil
		case len(left) > 0:
			return facts.Facts{}, skip(EvidenceLeftOut, "Other keys or trust roots would count, and some evidence is larger than the %d KiB that are kept, so it cannot be verified anew.", evidence.KeptBytes>>10), nil
		}
	case b.Search.Items > 0:
		return facts.Facts{}, skip(EvidenceMissing, "Other keys or trust roots would count, and the evidence was not kept, so it cannot be verified anew."), nil
	}
	f, err := st.VerifyKept(ctx, *b, items, at)
	switch {
	case err == nil:
		return f, outcome{}, nil
	case ctx.Err() != nil:
		return f, outcome{}, context.Cause(ctx)
	}
	return f, skip(ReplayFailed, "Verifying the evidence anew failed: %s.", err), nil
}

func (r *run) storedFacts(ctx context.Context, row *Row) (facts.Facts, error) {
	if f, ok := r.facts.get(row.FactsDigest); ok {
		return f, nil
	}
	f, size, err := row.Facts(ctx)
	if err == nil {
		r.facts.put(row.FactsDigest, f, size)
	}
	return f, err
}

func effective(v *verdict.Verdict) verdict.Decision { return effectiveOf(v.Decision, v.Allowed) }

// effectiveOf is what a decision means to who asked: what policies in audit say
// keeps nobody.
func effectiveOf(d verdict.Decision, allowed bool) verdict.Decision {
	switch {
	case allowed:
		return verdict.Allow
	case d == verdict.Unknown:
		return verdict.Unknown
	}
	return verdict.Deny
}

// reasonsOf are the reasons of the policies that keep an image from running, each
// policy and code once, or those that no policy gives.
func reasonsOf(v *verdict.Verdict) []Reason {
	var list []Reason
	add := func(policy string, reasons []verdict.Reason) {
		for _, why := range reasons {
			if !slices.ContainsFunc(list, func(r Reason) bool { return r.Policy == policy && r.Code == why.Code }) {
				list = append(list, Reason{Policy: policy, Code: why.Code, Message: why.Message})
			}
		}
	}
	for _, p := range v.Policies {
		if p.Mode == verdict.Enforce && p.Decision != verdict.Allow {
			add(p.Name, p.Reasons)
		}
	}
	if len(list) == 0 {
		add("", v.Reasons)
	}
	return list
}

// finish sorts what was found.
func (r *run) finish() {
	res := &r.result
	for _, g := range r.groups {
		res.Groups = append(res.Groups, g)
	}
	slices.SortFunc(res.Groups, func(a, b *Group) int {
		return cmp.Or(cmp.Compare(order(a.Direction), order(b.Direction)), -cmp.Compare(a.Questions, b.Questions),
			cmp.Compare(a.Policy, b.Policy), cmp.Compare(a.Code, b.Code))
	})
	for _, s := range r.skipped {
		res.Skipped = append(res.Skipped, s)
	}
	slices.SortFunc(res.Skipped, func(a, b *Skipped) int {
		return cmp.Or(-cmp.Compare(a.Questions, b.Questions), cmp.Compare(a.Reason, b.Reason))
	})
	slices.SortFunc(res.Flips, func(a, b *Flip) int {
		return cmp.Or(cmp.Compare(order(a.Direction), order(b.Direction)), b.LastAsked.Compare(a.LastAsked), cmp.Compare(a.VerdictID, b.VerdictID))
	})
	for _, g := range res.Groups {
		slices.Sort(g.Images)
	}
	for _, s := range res.Skipped {
		slices.Sort(s.Images)
	}
}

func order(d Direction) int {
	return slices.Index([]Direction{AllowToDeny, ToUnknown, DenyToAllow, FromUnknown}, d)
}
