package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/api"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/config"
	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/glob"
	"github.com/signet-policy/signet/internal/registry"
	"github.com/signet-policy/signet/internal/signers"
	"github.com/signet-policy/signet/internal/store"
	"github.com/signet-policy/signet/internal/verdict"
	"github.com/signet-policy/signet/internal/watch"
	"github.com/signet-policy/signet/internal/webhook"
)

// labelWebhooks is what the keys of webhooks are derived under, each with its name
// behind it: who receives one cannot sign as another.
const labelWebhooks = "webhooks"

// watching is the part of a server that watches and tells.
type watching struct {
	watcher *watch.Watcher
	sender  *webhook.Sender
	feed    *watch.Feed
	hooks   hooks
}

// watchParts is what it is made of.
type watchParts struct {
	file    config.File
	store   *store.Store
	engine  *engine.Engine
	inForce *inForce
	source  engine.Source
	held    func() bool
	log     *slog.Logger
	// tell is told of each event that this server wrote; nil: nobody is.
	tell func(client.Event)
}

func newWatching(p watchParts) (*watching, error) {
	hooks, err := newHooks(p.file, p.store)
	if err != nil {
		return nil, err
	}
	w := &watching{hooks: hooks, feed: watch.NewFeed(watch.FeedConfig{Store: p.store, Log: p.log})}
	cfg := watch.Config{
		Store: p.store, PDP: watchPDP{p}, Held: p.held, Log: p.log, Tell: p.tell, Webhooks: hooks.of,
		Recent: durationOf(p.file.Watch.Recent), Rate: p.file.Watch.Rate, Refresh: durationOf(p.file.Watch.Refresh),
		UnknownAfter: durationOf(p.file.Watch.UnknownAfter), AtTime: p.atTime,
	}
	for _, d := range p.file.Watch.WarnBefore {
		cfg.WarnBefore = append(cfg.WarnBefore, durationOf(d))
	}
	for _, list := range p.file.Watch.Images {
		for _, image := range list.Images {
			cfg.Images = append(cfg.Images, watch.Listed{Image: image, Environment: list.Environment})
		}
	}
	if w.watcher, err = watch.New(cfg); err != nil {
		return nil, err
	}
	w.sender, err = webhook.New(webhook.Config{Queue: p.store, Targets: hooks.targets, Held: p.held, UserAgent: userAgent(), Log: p.log})
	return w, err
}

// atTime decides an image's last question again, under what is in force now and at a
// time to come. A trust root that is refreshed is taken to be as fresh then as now.
func (p watchParts) atTime(ctx context.Context, w store.Watched, at time.Time) (verdict.Decision, bool) {
	st, err := p.engine.Current(ctx)
	if err != nil {
		return "", false
	}
	v, err := p.store.Verdict(ctx, w.VerdictID)
	if err != nil {
		return "", false
	}
	kept, err := pastVerdicts{store: p.store}.kept(ctx, v)
	if err != nil {
		return "", false
	}
	later := *st
	later.Roots = slices.Clone(st.Roots)
	for i, r := range later.Roots {
		if !r.RefreshedAt.IsZero() {
			later.Roots[i].RefreshedAt = r.RefreshedAt.Add(time.Until(at))
		}
	}
	r, err := p.engine.Replay(ctx, &later, kept, at)
	if err != nil {
		return "", false
	}
	return r.Verdict.Decision, true
}

// metrics are its numbers.
func (w *watching) metrics() (counters []api.Counter, gauges []api.Gauge) {
	whole := func(n func() int64) func() float64 { return func() float64 { return float64(n()) } }
	decisions := []verdict.Decision{verdict.Allow, verdict.Deny, verdict.Unknown}
	for _, trigger := range []string{store.DueActive, store.DueBoundary, store.DueRefresh} {
		for _, d := range decisions {
			counters = append(counters, api.Counter{
				Name: "signet_watch_decisions_total", Help: "Watched images that were decided again, by what made them due.",
				Labels: map[string]string{"trigger": trigger, "decision": string(d)}, Value: whole(func() int64 { return w.watcher.Stats().Decisions(trigger, d) }),
			})
		}
	}
	for _, before := range decisions[:2] {
		for _, after := range decisions[:2] {
			counters = append(counters, api.Counter{
				Name: "signet_flips_total", Help: "Watched images that were decided otherwise than before; the same decision twice where only whether it is enforced changed.",
				Labels: map[string]string{"before": string(before), "after": string(after)}, Value: whole(func() int64 { return w.watcher.Stats().Flips(before, after) }),
			})
		}
	}
	sent := w.sender.Stats()
	for outcome, n := range map[string]func() int64{"delivered": sent.Delivered.Load, "retried": sent.Retried.Load, "given_up": sent.GivenUp.Load, "gone": sent.Gone.Load} {
		counters = append(counters, api.Counter{
			Name: "signet_webhook_deliveries_total", Help: "Deliveries to webhooks, by what became of them; retried counts attempts that failed.",
			Labels: map[string]string{"outcome": outcome}, Value: whole(n),
		})
	}
	return counters, []api.Gauge{
		{Name: "signet_watched_images", Help: "Images that are watched, on the server that does it.", Value: whole(w.watcher.Stats().Images.Load)},
		{Name: "signet_watch_lag_seconds", Help: "For how long the watched image has been due that has waited longest.", Value: whole(w.watcher.Stats().LagSeconds.Load)},
		{Name: "signet_webhook_queue", Help: "Deliveries to webhooks that wait, on the server that sends them.", Value: whole(sent.Waiting.Load)},
	}
}

// hook is a webhook with the events that it wants.
type hook struct {
	config.Webhook
	scope *glob.Scope
}

type hooks struct {
	list    []hook
	targets []webhook.Target
}

// newHooks reads the webhooks of the configuration, and their keys.
func newHooks(f config.File, s *store.Store) (hooks, error) {
	var out hooks
	for i, h := range f.Webhooks {
		at := fmt.Sprintf("webhooks[%d]", i)
		one := hook{Webhook: h}
		if len(h.Images) > 0 {
			scope, err := glob.NewScope(h.Images)
			if err != nil {
				return hooks{}, wrapUsage(at+".images", err)
			}
			one.scope = &scope
		}
		if _, err := hookSecret(f, h); err != nil {
			return hooks{}, wrapUsage(at, err)
		}
		cfg := registry.OutboundConfig{ProxyURL: f.Network.Proxy, AllowPrivate: h.AllowPrivate}
		for _, path := range f.Network.CAFiles {
			cfg.CAFiles = append(cfg.CAFiles, f.Relative(path))
		}
		c, err := registry.NewOutbound(cfg)
		if err != nil {
			return hooks{}, wrapUsage("network", err)
		}
		out.list = append(out.list, one)
		out.targets = append(out.targets, webhook.Target{
			Name: h.Name, URL: h.URL, Client: c, Timeout: durationOf(h.Timeout),
			Key: func(ctx context.Context) ([]byte, error) { return webhookKey(ctx, f, s, h.Name) },
		})
	}
	return out, nil
}

// of names those that want an event.
func (h hooks) of(e client.Event) []string {
	var names []string
	for _, one := range h.list {
		if len(one.Events) > 0 && !slices.Contains(one.Events, e.Kind) || one.scope != nil && !one.scope.Covers(e.ImageName) {
			continue
		}
		names = append(names, one.Name)
	}
	return names
}

// leastSecret is how long the key of a webhook must be, in bytes.
const leastSecret = 16

// hookSecret is the key in a webhook's own file, nil where it has none.
func hookSecret(f config.File, h config.Webhook) ([]byte, error) {
	if h.SecretFile == "" {
		return nil, nil
	}
	body, err := os.ReadFile(f.Relative(h.SecretFile))
	if err != nil {
		return nil, fmt.Errorf("secret_file: %w", err)
	}
	key := []byte(strings.TrimSpace(string(body)))
	if len(key) < leastSecret {
		return nil, fmt.Errorf("secret_file: holds %d bytes, and a key has %d at least (make one with: openssl rand -hex 32)", len(key), leastSecret)
	}
	return key, nil
}

// webhookKey is what the requests of a webhook are signed with: its file's contents
// without white space at the ends, or a key that follows the installation's secret.
func webhookKey(ctx context.Context, f config.File, s *store.Store, name string) ([]byte, error) {
	for _, h := range f.Webhooks {
		if h.Name != name {
			continue
		}
		if key, err := hookSecret(f, h); key != nil || err != nil {
			return key, err
		}
		secret, err := s.Secret(ctx)
		if err != nil {
			return nil, err
		}
		key, err := secret.Derive(labelWebhooks + "/" + name)
		return key[:], err
	}
	return nil, fmt.Errorf("webhook %q: %w", name, store.ErrNotFound)
}

// watchPDP is the engine as the watch wants it.
type watchPDP struct{ watchParts }

// Name is the image's normalised name.
func (p watchPDP) Name(image string) (string, error) {
	asked, err := p.source.Parse(image)
	return asked.Name(), err
}

var errGrace = errors.New("the store cannot be read, and the last known state tells nothing new")

// State is what is in force now.
func (p watchPDP) State(ctx context.Context) (watch.State, error) {
	st, err := p.engine.Current(ctx)
	if err != nil {
		return watch.State{}, err
	}
	if st.GraceNote != "" {
		return watch.State{}, errGrace
	}
	built := p.inForce.state.Load()
	if built == nil || built.Active != st.Active {
		return watch.State{}, errors.New("what is in force is changing")
	}
	return watch.State{
		Revision: built.Active.Revision, Key: watch.Key(built.inputs, build()), Boundaries: p.inForce.boundaries(built, durationOf(p.file.MaxStaleness)), Of: built.State,
	}, nil
}

// Decide goes the way of every request.
func (p watchPDP) Decide(ctx context.Context, st watch.State, q watch.Question) (watch.Answer, error) {
	of, ok := st.Of.(*engine.State)
	if !ok {
		return watch.Answer{}, errors.New("this is no state of ours")
	}
	req := engine.Request{Image: q.Image, Platform: q.Platform, Context: q.Context, Roles: q.Roles, Principal: watch.Principal, Refresh: q.Refresh}
	if len(req.Roles) == 0 {
		req.Roles = []string{string(auth.Verifier)}
	}
	if _, there := q.Context[environmentKey]; !there && q.Environment != "" && declares(of, p.Name, q) {
		req.Context = map[string]string{environmentKey: q.Environment}
		for k, v := range q.Context {
			req.Context[k] = v
		}
	}
	a, err := p.engine.Decide(ctx, of, req)
	if errors.Is(err, engine.ErrInvalid) {
		return watch.Answer{}, fmt.Errorf("%w: %w", watch.ErrRefused, err)
	}
	if err != nil {
		return watch.Answer{}, err
	}
	var v verdict.Verdict
	if err := json.Unmarshal(a.Body, &v); err != nil {
		return watch.Answer{}, fmt.Errorf("reading a verdict: %w", err)
	}
	out := watch.Answer{
		VerdictID: v.ID, Decision: a.Decision, Allowed: a.Allowed, Digest: v.Digest, Reasons: []string{}, At: v.EvaluatedAt,
		RetryAfter: time.Duration(a.RetryAfter) * time.Second, ValidUntil: v.ValidUntil,
	}
	for _, r := range v.Reasons {
		if !slices.Contains(out.Reasons, r.Code) {
			out.Reasons = append(out.Reasons, r.Code)
		}
	}
	return out, nil
}

// environmentKey is the key of a request's context that names where an image runs.
const environmentKey = "environment"

// declares says whether a policy of the image declares the environment.
func declares(st *engine.State, name func(string) (string, error), q watch.Question) bool {
	n, err := name(q.Image)
	return err == nil && slices.ContainsFunc(st.Policies, func(p engine.Policy) bool {
		return p.Applies(n) && slices.Contains(p.Set.Context()[environmentKey], q.Environment)
	})
}

// boundaries are the times known in advance at which something in force begins or
// ends. They are made once for each state.
func (f *inForce) boundaries(st *builtState, maxStaleness time.Duration) []watch.Boundary {
	st.bounds.Do(func() {
		seen := map[string]bool{}
		for _, p := range st.policies {
			if p.Mode == verdict.Disabled || p.Mode == verdict.Shadow {
				continue
			}
			st.boundaries = append(st.boundaries, exceptionBoundaries(p)...)
			for _, s := range p.InForce(st.registered) {
				if s.Enabled && !seen[s.Name] {
					seen[s.Name] = true
					st.boundaries = append(st.boundaries, signerBoundaries(s)...)
				}
			}
		}
		for _, r := range st.State.Roots {
			if !r.RefreshedAt.IsZero() {
				st.boundaries = append(st.boundaries, watch.Boundary{Kind: watch.KindRoot, Name: r.Name, At: r.RefreshedAt.Add(maxStaleness), Renewed: maxStaleness})
			}
		}
	})
	return st.boundaries
}

// exceptionBoundaries are the ends of a policy's exceptions.
func exceptionBoundaries(p inForcePolicy) []watch.Boundary {
	list := make([]watch.Boundary, 0, len(p.Exceptions))
	for i, e := range p.Exceptions {
		images, err := glob.NewScope(e.Images)
		if err != nil { // it was compiled when the policy was read
			continue
		}
		list = append(list, watch.Boundary{
			Kind: watch.KindException, Name: p.ExceptionName(i), At: e.ExpiresAt, Owner: e.Owner,
			Covers: func(name string) bool { return p.Applies(name) && images.Covers(name) },
		})
	}
	return list
}

func signerBoundaries(s signers.Signer) (list []watch.Boundary) {
	if s.NotBefore == nil && s.ExpiresAt == nil {
		return nil
	}
	covers := func(string) bool { return true }
	if len(s.Images) > 0 {
		if scope, err := glob.NewScope(s.Images); err == nil { // what is in force was compiled
			covers = scope.Covers
		}
	}
	for _, b := range []struct {
		at     *time.Time
		begins bool
	}{{s.NotBefore, true}, {s.ExpiresAt, false}} {
		if b.at != nil {
			list = append(list, watch.Boundary{Kind: watch.KindSigner, Name: s.Name, At: *b.at, Begins: b.begins, Owner: s.Owner, Covers: covers})
		}
	}
	return list
}

// happened is the store's events as the API wants them. feed is nil where no server
// runs.
type happened struct {
	store *store.Store
	feed  *watch.Feed
}

// List gives one page.
func (h happened) List(ctx context.Context, f api.EventFilter, cursor string, limit int) (client.Page[client.Event], error) {
	filter := store.EventFilter{Kind: f.Kind, ImageName: f.Image, Since: f.Since, Limit: limit}
	switch {
	case cursor == "":
	case f.Since != "":
		filter.Since = cursor
	default:
		filter.Before = cursor
	}
	page := client.Page[client.Event]{Items: []client.Event{}}
	list, more, err := h.store.Events(ctx, filter)
	if err != nil {
		return page, historyError(err)
	}
	for _, e := range list {
		var out client.Event
		if err := json.Unmarshal(e.Body, &out); err != nil {
			return page, fmt.Errorf("event %s: %w", e.ID, err)
		}
		page.Items = append(page.Items, out)
	}
	if more {
		page.Next = list[len(list)-1].ID
	}
	return page, nil
}

// Listen gives the events that come.
func (h happened) Listen(ctx context.Context, since string) (api.EventStream, []api.Event, error) {
	if h.feed == nil {
		return nil, nil, api.ErrNoStream
	}
	l, missed, err := h.feed.Listen(ctx, since)
	if err != nil {
		return nil, nil, historyError(err)
	}
	s := eventStream{Listener: l, c: make(chan api.Event)}
	s.done = make(chan struct{})
	go func() {
		defer close(s.c)
		for e := range l.C() {
			select {
			case s.c <- apiEvent(e):
			case <-s.done:
				return
			}
		}
	}()
	out := make([]api.Event, 0, len(missed))
	for _, e := range missed {
		out = append(out, apiEvent(e))
	}
	return s, out, nil
}

func apiEvent(e store.Event) api.Event {
	return api.Event{ID: e.ID, Kind: e.Kind, ImageName: e.ImageName, Body: e.Body}
}

// eventStream is a listener as the API wants it.
type eventStream struct {
	*watch.Listener
	c    chan api.Event
	done chan struct{}
}

func (s eventStream) C() <-chan api.Event { return s.c }

// Close ends listening.
func (s eventStream) Close() {
	close(s.done)
	s.Listener.Close()
}
