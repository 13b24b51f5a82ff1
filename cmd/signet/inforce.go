package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/cache"
	"github.com/signet-policy/signet/internal/config"
	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/policy"
	"github.com/signet-policy/signet/internal/signers"
	"github.com/signet-policy/signet/internal/signingpolicy"
	"github.com/signet-policy/signet/internal/store"
	"github.com/signet-policy/signet/internal/trust"
	"github.com/signet-policy/signet/internal/verify"
)

// inForce keeps the one state that the store's active row names: built when it
// changes, read by every request.
type inForce struct {
	file   config.File
	store  *store.Store
	policy *signingpolicy.Policy
	set    *policy.Set
	keys   []signers.Key
	memo   verify.Memo
	log    *slog.Logger

	// rooted are the trust roots and their verifier; a refresh swaps them.
	rooted atomic.Pointer[rooted]
	state  atomic.Pointer[builtState]
	build  sync.Mutex
}

type rooted struct {
	roots    []*trust.Root
	verifier *verify.Verifier
}

// builtState is a state with what it was built from, and when the store last
// confirmed it.
type builtState struct {
	*engine.State
	rooted    *rooted
	confirmed atomic.Int64 // unix nanoseconds
}

// useRoots swaps the trust roots, and names them in the store so that active
// rises when they differ.
func (f *inForce) useRoots(ctx context.Context, roots []*trust.Root, why string) error {
	v, err := verify.New(verify.Config{
		Roots: roots, Limits: f.file.Limits, Memo: f.memo, Build: build(),
		OnPanic: func(p any) { f.log.Error("panic while verifying", "panic", fmt.Sprint(p)) },
	})
	if err != nil {
		return err
	}
	in, err := f.inputs(roots)
	if err != nil {
		return err
	}
	// Both under the lock of rebuild: no state is ever built from new roots under
	// the old digest, or from old roots under the new one.
	f.build.Lock()
	defer f.build.Unlock()
	if _, err := f.store.SetInputs(ctx, store.Actor{Name: "server", From: "configuration"}, why, in); err != nil {
		return err
	}
	f.rooted.Store(&rooted{roots: roots, verifier: v})
	return nil
}

// inputs names everything in force that does not live in the store.
func (f *inForce) inputs(roots []*trust.Root) (store.Inputs, error) {
	canonical, err := f.policy.Canonical()
	if err != nil {
		return nil, err
	}
	limits, err := json.Marshal(f.file.Limits)
	if err != nil {
		return nil, err
	}
	in := store.Inputs{
		"policy/" + f.policy.Name:         f.set.Digest(),
		"params/" + f.policy.Name:         f.set.ParamsDigest(),
		"signing_policy/" + f.policy.Name: facts.Digest(canonical),
		"limits":                          facts.Digest(limits),
	}
	for i, r := range roots { // their order decides which one is tried first
		in[fmt.Sprintf("root/%02d/%s", i, r.Name())] = r.Digest()
	}
	for i, k := range f.keys {
		in[fmt.Sprintf("key/%02d", i)] = "sha256:" + k.Fingerprint
	}
	return in, nil
}

// current is the engine's view: the state that the store names now. When the
// store cannot be read the last known one is accepted for active.grace, and says so.
func (f *inForce) current(ctx context.Context) (*engine.State, error) {
	active, err := f.store.Active(ctx)
	if err != nil {
		return f.lastKnown(err)
	}
	now := f.rooted.Load()
	if st := f.state.Load(); st != nil && st.Active == active && st.rooted == now {
		st.confirmed.Store(time.Now().UnixNano())
		return st.State, nil
	}
	st, err := f.rebuild(ctx)
	if err != nil {
		return f.lastKnown(err)
	}
	return st, nil
}

func (f *inForce) lastKnown(cause error) (*engine.State, error) {
	st := f.state.Load()
	grace := time.Duration(f.file.Active.Grace)
	if st == nil || grace <= 0 || time.Since(time.Unix(0, st.confirmed.Load())) > grace {
		return nil, fmt.Errorf("%w: %w", engine.ErrState, cause)
	}
	last := *st.State
	last.GraceNote = fmt.Sprintf("The store cannot be read; this is decided under the state last confirmed at %s (active.grace).",
		time.Unix(0, st.confirmed.Load()).UTC().Format(time.RFC3339))
	return &last, nil
}

// rebuild compiles what is in force, once for all who wait.
func (f *inForce) rebuild(ctx context.Context) (*engine.State, error) {
	f.build.Lock()
	defer f.build.Unlock()
	rooted := f.rooted.Load()
	snap, err := f.store.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	if st := f.state.Load(); st != nil && st.Active == snap.Active && st.rooted == rooted {
		return st.State, nil
	}
	registered, err := signersFromRows(snap.Signers)
	if err != nil {
		return nil, err
	}
	tokens, err := auth.NewTokens(snap.Tokens)
	if err != nil {
		return nil, err
	}
	st, err := newState(stateParts{
		active: snap.Active, policy: f.policy, set: f.set, registered: registered, roots: rooted.roots, tokens: tokens,
	})
	if err != nil {
		return nil, err
	}
	st.Verify = withKeys(rooted.verifier.Image, publicKeys(f.keys))
	built := &builtState{State: st, rooted: rooted}
	built.confirmed.Store(time.Now().UnixNano())
	f.state.Store(built)
	f.log.Info("in force", "revision", snap.Active.Revision, "signers", len(registered), "roots", stringsOf(rooted.roots))
	return st, nil
}

// keepFresh refreshes the public-good root daily until ctx ends. Failures leave
// the root in use, which never expires by itself: past max_staleness the engine
// answers unknown.
func (f *inForce) keepFresh(ctx context.Context) {
	for wait := time.Duration(0); ; {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = f.refresh(ctx)
	}
}

// refresh returns when to try again.
func (f *inForce) refresh(ctx context.Context) time.Duration {
	roots := append([]*trust.Root{}, f.rooted.Load().roots...)
	refreshable, changed := false, false
	for i, r := range roots {
		if !r.Info().Refreshable() {
			continue
		}
		refreshable = true
		if r.Info().Age(time.Now()) < refreshEvery {
			continue
		}
		fresh, err := refreshPublicGood(ctx, f.file, r)
		if err != nil {
			f.log.WarnContext(ctx, "trust root not refreshed", "root", r.Name(), "age", r.Info().Age(time.Now()).Round(time.Hour).String(), "error", err.Error())
			return time.Hour
		}
		roots[i], changed = fresh, true
	}
	if changed {
		if err := f.useRoots(ctx, roots, "trust root refreshed by TUF"); err != nil {
			f.log.ErrorContext(ctx, "using a refreshed trust root", "error", err.Error())
			return time.Hour
		}
	}
	if !refreshable {
		return 1000 * time.Hour
	}
	return refreshEvery
}

// recorder writes verdicts into the store.
type recorder struct{ store *store.Store }

func (r recorder) Record(ctx context.Context, rec engine.Record) error {
	return r.store.Record(ctx, store.Record{
		Verdict: rec.Verdict, Body: rec.Body, Facts: rec.Facts, Frames: rec.Frames,
		Principal: rec.Principal, Decided: rec.Decided,
	})
}

// memo keeps the outcome of verifying one item until it is evicted: it is keyed
// by everything that went in.
type memo struct{ cache *cache.Cache }

const (
	purposeVerified = "verified"
	memoAge         = 30 * 24 * time.Hour
)

func (m memo) Get(key [32]byte) ([]byte, bool) {
	value, _, ok := m.cache.Get(purposeVerified, key, time.Now())
	return value, ok
}

func (m memo) Put(key [32]byte, value []byte) {
	m.cache.Put(purposeVerified, key, value, time.Now().Add(memoAge))
}

// history is the store's verdicts as the API wants them.
type history struct{ store *store.Store }

func (h history) Verdict(ctx context.Context, id string) ([]byte, error) {
	v, err := h.store.Verdict(ctx, id)
	return v.Body, historyError(err)
}

func (h history) Basis(ctx context.Context, id string) (facts.Facts, map[string]facts.Frame, error) {
	v, err := h.store.Verdict(ctx, id)
	if err != nil {
		return facts.Facts{}, nil, historyError(err)
	}
	if v.FactsDigest == nil {
		return facts.Facts{}, v.Frames, nil
	}
	f, err := h.store.Facts(ctx, *v.FactsDigest)
	return f, v.Frames, historyError(err)
}
