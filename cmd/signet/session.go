package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/signet-policy/signet/internal/config"
	"github.com/signet-policy/signet/internal/decisionlog"
	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/policy"
	"github.com/signet-policy/signet/internal/signers"
	"github.com/signet-policy/signet/internal/signingpolicy"
	"github.com/signet-policy/signet/internal/store"
	"github.com/signet-policy/signet/internal/trust"
	"github.com/signet-policy/signet/internal/verdict"
)

// session is the engine with what is in force, for one command.
type session struct {
	engine *engine.Engine
	state  *engine.State
	images engine.Source
	file   config.File
	// decided takes the verdicts that are given; nil: nobody wants them.
	decided func(decisionlog.Decision)
	close   func()
}

// speaks is the policy whose input document a person is shown for an image: the
// first that speaks of it, enforcing ones before others. Where none does, it is
// the first there is.
func (s *session) speaks(image string) (engine.Policy, error) {
	asked, err := s.images.Parse(image)
	if err != nil {
		return engine.Policy{}, usage("image: %w", err)
	}
	best := -1
	for i, p := range s.state.Policies {
		if p.Applies(asked.Name()) && len(p.When) == 0 && (best < 0 || p.Mode == verdict.Enforce && s.state.Policies[best].Mode != verdict.Enforce) {
			best = i
		}
	}
	if len(s.state.Policies) == 0 {
		return engine.Policy{}, usage("no policy is in force but those of mode shadow, which give no verdict")
	}
	return s.state.Policies[max(best, 0)], nil
}

// newSession connects the parts for verify and facts. What a server on this store
// would decide by, counts here too; what the command names takes its place.
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
	one, source, err := choosePolicy(f, pol, keys)
	if err != nil {
		return nil, err
	}
	if one, err = pinKMS(ctx, f, nil, one); err != nil {
		return nil, err
	}
	var own inForcePolicy
	if one.Bundle == "" && !isBundle(pol.Policy) { // first of what takes time: it is compiled beside the rest
		if own, err = compilePolicy(ctx, one, nil, f.Limits); err != nil {
			return nil, err
		}
	}
	kept, err := fromStore(ctx, f, one, source, len(src.TrustedRoot) > 0)
	if err != nil {
		return nil, err
	}
	policies, err := compilePolicies(ctx, kept.policies, kept.compiling(f.Limits))
	if err != nil {
		return nil, err
	}
	if !kept.replaced {
		if own.set == nil {
			if own, err = compileOwn(ctx, f, pol, one, kept); err != nil {
				return nil, err
			}
		}
		policies = append(policies, own)
	}
	slices.SortFunc(policies, func(a, b inForcePolicy) int { return strings.Compare(a.Name, b.Name) }) // as a server has them
	roots, err := commandRoots(ctx, std, f, src.TrustedRoot, kept)
	if err != nil {
		return nil, err
	}
	state, err := newState(stateParts{policies: policies, registered: kept.signers, roots: roots.all})
	if err != nil {
		return nil, err
	}
	images, verifyFunc, err := newSource(f, img, args, roots)
	if err != nil {
		return nil, err
	}
	state.Verify = withKeys(verifyFunc, publicKeys(keys))
	eng, err := engine.New(engine.Config{
		Source: images, Current: func(context.Context) (*engine.State, error) { return state, nil },
		Limits: f.Limits, Build: build(), MaxStaleness: durationOf(f.MaxStaleness),
	})
	if err != nil {
		return nil, err
	}
	return &session{engine: eng, state: state, images: images, file: f, close: func() {}}, nil
}

// newSource is the registry, or the one artifact of --bundle.
func newSource(f config.File, img imageFlags, args []string, roots *rootSet) (engine.Source, engine.VerifyFunc, error) {
	var source engine.Source
	verifyFunc := engine.VerifyFunc(roots.verifier.Image)
	if img.Bundle != "" {
		s, err := newArtifactSource(img.Bundle, args[0], f.Limits)
		if err != nil {
			return nil, nil, err
		}
		source, verifyFunc = s, s.verifyFunc(roots.verifier)
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
// the configuration's, else the default: a signature by a registered signer. It
// also says where the policy is from.
func choosePolicy(f config.File, pol policyFlags, keys []signers.Key) (p *signingpolicy.Policy, source string, err error) {
	source = sourceCommandLine
	switch {
	case isBundle(pol.Policy):
		p, err = policyOfBundle(pol, keys)
	case pol.Policy != "":
		if p, err = policyFromFile("--policy", pol.Policy); err == nil {
			err = fitToUse("--policy "+pol.Policy, f, p)
		}
	case pol.Issuer != "" || len(keys) > 0:
		if p, err = signingpolicy.OneOff(keys, pol.Issuer, pol.Subject, pol.SubjectRegex); err != nil {
			err = &exit{code: exitUsage, err: err}
		}
	case f.PolicyFile != "":
		source = sourceConfiguration
		p, err = policyFromFile("policy_file", f.Relative(f.PolicyFile))
	case f.SigningPolicy.Kind != 0:
		source = sourceConfiguration
		if p, err = signingpolicy.FromNode(&f.SigningPolicy); err != nil {
			err = &exit{code: exitUsage, err: prefixed(f.Path, err)}
		}
	default:
		return signingpolicy.Default(), sourceEmbedded, nil
	}
	return p, source, err
}

// fitToUse refuses a policy of the command line that gives no verdict, and
// exceptions that a server would not take.
func fitToUse(what string, f config.File, p *signingpolicy.Policy) error {
	if p.Mode == verdict.Shadow {
		return usage("%s: is in mode shadow, which gives no verdict; write another mode to see what it decides", what)
	}
	return exceptionsFit(what, f, p)
}

func exceptionsFit(what string, f config.File, p *signingpolicy.Policy) error {
	if err := p.CheckExceptions(signingpolicy.ExceptionRules{Now: time.Now(), Longest: longestException(f)}); err != nil {
		return &exit{code: exitUsage, err: prefixed(what, err)}
	}
	return nil
}

// isBundle says whether a file named on the command line is a policy bundle: a
// folder, or a .tar.gz of one. What cannot be looked at is none; reading it says
// why.
func isBundle(path string) bool {
	info, err := os.Stat(path)
	return path != "" && err == nil && (info.IsDir() || strings.HasSuffix(filepath.Base(path), ".tar.gz"))
}

// policyOfBundle is the one-off policy of --policy with a bundle: its signers are
// those of the command, and the registered ones where its parameters say so; the
// rest is what the parameters say.
func policyOfBundle(pol policyFlags, keys []signers.Key) (*signingpolicy.Policy, error) {
	src, err := bundleFlags{Bundle: pol.Policy, Params: pol.Params}.source()
	if err != nil {
		return nil, err
	}
	one := &signingpolicy.Policy{Name: signingpolicy.OneOffName, Mode: verdict.Enforce}
	if pol.Issuer != "" || len(keys) > 0 {
		if one, err = signingpolicy.OneOff(keys, pol.Issuer, pol.Subject, pol.SubjectRegex); err != nil {
			return nil, &exit{code: exitUsage, err: err}
		}
	}
	p, err := one.WithParams(src.Params)
	if err != nil {
		return nil, &exit{code: exitUsage, err: err}
	}
	return p, nil
}

// compileOwn compiles the policy that a command brings with its bundle: the one of
// --policy, or the one that it names, in the store or in the configuration.
func compileOwn(ctx context.Context, f config.File, pol policyFlags, p *signingpolicy.Policy, k kept) (inForcePolicy, error) {
	var bundle fs.FS
	var err error
	switch archive, ok := k.archives[p.Bundle]; {
	case isBundle(pol.Policy):
		bundle, err = policy.Open(pol.Policy)
	case ok:
		bundle, err = policy.OpenArchive(archive)
	default:
		bundle, err = localBundle(f, p.Bundle)
	}
	if err != nil {
		return inForcePolicy{}, policyError(err)
	}
	compiled, err := compilePolicy(ctx, p, bundle, f.Limits)
	return compiled, policyError(err)
}

func policyFromFile(what, path string) (*signingpolicy.Policy, error) {
	if isBundle(path) {
		return nil, usage("%s: %s is a policy bundle; give a signing_policy as YAML or JSON, which names the bundle (bundle: NAME) and its parameters", what, path)
	}
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

// kept is what a store holds for a command that only looks.
type kept struct {
	// policies are those of the API. replaced says that they are in the place of
	// the embedded one.
	policies []store.PolicyRow
	replaced bool
	signers  []signers.Signer
	// bundles are what policies may name, and archives their bytes, by name.
	bundles  []store.BundleRow
	archives map[string][]byte
	// roots are nil where there is no store, or it was not asked for them.
	roots []*trust.Root
}

// fromStore reads what the store of this installation has: policies unless the
// command names one, signers where a policy asks for them, and trust roots unless
// the command names others. Nothing where there is no store.
func fromStore(ctx context.Context, f config.File, p *signingpolicy.Policy, source string, ownRoots bool) (k kept, err error) {
	ownPolicy := source == sourceCommandLine
	if ownPolicy && !p.UseRegistered && p.Bundle == "" && ownRoots || !f.Database.Set() && !store.Exists(f.DataDir) {
		return kept{}, nil
	}
	cfg, err := storeConfig(f)
	if err != nil {
		return kept{}, err
	}
	cfg.ReadOnly = true
	st, err := store.Open(ctx, cfg)
	if err != nil {
		return kept{}, err
	}
	defer func() { _ = st.Close() }()
	snap, err := st.Snapshot(ctx, nil)
	if err != nil {
		return kept{}, err
	}
	if !ownPolicy {
		if err := k.takePolicies(snap.Policies, p, source); err != nil {
			return kept{}, err
		}
	}
	if err := k.takeBundles(ctx, st, snap, p); err != nil {
		return kept{}, err
	}
	if k.signers, err = signersFromRows(snap.Signers); err != nil {
		return kept{}, err
	}
	if !ownRoots {
		k.roots, err = storeRoots(ctx, f, st, snap.Roots)
	}
	return k, err
}

// takeBundles takes the bundles that are named by the policies taken, and by p.
func (k *kept) takeBundles(ctx context.Context, st *store.Store, snap store.Snapshot, p *signingpolicy.Policy) error {
	named := map[string]bool{p.Bundle: true}
	for _, r := range k.policies {
		if p, err := signingpolicy.Parse([]byte(r.Body)); err == nil { // else compiling it says so
			named[p.Bundle] = true
		}
	}
	k.bundles, k.archives = snap.Bundles, map[string][]byte{}
	for _, r := range snap.Bundles {
		if !named[r.Name] || r.Digest == "" {
			continue
		}
		archive, err := st.Object(ctx, store.ObjectBundle, r.Digest)
		if err != nil {
			return err
		}
		k.archives[r.Name] = archive
	}
	return nil
}

// compiling is what the policies of the store are compiled with.
func (k *kept) compiling(limits evidenceLimits) compiling {
	return compiling{limits: limits, bundles: k.bundles, archive: func(_ context.Context, digest string) ([]byte, error) {
		for _, r := range k.bundles {
			if archive, ok := k.archives[r.Name]; ok && r.Digest == digest {
				return archive, nil
			}
		}
		return nil, store.ErrNotFound
	}}
}

// takePolicies takes those of the API, as a server that starts with p would have
// them beside it; see [administration.Service.SeedPolicies].
func (k *kept) takePolicies(rows []store.PolicyRow, p *signingpolicy.Policy, source string) error {
	embedded := false
	for _, r := range rows {
		embedded = embedded || r.Source == sourceEmbedded && r.Name == p.Name
		if r.Source != sourceAPI {
			continue
		}
		if r.Name == p.Name && source == sourceConfiguration {
			return usage("policy %s is in the configuration, and was made through the API too; remove one of them, or give it another name", p.Name)
		}
		k.policies = append(k.policies, r)
	}
	k.replaced = source == sourceEmbedded && len(k.policies) > 0 && !embedded
	return nil
}
