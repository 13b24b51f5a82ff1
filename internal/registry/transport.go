package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"
)

// transports are two connection pools that differ in one thing: guarded ones
// refuse addresses that are not public when dialling. Connections of the one are
// never reused by the other, so which addresses a request may reach is decided
// by the choice of pool alone (see [Client.transport]).
type transports struct {
	guarded, direct *http.Transport
}

func newTransports(cfg Config, roots *x509.CertPool, proxy *url.URL) *transports {
	return &transports{
		guarded: newTransport(cfg, roots, proxy, true),
		direct:  newTransport(cfg, roots, proxy, false),
	}
}

func newTransport(cfg Config, roots *x509.CertPool, proxy *url.URL, checked bool) *http.Transport {
	t := &http.Transport{
		DialContext:       newDialer(cfg, checked).DialContext,
		TLSClientConfig:   &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		ForceAttemptHTTP2: true,
		// Go would ask for gzip and unpack whatever comes, without a limit: what
		// is hashed here are the bytes that were sent (threat 39).
		DisableCompression:     true,
		MaxIdleConns:           64,
		MaxIdleConnsPerHost:    max(cfg.Limits.Parallel, 8),
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 256 << 10,
		// No time limits here: each request's context has one for all of it.
	}
	if proxy == nil {
		return t
	}
	t.Proxy = func(r *http.Request) (*url.URL, error) {
		if isLoopback(addressOf(r.URL)) {
			return nil, nil // a proxy's loopback is not ours
		}
		return proxy, nil
	}
	// The administrator named the proxy, so its own address is not checked. What
	// it is asked to reach is checked by spelling, see [Client.roundTrip].
	dial, plain, address := t.DialContext, newDialer(cfg, false), addressOf(proxy)
	t.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if addr == address {
			return plain.DialContext(ctx, network, addr)
		}
		return dial(ctx, network, addr)
	}
	return t
}

func (t *transports) close() {
	t.guarded.CloseIdleConnections()
	t.direct.CloseIdleConnections()
}

// certPool gives the system's roots and those of files, or nil (which stands for
// the system's) without files.
func certPool(files []string) (*x509.CertPool, error) {
	if len(files) == 0 {
		return nil, nil //nolint:nilnil // nil is crypto/tls's word for the system's roots
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("reading the system's certificates: %w", err)
	}
	for _, f := range files {
		pem, err := os.ReadFile(f) //nolint:gosec // the administrator names the file
		if err != nil {
			return nil, fmt.Errorf("CA file: %w", err)
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("CA file %s: no PEM certificate in it", f)
		}
	}
	return pool, nil
}

// transport chooses the connection pool for a request made on behalf of the
// registry e. Only e's own hosts, as named in configuration or by a caller who
// owns the machine, can be at private addresses; whatever else the registry
// leads to is dialled with the check, whether another registry may be private or
// not.
func (c *Client) transport(e *endpoint, u *url.URL) (t http.RoundTripper, guarded bool) {
	set, own := c.shared, e.open[addressOf(u)]
	if own && e.own != nil {
		set = e.own
	}
	if own && e.private() {
		return set.direct, false
	}
	return set.guarded, true
}
