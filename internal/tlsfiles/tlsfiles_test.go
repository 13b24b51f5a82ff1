package tlsfiles

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// authority issues certificates for tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key := newKey(t)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert: cert, key: key, pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (a *authority) issue(t *testing.T, serial int64, change func(*x509.Certificate)) (cert, key []byte) {
	t.Helper()
	k := newKey(t)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	if change != nil {
		change(tmpl)
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &k.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
}

func put(t *testing.T, path string, body []byte) string {
	t.Helper()
	if err := os.WriteFile(path, body, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// served is a server that says hello over TLS.
type served struct {
	address string
	roots   *x509.CertPool
}

func serve(t *testing.T, f *Files, a *authority) served {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", f.Config())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "hello")
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	return served{l.Addr().String(), roots}
}

// hello connects and returns the server's serial number.
func (s served) hello(t *testing.T, client *tls.Certificate) (int64, error) {
	t.Helper()
	cfg := &tls.Config{RootCAs: s.roots, MinVersion: tls.VersionTLS12}
	if client != nil {
		cfg.Certificates = []tls.Certificate{*client}
	}
	d := tls.Dialer{Config: cfg}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, err := d.DialContext(ctx, "tcp", s.address)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if _, err := io.ReadAll(c); err != nil { // TLS 1.3 refuses a client here
		return 0, err
	}
	return c.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.Int64(), nil
}

func TestRenewedWithoutARestart(t *testing.T) {
	a, dir := newAuthority(t), t.TempDir()
	cert, key := a.issue(t, 2, nil)
	now := time.Now()
	var log bytes.Buffer
	cfg := Config{
		CertFile: put(t, filepath.Join(dir, "cert.pem"), cert), KeyFile: put(t, filepath.Join(dir, "key.pem"), key),
		Now: func() time.Time { return now }, Log: slog.New(slog.NewTextHandler(&log, nil)),
	}
	f, err := Load(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, f, a)
	want := func(serial int64) {
		t.Helper()
		if got, err := s.hello(t, nil); err != nil || got != serial {
			t.Errorf("certificate %d, %v; want %d", got, err, serial)
		}
	}
	want(2)
	cert, key = a.issue(t, 3, func(c *x509.Certificate) { c.Subject.CommonName = "renewed" })
	put(t, cfg.CertFile, cert)
	put(t, cfg.KeyFile, key)
	want(2) // looked at no sooner than every five seconds
	now = now.Add(time.Minute)
	want(3)
	put(t, cfg.CertFile, []byte("half a file"))
	now = now.Add(time.Minute)
	want(3)
	if !strings.Contains(log.String(), "the old ones stay") {
		t.Errorf("the log says %q", log.String())
	}
	if err := os.Remove(cfg.CertFile); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Minute)
	want(3)
}

func TestClientCertificates(t *testing.T) {
	a, other, dir := newAuthority(t), newAuthority(t), t.TempDir()
	cert, key := a.issue(t, 2, nil)
	cfg := Config{
		CertFile: put(t, filepath.Join(dir, "cert.pem"), cert), KeyFile: put(t, filepath.Join(dir, "key.pem"), key),
		ClientCAFile: put(t, filepath.Join(dir, "ca.pem"), a.pem), ClientNames: []string{"gateway.acme.test", "spiffe://acme.test/gateway", "old-gateway"},
	}
	f, err := Load(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, f, a)
	tests := []struct {
		name   string
		by     *authority
		change func(*x509.Certificate)
		ok     bool
	}{
		{"a DNS name that is wanted", a, func(c *x509.Certificate) { c.DNSNames = []string{"x.test", "gateway.acme.test"} }, true},
		{"a URI that is wanted", a, func(c *x509.Certificate) {
			c.URIs = []*url.URL{{Scheme: "spiffe", Host: "acme.test", Path: "/gateway"}}
		}, true},
		{"a common name, and no other", a, func(c *x509.Certificate) { c.Subject.CommonName = "old-gateway" }, true},
		{"a common name beside another name", a, func(c *x509.Certificate) {
			c.Subject.CommonName, c.DNSNames = "old-gateway", []string{"x.test"}
		}, false},
		{"another name", a, func(c *x509.Certificate) { c.DNSNames = []string{"evil.test"} }, false},
		{"no name", a, nil, false},
		{"another authority", other, func(c *x509.Certificate) { c.DNSNames = []string{"gateway.acme.test"} }, false},
		{"expired", a, func(c *x509.Certificate) {
			c.DNSNames, c.NotAfter = []string{"gateway.acme.test"}, time.Now().Add(-time.Minute)
		}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cert, key := tt.by.issue(t, 9, tt.change)
			pair, err := tls.X509KeyPair(cert, key)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.hello(t, &pair); (err == nil) != tt.ok {
				t.Errorf("%v, want it to work: %t", err, tt.ok)
			}
		})
	}
	if _, err := s.hello(t, nil); err == nil {
		t.Error("a caller without a certificate was let in")
	}
}

func TestLoadRefuses(t *testing.T) {
	a, dir := newAuthority(t), t.TempDir()
	cert, key := a.issue(t, 2, nil)
	good := put(t, filepath.Join(dir, "cert.pem"), cert)
	goodKey := put(t, filepath.Join(dir, "key.pem"), key)
	_, strange := a.issue(t, 3, nil)
	for name, cfg := range map[string]Config{
		"no certificate":     {CertFile: filepath.Join(dir, "absent.pem"), KeyFile: goodKey},
		"another one's key":  {CertFile: good, KeyFile: put(t, filepath.Join(dir, "other.pem"), strange)},
		"no authority":       {CertFile: good, KeyFile: goodKey, ClientCAFile: goodKey},
		"authority not here": {CertFile: good, KeyFile: goodKey, ClientCAFile: filepath.Join(dir, "absent.pem")},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Load(cfg); err == nil {
				t.Error("it was taken")
			}
		})
	}
}
