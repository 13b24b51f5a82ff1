package registrytest

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"sync"
)

// Mirror is another host that serves a registry's content to anybody, as the
// blob stores do that big registries redirect to.
type Mirror struct {
	srv  *httptest.Server
	from *Server
	mu   sync.Mutex
	log  []Request
}

// Mirror starts one. To have blobs fetched from it:
//
//	s.On(registrytest.Blob(""), registrytest.Redirect(m.URL()))
func (s *Server) Mirror(secure bool) *Mirror {
	s.tb.Helper()
	m := &Mirror{from: s}
	m.srv = listen(s.tb, "127.0.0.1:0", secure, m)
	return m
}

// URL is the mirror's base URL.
func (m *Mirror) URL() string { return m.srv.URL }

// Host is the mirror's host and port.
func (m *Mirror) Host() string { return m.srv.Listener.Addr().String() }

// CAPEM is the CA of a mirror with TLS.
func (m *Mirror) CAPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: m.srv.Certificate().Raw})
}

// Requests are those received so far.
func (m *Mirror) Requests() []Request {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]Request(nil), m.log...)
}

func (m *Mirror) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	m.log = append(m.log, Request{
		Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery, Host: r.Host,
		Authorization: r.Header.Get("Authorization"), UserAgent: r.UserAgent(),
	})
	m.mu.Unlock()
	m.from.inner.ServeHTTP(w, r)
}
