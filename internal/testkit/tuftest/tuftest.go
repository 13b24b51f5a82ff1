// Package tuftest is a private TUF repository on loopback for tests: real keys,
// signed metadata, versioned roots, one target.
//
// Start with [New], then move it on ([Repo.Publish], [Repo.RotateRoot]) or spoil
// it ([Repo.Rollback], [Repo.Expire], [Repo.WrongSignature], [Repo.Tamper],
// [Repo.Down]). Whatever it does takes effect with the next request.
package tuftest

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// Target is the path of the one target.
const Target = "trusted_root.json"

// lifetime of what the repository signs.
const lifetime = 24 * time.Hour

// Repo is a TUF repository. It stops when the test ends. Its methods may be
// called by one goroutine at a time, while any number ask it.
type Repo struct {
	tb  testing.TB
	srv *httptest.Server
	// keys are those of the root versions: all roles of version n+1 are keys[n]'s.
	keys    []ed25519.PrivateKey
	version int64
	body    []byte

	mu    sync.Mutex
	files map[string][]byte
	asked []string
	down  int
}

// New starts a repository with root version 1 and the target at version 1.
func New(tb testing.TB, target []byte) *Repo {
	tb.Helper()
	r := &Repo{tb: tb, files: map[string][]byte{}}
	r.srv = httptest.NewServer(r)
	tb.Cleanup(r.srv.Close)
	r.RotateRoot()
	r.Publish(target)
	return r
}

// ServeHTTP serves the files.
func (r *Repo) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	path := strings.TrimPrefix(req.URL.Path, "/")
	r.asked = append(r.asked, path)
	body, ok := r.files[path]
	switch {
	case r.down != 0:
		w.WriteHeader(r.down)
	case !ok:
		http.NotFound(w, req)
	default:
		_, _ = w.Write(body)
	}
}

// URL is where the metadata are.
func (r *Repo) URL() string { return r.srv.URL }

// Client is an HTTP client whose connections end with the repository.
func (r *Repo) Client() *http.Client { return r.srv.Client() }

// Root is the root.json of a version, from 1.
func (r *Repo) Root(version int) []byte { return r.File(strconv.Itoa(version) + ".root.json") }

// File is what is served at a path, nil for nothing.
func (r *Repo) File(path string) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.files[path]
}

// Put serves any bytes at a path.
func (r *Repo) Put(path string, body []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.files[path] = body
}

// Remove serves nothing at a path.
func (r *Repo) Remove(path string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.files, path)
}

// Asked counts the requests so far.
func (r *Repo) Asked() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.asked)
}

// Down answers every request with a status; 0 ends it.
func (r *Repo) Down(status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = status
}

// Publish puts another target under metadata of the next version.
func (r *Repo) Publish(target []byte) {
	r.tb.Helper()
	r.body = target
	r.Bump()
}

// Bump signs the same target under metadata of the next version.
func (r *Repo) Bump() {
	r.tb.Helper()
	r.version++
	r.publish(r.newest(), time.Now().Add(lifetime))
}

// Rollback signs metadata of a version below the last one, with this target.
func (r *Repo) Rollback(target []byte) {
	r.tb.Helper()
	r.version--
	r.body = target
	r.publish(r.newest(), time.Now().Add(lifetime))
}

// Expire signs metadata of the next version that expired a minute ago.
func (r *Repo) Expire() {
	r.tb.Helper()
	r.version++
	r.publish(r.newest(), time.Now().Add(-time.Minute))
}

// WrongSignature signs the target under metadata of the next version, with a key
// that no root names.
func (r *Repo) WrongSignature() {
	r.tb.Helper()
	r.version++
	r.publish(r.key(), time.Now().Add(lifetime))
}

// SignAs signs this target under metadata of the next version, with the key of a
// root version that may have been replaced.
func (r *Repo) SignAs(rootVersion int, target []byte) {
	r.tb.Helper()
	r.version++
	r.body = target
	r.publish(r.keys[rootVersion-1], time.Now().Add(lifetime))
}

// Tamper serves these bytes in place of the target that is signed.
func (r *Repo) Tamper(body []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for path := range r.files {
		if strings.HasPrefix(path, "targets/") {
			r.files[path] = body
		}
	}
}

// RotateRoot publishes the next root version with a new key for every role,
// signed by it and by the key before. What is published already stays under the
// old key until the next [Repo.Publish].
func (r *Repo) RotateRoot() {
	r.tb.Helper()
	r.keys = append(r.keys, r.key())
	m := metadata.Root(time.Now().Add(lifetime))
	m.Signed.Version = int64(len(r.keys))
	m.Signed.ConsistentSnapshot = true
	pub, err := metadata.KeyFromPublicKey(r.newest().Public())
	r.check(err)
	for _, role := range []string{metadata.ROOT, metadata.TARGETS, metadata.SNAPSHOT, metadata.TIMESTAMP} {
		r.check(m.Signed.AddKey(pub, role))
	}
	by := []ed25519.PrivateKey{r.newest()}
	if n := len(r.keys); n > 1 {
		by = append(by, r.keys[n-2])
	}
	r.Put(strconv.Itoa(len(r.keys))+".root.json", sign(r, m, by...))
}

// publish signs targets, snapshot and timestamp of the current version.
func (r *Repo) publish(key ed25519.PrivateKey, expires time.Time) {
	r.tb.Helper()
	file, err := metadata.TargetFile().FromBytes(Target, r.body, "sha256")
	r.check(err)
	version := strconv.FormatInt(r.version, 10)

	targets := metadata.Targets(expires)
	targets.Signed.Version = r.version
	targets.Signed.Targets[Target] = file
	r.Put(version+".targets.json", sign(r, targets, key))

	snapshot := metadata.Snapshot(expires)
	snapshot.Signed.Version = r.version
	snapshot.Signed.Meta["targets.json"] = metadata.MetaFile(r.version)
	r.Put(version+".snapshot.json", sign(r, snapshot, key))

	timestamp := metadata.Timestamp(expires)
	timestamp.Signed.Version = r.version
	timestamp.Signed.Meta["snapshot.json"] = metadata.MetaFile(r.version)
	r.Put("timestamp.json", sign(r, timestamp, key))

	r.Put("targets/"+file.Hashes["sha256"].String()+"."+Target, r.body)
}

func (r *Repo) newest() ed25519.PrivateKey { return r.keys[len(r.keys)-1] }

func (r *Repo) key() ed25519.PrivateKey {
	r.tb.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	r.check(err)
	return key
}

func (r *Repo) check(err error) {
	r.tb.Helper()
	if err != nil {
		r.tb.Fatal(err)
	}
}

func sign[T metadata.Roles](r *Repo, m *metadata.Metadata[T], keys ...ed25519.PrivateKey) []byte {
	r.tb.Helper()
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
