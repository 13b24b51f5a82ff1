package trust_test

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/signet-policy/signet/internal/trust"
)

// tufRepo is a TUF repository that one key signs, served from memory.
type tufRepo struct {
	t     *testing.T
	mu    sync.Mutex
	files map[string][]byte
	keys  []ed25519.PrivateKey // the key of root version i+1 is keys[i]
	url   string
	hits  int
}

func newTUFRepo(t *testing.T) *tufRepo {
	t.Helper()
	r := &tufRepo{t: t, files: map[string][]byte{}}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.hits++
		body, ok := r.files[strings.TrimPrefix(req.URL.Path, "/")]
		if !ok {
			http.NotFound(w, req)
			return
		}
		_, _ = w.Write(body)
	}))
	t.Cleanup(srv.Close)
	r.url = srv.URL
	return r
}

func (r *tufRepo) check(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *tufRepo) key() ed25519.PrivateKey {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	r.check(err)
	return key
}

// sign signs m with the keys of the root versions given.
func sign[T metadata.Roles](r *tufRepo, m *metadata.Metadata[T], keys ...ed25519.PrivateKey) []byte {
	r.t.Helper()
	for _, k := range keys {
		s, err := signature.LoadSigner(k, crypto.Hash(0))
		r.check(err)
		_, err = m.Sign(s)
		r.check(err)
	}
	body, err := m.ToBytes(false)
	r.check(err)
	return body
}

func (r *tufRepo) put(name string, body []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.files[name] = body
}

// root publishes root metadata of a version, signed by its own key and the
// key of the version before, and returns it.
func (r *tufRepo) root(version int64) []byte {
	r.t.Helper()
	for int64(len(r.keys)) < version {
		r.keys = append(r.keys, r.key())
	}
	m := metadata.Root(time.Now().Add(24 * time.Hour))
	m.Signed.Version = version
	m.Signed.ConsistentSnapshot = true
	pub, err := metadata.KeyFromPublicKey(r.keys[version-1].Public())
	r.check(err)
	for _, role := range []string{metadata.ROOT, metadata.TARGETS, metadata.SNAPSHOT, metadata.TIMESTAMP} {
		r.check(m.Signed.AddKey(pub, role))
	}
	signers := []ed25519.PrivateKey{r.keys[version-1]}
	if version > 1 {
		signers = append(signers, r.keys[version-2])
	}
	body := sign(r, m, signers...)
	r.put(itoa(version)+".root.json", body)
	return body
}

// publish puts a trusted_root.json under metadata of a version, signed by the
// newest root's key.
func (r *tufRepo) publish(version int64, body []byte, expires time.Time) {
	r.t.Helper()
	key := r.keys[len(r.keys)-1]
	target, err := metadata.TargetFile().FromBytes(trust.DefaultTarget, body, "sha256")
	r.check(err)

	targets := metadata.Targets(expires)
	targets.Signed.Version = version
	targets.Signed.Targets[trust.DefaultTarget] = target
	r.put(itoa(version)+".targets.json", sign(r, targets, key))

	snapshot := metadata.Snapshot(expires)
	snapshot.Signed.Version = version
	snapshot.Signed.Meta["targets.json"] = metadata.MetaFile(version)
	r.put(itoa(version)+".snapshot.json", sign(r, snapshot, key))

	timestamp := metadata.Timestamp(expires)
	timestamp.Signed.Version = version
	timestamp.Signed.Meta["snapshot.json"] = metadata.MetaFile(version)
	r.put("timestamp.json", sign(r, timestamp, key))

	r.put("targets/"+target.Hashes["sha256"].String()+"."+trust.DefaultTarget, body)
}

func itoa(n int64) string { return string(rune('0' + n)) }

func (r *tufRepo) config(root []byte, dir string) trust.TUFConfig {
	return trust.TUFConfig{MetadataURL: r.url, Root: root, CacheDir: dir, Client: &http.Client{Timeout: 10 * time.Second}, UserAgent: "signet-test"}
}

var later = time.Now().Add(time.Hour)

func TestRefresh(t *testing.T) {
	r := newTUFRepo(t)
	first := r.root(1)
	r.publish(1, []byte("one"), later)
	cfg := r.config(first, t.TempDir())

	got, err := trust.Refresh(t.Context(), cfg)
	if err != nil || string(got) != "one" {
		t.Fatalf("first: %q, %v", got, err)
	}
	r.root(2) // with another key
	r.publish(2, []byte("two"), later)
	got, err = trust.Refresh(t.Context(), cfg)
	if err != nil || string(got) != "two" {
		t.Fatalf("after a new root: %q, %v", got, err)
	}
	// The second time the target comes from the cache, checked against the metadata.
	before := r.hits
	got, err = trust.Refresh(t.Context(), cfg)
	if err != nil || string(got) != "two" {
		t.Fatalf("again: %q, %v", got, err)
	}
	if n := r.hits - before; n > 2 {
		t.Errorf("%d requests for nothing new, want one for a root and one for the timestamp", n)
	}
}

// Threat 28: metadata older than seen before.
func TestRefreshRefusesRollback(t *testing.T) {
	r := newTUFRepo(t)
	first := r.root(1)
	r.publish(2, []byte("two"), later)
	cfg := r.config(first, t.TempDir())
	if _, err := trust.Refresh(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	r.publish(1, []byte("one"), later)
	got, err := trust.Refresh(t.Context(), cfg)
	if !errors.Is(err, trust.ErrRollback) || got != nil {
		t.Fatalf("older metadata: %q, %v", got, err)
	}
}

// Threat 28: an older root than the one already verified. The root that the
// caller starts from every time must not be a way back.
func TestRefreshRefusesOlderRoot(t *testing.T) {
	r := newTUFRepo(t)
	first := r.root(1)
	r.root(2)
	r.publish(1, []byte("new key"), later)
	cfg := r.config(first, t.TempDir())
	if _, err := trust.Refresh(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	// The thief of the first key hides version 2 and signs anew.
	r.mu.Lock()
	delete(r.files, "2.root.json")
	r.mu.Unlock()
	stolen := r.keys
	r.keys = r.keys[:1]
	r.publish(3, []byte("stolen key"), later)
	if got, err := trust.Refresh(t.Context(), cfg); !errors.Is(err, trust.ErrUntrusted) {
		t.Fatalf("metadata of a replaced key: %q, %v", got, err)
	}
	// And a root of version 1 in the place of version 3.
	r.keys = stolen
	r.mu.Lock()
	r.files["3.root.json"] = r.files["1.root.json"]
	r.mu.Unlock()
	if got, err := trust.Refresh(t.Context(), cfg); err == nil {
		t.Fatalf("version 1 in place of version 3: %q", got)
	}
}

// Threat 28: expired metadata.
func TestRefreshRefusesExpired(t *testing.T) {
	r := newTUFRepo(t)
	first := r.root(1)
	r.publish(1, []byte("one"), time.Now().Add(-time.Minute))
	if got, err := trust.Refresh(t.Context(), r.config(first, t.TempDir())); !errors.Is(err, trust.ErrExpired) {
		t.Fatalf("%q, %v", got, err)
	}
}

// Threat 28: a repository that is not there, does not answer, or is too long.
func TestRefreshUnreachable(t *testing.T) {
	r := newTUFRepo(t)
	first := r.root(1)
	cfg := r.config(first, t.TempDir())
	if _, err := trust.Refresh(t.Context(), cfg); !errors.Is(err, trust.ErrUnreachable) {
		t.Errorf("404 for the timestamp: %v", err)
	}
	r.publish(1, []byte("one"), later)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := trust.Refresh(ctx, cfg); !errors.Is(err, trust.ErrUnreachable) || !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	r.put("timestamp.json", []byte(strings.Repeat(" ", 1<<20)))
	if _, err := trust.Refresh(t.Context(), cfg); !errors.Is(err, trust.ErrUntrusted) {
		t.Errorf("oversized: %v", err)
	}
}

func TestRefreshRefusesTamperedTarget(t *testing.T) {
	r := newTUFRepo(t)
	first := r.root(1)
	r.publish(1, []byte("one"), later)
	r.mu.Lock()
	for name := range r.files {
		if strings.HasPrefix(name, "targets/") {
			r.files[name] = []byte("two")
		}
	}
	r.mu.Unlock()
	if got, err := trust.Refresh(t.Context(), r.config(first, t.TempDir())); !errors.Is(err, trust.ErrUntrusted) {
		t.Fatalf("%q, %v", got, err)
	}
}

func TestRefreshConfig(t *testing.T) {
	r := newTUFRepo(t)
	first := r.root(1)
	r.publish(1, []byte("one"), later)
	for name, spoil := range map[string]func(*trust.TUFConfig){
		"no client":      func(c *trust.TUFConfig) { c.Client = nil },
		"no cache":       func(c *trust.TUFConfig) { c.CacheDir = "" },
		"no root":        func(c *trust.TUFConfig) { c.Root = nil },
		"a broken root":  func(c *trust.TUFConfig) { c.Root = []byte("{}") },
		"a file address": func(c *trust.TUFConfig) { c.MetadataURL = "file:///metadata" },
		"no address":     func(c *trust.TUFConfig) { c.MetadataURL = "" },
		"no such target": func(c *trust.TUFConfig) { c.Target = "other.json" },
	} {
		cfg := r.config(first, t.TempDir())
		spoil(&cfg)
		if _, err := trust.Refresh(t.Context(), cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	// A cache that was damaged is an error, not a way back to the given root.
	cfg := r.config(first, t.TempDir())
	if err := os.WriteFile(filepath.Join(cfg.CacheDir, "root.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := trust.Refresh(t.Context(), cfg); !errors.Is(err, trust.ErrUntrusted) {
		t.Errorf("damaged cache: %v", err)
	}
}
