package admin

import (
	"net/http"
	"strings"
	"testing"
)

// Tokens in force come first, with who made them; gateways are looked for.
func TestListsAreFiltered(t *testing.T) {
	w := newWorld(t, nil)
	w.login()
	w.face.answers["GET /api/v1/tokens"] = `{"items": [{"id": "t1", "name": "ci", "role": "verifier", "state": "valid", "created_by": "token:first", "created_at": "2025-06-01T00:00:00Z", "expires_at": "2026-06-01T00:00:00Z"}], "next": "t1"}`
	for path, want := range map[string][]string{
		"/tokens":               {"valid", `href="` + Root + `/tokens?cursor=t1&amp;state=valid"`, "by token:first"},
		"/tokens?state=revoked": {"revoked", `<option value="revoked" selected>`},
		"/tokens?state=all":     {"", `/tokens?cursor=t1&amp;state=all"`},
	} {
		text := body(t, w.ask(http.MethodGet, Root+path, nil))
		if got := w.face.lastAsked("/api/v1/tokens").Get("state"); got != want[0] {
			t.Errorf("%s asks for %q", path, got)
		}
		for _, s := range want[1:] {
			if !strings.Contains(text, s) {
				t.Errorf("%s: no %q in\n%s", path, s, text)
			}
		}
	}
	w.face.answers["GET /api/v1/gateways"] = `{"items": [{"name": "tools", "gateway_id": "g1", "image": "ghcr.io/a/b@sha256:x", "source": "api"}], "next": "tools"}`
	text := body(t, w.ask(http.MethodGet, Root+"/gateways?query=a%2Fb", nil))
	if got := w.face.lastAsked("/api/v1/gateways").Get("query"); got != "a/b" || !strings.Contains(text, `name="query" value="a/b"`) || !strings.Contains(text, `/gateways?cursor=tools&amp;query=a%2Fb"`) {
		t.Errorf("asked for %q:\n%s", got, text)
	}
	w.face.answers["GET /api/v1/gateways"] = `{"items": []}`
	if text := body(t, w.ask(http.MethodGet, Root+"/gateways?query=none", nil)); !strings.Contains(text, "No gateway matches") || !strings.Contains(text, `value="none"`) {
		t.Errorf("nothing found:\n%s", text)
	}
}
