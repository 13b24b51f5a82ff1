package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/administration"
	"github.com/signet-policy/signet/internal/api"
	"github.com/signet-policy/signet/internal/config"
	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/glob"
	"github.com/signet-policy/signet/internal/preview"
	"github.com/signet-policy/signet/internal/signers"
	"github.com/signet-policy/signet/internal/signingpolicy"
	"github.com/signet-policy/signet/internal/store"
	"github.com/signet-policy/signet/internal/verdict"
)

// previewer tells what changes would do, from what the store keeps.
type previewer struct {
	inForce *inForce
	admin   *administration.Service
	engine  *engine.Engine
}

const (
	previewSince   = 30 * 24 * time.Hour
	mostFlips      = 10_000
	defaultFlips   = 1000
	previewRetries = 5
)

// previewing is a preview that is asked for.
type previewing struct {
	since, until, at, now time.Time
	chosen                func(name string) bool
	limit                 int
	maxFlips              *int64
}

// Prepare checks what is asked for and compiles what would be in force.
func (p *previewer) Prepare(ctx context.Context, by administration.Caller, req client.PreviewRequest) (api.PreviewRun, error) {
	ask, err := p.read(by, req)
	if err != nil {
		return nil, err
	}
	n := int64(0)
	if !req.OnlyCheck {
		if n, err = p.inForce.cfg.store.CountVerdicts(ctx, ask.since, ask.until); err != nil {
			return nil, err
		}
	}
	if n == 0 { // a store may have no trust roots yet, and be administered all the same
		if _, err := p.admin.Try(ctx, by, req.Operations); err != nil {
			return nil, err
		}
		return func(context.Context, func(client.PreviewLine) error) (client.Preview, error) {
			return shownPreview(&preview.Result{Complete: true, Exact: true}, ask), nil
		}, nil
	}
	before, candidate, err := p.states(ctx, func(ctx context.Context) (store.Snapshot, error) { return p.admin.Try(ctx, by, req.Operations) })
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, emit func(client.PreviewLine) error) (client.Preview, error) {
		return p.run(ctx, ask, before, candidate, emit)
	}, nil
}

const (
	// activationSince is how far back the verdicts lie that a change is tried on before
	// it comes into force, and activationTime bounds that.
	activationSince = 7 * 24 * time.Hour
	activationTime  = 10 * time.Second
)

// activation is [administration.PreviewFunc]: recent verdicts under bundles and
// policies that are about to be in force. Where time runs out it counts as far as
// it came, and says so among the examples.
func (p *previewer) activation(ctx context.Context, proposed store.Snapshot) (flips int, examples []string, err error) {
	now := time.Now().UTC().Truncate(time.Microsecond)
	ask := previewing{since: now.Add(-activationSince), at: now, now: now, chosen: func(string) bool { return true }, limit: defaultFlips}
	n, err := p.inForce.cfg.store.CountVerdicts(ctx, ask.since, ask.until)
	if err != nil || n == 0 {
		return 0, nil, err
	}
	proposed.Inputs = maps.Clone(proposed.Inputs) // those of what is in force
	proposed.Inputs[store.InputPolicies], proposed.Inputs[store.InputBundles] = "proposed", "proposed"
	if _, err := p.inForce.current(ctx); err != nil {
		return 0, nil, err
	}
	before := p.inForce.state.Load()
	candidate, err := p.inForce.candidate(ctx, before, proposed)
	if err != nil {
		return 0, nil, err
	}
	limited, cancel := context.WithTimeout(ctx, activationTime)
	defer cancel()
	res, err := p.run(limited, ask, before, candidate, func(client.PreviewLine) error { return nil })
	if err != nil {
		return 0, nil, err
	}
	for _, f := range res.Flips {
		examples = append(examples, fmt.Sprintf("%s: %s, was %s", f.Image, f.After, f.Before))
	}
	if !res.Complete {
		examples = append([]string{fmt.Sprintf("only %d of %d verdicts could be looked at in %s", res.Total.Verdicts, n, activationTime)}, examples...)
	}
	return int(res.AllowToDeny.Questions + res.DenyToAllow.Questions + res.ToUnknown.Questions), examples, nil
}

func (p *previewer) read(by administration.Caller, req client.PreviewRequest) (previewing, error) {
	ask := previewing{now: time.Now().UTC().Truncate(time.Microsecond), limit: req.Limit, maxFlips: req.MaxFlips}
	var mistakes administration.FieldErrors
	bad := func(field, format string, args ...any) {
		mistakes = append(mistakes, administration.FieldError{Field: field, Problem: fmt.Sprintf(format, args...)})
	}
	ask.since = ask.now.Add(-previewSince)
	for _, t := range []struct {
		field, said string
		into        *time.Time
	}{{"since", req.Since, &ask.since}, {"until", req.Until, &ask.until}} {
		if t.said == "" {
			continue
		}
		at, err := moment(t.said, ask.now)
		if err != nil {
			bad(t.field, "%q is not a time; write it as 2027-01-31T00:00:00Z, or how long ago: 24h or 30d", t.said)
		}
		*t.into = at.UTC()
	}
	if !ask.until.IsZero() && !ask.since.Before(ask.until) {
		bad("until", "is not after since")
	}
	ask.at = ask.now
	if req.At != nil {
		if ask.at = req.At.UTC().Truncate(time.Microsecond); ask.at.Before(ask.now.Add(-time.Minute)) {
			bad("at", "%s is past; give a time to come, or leave it out", ask.at.Format(time.RFC3339))
		}
		if ask.at.Before(ask.now) {
			ask.at = ask.now
		}
	}
	switch {
	case ask.limit == 0:
		ask.limit = defaultFlips
	case ask.limit < 0 || ask.limit > mostFlips:
		bad("limit", "is %d; it is 1 to %d", ask.limit, mostFlips)
	}
	ask.chosen = by.Principal.Sees
	if req.Image != "" {
		g, err := glob.Compile(req.Image)
		if err != nil {
			bad("image", "%s", err)
		} else {
			ask.chosen = func(name string) bool { return g.Match(name) && by.Principal.Sees(name) }
		}
	}
	if req.OnlyCheck { // it would answer as a preview does that finds no flips
		for _, f := range []struct {
			field string
			said  bool
		}{
			{"since", req.Since != ""}, {"until", req.Until != ""}, {"image", req.Image != ""}, {"at", req.At != nil},
			{"max_flips", req.MaxFlips != nil}, {"limit", req.Limit != 0},
		} {
			if f.said {
				bad(f.field, "is about verdicts that are decided again, and with only_check none is; leave out one of them")
			}
		}
	}
	if len(mistakes) > 0 {
		return ask, mistakes
	}
	return ask, nil
}

// moment is a time, or how long before now it was.
func moment(text string, now time.Time) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	ago, err := config.ParseDuration(text)
	return now.Add(-ago), err
}

// states are what is in force and what would be, of one moment: what others change
// meanwhile must not look as if the candidate did it.
func (p *previewer) states(ctx context.Context, try func(context.Context) (store.Snapshot, error)) (before, candidate *builtState, err error) {
	f := p.inForce
	for range previewRetries {
		if _, err := f.current(ctx); err != nil {
			return nil, nil, err
		}
		before = f.state.Load()
		snap, err := try(ctx)
		if err != nil {
			return nil, nil, err
		}
		active, err := f.active(ctx)
		if err != nil {
			return nil, nil, err
		}
		if before == nil || active != before.Active {
			continue
		}
		candidate, err = f.candidate(ctx, before, snap)
		return before, candidate, err
	}
	return nil, nil, fmt.Errorf("%w: what is in force changes all the time", administration.ErrUnavailable)
}

// candidate compiles what would be in force; what is as before is shared.
func (f *inForce) candidate(ctx context.Context, old *builtState, snap store.Snapshot) (*builtState, error) {
	snap.Unchanged = map[string]bool{}
	for kind, digest := range snap.Inputs {
		snap.Unchanged[kind] = digest == old.inputs[kind]
	}
	for kind := range old.inputs {
		if _, ok := snap.Inputs[kind]; !ok {
			snap.Unchanged[kind] = false // there is nothing of it left
		}
	}
	return f.compile(ctx, old, snap)
}

func (p *previewer) run(ctx context.Context, ask previewing, before, candidate *builtState, emit func(client.PreviewLine) error) (client.Preview, error) {
	f := p.inForce
	maxStaleness := durationOf(f.cfg.file.MaxStaleness)
	source := &keptSource{store: f.cfg.store, ask: ask, before: before, origins: map[verdict.Active]*preview.Origin{}, keyed: map[[2]string]*engine.State{}}
	res, err := preview.Run(ctx, preview.Config{
		Engine: p.engine, Source: source, Build: build(),
		InForce: preview.Side{State: before.State, Roots: before.roots.named}, Candidate: preview.Side{State: candidate.State, Roots: candidate.roots.named},
		Now: ask.now, At: ask.at, Since: ask.since, MaxStaleness: maxStaleness, Limit: ask.limit,
		Emit: func(e preview.Event) error {
			l := client.PreviewLine{Type: client.LineFlip}
			if e.Progress != nil {
				l.Type, l.Progress = client.LineProgress, &client.PreviewProgress{Done: e.Progress.Done, Total: e.Progress.Total, Flips: e.Progress.Flips}
			} else {
				flip := shownFlip(e.Flip)
				l.Flip = &flip
			}
			return emit(l)
		},
	})
	if err != nil {
		return client.Preview{}, err
	}
	return shownPreview(res, ask), nil
}

// keptSource is the store's verdicts, as a preview reads them.
type keptSource struct {
	store  *store.Store
	ask    previewing
	before *builtState
	after  *store.Cursor
	ended  bool
	done   int64

	mu      sync.Mutex
	origins map[verdict.Active]*preview.Origin
	// keyed are states with keys only, by the digests of signers and policies.
	keyed map[[2]string]*engine.State
}

const (
	// previewPage is how many verdicts are read at a time.
	previewPage = 250
	// mostOrigins and mostKeyed bound what is remembered of earlier revisions.
	mostOrigins = 10_000
	mostKeyed   = 8
)

// Count counts verdicts of all images.
func (s *keptSource) Count(ctx context.Context) (int64, error) {
	return s.store.CountVerdicts(ctx, s.ask.since, s.ask.until)
}

// Next gives a page, without the images that were not chosen.
func (s *keptSource) Next(ctx context.Context) ([]preview.Row, int64, error) {
	if s.ended {
		return nil, s.done, nil
	}
	page, next, err := s.store.KeptVerdicts(ctx, s.ask.since, s.ask.until, store.Page{After: s.after, Limit: previewPage})
	if err != nil {
		return nil, s.done, err
	}
	s.after, s.ended = next, next == nil
	s.done += int64(len(page))
	rows := make([]preview.Row, 0, len(page))
	for i := range page {
		v := &page[i]
		if !s.ask.chosen(v.ImageName) {
			continue
		}
		rows = append(rows, preview.Row{
			ID: v.ID, At: v.At, Image: v.ImageRef, Digest: v.ImageDigest, Decision: v.Decision, Allowed: v.Allowed, Active: v.Active, Build: v.Build,
			FactsDigest: v.FactsDigest, EvidenceDigest: v.EvidenceDigest, Uses: v.Uses, LastUsed: v.LastUsed, Basis: v.Basis, Facts: v.Facts,
		})
	}
	return rows, s.done, nil
}

// Evidence reads what the facts of a verdict were made of.
func (s *keptSource) Evidence(ctx context.Context, digest string) ([]byte, error) {
	return s.store.Evidence(ctx, digest)
}

// Origin says what was in force under a revision.
func (s *keptSource) Origin(ctx context.Context, active verdict.Active) (*preview.Origin, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o, ok := s.origins[active]; ok {
		return o, nil
	}
	o, err := s.origin(ctx, active)
	if err != nil {
		return nil, err
	}
	if len(s.origins) >= mostOrigins {
		clear(s.origins)
	}
	s.origins[active] = o
	return o, nil
}

func (s *keptSource) origin(ctx context.Context, active verdict.Active) (*preview.Origin, error) {
	if active == s.before.Active {
		return &preview.Origin{State: s.before.State, Roots: s.before.roots.named, Current: true}, nil
	}
	rev, err := s.store.Revision(ctx, active.Revision)
	switch {
	case err != nil:
		return nil, err
	case rev.Active != active: // of a store that was restored from an older backup
		return nil, fmt.Errorf("revision %d is another one by now", active.Revision)
	}
	rows, err := s.store.RootsAt(ctx, active.Revision)
	if err != nil {
		return nil, err
	}
	o := &preview.Origin{Roots: rootsName(rows)}
	in := s.before.inputs
	if rev.Inputs[store.InputSigners] == in[store.InputSigners] && rev.Inputs[store.InputPolicies] == in[store.InputPolicies] {
		o.State = s.before.State
		o.Current = o.Roots == s.before.roots.named && rev.Inputs[store.InputBundles] == in[store.InputBundles]
		return o, nil
	}
	key := [2]string{rev.Inputs[store.InputSigners], rev.Inputs[store.InputPolicies]}
	if o.State = s.keyed[key]; o.State != nil {
		return o, nil
	}
	if o.State, err = keysAt(ctx, s.store, active.Revision); err != nil {
		return nil, err
	}
	if len(s.keyed) >= mostKeyed {
		clear(s.keyed)
	}
	s.keyed[key] = o.State
	return o, nil
}

// keysAt is a state of which only the keys in scope can be asked.
func keysAt(ctx context.Context, st *store.Store, revision int64) (*engine.State, error) {
	rows, err := st.SignersAt(ctx, revision)
	if err != nil {
		return nil, err
	}
	rows = slices.DeleteFunc(rows, func(r store.SignerRow) bool { return r.PublicKey == "" })
	registered, err := signersFromRows(rows)
	if err != nil {
		return nil, err
	}
	policies, err := st.PoliciesAt(ctx, revision)
	if err != nil {
		return nil, err
	}
	out := &engine.State{}
	for _, r := range policies {
		p, err := signingpolicy.Parse([]byte(r.Body))
		if err != nil {
			return nil, fmt.Errorf("policy %s: %w", r.Name, err)
		}
		keyed := slices.DeleteFunc(p.InForce(registered), func(s signers.Signer) bool { return len(s.Keys) == 0 })
		set, err := signers.Compile(keyed)
		if err != nil {
			return nil, fmt.Errorf("policy %s: %w", r.Name, err)
		}
		out.Policies = append(out.Policies, engine.Policy{Name: p.Name, Applies: p.Applies, Signers: set})
	}
	return out, nil
}

type verifyingRoot struct {
	Name, Digest string
	Requires     client.Requires
	Images       []string
}

// rootsName names what trust roots verify, in the order in which they are tried.
func rootsName(rows []store.RootRow) string {
	rows = slices.SortedFunc(slices.Values(rows), func(a, b store.RootRow) int {
		return cmp.Or(cmp.Compare(a.Position, b.Position), cmp.Compare(a.Name, b.Name))
	})
	list := make([]verifyingRoot, len(rows))
	for i, r := range rows {
		var req client.Requires
		_ = json.Unmarshal(r.Requires, &req) // what the store keeps is JSON; a demand of another version makes another name anyway
		list[i] = verifyingRoot{r.Name, r.Digest, req, append([]string{}, r.Images...)}
	}
	body, err := facts.Canonical(list)
	if err != nil { // strings and booleans always encode
		return ""
	}
	return facts.Digest(body)
}

func shownFlip(f *preview.Flip) client.Flip {
	return client.Flip{
		Image: f.Image, Digest: f.Digest, Platform: f.Platform, Context: f.Context, Roles: f.Roles,
		Before: client.Decision(f.Before), After: client.Decision(f.After), Direction: string(f.Direction), Reasons: shownReasons(f.Reasons),
		VerdictID: f.VerdictID, LastAsked: f.LastAsked, Verdicts: f.Verdicts, Uses: f.Uses,
	}
}

func shownReasons(list []preview.Reason) []client.PreviewReason {
	out := make([]client.PreviewReason, 0, len(list))
	for _, r := range list {
		out = append(out, client.PreviewReason(r))
	}
	return out
}

func shownPreview(r *preview.Result, ask previewing) client.Preview {
	count := func(c preview.Count) client.PreviewCount { return client.PreviewCount(c) }
	out := client.Preview{
		PreviewSummary: client.PreviewSummary{
			Complete: r.Complete, Why: r.Why, Since: ask.since, At: ask.at, Total: count(r.Total), Exact: r.Exact, Unchanged: count(r.Unchanged),
			AllowToDeny: count(r.AllowToDeny), DenyToAllow: count(r.DenyToAllow), ToUnknown: count(r.ToUnknown), FromUnknown: count(r.FromUnknown),
			NotReplayable: count(r.NotReplayable),
		},
		Reasons: []client.NotReplayable{}, Groups: []client.PreviewGroup{}, Flips: []client.Flip{}, MoreFlips: r.MoreFlips,
	}
	if !r.Complete && !r.ReachedTo.IsZero() {
		out.ReachedTo = &r.ReachedTo
	}
	if !ask.until.IsZero() {
		out.Until = &ask.until
	}
	if ask.maxFlips != nil {
		out.Exceeded = r.AllowToDeny.Questions+r.ToUnknown.Questions > *ask.maxFlips
	}
	for _, g := range r.Groups {
		out.Groups = append(out.Groups, client.PreviewGroup{
			Direction: string(g.Direction), PreviewReason: client.PreviewReason(g.Reason), Questions: g.Questions, Verdicts: g.Verdicts,
			Images: g.Images, MoreImages: g.MoreImages, VerdictID: g.VerdictID,
		})
	}
	for _, s := range r.Skipped {
		out.Reasons = append(out.Reasons, client.NotReplayable{
			Reason: s.Reason, Message: s.Message, Questions: s.Questions, Verdicts: s.Verdicts, Images: s.Images, MoreImages: s.MoreImages, VerdictID: s.VerdictID,
		})
	}
	for _, f := range r.Flips {
		out.Flips = append(out.Flips, shownFlip(f))
	}
	return out
}
