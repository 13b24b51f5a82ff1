package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/verdict"
)

const verdictsPath = "/api/v1/verdicts"

func TestVerdictStatuses(t *testing.T) {
	tests := []struct {
		name       string
		decision   verdict.Decision
		allowed    bool
		from       string
		wantStatus int
		wantRetry  string
	}{
		{"allow", verdict.Allow, true, engine.FromMiss, 200, ""},
		{"allow from memory", verdict.Allow, true, engine.FromMemory, 200, ""},
		{"allow from redis", verdict.Allow, true, "redis", 200, ""},
		{"deny", verdict.Deny, false, engine.FromMemory, 200, ""},
		{"audited deny", verdict.Deny, true, engine.FromMiss, 200, ""},
		{"audited unknown", verdict.Unknown, true, engine.FromMiss, 200, ""},
		{"unknown", verdict.Unknown, false, engine.FromMiss, 503, "30"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBed(t, nil)
			ans := answer(t, tt.decision, tt.allowed, tt.from)
			b.decider.decide = func(context.Context, *engine.State, engine.Request) (engine.Answer, error) { return ans, nil }
			w := b.do(t, b.request(t, "verifier", http.MethodPost, verdictsPath, `{"image":"`+testImage+`"}`))
			h := w.Result().Header
			location := verdictsPath + "/" + testID
			if tt.wantStatus != http.StatusOK {
				location = "" // what was not recorded cannot be read again
			}
			got := []string{fmt.Sprint(w.Code), h.Get("Content-Type"), h.Get("Signet-Cache"), h.Get("Location"), h.Get("Retry-After"), w.Body.String()}
			want := []string{fmt.Sprint(tt.wantStatus), mediaJSON, tt.from, location, tt.wantRetry, string(ans.Body)}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("status, type, cache, location, retry and body (-want +got):\n%s", d)
			}
		})
	}
}

// Threat 58: what the edge does not know is 500 and says unknown; never 200.
func TestThreat58WhatIsNoAnswerIs500(t *testing.T) {
	good := answer(t, verdict.Allow, true, engine.FromMiss)
	with := func(change func(*engine.Answer)) engine.Answer {
		a := good
		change(&a)
		return a
	}
	tests := []struct {
		name string
		ans  engine.Answer
		err  error
	}{
		{"an error nobody knows", good, errors.New("something new")},
		{"the zero answer", engine.Answer{}, nil},
		{"no body", with(func(a *engine.Answer) { a.Body = nil }), nil},
		{"no decision, but allowed", with(func(a *engine.Answer) { a.Decision = "" }), nil},
		{"an unknown word, but allowed", with(func(a *engine.Answer) { a.Decision = "fine" }), nil},
		{"allow that is not allowed", with(func(a *engine.Answer) { a.Allowed = false }), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBed(t, nil)
			b.decider.decide = func(context.Context, *engine.State, engine.Request) (engine.Answer, error) { return tt.ans, tt.err }
			w := b.do(t, b.request(t, "verifier", http.MethodPost, verdictsPath, `{"image":"`+testImage+`"}`))
			p := problemOf(w)
			if w.Code != 500 || p.Code != codeInternal || p.Decision != "unknown" || p.Allowed == nil || *p.Allowed {
				t.Errorf("status %d, problem %+v; want 500 that says unknown and not allowed", w.Code, p)
			}
			if strings.Contains(w.Body.String(), "something new") {
				t.Errorf("the cause is told to the caller: %s", w.Body)
			}
		})
	}
}

func TestPanicIs500(t *testing.T) {
	b := newBed(t, nil)
	b.decider.decide = func(context.Context, *engine.State, engine.Request) (engine.Answer, error) { panic("out of order") }
	for range 2 {
		w := b.do(t, b.request(t, "verifier", http.MethodPost, verdictsPath, `{"image":"`+testImage+`"}`))
		if p := problemOf(w); w.Code != 500 || p.Code != codeInternal || p.Decision != "unknown" {
			t.Errorf("status %d, problem %+v", w.Code, p)
		}
	}
	if got := b.metric(t, "signet_panics_total"); got != 2 {
		t.Errorf("%v panics counted, want 2", got)
	}
	b.decider.decide = func(context.Context, *engine.State, engine.Request) (engine.Answer, error) {
		return answer(t, verdict.Deny, false, engine.FromMiss), nil
	}
	if w := b.do(t, b.request(t, "verifier", http.MethodPost, verdictsPath, `{"image":"`+testImage+`"}`)); w.Code != 200 {
		t.Errorf("after a panic: status %d", w.Code)
	}
}

func TestVerdictRequestReachesTheEngine(t *testing.T) {
	tests := []struct {
		name, as, body string
		want           engine.Request
	}{
		{
			"image alone", "verifier", `{"image":"nginx"}`,
			engine.Request{Image: "nginx", Roles: []string{"verifier"}, Principal: "verifier-token"},
		},
		{
			"all fields", "author", `{"image":"ghcr.io/org/app@sha256:` + strings.Repeat("a", 64) + `","platform":"linux/arm64/v8","context":{"stage":"prod","team":"a"},"refresh":true}`,
			engine.Request{
				Image: "ghcr.io/org/app@sha256:" + strings.Repeat("a", 64), Platform: "linux/arm64/v8",
				Context: map[string]string{"stage": "prod", "team": "a"}, Refresh: true, Roles: []string{"author"}, Principal: "author-token",
			},
		},
		{
			"evidence, byte for byte", "verifier", `{"image":"nginx","evidence":[{"a": [1, {"b":null}]}, {}]}`,
			engine.Request{Image: "nginx", Evidence: [][]byte{[]byte(`{"a": [1, {"b":null}]}`), []byte(`{}`)}, Roles: []string{"verifier"}, Principal: "verifier-token"},
		},
		{
			"escapes, which the quick reader leaves alone", "admin", ` {"image":"ng\u0069nx","context":{"stage":"pr\u00f6d"},"refresh":false} `,
			engine.Request{Image: "nginx", Context: map[string]string{"stage": "pröd"}, Roles: []string{"admin"}, Principal: "admin-token"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBed(t, nil)
			var got engine.Request
			b.decider.decide = func(_ context.Context, st *engine.State, req engine.Request) (engine.Answer, error) {
				if st != b.state {
					t.Error("the handler got another state than the one that the token was checked with")
				}
				got = req
				return answer(t, verdict.Allow, true, engine.FromMiss), nil
			}
			if w := b.do(t, b.request(t, tt.as, http.MethodPost, verdictsPath, tt.body)); w.Code != 200 {
				t.Fatalf("status %d: %s", w.Code, w.Body)
			}
			if got.RequestID == "" || got.BatchID != "" {
				t.Errorf("request %q of batch %q, want a name and none", got.RequestID, got.BatchID)
			}
			got.RequestID = ""
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("what the engine was asked (-want +got):\n%s", d)
			}
		})
	}
}

// Threat 56: headers of a caller who says that all is well change nothing.
func TestThreat56HeadersThatSayVerifiedAreIgnored(t *testing.T) {
	b := newBed(t, nil)
	var asked []engine.Request
	b.decider.decide = func(_ context.Context, _ *engine.State, req engine.Request) (engine.Answer, error) {
		asked = append(asked, req)
		return answer(t, verdict.Deny, false, engine.FromMiss), nil
	}
	plain := b.request(t, "verifier", http.MethodPost, verdictsPath, `{"image":"`+testImage+`"}`)
	dressed := b.request(t, "verifier", http.MethodPost, verdictsPath, `{"image":"`+testImage+`"}`)
	for _, name := range []string{
		"X-Signet-Verified", "Signet-Verified", "X-Verified", "X-Image-Verified", "Signet-Decision", "Signet-Cache", "X-Signet-Allowed",
		"X-Forwarded-User", "X-Remote-User", "X-Forwarded-Groups", "X-Roles", "X-Original-Method", "X-HTTP-Method-Override",
	} {
		dressed.Header.Set(name, "admin")
	}
	dressed.Header.Set("Cookie", "role=admin; verified=true")
	one, two := b.do(t, plain), b.do(t, dressed)
	if len(asked) != 2 {
		t.Fatalf("the engine was asked %d times, want 2", len(asked))
	}
	asked[1].RequestID = asked[0].RequestID // each has its own
	if d := cmp.Diff(asked[0], asked[1]); d != "" {
		t.Errorf("what the engine was asked without and with the headers:\n%s", d)
	}
	if one.Code != two.Code || one.Body.String() != two.Body.String() {
		t.Errorf("answers differ: %d %s\n%d %s", one.Code, one.Body, two.Code, two.Body)
	}
	for _, body := range []string{`{"image":"nginx","verified":true}`, `{"image":"nginx","allowed":true}`, `{"image":"nginx","decision":"allow"}`} {
		if w := b.do(t, b.request(t, "admin", http.MethodPost, verdictsPath, body)); problemOf(w).Code != codeUnknownField {
			t.Errorf("%s: status %d %s, want unknown_field", body, w.Code, w.Body)
		}
	}
}

// Threat 49: what a caller sends never becomes a path of the policy.
func TestThreat49RequestDataIsNoPath(t *testing.T) {
	b := newBed(t, nil)
	b.decider.decide = func(_ context.Context, _ *engine.State, req engine.Request) (engine.Answer, error) {
		t.Errorf("the engine was asked: %+v", req)
		return engine.Answer{}, nil
	}
	for _, path := range []string{verdictsPath + "?path=data.system", verdictsPath + "?query=data.signing.verdict", verdictsPath + "?policy=other"} {
		w := b.do(t, b.request(t, "admin", http.MethodPost, path, `{"image":"nginx"}`))
		if p := problemOf(w); p.Code != codeUnknownField || !strings.HasPrefix(p.Field, "query.") {
			t.Errorf("%s: status %d, problem %+v", path, w.Code, p)
		}
	}
	for _, path := range []string{"/v1/data/signing/verdict", "/v1/data", verdictsPath + "/data/signing"} {
		if w := b.do(t, b.request(t, "admin", http.MethodPost, path, `{"image":"nginx"}`)); w.Code != 404 {
			t.Errorf("%s: status %d, want 404", path, w.Code)
		}
	}
}

// Threats 33 and 44 at the edge: callers over HTTP name registries only. What
// the reference itself may look like, and which addresses may be dialled, is
// kept further in.
func TestThreat44OnlyRegistriesCanBeNamed(t *testing.T) {
	refused := []string{
		"oci-layout:/var/lib/images/app", "oci-layout:app:v1", "OCI-Layout:app", "oci-layout:", "oci:/tmp/app:v1", "oci:./app",
		"oci-archive:/tmp/a.tar", "docker-archive:../a.tar", "dir:/etc", "file:/etc/passwd", "file:///etc/passwd",
		"/etc/passwd", "./app", "../app", "~/app", `C:\images\app`, ".", "https://ghcr.io/org/app:v1",
		"sha256:" + strings.Repeat("a", 64), "sha512:" + strings.Repeat("a", 128), "SHA256:" + strings.Repeat("a", 64) + " ",
		" nginx", "nginx\n", "ngi nx", "nginx\x7f", "nginx\u00a0", "ｎginx", strings.Repeat("a", 1025),
	}
	b := newBed(t, nil)
	b.decider.decide = func(_ context.Context, _ *engine.State, req engine.Request) (engine.Answer, error) {
		t.Errorf("the engine was asked for %q", req.Image)
		return engine.Answer{}, nil
	}
	for _, image := range refused {
		body, err := encode(map[string]string{"image": image})
		if err != nil {
			t.Fatal(err)
		}
		w := b.do(t, b.request(t, "admin", http.MethodPost, verdictsPath, string(body)))
		if p := problemOf(w); w.Code != 400 || p.Code != codeInvalidField || p.Field != "image" {
			t.Errorf("%q: status %d, problem %+v; want 400 invalid_field on image", image, w.Code, p)
		} else if strings.HasPrefix(strings.ToLower(image), "oci-layout:") && !strings.Contains(p.Detail, "only images in registries can be named") {
			t.Errorf("%q: the detail does not say what can be named: %s", image, p.Detail)
		}
	}
	b.decider.decide = func(context.Context, *engine.State, engine.Request) (engine.Answer, error) {
		return answer(t, verdict.Deny, false, engine.FromMiss), nil
	}
	for _, image := range []string{"nginx", "oci", "dir:v1", "file:latest", "oci:5000/app", "sha256:v1", "ghcr.io/org/app:v1@sha256:" + strings.Repeat("a", 64), "[::1]:5000/app"} {
		if w := b.do(t, b.request(t, "verifier", http.MethodPost, verdictsPath, `{"image":"`+image+`"}`)); w.Code != 200 {
			t.Errorf("%q: status %d %s; the edge should leave this to the engine", image, w.Code, w.Body)
		}
	}
}

func TestEngineRefusals(t *testing.T) {
	tests := []struct {
		name, body, cause string
		field, detail     string
	}{
		{"image", `{"image":"Nginx"}`, "image: repository names are in lower case", "image", `The field "image" is not right: repository names are in lower case.`},
		{"context", `{"image":"nginx","context":{"stage":"x"}}`, `context.stage: "x" is not one of the values that the policy declares`, "context.stage", `The field "context.stage" is not right: "x" is not one of the values that the policy declares.`},
		{"a key that looks like another field", `{"image":"nginx","context":{"a: b":"x"}}`, "context.a: b: no policy declares it", "context.a: b", `The field "context.a: b" is not right: no policy declares it.`},
		{"something else", `{"image":"nginx"}`, "too much", "", "The request is not right: too much."},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBed(t, nil)
			b.decider.decide = func(context.Context, *engine.State, engine.Request) (engine.Answer, error) {
				return engine.Answer{}, fmt.Errorf("%w: %s", engine.ErrInvalid, tt.cause)
			}
			w := b.do(t, b.request(t, "verifier", http.MethodPost, verdictsPath, tt.body))
			p := problemOf(w)
			if d := cmp.Diff([]string{"400", "invalid_field", tt.field, tt.detail}, []string{fmt.Sprint(w.Code), string(p.Code), p.Field, p.Detail}); d != "" {
				t.Errorf("status, code, field and detail (-want +got):\n%s", d)
			}
		})
	}
}

// Threat 57: a caller who leaves gets nothing, and the request is counted as
// left, not as failed; the engine goes on for the others.
func TestThreat57CallerLeaves(t *testing.T) {
	b := newBed(t, nil)
	ctx, leave := context.WithCancel(t.Context())
	b.decider.decide = func(ctx context.Context, _ *engine.State, _ engine.Request) (engine.Answer, error) {
		leave()
		<-ctx.Done()
		return engine.Answer{}, ctx.Err()
	}
	r := b.request(t, "verifier", http.MethodPost, verdictsPath, `{"image":"nginx"}`).WithContext(ctx)
	w := recorded(b, r)
	if p := problemOf(w); w.Code != http.StatusServiceUnavailable || p.Code != codeTimeout || p.Decision != "unknown" || p.Allowed == nil || *p.Allowed {
		t.Errorf("status %d, body %s", w.Code, w.Body)
	}
	if got := b.metric(t, "signet_problems_total"); got != 0 {
		t.Errorf("%v problems counted, want 0", got)
	}
}

// Who closes only their side while they wait reads on, and is never sent 200.
func TestCallerHalfCloses(t *testing.T) {
	b := newBed(t, nil)
	began := make(chan struct{})
	b.decider.decide = func(ctx context.Context, _ *engine.State, _ engine.Request) (engine.Answer, error) {
		close(began)
		<-ctx.Done()
		return engine.Answer{}, ctx.Err()
	}
	srv := httptest.NewServer(b)
	defer srv.Close()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	r := b.request(t, "verifier", http.MethodPost, verdictsPath, `{"image":"nginx"}`)
	if err := r.Write(conn); err != nil {
		t.Fatal(err)
	}
	<-began
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var p problemBody
	if err := json.NewDecoder(res.Body).Decode(&p); err != nil || res.StatusCode != http.StatusServiceUnavailable || p.Code != codeTimeout || p.Decision != "unknown" || p.Allowed == nil || *p.Allowed {
		t.Errorf("status %d, %+v, %v", res.StatusCode, p, err)
	}
}

func TestRequestTimeout(t *testing.T) {
	b := newBed(t, func(c *Config) { c.RequestTimeout = 10 * time.Millisecond })
	b.decider.decide = func(ctx context.Context, _ *engine.State, _ engine.Request) (engine.Answer, error) {
		select {
		case <-ctx.Done():
			return engine.Answer{}, fmt.Errorf("deciding: %w", ctx.Err())
		case <-time.After(10 * time.Second):
			return engine.Answer{}, errors.New("the request has no time limit")
		}
	}
	w := b.do(t, b.request(t, "verifier", http.MethodPost, verdictsPath, `{"image":"nginx"}`))
	if p := problemOf(w); w.Code != 503 || p.Code != codeTimeout || w.Result().Header.Get("Retry-After") != "2" || p.Decision != "unknown" {
		t.Errorf("status %d, problem %+v", w.Code, p)
	}
}

func TestGetVerdict(t *testing.T) {
	stored := answer(t, verdict.Deny, false, engine.FromMiss).Body
	tests := []struct {
		name, id   string
		err        error
		wantStatus int
		wantCode   code
		wantDetail string
	}{
		{"there", testID, nil, 200, "", ""},
		{"not there", "01JZ5X3F8Q0000000000000001", ErrNotFound, 404, codeVerdictNotFound, "may be older than what is kept"},
		{"no id", "latest", nil, 404, codeVerdictNotFound, "is not the id of a verdict"},
		{"lower case", strings.ToLower(testID), nil, 404, codeVerdictNotFound, "is not the id of a verdict"},
		{"a path", "..%2F..%2Fhealthz", nil, 404, codeVerdictNotFound, "is not the id of a verdict"},
		{"store away", testID, fmt.Errorf("select: %w", ErrUnavailable), 503, codeStoreUnavailable, "could not be read"},
		{"store slow", testID, fmt.Errorf("select: %w", context.DeadlineExceeded), 503, codeTimeout, "Ask again"},
		{"store broken", testID, errors.New("secret cause"), 500, codeInternal, "server's log"},
		{"damaged", testID, fmt.Errorf("%w: %w", ErrUnavailable, facts.ErrDigest), 500, codeInternal, "server's log"},
	}
	for _, suffix := range []string{"", "/input"} {
		for _, tt := range tests {
			t.Run(tt.name+suffix, func(t *testing.T) {
				b := newBed(t, nil)
				b.verdicts.verdict = func(_ context.Context, id string) ([]byte, error) {
					if id != tt.id {
						t.Errorf("asked for %q", id)
					}
					return stored, tt.err
				}
				b.verdicts.basis = func(_ context.Context, id string) (facts.Facts, map[string]facts.Frame, error) {
					if id != tt.id {
						t.Errorf("asked for %q", id)
					}
					return someFacts(t), map[string]facts.Frame{"default": someFrame()}, tt.err
				}
				w := b.do(t, b.request(t, "viewer", http.MethodGet, verdictsPath+"/"+tt.id+suffix, ""))
				p := problemOf(w)
				if w.Code != tt.wantStatus || p.Code != tt.wantCode || !strings.Contains(p.Detail, tt.wantDetail) || strings.Contains(w.Body.String(), "secret cause") {
					t.Errorf("status %d, body %s", w.Code, w.Body)
				}
				if suffix == "" && tt.wantStatus == 200 && w.Body.String() != string(stored) {
					t.Errorf("not the stored bytes: %s", w.Body)
				}
			})
		}
	}
}

func TestGetInput(t *testing.T) {
	f := someFacts(t)
	fr, other := someFrame(), someFrame()
	other.Request.Image = "other"
	tests := []struct {
		name, query string
		frames      map[string]facts.Frame
		want        *facts.Frame
		wantStatus  int
		wantCode    code
		wantNames   []string
	}{
		{"the only one", "", map[string]facts.Frame{"default": fr}, &fr, 200, "", nil},
		{"the only one by name", "?policy=default", map[string]facts.Frame{"default": fr}, &fr, 200, "", nil},
		{"one of two", "?policy=b", map[string]facts.Frame{"a": fr, "b": other}, &other, 200, "", nil},
		{"which of two", "", map[string]facts.Frame{"b": fr, "a": other}, nil, 400, codePolicyNeeded, []string{"a", "b"}},
		{"another", "?policy=c", map[string]facts.Frame{"a": fr, "b": other}, nil, 404, codeInputNotFound, []string{"a", "b"}},
		{"no name", "?policy=", map[string]facts.Frame{"a": fr}, nil, 404, codeInputNotFound, []string{"a"}},
		{"none", "", nil, nil, 404, codeInputNotFound, nil},
		{"twice", "?policy=a&policy=b", map[string]facts.Frame{"a": fr, "b": other}, nil, 400, codeDuplicateField, nil},
		{"unknown parameter", "?polciy=a", map[string]facts.Frame{"a": fr}, nil, 400, codeUnknownField, nil},
		{"not a query", "?policy=%zz", map[string]facts.Frame{"a": fr}, nil, 400, codeInvalidField, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBed(t, nil)
			b.verdicts.basis = func(context.Context, string) (facts.Facts, map[string]facts.Frame, error) { return f, tt.frames, nil }
			w := b.do(t, b.request(t, "viewer", http.MethodGet, verdictsPath+"/"+testID+"/input"+tt.query, ""))
			p := problemOf(w)
			if w.Code != tt.wantStatus || p.Code != tt.wantCode {
				t.Fatalf("status %d, body %s", w.Code, w.Body)
			}
			if d := cmp.Diff(tt.wantNames, p.Policies); d != "" {
				t.Errorf("policies to choose from (-want +got):\n%s", d)
			}
			if tt.want != nil {
				want, err := encode(facts.NewInput(f, *tt.want))
				if err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(string(want), w.Body.String()); d != "" {
					t.Errorf("the document (-want +got):\n%s", d)
				}
			}
		})
	}
}

func TestLocationOf(t *testing.T) {
	for body, want := range map[string]string{
		`{"id":"` + testID + `","decision":"allow"}`: verdictsPath + "/" + testID,
		`{"id":"` + testID:                           "",
		`{"decision":"allow","id":"` + testID + `"}`: "",
		`{"id":"` + strings.ToLower(testID) + `"}`:   "",
		`{"id":"` + testID[:25] + `/"}`:              "",
		`{"id":"","decision":"unknown"}`:             "",
		"":                                           "",
		`{"id":"8ZZZZZZZZZZZZZZZZZZZZZZZZZ","decision":"over 128 bit"}`: "",
	} {
		if got := locationOf([]byte(body)); got != want {
			t.Errorf("%s: %q, want %q", body, got, want)
		}
	}
}
