package main

import (
	"context"
	"errors"
	"os"

	"github.com/signet-policy/signet/internal/administration"
	"github.com/signet-policy/signet/internal/config"
	"github.com/signet-policy/signet/internal/facts"
)

// bundleSources: stand-in until the distribution room is there.
func bundleSources(f config.File) (map[string]administration.BundleSource, error) {
	sources := map[string]administration.BundleSource{}
	for name, b := range f.Bundles {
		sources[name] = administration.BundleSource{Network: b.Network(), MaxFlips: b.MaxFlips, Fetch: func(_ context.Context, validator string) ([]byte, string, error) {
			if b.File == "" {
				return nil, "", errors.New("only files yet")
			}
			body, err := os.ReadFile(f.Relative(b.File))
			if err != nil {
				return nil, "", err
			}
			if facts.Digest(body) == validator {
				return nil, validator, administration.ErrNotModified
			}
			return body, facts.Digest(body), nil
		}}
	}
	return sources, nil
}
