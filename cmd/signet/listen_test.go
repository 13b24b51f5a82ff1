package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/testkit/eventually"
	"github.com/signet-policy/signet/internal/testkit/freeport"
)

// authority issues certificates.
type authority struct {
	w    *world
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(w *world, name string) *authority {
	w.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		w.Fatal(err)
	}
	a := &authority{w: w, key: key, cert: &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}}
	der, err := x509.CreateCertificate(rand.Reader, a.cert, a.cert, key.Public(), key)
	if err != nil {
		w.Fatal(err)
	}
	w.file(name+".pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return a
}

// issueFor is a certificate for a server of that name.
func (a *authority) issueFor(host string) tls.Certificate { return a.issue(host, 2, host) }

// issue writes NAME.pem and NAME.key, for 127.0.0.1 and these names and with that
// common name, and returns the pair.
func (a *authority) issue(name string, serial int64, hosts ...string) tls.Certificate {
	a.w.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.w.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: hosts, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, key.Public(), a.key)
	if err != nil {
		a.w.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.w.Fatal(err)
	}
	a.w.file(name+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
	a.w.file(name+".pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// caller is a client of one connection at a time that trusts the authority named
// ca, and presents a certificate where it has one.
func (w *world) caller(ca string, certs ...tls.Certificate) *http.Client {
	w.Helper()
	body, err := os.ReadFile(w.path(ca + ".pem"))
	if err != nil {
		w.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(body)
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: certs, MinVersion: tls.VersionTLS12},
	}}
}

// onSocket is a client that speaks to a Unix socket.
func onSocket(path string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		},
	}}
}

// The main address speaks TLS, and presents a certificate that was renewed without
// a restart.
func TestCertificateRenewed(t *testing.T) {
	w := newWorld(t, "tls: {cert_file: server.pem, key_file: server.key}")
	ca := newAuthority(w, "ca")
	ca.issue("server", 2)
	w.admin()
	d := w.serve()
	if !strings.HasPrefix(d.address, "https://") {
		t.Fatalf("it listens at %s", d.address)
	}
	w.env = append(w.env, "SIGNET_TOKEN="+w.token)
	if out := w.do("whoami", "--server", d.address, "--ca-file", w.path("ca.pem")); !strings.Contains(out, "admin") {
		t.Errorf("whoami says\n%s", out)
	}
	w.fails(exitFailure, "certificate", "whoami", "--server", d.address)

	h := w.caller("ca")
	serial := func() int64 {
		res, err := h.Get(d.address + "/healthz")
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		return res.TLS.PeerCertificates[0].SerialNumber.Int64()
	}
	if n := serial(); n != 2 {
		t.Fatalf("certificate %d", n)
	}
	ca.issue("server", 3)
	eventually.Holds(t, "the new certificate is presented", func() bool { return serial() == 3 })
}

func TestListeners(t *testing.T) {
	w := newWorld(t, "")
	addresses := make([]string, 4)
	for i := range addresses {
		var err error
		if addresses[i], err = freeport.Address(); err != nil {
			t.Fatal(err)
		}
	}
	socket := w.path("s.sock")
	w.configure(fmt.Sprintf(`
listeners:
  - {address: %q, protocols: [rest], authentication: mtls, client_names: [gate.example], tls: {cert_file: server.pem, key_file: server.key, client_ca_file: clients.pem}, principal: {name: gate, role: verifier, images: ["%s/acme/**"]}}
  - {address: %q, protocols: [rest], authentication: none_on_loopback, principal: {name: agent, role: viewer}}
  - {address: "unix:%s", protocols: [rest], authentication: socket, principal: {name: local, role: admin, team: red, images: ["**"]}}
  - {address: %q, protocols: [rest], authentication: token}
  - {address: %q, protocols: [opa], authentication: token}
`, addresses[0], w.registry.Host(), addresses[1], socket, addresses[2], addresses[3]))
	newAuthority(w, "ca").issue("server", 2)
	clients := newAuthority(w, "clients")
	right, wrong := clients.issue("gate.example", 3), clients.issue("other.example", 4)
	stranger := newAuthority(w, "strangers").issue("gate.example", 5)

	// A socket that a server left behind is no obstacle.
	stale, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	stale.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = stale.Close()
	w.admin()
	d := w.serve()
	ref, signer := w.keyless("acme/app")
	d.create(signer)

	t.Run("mtls", func(t *testing.T) {
		w, url := w.under(t), "https://"+addresses[0]+"/api/v1"
		h := w.caller("ca", right)
		a, err := w.ask(h, http.MethodGet, url+"/whoami", "", "")
		w.wants("the right certificate", a, err, http.StatusOK, `"name":"gate","role":"verifier"`)
		a, err = w.ask(h, http.MethodPost, url+"/verdicts", "", `{"image":"`+ref+`"}`)
		w.wants("a verdict", a, err, http.StatusOK, `"decision":"allow"`)
		a, err = w.ask(h, http.MethodPost, url+"/verdicts", "", `{"image":"`+w.registry.Host()+`/other/app:v1"}`)
		w.wants("another image", a, err, http.StatusForbidden, "image_out_of_scope")
		a, err = w.ask(h, http.MethodGet, url+"/tokens", "", "")
		w.wants("what is an administrator's", a, err, http.StatusForbidden, "role_missing")
		a, err = w.ask(h, http.MethodGet, url+"/whoami", w.token, "")
		w.wants("a token too", a, err, http.StatusBadRequest, "token_unexpected")
		a, err = w.ask(h, http.MethodGet, strings.Replace(url, "https:", "http:", 1)+"/whoami", "", "")
		w.wants("plain HTTP", a, err, http.StatusBadRequest, "HTTPS server")
		for what, h := range map[string]*http.Client{"another name": w.caller("ca", wrong), "no certificate": w.caller("ca"), "a stranger's": w.caller("ca", stranger)} {
			if a, err := w.ask(h, http.MethodGet, url+"/whoami", "", ""); err == nil {
				t.Errorf("%s: %d %s", what, a.status, a.body)
			}
		}
	})
	t.Run("none_on_loopback", func(t *testing.T) {
		w, url := w.under(t), "http://"+addresses[1]+"/api/v1"
		a, err := w.ask(http.DefaultClient, http.MethodGet, url+"/whoami", "", "")
		w.wants("anybody here", a, err, http.StatusOK, `"name":"agent"`)
		a, err = w.ask(http.DefaultClient, http.MethodGet, url+"/whoami", "", "", "Host: localhost:1")
		w.wants("as localhost", a, err, http.StatusOK, `"name":"agent"`)
		for _, header := range []string{"Host: evil.example", "Host: evil.example:80", "Host: localhost.evil.example", "Host: 169.254.169.254", "Origin: http://evil.example", "Origin: null"} {
			a, err = w.ask(http.DefaultClient, http.MethodGet, url+"/whoami", "", "", header)
			w.wants(header, a, err, http.StatusForbidden, "this machine only")
		}
		a, err = w.ask(http.DefaultClient, http.MethodPost, url+"/verdicts", "", `{"image":"`+ref+`"}`)
		w.wants("a viewer asks", a, err, http.StatusForbidden, "role_missing")
		a, err = w.ask(http.DefaultClient, http.MethodGet, url+"/whoami", w.token, "")
		w.wants("a token too", a, err, http.StatusBadRequest, "token_unexpected")
	})
	t.Run("socket", func(t *testing.T) {
		w, h := w.under(t), onSocket(socket)
		if st, err := os.Stat(socket); err != nil || st.Mode().Perm() != 0o660 {
			t.Errorf("the socket is %v (%v)", st.Mode(), err)
		}
		a, err := w.ask(h, http.MethodGet, "http://localhost/api/v1/whoami", "", "")
		w.wants("the socket", a, err, http.StatusOK, `"name":"local","role":"admin","team":"red"`)
		a, err = w.ask(h, http.MethodPost, "http://localhost/api/v1/secret/rotate", "", "")
		w.wants("what no team may", a, err, http.StatusForbidden, "not_yours")
		// What it changes is its team's, and the log says who did it.
		a, err = w.ask(h, http.MethodPost, "http://localhost/api/v1/tokens", "", `{"name":"red-ci","role":"verifier","images":["**"]}`)
		w.wants("a token", a, err, http.StatusCreated, `"team":"red"`)
		a, err = w.ask(http.DefaultClient, http.MethodGet, d.address+"/api/v1/audit?limit=1", w.token, "")
		w.wants("the audit log", a, err, http.StatusOK, `"actor":"local"`)
	})
	t.Run("token", func(t *testing.T) {
		w, url := w.under(t), "http://"+addresses[2]+"/api/v1"
		a, err := w.ask(http.DefaultClient, http.MethodGet, url+"/whoami", w.token, "")
		w.wants("a token", a, err, http.StatusOK, `"name":"first"`)
		a, err = w.ask(http.DefaultClient, http.MethodGet, url+"/whoami", "", "")
		w.wants("no token", a, err, http.StatusUnauthorized, "token_missing")
		a, err = w.ask(http.DefaultClient, http.MethodGet, "http://"+addresses[2]+"/admin/security/signing/login", "", "")
		w.wants("the page, which is a face of REST", a, err, http.StatusOK, "Log in")
	})
	t.Run("without REST", func(t *testing.T) {
		w, url := w.under(t), "http://"+addresses[3]
		for _, path := range []string{"/api/v1/whoami", "/admin/security/signing", "/admin/security/signing/login"} {
			a, err := w.ask(http.DefaultClient, http.MethodGet, url+path, w.token, "")
			w.wants(path, a, err, http.StatusNotFound, "")
		}
	})
	if !d.said("without authentication", "agent") {
		t.Error("nothing warns of the listener without authentication")
	}

	// What answers on the socket already is not pushed aside.
	other := newWorldLike(w, fmt.Sprintf("listeners: [{address: %q, protocols: [rest], authentication: socket, principal: {name: x, role: viewer}}]", "unix:"+socket))
	other.refuses("another process answers on " + socket)
	d.stop(syscall.SIGTERM)
	if _, err := os.Lstat(socket); err == nil {
		t.Error("the socket is still there after the end")
	}
	if _, err := d.Whoami(context.Background()); err == nil || client.IsUnauthorized(err) {
		t.Errorf("after the end: %v", err)
	}
}

// What cannot be served is said at the start, and names what to change.
func TestListenersThatCannotStart(t *testing.T) {
	w := newWorld(t, "")
	newAuthority(w, "ca").issue("server", 2)
	newAuthority(w, "other").issue("else", 3)
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	one := func(rest string) string { return "listeners: [{protocols: [rest], " + rest + "}]" }
	for _, tt := range []struct{ name, config, says string }{
		{"clear text on the network", "listen: 0.0.0.0:0", "listen: 0.0.0.0:0 is not a loopback address"},
		{"no such certificate", "tls: {cert_file: none.pem, key_file: server.key}", "tls: reading the TLS files"},
		{"another one's key", "tls: {cert_file: server.pem, key_file: else.key}", "tls: reading "},
		{"a busy address", "listen: " + busy.Addr().String(), "choose another address with --listen"},
		{"a busy listener", one("address: \"" + busy.Addr().String() + "\", authentication: token"), "listeners[0]: listen: "},
		{"no authentication on the network", one("address: \"0.0.0.0:0\", authentication: none_on_loopback, principal: {name: x, role: viewer}"), "listeners[0].authentication: none_on_loopback is for loopback addresses alone"},
		{"no authentication and everything", one("address: \"127.0.0.1:0\", authentication: none_on_loopback, principal: {name: x, role: admin}"), "listeners[0].principal.role: without authentication it may be viewer or verifier, not admin"},
		{"nobody", one("address: \"unix:/tmp/x\", authentication: socket"), "listeners[0].principal: is missing"},
		{"a bad pattern", one("address: \"127.0.0.1:0\", authentication: none_on_loopback, principal: {name: x, role: viewer, images: [\"[\"]}"), "listeners[0]: principal: "},
		{"no socket", one("address: \"unix:" + w.path("root.json") + "\", authentication: socket, principal: {name: x, role: viewer}"), "is there and is not a socket"},
		{"client certificates of nobody", one("address: \"127.0.0.1:0\", authentication: mtls, principal: {name: x, role: viewer}, tls: {cert_file: server.pem, key_file: server.key, client_ca_file: server.key}"), "it holds no certificate in PEM"},
		{"a protocol to come", strings.Replace(one("address: \"127.0.0.1:0\", authentication: token"), "rest", "admission", 1), "listeners[0].protocols: admission comes with a later version"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := w.under(t)
			w.configure(tt.config)
			w.refuses(tt.says)
			if _, err := os.Stat(w.path("root.json")); err != nil {
				t.Error(err)
			}
		})
	}
}
