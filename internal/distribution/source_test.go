package distribution

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func put(t testing.TB, name, body string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	write(t, path, body)
	return path
}

func write(t testing.TB, path, body string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
}

func mustNew(t testing.TB, cfg Config) Source {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeIdle(s) })
	return s
}

// closeIdle ends connections that would be kept for the next fetch.
func closeIdle(s Source) {
	var w *wire
	switch s := s.(type) {
	case *server:
		w = s.wire
	case *repository:
		w = s.wire
	default:
		return
	}
	for _, rt := range []http.RoundTripper{w.own, w.other} {
		rt.(*http.Transport).CloseIdleConnections()
	}
}

func fetch(t testing.TB, s Source, since Validator) Fetched {
	t.Helper()
	f, err := s.Fetch(t.Context(), since)
	if err != nil {
		t.Fatal(err)
	}
	if digestOf(f.Archive) != f.Validator.Digest || f.Validator.Location == "" {
		t.Errorf("%d bytes with %+v", len(f.Archive), f.Validator)
	}
	return f
}

func fails(t testing.TB, s Source, since Validator, want error, says string) {
	t.Helper()
	f, err := s.Fetch(t.Context(), since)
	if !errors.Is(err, want) || !strings.Contains(fmt.Sprint(err), says) || f.Archive != nil {
		t.Errorf("%d bytes, %v; want %v with %q", len(f.Archive), err, want, says)
	}
}

func TestLocal(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "bundle")
	change := func(body string) {
		if err := os.WriteFile(file, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pack := func(dir fs.FS) ([]byte, error) { return fs.ReadFile(dir, "bundle") }
	for name, cfg := range map[string]Config{"file": {File: file, MaxBytes: 10}, "dir": {Dir: dir, Pack: pack, MaxBytes: 10}} {
		t.Run(name, func(t *testing.T) {
			s := mustNew(t, cfg)
			change("one")
			one := fetch(t, s, Validator{})
			fails(t, s, one.Validator, ErrNotModified, "")
			change("two")
			if two := fetch(t, s, one.Validator); string(two.Archive) != "two" {
				t.Errorf("%s", two.Archive)
			}
			change("one")
			fails(t, s, one.Validator, ErrNotModified, "")
			// What was remembered of another place says nothing about this one.
			elsewhere := one.Validator
			elsewhere.Location = "other"
			fetch(t, s, elsewhere)
			change("more than ten bytes")
			fails(t, s, Validator{}, ErrInvalid, "larger than 10 bytes")
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if _, err := s.Fetch(ctx, Validator{}); !errors.Is(err, ErrUnavailable) {
				t.Errorf("cancelled: %v", err)
			}
		})
	}
	fails(t, mustNew(t, Config{File: filepath.Join(dir, "none")}), Validator{}, ErrNotFound, "")
	fails(t, mustNew(t, Config{Dir: filepath.Join(dir, "none"), Pack: pack}), Validator{}, ErrNotFound, "")
	fails(t, mustNew(t, Config{File: dir}), Validator{}, ErrInvalid, "no regular file")
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	fails(t, mustNew(t, Config{File: pipe}), Validator{}, ErrInvalid, "no regular file")
}

func TestNewRefuses(t *testing.T) {
	empty := put(t, "empty", "\n")
	secret := put(t, "secret", "s")
	const u = "https://bundles.example.com/b.tar.gz"
	for _, tt := range []struct {
		name string
		cfg  Config
		says string
	}{
		{"nothing", Config{}, "0 of dir, file and url"},
		{"two places", Config{Dir: "d", File: "f"}, "2 of dir, file and url"},
		{"a directory that nobody packs", Config{Dir: "d"}, "dir"},
		{"a token for a file", Config{File: "f", BearerTokenFile: secret}, "are for a url"},
		{"no URL", Config{URL: "bundles"}, "url: is none"},
		{"plain HTTP", Config{URL: "http://bundles.example.com/b"}, "allow_http"},
		{"another scheme", Config{URL: "ftp://bundles.example.com/b"}, `"ftp"`},
		{"credentials in the URL", Config{URL: "https://user:hush@bundles.example.com/b"}, "bearer_token_file"},
		{"a fragment", Config{URL: u + "#x"}, "fragment"},
		{"a token and a password", Config{URL: u, BearerTokenFile: secret, Username: "u", PasswordFile: secret}, "choose one"},
		{"a user without password", Config{URL: u, Username: "u"}, "go together"},
		{"no such token", Config{URL: u, BearerTokenFile: "/none"}, "bearer_token_file"},
		{"an empty token", Config{URL: u, BearerTokenFile: empty}, "is empty"},
		{"half a certificate", Config{URL: u, ClientCert: secret}, "go together"},
		{"no certificate", Config{URL: u, ClientCert: secret, ClientKey: secret}, "client_cert"},
		{"no CA", Config{URL: u, CAFile: secret}, "no PEM certificate"},
		{"no proxy", Config{URL: u, ProxyURL: "proxy"}, "proxy"},
		{"no reference", Config{URL: "oci://ghcr.io/Org/Policy:v1"}, "oci://HOST/REPOSITORY:TAG"},
		{"a reference without a tag", Config{URL: "oci://ghcr.io/org/policy"}, "oci://HOST/REPOSITORY:TAG"},
		{"a query", Config{URL: "oci://ghcr.io/org/policy:v1?x=y"}, "no query"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := New(tt.cfg)
			if !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), tt.says) || s != nil || strings.Contains(err.Error(), "hush") {
				t.Errorf("%v, want %q", err, tt.says)
			}
		})
	}
}

// asked is a request as a server saw it.
type asked struct{ authorization, none, since, agent string }

// bundles is a bundle server with one bundle, "one" at first.
type bundles struct {
	*httptest.Server
	mu       sync.Mutex
	body     string
	requests []asked
	answer   http.HandlerFunc // in the place of the bundle
}

func (b *bundles) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.requests = append(b.requests, asked{r.Header.Get("Authorization"), r.Header.Get("If-None-Match"), r.Header.Get("If-Modified-Since"), r.UserAgent()})
	if b.answer != nil {
		b.answer(w, r)
		return
	}
	etag := `"` + b.body + `"`
	w.Header().Set("ETag", etag)
	w.Header().Set("Last-Modified", "Wed, 25 Nov 2026 12:00:00 GMT")
	w.Header().Set("Content-Type", "text/plain")
	if r.Header.Get("If-None-Match") == etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	_, _ = w.Write([]byte(b.body))
}

func (b *bundles) is(body string, answer http.HandlerFunc) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.body, b.answer = body, answer
}

func (b *bundles) last(t testing.TB) asked {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.requests) == 0 {
		t.Fatal("nobody asked")
	}
	return b.requests[len(b.requests)-1]
}

func serve(t testing.TB) *bundles {
	t.Helper()
	b := &bundles{body: "one"}
	b.Server = httptest.NewServer(b)
	t.Cleanup(b.Close)
	return b
}

func serveTLS(t testing.TB, cfg *tls.Config) (*bundles, string) {
	t.Helper()
	b := &bundles{body: "one"}
	b.Server = httptest.NewUnstartedServer(b)
	b.TLS = cfg
	b.StartTLS()
	t.Cleanup(b.Close)
	return b, put(t, "ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: b.Certificate().Raw})))
}

func TestServer(t *testing.T) {
	b := serve(t)
	s := mustNew(t, Config{URL: b.URL + "/b.tar.gz?token=hush", UserAgent: "signet/1", MaxBytes: 100})
	one := fetch(t, s, Validator{})
	if string(one.Archive) != "one" || one.Validator.ETag != `"one"` || b.last(t).agent != "signet/1" {
		t.Errorf("%s with %+v", one.Archive, one.Validator)
	}
	fails(t, s, one.Validator, ErrNotModified, "")
	if got := b.last(t); got.none != `"one"` || got.since != "Wed, 25 Nov 2026 12:00:00 GMT" {
		t.Errorf("asked with %+v", got)
	}
	b.is("two", nil)
	two := fetch(t, s, one.Validator)
	if string(two.Archive) != "two" {
		t.Errorf("%s", two.Archive)
	}
	// Nothing is remembered here: until the caller does, the bundle comes again.
	if again := fetch(t, s, one.Validator); string(again.Archive) != "two" {
		t.Errorf("%s", again.Archive)
	}
	// The same bytes under another ETag.
	b.is("", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("ETag", `"other"`)
		_, _ = w.Write([]byte("two"))
	})
	f, err := s.Fetch(t.Context(), two.Validator)
	if !errors.Is(err, ErrNotModified) || f.Archive != nil || f.Validator.ETag != `"other"` || f.Validator.Digest != two.Validator.Digest {
		t.Errorf("%+v, %v", f, err)
	}
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		want   error
		says   string
	}{
		{"401", status(401), ErrDenied, "HTTP 401"},
		{"403", status(403), ErrDenied, "HTTP 403"},
		{"404", status(404), ErrNotFound, "HTTP 404"},
		{"429", status(429), ErrUnavailable, "HTTP 429"},
		{"503", status(503), ErrUnavailable, "HTTP 503"},
		{"204", status(204), ErrInvalid, "HTTP 204"},
		{"304 to nobody's condition", status(304), ErrInvalid, "HTTP 304"},
		{"no answer", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, ErrUnavailable, "EOF"},
		{"cut short", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "50")
			_, _ = w.Write([]byte("half"))
		}, ErrUnavailable, "EOF"},
		{"too large", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 101)) }, ErrInvalid, "too large"},
		{"without an end", func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 1000)); err != nil {
					return
				}
			}
		}, ErrInvalid, "too large"},
		{"redirects for ever", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/again", http.StatusFound) }, ErrInvalid, "5 redirects"},
		{"redirects to plain HTTP elsewhere", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://bundles.example.com/", http.StatusFound)
		}, ErrInvalid, "plain HTTP"},
		{"redirects to a file", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		}, ErrInvalid, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b.is("", tt.answer)
			f, err := s.Fetch(t.Context(), Validator{})
			if !errors.Is(err, tt.want) || !strings.Contains(fmt.Sprint(err), tt.says) || f.Archive != nil {
				t.Errorf("%v; want %v with %q", err, tt.want, tt.says)
			}
			if strings.Contains(fmt.Sprint(err), "hush") {
				t.Errorf("%v tells the query", err)
			}
		})
	}
	b.is("", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	fails(t, mustNew(t, Config{URL: b.URL, Timeout: 50 * time.Millisecond}), Validator{}, ErrUnavailable, "in time")
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// Credentials are read with each fetch, and go to the one host they are for.
func TestServerCredentials(t *testing.T) {
	b, elsewhere := serve(t), serve(t)
	token := put(t, "token", "first\n")
	for name, tt := range map[string]struct {
		cfg  Config
		want string
	}{
		"bearer": {Config{BearerTokenFile: token}, "Bearer first"},
		"basic":  {Config{Username: "u", PasswordFile: put(t, "password", "p\n")}, "Basic dTpw"},
	} {
		t.Run(name, func(t *testing.T) {
			tt.cfg.URL = b.URL + "/b.tar.gz"
			s := mustNew(t, tt.cfg)
			b.is("one", nil)
			fetch(t, s, Validator{})
			if got := b.last(t).authorization; got != tt.want {
				t.Errorf("asked with %q, want %q", got, tt.want)
			}
			// Another port of the same machine is another host.
			b.is("", func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, elsewhere.URL+"/b.tar.gz", http.StatusTemporaryRedirect)
			})
			elsewhere.is("two", nil)
			if f := fetch(t, s, Validator{}); string(f.Archive) != "two" {
				t.Errorf("%s", f.Archive)
			}
			if got := elsewhere.last(t).authorization; got != "" {
				t.Errorf("another host was shown %q", got)
			}
			// Whoever sends us back does not give them back.
			elsewhere.is("", func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, b.URL+"/other", http.StatusTemporaryRedirect)
			})
			b.is("", func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/other" {
					_, _ = w.Write([]byte("three"))
					return
				}
				http.Redirect(w, r, elsewhere.URL+"/b.tar.gz", http.StatusTemporaryRedirect)
			})
			fetch(t, s, Validator{})
			if got := b.last(t).authorization; got != "" {
				t.Errorf("the credentials came back: %q", got)
			}
		})
	}
	s := mustNew(t, Config{URL: b.URL, BearerTokenFile: token})
	if err := os.WriteFile(token, []byte("second"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.is("one", nil)
	fetch(t, s, Validator{})
	if got := b.last(t).authorization; got != "Bearer second" {
		t.Errorf("asked with %q", got)
	}
	if err := os.Remove(token); err != nil {
		t.Fatal(err)
	}
	fails(t, s, Validator{}, ErrDenied, "bearer_token_file")
}

// identity is a certificate for a client, its own CA.
func identity(t testing.TB) (cert, key string, pool *x509.CertPool) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "signet"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	pool = x509.NewCertPool()
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	pool.AppendCertsFromPEM(text)
	return put(t, "cert.pem", string(text)), put(t, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}))), pool
}

func TestServerTLS(t *testing.T) {
	cert, key, pool := identity(t)
	b, ca := serveTLS(t, &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, MinVersion: tls.VersionTLS12})
	fails(t, mustNew(t, Config{URL: b.URL}), Validator{}, ErrUnavailable, "certificate")
	fails(t, mustNew(t, Config{URL: b.URL, CAFile: ca}), Validator{}, ErrUnavailable, "")
	fetch(t, mustNew(t, Config{URL: b.URL, CAFile: ca, ClientCert: cert, ClientKey: key}), Validator{})

	// The certificate is shown to nobody else, and https is not left.
	other, otherCA := serveTLS(t, &tls.Config{ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS12})
	shown := -1
	other.is("", func(w http.ResponseWriter, r *http.Request) {
		shown = len(r.TLS.PeerCertificates)
		_, _ = w.Write([]byte("two"))
	})
	b.is("", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL, http.StatusFound) })
	s := mustNew(t, Config{URL: b.URL, CAFile: ca, CAFiles: []string{otherCA}, ClientCert: cert, ClientKey: key})
	if f := fetch(t, s, Validator{}); string(f.Archive) != "two" || shown != 0 {
		t.Errorf("%s; %d certificates were shown", f.Archive, shown)
	}
	plain := serve(t)
	b.is("", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, plain.URL, http.StatusFound) })
	fails(t, s, Validator{}, ErrInvalid, "from https to plain HTTP")
	if len(plain.requests) > 0 {
		t.Error("plain HTTP was spoken")
	}
}

// A proxy sees what is not on loopback, and nothing else.
func TestServerProxy(t *testing.T) {
	proxy := serve(t)
	var host string
	proxy.is("", func(w http.ResponseWriter, r *http.Request) { host = r.Host; _, _ = w.Write([]byte("one")) })
	fetch(t, mustNew(t, Config{URL: "http://bundles.example.com/b", AllowHTTP: true, ProxyURL: proxy.URL}), Validator{})
	if host != "bundles.example.com" {
		t.Errorf("the proxy was asked for %q", host)
	}
	b := serve(t)
	fetch(t, mustNew(t, Config{URL: b.URL, ProxyURL: proxy.URL}), Validator{})
	if len(proxy.requests) != 1 {
		t.Error("the proxy was asked for loopback")
	}
}
