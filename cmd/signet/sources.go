package main

import (
	"context"
	"crypto"
	"errors"
	"fmt"

	"github.com/signet-policy/signet/internal/config"
	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/registry"
	"github.com/signet-policy/signet/internal/verify"
)

// registrySource is the registry room as the engine wants it.
type registrySource struct {
	client  *registry.Client
	layouts bool // the caller owns this machine and may name OCI layouts
}

func (s registrySource) Parse(image string) (engine.Asked, error) {
	ref, err := registry.ParseReference(image, s.layouts)
	if err != nil {
		return engine.Asked{}, err
	}
	return engine.Asked{
		Registry: ref.Registry, Repository: ref.Repository, Tag: ref.Tag, Digest: ref.Digest,
		Scope: s.client.ScopeOf(ref),
	}, nil
}

func (s registrySource) Resolve(ctx context.Context, q evidence.Query) (facts.Subject, error) {
	return s.client.Resolve(ctx, q)
}

func (s registrySource) Collect(ctx context.Context, sub facts.Subject, q evidence.Query) (evidence.Found, error) {
	return s.client.Collect(ctx, sub, q)
}

// referenceName is the normalised name of an image in a registry.
func referenceName(image string) (string, error) {
	ref, err := registry.ParseReference(image, false)
	return ref.Name(), err
}

// namedSource gives a name to subjects that have none (--as).
type namedSource struct {
	engine.Source
	registry, repository string
}

func newNamedSource(s engine.Source, name string) (engine.Source, error) {
	ref, err := registry.ParseReference(name, false)
	if err != nil {
		return nil, usage("--as: %w", err)
	}
	return namedSource{Source: s, registry: ref.Registry, repository: ref.Repository}, nil
}

func (s namedSource) Parse(image string) (engine.Asked, error) {
	a, err := s.Source.Parse(image)
	if err == nil && a.Name() != "" {
		err = fmt.Errorf("%s has a name of its own; --as is for OCI layouts and files", image)
	}
	a.Registry, a.Repository = s.registry, s.repository
	return a, err
}

func (s namedSource) Resolve(ctx context.Context, q evidence.Query) (facts.Subject, error) {
	sub, err := s.Source.Resolve(ctx, q)
	sub.Registry, sub.Repository = s.registry, s.repository
	return sub, err
}

// withKeys verifies with the keys that the caller gave, beside those in scope.
func withKeys(check engine.VerifyFunc, extra []crypto.PublicKey) engine.VerifyFunc {
	if len(extra) == 0 {
		return check
	}
	given := verify.KeyList(extra...)
	return func(ctx context.Context, s facts.Subject, items []evidence.Item, keys engine.Keys) (facts.Facts, error) {
		return check(ctx, s, items, verify.Together(keys, given))
	}
}

// newRegistryClient turns the configuration into the one transport.
func newRegistryClient(f config.File, ownsMachine bool) (*registry.Client, error) {
	cfg, err := registryConfig(f, ownsMachine)
	if err != nil {
		return nil, err
	}
	client, err := registry.New(cfg)
	if err != nil {
		return nil, wrapUsage("registries", err)
	}
	return client, nil
}

func registryConfig(f config.File, ownsMachine bool) (registry.Config, error) {
	cfg := registry.Config{
		Limits: f.Limits, Allow: f.AllowRegistries, EvidenceRepositories: f.EvidenceRepositories,
		ProxyURL: f.Network.Proxy, UserAgent: "signet/" + version,
		AllowPrivateAddresses: ownsMachine, AllowLayouts: ownsMachine,
	}
	for _, path := range f.Network.CAFiles {
		cfg.CAFiles = append(cfg.CAFiles, f.Relative(path))
	}
	var errs []error
	for host, r := range f.Registries {
		password, err := secretFrom(f.Relative(r.PasswordFile), r.PasswordEnv)
		if err != nil {
			errs = append(errs, fmt.Errorf("registries.%s: %w", host, err))
		}
		token, err := secretFrom(f.Relative(r.TokenFile), "")
		if err != nil {
			errs = append(errs, fmt.Errorf("registries.%s: %w", host, err))
		}
		var mirrors []registry.Mirror
		for _, m := range r.Mirrors {
			mirrors = append(mirrors, registry.Mirror{Host: m.Host, Prefix: m.Prefix, Tags: m.Tags, Evidence: m.Evidence})
		}
		cfg.Registries = append(cfg.Registries, registry.Settings{
			Host: host, Mirrors: mirrors, Insecure: r.Insecure, AllowPrivate: r.AllowPrivate, CAFile: f.Relative(r.CAFile),
			Username: r.Username, Password: registry.Secret(password), Token: registry.Secret(token), TokenHosts: r.TokenHosts, BlobHosts: r.BlobHosts,
		})
	}
	if err := errors.Join(errs...); err != nil {
		return registry.Config{}, &exit{code: exitUsage, err: err}
	}
	return cfg, nil
}
