package registrytest

import (
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// Auth says how a registry asks for credentials.
type Auth struct {
	// Username and Password that are right.
	Username, Password string
	// Basic asks for them directly; otherwise the registry wants a bearer token.
	Basic bool
	// Anonymous gives tokens to anybody.
	Anonymous bool
	// OnlyWrites lets anybody read, with whatever credentials.
	OnlyWrites bool
	// OtherHost puts the token endpoint on a listener (host and port) of its own.
	OtherHost bool
	// Realm replaces the token endpoint in the challenge, to lead clients astray.
	Realm string
	// Refuse makes the token endpoint answer with this code.
	Refuse int
}

const (
	tokenPath = "/token"
	token     = "a-token-of-the-test-registry"
)

// tokens is the token endpoint and the check of what it gave.
type tokens struct {
	auth  Auth
	realm string
	own   *httptest.Server
	mu    sync.Mutex
	asked []Request
}

func newTokens(tb testing.TB, s *Server, auth Auth) *tokens {
	tb.Helper()
	t := &tokens{auth: auth, realm: s.URL() + tokenPath}
	if auth.OtherHost {
		t.own = listen(tb, "127.0.0.1:0", s.opts.TLS, t)
		t.realm = t.own.URL + tokenPath
	}
	if auth.Realm != "" {
		t.realm = auth.Realm
	}
	return t
}

// TokenHost is the host and port of the token endpoint.
func (s *Server) TokenHost() string {
	if s.tokens != nil && s.tokens.own != nil {
		return s.tokens.own.Listener.Addr().String()
	}
	return s.Host()
}

// TokenRequests are those that the token endpoint received.
func (s *Server) TokenRequests() []Request {
	if s.tokens == nil {
		return nil
	}
	s.tokens.mu.Lock()
	defer s.tokens.mu.Unlock()
	return append([]Request(nil), s.tokens.asked...)
}

func (t *tokens) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	t.mu.Lock()
	t.asked = append(t.asked, Request{
		Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery, Host: r.Host,
		Authorization: r.Header.Get("Authorization"), UserAgent: r.UserAgent(),
	})
	t.mu.Unlock()
	switch {
	case t.auth.Refuse != 0:
		Status(t.auth.Refuse)(w, r, nil)
	case t.auth.Anonymous || t.basic(r):
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"token": token, "access_token": token, "expires_in": 300})
	default:
		Status(http.StatusUnauthorized)(w, r, nil)
	}
}

func (t *tokens) basic(r *http.Request) bool {
	user, password, ok := r.BasicAuth()
	return ok && subtle.ConstantTimeCompare([]byte(user+"\x00"+password), []byte(t.auth.Username+"\x00"+t.auth.Password)) == 1
}

func (t *tokens) allowed(r *http.Request) bool {
	if t.auth.OnlyWrites && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		return true
	}
	if t.auth.Basic {
		return t.basic(r)
	}
	return strings.EqualFold(r.Header.Get("Authorization"), "Bearer "+token)
}

func (t *tokens) challenge(w http.ResponseWriter) {
	value := `Basic realm="registrytest"`
	if !t.auth.Basic {
		value = fmt.Sprintf(`Bearer realm=%q,service="registrytest",scope="repository:*:pull"`, t.realm)
	}
	w.Header().Set("WWW-Authenticate", value)
	Status(http.StatusUnauthorized)(w, nil, nil)
}
