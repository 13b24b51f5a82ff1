package registry

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/evidence"
)

func TestNewRefuses(t *testing.T) {
	one := func(s Settings) func(*Config) { return func(c *Config) { c.Registries = []Settings{s} } }
	evidenceAt := func(from, to string) func(*Config) {
		return func(c *Config) { c.EvidenceRepositories = map[string]string{from: to} }
	}
	for _, tc := range []struct {
		name string
		edit func(*Config)
		says string
	}{
		{"no host", one(Settings{}), "not a host name"},
		{"host with path", one(Settings{Host: "ghcr.io/org"}), "not a host name"},
		{"host with scheme", one(Settings{Host: "https://ghcr.io"}), "port"},
		{"twice", func(c *Config) { c.Registries = []Settings{{Host: "docker.io"}, {Host: "Index.docker.io:443"}} }, "configured twice"},
		{"insecure on 443", one(Settings{Host: "a.b:443", Insecure: true}), "port 443"},
		{"insecure with CA", one(Settings{Host: "a.b", Insecure: true, CAFile: "x"}), "choose one"},
		{"token and password", one(Settings{Host: "a.b", Token: "x", Username: "y", Password: "z"}), "choose one"},
		{"user without password", one(Settings{Host: "a.b", Username: "y"}), "go together"},
		{"password without user", one(Settings{Host: "a.b", Password: "y"}), "go together"},
		{"token host", one(Settings{Host: "a.b", TokenHosts: []string{"https://x"}}), "token host"},
		{"blob host", one(Settings{Host: "a.b", BlobHosts: []string{"x y"}}), "blob host"},
		{"CA file that is not there", one(Settings{Host: "a.b", CAFile: "/nonexistent"}), "CA file"},
		{"CA file without certificates", one(Settings{Host: "a.b", CAFile: write(t, "ca.pem", []byte("x"))}), "no PEM certificate"},
		{"CA files", func(c *Config) { c.CAFiles = []string{"/nonexistent"} }, "CA file"},
		{"proxy", func(c *Config) { c.ProxyURL = "proxy:3128" }, "proxy"},
		{"socks proxy", func(c *Config) { c.ProxyURL = "socks5://proxy:3128" }, "proxy"},
		{"allow", func(c *Config) { c.Allow = []string{"ghcr.io/org:v1"} }, "allowed registries"},
		{"limits", limits(func(l *evidence.Limits) { l.Referrers = 0 }), "referrers is 0"},
		{"negative limit", limits(func(l *evidence.Limits) { l.SearchTimeout = -1 }), "search_timeout is -1"},
		{"evidence from no host", evidenceAt("nginx", "ghcr.io/x"), "registry's host first"},
		{"evidence from a bad host", evidenceAt("a_b.c", "ghcr.io/x"), "not a host name"},
		{"evidence from a tag", evidenceAt("ghcr.io/x:v1", "ghcr.io/x"), "without tag"},
		{"evidence at a tag", evidenceAt("ghcr.io/x", "ghcr.io/y:v1"), "without tag"},
		{"evidence at a digest", evidenceAt("ghcr.io/x", "ghcr.io/y@sha256:"+hex64), "without tag"},
		{"evidence at a layout", evidenceAt("ghcr.io/x", "oci-layout:y"), "files cannot be named"},
		{"evidence twice", func(c *Config) {
			c.EvidenceRepositories = map[string]string{"docker.io/x": "a.b/c", "index.docker.io/x": "a.b/c"}
		}, "mapped twice"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := Config{Limits: evidence.DefaultLimits()}
			tc.edit(&cfg)
			_, err := New(cfg)
			if err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("error %v, want one that says %q", err, tc.says)
			}
		})
	}
}

func TestNewDefaults(t *testing.T) {
	c, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if diff := cmp.Diff(evidence.DefaultLimits(), c.cfg.Limits); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if c.cfg.Keychain == nil || c.cfg.Now == nil || c.cfg.UserAgent == "" {
		t.Errorf("%+v", c.cfg)
	}
	if e := c.endpoint("ghcr.io"); e.private() || e.base != "https://ghcr.io" || e.address != "ghcr.io:443" {
		t.Errorf("%+v", e)
	}
}

// The caller's configuration is not changed by ours.
func TestConfigIsCopied(t *testing.T) {
	cfg := Config{Registries: []Settings{{Host: "A.example.com", TokenHosts: []string{"B.example.com:443"}}}}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if cfg.Registries[0].Host != "A.example.com" || cfg.Registries[0].TokenHosts[0] != "B.example.com:443" {
		t.Errorf("%+v", cfg.Registries[0])
	}
	if !c.endpoint("a.example.com").tokenHosts["b.example.com:443"] {
		t.Error("token host lost")
	}
}

// What is remembered is bounded.
func TestMemoryIsBounded(t *testing.T) {
	c := client(t)
	for i := range maxRemembered + 10 {
		remember(c.auth, c.auth.tokens, sessionKey{"x", strings.Repeat("a", i)}, "t", c.cfg.Now().Add(1e12))
	}
	if n := len(c.auth.tokens); n > maxRemembered {
		t.Errorf("%d tokens", n)
	}
	for i := range maxIndexes + 10 {
		c.indexes.put(strings.Repeat("a", i), index{})
	}
	if n := len(c.indexes.m); n > maxIndexes {
		t.Errorf("%d indexes", n)
	}
}
