package api

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/verdict"
)

func TestNewRefuses(t *testing.T) {
	taken := prometheus.NewRegistry()
	if _, err := newMetrics(taken, "x", nil, nil, nil); err != nil {
		t.Fatal(err)
	}
	run := func(context.Context) error { return nil }
	for _, tt := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"no decider", func(c *Config) { c.Decider = nil }, "api: Config.Decider is missing"},
		{"no verdicts", func(c *Config) { c.Verdicts = nil }, "api: Config.Verdicts is missing"},
		{"no build", func(c *Config) { c.Build = "" }, "api: Config.Build is missing"},
		{"negative timeout", func(c *Config) { c.RequestTimeout = -1 }, "api: Config.RequestTimeout is -1ns; it must be more than 0, or 0 for 30s"},
		{"negative limit", func(c *Config) { c.BodyLimit = -1 }, "api: Config.BodyLimit is -1; it must be more than 0, or 0 for 65536"},
		{"check without name", func(c *Config) { c.Checks = []Check{{Run: run}} }, "api: Config.Checks[0] needs a Name and a Run"},
		{"check without run", func(c *Config) { c.Checks = []Check{{Name: "a"}} }, "api: Config.Checks[0] needs a Name and a Run"},
		{"check twice", func(c *Config) { c.Checks = []Check{{Name: "a", Run: run}, {Name: "a", Run: run}} }, `api: Config.Checks[1]: the name "a" is taken`},
		{"check of our own name", func(c *Config) { c.Checks = []Check{{Name: "state", Run: run}} }, `api: Config.Checks[0]: the name "state" is taken`},
		{"negative large limit", func(c *Config) { c.LargeBodyLimit = -1 }, "api: Config.LargeBodyLimit is -1; it must be more than 0, or 0 for 16777216"},
		{"rate limit without burst", func(c *Config) { c.RateLimit.PerSecond = 5 }, "api: Config.RateLimit.Burst is 0; it must be at least 1, or 0 with PerSecond 0 for no limit"},
		{"proxy", func(c *Config) { c.TrustedProxies = []netip.Prefix{{}} }, "api: Config.TrustedProxies[0] is not a valid prefix"},
		{"metrics twice", func(c *Config) { c.Metrics = taken }, "api: registering metrics: duplicate metrics collector registration attempted"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := Config{Decider: &fakeDecider{}, Verdicts: &fakeVerdicts{}, Build: "test"}
			tt.change(&cfg)
			s, err := New(cfg)
			if s != nil || err == nil || err.Error() != tt.want {
				t.Errorf("got %v, %v; want %s", s, err, tt.want)
			}
		})
	}
}

// HEAD and bodies behave as net/http makes them, so this asks a real server.
func TestOverHTTP(t *testing.T) {
	b := newBed(t, nil)
	stored := answer(t, verdict.Deny, false, engine.FromMiss).Body
	b.verdicts.verdict = func(context.Context, string) ([]byte, error) { return stored, nil }
	srv := httptest.NewUnstartedServer(b)
	srv.Config = NewHTTPServer("", b)
	srv.Start()
	defer srv.Close()
	type got struct {
		status int
		length int64
		header http.Header
		body   string
	}
	ask := func(method, path, body string) got {
		res, err := srv.Client().Do(b.request(t, "admin", method, srv.URL+path, body))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		read, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return got{res.StatusCode, res.ContentLength, res.Header, string(read)}
	}
	path := verdictsPath + "/" + testID
	get, head := ask(http.MethodGet, path, ""), ask(http.MethodHead, path, "")
	if get.status != 200 || get.body != string(stored) {
		t.Errorf("GET: %+v", get)
	}
	if head.status != 200 || head.body != "" || head.length != int64(len(stored)) || head.header.Get("Content-Type") != mediaJSON {
		t.Errorf("HEAD: %+v", head)
	}
	if o := ask(http.MethodOptions, verdictsPath, ""); o.status != 204 || o.header.Get("Allow") != "GET, HEAD, OPTIONS, POST" || o.body != "" || o.header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("OPTIONS: %+v", o)
	}
	if p := ask(http.MethodPost, verdictsPath, `{"image":"nginx"}`); p.status != 200 || !strings.Contains(p.body, `"decision":"allow"`) {
		t.Errorf("POST: %+v", p)
	}
	if p := ask(http.MethodPost, verdictsPath, `{"image":"`+strings.Repeat("a", 100<<10)+`"}`); p.status != 413 {
		t.Errorf("POST of 100 KiB: %+v", p)
	}
	r := b.request(t, "", http.MethodOptions, srv.URL+"/healthz", "")
	if w := recorded(b, r); w.Code != 204 {
		t.Errorf("OPTIONS /healthz without a token: %d", w.Code)
	}
}

func TestHTTPServerHasEveryTimeout(t *testing.T) {
	b := newBed(t, func(c *Config) { c.RequestTimeout = time.Minute })
	ours, other := NewHTTPServer("127.0.0.1:0", b.Server), NewHTTPServer("127.0.0.1:0", http.NotFoundHandler())
	for _, srv := range []*http.Server{ours, other} {
		if srv.ReadHeaderTimeout <= 0 || srv.ReadTimeout <= 0 || srv.WriteTimeout <= 0 || srv.IdleTimeout <= 0 || srv.MaxHeaderBytes <= 0 || srv.Addr != "127.0.0.1:0" || srv.Handler == nil {
			t.Errorf("something is not set: %+v", srv)
		}
	}
	if ours.WriteTimeout <= ours.ReadTimeout+time.Minute {
		t.Errorf("the answer may take %s, reading and answering %s", ours.WriteTimeout, ours.ReadTimeout+time.Minute)
	}
	if ours.ErrorLog == nil {
		t.Error("what net/http has to say does not go to our log")
	}
}

// Secrets and bodies never reach the log; a hit reaches it at debug only.
func TestLog(t *testing.T) {
	const secret = "s3cr3t"
	var out bytes.Buffer
	b := newBed(t, func(c *Config) {
		c.Log = slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	from, failure := engine.FromMemory, error(nil)
	b.decider.decide = func(context.Context, *engine.State, engine.Request) (engine.Answer, error) {
		return answer(t, verdict.Allow, true, from), failure
	}
	post := func(as, body string) *http.Request {
		r := b.request(t, as, http.MethodPost, verdictsPath, body)
		r.Header.Set("X-Request-ID", "my-id")
		r.Header.Set("Cookie", secret)
		r.Header.Set("X-Forwarded-For", "198.51.100.7")
		r.RemoteAddr = "192.0.2.1:4711"
		return r
	}
	plain := `{"image":"` + testImage + `"}`
	for _, tt := range []struct {
		name    string
		prepare func()
		request *http.Request
		level   string
		has     []string
	}{
		{"hit", nil, post("verifier", plain), "DEBUG", []string{`"request_id":"my-id"`, `"image":"` + testImage + `"`, `"decision":"allow"`, `"cache":"memory"`, `"principal":"verifier-token"`, `"remote":"192.0.2.1"`, `"status":200`, `"route":"/api/v1/verdicts"`, `"method":"POST"`, `"took":`, `"token_id":"`}},
		{"miss", func() { from = engine.FromMiss }, post("verifier", plain), "INFO", []string{`"cache":"miss"`}},
		{"bad body", nil, post("verifier", `{"`+secret+`":1}`), "INFO", []string{`"code":"unknown_field"`, `"status":400`}},
		{"an image that is none", nil, post("verifier", `{"image":"/`+secret+`"}`), "INFO", []string{`"code":"invalid_field"`, `"field":"image"`}},
		{"no role", nil, post("viewer", `{"image":"`+secret+`"}`), "INFO", []string{`"code":"role_missing"`, `"principal":"viewer-token"`}},
		{"query", nil, b.request(t, "admin", http.MethodGet, "/nowhere/"+secret+"?token="+secret, ""), "INFO", []string{`"code":"route_not_found"`}},
		{"odd method", nil, b.request(t, "admin", "BREW", "/metrics", ""), "INFO", []string{`"method":"other"`, `"code":"method_not_allowed"`}},
		{"failure", func() { failure = errors.New("the disk is full") }, post("verifier", plain), "ERROR", []string{`"code":"internal_error"`, `"error":"the disk is full"`, `"image":"` + testImage + `"`}},
		{"store", func() { failure = ErrUnavailable }, post("verifier", plain), "WARN", []string{`"code":"store_unavailable"`, `"error":"the store cannot be read"`}},
		{"health", nil, b.request(t, "", http.MethodGet, "/healthz", ""), "DEBUG", []string{`"route":"/healthz"`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.prepare != nil {
				tt.prepare()
			}
			out.Reset()
			recorded(b, tt.request)
			line := out.String()
			if strings.Count(line, "\n") != 1 || !strings.Contains(line, `"level":"`+tt.level+`"`) {
				t.Errorf("want one line at %s: %s", tt.level, line)
			}
			for _, want := range tt.has {
				if !strings.Contains(line, want) {
					t.Errorf("%s is missing in %s", want, line)
				}
			}
			for _, token := range b.tokens {
				if strings.Contains(line, token) || strings.Contains(line, token[24:]) {
					t.Errorf("a token is in %s", line)
				}
			}
			if tt.name != "bad body" && strings.Contains(line, secret) { // there it is the name of the field
				t.Errorf("a secret is in %s", line)
			}
		})
	}
}

// What one request left behind must not stand beside the next.
func TestRequestsAreKeptApart(t *testing.T) {
	var out bytes.Buffer
	b := newBed(t, func(c *Config) {
		c.Log = slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	for range 20 {
		b.do(t, b.request(t, "verifier", http.MethodPost, verdictsPath, `{"image":"nginx"}`))
		out.Reset()
		b.do(t, b.request(t, "", http.MethodGet, "/healthz", ""))
		for _, left := range []string{"principal", "token_id", "image", "decision", "cache"} {
			if strings.Contains(out.String(), `"`+left+`"`) {
				t.Fatalf("%s of the request before is in %s", left, out.String())
			}
		}
	}
}

func TestPanicIsLogged(t *testing.T) {
	var out bytes.Buffer
	b := newBed(t, func(c *Config) { c.Log = slog.New(slog.NewJSONHandler(&out, nil)) })
	b.decider.decide = func(context.Context, *engine.State, engine.Request) (engine.Answer, error) { panic("out of order") }
	b.do(t, b.request(t, "verifier", http.MethodPost, verdictsPath, `{"image":"nginx"}`))
	for _, want := range []string{`"msg":"panic while answering"`, `"panic":"out of order"`, "server_test.go"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s is missing in %s", want, out.String())
		}
	}
}

func TestRemoteAddress(t *testing.T) {
	for _, tt := range []struct {
		name    string
		proxies []string
		peer    string
		xff     string
		want    string
	}{
		{"no proxy", nil, "192.0.2.1:1", "198.51.100.7", "192.0.2.1"},
		{"loopback is no proxy by itself", nil, "127.0.0.1:1", "198.51.100.7", "127.0.0.1"},
		{"a proxy", []string{"192.0.2.0/24"}, "192.0.2.1:1", "198.51.100.7", "198.51.100.7"},
		{"a proxy that is not ours", []string{"192.0.2.0/24"}, "203.0.113.1:1", "198.51.100.7", "203.0.113.1"},
		{"private peers are no proxies beside ours", []string{"192.0.2.0/24"}, "10.0.0.1:1", "198.51.100.7", "10.0.0.1"},
		{"what the caller claims", []string{"192.0.2.0/24"}, "192.0.2.1:1", "10.0.0.9, 198.51.100.7", "198.51.100.7"},
		{"two proxies", []string{"192.0.2.5/24", "2001:db8::/32"}, "[2001:db8::1]:1", "198.51.100.7, 192.0.2.9", "198.51.100.7"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			b := newBed(t, func(c *Config) {
				c.Log = slog.New(slog.NewTextHandler(&out, nil))
				for _, p := range tt.proxies {
					c.TrustedProxies = append(c.TrustedProxies, netip.MustParsePrefix(p))
				}
			})
			r := b.request(t, "viewer", http.MethodGet, "/nowhere", "")
			r.RemoteAddr = tt.peer
			r.Header.Set("X-Forwarded-For", tt.xff)
			r.Header.Set("X-Real-Ip", "10.9.9.9")
			b.do(t, r)
			if !strings.Contains(out.String(), "remote="+tt.want+" ") {
				t.Errorf("want remote=%s in %s", tt.want, out.String())
			}
		})
	}
}

func TestMetrics(t *testing.T) {
	stats := &engine.Stats{}
	stats.Hits.Store(11)
	stats.Deny.Store(3)
	b := newBed(t, func(c *Config) { c.Stats, c.Build = stats, "v1.2.3" })
	give := func(d verdict.Decision, allowed bool, from string) {
		b.decider.decide = func(context.Context, *engine.State, engine.Request) (engine.Answer, error) {
			return answer(t, d, allowed, from), nil
		}
		b.do(t, b.request(t, "verifier", http.MethodPost, verdictsPath, `{"image":"nginx"}`))
	}
	give(verdict.Allow, true, engine.FromMemory)
	give(verdict.Allow, true, engine.FromMemory)
	give(verdict.Deny, false, engine.FromMiss)
	give(verdict.Unknown, false, engine.FromMiss)
	give(verdict.Allow, true, "redis")
	b.decider.decide = func(context.Context, *engine.State, engine.Request) (engine.Answer, error) {
		return answer(t, verdict.Allow, true, "elsewhere"), nil
	}
	recorded(b, b.request(t, "verifier", http.MethodPost, verdictsPath, `{"image":"nginx"}`)) // not as openapi.json has it
	b.do(t, b.request(t, "verifier", http.MethodPost, verdictsPath, `{`))
	b.do(t, b.request(t, "verifier", http.MethodGet, "/"+strings.Repeat("x", 50), ""))
	b.do(t, b.request(t, "", http.MethodGet, "/nowhere", ""))

	w := b.do(t, b.request(t, "viewer", http.MethodGet, "/metrics", ""))
	if got := w.Result().Header.Get("Content-Type"); !strings.HasPrefix(got, "text/plain; version=0.0.4") {
		t.Errorf("Content-Type is %q", got)
	}
	for _, line := range []string{
		`signet_verdicts_total{cache="memory",decision="allow"} 2`,
		`signet_verdicts_total{cache="miss",decision="deny"} 1`,
		`signet_verdicts_total{cache="miss",decision="unknown"} 1`,
		`signet_verdicts_total{cache="redis",decision="allow"} 1`,
		`signet_verdicts_total{cache="other",decision="allow"} 1`,
		`signet_verdicts_total{cache="memory",decision="unknown"} 0`,
		`signet_problems_total{code="invalid_json",status="400"} 1`,
		`signet_problems_total{code="route_not_found",status="404"} 1`,
		`signet_problems_total{code="token_missing",status="401"} 1`,
		`signet_request_duration_seconds_count{cache="memory",route="/api/v1/verdicts"} 2`,
		`signet_request_duration_seconds_count{cache="miss",route="/api/v1/verdicts"} 2`,
		`signet_request_duration_seconds_count{cache="redis",route="/api/v1/verdicts"} 1`,
		`signet_request_duration_seconds_count{cache="",route="/api/v1/verdicts"} 2`,
		`signet_request_duration_seconds_count{cache="",route="(none)"} 2`,
		`signet_build_info{build="v1.2.3"} 1`,
		`signet_panics_total 0`,
		`signet_engine_hits_total 11`,
		`signet_engine_verdicts_total{decision="deny"} 3`,
		`go_goroutines `,
	} {
		if !strings.Contains(w.Body.String(), "\n"+line) {
			t.Errorf("/metrics lacks %s", line)
		}
	}
	if strings.Contains(w.Body.String(), "xxxx") {
		t.Error("a path that a stranger chose is a label")
	}
}

// failing is a collector whose metrics cannot be gathered.
type failing struct{}

func (failing) Describe(ch chan<- *prometheus.Desc) {
	ch <- prometheus.NewDesc("broken", "x", nil, nil)
}

func (failing) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.NewInvalidMetric(prometheus.NewDesc("broken", "x", nil, nil), errors.New("no number"))
}

func TestMetricsThatFail(t *testing.T) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(failing{})
	b := newBed(t, func(c *Config) { c.Metrics = registry })
	if w := b.do(t, b.request(t, "viewer", http.MethodGet, "/metrics", "")); w.Code != 500 || strings.Contains(w.Body.String(), "no number") {
		t.Errorf("status %d %s", w.Code, w.Body)
	}
}

func TestOneOf(t *testing.T) {
	for want, names := range map[string][]string{"": nil, "a": {"a"}, "a or b": {"a", "b"}, "a, b or c": {"a", "b", "c"}} {
		if got := oneOf(names); got != want {
			t.Errorf("%v: %q, want %q", names, got, want)
		}
	}
}

func TestProblemIsAnError(t *testing.T) {
	cause := errors.New("why")
	p := &problem{code: "odd", detail: "d", cause: cause}
	if !errors.Is(p, cause) || p.Error() != "odd: why" || (&problem{code: "odd", detail: "d"}).Error() != "odd: d" {
		t.Errorf("got %q", p.Error())
	}
	if d := cmp.Diff(500, p.status()); d != "" {
		t.Errorf("a code that is not in the table: %s", d)
	}
	if got := string(p.body("r", true)); !strings.Contains(got, `"status":500`) || !strings.Contains(got, `"allowed":false`) {
		t.Errorf("a code that is not in the table: %s", got)
	}
}
