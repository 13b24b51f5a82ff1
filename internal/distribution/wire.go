package distribution

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
)

const maxRedirects = 5

// Why a request was not made.
var (
	errPlain     = errors.New("plain HTTP is refused; use https, or allow_http: true")
	errRedirects = fmt.Errorf("more than %d redirects", maxRedirects)
	errDowngrade = errors.New("redirects from https to plain HTTP")
	errTokenHost = errors.New("wants its credentials sent to another host")
)

// wire is the way to one host, and to where it redirects. It is an
// [http.RoundTripper], so that whatever client is put on top cannot be led astray.
type wire struct {
	// home is the host:port that the client certificate is for.
	home string
	// trusted are the host:port that may be shown credentials: home, and where a
	// registry's tokens come from.
	trusted    map[string]bool
	own, other http.RoundTripper
	allowHTTP  bool
	// limit bounds each body.
	limit int64
}

// tokenHosts issue the tokens of registries of other names.
func tokenHosts(registry string) []string {
	switch registry {
	case name.DefaultRegistry:
		return []string{"auth.docker.io"}
	case "registry.gitlab.com":
		return []string{"gitlab.com"}
	}
	return nil
}

// newWire makes the way to a host, HOST or HOST:PORT, that is spoken to in a scheme
// first.
func newWire(cfg Config, scheme, host string) (*wire, error) {
	roots, err := certPool(cfg)
	if err != nil {
		return nil, err
	}
	var proxy *url.URL
	if cfg.ProxyURL != "" {
		if proxy, err = url.Parse(cfg.ProxyURL); err != nil || proxy.Host == "" {
			return nil, fmt.Errorf("%w: proxy: want a URL like http://proxy.example.com:3128", ErrConfig)
		}
	}
	switch {
	case cfg.BearerTokenFile != "" && (cfg.Username != "" || cfg.PasswordFile != ""):
		return nil, fmt.Errorf("%w: both bearer_token_file and username or password_file are given; choose one", ErrConfig)
	case (cfg.Username == "") != (cfg.PasswordFile == ""):
		return nil, fmt.Errorf("%w: username and password_file go together", ErrConfig)
	case (cfg.ClientCert == "") != (cfg.ClientKey == ""):
		return nil, fmt.Errorf("%w: client_cert and client_key go together", ErrConfig)
	}
	for field, path := range map[string]string{"bearer_token_file": cfg.BearerTokenFile, "password_file": cfg.PasswordFile} {
		if path == "" {
			continue
		}
		if _, err := readSecret(path); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrConfig, field, err)
		}
	}
	other := newTransport(roots, proxy)
	home := hostPort(&url.URL{Scheme: scheme, Host: host})
	w := &wire{home: home, trusted: map[string]bool{home: true}, own: other, other: other, allowHTTP: cfg.AllowHTTP, limit: cfg.MaxBytes}
	if scheme == schemeOCI && cfg.AllowHTTP {
		w.trusted[hostPort(&url.URL{Scheme: "http", Host: host})] = true
	}
	for _, h := range append(tokenHosts(host), cfg.TokenHosts...) {
		w.trusted[hostPort(&url.URL{Scheme: "https", Host: h})] = true
	}
	if cfg.ClientCert == "" {
		return w, nil
	}
	if _, err := tls.LoadX509KeyPair(cfg.ClientCert, cfg.ClientKey); err != nil {
		return nil, fmt.Errorf("%w: client_cert and client_key: %w", ErrConfig, err)
	}
	own := newTransport(roots, proxy)
	own.TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(cfg.ClientCert, cfg.ClientKey)
		return &pair, err
	}
	own.IdleConnTimeout = 10 * time.Second // a certificate that was renewed is soon used
	w.own = own
	return w, nil
}

func newTransport(roots *x509.CertPool, proxy *url.URL) *http.Transport {
	t := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		TLSHandshakeTimeout: 10 * time.Second,
		ForceAttemptHTTP2:   true,
		// Go would ask for gzip and unpack whatever comes, without a limit.
		DisableCompression:     true,
		MaxIdleConnsPerHost:    2,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 256 << 10,
	}
	if proxy != nil {
		t.Proxy = func(r *http.Request) (*url.URL, error) {
			if isLoopback(r.URL.Hostname()) {
				return nil, nil // a proxy's loopback is not ours
			}
			return proxy, nil
		}
	}
	return t
}

func certPool(cfg Config) (*x509.CertPool, error) {
	files := cfg.CAFiles
	if cfg.CAFile != "" {
		files = append(append([]string(nil), files...), cfg.CAFile)
	}
	if len(files) == 0 {
		return nil, nil //nolint:nilnil // nil is crypto/tls's word for the system's roots
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("%w: reading the system's certificates: %w", ErrConfig, err)
	}
	for _, f := range files {
		pem, err := os.ReadFile(f) //nolint:gosec // the administrator names the file
		if err != nil {
			return nil, fmt.Errorf("%w: ca_file: %w", ErrConfig, err)
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%w: ca_file: %s: no PEM certificate in it", ErrConfig, f)
		}
	}
	return pool, nil
}

// RoundTrip makes a request, or refuses to.
func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	secure := r.URL.Scheme == "https"
	if !secure && (r.URL.Scheme != "http" || !w.allowHTTP && !isLoopback(r.URL.Hostname())) {
		return nil, errPlain
	}
	hops := 0
	for from := r.Response; from != nil && from.Request != nil; from = from.Request.Response {
		if hops++; hops > maxRedirects {
			return nil, errRedirects
		}
		if !secure && from.Request.URL.Scheme == "https" {
			return nil, errDowngrade
		}
	}
	if !w.trusted[hostPort(r.URL)] {
		// go-containerregistry would show them to whatever host the registry says
		// that its tokens come from (threat 45).
		if r.Method == http.MethodPost && strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
			return nil, errTokenHost
		}
		r = r.Clone(r.Context())
		r.Header.Del("Authorization")
	}
	next := w.other
	if secure && hostPort(r.URL) == w.home {
		next = w.own
	}
	res, err := next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	res.Body = &capped{ReadCloser: res.Body, left: w.limit}
	return res, nil
}

// capped fails where io.LimitReader would end.
type capped struct {
	io.ReadCloser
	left int64
}

var errTooLarge = errors.New("is too large")

func (c *capped) Read(b []byte) (int, error) {
	n, err := c.ReadCloser.Read(b)
	if c.left -= int64(n); c.left < 0 {
		return 0, errTooLarge
	}
	return n, err
}

// explain makes one of this package's errors of one that a client returned. ctx is
// the request's own.
func explain(ctx context.Context, place string, err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err // without the URL, whose query may hold a token
	}
	switch {
	case errors.Is(err, errPlain), errors.Is(err, errRedirects), errors.Is(err, errDowngrade), errors.Is(err, errTokenHost), errors.Is(err, errTooLarge):
		return fmt.Errorf("%s: %w: %w", place, ErrInvalid, err)
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w: no answer in time: %w", place, ErrUnavailable, context.Cause(ctx))
	}
	return fmt.Errorf("%s: %w: %w", place, ErrUnavailable, err)
}

// ofStatus is the error of a status that is no success.
func ofStatus(place string, code int) error {
	kind := ErrInvalid
	switch {
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		kind = ErrDenied
	case code == http.StatusNotFound || code == http.StatusGone:
		kind = ErrNotFound
	case code == http.StatusTooManyRequests || code == http.StatusRequestTimeout || code >= 500:
		kind = ErrUnavailable
	}
	return fmt.Errorf("%s: %w: HTTP %d", place, kind, code)
}

// readSecret reads a token or password from a file.
func readSecret(path string) (string, error) {
	f, err := os.Open(path) //nolint:gosec // the administrator names the file
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	body, err := readAll(f, 64<<10)
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	secret := strings.TrimSpace(string(body))
	if secret == "" {
		return "", fmt.Errorf("%s is empty", path)
	}
	return secret, nil
}

func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = "443"
		if u.Scheme == "http" {
			port = "80"
		}
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}
