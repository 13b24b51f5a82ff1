// Package tlsfiles serves TLS from PEM files that may change while they are in
// use: a certificate that was renewed is presented without a restart.
//
// Begin with [Load], which refuses files that cannot be used, and give
// [Files.Config] to a listener.
package tlsfiles

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"
)

// Config names the files.
type Config struct {
	// CertFile and KeyFile are the certificate, with its chain, and its key.
	CertFile, KeyFile string
	// ClientCAFile holds the authorities of client certificates. With it every
	// caller must present a certificate that one of them has issued.
	ClientCAFile string
	// ClientNames are the names of which a client certificate must have one: a DNS
	// name, a URI, or the common name of a certificate that has neither. None: any.
	ClientNames []string
	// Log is told when files that have changed cannot be used. Default: nobody.
	Log *slog.Logger
	// Every is how often files are looked at, at most. Default: 5 s.
	Every time.Duration
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// Files is safe for concurrent use.
type Files struct {
	cfg Config

	mu      sync.Mutex
	looked  time.Time
	stamps  []stamp
	current *tls.Config
}

// stamp tells whether a file is still the one that was read. A file that is
// replaced within one tick of the clock by one of the same size is not noticed.
type stamp struct {
	changed time.Time
	size    int64
}

// Load reads the files. Errors name the file and what is wrong with it.
func Load(cfg Config) (*Files, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Every <= 0 {
		cfg.Every = 5 * time.Second
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	f := &Files{cfg: cfg}
	stamps, err := f.stat()
	if err != nil {
		return nil, err
	}
	f.current, err = f.read()
	if err != nil {
		return nil, err
	}
	f.stamps, f.looked = stamps, cfg.Now()
	return f, nil
}

// Config is for a server. Each handshake uses the newest files that can be used.
func (f *Files) Config() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		NextProtos:         []string{"h2", "http/1.1"},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return f.newest(), nil },
	}
}

// newest reads the files again when they have changed. What cannot be used is
// reported, and what was in use stays.
func (f *Files) newest() *tls.Config {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.cfg.Now()
	if now.Sub(f.looked) < f.cfg.Every {
		return f.current
	}
	f.looked = now
	stamps, err := f.stat()
	if err == nil && slices.Equal(stamps, f.stamps) {
		return f.current
	}
	var fresh *tls.Config
	if err == nil {
		fresh, err = f.read()
	}
	if err != nil {
		f.cfg.Log.Error("TLS files have changed and cannot be used; the old ones stay", "error", err.Error())
		return f.current
	}
	f.cfg.Log.Info("TLS files were read again", "cert_file", f.cfg.CertFile)
	f.stamps, f.current = stamps, fresh
	return f.current
}

func (f *Files) stat() ([]stamp, error) {
	var stamps []stamp
	for _, path := range []string{f.cfg.CertFile, f.cfg.KeyFile, f.cfg.ClientCAFile} {
		if path == "" {
			continue
		}
		st, err := os.Stat(path)
		if err != nil {
			return nil, fmt.Errorf("reading the TLS files: %w", err)
		}
		stamps = append(stamps, stamp{st.ModTime(), st.Size()})
	}
	return stamps, nil
}

func (f *Files) read() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(f.cfg.CertFile, f.cfg.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("reading %s and %s: %w", f.cfg.CertFile, f.cfg.KeyFile, err)
	}
	cfg := &tls.Config{
		MinVersion:   tls.VersionTLS12,
		NextProtos:   []string{"h2", "http/1.1"},
		Certificates: []tls.Certificate{pair},
		// A session that is resumed would be judged by files that have gone.
		SessionTicketsDisabled: true,
	}
	if f.cfg.ClientCAFile == "" {
		return cfg, nil
	}
	pem, err := os.ReadFile(f.cfg.ClientCAFile)
	if err != nil {
		return nil, fmt.Errorf("reading the TLS files: %w", err)
	}
	cfg.ClientCAs = x509.NewCertPool()
	if !cfg.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("reading %s: it holds no certificate in PEM", f.cfg.ClientCAFile)
	}
	cfg.ClientAuth = tls.RequireAndVerifyClientCert
	cfg.VerifyConnection = f.checkName
	return cfg, nil
}

// errName goes to the log of the server; the caller sees a failed handshake.
var errName = errors.New("the client certificate has none of the names that are wanted")

func (f *Files) checkName(s tls.ConnectionState) error {
	if len(f.cfg.ClientNames) == 0 {
		return nil
	}
	if len(s.PeerCertificates) == 0 {
		return errName
	}
	if !slices.ContainsFunc(names(s.PeerCertificates[0]), func(n string) bool { return slices.Contains(f.cfg.ClientNames, n) }) {
		return errName
	}
	return nil
}

// names are what a certificate says about who holds it. The common name counts
// only where there is no other (RFC 6125, section 6.4.4).
func names(c *x509.Certificate) []string {
	list := slices.Clone(c.DNSNames)
	for _, u := range c.URIs {
		list = append(list, u.String())
	}
	if len(list) == 0 && c.Subject.CommonName != "" {
		list = append(list, c.Subject.CommonName)
	}
	return list
}
