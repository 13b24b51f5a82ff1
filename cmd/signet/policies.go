package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/policy"
	"github.com/signet-policy/signet/internal/signers"
	"github.com/signet-policy/signet/internal/signingpolicy"
	"github.com/signet-policy/signet/internal/store"
	"github.com/signet-policy/signet/internal/trust"
	"github.com/signet-policy/signet/internal/verdict"
)

// Where a policy is from.
const (
	sourceCommandLine   = "command line"
	sourceConfiguration = "configuration"
	sourceEmbedded      = "embedded"
	sourceAPI           = "api"
)

// inForcePolicy is a signing policy with the Rego that reads its parameters.
type inForcePolicy struct {
	*signingpolicy.Policy
	set *policy.Set
	// row names the stored body that it was made of, "" where there is no store.
	row string
}

// compilePolicies makes policies of their rows; those that did not change are
// taken over from before.
func compilePolicies(ctx context.Context, rows []store.PolicyRow, before []inForcePolicy, limits evidenceLimits) ([]inForcePolicy, error) {
	known := map[string]inForcePolicy{}
	for _, p := range before {
		known[p.row] = p
	}
	out := make([]inForcePolicy, 0, len(rows))
	for _, r := range rows {
		id := r.Name + " " + r.Digest
		if p, ok := known[id]; ok {
			out = append(out, p)
			continue
		}
		sp, err := signingpolicy.Parse([]byte(r.Body))
		if err != nil {
			return nil, fmt.Errorf("policy %s: %w", r.Name, err)
		}
		if sp.Name != r.Name {
			return nil, fmt.Errorf("policy %s: %w: it calls itself %s", r.Name, store.ErrCorrupt, sp.Name)
		}
		p, err := compilePolicy(ctx, sp, limits)
		if err != nil {
			return nil, err
		}
		p.row = id
		out = append(out, p)
	}
	return out, nil
}

func compilePolicy(ctx context.Context, sp *signingpolicy.Policy, limits evidenceLimits) (inForcePolicy, error) {
	params, err := sp.Params()
	if err != nil {
		return inForcePolicy{}, err
	}
	set, err := policy.Load(ctx, policy.Source{Name: sp.Name, Params: params, Limits: limits})
	if err != nil {
		return inForcePolicy{}, fmt.Errorf("policy %s: %w", sp.Name, err)
	}
	return inForcePolicy{Policy: sp, set: set}, nil
}

// stateParts is everything in force, before signers are compiled.
type stateParts struct {
	active     verdict.Active
	policies   []inForcePolicy
	registered []signers.Signer
	roots      []*trust.Root
	tokens     *auth.Tokens
	// compiled are the policies as they were, where neither they nor the signers
	// changed; else nil.
	compiled []engine.Policy
}

// newState compiles what is in force into one immutable value, all but Verify.
func newState(parts stateParts) (*engine.State, error) {
	st := &engine.State{Active: parts.active, Tokens: parts.tokens, Policies: parts.compiled}
	if st.Policies == nil {
		for _, p := range parts.policies {
			compiled, err := enginePolicy(p, parts.registered)
			if err != nil {
				return nil, err
			}
			st.Policies = append(st.Policies, compiled)
		}
	}
	for _, r := range parts.roots {
		info := r.Info()
		st.Roots = append(st.Roots, engine.Root{Name: info.Name, Digest: info.Digest, HasLog: info.TransparencyLog, RefreshedAt: info.RefreshedAt})
	}
	if st.Active.Digest == "" { // no store: name what is in force all the same
		digest, err := digestOf(st)
		if err != nil {
			return nil, err
		}
		st.Active.Digest = digest
	}
	return st, nil
}

func enginePolicy(p inForcePolicy, registered []signers.Signer) (engine.Policy, error) {
	inForce, err := signers.Compile(p.InForce(registered))
	if err != nil {
		return engine.Policy{}, fmt.Errorf("policy %s: trusted signers: %w", p.Name, err)
	}
	return engine.Policy{
		Name: p.Name, Mode: p.Mode, Document: p.row, Applies: p.Applies, Set: policySet{p.set}, Signers: inForce, Counts: p.Counts,
		RequireSignature: p.RequireSignature, Registered: p.UseRegistered,
	}, nil
}

func digestOf(st *engine.State) (string, error) {
	type part struct{ Name, Policy, Params, Signers string }
	list := []part{}
	for _, p := range st.Policies {
		list = append(list, part{p.Name, p.Set.Digest(), p.Set.ParamsDigest(), p.Signers.Digest()})
	}
	body, err := facts.Canonical(map[string]any{"policies": list, "roots": st.Roots})
	if err != nil {
		return "", err
	}
	return facts.Digest(body), nil
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
