// Package wire connects Signet's rooms in the process of a test, the way
// cmd/signet connects them for `signet verify` and `signet facts`: registry,
// verifier, policy and engine are the real ones. Start with [New].
//
// It is for tests that go from a registry to a verdict. That the wiring is the
// one users run is checked in test/corpus, where the built program and this
// package must answer alike.
package wire

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/policy"
	"github.com/signet-policy/signet/internal/registry"
	"github.com/signet-policy/signet/internal/signers"
	"github.com/signet-policy/signet/internal/signingpolicy"
	"github.com/signet-policy/signet/internal/trust"
	"github.com/signet-policy/signet/internal/verdict"
	"github.com/signet-policy/signet/internal/verify"
)

// Build is what verdicts of this wiring name as their build.
const Build = "test"

// Config of a [Signet]. Roots and Policy are needed.
type Config struct {
	Roots  []*trust.Root
	Policy *signingpolicy.Policy
	// Registered are the signers of the data directory.
	Registered []signers.Signer
	// Keys are tried on every item, as --key does.
	Keys []signers.Key
	// Registry is the one transport; Artifact replaces it, as --bundle does.
	Registry registry.Config
	Artifact *Artifact
	// Limits are [evidence.DefaultLimits] where they are zero.
	Limits evidence.Limits
	// Cache, Memo and Recorder are optional.
	Cache    engine.Cache
	Memo     verify.Memo
	Recorder engine.Recorder
	// Now is the clock of the engine, nil for the real one.
	Now func() time.Time
	// MaxStaleness as in engine.Config.
	MaxStaleness time.Duration
}

// Signet is an engine with what is in force.
type Signet struct {
	Engine *engine.Engine
	State  *engine.State
	// Panics counts panics in parsers: there must be none.
	Panics *int
}

// New connects the rooms. What is wrong with cfg ends the test.
func New(tb testing.TB, cfg Config) *Signet {
	tb.Helper()
	s, err := Connect(tb, cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// Connect is [New] for tests of what is refused when it is configured.
func Connect(tb testing.TB, cfg Config) (*Signet, error) {
	tb.Helper()
	if cfg.Limits == (evidence.Limits{}) {
		cfg.Limits = evidence.DefaultLimits()
	}
	panics := new(int)
	v, err := verify.New(verify.Config{
		Roots: cfg.Roots, Limits: cfg.Limits, Memo: cfg.Memo, Build: Build,
		OnPanic: func(p any) { *panics++; tb.Logf("panic in a parser: %+v", p) },
	})
	if err != nil {
		return nil, err
	}
	state, err := newState(tb.Context(), cfg)
	if err != nil {
		return nil, err
	}
	var source engine.Source
	check := engine.VerifyFunc(v.Image)
	if cfg.Artifact != nil {
		source, check = cfg.Artifact, cfg.Artifact.verifyFunc(v)
	} else {
		cfg.Registry.Limits = cfg.Limits
		if cfg.Registry.Keychain == nil {
			cfg.Registry.Keychain = authn.NewMultiKeychain() // no credentials of this machine
		}
		client, err := registry.New(cfg.Registry)
		if err != nil {
			return nil, err
		}
		tb.Cleanup(client.Close)
		source = registrySource{client, cfg.Registry.AllowLayouts}
	}
	state.Verify = withKeys(check, cfg.Keys)
	eng, err := engine.New(engine.Config{
		Source: source, Current: func(context.Context) (*engine.State, error) { return state, nil },
		Cache: cfg.Cache, Recorder: cfg.Recorder, Limits: cfg.Limits, Build: Build, Now: cfg.Now, MaxStaleness: cfg.MaxStaleness,
	})
	if err != nil {
		return nil, err
	}
	return &Signet{Engine: eng, State: state, Panics: panics}, nil
}

// newState compiles policy and signers into what is in force.
func newState(ctx context.Context, cfg Config) (*engine.State, error) {
	p := cfg.Policy
	params, err := p.Params()
	if err != nil {
		return nil, err
	}
	set, err := policy.Load(ctx, policy.Source{Name: p.Name, Params: params, Limits: cfg.Limits})
	if err != nil {
		return nil, err
	}
	inForce, err := signers.Compile(p.InForce(cfg.Registered))
	if err != nil {
		return nil, err
	}
	builds, err := p.Builds(set.Builders())
	if err != nil {
		return nil, err
	}
	st := &engine.State{
		Active: verdict.Active{Revision: 1, Digest: "sha256:test"},
		Policies: []engine.Policy{{
			Name: p.Name, Mode: p.Mode, Applies: p.Applies, Set: policySet{set}, Signers: inForce,
			Counts: p.Counts, Builds: builds, RequireSignature: p.RequireSignature, Registered: p.UseRegistered,
			Attestations: requiredAttestations(p), Ages: p.Ages(), AllPlatforms: p.WantsPlatforms(),
			Groups: p.GroupsInForce(), Platforms: p.Platforms,
		}},
	}
	for _, r := range cfg.Roots {
		i := r.Info()
		st.Roots = append(st.Roots, engine.Root{Name: i.Name, Digest: i.Digest, HasLog: i.TransparencyLog, RefreshedAt: i.RefreshedAt})
	}
	return st, nil
}

// requiredAttestations are those of a policy as the engine wants them.
func requiredAttestations(p *signingpolicy.Policy) []engine.AttestationRequirement {
	var list []engine.AttestationRequirement
	for _, r := range p.Requirements() {
		list = append(list, engine.AttestationRequirement(r))
	}
	return list
}

type policySet struct{ *policy.Set }

func (s policySet) Evaluate(ctx context.Context, in *facts.Input) (verdict.Result, error) {
	res, err := s.Set.Evaluate(ctx, in)
	switch {
	case errors.Is(err, policy.ErrTimeLimit):
		err = fmt.Errorf("%w: %w", engine.ErrTimeLimit, err)
	case errors.Is(err, policy.ErrInputTooLarge):
		err = fmt.Errorf("%w: %w", engine.ErrInputTooLarge, err)
	}
	return res, err
}

// withKeys verifies with the caller's keys beside those in scope.
func withKeys(check engine.VerifyFunc, extra []signers.Key) engine.VerifyFunc {
	var given []crypto.PublicKey
	for _, k := range extra {
		given = append(given, k.PublicKey)
	}
	return func(ctx context.Context, s facts.Subject, items []evidence.Item, keys engine.Keys) (facts.Facts, error) {
		return check(ctx, s, items, verify.Together(keys, verify.KeyList(given...)))
	}
}

// registrySource is the registry room as the engine wants it.
type registrySource struct {
	client  *registry.Client
	layouts bool
}

func (s registrySource) Parse(image string) (engine.Asked, error) {
	ref, err := registry.ParseReference(image, s.layouts)
	if err != nil {
		return engine.Asked{}, err
	}
	return engine.Asked{
		Registry: ref.Registry, Repository: ref.Repository, Tag: ref.Tag, Digest: ref.Digest, Scope: s.client.Scope(image),
	}, nil
}

func (s registrySource) Resolve(ctx context.Context, q evidence.Query) (facts.Subject, error) {
	return s.client.Resolve(ctx, q)
}

func (s registrySource) Collect(ctx context.Context, sub facts.Subject, q evidence.Query) (evidence.Found, error) {
	return s.client.Collect(ctx, sub, q)
}
