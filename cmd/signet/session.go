package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/signet-policy/signet/internal/api"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/config"
	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/policy"
	"github.com/signet-policy/signet/internal/signers"
	"github.com/signet-policy/signet/internal/signingpolicy"
	"github.com/signet-policy/signet/internal/store"
	"github.com/signet-policy/signet/internal/trust"
	"github.com/signet-policy/signet/internal/verdict"
	"github.com/signet-policy/signet/internal/verify"
)

// session is the engine with what is in force, for one command.
type session struct {
	engine *engine.Engine
	state  *engine.State
	close  func()
}

// newSession connects the parts for verify and facts. It opens the store only
// to read signers, and only where there is one and the policy asks for them.
func newSession(ctx context.Context, std streams, common commonFlags, src sourceFlags, img imageFlags, pol policyFlags, args []string) (*session, error) {
	if err := pol.check(); err != nil {
		return nil, err
	}
	if img.Bundle != "" && len(args) != 1 {
		return nil, usage("--bundle verifies one artifact at a time")
	}
	f, err := common.load(src)
	if err != nil {
		return nil, err
	}
	keys, err := readKeys(src.Key)
	if err != nil {
		return nil, err
	}
	sp, err := choosePolicy(f, pol, keys)
	if err != nil {
		return nil, err
	}
	// First of what takes time: it is compiled beside the rest.
	set, err := loadPolicy(ctx, sp, f.Limits)
	if err != nil {
		return nil, err
	}
	roots, err := loadRoots(f, src.TrustedRoot)
	if err != nil {
		return nil, err
	}
	refreshDue(ctx, std, f, roots)
	var registered []signers.Signer
	if sp.UseRegistered {
		if registered, err = registeredSigners(ctx, f.DataDir); err != nil {
			return nil, err
		}
	}
	verifier, err := verify.New(verify.Config{Roots: roots, Limits: f.Limits, Build: build()})
	if err != nil {
		return nil, err
	}
	state, err := newState(stateParts{policy: sp, set: set, registered: registered, roots: roots})
	if err != nil {
		return nil, err
	}
	source, verifyFunc, err := newSource(f, img, args, verifier)
	if err != nil {
		return nil, err
	}
	state.Verify = withKeys(verifyFunc, publicKeys(keys))
	eng, err := engine.New(engine.Config{
		Source: source, Current: func(context.Context) (*engine.State, error) { return state, nil },
		Limits: f.Limits, Build: build(), MaxStaleness: durationOf(f.MaxStaleness),
	})
	if err != nil {
		return nil, err
	}
	return &session{engine: eng, state: state, close: func() {}}, nil
}

// newSource is the registry, or the one artifact of --bundle.
func newSource(f config.File, img imageFlags, args []string, v *verify.Verifier) (engine.Source, engine.VerifyFunc, error) {
	var source engine.Source
	verifyFunc := engine.VerifyFunc(v.Image)
	if img.Bundle != "" {
		s, err := newArtifactSource(img.Bundle, args[0], f.Limits)
		if err != nil {
			return nil, nil, err
		}
		source, verifyFunc = s, s.verifyFunc(v)
	} else {
		client, err := newRegistryClient(f, true)
		if err != nil {
			return nil, nil, err
		}
		source = registrySource{client: client, layouts: true}
	}
	if img.As != "" {
		named, err := newNamedSource(source, img.As)
		if err != nil {
			return nil, nil, err
		}
		source = named
	}
	return source, verifyFunc, nil
}

// choosePolicy: --policy, else the one-off policy of --key and --issuer, else
// the configuration's, else the default: a signature by a registered signer.
func choosePolicy(f config.File, pol policyFlags, keys []signers.Key) (*signingpolicy.Policy, error) {
	switch {
	case pol.Policy != "":
		return policyFromFile("--policy", pol.Policy)
	case pol.Issuer != "" || len(keys) > 0:
		p, err := signingpolicy.OneOff(keys, pol.Issuer, pol.Subject, pol.SubjectRegex)
		if err != nil {
			return nil, &exit{code: exitUsage, err: err}
		}
		return p, nil
	case f.PolicyFile != "":
		return policyFromFile("policy_file", f.Relative(f.PolicyFile))
	case f.SigningPolicy.Kind != 0:
		p, err := signingpolicy.FromNode(&f.SigningPolicy)
		if err != nil {
			return nil, &exit{code: exitUsage, err: prefixed(f.Path, err)}
		}
		return p, nil
	}
	return signingpolicy.Default(), nil
}

func policyFromFile(what, path string) (*signingpolicy.Policy, error) {
	body, err := os.ReadFile(path) //nolint:gosec // the caller names the file
	if err != nil {
		return nil, usage("%s: %w", what, err)
	}
	p, err := signingpolicy.Parse(body)
	if err != nil {
		return nil, &exit{code: exitUsage, err: prefixed(path, err)}
	}
	return p, nil
}

// prefixed puts the file's name before each line of err.
func prefixed(path string, err error) error {
	lines := strings.Split(err.Error(), "\n")
	for i := range lines {
		lines[i] = path + ": " + lines[i]
	}
	return errors.New(strings.Join(lines, "\n"))
}

// registeredSigners reads the signers of a data directory; none where there is
// no store.
func registeredSigners(ctx context.Context, dir string) ([]signers.Signer, error) {
	if !store.Exists(dir) {
		return nil, nil
	}
	st, err := store.Open(ctx, store.Config{DataDir: dir, ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer func() { _ = st.Close() }()
	rows, err := st.Signers(ctx)
	if err != nil {
		return nil, err
	}
	return signersFromRows(rows)
}

// stateParts is everything in force, before signers are compiled.
type stateParts struct {
	active     verdict.Active
	policy     *signingpolicy.Policy
	set        *policy.Set
	registered []signers.Signer
	roots      []*trust.Root
	tokens     *auth.Tokens
}

// newState compiles what is in force into one immutable value, all but Verify.
func newState(parts stateParts) (*engine.State, error) {
	inForce, err := signers.Compile(parts.policy.InForce(parts.registered))
	if err != nil {
		return nil, fmt.Errorf("trusted signers: %w", err)
	}
	set := parts.set
	st := &engine.State{
		Active: parts.active, Tokens: parts.tokens,
		Policies: []engine.Policy{{
			Name: parts.policy.Name, Mode: parts.policy.Mode, Applies: parts.policy.Applies,
			Set: policySet{set}, Signers: inForce, Counts: parts.policy.Counts,
			RequireSignature: parts.policy.RequireSignature, Registered: parts.policy.UseRegistered,
		}},
	}
	for _, r := range parts.roots {
		info := r.Info()
		st.Roots = append(st.Roots, engine.Root{Name: info.Name, Digest: info.Digest, HasLog: info.TransparencyLog, RefreshedAt: info.RefreshedAt})
	}
	if st.Active.Digest == "" { // no store: name what is in force all the same
		digest, err := facts.Canonical(map[string]any{
			"policy": set.Digest(), "params": set.ParamsDigest(), "signers": inForce.Digest(), "roots": st.Roots,
		})
		if err != nil {
			return nil, err
		}
		st.Active.Digest = facts.Digest(digest)
	}
	return st, nil
}

// policySet is a compiled policy as the engine wants it.
type policySet struct{ *policy.Set }

func (s policySet) Evaluate(ctx context.Context, in *facts.Input) (verdict.Result, error) {
	res, err := s.Set.Evaluate(ctx, in)
	if errors.Is(err, policy.ErrTimeLimit) {
		return res, fmt.Errorf("%w: %w", engine.ErrTimeLimit, err)
	}
	return res, err
}

type evidenceLimits = evidence.Limits

func durationOf(d config.Duration) time.Duration { return time.Duration(d) }

// secretFrom reads a secret from a file or a variable; "" for neither.
func secretFrom(path, env string) (string, error) {
	switch {
	case path != "":
		body, err := os.ReadFile(path) //nolint:gosec // the operator names the file
		return strings.TrimSpace(string(body)), err
	case env != "":
		v := os.Getenv(env)
		if v == "" {
			return "", fmt.Errorf("the variable %s is not set", env)
		}
		return v, nil
	}
	return "", nil
}

// historyError maps the store's errors to the API's.
func historyError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrNotFound):
		return fmt.Errorf("%w: %w", api.ErrNotFound, err)
	case errors.Is(err, store.ErrUnavailable):
		return fmt.Errorf("%w: %w", api.ErrUnavailable, err)
	}
	return err // damaged, or something that no retry mends
}
