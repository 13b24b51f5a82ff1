package main

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/signet-policy/signet/internal/administration"
	"github.com/signet-policy/signet/internal/config"
	"github.com/signet-policy/signet/internal/distribution"
	"github.com/signet-policy/signet/internal/policy"
)

// bundleSources are where the configuration's bundles are fetched from, by name.
func bundleSources(f config.File) (map[string]administration.BundleSource, error) {
	sources := map[string]administration.BundleSource{}
	for _, name := range sortedKeys(f.Bundles) {
		b := f.Bundles[name]
		source, err := distribution.New(distributionConfig(f, b))
		if err != nil {
			return nil, wrapUsage("bundles."+name, err)
		}
		sources[name] = administration.BundleSource{Network: b.Network(), MaxFlips: b.MaxFlips, Fetch: fetcher(source)}
		if f.Offline && b.Network() {
			sources[name] = administration.BundleSource{Network: true, Fetch: func(context.Context, string) ([]byte, string, error) {
				return nil, "", errors.New("offline: true forbids that its source is asked; use dir or file")
			}}
		}
	}
	return sources, nil
}

func distributionConfig(f config.File, b config.Bundle) distribution.Config {
	cfg := distribution.Config{
		Dir: f.Relative(b.Dir), Pack: policy.Pack, File: f.Relative(b.File), URL: b.URL,
		BearerTokenFile: f.Relative(b.BearerTokenFile), Username: b.Username, PasswordFile: f.Relative(b.PasswordFile),
		ClientCert: f.Relative(b.ClientCert), ClientKey: f.Relative(b.ClientKey), CAFile: f.Relative(b.CAFile),
		AllowHTTP: b.AllowHTTP, ProxyURL: f.Network.Proxy, UserAgent: "signet/" + version,
	}
	for _, path := range f.Network.CAFiles {
		cfg.CAFiles = append(cfg.CAFiles, f.Relative(path))
	}
	return cfg
}

// fetcher is a source as administration wants it: what it remembers is text.
func fetcher(source distribution.Source) func(context.Context, string) ([]byte, string, error) {
	return func(ctx context.Context, validator string) ([]byte, string, error) {
		var since distribution.Validator
		if validator != "" {
			if err := json.Unmarshal([]byte(validator), &since); err != nil {
				since = distribution.Validator{} // of another version: all is fetched again
			}
		}
		got, err := source.Fetch(ctx, since)
		next := ""
		if got.Validator != (distribution.Validator{}) {
			body, err := json.Marshal(got.Validator)
			if err != nil {
				return nil, "", err
			}
			next = string(body)
		}
		if errors.Is(err, distribution.ErrNotModified) {
			return nil, next, administration.ErrNotModified
		}
		return got.Archive, next, err
	}
}
