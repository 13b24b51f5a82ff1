package main

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/api"
	"github.com/signet-policy/signet/internal/testkit/eventually"
	"github.com/signet-policy/signet/internal/testkit/kmstest"
	"github.com/signet-policy/signet/internal/testkit/sigstack"
)

// signedByKMS pushes an image that the newest version of k has signed, over the wire.
func (w *world) signedByKMS(k *kmstest.Key, content string) string {
	w.Helper()
	return w.image("acme/app", content, sigstack.SignRequest{Key: sigstack.KeyFrom(k.Signer(w), sigstack.ECDSAP256SHA256), Log: sigstack.RekorV1()})
}

// check is what /readyz says of a check to who has a token, and its status.
func (d *daemon) check(name string) (c api.CheckOutcome, status int) {
	d.world.Helper()
	a, err := d.world.ask(http.DefaultClient, http.MethodGet, d.address+"/readyz", d.world.token, "")
	if err != nil {
		d.world.Fatal(err)
	}
	var body struct{ Checks []api.CheckOutcome }
	if err := json.Unmarshal([]byte(a.body), &body); err != nil {
		d.world.Fatal(err)
	}
	if i := slices.IndexFunc(body.Checks, func(c api.CheckOutcome) bool { return c.Name == name }); i >= 0 {
		c = body.Checks[i]
	}
	return c, a.status
}

// refreshed reads the key of a signer now, and returns the signer as it is then.
func (d *daemon) refreshed(name string) client.Signer {
	d.world.Helper()
	page, err := d.Signers(d.world.Context(), client.SignerFilter{Query: name})
	if err != nil || len(page.Items) != 1 {
		d.world.Fatalf("signers: %+v (%v)", page.Items, err)
	}
	s, err := d.RefreshKey(d.world.Context(), page.Items[0].ID)
	var p *client.Problem
	if errors.As(err, &p) && p.Status == http.StatusPreconditionFailed { // the server's own work in the background was first
		s, err = d.RefreshKey(d.world.Context(), page.Items[0].ID)
	}
	if err != nil {
		d.world.Fatal(err)
	}
	return s
}

// A key in each kind of service, from the first signature to the day it is lost:
// sigstore's own clients, real signatures, the service's protocol.
func TestKMS(t *testing.T) {
	type service struct {
		key   *kmstest.Key
		env   []string
		hosts string
		*kmstest.Faults
	}
	for _, tt := range []struct {
		name string
		make func(w *world) service
	}{
		{"Vault", func(w *world) service {
			v := kmstest.NewVault(w)
			return service{v.Key("release", kmstest.ECDSAP256), v.Environment(), "", v.Faults}
		}},
		{"AWS", func(w *world) service {
			a := kmstest.NewAWS(w)
			return service{a.Key("release", kmstest.ECDSAP256), a.Environment(), a.Host, a.Faults}
		}},
		{"Google", func(w *world) service {
			g := kmstest.NewGCP(w)
			return service{g.Key("release", kmstest.ECDSAP256), append(g.Environment(), w.google(g)...), "", g.Faults}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, "offline: false")
			s := tt.make(w)
			w.env = append(w.env, s.env...)
			w.configure(fmt.Sprintf("offline: false\nkms: {allowed_hosts: [%q], refresh: 1s, timeout: 10s}", s.hosts))
			if s.hosts == "" {
				w.configure("offline: false\nkms: {refresh: 1s, timeout: 10s}")
			}
			w.admin()
			d := w.serve()
			w.do("signers", "add", "--name", "release", "--kms", s.key.Reference(), "--why", "our release key")
			first := w.signedByKMS(s.key, "first")
			d.decides(first, client.Allow)
			if c, status := d.check("kms.release"); !c.OK || status != http.StatusOK {
				t.Errorf("/readyz: %d %+v", status, c)
			}

			// It rotates: the log says so, and the new key waits. Whoever signs with it
			// is not trusted yet.
			s.key.Rotate()
			second := w.signedByKMS(s.key, "second")
			d.decides(second, client.Deny)
			waits := d.refreshed("release")
			if waits.KMS == nil || waits.KMS.Pending == nil {
				t.Fatalf("after a rotation the signer is %+v", waits.KMS)
			}
			d.refreshed("release") // seen twice, said once
			if audit := w.do("audit", "list", "--limit", "0"); strings.Count(audit, "signer.key_seen") != 1 {
				t.Errorf("the audit log of a rotation:\n%s", audit)
			}
			if c, status := d.check("kms.release"); !c.OK || status != http.StatusOK {
				t.Errorf("/readyz after a rotation: %d %+v", status, c)
			}
			d.decides(first, client.Allow)
			d.decides(second, client.Deny)

			// The service goes away: the last key stays, and the server is as ready.
			s.Down()
			w.fails(exitFailure, "the last key stays in use", "signers", "refresh-key", "release")
			eventually.Holds(t, "readiness names the key that cannot be read", func() bool {
				c, status := d.check("kms.release")
				if status != http.StatusOK {
					t.Errorf("/readyz without the service: %d", status)
				}
				return !c.OK && c.Optional && strings.Contains(c.Error, "is in use")
			})
			if v, err := d.Verify(t.Context(), client.VerdictRequest{Image: first, Refresh: true}); err != nil || v.Decision != client.Allow {
				t.Errorf("without the service: %s (%v)", v.Decision, err)
			}
			s.Heal()

			// Accepted, both keys count.
			w.fails(exitUsage, "accept it: signet signers accept-key release --fingerprint "+waits.KMS.Pending.Fingerprint, "signers", "accept-key", "release")
			w.fails(exitUsage, "the key that waits is "+waits.KMS.Pending.Fingerprint, "signers", "accept-key", "release", "--fingerprint", strings.Repeat("0", 64))
			w.do("signers", "accept-key", "release", "--fingerprint", waits.KMS.Pending.Fingerprint, "--why", "the yearly rotation")
			d.decides(first, client.Allow)
			d.decides(second, client.Allow)
			eventually.Holds(t, "the key can be read again", func() bool { c, _ := d.check("kms.release"); return c.OK })

			// And the next one, the keys before it dropped.
			s.key.Rotate()
			third := w.signedByKMS(s.key, "third")
			fingerprint := d.refreshed("release").KMS.Pending.Fingerprint
			w.do("signers", "accept-key", "release", "--fingerprint", fingerprint, "--drop-previous")
			d.decides(first, client.Deny)
			d.decides(second, client.Deny)
			d.decides(third, client.Allow)

			// With auto_rotate nobody is asked: the server sees it by itself.
			w.do("signers", "update", "release", "--auto-rotate")
			s.key.Rotate()
			fourth := w.signedByKMS(s.key, "fourth")
			if tt.name != "Vault" { // the work in the background is the same for all
				d.refreshed("release")
			}
			eventually.Holds(t, "the new key is taken", func() bool { return w.verdict(d.Client, fourth).Decision == client.Allow })
			d.decides(third, client.Allow)
			audit := w.do("audit", "list", "--limit", "0")
			for _, action := range []string{"signer.rotate", "signer.accept_key", "the yearly rotation", "our release key"} {
				if !strings.Contains(audit, action) {
					t.Errorf("the audit log has no %q:\n%s", action, audit)
				}
			}

			// The day it is lost: what it let in, and no more of it.
			out := w.do("signers", "compromise", "release", "--since", "2020-01-01T00:00:00Z", "--why", "stolen")
			for _, ref := range []string{first, second, third, fourth} {
				if _, digest, _ := strings.Cut(ref, "@"); !strings.Contains(out, digest) {
					t.Errorf("%s is not among the digests affected:\n%s", ref, out)
				}
			}
			v := d.decides(fourth, client.Deny)
			if len(v.Reasons) == 0 || v.Reasons[0].Nearest == nil || v.Reasons[0].Nearest.Field != "signed_until" {
				t.Errorf("the reason is %+v", v.Reasons)
			}
		})
	}
}

// google lets a process reach a double of Cloud KMS, whose address is fixed: by a
// proxy that has a certificate for the service's name.
func (w *world) google(g *kmstest.GCP) (env []string) {
	w.Helper()
	const host = "cloudkms.googleapis.com"
	cert := newAuthority(w, "proxy").issueFor(host)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { _ = l.Close() })
	pass := func(c net.Conn) {
		defer func() { _ = c.Close() }()
		r := bufio.NewReader(c)
		req, err := http.ReadRequest(r)
		if err != nil || req.Method != http.MethodConnect || req.Host != host+":443" {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
		in := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12})
		out, err := tls.Dial("tcp", g.Endpoint, &tls.Config{RootCAs: g.RootCAs, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12})
		if err != nil {
			return
		}
		defer func() { _ = out.Close() }()
		go func() { _, _ = io.Copy(out, in); _ = out.Close() }()
		_, _ = io.Copy(in, out)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go pass(c)
		}
	}()
	return []string{"SSL_CERT_FILE=" + w.path("proxy.pem"), "HTTPS_PROXY=http://" + l.Addr().String(), "NO_PROXY=127.0.0.1"}
}

// What cannot be read makes no signer, and says why without a secret.
func TestKMSRefused(t *testing.T) {
	w := newWorld(t, "offline: false\nkms: {timeout: 10s}")
	v, a := kmstest.NewVault(w), kmstest.NewAWS(w)
	w.env = append(append(w.env, v.Environment()...), a.Environment()...)
	v.Key("release", kmstest.ECDSAP256)
	v.Key("secret", kmstest.Symmetric)
	elsewhere := a.Key("release", kmstest.ECDSAP256).Reference()
	add := func(ref, says string) {
		t.Helper()
		w.fails(exitUsage, says, "signers", "add", "--name", "release", "--kms", ref)
	}
	add("hashivault://none", "kms_key_ref: The key cannot be read: hashivault://none: no such key")
	add("hashivault://secret", "not a key to verify signatures with")
	add(elsewhere, "kms.allowed_hosts")
	add("awskms:///no-alias", "kms_key_ref")
	add("kms://x", "kms_key_ref")
	v.Deny()
	add("hashivault://release", "access denied")
	v.Heal()
	v.Seal()
	add("hashivault://release", "HTTP 503")
	v.Heal()
	v.Slow(time.Minute)
	add("hashivault://release", "no answer in time")
	v.Heal()
	if out := w.do("signers", "list", "--json"); out != "[]\n" {
		t.Errorf("after all that there are signers:\n%s", out)
	}
	code, out, errs := w.run("audit", "list")
	if code != exitAllow || strings.Contains(out+errs, v.Token) {
		t.Errorf("audit list: exit code %d\n%s%s", code, out, errs)
	}
	w.configure("offline: true")
	add("hashivault://release", "kms_key_ref")
}

// The key of a policy's own kms signer is read when the server starts. When the
// service is away then, the one that was pinned before serves.
func TestKMSInPolicy(t *testing.T) {
	const conf = "offline: false\nkms: {timeout: 10s}\nsigning_policy: {trusted_signers: [{type: kms, key_ref: \"hashivault://release\"}]}"
	w := newWorld(t, conf)
	v := kmstest.NewVault(w)
	w.env = append(w.env, v.Environment()...)
	key := v.Key("release", kmstest.ECDSAP256)
	v.Down()
	w.refuses("hashivault://release") // nothing to go by yet
	v.Heal()
	w.admin()
	d := w.serve()
	first := w.signedByKMS(key, "first")
	d.decides(first, client.Allow)
	if out := w.do("policies", "show", "default"); !strings.Contains(out, "key_ref: hashivault://release") || !strings.Contains(out, "BEGIN PUBLIC KEY") {
		t.Errorf("the policy reads\n%s", out)
	}
	d.stop(syscall.SIGTERM)
	v.Down()
	d = w.serve()
	d.decides(first, client.Allow)
	d.stop(syscall.SIGTERM)
	v.Heal()
	key.Rotate()
	second := w.signedByKMS(key, "second")
	d = w.serve()
	d.decides(second, client.Allow)
	d.decides(first, client.Deny)
}
