package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/signet-policy/signet/internal/config"
)

// Each part of the configuration that is unsafe is named, with what would be right, and
// what is safe is not.
func TestUnsafeConfiguration(t *testing.T) {
	t.Setenv("PGSSLMODE", "")
	t.Setenv("PGHOST", "")
	dir := t.TempDir()
	file := func(text string) string {
		path := filepath.Join(dir, "url")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	listener := func(authentication, role string, names ...string) config.File {
		return config.File{Listeners: []config.Listener{{Address: "unix:/s", Authentication: authentication, ClientNames: names, Principal: &config.Principal{Name: "ops", Role: role}, TLS: config.TLS{ClientCAFile: "ca.pem"}}}}
	}
	registry := func(r config.Registry) config.File {
		return config.File{Registries: map[string]config.Registry{"r.example": r}}
	}
	database := func(url string) config.File { return config.File{Database: config.Database{URL: url}} }
	redis := func(r config.Redis) config.File { return config.File{Cache: config.Cache{Redis: r}} }
	webhook := func(w config.Webhook) config.File {
		w.Name = "hook"
		return config.File{Webhooks: []config.Webhook{w}}
	}
	root := func(r config.TrustRoot) config.File {
		r.Name = "own"
		return config.File{TrustRoots: []config.TrustRoot{r}}
	}
	bundle := func(b config.Bundle) config.File {
		return config.File{Bundles: map[string]config.Bundle{"own": b}}
	}
	keys := map[string]config.BundleKey{"k": {KeyFile: "k.pem"}}
	gateway := func(role string) config.File {
		return config.File{Page: config.Page{Gateway: &config.PageGateway{URL: "https://gw.example", Role: role}}}
	}
	for _, tt := range []struct {
		name string
		f    config.File
		want []string // of one sentence each, apart by |; none is safe
	}{
		{"nothing", config.File{}, nil},
		{"plain HTTP", config.File{Listen: "0.0.0.0:8090", ListenInsecure: true}, []string{"Tokens cross the network in clear text|listen_insecure|Give tls.cert_file"}},
		{"plain HTTP on this machine", config.File{Listen: "127.0.0.1:8090", ListenInsecure: true}, nil},
		{"TLS all the same", config.File{Listen: "0.0.0.0:8090", ListenInsecure: true, TLS: config.TLS{CertFile: "c", KeyFile: "k"}}, nil},
		{"no authentication", listener(config.AuthNone, "verifier"), []string{"without a token, as ops|listeners[0].authentication|Use a socket"}},
		{"an administrators' socket", listener(config.AuthSocket, "admin"), []string{"Whoever can open the socket|listeners[0].principal.role|Make it a verifier"}},
		{"a verifiers' socket", listener(config.AuthSocket, "verifier"), nil},
		{"any certificate", listener(config.AuthMTLS, "author"), []string{"Every certificate of ca.pem|listeners[0].client_names"}},
		{"certain certificates", listener(config.AuthMTLS, "author", "ops.example"), nil},
		{"everybody a proxy", config.File{TrustedProxies: []string{"::/0", "10.0.0.0/8"}}, []string{"trusted_proxies: ::/0|Name the proxies' own"}},
		{"everybody of a gateway", gateway("admin"), []string{"page.gateway.role: admin|viewer or verifier"}},
		{"viewers of a gateway", gateway("viewer"), nil},
		{"a registry over plain HTTP", registry(config.Registry{Insecure: true, AllowPrivate: true}), []string{"over plain HTTP|registries.r.example.insecure|Give it TLS"}},
		{"a private registry", registry(config.Registry{AllowPrivate: true}), []string{"registries.r.example.allow_private|Leave it out"}},
		{"a mirror that is believed", registry(config.Registry{Mirrors: []config.Mirror{{Host: "a"}, {Host: "m", Tags: true, Evidence: true}}}), []string{"an older image|mirrors[1].tags", "withhold some|mirrors[1].evidence"}},
		{"a database without TLS", database("postgres://db.example/s?sslmode=disable"), []string{"without TLS, or may be (sslmode=disable)|verify-full into database.url."}},
		{"a database that may do without", database("postgres://db.example/s"), []string{"(sslmode=prefer)|verify-full"}},
		{"a database that is not checked", database("postgres://db.example/s?sslmode=require"), []string{"not asked who it is|verify-full"}},
		{"a database that is", database("postgres://db.example/s?sslmode=verify-full"), nil},
		{"a database on this machine", database("postgres://127.0.0.1:5432/s?sslmode=disable"), nil},
		{"a database at a socket", database("postgres:///s?host=/run/postgresql"), nil},
		{"one of two databases", database("postgres://localhost:5432,db.example:5432/s?sslmode=disable"), []string{"sslmode=disable"}},
		{"a database in a file", config.File{Database: config.Database{URLFile: file("postgres://db.example/s?sslmode=disable\n")}}, []string{"sslmode=disable|verify-full into what database.url_file holds"}},
		{"Redis without TLS", redis(config.Redis{URL: "redis://redis.example:6379"}), []string{"Redis at redis.example:6379|rediss://"}},
		{"a cluster without TLS", redis(config.Redis{Addresses: []string{"127.0.0.1:1", "r2:6379"}}), []string{"Redis at r2:6379|tls.enabled: true"}},
		{"Redis with TLS", redis(config.Redis{URL: "rediss://redis.example:6379"}), nil},
		{"a cluster with TLS", redis(config.Redis{Addresses: []string{"r2:6379"}, TLS: config.RedisTLS{Enabled: true}}), nil},
		{"Redis on this machine", redis(config.Redis{URL: "redis://localhost:6379"}), nil},
		{"a webhook over plain HTTP", webhook(config.Webhook{URL: "http://h", AllowPrivate: true}), []string{"webhooks[0].url|Write https"}},
		{"a private webhook", webhook(config.Webhook{URL: "https://h", AllowPrivate: true}), []string{"webhooks[0].allow_private|Leave it out"}},
		{"a webhook", webhook(config.Webhook{URL: "https://h"}), nil},
		{"tools of unknown gateways", config.File{MCP: config.MCP{Unmapped: "allow"}}, []string{"mcp.unmapped: allow|write deny"}},
		{"tools are denied", config.File{MCP: config.MCP{Unmapped: "deny"}}, nil},
		{"grace", config.File{Active: config.Active{Grace: config.Duration(time.Minute)}}, []string{"up to 1m0s|active.grace|Write 0"}},
		{"an older root", root(config.TrustRoot{AllowOlder: true}), []string{"trust_roots[0].allow_older|Take it out"}},
		{"a root without proofs", root(config.TrustRoot{Requires: &config.Requires{SCT: true}}), []string{"trust_roots[0].requires|Want one"}},
		{"a root with a proof", root(config.TrustRoot{Requires: &config.Requires{Timestamp: true}}), nil},
		{"an unsigned bundle", bundle(config.Bundle{Dir: "/rules"}), []string{"whoever can write to dir /rules|bundles.own.keys"}},
		{"a bundle over plain HTTP", bundle(config.Bundle{URL: "http://b.example/x", Keys: keys, AllowHTTP: true}), []string{"bundles.own.allow_http|Write https"}},
		{"a signed bundle", bundle(config.Bundle{URL: "https://b.example/x", Keys: keys}), nil},
	} {
		got := unsafeConfiguration(tt.f)
		if len(got) != len(tt.want) {
			t.Errorf("%s: %d sentences, want %d: %q", tt.name, len(got), len(tt.want), got)
			continue
		}
		for i, want := range tt.want {
			for _, part := range strings.Split(want, "|") {
				if !strings.Contains(got[i], part) {
					t.Errorf("%s: %q does not say %q", tt.name, got[i], part)
				}
			}
		}
	}
	// Where the URL has no host, the environment says which.
	t.Setenv("PGHOST", "db.example")
	if got := unsafeConfiguration(database("postgres:///s?sslmode=disable")); len(got) != 1 || !strings.Contains(got[0], "sslmode=disable") {
		t.Errorf("a host of the environment: %q", got)
	}
}
