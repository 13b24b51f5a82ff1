package admin

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Entries are found by name, who, what and when; each names what was changed, and leads
// to its page while there is one.
func TestAudit(t *testing.T) {
	w := newWorld(t, nil)
	w.login()
	w.face.answers["GET /api/v1/audit"] = `{"items": [
		{"seq": 9, "action": "signer.delete", "object": "signer/s1", "before": {"name": "old-release"}, "after": null},
		{"seq": 8, "action": "signer.update", "object": "signer/s2", "before": {"name": "a"}, "after": {"name": "release"}},
		{"seq": 7, "action": "policy.update", "object": "policy/default", "before": {}, "after": {"version": 2}},
		{"seq": 6, "action": "secret.rotate", "object": "secret", "before": "x", "after": "y"}], "next": "6"}`
	for _, tt := range []struct{ sent, want url.Values }{
		{url.Values{"object": {"release"}}, url.Values{"name": {"release"}}},
		{url.Values{"object": {"ci/release"}}, url.Values{"name": {"ci/release"}}},
		{url.Values{"object": {"signer/s1"}, "before": {"7"}}, url.Values{"object": {"signer/s1"}, "before": {"7"}}},
		{
			url.Values{"actor": {"jane"}, "action": {"signer."}, "since": {"2025-06-01T02:00"}, "until": {"2025-06-02T02:00"}, "zone": {"Europe/Berlin"}},
			url.Values{"actor": {"jane"}, "action": {"signer."}, "since": {"2025-06-01T00:00:00Z"}, "until": {"2025-06-02T00:00:00Z"}},
		},
	} {
		text := body(t, w.ask(http.MethodGet, Root+"/audit?"+tt.sent.Encode(), nil))
		got := w.face.lastAsked("/api/v1/audit")
		got.Del("limit")
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%v (-want +got):\n%s", tt.sent, diff)
		}
		older := tt.sent
		older.Set("before", "6")
		for _, want := range []string{
			`<span class="breaks">old-release</span>`, `<a href="` + Root + `/signers/s2">release</a>`, `<a href="` + Root + `/policy/default">default</a>`,
			`/audit?` + strings.ReplaceAll(older.Encode(), "&", "&amp;") + `">Older`,
		} {
			if !strings.Contains(text, want) {
				t.Errorf("%v: no %q in\n%s", tt.sent, want, text)
			}
		}
	}
	for path, want := range map[string]string{
		"/audit?before=x":             "is not the number of an entry",
		"/audit?since=x":              "is not a time",
		"/audit/export?before=0":      "is not the number of an entry",
		"/audit?since=2025&zone=Mars": "is not known; use a name like",
	} {
		if res := w.ask(http.MethodGet, Root+path, nil); res.StatusCode != http.StatusUnprocessableEntity {
			t.Errorf("%s: %d", path, res.StatusCode)
		} else if text := body(t, res); !strings.Contains(text, want) {
			t.Errorf("%s: no %q in\n%s", path, want, text)
		}
	}
	// A page on which nothing may be seen leads further back.
	w.face.answers["GET /api/v1/audit"] = `{"items": [], "next": "5"}`
	if text := body(t, w.ask(http.MethodGet, Root+"/audit?actor=jane", nil)); !strings.Contains(text, `/audit?actor=jane&amp;before=5">Older`) {
		t.Errorf("it does not lead on:\n%s", text)
	}
	w.face.answers["GET /api/v1/audit"] = `{"items": [{"seq": 2, "action": "a<b", "object": "secret"}]}`
	res := w.ask(http.MethodGet, Root+"/audit/export?actor=jane", nil)
	if text := body(t, res); res.Header.Get("Content-Type") != "application/x-ndjson" || !strings.HasPrefix(text, `{"seq":2,`) || !strings.Contains(text, `"action":"a<b"`) || strings.Count(text, "\n") != 1 {
		t.Errorf("the file: %v\n%s", res.Header, text)
	}
	if got := w.face.lastAsked("/api/v1/audit"); got.Get("actor") != "jane" || got.Get("limit") != "1000" {
		t.Errorf("the file was asked with %v", got)
	}
}
