package main

import (
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"syscall"
	"testing"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/testkit/eventually"
)

// TestDecisionLogOfAServer: an endpoint that wants a certificate and a token gets the
// events, and a file that was moved away is opened anew on SIGHUP.
func TestDecisionLogOfAServer(t *testing.T) {
	w := newWorld(t, "")
	ca := newAuthority(w, "ca")
	service := ca.issueFor("logs.test")
	ca.issue("signet", 3)
	pool := x509.NewCertPool()
	authority, err := os.ReadFile(w.path("ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	pool.AppendCertsFromPEM(authority)
	var (
		mu     sync.Mutex
		images []string
		wrong  []string
	)
	endpoint := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if r.URL.Path != "/logs" || r.Header.Get("Authorization") != "Bearer of-the-log" || r.TLS.PeerCertificates[0].Subject.CommonName != "signet" {
			wrong = append(wrong, r.URL.Path)
		}
		var events []struct {
			Input struct {
				Image string `json:"image"`
			} `json:"input"`
		}
		gz, err := gzip.NewReader(r.Body)
		if err == nil {
			err = json.NewDecoder(gz).Decode(&events)
		}
		if err != nil {
			wrong = append(wrong, err.Error())
		}
		for _, e := range events {
			images = append(images, e.Input.Image)
		}
	}))
	endpoint.TLS = &tls.Config{Certificates: []tls.Certificate{service}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12}
	endpoint.StartTLS()
	t.Cleanup(endpoint.Close)
	w.file("log-token", []byte("of-the-log\n"))
	w.configure(fmt.Sprintf(`
decision_log:
  file: {path: decisions.jsonl}
  http:
    url: %q
    token_file: log-token
    ca_file: ca.pem
    cert_file: signet.pem
    key_file: signet.key
    reporting: {min_delay_seconds: 1, max_delay_seconds: 1}
`, endpoint.URL))
	w.admin()
	d := w.serve()
	ref, _ := w.keyless("acme/app")
	d.decides(ref, client.Deny)
	lines := func(name string) int {
		body, err := os.ReadFile(w.path(name))
		if err != nil {
			return -1
		}
		return bytes.Count(body, []byte{'\n'})
	}
	eventually.Holds(t, "the first is in the file", func() bool { return lines("decisions.jsonl") == 1 })
	if err := os.Rename(w.path("decisions.jsonl"), w.path("decisions.old")); err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually.Holds(t, "the file is there anew", func() bool { return lines("decisions.jsonl") == 0 })
	d.decides(ref, client.Deny)
	eventually.Holds(t, "the second is in the new file", func() bool { return lines("decisions.jsonl") == 1 && lines("decisions.old") == 1 })
	eventually.Holds(t, "both were sent", func() bool { mu.Lock(); defer mu.Unlock(); return len(images) == 2 })
	d.decides(ref, client.Deny) // and what waits at the end is
	d.stop(syscall.SIGTERM)
	mu.Lock()
	defer mu.Unlock()
	if len(images) != 3 || images[2] != ref || len(wrong) > 0 {
		t.Errorf("sent %q; wrong: %q", images, wrong)
	}
}
