package registrytest

import (
	"crypto/tls"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
)

// Options choose what kind of registry it is. The zero value is one that speaks
// plain HTTP to anybody and has the referrers API, in one page.
type Options struct {
	// NoReferrers is a registry without the referrers API, such as distribution
	// v3: 404 there.
	NoReferrers bool
	// PlainReferrers leaves the referrers as go-containerregistry reports them:
	// the configuration's media type as artifactType, in no order. Otherwise they
	// are reported as the distribution specification says, sorted by digest.
	PlainReferrers bool
	// PageSize splits the referrers into pages joined by Link headers; 0: one page.
	PageSize int
	// ReferrersType is the Content-Type of the referrers; default the exact one
	// of an OCI index. "…; charset=utf-8" is seen in the wild.
	ReferrersType string
	// TLS serves HTTPS under a certificate of its own CA; see [Server.CAPEM].
	TLS bool
	// Auth asks for credentials.
	Auth *Auth
	// Addr to listen on; default "127.0.0.1:0".
	Addr string
}

// Request is one that the front received.
type Request struct {
	Method, Path, Query, Host string
	Authorization, UserAgent  string
}

// Server is a registry. It stops when the test ends that started it.
type Server struct {
	*state
	tb testing.TB
}

// For is the same registry for another test, which its mistakes then end: for
// subtests that share a registry.
func (s *Server) For(tb testing.TB) *Server { return &Server{s.state, tb} }

// state is what all handles of a registry share.
type state struct {
	opts    Options
	inner   http.Handler
	front   *httptest.Server
	tokens  *tokens
	mu      sync.Mutex
	log     []Request
	rules   []*rule
	overlay map[string]*served
}

// New starts a registry.
func New(tb testing.TB, opts Options) *Server {
	tb.Helper()
	if opts.ReferrersType == "" {
		opts.ReferrersType = "application/vnd.oci.image.index.v1+json"
	}
	if opts.Addr == "" {
		opts.Addr = "127.0.0.1:0"
	}
	s := &Server{tb: tb, state: &state{
		opts: opts, overlay: map[string]*served{},
		inner: registry.New(
			registry.WithReferrersSupport(!opts.NoReferrers),
			registry.Logger(log.New(io.Discard, "", 0)),
		),
	}}
	s.front = listen(tb, opts.Addr, opts.TLS, s)
	if opts.Auth != nil {
		s.tokens = newTokens(tb, s, *opts.Auth)
	}
	return s
}

// listen starts an HTTP server that logs nothing and ends with the test.
func listen(tb testing.TB, addr string, secure bool, h http.Handler) *httptest.Server {
	tb.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(tb.Context(), "tcp", addr)
	if err != nil {
		tb.Fatalf("listening on %s: %v", addr, err)
	}
	srv := httptest.NewUnstartedServer(h)
	if err := srv.Listener.Close(); err != nil {
		tb.Fatalf("closing the default listener: %v", err)
	}
	srv.Listener = l
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	if secure {
		srv.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
		srv.StartTLS()
	} else {
		srv.Start()
	}
	tb.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	return srv
}

// Host is "127.0.0.1:<port>", the registry part of image references.
func (s *Server) Host() string { return s.front.Listener.Addr().String() }

// URL is the base URL, without a slash at the end.
func (s *Server) URL() string { return s.front.URL }

// Image is the reference of a repository, tag or digest: host/repo[:tag|@digest].
func (s *Server) Image(repo, ref string) string {
	switch {
	case ref == "":
		return s.Host() + "/" + repo
	case strings.Contains(ref, ":"):
		return s.Host() + "/" + repo + "@" + ref
	default:
		return s.Host() + "/" + repo + ":" + ref
	}
}

// CAPEM is the CA of a registry with TLS, as a PEM block.
func (s *Server) CAPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.front.Certificate().Raw})
}

// Client is an HTTP client that trusts the registry's CA.
func (s *Server) Client() *http.Client { return s.front.Client() }

// Requests are those received so far, in order.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.log...)
}

// Count is the number of requests of a method ("" for any) whose path contains
// a string.
func (s *Server) Count(method, part string) int {
	n := 0
	for _, r := range s.Requests() {
		if (method == "" || r.Method == method) && strings.Contains(r.Path, part) {
			n++
		}
	}
	return n
}

// Counts are the requests by "METHOD path".
func (s *Server) Counts() map[string]int {
	out := map[string]int{}
	for _, r := range s.Requests() {
		out[r.Method+" "+r.Path]++
	}
	return out
}

// Forget empties the list of requests.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = nil
}

// ServeHTTP is the front: record, authenticate, apply the first rule that
// matches, serve.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.log = append(s.log, Request{
		Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery, Host: r.Host,
		Authorization: r.Header.Get("Authorization"), UserAgent: r.UserAgent(),
	})
	s.mu.Unlock()
	if s.tokens != nil {
		if r.URL.Path == tokenPath {
			s.tokens.ServeHTTP(w, r)
			return
		}
		if !s.tokens.allowed(r) {
			s.tokens.challenge(w)
			return
		}
	}
	if act := s.rule(r); act != nil {
		act(w, r, http.HandlerFunc(s.serve))
		return
	}
	s.serve(w, r)
}

// serve is the registry without auth and rules.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	if repo, digest, ok := splitPath(r.URL.Path, "referrers"); ok && r.Method == http.MethodGet && !s.opts.NoReferrers {
		s.referrers(w, r, repo, digest)
		return
	}
	if repo, ref, ok := splitPath(r.URL.Path, "manifests"); ok && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		if c := s.served(repo, ref); c != nil {
			c.write(w, r)
			return
		}
	}
	s.inner.ServeHTTP(w, r)
}

// splitPath takes /v2/<repo>/<kind>/<ref> apart.
func splitPath(path, kind string) (repo, ref string, ok bool) {
	rest, ok := strings.CutPrefix(path, "/v2/")
	if !ok {
		return "", "", false
	}
	i := strings.LastIndex(rest, "/"+kind+"/")
	if i < 1 {
		return "", "", false
	}
	return rest[:i], rest[i+len(kind)+2:], true
}
