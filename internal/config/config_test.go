package config

import (
	"os"
	"path/filepath"
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
		if err := CheckListen(addr, false); (err == nil) != ok {
			t.Errorf("CheckListen(%s) = %v", addr, err)
		}
		if err := CheckListen(addr, true); err != nil {
			t.Errorf("CheckListen(%s, insecure) = %v", addr, err)
		}
	}
}
