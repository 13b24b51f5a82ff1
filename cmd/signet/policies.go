package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/builders"
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
	set engine.PolicySet
	// made names the stored body and archive that it was made of, "" where there is
	// no store.
	made string
	// source is where it is from, "" where there is no store.
	source string
}

// madeOf names a policy's body and its bundle's archive, "" for none.
func madeOf(name, body, archive string) string { return name + " " + body + " " + archive }

// compiling is what policies are compiled with.
type compiling struct {
	limits evidenceLimits
	// bundles are those that policies may name, and archive reads one by its digest.
	bundles []store.BundleRow
	archive func(ctx context.Context, digest string) ([]byte, error)
	// before are policies that may have been compiled already, and prepared those
	// that are about to be in force; nil: none.
	before   []inForcePolicy
	prepared *preparedPolicies
}

// bundleOf is the bundle that a policy names, the zero row where it names none or
// there is none of that name.
func (c compiling) bundleOf(sp *signingpolicy.Policy) store.BundleRow {
	for _, b := range c.bundles {
		if sp.Bundle != "" && b.Name == sp.Bundle {
			return b
		}
	}
	return store.BundleRow{}
}

// compilePolicies makes policies of their rows; those that did not change are
// taken over from before. One whose bundle is not there, or cannot be read, has no
// rules, and its images are unknown.
func compilePolicies(ctx context.Context, rows []store.PolicyRow, with compiling) ([]inForcePolicy, error) {
	known := map[string]inForcePolicy{}
	for _, p := range with.before {
		known[p.made] = p
	}
	out := make([]inForcePolicy, 0, len(rows))
	for _, r := range rows {
		sp, err := signingpolicy.Parse([]byte(r.Body))
		if err != nil {
			return nil, fmt.Errorf("policy %s: %w", r.Name, err)
		}
		if sp.Name != r.Name {
			return nil, fmt.Errorf("policy %s: %w: it calls itself %s", r.Name, store.ErrCorrupt, sp.Name)
		}
		id := madeOf(r.Name, r.Digest, with.bundleOf(sp).Digest)
		p, ok := known[id]
		if !ok {
			if p, err = with.one(ctx, sp, id); err != nil {
				return nil, err
			}
		}
		p.source = r.Source
		out = append(out, p)
	}
	return out, nil
}

// one compiles a policy with the bundle that it names.
func (c compiling) one(ctx context.Context, sp *signingpolicy.Policy, id string) (inForcePolicy, error) {
	var bundle fs.FS
	if sp.Bundle != "" {
		if p, ok := c.prepared.take(id); ok {
			return p, nil
		}
		row := c.bundleOf(sp)
		switch {
		case row.Name == "":
			return withoutRules(sp, fmt.Sprintf("there is no bundle %q", sp.Bundle)), nil
		case row.Digest == "":
			return withoutRules(sp, fmt.Sprintf("bundle %q has not been fetched yet", sp.Bundle)), nil
		}
		archive, err := c.archive(ctx, row.Digest)
		if errors.Is(err, store.ErrCorrupt) || errors.Is(err, store.ErrNotFound) {
			return withoutRules(sp, fmt.Sprintf("the archive of bundle %q cannot be read", sp.Bundle)), nil
		}
		if err != nil {
			return inForcePolicy{}, err
		}
		if bundle, err = policy.OpenArchive(archive); err != nil {
			return withoutRules(sp, fmt.Sprintf("the archive of bundle %q cannot be read: %s", sp.Bundle, err)), nil
		}
	}
	p, err := compilePolicy(ctx, sp, bundle, c.limits)
	switch {
	case err == nil:
		p.made = id
		return p, nil
	case bundle == nil || ctx.Err() != nil || !errors.Is(err, policy.ErrLoad) || errors.Is(err, policy.ErrTimeLimit):
		return inForcePolicy{}, err // tried again with the next request
	}
	// Another build has put it into force. That costs its own images, and no others.
	return withoutRules(sp, fmt.Sprintf("bundle %q cannot be used by this version: %s", sp.Bundle, err)), nil
}

// compilePolicy compiles a policy with the rules of a bundle; nil is Signet's own.
// An error about parameters wraps [signingpolicy.ErrInvalid], and names their lines.
func compilePolicy(ctx context.Context, sp *signingpolicy.Policy, bundle fs.FS, limits evidenceLimits) (inForcePolicy, error) {
	params, err := sp.Params()
	if err != nil {
		return inForcePolicy{}, err
	}
	set, err := policy.Load(ctx, policy.Source{Name: sp.Name, Bundle: bundle, Params: params, Limits: limits})
	var bad *policy.ParamsError
	if errors.As(err, &bad) && bundle != nil {
		mistakes := make([]signingpolicy.Mistake, 0, len(bad.Problems))
		for _, p := range bad.Problems {
			mistakes = append(mistakes, signingpolicy.Mistake{Path: p.Path, Problem: lowerFirst(p.Problem) + " (the bundle's schemas/params.json)"})
		}
		return inForcePolicy{}, &paramsError{sp.ParameterError(mistakes), err}
	}
	if err != nil {
		return inForcePolicy{}, fmt.Errorf("policy %s: %w", sp.Name, err)
	}
	return inForcePolicy{Policy: sp, set: policySet{set}}, nil
}

// paramsError is about the lines of a document, and still what loading said.
type paramsError struct{ lines, cause error }

func (e *paramsError) Error() string   { return e.lines.Error() }
func (e *paramsError) Unwrap() []error { return []error{e.lines, e.cause} }

func lowerFirst(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	return string(unicode.ToLower(r)) + s[n:]
}

// noRules is the set of a policy whose bundle is not there.
type noRules struct{ why string }

func withoutRules(sp *signingpolicy.Policy, why string) inForcePolicy {
	return inForcePolicy{Policy: sp, set: noRules{why}}
}

func (noRules) Revision() string             { return "" }
func (noRules) Digest() string               { return "" }
func (noRules) ParamsDigest() string         { return "" }
func (noRules) Monotone() bool               { return false }
func (noRules) Context() map[string][]string { return nil }

func (n noRules) Evaluate(context.Context, *facts.Input) (verdict.Result, error) {
	return verdict.Result{}, fmt.Errorf("%w: %s", engine.ErrNoRules, n.why)
}

// preparedPolicies are policies that were compiled to try them, so that the
// request which sees them in force first does not wait until they are compiled
// again.
type preparedPolicies struct {
	mu   sync.Mutex
	list []inForcePolicy
}

// mostPrepared bounds what is kept of changes that never came into force.
const mostPrepared = 16

func (l *preparedPolicies) keep(p inForcePolicy) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(slices.DeleteFunc(l.list, func(o inForcePolicy) bool { return o.made == p.made }), p)
	if len(l.list) > mostPrepared {
		l.list = slices.Delete(l.list, 0, len(l.list)-mostPrepared)
	}
}

func (l *preparedPolicies) take(made string) (inForcePolicy, bool) {
	if l == nil {
		return inForcePolicy{}, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.IndexFunc(l.list, func(p inForcePolicy) bool { return p.made == made })
	if i < 0 {
		return inForcePolicy{}, false
	}
	p := l.list[i]
	l.list = slices.Delete(l.list, i, i+1)
	return p, true
}

// check compiles a policy that is about to be in force, and keeps it. A
// [*signingpolicy.CodesError] is about one that was compiled and kept all the same.
func (l *preparedPolicies) check(ctx context.Context, sp *signingpolicy.Policy, archive []byte, limits evidenceLimits) error {
	var bundle fs.FS
	digest := ""
	if archive != nil {
		var err error
		if bundle, err = policy.OpenArchive(archive); err != nil {
			return err
		}
		digest = facts.Digest(archive)
	}
	p, err := compilePolicy(ctx, sp, bundle, limits)
	if err != nil || archive == nil { // Signet's own rules are compiled beside the request
		return err
	}
	body, err := sp.Canonical()
	if err != nil {
		return err
	}
	p.made = madeOf(sp.Name, facts.Digest(body), digest)
	l.keep(p)
	if rules, ok := p.set.(policySet); ok {
		return sp.CheckCodes(rules.Codes())
	}
	return nil
}

// stateParts is everything in force, before signers are compiled.
type stateParts struct {
	active     verdict.Active
	policies   []inForcePolicy
	registered []signers.Signer
	roots      []*trust.Root
	tokens     *auth.Tokens
	// compiled are the policies as they were, and shadows those of mode shadow, where
	// neither they nor the signers changed; else nil.
	compiled, shadows []engine.Policy
}

// newState compiles what is in force into one immutable value, all but Verify.
func newState(parts stateParts) (*engine.State, error) {
	st := &engine.State{Active: parts.active, Tokens: parts.tokens, Policies: parts.compiled, Shadows: parts.shadows}
	if st.Policies == nil && st.Shadows == nil {
		for _, p := range parts.policies {
			compiled, err := enginePolicy(p, parts.registered)
			if err != nil {
				return nil, err
			}
			if compiled.Mode == verdict.Shadow {
				st.Shadows = append(st.Shadows, compiled)
			} else {
				st.Policies = append(st.Policies, compiled)
			}
		}
	}
	st.Attests = slices.ContainsFunc(st.Policies, func(p engine.Policy) bool { return p.Attest })
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
	builds, err := p.Builds(profilesOf(p.set))
	if err != nil {
		return engine.Policy{}, err
	}
	exceptions := make([]engine.Boundary, 0, len(p.Exceptions))
	for i, e := range p.Exceptions {
		exceptions = append(exceptions, engine.Boundary{Kind: engine.BoundaryException, Name: p.ExceptionName(i), Ends: e.ExpiresAt})
	}
	return engine.Policy{
		Name: p.Name, Mode: p.Mode, Document: p.made, Applies: p.Applies, Set: p.set, Signers: inForce, Counts: p.Counts, Builds: builds,
		RequireSignature: p.RequireSignature, Attest: p.Attest, Registered: p.UseRegistered, Attestations: requiredAttestations(p.Policy), Ages: p.Ages(),
		Groups: p.GroupsInForce(), Platforms: p.Platforms, AllPlatforms: p.WantsPlatforms(), When: p.Context,
		Fallback: p.source == sourceEmbedded, Replaces: p.source == sourceConfiguration && len(p.Context) > 0, KeysWithoutLog: !p.VerifyTransparencyLog,
		Exceptions: exceptions, ShadowOf: p.ShadowOf,
	}, nil
}

// requiredAttestations are those of a policy as the engine wants them.
func requiredAttestations(p *signingpolicy.Policy) []engine.AttestationRequirement {
	var list []engine.AttestationRequirement
	for _, r := range p.Requirements() {
		list = append(list, engine.AttestationRequirement(r))
	}
	return list
}

// profilesOf are the builder profiles that go with the rules of a policy; none for
// rules that are not there.
func profilesOf(set engine.PolicySet) []builders.Profile {
	if s, ok := set.(interface{ Builders() []builders.Profile }); ok {
		return s.Builders()
	}
	return nil
}

func digestOf(st *engine.State) (string, error) {
	type part struct {
		Name, Policy, Params, Signers string
		When                          map[string]string `json:",omitempty"`
	}
	list := []part{}
	for _, p := range st.Policies {
		list = append(list, part{p.Name, p.Set.Digest(), p.Set.ParamsDigest(), p.Signers.Digest(), p.When})
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
	switch {
	case errors.Is(err, policy.ErrTimeLimit):
		return res, fmt.Errorf("%w: %w", engine.ErrTimeLimit, err)
	case errors.Is(err, policy.ErrInputTooLarge):
		return res, fmt.Errorf("%w: %w", engine.ErrInputTooLarge, err)
	}
	return res, err
}

type evidenceLimits = evidence.Limits
