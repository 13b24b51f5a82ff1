package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/auth"
)

// lastAsked is the query of the last request for a path.
func (f *face) lastAsked(path string) url.Values {
	for i := len(f.asked) - 1; i >= 0; i-- {
		if f.asked[i].URL.Path == path {
			return f.asked[i].URL.Query()
		}
	}
	return nil
}

// A list of which nothing may be seen yet says so, and goes on.
func TestNoneAmongTheLatest(t *testing.T) {
	w := newWorld(t, nil)
	w.login()
	const empty = `{"items": [], "next": "further"}`
	w.face.answers["GET /api/v1/verdicts"] = empty
	w.face.answers["GET /api/v1/signers/s1"] = `{"id": "s1", "name": "ci", "type": "keyless", "claims": {}, "trust_roots": [], "images": [], "enabled": true, "version": 1}`
	w.face.answers["GET /api/v1/signers/s1/verdicts"] = empty
	w.face.answers["GET /api/v1/bundles/own"] = `{"name": "own", "digest": "sha256:a", "policies": []}`
	w.face.answers["GET /api/v1/drafts/own"] = `{"name": "own", "files": {"signing/rules/a.rego": "package a"}}`
	for path, want := range map[string][]string{
		"/results":               {"None of the latest verdicts is about an image that you may see", `href="` + Root + `/results?cursor=further">Older`},
		"/results?decision=deny": {"None of the latest verdicts matches", `cursor=further&amp;decision=deny">Older`},
		"/signers/s1":            {"None of the latest images that were allowed because of it", `/results?signer=ci">Look further back`},
		"/bundle/own":            {"None of the latest verdicts is one that you may see, with an input"},
	} {
		text := body(t, w.ask(http.MethodGet, Root+path, nil))
		for _, s := range want {
			if !strings.Contains(text, s) {
				t.Errorf("%s says nothing of %q:\n%s", path, s, text)
			}
		}
	}
	// The editor looks further back.
	w.face.pages = []string{empty, `{"items": [{"id": "v1", "image_ref": "ghcr.io/a/b:v1", "decision": "allow", "facts_digest": "sha256:f"}]}`}
	if text := body(t, w.ask(http.MethodGet, Root+"/bundle/own", nil)); !strings.Contains(text, `<option value="v1">ghcr.io/a/b:v1`) {
		t.Errorf("the second page is not offered:\n%s", text)
	}
}

// What is pasted, and what a link has, becomes the filter that it says, and stays when
// the form is sent again.
func TestResultFilters(t *testing.T) {
	w := newWorld(t, nil)
	w.login()
	digest := "sha256:" + strings.Repeat("a", 64)
	other := "sha256:" + strings.Repeat("b", 64)
	for _, tt := range []struct {
		name       string
		sent, want url.Values
		shows      []string
	}{
		{"a name", url.Values{"image": {"ghcr.io/a/b"}}, url.Values{"name": {"ghcr.io/a/b"}}, nil},
		{"a name at a port", url.Values{"image": {"localhost:5000/a"}}, url.Values{"name": {"localhost:5000/a"}}, nil},
		{"a tag", url.Values{"image": {"ghcr.io/a/b:v1"}}, url.Values{"image": {"ghcr.io/a/b:v1"}}, nil},
		{"a digest behind it", url.Values{"image": {"ghcr.io/a/b@" + digest}}, url.Values{"name": {"ghcr.io/a/b"}, "digest": {digest}}, nil},
		{"a tag and a digest", url.Values{"image": {"localhost:5000/a/b:v1@" + digest}}, url.Values{"name": {"localhost:5000/a/b"}, "digest": {digest}}, nil},
		{"two digests", url.Values{"image": {"ghcr.io/a/b@" + digest}, "digest": {other}}, url.Values{"image": {"ghcr.io/a/b@" + digest}, "digest": {other}}, nil},
		{
			"a link's name, identity and reason", url.Values{"name": {"ghcr.io/a/b"}, "identity": {"who"}, "reason_code": {"unsigned"}},
			url.Values{"name": {"ghcr.io/a/b"}, "identity": {"who"}, "reason_code": {"unsigned"}},
			[]string{`name="image" value="ghcr.io/a/b"`, `name="identity" value="who"`, `<input type="hidden" name="reason_code" value="unsigned">`, "First reason: unsigned", `results?identity=who&amp;name=ghcr.io%2Fa%2Fb">Remove`},
		},
		{
			"a name beside an image", url.Values{"name": {"ghcr.io/a/b"}, "image": {"ghcr.io/a/b:v1"}}, url.Values{"name": {"ghcr.io/a/b"}, "image": {"ghcr.io/a/b:v1"}},
			[]string{`<input type="hidden" name="name" value="ghcr.io/a/b">`, "Name: ghcr.io/a/b"},
		},
		{
			"a time in a zone", url.Values{"since": {"2025-06-01T02:00"}, "zone": {"Europe/Berlin"}}, url.Values{"since": {"2025-06-01T00:00:00Z"}},
			[]string{`name="since" type="datetime-local" step="1" value="2025-06-01T02:00"`, `<option selected>Europe/Berlin</option>`},
		},
		{
			"a moment of a link", url.Values{"since": {"2025-06-01T02:00:05+02:00"}, "until": {"2025-06-02T00:00:00Z"}}, url.Values{"since": {"2025-06-01T00:00:05Z"}, "until": {"2025-06-02T00:00:00Z"}},
			[]string{`name="since" type="datetime-local" step="1" value="2025-06-01T00:00:05"`, `<option selected>UTC</option>`},
		},
	} {
		text := body(t, w.ask(http.MethodGet, Root+"/results?"+tt.sent.Encode(), nil))
		got := w.face.lastAsked("/api/v1/verdicts")
		got.Del("limit")
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
		for _, s := range tt.shows {
			if !strings.Contains(text, s) {
				t.Errorf("%s: the page does not have %q:\n%s", tt.name, s, text)
			}
		}
	}
	if text := body(t, w.ask(http.MethodGet, Root+"/results?since=2025-06-01T00:00&zone=Nowhere", nil)); !strings.Contains(text, "is not known; use a name like Europe/Berlin") {
		t.Errorf("an unknown zone:\n%s", text)
	}
}

// The chart leads to what it shows, as a part of the list and as a page of its own.
func TestChart(t *testing.T) {
	day := time.Date(2025, 6, 30, 0, 0, 0, 0, time.UTC)
	w := newWorld(t, func(cfg *Config) {
		cfg.Counts = func(context.Context, time.Time, time.Time) ([]DayCount, error) {
			return []DayCount{{day, "deny", 700}, {day, "allow", 5}}, nil
		}
	})
	w.login()
	refusal := func(code, message string) map[string]any {
		return map[string]any{"image_ref": "ghcr.io/a/b:v1", "decision": "deny", "verification_error": message, "reason_code": code}
	}
	page, err := json.Marshal(map[string]any{"items": []any{
		refusal("unsigned", "Image ghcr.io/a/b:v1 is not signed."), refusal("unsigned", "Platform linux/arm64 is not signed."),
		refusal("too_old", "Image ghcr.io/a/b:v1 is too old."), refusal("", "It was long ago."),
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		header []string
		page   bool
	}{
		{"with a script", []string{"HX-Request", "true"}, false},
		{"without", nil, true},
		{"boosted", []string{"HX-Request", "true", "HX-Boosted", "true"}, true},
	} {
		w.face.pages = []string{string(page)}
		text := body(t, w.ask(http.MethodGet, Root+"/results/chart", nil, tt.header...))
		if got := strings.Contains(text, "<!doctype html>"); got != tt.page {
			t.Errorf("%s: a page of its own: %t", tt.name, got)
		}
		const bounds = "since=2025-06-30T00%3A00%3A00Z&amp;until=2025-07-01T00%3A00%3A00Z"
		for _, want := range []string{
			`/results?` + bounds + `">30 June</a>`, `/results?decision=deny&amp;` + bounds + `"`, ">700 deny<",
			`/results?reason_code=unsigned&amp;since=2025-06-02T00%3A00%3A00Z">unsigned</a><strong>2</strong>`, "At last: Image … is not signed.</p>",
			`reason_code=too_old&amp;since=2025-06-02T00%3A00%3A00Z">Image … is too old.</a><strong>1</strong>`,
			"<span>It was long ago.</span><strong>1</strong>", // there is no filter for it
			"First reasons of the 4 most recent of 700 refusals.",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: no %q in\n%s", tt.name, want, text)
			}
		}
	}
}

// A file has all that the filter finds, however long that takes under a rate limit.
func TestExportIsWhole(t *testing.T) {
	w := newWorld(t, nil)
	w.login()
	w.face.pages = []string{
		`{"items": [{"id": "v1", "image_ref": "a", "decision": "allow"}], "next": "c1"}`,
		`429 {"code": "rate_limited", "detail": "Later."}`,
		`{"items": [{"id": "v2", "image_ref": "b", "decision": "deny"}], "next": "c2"}`,
		`{"items": [{"id": "v3", "image_ref": "c", "decision": "deny"}]}`,
	}
	res := w.ask(http.MethodGet, Root+"/results/export?format=ndjson", nil)
	if page := body(t, res); res.StatusCode != http.StatusOK || strings.Count(page, "\n") != 3 {
		t.Errorf("%d\n%s", res.StatusCode, page)
	}
}

// An export ends with the token that its session stands for, and does not look whole.
func TestExportEndsWithItsSession(t *testing.T) {
	left := 100 // how often the token is still good
	w := newWorld(t, func(cfg *Config) {
		token := cfg.Token
		cfg.Token = func(ctx context.Context, id string, from netip.Addr) (auth.Principal, error) {
			if left--; left < 0 {
				return auth.Principal{}, auth.ErrRevoked
			}
			return token(ctx, id, from)
		}
	})
	w.login()
	w.face.pages = []string{
		`{"items": [{"id": "v1", "image_ref": "a", "decision": "allow"}], "next": "c1"}`,
		`{"items": [{"id": "v2", "image_ref": "b", "decision": "deny"}], "next": "c2"}`,
		`{"items": [{"id": "v3", "image_ref": "c", "decision": "deny"}]}`,
	}
	left = 2 // for the request, and for its second page
	defer func() {
		if p := recover(); p != http.ErrAbortHandler || len(w.face.pages) != 1 { //nolint:errorlint,err113 // as net/http compares it
			t.Errorf("ended with %v, with %d pages not asked for", p, len(w.face.pages))
		}
	}()
	w.ask(http.MethodGet, Root+"/results/export?format=ndjson", nil)
	t.Error("the export went on")
}
