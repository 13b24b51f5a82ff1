package registry

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/testkit/registrytest"
)

// Threat 45: blobs are fetched where the registry sends us, over https and
// without credentials, from hosts that may be reached.
func TestBlobRedirect(t *testing.T) {
	auth := right
	for _, tc := range []struct {
		name string
		// open lets the mirror, which is on loopback like everything here, be reached.
		open, tls bool
		problem   string
	}{
		{"https", true, true, ""},
		{"inward", false, true, evidence.CodeAddressRefused},
		{"without TLS", true, false, evidence.CodeRedirectRefused},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, _ := served(t, registrytest.Options{TLS: true, Auth: &auth}, "one")
			m := s.Mirror(tc.tls)
			s.On(registrytest.Blob(""), registrytest.Redirect(m.URL()))
			var open []string
			if tc.open {
				open = []string{m.Host()}
			}
			_, found := find(t, secure(t, s, open, nil), v1(s))
			if tc.problem != "" {
				incomplete(t, found, tc.problem)
				if len(m.Requests()) > 0 {
					t.Error("the other host was reached")
				}
				return
			}
			complete(t, found)
			if len(found.Items) != 1 || string(found.Items[0].Bytes) != "one" {
				t.Errorf("%v", summary(found.Items))
			}
			if len(m.Requests()) != 1 || m.Requests()[0].Authorization != "" {
				t.Errorf("the other host received %+v", m.Requests())
			}
		})
	}
}

// Some registries (registry.k8s.io) redirect everything to a host near the
// caller. What comes back must still be the digest that is asked for.
func TestEverythingRedirected(t *testing.T) {
	auth := right
	s, _ := served(t, registrytest.Options{TLS: true, Auth: &auth}, "one")
	m := s.Mirror(true)
	s.On(registrytest.Path(http.MethodGet, "/v2/app/"), registrytest.Redirect(m.URL()))
	_, found := find(t, secure(t, s, []string{m.Host()}, nil), v1(s))
	complete(t, found)
	if len(found.Items) != 1 || string(found.Items[0].Bytes) != "one" {
		t.Errorf("%v", summary(found.Items))
	}
	for _, r := range m.Requests() {
		if r.Authorization != "" {
			t.Errorf("the other host received %+v", r)
		}
	}
}

// A redirect from one registry to another, private one that is allowed for itself
// is still inward: what is open is open to the one who was asked for it.
func TestRedirectToAnotherAllowedRegistry(t *testing.T) {
	inner, _ := served(t, registrytest.Options{TLS: true}, "inner")
	outer, _ := served(t, registrytest.Options{TLS: true}, "one")
	ca := write(t, "ca.pem", outer.CAPEM())
	c := client(t, func(c *Config) {
		c.Registries = []Settings{{Host: inner.Host(), AllowPrivate: true, CAFile: ca}, {Host: outer.Host(), AllowPrivate: true, CAFile: ca}}
		c.AllowPrivateAddresses = true // of the registry that was named, and no other
	})
	if _, err := c.Resolve(t.Context(), v1(inner)); err != nil { // its connection is kept
		t.Fatal(err)
	}
	inner.Forget()
	outer.On(registrytest.Blob(""), registrytest.Redirect(inner.URL()))
	_, found := find(t, c, v1(outer))
	incomplete(t, found, evidence.CodeAddressRefused)
	if n := len(inner.Requests()); n > 0 {
		t.Errorf("%d requests to the inner registry", n)
	}
}

// Redirects within a registry keep its credentials; those that come back from
// elsewhere have lost them.
func TestRedirectsWithin(t *testing.T) {
	s, _ := served(t, registrytest.Options{Auth: basicAuth()})
	s.On(registrytest.Manifest("v1"), registrytest.RedirectTo("/v2/app/manifests/moved"))
	s.Push("app", "moved", image())
	c := insecure(t, s, func(c *Config) { c.Registries[0].Username, c.Registries[0].Password = "user", "right" })
	if _, err := c.Resolve(t.Context(), v1(s)); err != nil {
		t.Fatal(err)
	}
}

func TestBlobRedirectAndBack(t *testing.T) {
	s, _ := served(t, registrytest.Options{TLS: true, Auth: basicAuth()}, "one")
	back := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, s.URL()+r.URL.Path+"?again", http.StatusFound)
	}))
	defer back.Close()
	s.On(func(r *http.Request) bool { return strings.Contains(r.URL.Path, "/blobs/") && r.URL.RawQuery == "" }, registrytest.Redirect(back.URL))
	_, found := find(t, secure(t, s, []string{back.Listener.Addr().String()}, nil), v1(s))
	incomplete(t, found, evidence.CodeUnauthorized)
	for _, r := range s.Requests() {
		if r.Query == "again" && r.Authorization != "" {
			t.Error("the credentials came back")
		}
	}
}

func TestFiveRedirects(t *testing.T) {
	for n, ok := range map[int]bool{5: true, 6: false} {
		s, _ := served(t, registrytest.Options{}, "one")
		var hops atomic.Int32
		s.On(registrytest.Blob(""), func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if int(hops.Add(1)) > n {
				next.ServeHTTP(w, r)
				return
			}
			http.Redirect(w, r, r.URL.Path, http.StatusSeeOther)
		})
		_, found := find(t, insecure(t, s), v1(s))
		if ok {
			complete(t, found)
		} else {
			incomplete(t, found, evidence.CodeRedirectRefused)
		}
	}
}

func TestRedirectTargetsRefused(t *testing.T) {
	for _, target := range []string{"", "http://other.example.com/", "ftp://other.example.com/", "https://user:password@other.example.com/", "file:///etc/passwd", "//other.example.com/x", "https://169.254.169.254/latest", "https://[::1]/", "https://localhost:1/"} {
		s, _ := served(t, registrytest.Options{}, "one")
		s.On(registrytest.Blob(""), registrytest.RedirectTo(target))
		_, found := find(t, insecure(t, s), v1(s))
		if found.Search.Complete || len(found.Items) > 0 {
			t.Errorf("%q: %+v", target, found)
		}
		for _, p := range found.Search.Problems {
			if p.Code != evidence.CodeRedirectRefused && p.Code != evidence.CodeAddressRefused {
				t.Errorf("%q: %+v", target, p)
			}
		}
	}
}

func TestTLS(t *testing.T) {
	s, _ := served(t, registrytest.Options{TLS: true}, "one")
	c := client(t, func(c *Config) { c.Registries = []Settings{{Host: s.Host(), AllowPrivate: true}} })
	_, err := c.Resolve(t.Context(), v1(s))
	if p := problemOf(t, err, evidence.CodeUnavailable); !strings.Contains(p.Message, "certificate not trusted") {
		t.Errorf("message: %s", p.Message)
	}
	if n := s.Count("", ""); n > 0 {
		t.Errorf("%d requests", n)
	}
	_, found := find(t, secure(t, s, nil, nil), v1(s))
	complete(t, found)
	everywhere := client(t, func(c *Config) {
		c.CAFiles = []string{write(t, "ca.pem", s.CAPEM())}
		c.Registries = []Settings{{Host: s.Host(), AllowPrivate: true}}
	})
	_, found = find(t, everywhere, v1(s))
	complete(t, found)
}
