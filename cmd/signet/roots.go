package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/signet-policy/signet/internal/administration"
	"github.com/signet-policy/signet/internal/config"
	"github.com/signet-policy/signet/internal/store"
	"github.com/signet-policy/signet/internal/trust"
	"github.com/signet-policy/signet/internal/verify"
)

// The public-good instance's TUF repository, which belongs to the embedded root.
const (
	publicGoodTUF  = "https://tuf-repo-cdn.sigstore.dev"
	refreshEvery   = 24 * time.Hour
	refreshTimeout = 5 * time.Second
	refreshedFile  = "trusted_root.json"
)

// seedRoots gives the trust roots that this process brings, in order:
// --trusted-root replaces everything; else the configuration's; else the embedded
// public-good root. st is asked for what was fetched by TUF before; nil: nothing
// was.
func seedRoots(ctx context.Context, f config.File, files []string, st *store.Store) ([]administration.RootSeed, error) {
	if len(files) > 0 {
		var seeds []administration.RootSeed
		taken := map[string]bool{}
		for _, path := range files {
			more, err := rootsFromFile(rootName(path, taken), path, nil)
			if err != nil {
				return nil, usage("--trusted-root %s: %w", path, err)
			}
			for _, r := range more {
				seeds = append(seeds, administration.RootSeed{Root: r})
			}
		}
		return seeds, nil
	}
	if len(f.TrustRoots) == 0 {
		seed, err := publicGoodSeed(f, config.TrustRoot{Name: trust.EmbeddedName}, nil)
		return []administration.RootSeed{seed}, err
	}
	var seeds []administration.RootSeed
	for i, r := range f.TrustRoots {
		more, err := configuredRoot(ctx, f, r, st)
		if err != nil {
			return nil, usage("trust_roots[%d] %s: %w", i, r.Name, err)
		}
		seeds = append(seeds, more...)
	}
	return seeds, nil
}

func configuredRoot(ctx context.Context, f config.File, r config.TrustRoot, st *store.Store) ([]administration.RootSeed, error) {
	var requires *trust.Requires
	if r.Requires != nil {
		requires = &trust.Requires{Log: r.Requires.Log, SCT: r.Requires.SCT, Timestamp: r.Requires.Timestamp}
	}
	switch {
	case r.Embedded:
		seed, err := publicGoodSeed(f, r, requires)
		return []administration.RootSeed{seed}, err
	case r.TUF != "":
		seed, err := tufSeed(ctx, f, r, requires, st)
		seed.AllowOlder = r.AllowOlder
		return []administration.RootSeed{seed}, err
	}
	roots, err := rootsFromFile(r.Name, f.Relative(r.Path), requires)
	if err != nil {
		return nil, err
	}
	var seeds []administration.RootSeed
	for _, root := range roots {
		seeds = append(seeds, administration.RootSeed{Root: root, Images: r.Images, AllowOlder: r.AllowOlder})
	}
	return seeds, nil
}

// publicGoodSeed is the newest public-good root that we have. Offline too it is
// that of its repository, which another server on the store may ask, and of which
// a trust archive may bring news.
func publicGoodSeed(f config.File, r config.TrustRoot, requires *trust.Requires) (administration.RootSeed, error) {
	root, since, err := publicGood(f)
	if err != nil {
		return administration.RootSeed{}, err
	}
	if requires == nil {
		own := root.Requires()
		requires = &own
	}
	root, err = trust.Parse(r.Name, root.Bytes(), requires)
	return administration.RootSeed{
		Root: root, Embedded: true, Images: r.Images, TUFURL: publicGoodTUF, TUFRoot: trust.EmbeddedTUFRoot(), Since: since, AllowOlder: r.AllowOlder,
	}, err
}

// isPublicGood says whether a root is the public-good one, under the name that the
// configuration gives it.
func isPublicGood(f config.File, name string) bool {
	return len(f.TrustRoots) == 0 && name == trust.EmbeddedName ||
		slices.ContainsFunc(f.TrustRoots, func(r config.TrustRoot) bool { return r.Embedded && r.Name == name })
}

// tufSeed is the root that a TUF repository serves: what the store has of it, or,
// the first time, what the repository says now.
func tufSeed(ctx context.Context, f config.File, r config.TrustRoot, requires *trust.Requires, st *store.Store) (administration.RootSeed, error) {
	first, err := os.ReadFile(f.Relative(r.TUFRoot))
	if err != nil {
		return administration.RootSeed{}, fmt.Errorf("tuf_root: %w", err)
	}
	seed := administration.RootSeed{Images: r.Images, TUFURL: r.TUF, Target: r.Target, TUFRoot: first}
	var body []byte
	var since time.Time
	if st != nil {
		kept, at, err := administration.KeptRoot(ctx, st, r.Name, seed)
		if err != nil {
			return seed, err
		}
		if kept != nil {
			body, since = kept.Bytes(), at
		}
	}
	if body == nil {
		if f.Offline {
			return seed, errors.New("tuf: its repository was never asked, and offline: true forbids it; give a path")
		}
		client, err := administratorsClient(f)
		if err != nil {
			return seed, err
		}
		ctx, cancel := context.WithTimeout(ctx, refreshTimeout)
		defer cancel()
		fetched, err := trust.Refresh(ctx, trust.TUFConfig{
			MetadataURL: r.TUF, Target: r.Target, FirstRoot: first, Client: client, UserAgent: "signet/" + version,
		})
		if err != nil {
			return seed, err
		}
		body, since = fetched.TrustedRoot, time.Now()
	}
	seed.Since = since
	seed.Root, err = trust.Parse(r.Name, body, requires)
	return seed, err
}

// storeRoots are the trust roots as a server on st would have them when it starts:
// those that the configuration brings, as they were refreshed in st, and those of
// the API, in their order.
func storeRoots(ctx context.Context, f config.File, st *store.Store, rows []store.RootRow) ([]*trust.Root, error) {
	seeds, err := seedRoots(ctx, f, nil, st)
	if err != nil {
		return nil, err
	}
	type placed struct {
		position int
		root     *trust.Root
	}
	var all []placed
	for _, row := range rows {
		if row.Source != sourceAPI {
			continue
		}
		if slices.ContainsFunc(seeds, func(s administration.RootSeed) bool { return s.Root.Name() == row.Name }) {
			return nil, usage("trust root %s is in the configuration, and was put through the API too; give one of them another name", row.Name)
		}
		loaded, err := administration.LoadRoots(ctx, st, []store.RootRow{row}, f.Offline)
		if err != nil {
			return nil, err
		}
		all = append(all, placed{row.Position, loaded[0]})
	}
	for i, seed := range seeds {
		if seed, err = administration.SeedOver(ctx, st, seed); err != nil {
			return nil, wrapUsage("trust_roots", err)
		}
		root, err := seeded(seed, f.Offline)
		if err != nil {
			return nil, err
		}
		all = append(all, placed{i, root})
	}
	slices.SortFunc(all, func(a, b placed) int {
		return cmp.Or(cmp.Compare(a.position, b.position), strings.Compare(a.root.Name(), b.root.Name()))
	})
	roots := make([]*trust.Root, 0, len(all))
	for _, p := range all {
		roots = append(roots, p.root)
	}
	return roots, nil
}

// seeded is a seed as it is in force without a store. Offline it has no age: its
// operator answers for its freshness.
func seeded(s administration.RootSeed, offline bool) (*trust.Root, error) {
	r, err := s.Root.For(s.Images)
	if err == nil && s.TUFURL != "" && !offline {
		r = r.Refreshed(s.Since)
	}
	return r, err
}

// commandRoots are the trust roots of a command that runs once: those that it
// names, else the store's, else those of the configuration.
func commandRoots(ctx context.Context, std streams, f config.File, files []string, k kept) (*rootSet, error) {
	roots := k.roots
	if roots == nil {
		seeds, err := seedRoots(ctx, f, files, nil)
		if err != nil {
			return nil, err
		}
		for _, s := range seeds {
			r, err := seeded(s, f.Offline)
			if err != nil {
				return nil, err
			}
			roots = append(roots, r)
		}
	}
	refreshDue(ctx, std, f, roots)
	return newRootSet(roots, verify.Config{Limits: f.Limits, Build: build()})
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
// into the data directory, or the embedded one.
func publicGood(f config.File) (root *trust.Root, since time.Time, err error) {
	if root, err = trust.Embedded(); err != nil {
		return nil, time.Time{}, err
	}
	if since, err = trust.EmbeddedSince(); err != nil {
		return nil, time.Time{}, err
	}
	path := filepath.Join(tufDir(f), refreshedFile)
	if info, err := os.Stat(path); err == nil && info.ModTime().After(since) {
		body, err := os.ReadFile(path) //nolint:gosec // our own file
		if err != nil {
			return nil, time.Time{}, err
		}
		refreshed, err := root.Renewed(body)
		if err != nil {
			return nil, time.Time{}, fmt.Errorf("%s: %w; remove it to start from the embedded root", path, err)
		}
		if older, _ := trust.Older(refreshed, root); !older {
			root, since = refreshed, info.ModTime()
		}
	}
	return root, since, nil
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
	got, err := trust.Refresh(ctx, trust.TUFConfig{
		MetadataURL: publicGoodTUF, FirstRoot: trust.EmbeddedTUFRoot(), CacheDir: tufDir(f),
		Client: client, UserAgent: "signet/" + version,
	})
	if err != nil {
		return nil, err
	}
	root, err := old.Renewed(got.TrustedRoot)
	if err != nil {
		return nil, err
	}
	if older, why := trust.Older(root, old); older {
		return nil, fmt.Errorf("%w: %s", trust.ErrOlder, why)
	}
	if err := writeAtomic(filepath.Join(tufDir(f), refreshedFile), got.TrustedRoot); err != nil {
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
		if !isPublicGood(f, info.Name) || !info.Refreshable() || info.Age(time.Now()) < refreshEvery {
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
