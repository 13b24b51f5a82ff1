package api

import (
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/verdict"
)

// A connection that says who asks needs no token, and takes none.
func TestVouchedPrincipal(t *testing.T) {
	b := newBed(t, nil)
	as := func(p auth.Principal, r *http.Request) *http.Request {
		return r.WithContext(WithPrincipal(r.Context(), p))
	}
	var who client.Whoami
	read(t, b.do(t, as(auth.Principal{Name: "node", Role: auth.Verifier, Team: "web", Images: []string{"ghcr.io/org/**"}}, b.request(t, "", http.MethodGet, v1+"/whoami", ""))), &who)
	if d := cmp.Diff(client.Whoami{Name: "node", Role: "verifier", Team: "web", Images: []string{"ghcr.io/org/**"}}, who); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	want := told{400, codeTokenUnexpected, "header.Authorization", "The connection says who asks, so no token is read here. Leave out the header Authorization, or use a listener that takes tokens."}
	for _, path := range []string{v1 + "/whoami", "/docs", "/nowhere"} {
		if d := cmp.Diff(want, toldBy(b, t, as(auth.Principal{Name: "node", Role: auth.Admin}, b.request(t, "admin", http.MethodGet, path, "")))); d != "" {
			t.Errorf("%s with a token too (-want +got):\n%s", path, d)
		}
	}
	for name, p := range map[string]auth.Principal{"nobody": {}, "without a name": {Role: auth.Admin}, "without a role": {Name: "node"}, "with a role of nobody": {Name: "node", Role: "boss"}} {
		ready, w := readyBody{}, b.do(t, as(p, b.request(t, "", http.MethodGet, "/readyz", "")))
		if read(t, w, &ready); ready.Build != "" {
			t.Errorf("%s sees the details of /readyz: %+v", name, ready)
		}
		for _, e := range []endpoint{{method: "GET", path: v1 + "/whoami"}, {method: "GET", path: v1 + "/signers"}, {method: "POST", path: verdictsPath, media: mediaJSON, body: `{"image":"` + testImage + `"}`}} {
			if got := toldBy(b, t, as(p, b.send(t, "", e))); got.Status != 403 || got.Code != codeRoleMissing {
				t.Errorf("%s, %s: %+v", name, e.path, got)
			}
		}
	}
	status, ready := 0, readyBody{}
	w := b.do(t, as(auth.Principal{Name: "node", Role: auth.Viewer}, b.request(t, "", http.MethodGet, "/readyz", "")))
	read(t, w, &ready)
	if status = w.Code; status != 200 || ready.Build != "test" {
		t.Errorf("/readyz: status %d, %+v", status, ready)
	}
}

func TestWhoami(t *testing.T) {
	b := newBed(t, nil)
	for _, role := range auth.Roles() {
		var who client.Whoami
		read(t, b.do(t, b.request(t, string(role), http.MethodGet, v1+"/whoami", "")), &who)
		if who.Name != string(role)+"-token" || who.Role != string(role) || who.TokenID == "" || who.Images == nil || !who.ExpiresAt.Equal(testNow.Add(auth.DefaultTTL)) {
			t.Errorf("%s: %+v", role, who)
		}
	}
}

// boundBed has a token that is bound to images, and one that is bound to a network.
func boundBed(t *testing.T, change func(*Config)) *bed {
	t.Helper()
	b := newBed(t, change)
	var list []auth.Token
	for as, req := range map[string]auth.NewTokenRequest{
		"bound":   {Role: auth.Admin, Images: []string{"registry.example/org/**"}},
		"network": {Role: auth.Admin, Sources: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}},
		"free":    {Role: auth.Admin},
	} {
		req.Name, req.CreatedBy = as, "test"
		plain, tok, err := auth.NewToken(req, b.now)
		if err != nil {
			t.Fatal(err)
		}
		b.tokens[as], list = plain, append(list, tok)
	}
	tokens, err := auth.NewTokens(list)
	if err != nil {
		t.Fatal(err)
	}
	b.state = &engine.State{Active: b.state.Active, Tokens: tokens}
	return b
}

// A token that is bound to networks is judged by the connection's address, or by
// what a trusted proxy says of it.
func TestTokenSource(t *testing.T) {
	proxies := func(c *Config) { c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")} }
	for _, tt := range []struct {
		name, remote, forwarded string
		change                  func(*Config)
		status                  int
	}{
		{"within", "198.51.100.7:4711", "", nil, 200},
		{"within, as IPv6", "[::ffff:198.51.100.7]:4711", "", nil, 200},
		{"elsewhere", "192.0.2.1:4711", "", nil, 401},
		{"elsewhere, and a header nobody trusts", "192.0.2.1:4711", "198.51.100.7", nil, 401},
		{"through a proxy", "192.0.2.1:4711", "198.51.100.7", proxies, 200},
		{"through a proxy, elsewhere", "192.0.2.1:4711", "203.0.113.9", proxies, 401},
		{"past the proxy", "203.0.113.9:4711", "198.51.100.7", proxies, 401},
		{"on a Unix socket", "@", "", nil, 401},
		{"nowhere", "", "", nil, 401},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := boundBed(t, tt.change)
			r := b.request(t, "network", http.MethodGet, v1+"/whoami", "")
			r.RemoteAddr = tt.remote
			if tt.forwarded != "" {
				r.Header.Set("X-Forwarded-For", tt.forwarded)
			}
			w := b.do(t, r)
			if w.Code != tt.status || w.Code == 401 && problemOf(w).Code != codeTokenSource {
				t.Errorf("status %d: %s", w.Code, w.Body)
			}
		})
	}
}

// A token that is bound to images asks about those, and sees of those; of others
// it learns not even that there is something.
func TestScope(t *testing.T) {
	const inside, outside = "registry.example/org/app:v1", "registry.example/other/app:v1"
	b := boundBed(t, nil)
	for image, want := range map[string]told{
		inside:  {200, "", "", ""},
		outside: {403, codeOutOfScope, "image", `The principal "bound" may ask about registry.example/org/** only, and "registry.example/other/app:v1" is not among them.`},
		"nginx": {400, codeInvalidField, "image", `The image "nginx" is not right: the image has no registry.`},
	} {
		asked := 0
		b.decider.decide = func(context.Context, *engine.State, engine.Request) (engine.Answer, error) {
			asked++
			return answer(t, verdict.Allow, true, engine.FromMemory), nil
		}
		if d := cmp.Diff(want, toldBy(b, t, b.request(t, "bound", http.MethodPost, verdictsPath, `{"image":"`+image+`"}`))); d != "" || asked != map[bool]int{true: 1}[want.Status == 200] {
			t.Errorf("%s: asked %d times (-want +got):\n%s", image, asked, d)
		}
		if got := toldBy(b, t, b.request(t, "free", http.MethodPost, verdictsPath, `{"image":"`+image+`"}`)); got.Status != 200 {
			t.Errorf("%s, bound to nothing: %+v", image, got)
		}
	}
	whole := string(answer(t, verdict.Deny, false, engine.FromMiss).Body)
	for image, status := range map[string]int{inside: 200, outside: 404, "nginx": 404} {
		b.verdicts.verdict = func(context.Context, string) ([]byte, error) {
			return []byte(strings.Replace(whole, testImage, image, 1)), nil
		}
		b.verdicts.basis = newBasis(t)
		for _, suffix := range []string{"", "/input", "/uses"} {
			path := verdictsPath + "/" + testID + suffix
			if got := toldBy(b, t, b.request(t, "bound", http.MethodGet, path, "")); got.Status != status || status == 404 && got.Code != codeVerdictNotFound {
				t.Errorf("%s%s: %+v, want %d", image, suffix, got, status)
			}
			if got := toldBy(b, t, b.request(t, "free", http.MethodGet, path, "")); got.Status != 200 {
				t.Errorf("%s%s, bound to nothing: %+v", image, suffix, got)
			}
		}
	}
	b.verdicts.verdict = func(context.Context, string) ([]byte, error) { return []byte("damaged"), nil }
	if got := toldBy(b, t, b.request(t, "bound", http.MethodGet, verdictsPath+"/"+testID, "")); got.Status != 500 {
		t.Errorf("a verdict that cannot be read: %+v", got)
	}
	blind := boundBed(t, func(c *Config) { c.ImageName = nil })
	if got := toldBy(blind, t, blind.request(t, "bound", http.MethodPost, verdictsPath, `{"image":"`+inside+`"}`)); got.Code != codeOutOfScope {
		t.Errorf("without names of images: %+v", got)
	}
}

// Threat: guessing. Unknown tokens under one id are not looked at any more after
// some; others behind the same address, and the id elsewhere, go on.
func TestGuessesAreSlow(t *testing.T) {
	b := newBed(t, nil)
	good := b.tokens["viewer"]
	// Another installation's token with the id of ours is what a guess looks like.
	guessed := forged(t, good)
	ask := func(token, from string) told {
		r := b.request(t, "", http.MethodGet, v1+"/whoami", "")
		r.Header.Set("Authorization", "Bearer "+token)
		r.RemoteAddr = from
		return toldBy(b, t, r)
	}
	const here, elsewhere = "192.0.2.1:4711", "192.0.2.2:4711"
	for i := range perGuess.Burst {
		if got := ask(guessed, here); got.Code != codeTokenUnknown {
			t.Fatalf("guess %d: %+v", i+1, got)
		}
	}
	want := told{429, codeRateLimited, "", "Too many tokens that are not known came from this address. Ask again later, with the right one."}
	for name, token := range map[string]string{"one guess too many": guessed, "the right one, which would tell": good} {
		if d := cmp.Diff(want, ask(token, here)); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
	r := b.request(t, "", http.MethodGet, "/readyz", "")
	r.Header.Set("Authorization", "Bearer "+good)
	r.RemoteAddr = here
	if w := b.do(t, r); strings.Contains(w.Body.String(), "build") {
		t.Errorf("/readyz tells whether the guess was right: %s", w.Body)
	}
	for name, got := range map[string]told{"its owner elsewhere": ask(good, elsewhere), "another's at the same address": ask(b.tokens["admin"], here)} {
		if got.Status != 200 {
			t.Errorf("%s: %+v", name, got)
		}
	}
	b.now = b.now.Add(10 * time.Second)
	if got := ask(good, here); got.Status != 200 {
		t.Errorf("later: %+v", got)
	}
}

// forged has the id of token, another secret, and a checksum that fits.
func forged(t *testing.T, token string) string {
	t.Helper()
	body := token[:len("sgn_")+17]
	other, _, err := auth.NewToken(auth.NewTokenRequest{Name: "x", Role: auth.Viewer, CreatedBy: "test"}, testNow)
	if err != nil {
		t.Fatal(err)
	}
	body += other[len(body) : len(other)-6]
	n, sum := crc32.ChecksumIEEE([]byte(body)), make([]byte, 6)
	for i := range sum {
		sum[len(sum)-1-i], n = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"[n%62], n/62
	}
	return body + string(sum)
}

// Many ids from one source are told apart from none: those that fail get 429,
// those that are good go on.
func TestFloodOfUnknownTokens(t *testing.T) {
	b := newBed(t, nil)
	last := told{}
	for range perSource.Burst + 1 {
		plain, _, err := auth.NewToken(auth.NewTokenRequest{Name: "x", Role: auth.Viewer, CreatedBy: "test"}, testNow)
		if err != nil {
			t.Fatal(err)
		}
		r := b.request(t, "", http.MethodGet, v1+"/whoami", "")
		r.Header.Set("Authorization", "Bearer "+plain)
		r.RemoteAddr = "[2001:db8::1]:4711"
		last = toldBy(b, t, r)
	}
	if last.Code != codeRateLimited {
		t.Errorf("the last of many: %+v", last)
	}
	r := b.request(t, "viewer", http.MethodGet, v1+"/whoami", "")
	r.RemoteAddr = "[2001:db8::2]:4711" // the same /64
	if got := toldBy(b, t, r); got.Status != 200 {
		t.Errorf("a good token at the same source: %+v", got)
	}
}

func TestSourceOf(t *testing.T) {
	for in, want := range map[string]string{"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "2001:db8:1:2:3::4": "2001:db8:1:2::", "fe80::1%eth0": "fe80::"} {
		if got := sourceOf(netip.MustParseAddr(in)); got.String() != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
	if got := sourceOf(netip.Addr{}); got.IsValid() {
		t.Errorf("no address: %s", got)
	}
}

func TestRateLimit(t *testing.T) {
	b := newBed(t, func(c *Config) { c.RateLimit = RateLimit{PerSecond: 0.5, Burst: 3} })
	ask := func(as string) *http.Request { return b.request(t, as, http.MethodGet, v1+"/whoami", "") }
	for range 3 {
		if w := b.do(t, ask("viewer")); w.Code != 200 {
			t.Fatalf("status %d", w.Code)
		}
	}
	w := b.do(t, ask("viewer"))
	p := problemOf(w)
	if w.Code != 429 || p.Code != codeRateLimited || w.Result().Header.Get("Retry-After") != "2" || p.Retry != 2 || p.Detail != `The principal "viewer-token" asks more often than it may. Ask again after Retry-After.` {
		t.Errorf("status %d, %+v", w.Code, p)
	}
	vouched := ask("")
	vouched = vouched.WithContext(WithPrincipal(vouched.Context(), auth.Principal{Name: "viewer-token", Role: auth.Viewer}))
	for name, r := range map[string]*http.Request{"another token": ask("admin"), "a principal of the connection with the same name": vouched, "health": b.request(t, "viewer", http.MethodGet, "/readyz", "")} {
		if w := b.do(t, r); w.Code != 200 {
			t.Errorf("%s: status %d", name, w.Code)
		}
	}
	if got := toldBy(b, t, b.request(t, "expired", http.MethodGet, v1+"/whoami", "")); got.Code != codeTokenExpired {
		t.Errorf("who is not known has no limit of its own: %+v", got)
	}
	b.now = b.now.Add(2 * time.Second)
	if w := b.do(t, ask("viewer")); w.Code != 200 {
		t.Errorf("two seconds later: status %d", w.Code)
	}
	b.now = b.now.Add(time.Minute)
	if got := b.metric(t, "signet_problems_total"); got != 2 {
		t.Errorf("%v problems are counted, want the one that was limited and the one that had expired", got)
	}
}

// A batch counts as its items do; more than a whole bucket as a whole one.
func TestRateLimitOfBatches(t *testing.T) {
	b := newBed(t, func(c *Config) { c.RateLimit = RateLimit{PerSecond: 1, Burst: 5} })
	batch := func(n int) int {
		items := strings.TrimSuffix(strings.Repeat(`{"image":"`+testImage+`"},`, n), ",")
		return b.do(t, b.request(t, "verifier", http.MethodPost, verdictsPath+"/batch", `{"items":[`+items+`]}`)).Code
	}
	if got := []int{batch(4), batch(3)}; got[0] != 200 || got[1] != 429 {
		t.Errorf("4 and 3 of 5: %v", got)
	}
	b.now = b.now.Add(time.Minute)
	if got := []int{batch(6), batch(1)}; got[0] != 200 || got[1] != 429 {
		t.Errorf("6 and 1 of 5: %v", got)
	}
	b.now = b.now.Add(time.Minute)
	if got := []int{batch(5), batch(1)}; got[0] != 200 || got[1] != 429 {
		t.Errorf("5 and 1 of 5: %v", got)
	}
}

// Who asks too often makes us read no large body.
func TestRateLimitComesBeforeLargeBodies(t *testing.T) {
	b := newBed(t, func(c *Config) { c.RateLimit = RateLimit{PerSecond: 1, Burst: 1} })
	ask := func() (status, read int) {
		r := b.request(t, "verifier", http.MethodPost, verdictsPath+"/batch", `{"items":[{"image":"`+testImage+`"}]}`)
		body := &counted{Reader: r.Body}
		r.Body = io.NopCloser(body)
		return b.do(t, r).Code, body.n
	}
	if status, read := ask(); status != 200 || read == 0 {
		t.Errorf("the first: status %d, %d bytes read", status, read)
	}
	if status, read := ask(); status != 429 || read != 0 {
		t.Errorf("the second: status %d, %d bytes read", status, read)
	}
}

// counted counts what is read.
type counted struct {
	io.Reader
	n int
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += n
	return n, err
}

// Others learn which tokens are used; those that are refused are not.
func TestTokenUsed(t *testing.T) {
	var used []string
	b := newBed(t, func(c *Config) {
		c.TokenUsed = func(id string, at time.Time) { used = append(used, id+" "+at.Format(time.RFC3339)) }
		c.Counters = []Counter{{Name: "signet_things_total", Help: "Things.", Value: func() float64 { return 7 }}}
	})
	b.do(t, b.request(t, "revoked", http.MethodGet, v1+"/whoami", ""))
	b.do(t, b.request(t, "", http.MethodGet, v1+"/whoami", ""))
	if used != nil {
		t.Errorf("refused, and used: %q", used)
	}
	b.do(t, b.request(t, "viewer", http.MethodGet, v1+"/whoami", ""))
	id, _, err := auth.Parse(b.tokens["viewer"])
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{id + " 2025-07-01T12:00:00Z"}, used); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if got := b.metric(t, "signet_things_total"); got != 7 {
		t.Errorf("a counter of another part shows %v", got)
	}
}

func TestRateLimitsThatAreNone(t *testing.T) {
	for _, l := range []RateLimit{{PerSecond: -1, Burst: 1}, {PerSecond: 1}, {Burst: 1}, {PerSecond: 1, Burst: -1}} {
		if err := l.validate(); err == nil || !strings.HasPrefix(err.Error(), "api: Config.RateLimit.") {
			t.Errorf("%+v: %v", l, err)
		}
	}
}

// What is remembered is bounded, and the least recently used goes first.
func TestBucketsAreBounded(t *testing.T) {
	b := newBuckets[string](RateLimit{PerSecond: 1, Burst: 1}, 2)
	for _, key := range []string{"a", "b", "a", "c"} { // c puts b out
		b.take(key, 1, testNow)
	}
	for key, want := range map[string]bool{"a": true, "b": false, "c": true} {
		if wait, got := b.empty(key, testNow); got != want || got && wait != time.Second {
			t.Errorf("%s: empty is %t, for %s", key, got, wait)
		}
	}
	if len(b.byKey) != 2 || b.order.Len() != 2 {
		t.Errorf("%d and %d are kept", len(b.byKey), b.order.Len())
	}
}

// Browsers may present the token as a password, at the page and nowhere else.
func TestBasicIsForThePage(t *testing.T) {
	b := newBed(t, nil)
	ask := func(path, password string) *http.Request {
		r := b.request(t, "", http.MethodGet, path, "")
		if password != "" {
			r.SetBasicAuth("whoever", password)
		}
		return r
	}
	for _, path := range []string{"/docs", "/docs/style.css"} {
		if w := b.do(t, ask(path, b.tokens["verifier"])); w.Code != 200 {
			t.Errorf("%s: status %d", path, w.Code)
		}
		w := b.do(t, ask(path, ""))
		if got := w.Result().Header.Values("WWW-Authenticate"); w.Code != 401 || fmt.Sprint(got) != `[Bearer realm="signet" Basic realm="signet", charset="UTF-8"]` {
			t.Errorf("%s: status %d, challenges %q", path, w.Code, got)
		}
		if w := b.do(t, ask(path, b.tokens["expired"])); problemOf(w).Code != codeTokenExpired || len(w.Result().Header.Values("WWW-Authenticate")) != 2 {
			t.Errorf("%s with an expired token: %d", path, w.Code)
		}
		if w := b.do(t, b.request(t, "verifier", http.MethodGet, path, "")); w.Code != 200 {
			t.Errorf("%s with a bearer token: status %d", path, w.Code)
		}
		two := ask(path, b.tokens["verifier"])
		two.Header.Add("Authorization", "Bearer "+b.tokens["verifier"])
		if w := b.do(t, two); problemOf(w).Code != codeTokenMalformed {
			t.Errorf("%s with two: status %d", path, w.Code)
		}
	}
	for _, path := range []string{v1 + "/whoami", "/openapi.json", "/docs/other"} {
		w := b.do(t, ask(path, b.tokens["verifier"]))
		if got := w.Result().Header.Values("WWW-Authenticate"); w.Code != 401 || fmt.Sprint(got) != `[Bearer realm="signet"]` {
			t.Errorf("%s: status %d, challenges %q", path, w.Code, got)
		}
	}
}
