package attacks

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/registry"
	"github.com/signet-policy/signet/internal/testkit/ocitest"
	"github.com/signet-policy/signet/internal/testkit/registrytest"
	"github.com/signet-policy/signet/internal/verdict"
)

// Network and credentials: threats 44 to 46.
func TestNetwork(t *testing.T) {
	t.Parallel()
	play(t, []attack{
		{
			threat: "45 the next page is on another host",
			do: func(w *world) {
				away := registrytest.New(w, registrytest.Options{})
				w.server.On(registrytest.Referrers(""), registrytest.Link("<"+away.URL()+`/v2/x/referrers/y>; rel="next"`))
				w.Cleanup(func() { silent(w.T, away) })
			},
			decision: verdict.Unknown, reason: evidence.CodeRedirectRefused,
			// A good signature on the first page is enough for a monotone policy.
			beside: verdict.Allow,
		},
		{
			threat: "45 manifests are elsewhere",
			do: func(w *world) {
				away := registrytest.New(w, registrytest.Options{})
				w.server.On(registrytest.Manifest(tag), registrytest.Redirect(away.URL()))
				w.Cleanup(func() { silent(w.T, away) })
			},
			decision: verdict.Unknown, reason: evidence.CodeRedirectRefused, beside: verdict.Unknown,
		},
		{
			threat: "45 a blob is elsewhere, in the clear",
			do: func(w *world) {
				m := w.signed()
				away := w.server.Mirror(false)
				w.server.On(registrytest.Blob(ocitest.Digest(m.Blobs[len(m.Blobs)-1])), registrytest.Redirect(away.URL()))
				w.Cleanup(func() {
					if n := len(away.Requests()); n != 0 {
						w.Errorf("%d requests went there", n)
					}
				})
			},
			decision: verdict.Unknown, reason: evidence.CodeRedirectRefused,
		},
		{
			threat: "45 a blob is elsewhere, inward",
			do: func(w *world) {
				m := w.signed()
				away := w.server.Mirror(true) // https, on loopback, and not allowed by name
				w.server.On(registrytest.Blob(ocitest.Digest(m.Blobs[len(m.Blobs)-1])), registrytest.Redirect(away.URL()))
				w.Cleanup(func() {
					if n := len(away.Requests()); n != 0 {
						w.Errorf("%d requests went there", n)
					}
				})
			},
			decision: verdict.Unknown, reason: evidence.CodeAddressRefused,
		},
		{
			threat: "45 the token realm is elsewhere", options: registrytest.Options{Auth: &registrytest.Auth{
				Username: "u", Password: "secret", Realm: "http://127.0.0.1:9/token",
			}},
			do: func(w *world) {
				w.registry.Registries[0].Username, w.registry.Registries[0].Password = "u", "secret"
			},
			decision: verdict.Unknown, reason: evidence.CodeUnauthorized, beside: verdict.Unknown,
		},
		{
			threat: "46 registry that is not on the list",
			do: func(w *world) {
				w.registry.Allow = []string{"ghcr.io/acme/**"}
				w.signed()
				w.Cleanup(func() { silent(w.T, w.server) })
			},
			decision: verdict.Unknown, reason: evidence.CodeNotAllowed, beside: verdict.Unknown,
		},
	})
}

func silent(t *testing.T, s *registrytest.Server) {
	t.Helper()
	if n := len(s.Requests()); n != 0 {
		t.Errorf("%d requests went to %s", n, s.Host())
	}
}

// A caller over HTTP cannot make us look into the network that we run in, by any
// name (threat 44). The engine is wired as the server wires it: no private
// addresses, no layouts.
func TestThreat44InwardImages(t *testing.T) {
	t.Parallel()
	var hits atomic.Int32
	inward := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	defer inward.Close()
	_, port, err := net.SplitHostPort(inward.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, registrytest.Options{})
	w.registry.Registries = nil
	for _, host := range []string{
		"127.0.0.1:" + port, "localhost:" + port, "[::1]:" + port, "[::ffff:127.0.0.1]:" + port, "0.0.0.0:" + port,
		"10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "[fd00:ec2::254]", "[fe80::1]", "[64:ff9b::7f00:1]:" + port,
	} {
		req := w.ask
		req.Image = host + "/app:v1"
		answer, v := w.decide(req)
		if v.Decision != verdict.Unknown || v.Allowed || v.Reasons[0].Code != evidence.CodeAddressRefused {
			t.Errorf("%s: %s, %+v", host, v.Decision, v.Reasons)
		}
		if answer.RetryAfter <= 0 {
			t.Errorf("%s: does not say when to ask again", host)
		}
	}
	if hits.Load() != 0 {
		t.Errorf("%d requests came through", hits.Load())
	}
}

// Blobs may be elsewhere: over https, where configuration allows it, and without
// our credentials (threat 45).
func TestThreat45CredentialsStayAtHome(t *testing.T) {
	t.Parallel()
	w := newWorld(t, registrytest.Options{TLS: true, Auth: &registrytest.Auth{Username: "u", Password: "secret"}})
	away := w.server.Mirror(true)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, append(w.server.CAPEM(), away.CAPEM()...), 0o600); err != nil {
		t.Fatal(err)
	}
	w.registry.Registries = []registry.Settings{{
		Host: w.server.Host(), AllowPrivate: true, CAFile: ca, Username: "u", Password: "secret", BlobHosts: []string{away.Host()},
	}}
	w.signed()
	w.server.On(registrytest.Blob(""), registrytest.Redirect(away.URL()))
	if _, v := w.decide(w.ask); v.Decision != verdict.Allow {
		t.Errorf("%s: %+v", v.Decision, v.Reasons)
	}
	requests := away.Requests()
	if len(requests) == 0 {
		t.Error("no blob was fetched from the other host")
	}
	for _, r := range requests {
		if r.Authorization != "" {
			t.Errorf("%s %s was sent credentials", r.Method, r.Path)
		}
	}
}

// A registry that a caller names gets no credentials but its own (threat 46): not
// by asking for them, and not by sending us for a token elsewhere.
func TestThreat46HarvestingRegistry(t *testing.T) {
	t.Parallel()
	for name, auth := range map[string]*registrytest.Auth{
		"basic":                {Username: "u", Password: "secret", Basic: true},
		"bearer":               {Username: "u", Password: "secret"},
		"bearer, another host": {Username: "u", Password: "secret", OtherHost: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, registrytest.Options{})
			evil := registrytest.New(t, registrytest.Options{Auth: auth})
			w.registry.Registries[0].Username, w.registry.Registries[0].Password = "u", "secret"
			w.registry.Registries = append(w.registry.Registries, registry.Settings{Host: evil.Host(), Insecure: true})
			req := w.ask
			req.Image = evil.Image(repo, tag)
			_, v := w.decide(req)
			if v.Decision != verdict.Unknown || v.Allowed {
				t.Errorf("%s: %+v", v.Decision, v.Reasons)
			}
			requests := append(evil.Requests(), evil.TokenRequests()...)
			if len(requests) == 0 {
				t.Error("it was not asked at all, so the test shows nothing")
			}
			for _, r := range requests {
				if r.Authorization != "" {
					t.Errorf("%s %s was sent %q", r.Method, r.Path, r.Authorization)
				}
			}
		})
	}
}
