package trust

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/config"
	"github.com/theupdateframework/go-tuf/v2/metadata/updater"
)

// DefaultTarget is the TUF target that holds a trust root.
const DefaultTarget = "trusted_root.json"

// TUFConfig says which TUF repository serves a trust root, and how to reach it.
type TUFConfig struct {
	// MetadataURL is where <version>.root.json and timestamp.json are, http or
	// https. Required. Targets are in "targets" below it.
	MetadataURL string
	// Root is the first root.json to trust. Required. A newer one that was
	// verified before, in CacheDir, is preferred.
	Root []byte
	// CacheDir keeps metadata between refreshes, so that a repository cannot go
	// back to what it was. Required, private to one refresher at a time.
	CacheDir string
	// Target is the target's path, [DefaultTarget] when "".
	Target string
	// Client makes the requests. Required: it decides about proxies, timeouts
	// and authorities. It must not follow redirects to places that the
	// administrator did not name.
	Client *http.Client
	// UserAgent is sent with every request when not "".
	UserAgent string
}

// Refresh follows the TUF client workflow and returns the newest
// trusted_root.json of the repository, verified. Metadata of a lower version
// than seen before, expired, unsigned or oversized are refused: the error wraps
// [ErrRollback], [ErrExpired], [ErrUntrusted] or [ErrUnreachable], and the
// caller goes on with what it has.
func Refresh(ctx context.Context, cfg TUFConfig) ([]byte, error) {
	u, target, err := newUpdater(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("refreshing a trust root from %s: %w", cfg.MetadataURL, err)
	}
	body, err := fetchTarget(u, target)
	if err != nil {
		return nil, fmt.Errorf("refreshing a trust root from %s: %w", cfg.MetadataURL, classify(err))
	}
	return body, nil
}

func newUpdater(ctx context.Context, cfg TUFConfig) (*updater.Updater, string, error) {
	switch {
	case cfg.Client == nil:
		return nil, "", errors.New("an HTTP client is needed")
	case cfg.CacheDir == "":
		return nil, "", errors.New("a cache directory is needed: without one, a rollback cannot be noticed")
	case len(cfg.Root) == 0:
		return nil, "", errors.New("a first root.json is needed")
	}
	at, err := url.Parse(cfg.MetadataURL)
	if err != nil || at.Host == "" || at.Scheme != "https" && at.Scheme != "http" {
		return nil, "", fmt.Errorf("%q is not an http or https address", cfg.MetadataURL)
	}
	first, err := newestRoot(cfg.Root, filepath.Join(cfg.CacheDir, metadata.ROOT+".json"))
	if err != nil {
		return nil, "", err
	}
	uc, err := config.New(cfg.MetadataURL, first)
	if err != nil {
		return nil, "", err
	}
	uc.LocalMetadataDir = cfg.CacheDir
	uc.LocalTargetsDir = filepath.Join(cfg.CacheDir, "targets")
	uc.Fetcher = &fetcher{ctx: ctx, client: cfg.Client, userAgent: cfg.UserAgent}
	u, err := updater.New(uc)
	if err != nil {
		return nil, "", classify(err)
	}
	target := cfg.Target
	if target == "" {
		target = DefaultTarget
	}
	return u, target, nil
}

// newestRoot prefers a root that was verified before over an older given one.
// updater.New overwrites the cached root with the one it is given, so without
// this every start would go back to the given root and could be held there.
func newestRoot(given []byte, cached string) ([]byte, error) {
	g, err := metadata.Root().FromBytes(given)
	if err != nil {
		return nil, fmt.Errorf("%w: the given root.json: %w", ErrUntrusted, err)
	}
	body, err := os.ReadFile(cached) //nolint:gosec // the cache directory is the administrator's choice
	if errors.Is(err, os.ErrNotExist) {
		return given, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the cached root.json: %w", err)
	}
	c, err := metadata.Root().FromBytes(body)
	if err != nil {
		return nil, fmt.Errorf("%w: the cached root.json: %w", ErrUntrusted, err)
	}
	if c.Signed.Version > g.Signed.Version {
		return body, nil
	}
	return given, nil
}

func fetchTarget(u *updater.Updater, target string) ([]byte, error) {
	if err := u.Refresh(); err != nil {
		return nil, err
	}
	info, err := u.GetTargetInfo(target)
	if err != nil {
		return nil, err
	}
	if info.Length > maxBytes {
		return nil, fmt.Errorf("%w: target %s is %d bytes, more than %d", ErrUntrusted, target, info.Length, maxBytes)
	}
	if _, body, err := u.FindCachedTarget(info, ""); err == nil && body != nil {
		return body, nil
	}
	_, body, err := u.DownloadTarget(info, "", "")
	return body, err
}

// classify puts go-tuf's errors under ours.
func classify(err error) error {
	var status *metadata.ErrDownloadHTTP
	switch {
	case errors.Is(err, ErrUnreachable), errors.Is(err, ErrUntrusted):
		return err
	case errors.Is(err, &metadata.ErrBadVersionNumber{}):
		return fmt.Errorf("%w: %w", ErrRollback, err)
	case errors.Is(err, &metadata.ErrExpiredMetadata{}):
		return fmt.Errorf("%w: %w", ErrExpired, err)
	case errors.As(err, &status):
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return fmt.Errorf("%w: %w", ErrUntrusted, err)
}

// fetcher is go-tuf's fetcher with a context and a client of the caller's.
type fetcher struct {
	ctx       context.Context //nolint:containedctx // the interface of go-tuf has no place for it
	client    *http.Client
	userAgent string
}

// DownloadFile implements go-tuf's fetcher.Fetcher.
func (f *fetcher) DownloadFile(at string, maxLength int64, _ time.Duration) ([]byte, error) {
	req, err := http.NewRequestWithContext(f.ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	if f.userAgent != "" {
		req.Header.Set("User-Agent", f.userAgent)
	}
	resp, err := f.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, &metadata.ErrDownloadHTTP{StatusCode: resp.StatusCode, URL: at}
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxLength+1))
	if err != nil {
		return nil, fmt.Errorf("%w: reading %s: %w", ErrUnreachable, at, err)
	}
	if int64(len(body)) > maxLength {
		return nil, fmt.Errorf("%w: %s is longer than %d bytes", ErrUntrusted, at, maxLength)
	}
	return body, nil
}
