package trust

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/config"
	"github.com/theupdateframework/go-tuf/v2/metadata/updater"
)

// DefaultTarget is the TUF target that holds a trust root.
const DefaultTarget = "trusted_root.json"

// firstRootFile is the pinned first root.json among kept metadata. Should a
// delegated role be called so, it is read anew each time: the pin stays.
const firstRootFile = "first-root.json"

// Limits on TUF metadata that are kept. Real ones are below 100 KB in 4 files.
const (
	maxMetadataFiles = 64
	maxMetadataBytes = 8 << 20
)

// maxTime bounds one refresh: a repository decides how many files it has us ask
// for, and how slowly each comes.
const maxTime = time.Minute

// TUFConfig says which TUF repository serves a trust root, and how to reach it.
type TUFConfig struct {
	// MetadataURL is where <version>.root.json and timestamp.json are, http or
	// https. Required. Targets are in "targets" below it.
	MetadataURL string
	// FirstRoot is the first root.json to trust. Required, unless Metadata holds
	// it: it is pinned there by the first refresh, and another one is refused
	// from then on.
	FirstRoot []byte
	// Metadata are what an earlier [Refresh] gave back, so that a repository
	// cannot go back to what it was, whoever asks it next; nil at first.
	Metadata map[string][]byte
	// CacheDir keeps metadata between refreshes in a directory instead, for a
	// command that has no store; private to one refresher at a time. "" keeps
	// nothing on disk.
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

// Refresher asks TUF repositories in the way of one installation.
type Refresher struct {
	// Client and UserAgent are those of every [TUFConfig] that is refreshed.
	Client    *http.Client
	UserAgent string
}

// Refresh is [Refresh] with the refresher's client.
func (r Refresher) Refresh(ctx context.Context, cfg TUFConfig) (Refreshed, error) {
	cfg.Client, cfg.UserAgent = r.Client, r.UserAgent
	return Refresh(ctx, cfg)
}

// Refreshed is the outcome of a [Refresh].
type Refreshed struct {
	// TrustedRoot is the target as it was signed.
	TrustedRoot []byte
	// Metadata are to be kept, and given to the next refresh: the verified
	// root.json, timestamp.json, snapshot.json, targets.json and so on, and the
	// pinned first root. Equal metadata are equal maps.
	Metadata map[string][]byte
}

// Refresh follows the TUF client workflow and returns the newest
// trusted_root.json of the repository, verified. Metadata of a lower version
// than seen before, expired, unsigned or oversized are refused: the error wraps
// [ErrRollback], [ErrExpired], [ErrUntrusted] or [ErrUnreachable], and the
// caller goes on with what it has.
func Refresh(ctx context.Context, cfg TUFConfig) (Refreshed, error) {
	got, err := refresh(ctx, cfg)
	if err != nil {
		return Refreshed{}, fmt.Errorf("refreshing a trust root from %s: %w", cfg.MetadataURL, err)
	}
	return got, nil
}

func refresh(ctx context.Context, cfg TUFConfig) (Refreshed, error) {
	ctx, cancel := context.WithTimeout(ctx, maxTime)
	defer cancel()
	if err := cfg.check(); err != nil {
		return Refreshed{}, err
	}
	dir := cfg.CacheDir
	if dir == "" {
		// go-tuf keeps metadata in files alone.
		var err error
		if dir, err = os.MkdirTemp("", "signet-tuf-"); err != nil {
			return Refreshed{}, err
		}
		defer func() { _ = os.RemoveAll(dir) }()
		if err := writeMetadata(dir, cfg.Metadata); err != nil {
			return Refreshed{}, err
		}
	}
	first, err := pinned(cfg.FirstRoot, filepath.Join(dir, firstRootFile))
	if err != nil {
		return Refreshed{}, err
	}
	u, err := newUpdater(ctx, cfg, dir, first)
	if err != nil {
		return Refreshed{}, err
	}
	body, err := fetchTarget(u, cmp.Or(cfg.Target, DefaultTarget))
	if err != nil {
		return Refreshed{}, classify(err)
	}
	kept, err := readMetadata(dir)
	if err != nil {
		return Refreshed{}, err
	}
	kept[firstRootFile] = first
	return Refreshed{TrustedRoot: body, Metadata: kept}, nil
}

func (cfg *TUFConfig) check() error {
	at, err := url.Parse(cfg.MetadataURL)
	switch {
	case err != nil || at.Host == "" || at.Scheme != "https" && at.Scheme != "http":
		return fmt.Errorf("%q is not an http or https address", cfg.MetadataURL)
	case cfg.Client == nil:
		return errors.New("an HTTP client is needed")
	case cfg.CacheDir != "" && cfg.Metadata != nil:
		return errors.New("metadata are kept in a directory or by the caller, not both")
	}
	return nil
}

// FirstMetadata are metadata that hold nothing but the pinned first root.json:
// what a repository begins with that was never asked.
func FirstMetadata(firstRoot []byte) map[string][]byte {
	return map[string][]byte{firstRootFile: firstRoot}
}

// pinned gives the first root.json, from the caller or as it was kept.
func pinned(given []byte, file string) ([]byte, error) {
	kept, err := os.ReadFile(file) //nolint:gosec // our own file, or in a directory of the administrator's choice
	switch {
	case errors.Is(err, fs.ErrNotExist) && len(given) > 0:
		return given, nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, errors.New("a first root.json is needed")
	case err != nil:
		return nil, fmt.Errorf("reading the pinned root.json: %w", err)
	case len(given) > 0 && !bytes.Equal(given, kept):
		return nil, fmt.Errorf("%w: the first root.json given is not the one that the kept metadata begin with", ErrUntrusted)
	}
	return kept, nil
}

func newUpdater(ctx context.Context, cfg TUFConfig, dir string, first []byte) (*updater.Updater, error) {
	newest, err := newestRoot(first, filepath.Join(dir, metadata.ROOT+".json"))
	if err != nil {
		return nil, err
	}
	uc, err := config.New(cfg.MetadataURL, newest)
	if err != nil {
		return nil, err
	}
	uc.LocalMetadataDir = dir
	uc.LocalTargetsDir = filepath.Join(dir, "targets")
	uc.Fetcher = &fetcher{ctx: ctx, client: cfg.Client, userAgent: cfg.UserAgent}
	u, err := updater.New(uc)
	if err != nil {
		return nil, classify(err)
	}
	return u, nil
}

// writeMetadata puts kept metadata where go-tuf looks for them.
func writeMetadata(dir string, kept map[string][]byte) error {
	if err := checkMetadata(kept); err != nil {
		return fmt.Errorf("%w: the kept metadata: %w", ErrUntrusted, err)
	}
	for name, body := range kept {
		if err := os.WriteFile(filepath.Join(dir, name), body, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// readMetadata reads what go-tuf has left, which it writes only once verified.
func readMetadata(dir string) (map[string][]byte, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	kept := map[string][]byte{}
	for _, e := range entries {
		if !e.Type().IsRegular() || !isMetadataFile(e.Name()) {
			continue
		}
		if kept[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil { //nolint:gosec // a name that the directory listed
			return nil, err
		}
	}
	delete(kept, DefaultTarget) // a command keeps the target beside them
	if err := checkMetadata(kept); err != nil {
		return nil, fmt.Errorf("%w: its metadata: %w", ErrUntrusted, err)
	}
	return kept, nil
}

// isMetadataFile says whether a name is that of a role's file, which go-tuf
// escapes so that it has no path.
func isMetadataFile(name string) bool {
	return strings.HasSuffix(name, ".json") && !strings.HasPrefix(name, ".") && !strings.ContainsAny(name, `/\`)
}

// CheckMetadata says whether metadata that somebody else kept can be refreshed
// from: errors wrap [ErrUntrusted]. Signatures are checked by the next [Refresh].
func CheckMetadata(kept map[string][]byte) error {
	if err := checkMetadata(kept); err != nil {
		return fmt.Errorf("%w: %w", ErrUntrusted, err)
	}
	if _, err := metadata.Root().FromBytes(kept[firstRootFile]); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrUntrusted, firstRootFile, err)
	}
	return nil
}

// BeginsWith says whether metadata are pinned to a first root.json.
func BeginsWith(kept map[string][]byte, firstRoot []byte) bool {
	return bytes.Equal(kept[firstRootFile], firstRoot)
}

// From is metadata with the first root.json that others are pinned to. What is
// kept of a newer root.json counts all the same.
func From(kept, pinned map[string][]byte) map[string][]byte {
	out := maps.Clone(kept)
	out[firstRootFile] = pinned[firstRootFile]
	return out
}

func checkMetadata(kept map[string][]byte) error {
	if len(kept) > maxMetadataFiles {
		return fmt.Errorf("%d files are more than %d", len(kept), maxMetadataFiles)
	}
	total := 0
	for name, body := range kept {
		if !isMetadataFile(name) {
			return fmt.Errorf("%q is not the name of a metadata file", name)
		}
		total += len(body)
	}
	if total > maxMetadataBytes {
		return fmt.Errorf("%d bytes are more than %d", total, maxMetadataBytes)
	}
	return nil
}

// OlderMetadata says whether the kept metadata of a TUF repository may not take
// the place of those in use, and why, for people: they begin with another first
// root, lack a role, or have a lower version of one. Errors wrap [ErrUntrusted];
// signatures are not checked again, which the next [Refresh] does.
func OlderMetadata(next, inUse map[string][]byte) (older bool, why string, err error) {
	if err := checkMetadata(next); err != nil {
		return false, "", fmt.Errorf("%w: %w", ErrUntrusted, err)
	}
	if !bytes.Equal(next[firstRootFile], inUse[firstRootFile]) {
		return true, "it begins with another first root.json", nil
	}
	for _, role := range []string{metadata.ROOT, metadata.TIMESTAMP, metadata.SNAPSHOT, metadata.TARGETS} {
		file := role + ".json"
		if inUse[file] == nil {
			continue
		}
		n, err := versionOf(next[file])
		if err != nil {
			return false, "", fmt.Errorf("%w: %s: %w", ErrUntrusted, file, err)
		}
		u, err := versionOf(inUse[file])
		if err != nil {
			return false, "", fmt.Errorf("%w: %s in use: %w", ErrUntrusted, file, err)
		}
		if n < u {
			return true, fmt.Sprintf("its %s is version %d, and version %d was seen", file, n, u), nil
		}
	}
	return false, "", nil
}

// versionOf reads the version of any role.
func versionOf(body []byte) (int64, error) {
	var m struct {
		Signed struct {
			Version int64 `json:"version"`
		} `json:"signed"`
	}
	if err := json.Unmarshal(body, &m); err != nil {
		return 0, err
	}
	if m.Signed.Version < 1 {
		return 0, errors.New("it has no version")
	}
	return m.Signed.Version, nil
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
	if errors.Is(err, fs.ErrNotExist) {
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
