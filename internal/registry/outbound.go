package registry

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// OutboundConfig is what [NewOutbound] works with.
type OutboundConfig struct {
	// CAFiles are trusted beside the system's.
	CAFiles []string
	// ProxyURL is used for all hosts but this machine; "" is none.
	ProxyURL string
	// AllowPrivate allows loopback and private addresses.
	AllowPrivate bool
}

// NewOutbound makes a client for hosts that are no registries, such as those of
// webhooks, on the same transport: the address is checked when dialling. It follows
// no redirects: what was meant for one host is not sent to another.
func NewOutbound(cfg OutboundConfig) (*http.Client, error) {
	roots, err := certPool(cfg.CAFiles)
	if err != nil {
		return nil, err
	}
	var proxy *url.URL
	if cfg.ProxyURL != "" {
		if proxy, err = url.Parse(cfg.ProxyURL); err != nil {
			return nil, errors.New("the proxy is not a URL")
		}
	}
	t := newTransport(Config{}, roots, proxy, !cfg.AllowPrivate)
	t.TLSHandshakeTimeout = 10 * time.Second
	return &http.Client{
		Transport:     outbound{t, !cfg.AllowPrivate && proxy != nil},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// outbound checks what a proxy would resolve by its spelling, as a registry's host
// is.
type outbound struct {
	*http.Transport
	spelling bool
}

// RoundTrip sends one request.
func (t outbound) RoundTrip(r *http.Request) (*http.Response, error) {
	if t.spelling {
		if err := literalRefused(r.URL.Hostname()); err != nil {
			return nil, fmt.Errorf("host %s: %w", r.URL.Hostname(), err)
		}
	}
	return t.Transport.RoundTrip(r)
}
