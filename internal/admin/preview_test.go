package admin

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// What is refused for now can be asked again, and a form that could not be checked does
// not look as if nothing were wrong with it.
func TestPreviewIsRefused(t *testing.T) {
	w := newWorld(t, nil)
	csrf := w.login()
	w.face.answers["GET /api/v1/signers/s1"] = aSigner
	w.face.answers["POST /api/v1/policies/preview"] = `429 {"code": "rate_limited", "detail": "A preview of yours is under way."}`
	form := url.Values{"csrf": {csrf}, "type": {"keyless"}, "name": {"a"}, "issuer": {"https://i"}, "subject": {"s"}, "zone": {"UTC"}}
	if status, page := w.post("/signers/check", form); status != http.StatusOK || !strings.Contains(page, "was not found out. A preview of yours is under way.") || !strings.Contains(w.face.sent(http.MethodPost), `"only_check":true`) {
		t.Errorf("the check: %d\n%s", status, page)
	}
	for _, tt := range []struct{ method, path, again, part string }{
		{http.MethodPost, "/signers/preview", `hx-post="/admin/security/signing/signers/preview"`, "true"},
		{http.MethodGet, "/signers/s1/change?action=disable&preview=part", `hx-get="/admin/security/signing/signers/s1/change?action=disable&amp;preview=part"`, "true"},
		{http.MethodGet, "/signers/s1/change?action=disable&preview=1", `href="/admin/security/signing/signers/s1/change?action=disable&amp;preview=1"`, "false"},
	} {
		res := w.ask(tt.method, Root+tt.path, form, "HX-Request", tt.part)
		if page := body(t, res); res.StatusCode != http.StatusOK || !strings.Contains(page, "A preview of yours is under way.") || !strings.Contains(page, tt.again) || !strings.Contains(page, ">Try again<") {
			t.Errorf("%s: %d\n%s", tt.path, res.StatusCode, page)
		}
	}
	w.face.answers["POST /api/v1/policies/preview"] = `422 {"code": "invalid_field", "detail": "No."}`
	if _, page := w.post("/signers/preview", form); strings.Contains(page, "Try again") {
		t.Errorf("what will be refused again:\n%s", page)
	}
}

// A preview ends with the request of the browser that waits for it.
func TestPreviewEndsWithItsReader(t *testing.T) {
	begun := make(chan struct{})
	w := newWorld(t, func(cfg *Config) {
		face := cfg.API
		cfg.API = http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/api/v1/policies/preview" {
				close(begun)
				<-r.Context().Done()
			}
			face.ServeHTTP(out, r)
		})
	})
	w.login()
	w.face.answers["GET /api/v1/signers/s1"] = aSigner
	ctx, leave := context.WithCancel(t.Context())
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "http://signet.example"+Root+"/signers/s1/change?action=disable&preview=part", nil)
	for name, value := range w.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.page.ServeHTTP(httptest.NewRecorder(), r)
	}()
	<-begun
	leave()
	<-ended
}

// The address of a part, opened by itself, is a page: after a login, or in another tab.
func TestPartOpenedByItself(t *testing.T) {
	w := newWorld(t, nil)
	w.login()
	w.face.answers["GET /api/v1/signers/s1"] = aSigner
	for _, path := range []string{"/signers/s1/change?action=disable&preview=part", "/results/chart"} {
		if page := body(t, w.ask(http.MethodGet, Root+path, nil)); !strings.HasPrefix(page, "<!doctype html>") {
			t.Errorf("%s:\n%s", path, page)
		}
		if part := body(t, w.ask(http.MethodGet, Root+path, nil, "HX-Request", "true")); strings.Contains(part, "<html") {
			t.Errorf("%s, as a part:\n%s", path, part)
		}
	}
}
