package replicas

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/policy"
	"github.com/signet-policy/signet/internal/testkit/eventually"
)

// bundleRounds is how often other rules come into force through one server.
const bundleRounds = 20

// rules is a bundle's folder, which allows what is signed when the sequence is odd,
// and nothing of the repository when it is even.
type rules struct {
	*world
	dir string
	key policy.Signing
	// pub is the PEM of the key that signs.
	pub []byte
}

const embargo = `package signing.rules.embargo

import data.signing.lib

# METADATA
# title: Embargo
# description: The repository is under an embargo.
# custom:
#   code: embargo
#   severity: high
#   remediation: Wait.
violation contains {"code": "embargo", "message": sprintf("Image %s is under an embargo.", [lib.image]), "remediation": "Wait."} if {
	input.subject.repository == "` + repository + `"
}
`

func newRules(w *world) *rules {
	w.Helper()
	r := &rules{world: w, dir: filepath.Join(w.TempDir(), "rules")}
	w.command("policy", "init", r.dir)
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		w.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		w.Fatal(err)
	}
	r.key = policy.Signing{Key: private, KeyID: "release"}
	r.pub = pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki})
	return r
}

// archive is the release of a sequence.
func (r *rules) archive(sequence int64) []byte {
	r.Helper()
	rule := filepath.Join(r.dir, "signing", "rules", "embargo.rego")
	if sequence%2 == 0 {
		write(r.T, rule, []byte(embargo))
	} else if err := os.RemoveAll(rule); err != nil {
		r.Fatal(err)
	}
	bundle := os.DirFS(r.dir)
	params, err := policy.Params(bundle)
	if err != nil {
		r.Fatal(err)
	}
	archive, _, err := policy.Build(r.Context(), policy.BuildOptions{Bundle: bundle, Params: params, Sequence: sequence, Signing: &r.key})
	if err != nil {
		r.Fatal(err)
	}
	return archive
}

func (r *rules) document(bundle string) string {
	return fmt.Sprintf("signing_policy:\n  trusted_signers: [{type: registry}]\n  bundle: %s\n  parameters: {registries: [%q]}\n", bundle, r.registry.Host())
}

func want(sequence int64) client.Decision {
	if sequence%2 == 0 {
		return client.Deny
	}
	return client.Allow
}

// A bundle that is put through one server decides with the next request on each of
// the others, every time, under load; one that is refused changes nothing anywhere.
func TestBundleCountsEverywhereAtOnce(t *testing.T) {
	w := newWorld(t, 3, "")
	w.signer()
	r := newRules(w)
	ctx := t.Context()
	first := w.servers[0]
	if _, err := first.PutBundle(ctx, "acme", "", r.archive(1), nil); err != nil {
		t.Fatal(err)
	}
	before, err := first.Policy(ctx, "default")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := first.PutPolicy(ctx, "default", "", []byte(r.document("acme")), &before.Version); err != nil {
		t.Fatal(err)
	}
	l := w.load(1)
	for sequence := int64(2); sequence <= bundleRounds; sequence++ {
		archive := r.archive(sequence)
		through := w.servers[sequence%3]
		now, err := through.Bundle(ctx, "acme")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := through.PutBundle(ctx, "acme", "", archive, &now.Version); err != nil {
			t.Fatal(err)
		}
		for _, s := range w.servers {
			if got := w.decision(s); got != want(sequence) {
				t.Errorf("sequence %d, put through %s: %s says %s", sequence, through.address, s.address, got)
			}
		}
		// The same sequence with other rules is refused, and nothing happens.
		if sequence%5 == 0 {
			now.Version++
			other := r.archive(sequence - 1)
			if _, err := through.PutBundle(ctx, "acme", "", other, &now.Version); err == nil || !strings.Contains(err.Error(), "is not above") {
				t.Errorf("an older sequence: %v", err)
			}
			for _, s := range w.servers {
				if got := w.decision(s); got != want(sequence) {
					t.Errorf("after a refusal %s says %s", s.address, got)
				}
			}
		}
	}
	l.end(t)
}

// shelf is a bundle server: conditional GET, bearer token, TLS.
type shelf struct {
	mu      sync.Mutex
	archive []byte
	etag    string
	whole   int // answers with a body
	not     int // answers without
	status  int
}

func (s *shelf) put(archive []byte, etag string, status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.archive, s.etag, s.status = archive, etag, status
}

func (s *shelf) counts() (whole, not int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.whole, s.not
}

func (s *shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Header().Set("ETag", s.etag)
	switch {
	case r.Header.Get("Authorization") != "Bearer of-the-shelf":
		w.WriteHeader(http.StatusUnauthorized)
	case s.status != http.StatusOK:
		w.WriteHeader(s.status)
	case r.Header.Get("If-None-Match") == s.etag:
		s.not++
		w.WriteHeader(http.StatusNotModified)
	default:
		s.whole++
		_, _ = w.Write(s.archive)
	}
}

// One of the servers fetches for all, over HTTPS; what it fetches decides on each of
// them. What is not signed by the key that is configured, and a server that fails,
// leave what was in force. When the server that fetches ends, another one does.
func TestFetchedBundleCountsEverywhere(t *testing.T) {
	host := &shelf{status: http.StatusOK}
	tls := httptest.NewTLSServer(host)
	t.Cleanup(tls.Close)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "ca.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: tls.Certificate().Raw}))
	write(t, filepath.Join(dir, "token"), []byte("of-the-shelf\n"))
	w := newWorld(t, 0, "")
	r := newRules(w)
	host.put(r.archive(1), `"one"`, http.StatusOK)
	write(t, filepath.Join(dir, "release.pub"), r.pub)
	body, err := os.ReadFile(w.config)
	if err != nil {
		t.Fatal(err)
	}
	more := fmt.Sprintf("bundles:\n  live: {url: %q, keys: {release: {key_file: %q}}, ca_file: %q, bearer_token_file: %q, poll: 300ms}\n",
		tls.URL+"/rules.tar.gz", filepath.Join(dir, "release.pub"), filepath.Join(dir, "ca.pem"), filepath.Join(dir, "token"))
	write(t, w.config, []byte(strings.ReplaceAll(string(body), "offline: true", "kms: {refresh: 10h}")+more+r.document("live")))
	for range 3 {
		w.start()
	}
	w.signer()
	decided := func(what string, sequence int64) {
		t.Helper()
		eventually.Holds(t, what, func() bool {
			b, err := w.servers[0].Bundle(t.Context(), "live")
			return err == nil && b.Sequence == sequence
		})
		for _, s := range w.servers { // the next request, on each of them
			if got := w.decision(s); got != want(sequence) {
				t.Errorf("%s: %s says %s", what, s.address, got)
			}
		}
	}
	decided("the first archive, before the servers answered", 1)
	if whole, _ := host.counts(); whole > 3 {
		t.Errorf("the archive was sent %d times to three servers", whole)
	}
	eventually.Holds(t, "a conditional request", func() bool { _, not := host.counts(); return not > 2 })
	host.put(r.archive(2), `"two"`, http.StatusOK)
	decided("the second archive", 2)

	failed := func(what, text string) {
		t.Helper()
		eventually.Holds(t, what, func() bool {
			b, err := w.servers[1].Bundle(t.Context(), "live")
			return err == nil && b.LastAttempt != nil && strings.Contains(b.LastAttempt.Error, text)
		})
		for _, s := range w.servers {
			if got := w.decision(s); got != client.Deny {
				t.Errorf("%s: %s says %s", what, s.address, got)
			}
		}
	}
	stranger := newRules(w)
	host.put(stranger.archive(3), `"three"`, http.StatusOK)
	failed("a stranger's archive", "signature")
	host.put(nil, `"four"`, http.StatusInternalServerError)
	failed("a bundle server that fails", "500")

	// Whichever server fetches goes away.
	for i, s := range w.servers {
		if s.said(`"msg":"upkeep"`, `"here":true`) {
			s.stop(os.Interrupt)
			w.servers = append(w.servers[:i:i], w.servers[i+1:]...)
			break
		}
	}
	host.put(r.archive(5), `"five"`, http.StatusOK)
	decided("the next archive, fetched by another server", 5)
}
