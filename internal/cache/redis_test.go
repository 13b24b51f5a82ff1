package cache

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/testkit/redistest"
)

func TestRedisConfigMistakes(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	certs := redistest.NewCertificates(t)
	url := "redis://127.0.0.1:6379"
	nodes := []string{"127.0.0.1:7000"}
	tests := []struct {
		name string
		rc   RedisConfig
		want []string
	}{
		{"nothing", RedisConfig{}, []string{"redis.url: mode single wants redis://host:port/db"}},
		{"not a URL", RedisConfig{URL: "redis://:secret word@[::1"}, []string{"redis.url: is not like redis://host:port/db"}},
		{"no host", RedisConfig{URL: "redis:///1"}, []string{"redis.url: is not like"}},
		{"scheme", RedisConfig{URL: "http://127.0.0.1:6379"}, []string{`redis.url: has the scheme "http", want redis or rediss`}},
		{"port", RedisConfig{URL: "redis://127.0.0.1:0"}, []string{`redis.url: "0" is not a port`}},
		{"query", RedisConfig{URL: url + "?skip_verify=true"}, []string{"redis.url: has a query"}},
		{"database", RedisConfig{URL: url + "/one"}, []string{`redis.url: "one" is not the number of a database`}},
		{"two databases", RedisConfig{URL: url + "/1", DB: 2}, []string{"redis.url: names database 1, and redis.db 2"}},
		{"two users", RedisConfig{URL: "redis://u:secret@127.0.0.1", Username: "v", Password: "secret"}, []string{"redis.url: has a user, and redis.username or redis.password"}},
		{"TLS without rediss", RedisConfig{URL: url, TLS: RedisTLS{Enabled: true}}, []string{"redis.url: redis.tls is given, so write rediss://"}},
		{"URL and addresses", RedisConfig{URL: url, Addresses: nodes}, []string{"redis.addresses: mode single has one server"}},
		{"mode", RedisConfig{Mode: "ring", Addresses: nodes}, []string{`redis.mode: "ring" is not single, sentinel or cluster`}},
		{"cluster and sentinel", RedisConfig{Mode: ModeCluster, Addresses: nodes, SentinelMaster: "m"}, []string{"redis.sentinel_master: is for mode sentinel; mode is cluster"}},
		{"cluster with a URL", RedisConfig{Mode: ModeCluster, URL: url}, []string{"redis.url: is for mode single; mode cluster wants redis.addresses", "redis.addresses: mode cluster wants at least one"}},
		{"cluster with a database", RedisConfig{Mode: ModeCluster, Addresses: nodes, DB: 1}, []string{"redis.db: 1 is not a database of mode cluster"}},
		{"sentinel without master", RedisConfig{Mode: ModeSentinel, Addresses: nodes}, []string{"redis.sentinel_master: mode sentinel wants the name of the master"}},
		{"sentinel's password elsewhere", RedisConfig{URL: url, SentinelPassword: "secret"}, []string{"redis.sentinel_password: is for mode sentinel"}},
		{"address", RedisConfig{Mode: ModeCluster, Addresses: []string{"host", ":1", "host:99999"}}, []string{`"host" is not host:port`, `":1" is not host:port`, `"host:99999" is not host:port`}},
		{"negative database", RedisConfig{URL: url, DB: -1}, []string{"redis.db: -1"}},
		{"two passwords", RedisConfig{URL: url, Password: "secret", PasswordFile: empty}, []string{"redis.password_file: redis.password is given too"}},
		{"user without password", RedisConfig{URL: url, Username: "u"}, []string{"redis.username: wants redis.password or redis.password_file"}},
		{"empty password file", RedisConfig{URL: url, PasswordFile: empty}, []string{"redis.password_file: " + empty + " is empty"}},
		{"no password file", RedisConfig{URL: url, PasswordFile: filepath.Join(dir, "none")}, []string{"redis.password_file: open "}},
		{"hash tag", RedisConfig{URL: url, Prefix: "{signet}:"}, []string{"redis.prefix: wants"}},
		{"long prefix", RedisConfig{URL: url, Prefix: strings.Repeat("p", 65)}, []string{"redis.prefix: wants at most 64"}},
		{"short timeout", RedisConfig{URL: url, Timeout: time.Microsecond}, []string{"redis.timeout: 1µs is not within 1ms and 5s"}},
		{"long timeout", RedisConfig{URL: url, Timeout: time.Minute}, []string{"redis.timeout: 1m0s"}},
		{"no CA file", RedisConfig{URL: "rediss://h", TLS: RedisTLS{CAFile: filepath.Join(dir, "none")}}, []string{"redis.tls.ca_file: open "}},
		{"CA file without certificate", RedisConfig{URL: "rediss://h", TLS: RedisTLS{CAFile: empty}}, []string{"redis.tls.ca_file: " + empty + " holds no PEM certificate"}},
		{"half a client certificate", RedisConfig{URL: "rediss://h", TLS: RedisTLS{CertFile: certs.ClientCert}}, []string{"redis.tls.cert_file: a client certificate wants both"}},
		{"another's key", RedisConfig{URL: "rediss://h", TLS: RedisTLS{CertFile: certs.ClientCert, KeyFile: certs.ServerKey}}, []string{"redis.tls.cert_file: tls: private key does not match"}},
		{"several at once", RedisConfig{Mode: ModeSentinel, DB: -1}, []string{"redis.addresses: ", "redis.sentinel_master: ", "redis.db: "}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := New(Config{MaxBytes: 1 << 20, Redis: &tt.rc, Key: testSecret, Build: "b"})
			if err == nil {
				c.Close()
				t.Fatal("no error")
			}
			for _, want := range append(tt.want, "cache: redis.") {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not say %q:\n%v", want, err)
				}
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("the error quotes the password: %v", err)
			}
		})
	}
	rc := &RedisConfig{URL: url}
	for _, tt := range []struct {
		cfg  Config
		want string
	}{
		{Config{Redis: rc, Build: "b"}, "Key is needed"},
		{Config{Redis: rc, Key: testSecret}, "Build is needed"},
		{Config{Redis: rc, Key: testSecret, Build: strings.Repeat("b", 256)}, "Build is needed, of at most 255 bytes"},
		{Config{MaxRemoteValue: -1}, "MaxRemoteValue is -1"},
	} {
		tt.cfg.MaxBytes = 1 << 20
		if _, err := New(tt.cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("New: %v, want %q", err, tt.want)
		}
	}
}

func TestRedisConfigCompleted(t *testing.T) {
	tests := []struct {
		name string
		rc   RedisConfig
		want RedisConfig
	}{
		{"URL", RedisConfig{URL: "rediss://u:p@redis.test/2"}, RedisConfig{
			Mode: ModeSingle, Addresses: []string{"redis.test:6379"}, Username: "u", Password: "p", DB: 2,
			TLS: RedisTLS{Enabled: true}, Prefix: "signet:", Timeout: 100 * time.Millisecond,
		}},
		{"IPv6", RedisConfig{URL: "redis://[::1]:7000", DB: 1, Prefix: "p", Timeout: time.Second}, RedisConfig{
			Mode: ModeSingle, Addresses: []string{"[::1]:7000"}, DB: 1, Prefix: "p", Timeout: time.Second,
		}},
		{"cluster with TLS", RedisConfig{Mode: ModeCluster, Addresses: []string{"a:1", "b:2"}, TLS: RedisTLS{ServerName: "c"}}, RedisConfig{
			Mode: ModeCluster, Addresses: []string{"a:1", "b:2"}, TLS: RedisTLS{ServerName: "c"}, Prefix: "signet:", Timeout: 100 * time.Millisecond,
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.rc.withDefaults()
			if err != nil {
				t.Fatal(err)
			}
			got.URL = ""
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestPasswordIsNotPrinted(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	p := Password("geheim")
	fmt.Fprintf(&out, "%v %+v %#v %s %q %x", p, RedisConfig{Password: p}, RedisConfig{Password: p}, p, p, p)
	log.Info("message", "password", p)
	if s := out.String(); strings.Contains(s, "geheim") || strings.Contains(s, "67656865696d") || !strings.Contains(s, "[redacted]") {
		t.Errorf("printed: %s", s)
	}
}

// The library's own lines are of no use to an operator: they go to the debug log.
func TestLogRedis(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	redisLogger{log}.Printf(ctx, "dialling %s", "somewhere")
	if !strings.Contains(out.String(), `"message":"dialling somewhere"`) || !strings.Contains(out.String(), `"level":"DEBUG"`) {
		t.Errorf("logged: %s", out.String())
	}
}

// Without Redis there is nothing to ask, to rekey or to count.
func TestMemoryAlone(t *testing.T) {
	c, _ := newCache(t, 1<<20)
	if err := c.Ping(ctx); err != nil {
		t.Error(err)
	}
	if err := c.Rekey(testSecret); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(RedisStats{}, c.Stats().Redis); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
