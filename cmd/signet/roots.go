package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/signet-policy/signet/internal/config"
	"github.com/signet-policy/signet/internal/trust"
)

// loadRoots gives the trust roots in configured order: --trusted-root replaces
// everything; else the configuration's; else the embedded public-good root.
func loadRoots(f config.File, files []string) ([]*trust.Root, error) {
	if len(files) > 0 {
		var roots []*trust.Root
		taken := map[string]bool{}
		for _, path := range files {
			more, err := rootsFromFile(rootName(path, taken), path, nil)
			if err != nil {
				return nil, usage("--trusted-root %s: %w", path, err)
			}
			roots = append(roots, more...)
		}
		return roots, nil
	}
	if len(f.TrustRoots) == 0 {
		root, err := trust.Embedded()
		if err != nil {
			return nil, err
		}
		return []*trust.Root{root}, nil
	}
	var roots []*trust.Root
	for i, r := range f.TrustRoots {
		var requires *trust.Requires
		if r.Requires != nil {
			requires = &trust.Requires{Log: r.Requires.Log, SCT: r.Requires.SCT, Timestamp: r.Requires.Timestamp}
		}
		if r.Embedded {
			root, err := trust.Embedded()
			if err != nil {
				return nil, err
			}
			roots = append(roots, root)
			continue
		}
		more, err := rootsFromFile(r.Name, f.Relative(r.Path), requires)
		if err != nil {
			return nil, usage("trust_roots[%d] %s: %w", i, r.Name, err)
		}
		roots = append(roots, more...)
	}
	return roots, nil
}

func rootsFromFile(name, path string, requires *trust.Requires) ([]*trust.Root, error) {
	body, err := os.ReadFile(path) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, err
	}
	return trust.ParseAll(name, body, requires)
}

// rootName is the file's name without its ending, made unique.
func rootName(path string, taken map[string]bool) string {
	base := filepath.Base(path)
	base = strings.TrimSuffix(strings.TrimSuffix(base, ".jsonl"), ".json")
	name := base
	for i := 2; taken[name]; i++ {
		name = fmt.Sprintf("%s-%d", base, i)
	}
	taken[name] = true
	return name
}
