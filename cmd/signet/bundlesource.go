package main

import (
	"fmt"
	"io/fs"
	"os"

	"github.com/signet-policy/signet/internal/administration"
	"github.com/signet-policy/signet/internal/config"
	"github.com/signet-policy/signet/internal/policy"
)

// bundleArchives is what administration wants of package policy.
type bundleArchives struct{}

func (bundleArchives) CheckKeys(keys map[string]string, scope string) error {
	return policy.VerificationKeys{Keys: keys, Scope: scope}.Validate()
}

func (bundleArchives) Verify(archive []byte, keys map[string]string, scope string) (string, error) {
	signed, err := policy.VerifyArchive(archive, policy.VerificationKeys{Keys: keys, Scope: scope})
	return signed.KeyID, err
}

func (bundleArchives) Inspect(archive []byte) (administration.BundleInfo, error) {
	info, err := policy.Inspect(archive)
	return administration.BundleInfo{Revision: info.Revision, Sequence: info.Sequence, PolicyDigest: info.Digest}, err
}

func (bundleArchives) Diff(fromName, toName string, from, to []byte) ([]byte, error) {
	return policy.DiffArchives(fromName, toName, from, to)
}

func (bundleArchives) DiffText(fromName, toName string, from, to []byte) []byte {
	return policy.Diff(fromName, toName, from, to)
}

// bundleSeeds are the policy bundles of the configuration, by name.
func bundleSeeds(f config.File) ([]administration.BundleSeed, error) {
	seeds := make([]administration.BundleSeed, 0, len(f.Bundles))
	for _, name := range sortedKeys(f.Bundles) {
		b := f.Bundles[name]
		keys, err := bundleKeys(f, b)
		if err != nil {
			return nil, usage("bundles.%s: %w", name, err)
		}
		if len(keys) > 0 {
			if err := (bundleArchives{}).CheckKeys(keys, b.Scope); err != nil {
				return nil, usage("bundles.%s: keys: %w", name, err)
			}
		}
		seeds = append(seeds, administration.BundleSeed{Name: name, Location: b.Location(), Keys: keys, Scope: b.Scope})
	}
	return seeds, nil
}

func bundleKeys(f config.File, b config.Bundle) (map[string]string, error) {
	keys := map[string]string{}
	for id, k := range b.Keys {
		keys[id] = k.Key
		if k.KeyFile == "" {
			continue
		}
		body, err := os.ReadFile(f.Relative(k.KeyFile))
		if err != nil {
			return nil, fmt.Errorf("keys.%s: key_file: %w", id, err)
		}
		keys[id] = string(body)
	}
	return keys, nil
}

// localBundle opens a bundle of the configuration for a command that runs once. One
// that comes over a network is fetched by servers alone.
func localBundle(f config.File, name string) (fs.FS, error) {
	b, ok := f.Bundles[name]
	switch {
	case !ok:
		return nil, usage("there is no bundle %q in the configuration or in the store; give --policy the bundle itself to try it", name)
	case b.Network():
		return nil, usage("bundle %q comes from %s, which servers fetch, and the store has none of it; give --policy the bundle itself to try it", name, b.URL)
	case b.Dir != "":
		return policy.Open(f.Relative(b.Dir))
	}
	return policy.Open(f.Relative(b.File))
}
