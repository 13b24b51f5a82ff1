package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func environ(kv ...string) func(string) string {
	m := map[string]string{}
	for i := 0; i+1 < len(kv); i += 2 {
		m[kv[i]] = kv[i+1]
	}
	return func(name string) string { return m[name] }
}

func write(t *testing.T, dir, body string) string {
	t.Helper()
	path := filepath.Join(dir, FileName)
	if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDefaultsAreGood(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", "/data")
	f, err := Load("", "", environ())
	if err != nil {
		t.Fatal(err)
	}
	if f.Listen != "127.0.0.1:8090" || f.DataDir != "/data/signet" || time.Duration(f.MaxStaleness) != 14*24*time.Hour {
		t.Errorf("%+v", f)
	}
}

func TestFileThenEnvironment(t *testing.T) {
	dir := t.TempDir()
	path := write(t, dir, `
listen: 127.0.0.1:1
log: {level: debug}
offline: true
max_staleness: 3d
limits: {items: 7, request_timeout: 2s}
registries:
  registry.test:5000: {insecure: true}
trust_roots:
  - {name: pgi, embedded: true}
  - {name: acme, path: acme.json, requires: {log: true}}
signing_policy: {mode: audit}
`)
	f, err := Load("", dir, environ("SIGNET_LISTEN", "127.0.0.1:2", "SIGNET_OFFLINE", "false", "SIGNET_ACTIVE_GRACE", "90s"))
	if err != nil {
		t.Fatal(err)
	}
	if f.Path != path || f.Listen != "127.0.0.1:2" || f.Log.Level != "debug" || f.Log.Format != "json" || f.Offline {
		t.Errorf("%+v", f)
	}
	if f.Limits.Items != 7 || f.Limits.RequestTimeout != 2*time.Second || f.Limits.Referrers == 0 {
		t.Errorf("limits %+v", f.Limits)
	}
	if time.Duration(f.MaxStaleness) != 72*time.Hour || time.Duration(f.Active.Grace) != 90*time.Second {
		t.Errorf("durations %v, %v", f.MaxStaleness, f.Active.Grace)
	}
	if !f.Registries["registry.test:5000"].Insecure || f.DataDir != dir {
		t.Errorf("%+v", f)
	}
	if got, want := f.Relative("acme.json"), filepath.Join(dir, "acme.json"); got != want {
		t.Errorf("Relative = %s, want %s", got, want)
	}
	if f.SigningPolicy.Kind == 0 || f.SigningPolicy.Line == 0 {
		t.Error("the signing policy lost its place in the file")
	}
}

func TestFilesThatAreRefused(t *testing.T) {
	tests := []struct {
		name, body string
		says       []string
	}{
		{"unknown limit", "limits: {max_things: 1}\n", []string{"line 1: max_things: this section has no such field"}},
		{"a list for a mapping", "registries:\n  - {host: a}\n", []string{"line 2: is a list; it must be a mapping (name: value)"}},
		{"a word for a truth value", "offline: maybe\n", []string{"line 1: is the text `maybe`; it must be true or false"}},
		{"a number for a section", "limits: 7\n", []string{"line 1: is the number `7`; it must be a mapping"}},
		{"a mapping for a list", "trusted_proxies: {a: b}\n", []string{"line 1: is a mapping; it must be a list"}},
		{"a list for a text", "listen: [a]\n", []string{"line 1: is a list; it must be a text"}},
		{"a truth value for a number", "limits: {bundle_bytes: true}\n", []string{"line 1: is the truth value `true`; it must be a whole number"}},
		{"unknown field", "listen: 127.0.0.1:1\nlisten_adress: x\n", []string{"line 2", "listen_adress", "no such field"}},
		{"unknown field deep", "log: {colour: red}\n", []string{"line 1", "colour"}},
		{"duplicate key", "offline: true\noffline: false\n", []string{"line 2", "offline"}},
		{"second document", "offline: true\n---\noffline: false\n", []string{"second YAML document"}},
		{"not YAML", "a: [\n", []string{"line"}},
		{"duration without unit", "max_staleness: 14\n", []string{"line 1", `"14"`, "14d"}},
		{"negative duration", "active: {grace: -3s}\n", []string{"-3s"}},
		{"log level", "log: {level: loud}\n", []string{"log.level", "debug, info, warn, error"}},
		{"log format", "log: {format: xml}\n", []string{"log.format"}},
		{"open address", "listen: 0.0.0.0:80\n", []string{"listen", "0.0.0.0:80", "TLS"}},
		{"no port", "listen: localhost\n", []string{"listen", "host:port"}},
		{"limit of nothing", "limits: {items: 0}\n", []string{"limits.items", "more than 0"}},
		{"small cache", "cache: {memory_bytes: 1}\n", []string{"cache.memory_bytes"}},
		{"no age", "cache: {decision_max_age: 0s}\n", []string{"cache.decision_max_age"}},
		{"bundle from nowhere", "bundles: {acme: {poll: 3s}}\n", []string{"bundles.acme", "give one of dir, file and url"}},
		{"bundle from two places", "bundles: {acme: {dir: a, file: b}}\n", []string{"bundles.acme", "give one of dir, file and url"}},
		{"bundle without a name", "bundles: {Acme_1: {dir: a}}\n", []string{"bundles.Acme_1", "is not a name"}},
		{"bundle from the network, unsigned", "bundles: {acme: {url: https://bundles.test/a.tar.gz}}\n", []string{"bundles.acme.keys", "must be signed"}},
		{"bundle from the network, with no key", "bundles: {acme: {url: https://bundles.test/a.tar.gz, keys: {}}}\n", []string{"bundles.acme.keys", "is empty"}},
		{"bundle key twice", "bundles: {acme: {dir: a, keys: {k: {key: x, key_file: y}}}}\n", []string{"bundles.acme.keys.k", "give one of key (PEM) and key_file"}},
		{"bundle over plain HTTP", "bundles: {acme: {url: http://bundles.test/a, keys: {k: {key_file: y}}}}\n", []string{"bundles.acme.url", "allow_http"}},
		{"bundle by another protocol", "bundles: {acme: {url: ftp://bundles.test/a, keys: {k: {key_file: y}}}}\n", []string{"bundles.acme.url", "neither https nor oci"}},
		{"bundle with a password in its address", "bundles: {acme: {url: https://u:p@bundles.test/a, keys: {k: {key_file: y}}}}\n", []string{"bundles.acme.url", "without user name"}},
		{"bundle with two logins", "bundles: {acme: {url: https://bundles.test/a, keys: {k: {key_file: y}}, bearer_token_file: t, username: u, password_file: p}}\n", []string{"bundles.acme", "not both"}},
		{"bundle with half a login", "bundles: {acme: {url: https://bundles.test/a, keys: {k: {key_file: y}}, username: u}}\n", []string{"username and password_file go together"}},
		{"bundle with half a certificate", "bundles: {acme: {url: https://bundles.test/a, keys: {k: {key_file: y}}, client_cert: c}}\n", []string{"client_cert and client_key go together"}},
		{"bundle of a folder with a login", "bundles: {acme: {dir: a, bearer_token_file: t}}\n", []string{"bundles.acme", "go with url alone"}},
		{"bundle that may flip less than nothing", "bundles: {acme: {dir: a, max_flips: -1}}\n", []string{"bundles.acme.max_flips", "negative"}},
		{"unknown field of a bundle", "bundles: {acme: {dir: a, pol: 3s}}\n", []string{"line 1", "pol"}},
		{"root without a name", "trust_roots: [{path: a}]\n", []string{"trust_roots[0].name"}},
		{"root twice", "trust_roots: [{name: a, path: a}, {name: a, path: b}]\n", []string{"trust_roots[1].name", "twice"}},
		{"root of nothing", "trust_roots: [{name: a}]\n", []string{"trust_roots[0]", "embedded: true"}},
		{"root of both", "trust_roots: [{name: a, path: b, embedded: true}]\n", []string{"trust_roots[0]"}},
		{"registry with a path", "registries: {ghcr.io/org: {insecure: true}}\n", []string{"registries.ghcr.io/org", "host:port"}},
		{"two passwords", "registries: {a.test: {username: u, password_file: f, password_env: E}}\n", []string{"registries.a.test", "not both"}},
		{"password without name", "registries: {a.test: {password_env: E}}\n", []string{"registries.a.test", "username"}},
		{"name without password", "registries: {a.test: {username: u}}\n", []string{"registries.a.test", "username"}},
		{"token and name", "registries: {a.test: {username: u, password_env: E, token_file: f}}\n", []string{"token_file"}},
		{"insecure with a CA", "registries: {a.test: {insecure: true, ca_file: f}}\n", []string{"plain HTTP"}},
		{"half a certificate", "tls: {cert_file: a}\n", []string{"tls", "key_file"}},
		{"listener without protocols", "listeners: [{address: \"127.0.0.1:1\", authentication: token}]\n", []string{"listeners[0].protocols", "[rest]"}},
		{"an external address with a slash", "external_url: https://x.example/\n", []string{"external_url", "ends in a slash"}},
		{"an external address that is none", "external_url: x.example\n", []string{"external_url"}},
		{"a deadline that leaves no time", "deadlines: {mcp: 31s}\n", []string{"deadlines.mcp", "30s at most"}},
		{"unmapped", "mcp: {unmapped: ask}\n", []string{"mcp.unmapped", "neither allow nor deny"}},
		{"a gateway twice", "mcp: {gateways: [{name: a}, {name: a}]}\n", []string{"mcp.gateways[1].name", "there twice"}},
		{"listener of a later version", "listeners: [{address: \"127.0.0.1:1\", authentication: token, protocols: [admission]}]\n", []string{"admission", "later version"}},
		{"listener with a protocol of nobody", "listeners: [{address: \"127.0.0.1:1\", authentication: token, protocols: [soap]}]\n", []string{"soap", "not known"}},
		{"listener with a protocol twice", "listeners: [{address: \"127.0.0.1:1\", authentication: token, protocols: [opa, opa]}]\n", []string{"listeners[0].protocols", "opa is there twice"}},
		{"an external URL that is none", "external_url: signet.example.com\n", []string{"external_url", "https://signet.example.com"}},
		{"an external URL with a slash", "external_url: https://signet.example.com/\n", []string{"external_url", "ends in a slash"}},
		{"an external URL with a query", "external_url: https://signet.example.com?x=1\n", []string{"external_url", "query"}},
		{"an external URL with a password", "external_url: https://a:b@signet.example.com\n", []string{"external_url", "password"}},
		{"an external URL of another kind", "external_url: ftp://signet.example.com\n", []string{"external_url", "absolute http or https"}},
		{"a deadline of nothing", "deadlines: {opa: 0s}\n", []string{"deadlines.opa", "more than 0"}},
		{"a deadline after all work", "deadlines: {authzen: 31s}\n", []string{"deadlines.authzen", "30s at most"}},
		{"a deadline of nobody", "deadlines: {soap: 1s}\n", []string{"soap"}},
		{"a mount with a slash", "opa: {mounts: [/images]}\n", []string{"opa.mounts[0]", "mcpgateway"}},
		{"a mount twice", "opa: {mounts: [a, a]}\n", []string{"opa.mounts[1]", "twice"}},
		{"listener with a token in clear text", "listeners: [{address: \"10.0.0.1:1\", authentication: token, protocols: [rest]}]\n", []string{"listeners[0].tls", "clear text"}},
		{"no authentication where others can reach it", "listeners: [{address: \"0.0.0.0:1\", authentication: none_on_loopback, protocols: [rest], principal: {name: a, role: verifier}}]\n", []string{"listeners[0].authentication", "loopback"}},
		{"an administrator without authentication", "listeners: [{address: \"127.0.0.1:1\", authentication: none_on_loopback, protocols: [rest], principal: {name: a, role: admin}}]\n", []string{"principal.role", "viewer or verifier"}},
		{"mtls without an authority", "listeners: [{address: \"0.0.0.0:1\", authentication: mtls, protocols: [rest], tls: {cert_file: a, key_file: b}, principal: {name: a, role: admin}}]\n", []string{"client_ca_file"}},
		{"socket on the network", "listeners: [{address: \"127.0.0.1:1\", authentication: socket, protocols: [rest], principal: {name: a, role: admin}}]\n", []string{"unix:/path"}},
		{"listener without a principal", "listeners: [{address: \"unix:/run/a.sock\", authentication: socket, protocols: [rest]}]\n", []string{"listeners[0].principal"}},
		{"listener with a role of nobody", "listeners: [{address: \"unix:/run/a.sock\", authentication: socket, protocols: [rest], principal: {name: a, role: boss}}]\n", []string{"boss"}},
		{"token and principal", "listeners: [{address: \"127.0.0.1:1\", authentication: token, protocols: [rest], principal: {name: a, role: admin}}]\n", []string{"principal", "token says who"}},
		{"authentication of nobody", "listeners: [{address: \"127.0.0.1:1\", authentication: trust, protocols: [rest]}]\n", []string{"none of token, mtls, socket, none_on_loopback"}},
		{"client names without certificates", "listeners: [{address: \"127.0.0.1:1\", authentication: token, protocols: [rest], client_names: [a]}]\n", []string{"client_names", "mtls"}},
		{"proxy that is no network", "trusted_proxies: [10.0.0.1/8]\n", []string{"trusted_proxies[0]", "10.0.0.0/8"}},
		{"people of no images", "page: {oidc: {issuer: \"https://i.test\", client_id: a, redirect_url: \"https://s.test/admin/security/signing/login/oidc/callback\", roles: [{group: a, role: verifier, images: []}]}}\n", []string{"page.oidc.roles[0].images", "empty list"}},
		{"no registry at all", "allow_registries: []\n", []string{"allow_registries", "empty list"}},
		{"a root for no image", "trust_roots: [{name: a, path: b, images: []}]\n", []string{"trust_roots[0].images", "empty list"}},
		{"a principal for no image", "listeners: [{address: \"unix:/run/a.sock\", authentication: socket, protocols: [rest], principal: {name: a, role: viewer, images: []}}]\n", []string{"listeners[0].principal.images"}},
		{"no client at all", "listeners: [{address: \"0.0.0.0:1\", authentication: mtls, protocols: [rest], client_names: [], tls: {cert_file: a, key_file: b, client_ca_file: c}, principal: {name: a, role: viewer}}]\n", []string{"listeners[0].client_names"}},
		{"a repository with a password", "trust_roots: [{name: a, tuf: \"https://u:secret@tuf.test\", tuf_root: b}]\n", []string{"trust_roots[0].tuf", "user name"}},
		{"a word for a rate", "rate_limit: {per_second: fast}\n", []string{"line 1: is the text `fast`; it must be a number"}},
		{"a rate that is no number", "rate_limit: {per_second: .nan}\n", []string{"rate_limit"}},
		{"a rate without end", "rate_limit: {per_second: .inf}\n", []string{"rate_limit"}},
		{"negative rate", "rate_limit: {per_second: -1}\n", []string{"rate_limit"}},
		{"burst without a rate", "rate_limit: {burst: 3}\n", []string{"rate_limit.burst"}},
		{"two databases", "database: {url: \"postgres://a/b\", url_file: c}\n", []string{"database", "not both"}},
		{"another database", "database: {url: \"mysql://a:secret@b/c\"}\n", []string{"database.url", "postgres://"}},
		{"migrate", "database: {migrate: never}\n", []string{"database.migrate", "manual"}},
		{"tuf without its root", "trust_roots: [{name: a, tuf: \"https://tuf.test\"}]\n", []string{"trust_roots[0]", "tuf_root"}},
		{"mirror of itself", "registries: {a.test: {mirrors: [{host: a.test}]}}\n", []string{"registries.a.test.mirrors[0].host"}},
		{"redis without a server", "cache: {redis: {username: a}}\n", []string{"cache.redis", "url or addresses"}},
		{"redis mode", "cache: {redis: {url: \"redis://a\", mode: ring}}\n", []string{"cache.redis.mode", "cluster"}},
		{"redis with two passwords", "cache: {redis: {url: \"redis://a\", password_file: a, password_env: b}}\n", []string{"cache.redis", "not both"}},
		{"redis without time", "cache: {redis: {timeout: 0s}}\n", []string{"cache.redis.timeout"}},
		{"kms without time", "kms: {refresh: 0s}\n", []string{"kms", "more than 0"}},
		{"negative retention", "retention: {max_verdicts: -1}\n", []string{"retention.max_verdicts"}},
		{"a team's administrator for no images", "listeners: [{address: \"unix:/run/a.sock\", authentication: socket, protocols: [rest], principal: {name: a, role: admin, team: red}}]\n", []string{"listeners[0].principal.images", "** for every image"}},
		{"a team's author for no images", "listeners: [{address: \"unix:/run/a.sock\", authentication: socket, protocols: [rest], principal: {name: a, role: author, team: red}}]\n", []string{"listeners[0].principal.images"}},
		{"decision log to nowhere", "decision_log: {mask: m.rego}\n", []string{"decision_log", "file.path or http.url"}},
		{"decision log's file without a path", "decision_log: {file: {max_age: 1d}, http: {url: \"https://a.test\"}}\n", []string{"decision_log.file.path"}},
		{"decision log's endpoint without a URL", "decision_log: {file: {path: a}, http: {token_file: t}}\n", []string{"decision_log.http.url", "missing"}},
		{"decision log's own label", "decision_log: {file: {path: a}, labels: {id: x}}\n", []string{"decision_log.labels.id"}},
		{"decision log in clear text", "decision_log: {http: {url: \"http://logs.test\"}}\n", []string{"decision_log.http.url", "clear text"}},
		{"decision log with a password", "decision_log: {http: {url: \"https://u:secret@logs.test\"}}\n", []string{"decision_log.http.url", "token_file"}},
		{"decision log's other scheme", "decision_log: {http: {url: \"ftp://logs.test\"}}\n", []string{"decision_log.http.url", "https://"}},
		{"decision log's delays", "decision_log: {http: {url: \"https://a.test\", reporting: {max_delay_seconds: 5}}}\n", []string{"reporting", "min_delay_seconds"}},
		{"decision log's sizes", "decision_log: {http: {url: \"https://a.test\", reporting: {buffer_size_limit_bytes: 5, upload_size_limit_bytes: 9}}}\n", []string{"upload_size_limit_bytes", "buffer_size_limit_bytes"}},
		{"decision log's rate", "decision_log: {http: {url: \"https://a.test\", reporting: {max_decisions_per_second: .nan}}}\n", []string{"max_decisions_per_second"}},
		{"decision log's two paths", "decision_log: {http: {url: \"https://a.test\", resource: /x, partition_name: y}}\n", []string{"partition_name", "keep one"}},
		{"decision log's half a certificate", "decision_log: {http: {url: \"https://a.test\", cert_file: y}}\n", []string{"decision_log.http.cert_file"}},
		{"decision log without a buffer", "decision_log: {file: {path: a}, buffer_bytes: 0}\n", []string{"decision_log.buffer_bytes"}},
		{"two policies", "policy_file: p.yaml\nsigning_policy: {mode: audit}\n", []string{"policy_file", "keep one"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := write(t, t.TempDir(), tt.body)
			_, err := Load(path, "", environ())
			if err == nil {
				t.Fatal("accepted")
			}
			for _, s := range append(tt.says, path+": ") {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("error %q does not say %q", err, s)
				}
			}
		})
	}
}

func TestAllMistakesAreReportedTogether(t *testing.T) {
	path := write(t, t.TempDir(), "log: {level: loud}\nlisten: x\n")
	_, err := Load(path, "", environ())
	if err == nil || strings.Count(err.Error(), path+": ") != 2 {
		t.Errorf("%v", err)
	}
}

func TestEnvironmentIsRefused(t *testing.T) {
	for _, kv := range [][2]string{
		{"SIGNET_OFFLINE", "yes"}, {"SIGNET_MAX_STALENESS", "soon"}, {"SIGNET_ACTIVE_GRACE", "5"}, {"SIGNET_DECISION_MAX_AGE", "x"},
	} {
		_, err := Load("", t.TempDir(), environ(kv[0], kv[1]))
		if err == nil || !strings.Contains(err.Error(), kv[0]) || !strings.Contains(err.Error(), kv[1]) {
			t.Errorf("%s=%s: %v", kv[0], kv[1], err)
		}
	}
}

func TestEmptyAndAbsentFiles(t *testing.T) {
	want, err := Load("", t.TempDir(), environ())
	if err != nil {
		t.Fatal(err)
	}
	path := write(t, t.TempDir(), "# nothing yet\n")
	got, err := Load(path, want.DataDir, environ())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.Limits, got.Limits); diff != "" {
		t.Error(diff)
	}
	if _, err := Load(filepath.Join(t.TempDir(), "absent.yaml"), "", environ()); err == nil {
		t.Error("a file that was named and is not there is no error")
	}
}

func TestParseDuration(t *testing.T) {
	for in, want := range map[string]time.Duration{"14d": 14 * 24 * time.Hour, "0s": 0, "1d": 24 * time.Hour, "1h30m": 90 * time.Minute} {
		if got, err := ParseDuration(in); err != nil || got != want {
			t.Errorf("ParseDuration(%q) = %s, %v; want %s", in, got, err, want)
		}
	}
	for _, in := range []string{"", "14", "d", "-1d", "1.5d", "2562047d"} {
		if got, err := ParseDuration(in); err == nil {
			t.Errorf("ParseDuration(%q) = %s", in, got)
		}
	}
}

func TestCheckListen(t *testing.T) {
	for addr, ok := range map[string]bool{
		"127.0.0.1:0": true, "localhost:80": true, "[::1]:80": true, "127.8.8.8:1": true,
		":80": false, "0.0.0.0:80": false, "10.0.0.1:80": false, "example.com:80": false, "[::]:80": false,
	} {
		if err := (&File{Listen: addr}).CheckListen(); (err == nil) != ok {
			t.Errorf("CheckListen(%s) = %v", addr, err)
		}
		if err := (&File{Listen: addr, ListenInsecure: true}).CheckListen(); err != nil {
			t.Errorf("CheckListen(%s, insecure) = %v", addr, err)
		}
	}
}

// The database's URL may hold a password, so no error repeats it.
func TestDatabaseURLIsNotRepeated(t *testing.T) {
	for _, u := range []string{"mysql://a:hunter2@b/c", "postgres://a:hunter2@[/c", ":hunter2"} {
		if err := CheckDatabaseURL(u); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("CheckDatabaseURL(%q) = %v", u, err)
		}
	}
}

func TestListenersThatAreGood(t *testing.T) {
	path := write(t, t.TempDir(), `
listen: 0.0.0.0:8443
tls: {cert_file: server.pem, key_file: server.key}
listeners:
  - {address: "0.0.0.0:9443", protocols: [rest], authentication: mtls, client_names: [gateway.acme.test], principal: {name: gateway, role: verifier, images: ["ghcr.io/acme/**"]}, tls: {cert_file: a, key_file: b, client_ca_file: c}}
  - {address: "unix:/run/signet/gateway.sock", protocols: [rest], authentication: socket, principal: {name: gateway, role: verifier}}
  - {address: "127.0.0.1:9000", protocols: [rest], authentication: none_on_loopback, principal: {name: local, role: verifier}}
  - {address: "127.0.0.1:9001", protocols: [rest], authentication: token}
`)
	f, err := Load(path, "", environ())
	if err != nil {
		t.Fatal(err)
	}
	if got := f.Listeners[1].SocketPath(); got != "/run/signet/gateway.sock" || f.Listeners[0].SocketPath() != "" {
		t.Errorf("SocketPath = %q", got)
	}
}

// Every field is in the reference, as the file spells it.
func TestReference(t *testing.T) {
	for _, field := range []string{"`listen`", "`listeners[].principal.role`", "`registries.HOST.mirrors[].host`", "`limits.request_timeout`", "`cache.redis.sentinel_master`", "`database.url`"} {
		if !strings.Contains(Reference(), "| "+field+" |") {
			t.Errorf("the reference has no %s", field)
		}
	}
}

// Every variable that is read stands in a tag, and every tag is read.
func TestVariables(t *testing.T) {
	want := []string{
		"SIGNET_ACTIVE_GRACE", "SIGNET_DATABASE_URL", "SIGNET_DATABASE_URL_FILE", "SIGNET_DATA_DIR", "SIGNET_DECISION_MAX_AGE", "SIGNET_EXTERNAL_URL", "SIGNET_LISTEN",
		"SIGNET_LOG_FORMAT", "SIGNET_LOG_LEVEL", "SIGNET_MAX_STALENESS", "SIGNET_NETWORK_PROXY", "SIGNET_OFFLINE", "SIGNET_POLICY_FILE", "SIGNET_REDIS_URL", "SIGNET_SECRET_FILE",
	}
	if got := slices.Sorted(slices.Values(Variables())); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	read := map[string]bool{}
	if _, err := Load("", "", func(name string) string { read[name] = true; return "" }); err != nil {
		t.Fatal(err)
	}
	for _, name := range want {
		if !read[name] {
			t.Errorf("%s is never read", name)
		}
	}
}
