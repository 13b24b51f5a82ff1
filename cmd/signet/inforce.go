package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/signet-policy/signet/internal/administration"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/config"
	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/signers"
	"github.com/signet-policy/signet/internal/store"
	"github.com/signet-policy/signet/internal/trust"
	"github.com/signet-policy/signet/internal/verdict"
	"github.com/signet-policy/signet/internal/verify"
	"github.com/signet-policy/signet/internal/watch"
)

// inForce keeps the one state that the store's active row names: built when it
// changes, read by every request. It takes everything from the store, so that
// all servers on one store decide alike.
type inForce struct {
	cfg     inForceConfig
	barrier *engine.Barrier[verdict.Active] // nil where no other process writes
	state   atomic.Pointer[builtState]
	builds  *engine.Barrier[*engine.State]
	// aside makes states that come into force nowhere: nobody verifies under them.
	aside bool
}

// buildTime bounds reading and compiling what is in force. It is nobody's request
// in particular that waits for it.
const buildTime = time.Minute

type inForceConfig struct {
	file  config.File
	store *store.Store
	// keys are those of --key: tried on every item.
	keys []signers.Key
	memo verify.Memo
	log  *slog.Logger
	// prepared are policies that were compiled before they are in force; nil: none.
	prepared *preparedPolicies
	// rekey is told the installation's secret when it has changed.
	rekey func(auth.Secret) error
}

// builtState is a state with what it was built from, and when the store last
// confirmed it.
type builtState struct {
	*engine.State
	inputs     store.Inputs
	registered []signers.Signer
	policies   []inForcePolicy
	// policyRows and bundleRows are what policies was made of.
	policyRows []store.PolicyRow
	bundleRows []store.BundleRow
	roots      *rootSet
	// boundaries are made when the watch first asks.
	bounds     sync.Once
	boundaries []watch.Boundary
	// confirmed is nil once the store has named another state.
	confirmed atomic.Pointer[time.Time]
}

func (s *builtState) confirm() {
	now := time.Now()
	s.confirmed.Store(&now)
}

// within says whether the store has confirmed the state within that time, and
// when. What counts is the longer time by the clock on the wall, which may be set
// back, and by the one within, which may stand still while the machine sleeps.
func (s *builtState) within(d time.Duration) (at time.Time, ok bool) {
	confirmed := s.confirmed.Load()
	if confirmed == nil {
		return time.Time{}, false
	}
	now := time.Now()
	return *confirmed, max(now.Sub(*confirmed), now.Round(0).Sub(confirmed.Round(0))) <= d
}

func newInForce(cfg inForceConfig) *inForce {
	f := &inForce{cfg: cfg}
	f.builds = engine.NewBarrier(f.rebuild)
	if cfg.store.Shared() {
		f.barrier = engine.NewBarrier(cfg.store.Active)
	}
	return f
}

// settings is a digest of what this process was configured with and active does
// not name, and on which results depend.
func settings(f config.File, keys []signers.Key) (string, error) {
	fingerprints := []string{}
	for _, k := range keys {
		fingerprints = append(fingerprints, k.Fingerprint)
	}
	limits, err := json.Marshal(f.Limits)
	if err != nil {
		return "", err
	}
	// A mirror may say what a tag is, and credentials what can be seen. Here are the
	// names of their files; secrets stand in none.
	registries, err := json.Marshal(f.Registries)
	if err != nil {
		return "", err
	}
	body, err := facts.Canonical(map[string]any{
		"limits": json.RawMessage(limits), "keys": fingerprints, "max_staleness": f.MaxStaleness, "offline": f.Offline,
		"evidence_repositories": f.EvidenceRepositories, "allow_registries": f.AllowRegistries,
		"decision_max_age": f.Cache.DecisionMaxAge,
		"registries":       json.RawMessage(registries), "ca_files": f.Network.CAFiles,
	})
	if err != nil {
		return "", err
	}
	return facts.Digest(body), nil
}

// active is what the store names now: whatever was acknowledged before the call
// is in it, by whichever server.
func (f *inForce) active(ctx context.Context) (verdict.Active, error) {
	if f.barrier != nil {
		return f.barrier.Read(ctx)
	}
	return f.cfg.store.Active(ctx)
}

// current is the engine's view: the state that the store names now. When the
// store cannot be read the last known one is accepted for active.grace, and says
// so. One that the store has named, and that cannot be had, is no last known
// state: what was there before is known not to be in force.
func (f *inForce) current(ctx context.Context) (*engine.State, error) {
	active, err := f.active(ctx)
	if err != nil {
		return f.lastKnown(ctx, err)
	}
	st := f.state.Load()
	if st != nil && st.Active == active {
		st.confirm()
		return st.State, nil
	}
	if st != nil {
		st.confirmed.Store(nil)
	}
	built, err := f.builds.Read(ctx)
	switch {
	case err == nil:
		return built, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	}
	return nil, fmt.Errorf("%w: %w", engine.ErrState, err)
}

// followEvery is how soon a server looks by itself for what others have changed.
const followEvery = time.Second

// follow builds what other processes have put into force soon after they did, until
// ctx ends, so that nobody's request waits for a policy to be compiled. What is
// answered does not depend on it: every request asks what is in force. Its errors
// are told to whoever asks.
func (f *inForce) follow(ctx context.Context) {
	if f.barrier == nil {
		return
	}
	next := time.NewTicker(followEvery)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-next.C:
			_, _ = f.current(ctx)
		}
	}
}

func (f *inForce) lastKnown(ctx context.Context, cause error) (*engine.State, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	st := f.state.Load()
	grace := time.Duration(f.cfg.file.Active.Grace)
	if st == nil || grace <= 0 || !errors.Is(cause, store.ErrUnavailable) {
		return nil, fmt.Errorf("%w: %w", engine.ErrState, cause)
	}
	at, ok := st.within(grace)
	if !ok {
		return nil, fmt.Errorf("%w: %w", engine.ErrState, cause)
	}
	last := *st.State
	last.GraceNote = fmt.Sprintf("The store cannot be read; this is decided under the state last confirmed at %s (active.grace).",
		at.UTC().Format(time.RFC3339))
	return &last, nil
}

// rebuild compiles what is in force; parts that did not change are kept. It is
// called by one goroutine at a time, for all who wait, and goes on when they
// leave: else what takes longer than their patience would never be in force. The
// snapshot begins after they have read active, so it is no older, whatever the
// numbers say: a database restored from a backup counts from below.
func (f *inForce) rebuild(ctx context.Context) (*engine.State, error) {
	ctx, cancel := context.WithTimeout(ctx, buildTime)
	defer cancel()
	old := f.state.Load()
	if old == nil {
		old = &builtState{}
	}
	snap, err := f.cfg.store.Snapshot(ctx, old.inputs)
	if err != nil {
		return nil, err
	}
	if old.State != nil && old.Active == snap.Active { // somebody has built it since the caller looked
		old.confirm()
		return old.State, nil
	}
	st, err := f.compile(ctx, old, snap)
	if err != nil {
		return nil, err
	}
	st.confirm()
	f.state.Store(st)
	f.cfg.log.Info("in force", "revision", snap.Active.Revision, "policies", len(st.policies), "signers", len(st.registered),
		"roots", stringsOf(st.roots.all))
	return st.State, nil
}

// compile makes a state of a snapshot.
func (f *inForce) compile(ctx context.Context, old *builtState, snap store.Snapshot) (st *builtState, err error) {
	same := func(kind string) bool { // what there was none of, and is none of, too
		return old.State != nil && (snap.Unchanged[kind] || snap.Inputs[kind] == "" && old.inputs[kind] == "")
	}
	st = &builtState{
		inputs: snap.Inputs, registered: old.registered, policies: old.policies, policyRows: old.policyRows, bundleRows: old.bundleRows, roots: old.roots,
	}
	if !same(store.InputSigners) {
		if st.registered, err = signersFromRows(snap.Signers); err != nil {
			return nil, err
		}
	}
	if !same(store.InputPolicies) || !same(store.InputBundles) {
		if err := f.compilePolicies(ctx, objectsOf{f.cfg.store, snap}, st, old, snap); err != nil {
			return nil, err
		}
	}
	if !same(store.InputTrustRoots) {
		if st.roots, err = f.loadRoots(ctx, objectsOf{f.cfg.store, snap}, snap.Roots); err != nil {
			return nil, err
		}
	}
	if old.inputs[store.InputSecret] != snap.Inputs[store.InputSecret] && f.cfg.rekey != nil {
		secret, err := f.cfg.store.Secret(ctx)
		if err != nil {
			return nil, err
		}
		if err := f.cfg.rekey(secret); err != nil {
			return nil, err
		}
	}
	parts := stateParts{active: snap.Active, policies: st.policies, registered: st.registered, roots: st.roots.all}
	if same(store.InputTokens) {
		parts.tokens = old.Tokens
	} else if parts.tokens, err = auth.NewTokens(snap.Tokens); err != nil {
		return nil, err
	}
	if same(store.InputSigners) && same(store.InputPolicies) && same(store.InputBundles) {
		parts.compiled, parts.shadows = old.Policies, old.Shadows
	}
	if st.State, err = newState(parts); err != nil {
		return nil, err
	}
	st.Verify = unverified
	if st.roots.verifier != nil {
		st.Verify = withKeys(st.roots.verifier.Image, publicKeys(f.cfg.keys))
	}
	st.Offline, st.RootFiles = f.cfg.file.Offline, rootFiles(st.roots.all)
	return st, nil
}

// past makes the state that was in force under a revision, offline or not. It is
// for deciding again: it comes into force nowhere.
func (f *inForce) past(ctx context.Context, revision int64, offline bool) (*engine.State, error) {
	now := f.state.Load()
	if now == nil || now.Offline != offline {
		now = &builtState{}
	}
	snap, err := f.cfg.store.SnapshotAt(ctx, revision, now.inputs)
	if err != nil {
		return nil, err
	}
	aside := &inForce{cfg: f.cfg, aside: true}
	aside.cfg.rekey, aside.cfg.file.Offline = nil, offline
	st, err := aside.compile(ctx, now, snap)
	if err != nil {
		return nil, err
	}
	return st.State, nil
}

// unverified is the verification of a state without trust roots.
func unverified(context.Context, facts.Subject, []evidence.Item, engine.Keys) (facts.Facts, error) {
	return facts.Facts{}, errors.New("there is no trust root")
}

// compilePolicies compiles those policies of which they or their bundles changed.
func (f *inForce) compilePolicies(ctx context.Context, from administration.Objects, st, old *builtState, snap store.Snapshot) (err error) {
	st.policyRows, st.bundleRows = snap.Policies, snap.Bundles
	if old.State != nil && snap.Unchanged[store.InputPolicies] {
		st.policyRows = old.policyRows
	}
	if old.State != nil && snap.Unchanged[store.InputBundles] {
		st.bundleRows = old.bundleRows
	}
	st.policies, err = compilePolicies(ctx, st.policyRows, compiling{
		limits: f.cfg.file.Limits, bundles: st.bundleRows, before: old.policies, prepared: f.cfg.prepared,
		archive: func(ctx context.Context, digest string) ([]byte, error) {
			return from.Object(ctx, store.ObjectBundle, digest)
		},
	})
	return err
}

// objectsOf are the store's, and those that only a snapshot has.
type objectsOf struct {
	*store.Store
	snap store.Snapshot
}

func (o objectsOf) Object(ctx context.Context, kind, digest string) ([]byte, error) {
	if body, ok := o.snap.Objects[store.ObjectName{Kind: kind, Digest: digest}]; ok {
		return body, nil
	}
	return o.Store.Object(ctx, kind, digest)
}

func (f *inForce) loadRoots(ctx context.Context, from administration.Objects, rows []store.RootRow) (*rootSet, error) {
	if len(rows) == 0 && f.aside {
		return &rootSet{named: rootsName(nil)}, nil
	}
	roots, err := administration.LoadRoots(ctx, from, rows, f.cfg.file.Offline)
	if err != nil {
		return nil, err
	}
	set, err := newRootSet(roots, verify.Config{
		Limits: f.cfg.file.Limits, Memo: f.cfg.memo, Build: build(),
		OnPanic: func(p any) { f.cfg.log.Error("panic while verifying", "panic", fmt.Sprint(p)) },
	})
	if err != nil {
		return nil, err
	}
	set.named = rootsName(rows)
	return set, nil
}

func signersFromRows(rows []store.SignerRow) ([]signers.Signer, error) {
	out := make([]signers.Signer, 0, len(rows))
	for _, r := range rows {
		s, err := administration.FromRow(r)
		if err != nil {
			return nil, err // the whole set: leaving one out could trust more than was meant
		}
		out = append(out, s)
	}
	return out, nil
}

// stringsOf is for messages that list names.
func stringsOf(roots []*trust.Root) []string {
	names := make([]string, len(roots))
	for i, r := range roots {
		names[i] = r.Name()
	}
	return slices.Clip(names)
}
