package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/signet-policy/signet/internal/config"
	"github.com/signet-policy/signet/internal/trust"
)

// The public-good instance's TUF repository. Administrators may name another in
// a later version; this one belongs to the embedded root.
const (
	publicGoodTUF  = "https://tuf-repo-cdn.sigstore.dev"
	refreshEvery   = 24 * time.Hour
	refreshTimeout = 5 * time.Second
	refreshedFile  = "trusted_root.json"
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
		root, err := publicGood(f)
		if err != nil {
			return nil, err
		}
		return []*trust.Root{root}, nil
	}
	var roots []*trust.Root
	for i, r := range f.TrustRoots {
		if r.Embedded {
			root, err := publicGood(f)
			if err != nil {
				return nil, err
			}
			roots = append(roots, root)
			continue
		}
		var requires *trust.Requires
		if r.Requires != nil {
			requires = &trust.Requires{Log: r.Requires.Log, SCT: r.Requires.SCT, Timestamp: r.Requires.Timestamp}
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
	if requires == nil {
		return trust.ParseAll(name, body)
	}
	root, err := trust.Parse(name, body, requires)
	if err != nil {
		return nil, err
	}
	return []*trust.Root{root}, nil
}

// rootName is the file's name without its ending, made unique.
func rootName(path string, taken map[string]bool) string {
	base := trust.FileName(path)
	name := base
	for i := 2; taken[name]; i++ {
		name = fmt.Sprintf("%s-%d", base, i)
	}
	taken[name] = true
	return name
}

// publicGood is the newest public-good root that we have: the one last refreshed
// into the data directory, or the embedded one. Offline it has no age: its
// operator answers for its freshness.
func publicGood(f config.File) (*trust.Root, error) {
	root, err := trust.Embedded()
	if err != nil {
		return nil, err
	}
	since, err := trust.EmbeddedSince()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(tufDir(f), refreshedFile)
	if info, err := os.Stat(path); err == nil && info.ModTime().After(since) {
		body, err := os.ReadFile(path) //nolint:gosec // our own file
		if err != nil {
			return nil, err
		}
		requires := root.Requires()
		if root, err = trust.Parse(root.Name(), body, &requires); err != nil {
			return nil, fmt.Errorf("%s: %w; remove it to start from the embedded root", path, err)
		}
		since = info.ModTime()
	}
	if f.Offline {
		return root, nil
	}
	return root.Refreshed(since), nil
}

func tufDir(f config.File) string { return filepath.Join(f.DataDir, "tuf") }

// refreshPublicGood asks the TUF repository and keeps the result. The caller
// goes on with what it has when this fails.
func refreshPublicGood(ctx context.Context, f config.File, old *trust.Root) (*trust.Root, error) {
	ctx, cancel := context.WithTimeout(ctx, refreshTimeout)
	defer cancel()
	if err := os.MkdirAll(tufDir(f), 0o700); err != nil {
		return nil, err
	}
	client, err := administratorsClient(f)
	if err != nil {
		return nil, err
	}
	body, err := trust.Refresh(ctx, trust.TUFConfig{
		MetadataURL: publicGoodTUF, Root: trust.EmbeddedTUFRoot(), CacheDir: tufDir(f),
		Client: client, UserAgent: "signet/" + version,
	})
	if err != nil {
		return nil, err
	}
	requires := old.Requires()
	root, err := trust.Parse(old.Name(), body, &requires)
	if err != nil {
		return nil, err
	}
	if err := writeAtomic(filepath.Join(tufDir(f), refreshedFile), body); err != nil {
		return nil, err
	}
	return root.Refreshed(time.Now()), nil
}

// refreshDue brings the public-good root among roots up to date where it is
// older than a day, for a command that runs once. Failing is a warning: the
// engine refuses a root past its staleness by itself.
func refreshDue(ctx context.Context, std streams, f config.File, roots []*trust.Root) {
	for i, r := range roots {
		info := r.Info()
		if !info.Refreshable() || info.Age(time.Now()) < refreshEvery {
			continue
		}
		fresh, err := refreshPublicGood(ctx, f, r)
		if err != nil {
			fmt.Fprintf(std.err, "signet: warning: trust root %s could not be refreshed: %s (--offline uses it as it is)\n",
				r.Name(), printable(err.Error(), false))
			continue
		}
		roots[i] = fresh
	}
}

// administratorsClient reaches endpoints that only the configuration names. It
// follows no redirects, and only the configured proxy.
func administratorsClient(f config.File) (*http.Client, error) {
	transport := &http.Transport{TLSHandshakeTimeout: 5 * time.Second, ResponseHeaderTimeout: refreshTimeout}
	if f.Network.Proxy != "" {
		proxy, err := url.Parse(f.Network.Proxy)
		if err != nil {
			return nil, fmt.Errorf("network.proxy: %w", err)
		}
		transport.Proxy = http.ProxyURL(proxy)
	}
	return &http.Client{
		Transport: transport, Timeout: refreshTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// writeAtomic replaces a file so that no reader sees half of it.
func writeAtomic(path string, body []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	if _, err := tmp.Write(body); err != nil {
		_ = tmp.Close()
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

// stringsOf is for messages that list names.
func stringsOf(roots []*trust.Root) string {
	names := make([]string, len(roots))
	for i, r := range roots {
		names[i] = r.Name()
	}
	return strings.Join(names, ", ")
}
