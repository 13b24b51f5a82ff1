package registry

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/testkit/ocitest"
	"github.com/signet-policy/signet/internal/testkit/registrytest"
)

// mirrorPair is a registry with an image, and a mirror that is empty.
type mirrorPair struct {
	registry, mirror *registrytest.Server
	image            *ocitest.Artifact
	now              time.Time
}

func newMirrorPair(t *testing.T, referrers ...string) *mirrorPair {
	t.Helper()
	p := &mirrorPair{mirror: registrytest.New(t, registrytest.Options{}), now: time.Now()}
	p.registry, p.image = served(t, registrytest.Options{}, referrers...)
	return p
}

func (p *mirrorPair) client(t *testing.T, m Mirror) *Client {
	t.Helper()
	m.Host = p.mirror.Host()
	return client(t, func(c *Config) {
		c.Registries = []Settings{{Host: p.registry.Host(), Insecure: true, Mirrors: []Mirror{m}}, {Host: p.mirror.Host(), Insecure: true}}
		c.Now = func() time.Time { return p.now }
	})
}

// fill copies the image and evidence to the mirror.
func (p *mirrorPair) fill(repo string, referrers ...string) {
	p.mirror.Push(repo, "v1", p.image)
	for _, r := range referrers {
		p.mirror.Push(repo, "", bundle(p.image, r))
	}
}

func TestMirrorContent(t *testing.T) {
	const signed = "bundle a signature"
	for name, tt := range map[string]struct {
		mirror Mirror
		repo   string
		spoil  func(*registrytest.Server)
		// atMirror are the bytes-by-digest requests that the mirror answered
		// alone: the registry was not asked.
		alone bool
	}{
		"has everything":    {repo: "app", alone: true},
		"under a prefix":    {mirror: Mirror{Prefix: "proxy/hub"}, repo: "proxy/hub/app", alone: true},
		"has nothing":       {repo: "other"},
		"is down":           {repo: "app", spoil: func(s *registrytest.Server) { s.On(registrytest.Any(), registrytest.Hangup()) }},
		"is overloaded":     {repo: "app", spoil: func(s *registrytest.Server) { s.On(registrytest.Any(), registrytest.RetryAfter(429, 3600)) }},
		"wants credentials": {repo: "app", spoil: func(s *registrytest.Server) { s.On(registrytest.Any(), registrytest.Status(403)) }},
		"lies about a manifest": {repo: "app", spoil: func(s *registrytest.Server) {
			s.On(registrytest.Any(), registrytest.Body(ocitest.MediaTypeManifest, []byte(`{"schemaVersion":2}`)))
		}},
		"sends another type": {repo: "app", spoil: func(s *registrytest.Server) {
			s.On(registrytest.Manifest(""), registrytest.ContentType("application/vnd.oci.image.index.v1+json"))
			s.On(registrytest.Blob(""), registrytest.Status(404))
		}},
		"lies about a blob": {repo: "app", spoil: func(s *registrytest.Server) {
			s.On(registrytest.Manifest(""), registrytest.Status(404))
			s.On(registrytest.Blob(""), registrytest.Change(func(_ *int, _ http.Header, body *[]byte) { *body = []byte(strings.ToUpper(string(*body))) }))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newMirrorPair(t, "a signature")
			p.fill(tt.repo, "a signature")
			if tt.spoil != nil {
				tt.spoil(p.mirror)
			}
			c := p.client(t, tt.mirror)
			s, f := find(t, c, evidence.Query{Image: p.registry.Image("app", p.image.Digest())})
			complete(t, f)
			if s.Digest != p.image.Digest() || s.Registry != p.registry.Host() {
				t.Errorf("subject %s of %s", s.Digest, s.Registry)
			}
			if diff := cmp.Diff([]string{signed}, summary(f.Items)); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff([]string{p.registry.Host() + "/app"}, f.Search.Repositories); diff != "" {
				t.Error(diff)
			}
			asked := p.registry.Count("", "/manifests/sha256:") + p.registry.Count("", "/blobs/")
			if (asked == 0) != tt.alone {
				t.Errorf("the registry was asked for content %d times; the mirror should answer alone: %t", asked, tt.alone)
			}
			if p.mirror.Count("", "/manifests/sha256:") == 0 {
				t.Error("the mirror was not asked")
			}
			if n := p.mirror.Count("", "/referrers/") + p.mirror.Count("", "/manifests/sha256-"); n > 0 {
				t.Errorf("the mirror was asked for %d lists, which it may not give", n)
			}
		})
	}
}

// A tag is the registry's word, unless the mirror may say it.
func TestMirrorStaleTag(t *testing.T) {
	for name, tags := range map[string]bool{"at the registry": false, "at the mirror": true} {
		t.Run(name, func(t *testing.T) {
			p := newMirrorPair(t)
			old := ocitest.Image(ocitest.ImageOptions{Content: "of yesterday"})
			p.mirror.Push("app", "v1", old)
			want := p.image.Digest()
			if tags {
				want = old.Digest()
			}
			s, err := p.client(t, Mirror{Tags: tags}).Resolve(t.Context(), v1(p.registry))
			if err != nil || s.Digest != want {
				t.Errorf("%s, %v; want %s", s.Digest, err, want)
			}
		})
	}
	t.Run("the mirror has no such tag", func(t *testing.T) {
		p := newMirrorPair(t)
		s, err := p.client(t, Mirror{Tags: true}).Resolve(t.Context(), v1(p.registry))
		if err != nil || s.Digest != p.image.Digest() {
			t.Errorf("%s, %v", s.Digest, err)
		}
	})
}

// A mirror with evidence adds to what the registry lists, and never stands in
// for it: that there is nothing is for the registry to say.
func TestMirrorEvidence(t *testing.T) {
	digest := func(p *mirrorPair) evidence.Query {
		return evidence.Query{Image: p.registry.Image("app", p.image.Digest())}
	}
	t.Run("lacks evidence", func(t *testing.T) {
		p := newMirrorPair(t, "at the registry")
		p.fill("app")
		_, f := find(t, p.client(t, Mirror{Evidence: true}), digest(p))
		complete(t, f)
		if diff := cmp.Diff([]string{"bundle at the registry"}, summary(f.Items)); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("has some of its own", func(t *testing.T) {
		p := newMirrorPair(t, "both")
		p.fill("app", "both", "at the mirror")
		sig := "sha256-" + strings.TrimPrefix(p.image.Digest(), "sha256:") + ".sig"
		p.mirror.Push("app", sig, simple("old", "older"))
		p.registry.Push("app", sig, simple("old"))
		_, f := find(t, p.client(t, Mirror{Evidence: true}), digest(p))
		complete(t, f)
		got := map[string]int{}
		for _, s := range summary(f.Items) {
			got[s]++
		}
		want := map[string]int{"bundle both": 1, "bundle at the mirror": 1, "cosign-signature old": 1, "cosign-signature older": 1}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]string{p.registry.Host() + "/app", p.mirror.Host() + "/app"}, f.Search.Repositories); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("under the fallback tag", func(t *testing.T) {
		p := newMirrorPair(t)
		p.mirror = registrytest.New(t, registrytest.Options{NoReferrers: true})
		p.fill("app")
		b := bundle(p.image, "at the mirror")
		p.mirror.Push("app", "", b)
		p.mirror.Fallback("app", p.image.Digest(), b)
		_, f := find(t, p.client(t, Mirror{Evidence: true}), digest(p))
		complete(t, f)
		if diff := cmp.Diff([]string{"bundle at the mirror"}, summary(f.Items)); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("the same under the same tag", func(t *testing.T) {
		p := newMirrorPair(t)
		p.fill("app")
		sig := "sha256-" + strings.TrimPrefix(p.image.Digest(), "sha256:") + ".sig"
		p.mirror.Push("app", sig, simple("old"))
		p.registry.Push("app", sig, simple("old"))
		c := p.client(t, Mirror{Evidence: true})
		c.cfg.Limits.Items = 1 // what both have counts once
		_, f := find(t, c, digest(p))
		complete(t, f)
		if n := p.registry.Count("GET", "/blobs/") + p.mirror.Count("GET", "/blobs/"); n != 1 {
			t.Errorf("%d blobs were fetched", n)
		}
	})
	for _, tc := range []struct {
		name string
		edit func(*evidence.Limits)
		want int // of its own items
	}{
		{"more items than are allowed", func(l *evidence.Limits) { l.Items = 2 }, 1},
		{"more bytes than are allowed", func(l *evidence.Limits) { l.MemoryBytes = 20 }, 0},
		{"more referrers than are allowed", func(l *evidence.Limits) { l.Referrers = 2 }, 1},
		{"more layers than are allowed", func(l *evidence.Limits) { l.Layers = 2 }, 5},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newMirrorPair(t, "at the registry")
			p.fill("app", "a", "b", "c", "d", "e")
			p.mirror.Push("app", "sha256-"+strings.TrimPrefix(p.image.Digest(), "sha256:")+".sig", simple("f", "g", "h"))
			c := p.client(t, Mirror{Evidence: true})
			tc.edit(&c.cfg.Limits)
			_, f := find(t, c, digest(p))
			complete(t, f)
			got := summary(f.Items)
			if !slices.Contains(got, "bundle at the registry") {
				t.Errorf("what the registry has is not in %q", got)
			}
			if n := len(got) - 1; n < tc.want {
				t.Errorf("%d items of the mirror in %q, want %d at least", n, got, tc.want)
			}
		})
	}
	t.Run("what it alone lists cannot be had", func(t *testing.T) {
		p := newMirrorPair(t, "at the registry")
		p.fill("app", "at the mirror")
		c := p.client(t, Mirror{Evidence: true})
		extra := bundle(p.image, "at the mirror")
		for _, s := range []*registrytest.Server{p.registry, p.mirror} {
			s.On(registrytest.Path(http.MethodGet, extra.Digest()), registrytest.Status(http.StatusBadGateway))
		}
		_, f := find(t, c, digest(p))
		complete(t, f)
		if diff := cmp.Diff([]string{"bundle at the registry"}, summary(f.Items)); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("is down", func(t *testing.T) {
		p := newMirrorPair(t, "at the registry")
		p.mirror.On(registrytest.Any(), registrytest.Status(http.StatusServiceUnavailable))
		_, f := find(t, p.client(t, Mirror{Evidence: true}), digest(p))
		complete(t, f)
		if diff := cmp.Diff([]string{"bundle at the registry"}, summary(f.Items)); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("lists nonsense", func(t *testing.T) {
		p := newMirrorPair(t, "at the registry")
		p.mirror.On(registrytest.Any(), registrytest.Body(ocitest.MediaTypeIndex, []byte(`{"schemaVersion":2,"manifests":[{"digest":7}]}`)))
		_, f := find(t, p.client(t, Mirror{Evidence: true}), digest(p))
		complete(t, f)
		if diff := cmp.Diff([]string{"bundle at the registry"}, summary(f.Items)); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("the registry is down", func(t *testing.T) {
		p := newMirrorPair(t)
		p.fill("app", "at the mirror")
		p.registry.On(registrytest.Any(), registrytest.Status(http.StatusServiceUnavailable))
		_, f := find(t, p.client(t, Mirror{Evidence: true}), digest(p))
		incomplete(t, f, evidence.CodeUnavailable)
		if diff := cmp.Diff([]string{"bundle at the mirror"}, summary(f.Items)); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("both say nothing, and the registry cannot be asked", func(t *testing.T) {
		p := newMirrorPair(t)
		p.fill("app")
		p.registry.On(registrytest.Referrers(""), registrytest.Status(http.StatusUnauthorized))
		_, f := find(t, p.client(t, Mirror{Evidence: true}), digest(p))
		incomplete(t, f, evidence.CodeUnauthorized)
	})
}

// A mirror that is down costs its time once, not with every request.
func TestMirrorRests(t *testing.T) {
	for name, tt := range map[string]struct {
		act  registrytest.Action
		rest time.Duration
	}{
		"for a minute":         {registrytest.Status(http.StatusServiceUnavailable), time.Minute},
		"for as long as asked": {registrytest.RetryAfter(http.StatusTooManyRequests, 7), 7 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			p := newMirrorPair(t)
			p.mirror.On(registrytest.Any(), tt.act)
			c := p.client(t, Mirror{})
			resolve := func() int {
				t.Helper()
				p.mirror.Forget()
				if _, err := c.Resolve(t.Context(), evidence.Query{Image: p.registry.Image("app", p.image.Digest())}); err != nil {
					t.Fatal(err)
				}
				return len(p.mirror.Requests())
			}
			if n := resolve(); n != 1 {
				t.Errorf("a mirror that is down was asked %d times for one manifest", n)
			}
			p.mirror.Behave()
			p.fill("app")
			p.now = p.now.Add(tt.rest - time.Second)
			if n := resolve(); n != 0 {
				t.Errorf("a mirror that rests was asked %d times", n)
			}
			p.now = p.now.Add(time.Second)
			if n := resolve(); n != 1 {
				t.Errorf("a mirror that has rested was asked %d times", n)
			}
		})
	}
}

// A mirror that is silent until a request is out of time costs that request, and
// not the next one too.
func TestSilentMirrorRests(t *testing.T) {
	p := newMirrorPair(t)
	p.mirror.On(registrytest.Any(), registrytest.Hang())
	c := p.client(t, Mirror{})
	image := evidence.Query{Image: p.registry.Image("app", p.image.Digest())}
	if _, err := c.Resolve(short(t, 100*time.Millisecond), image); err == nil {
		t.Error("the silent mirror cost no time")
	}
	p.mirror.Forget()
	if _, err := c.Resolve(t.Context(), image); err != nil {
		t.Error(err)
	}
	if n := len(p.mirror.Requests()); n != 0 {
		t.Errorf("a mirror that rests was asked %d times", n)
	}
	// Who has gone away says nothing about the mirror.
	p.now = p.now.Add(restTime)
	gone, leave := context.WithCancel(t.Context())
	p.mirror.Behave()
	p.mirror.On(registrytest.Any(), func(http.ResponseWriter, *http.Request, http.Handler) { leave() })
	if _, err := c.Resolve(gone, image); err == nil {
		t.Error("nobody was there to answer")
	}
	p.mirror.Behave()
	p.mirror.Forget()
	if _, err := c.Resolve(t.Context(), image); err != nil {
		t.Error(err)
	}
	if n := len(p.mirror.Requests()); n != 1 {
		t.Errorf("the mirror was asked %d times", n)
	}
}

// Credentials are bound to the exact host: neither sees the other's.
func TestMirrorCredentials(t *testing.T) {
	p := newMirrorPair(t, "a signature")
	p.fill("app", "a signature")
	p.mirror.On(registrytest.Blob(""), registrytest.Status(404))
	c := client(t, func(c *Config) {
		c.Registries = []Settings{
			{Host: p.registry.Host(), Insecure: true, Token: "of-the-registry", Mirrors: []Mirror{{Host: p.mirror.Host(), Evidence: true}}},
			{Host: p.mirror.Host(), Insecure: true, Token: "of-the-mirror"},
		}
	})
	find(t, c, v1(p.registry))
	for name, tt := range map[string]struct {
		server *registrytest.Server
		want   string
	}{"registry": {p.registry, "Bearer of-the-registry"}, "mirror": {p.mirror, "Bearer of-the-mirror"}} {
		asked := tt.server.Requests()
		if len(asked) == 0 {
			t.Errorf("the %s was not asked", name)
		}
		for _, r := range asked {
			if r.Authorization != "" && r.Authorization != tt.want {
				t.Errorf("the %s saw %q at %s", name, r.Authorization, r.Path)
			}
		}
	}
}

// A private address is opened for a mirror by its own settings alone.
func TestMirrorAddress(t *testing.T) {
	p := newMirrorPair(t)
	p.fill("app")
	c := client(t, func(c *Config) {
		c.Registries = []Settings{{Host: p.registry.Host(), Insecure: true, Mirrors: []Mirror{{Host: p.mirror.Host()}}}}
	})
	if _, err := c.Resolve(t.Context(), evidence.Query{Image: p.registry.Image("app", p.image.Digest())}); err != nil {
		t.Fatal(err)
	}
	if n := len(p.mirror.Requests()); n > 0 {
		t.Errorf("%d requests reached a mirror at a loopback address that nothing opens", n)
	}
}

func TestMirrorSettings(t *testing.T) {
	for name, tt := range map[string]struct {
		mirrors []Mirror
		want    string
	}{
		"no host":            {[]Mirror{{}}, "mirror"},
		"a path in the host": {[]Mirror{{Host: "mirror.example.com/x"}}, "host"},
		"itself":             {[]Mirror{{Host: "R.example.com:443"}}, "own mirror"},
		"twice":              {[]Mirror{{Host: "m.example.com"}, {Host: "M.example.com:443", Tags: true}}, "twice"},
		"a bad prefix":       {[]Mirror{{Host: "m.example.com", Prefix: "a//b"}}, "prefix"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(Config{Registries: []Settings{{Host: "r.example.com", Mirrors: tt.mirrors}}})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one about %q", err, tt.want)
			}
		})
	}
	given := []Mirror{{Host: "M.example.com", Prefix: "/hub/"}}
	c, err := New(Config{Registries: []Settings{{Host: "r.example.com", Mirrors: given}, {Host: "plain.example.com"}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if given[0].Host != "M.example.com" {
		t.Error("New changes its caller's settings")
	}
	if s := c.Scope("r.example.com/app:v1"); !strings.Contains(s, "m.example.com/hub") {
		t.Errorf("the scope %q does not name the mirror", s)
	}
	if s := c.Scope("plain.example.com/app:v1"); strings.Contains(s, "via") {
		t.Errorf("the scope %q names a mirror", s)
	}
}
