package trust_test

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/signet-policy/signet/internal/testkit/tuftest"
	"github.com/signet-policy/signet/internal/trust"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tufConfig is a refresher that has seen nothing yet.
func tufConfig(r *tuftest.Repo) trust.TUFConfig {
	return trust.TUFConfig{
		MetadataURL: r.URL(), FirstRoot: r.Root(1),
		Client: r.Client(), UserAgent: "signet-test",
	}
}

// refresh gives the target, and the configuration of the next refresher: one that
// has the metadata that this one brought, and nothing else.
func refresh(t *testing.T, cfg trust.TUFConfig) (string, trust.TUFConfig) {
	t.Helper()
	got, err := trust.Refresh(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.CacheDir == "" {
		cfg.FirstRoot, cfg.Metadata = nil, got.Metadata
	}
	return string(got.TrustedRoot), cfg
}

func TestRefresh(t *testing.T) {
	for name, dir := range map[string]string{"kept by the caller": "", "kept in a directory": t.TempDir()} {
		t.Run(name, func(t *testing.T) {
			r := tuftest.New(t, []byte("one"))
			cfg := tufConfig(r)
			cfg.CacheDir = dir
			got, cfg := refresh(t, cfg)
			if got != "one" {
				t.Fatalf("first: %q", got)
			}
			r.RotateRoot()
			r.Publish([]byte("two"))
			if got, cfg = refresh(t, cfg); got != "two" {
				t.Fatalf("after a new root: %q", got)
			}
			// The metadata that are kept are not fetched again; nor the target,
			// where there is a place for it.
			before := r.Asked()
			if got, _ = refresh(t, cfg); got != "two" {
				t.Fatalf("again: %q", got)
			}
			if n := r.Asked() - before; n > 3 {
				t.Errorf("%d requests for nothing new, want a root, the timestamp and the target", n)
			}
		})
	}
}

func TestRefreshKeepsMetadata(t *testing.T) {
	r := tuftest.New(t, []byte("one"))
	first, err := trust.Refresh(t.Context(), tufConfig(r))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"first-root.json", "root.json", "snapshot.json", "targets.json", "timestamp.json"}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(first.Metadata))); diff != "" {
		t.Error(diff)
	}
	if !bytes.Equal(first.Metadata["first-root.json"], r.Root(1)) || !bytes.Equal(first.Metadata["timestamp.json"], r.File("timestamp.json")) {
		t.Error("the metadata are not those of the repository")
	}
	cfg := tufConfig(r)
	cfg.Metadata = first.Metadata
	again, err := trust.Refresh(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first, again); diff != "" {
		t.Errorf("nothing new, and another outcome: %s", diff)
	}
}

// Threat 28: what a repository may not do to a refresher that has seen version 2,
// whether that was this process or another.
func TestRefreshRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		spoil func(*tuftest.Repo)
		want  error
	}{
		"metadata older than seen before": {func(r *tuftest.Repo) { r.Rollback([]byte("one")) }, trust.ErrRollback},
		"expired metadata":                {func(r *tuftest.Repo) { r.Expire() }, trust.ErrExpired},
		"a stranger's signature":          {func(r *tuftest.Repo) { r.WrongSignature() }, trust.ErrUntrusted},
		"a target other than the signed one": {func(r *tuftest.Repo) {
			r.Publish([]byte("three"))
			r.Tamper([]byte("THREE"))
		}, trust.ErrUntrusted},
		"a target that is too large": {func(r *tuftest.Repo) { r.Publish(bytes.Repeat([]byte(" "), 4<<20+1)) }, trust.ErrUntrusted},
		"metadata that are too long": {func(r *tuftest.Repo) { r.Put("timestamp.json", bytes.Repeat([]byte(" "), 1<<20)) }, trust.ErrUntrusted},
		"silence":                    {func(r *tuftest.Repo) { r.Down(http.StatusServiceUnavailable) }, trust.ErrUnreachable},
		"a timestamp that is gone":   {func(r *tuftest.Repo) { r.Remove("timestamp.json") }, trust.ErrUnreachable},
	} {
		t.Run(name, func(t *testing.T) {
			r := tuftest.New(t, []byte("one"))
			r.Publish([]byte("two"))
			_, cfg := refresh(t, tufConfig(r))
			kept := maps.Clone(cfg.Metadata)
			tt.spoil(r)
			got, err := trust.Refresh(t.Context(), cfg)
			if !errors.Is(err, tt.want) || got.TrustedRoot != nil || got.Metadata != nil {
				t.Fatalf("%q, %v; want %v and nothing", got.TrustedRoot, err, tt.want)
			}
			if diff := cmp.Diff(kept, cfg.Metadata); diff != "" {
				t.Errorf("a refresh that failed changed what is kept: %s", diff)
			}
		})
	}
}

// Threat 28: an older root than the one already verified. The root that the
// caller starts from every time must not be a way back.
func TestRefreshRefusesOlderRoot(t *testing.T) {
	r := tuftest.New(t, []byte("old key"))
	r.RotateRoot()
	r.Publish([]byte("new key"))
	_, cfg := refresh(t, tufConfig(r))
	second := r.Root(2)
	// The thief of the first key hides version 2 and signs anew.
	r.Remove("2.root.json")
	r.SignAs(1, []byte("stolen key"))
	if got, err := trust.Refresh(t.Context(), cfg); !errors.Is(err, trust.ErrUntrusted) {
		t.Fatalf("metadata of a replaced key: %q, %v", got.TrustedRoot, err)
	}
	// And a root of version 1 in the place of version 3.
	r.Put("2.root.json", second)
	r.Put("3.root.json", r.Root(1))
	if got, err := trust.Refresh(t.Context(), cfg); err == nil {
		t.Fatalf("version 1 in place of version 3: %q", got.TrustedRoot)
	}
}

// The first root is pinned: nobody begins again from another one.
func TestRefreshPinsTheFirstRoot(t *testing.T) {
	r, other := tuftest.New(t, []byte("one")), tuftest.New(t, []byte("theirs"))
	_, cfg := refresh(t, tufConfig(r))
	cfg.FirstRoot = other.Root(1)
	if _, err := trust.Refresh(t.Context(), cfg); !errors.Is(err, trust.ErrUntrusted) {
		t.Errorf("another first root: %v", err)
	}
	cfg.FirstRoot, cfg.MetadataURL = nil, other.URL()
	if _, err := trust.Refresh(t.Context(), cfg); !errors.Is(err, trust.ErrUntrusted) {
		t.Errorf("another repository under the same metadata: %v", err)
	}
}

// A refresher is how an installation asks all its repositories.
func TestRefresher(t *testing.T) {
	r := tuftest.New(t, []byte("one"))
	cfg := tufConfig(r)
	cfg.Client, cfg.UserAgent = nil, ""
	got, err := trust.Refresher{Client: r.Client()}.Refresh(t.Context(), cfg)
	if err != nil || string(got.TrustedRoot) != "one" {
		t.Errorf("%q, %v", got.TrustedRoot, err)
	}
	cfg.FirstRoot, cfg.Metadata = nil, trust.FirstMetadata(r.Root(1))
	if got, err = (trust.Refresher{Client: r.Client()}).Refresh(t.Context(), cfg); err != nil || string(got.TrustedRoot) != "one" {
		t.Errorf("from the first metadata: %q, %v", got.TrustedRoot, err)
	}
}

func TestRefreshCancelled(t *testing.T) {
	r := tuftest.New(t, []byte("one"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := trust.Refresh(ctx, tufConfig(r)); !errors.Is(err, trust.ErrUnreachable) || !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// roundTrip is an HTTP transport.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A repository says how many files are asked for, so the whole is bounded, and not
// each of them alone.
func TestRefreshIsBounded(t *testing.T) {
	r := tuftest.New(t, []byte("one"))
	cfg := tufConfig(r)
	var ends []time.Time
	cfg.Client = &http.Client{Transport: roundTrip(func(req *http.Request) (*http.Response, error) {
		end, ok := req.Context().Deadline()
		if !ok || time.Until(end) > 2*time.Minute {
			t.Errorf("%s has no end: %s", req.URL, end)
		}
		ends = append(ends, end)
		return r.Client().Transport.RoundTrip(req)
	})}
	if _, err := trust.Refresh(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if len(ends) < 3 || !ends[0].Equal(ends[len(ends)-1]) {
		t.Errorf("the requests end at %s", ends)
	}
}

func TestRefreshConfig(t *testing.T) {
	r := tuftest.New(t, []byte("one"))
	for name, spoil := range map[string]func(*trust.TUFConfig){
		"no client":           func(c *trust.TUFConfig) { c.Client = nil },
		"no root":             func(c *trust.TUFConfig) { c.FirstRoot = nil },
		"a broken root":       func(c *trust.TUFConfig) { c.FirstRoot = []byte("{}") },
		"a file address":      func(c *trust.TUFConfig) { c.MetadataURL = "file:///metadata" },
		"no address":          func(c *trust.TUFConfig) { c.MetadataURL = "" },
		"no such target":      func(c *trust.TUFConfig) { c.Target = "other.json" },
		"kept in two places":  func(c *trust.TUFConfig) { c.CacheDir, c.Metadata = t.TempDir(), map[string][]byte{} },
		"metadata with paths": func(c *trust.TUFConfig) { c.Metadata = map[string][]byte{"../root.json": r.Root(1)} },
		"damaged metadata":    func(c *trust.TUFConfig) { c.Metadata = map[string][]byte{"root.json": []byte("{")} },
		"too much metadata": func(c *trust.TUFConfig) {
			c.Metadata = map[string][]byte{"big.json": make([]byte, 9<<20)}
		},
		"too many metadata": func(c *trust.TUFConfig) {
			c.Metadata = map[string][]byte{}
			for i := range 65 {
				c.Metadata[strings.Repeat("r", i+1)+".json"] = []byte("{}")
			}
		},
		"a directory that is a file": func(c *trust.TUFConfig) {
			c.CacheDir = filepath.Join(t.TempDir(), "file")
			if err := os.WriteFile(c.CacheDir, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := tufConfig(r)
			spoil(&cfg)
			if _, err := trust.Refresh(t.Context(), cfg); err == nil {
				t.Error("no error")
			}
		})
	}
}

// A cache that was damaged is an error, not a way back to the given root.
func TestRefreshDamagedDirectory(t *testing.T) {
	cfg := tufConfig(tuftest.New(t, []byte("one")))
	cfg.CacheDir = t.TempDir()
	if err := os.WriteFile(filepath.Join(cfg.CacheDir, "root.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := trust.Refresh(t.Context(), cfg); !errors.Is(err, trust.ErrUntrusted) {
		t.Errorf("damaged cache: %v", err)
	}
}

func TestOlderMetadata(t *testing.T) {
	r := tuftest.New(t, []byte("one"))
	_, cfg := refresh(t, tufConfig(r))
	one := cfg.Metadata
	r.Publish([]byte("two"))
	_, cfg = refresh(t, cfg)
	two := cfg.Metadata
	_, cfg = refresh(t, tufConfig(tuftest.New(t, []byte("other"))))
	with := func(m map[string][]byte, name, body string) map[string][]byte {
		m = maps.Clone(m)
		m[name] = []byte(body)
		return m
	}
	for name, tt := range map[string]struct {
		next, inUse map[string][]byte
		older, err  bool
	}{
		"equal":              {one, one, false, false},
		"newer":              {two, one, false, false},
		"older":              {one, two, true, false},
		"another first root": {cfg.Metadata, one, true, false},
		"none":               {nil, one, true, false},
		"a role less":        {with(two, "snapshot.json", ""), two, false, true},
		"no version":         {with(two, "targets.json", `{"signed":{}}`), two, false, true},
		"damaged in use":     {two, with(two, "targets.json", `{`), false, true},
		"a name with a path": {with(two, "../x.json", `{}`), two, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			older, why, err := trust.OlderMetadata(tt.next, tt.inUse)
			if older != tt.older || (why != "") != tt.older || (err != nil) != tt.err {
				t.Errorf("older %t (%s), %v", older, why, err)
			}
			if err != nil && !errors.Is(err, trust.ErrUntrusted) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// FuzzMetadata: metadata that somebody else kept are refused, or a refresh can begin
// from them; and they are never older than themselves.
func FuzzMetadata(f *testing.F) {
	root := string(trust.EmbeddedTUFRoot())
	f.Add([]byte(root), []byte(`{"signed":{"version":3}}`))
	f.Add([]byte(`{"signed":{"_type":"root","version":1},"signatures":[]}`), []byte(`{"signed":{"version":-1}}`))
	f.Add([]byte(`{}`), []byte(`[]`))
	f.Fuzz(func(t *testing.T, first, role []byte) {
		kept := trust.FirstMetadata(first)
		kept["timestamp.json"] = role
		err := trust.CheckMetadata(kept)
		if err != nil && !errors.Is(err, trust.ErrUntrusted) {
			t.Errorf("%v is not about trust", err)
		}
		older, why, err := trust.OlderMetadata(kept, kept)
		if older || err != nil && (!errors.Is(err, trust.ErrUntrusted) || why != "") {
			t.Errorf("older than itself: %t (%s), %v", older, why, err)
		}
	})
}
