package admin

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/client"
)

// What ends is told 30 days before, and what has none that counts any more at once.
func TestRootShown(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	days := func(n int) *time.Time {
		at := now.AddDate(0, 0, n)
		return &at
	}
	part := func(kind string, since, until *time.Time) client.TrustRootPart {
		return client.TrustRootPart{Kind: kind, Name: "x", Since: since, Until: until}
	}
	for _, tt := range []struct {
		name  string
		parts []client.TrustRootPart
		next  *time.Time
		state []string
		near  bool
		ends  bool
		over  []string
	}{
		{"never ends", []client.TrustRootPart{part("ct_log", days(-9), nil)}, nil, []string{"counts"}, false, false, nil},
		{"ends soon", []client.TrustRootPart{part("ct_log", days(-9), days(29))}, days(29), []string{"counts"}, true, true, nil},
		{"ends later", []client.TrustRootPart{part("ct_log", nil, days(31))}, days(31), []string{"counts"}, false, false, nil},
		{"all have ended", []client.TrustRootPart{part("certificate_authority", nil, days(-1)), part("ct_log", nil, nil)}, nil, []string{"ended", "counts"}, false, false, []string{"certificate authority"}},
		{"the next is to come", []client.TrustRootPart{part("ct_log", nil, days(-1)), part("ct_log", days(1), nil)}, nil, []string{"ended", "to come"}, false, false, nil},
	} {
		r := rootShown{client.TrustRoot{Contains: client.TrustRootContents{NextEnd: tt.next, Parts: tt.parts}}, now}
		var state []string
		near := false
		for _, p := range tt.parts {
			state = append(state, r.State(p))
			near = near || r.Near(p)
		}
		if diff := cmp.Diff(tt.state, state); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
		if near != tt.near || r.Ends() != tt.ends {
			t.Errorf("%s: near %t, ends %t", tt.name, near, r.Ends())
		}
		if diff := cmp.Diff(tt.over, r.Over()); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}

// A root that stays what it is is patched; one whose bytes come from elsewhere is put.
func TestRootForm(t *testing.T) {
	w := newWorld(t, nil)
	csrf := w.login()
	w.face.answers["GET /api/v1/trust-roots/acme"] = `{"name": "acme", "kind": "tuf", "source": "api", "tuf_url": "https://tuf.example", "images": [], "contains": {"parts": []}, "version": 3, "trusted_root": {"a": 1}}`
	for _, tt := range []struct {
		name, want string
		form       url.Values
	}{
		{"images alone", "PATCH", url.Values{"tuf_url": {"https://tuf.example"}, "images": {"ghcr.io/a/**"}}},
		{"a file", "PUT", url.Values{"tuf_url": {"https://tuf.example"}, "trusted_root": {`{"a": 2}`}}},
		{"another repository", "PUT", url.Values{"tuf_url": {"https://other.example"}, "tuf_root": {`{}`}}},
		{"another target", "PUT", url.Values{"tuf_url": {"https://tuf.example"}, "target": {"other.json"}}},
	} {
		w.face.asked = nil
		tt.form.Set("csrf", csrf)
		tt.form.Set("version", "3")
		res := w.ask(http.MethodPost, Root+"/trust/acme/edit", tt.form)
		if res.StatusCode != http.StatusSeeOther || !strings.Contains(res.Header.Get("Location"), "done=root-saved") {
			t.Errorf("%s: %d %s", tt.name, res.StatusCode, body(t, res))
			continue
		}
		last := w.face.asked[len(w.face.asked)-1]
		if last.Method != tt.want || last.URL.Path != "/api/v1/trust-roots/acme" || last.Header.Get("If-Match") != `"3"` {
			t.Errorf("%s: asked %s %s %q", tt.name, last.Method, last.URL.Path, last.Header.Get("If-Match"))
		}
	}
	res := w.ask(http.MethodPost, Root+"/trust/new", url.Values{"csrf": {csrf}, "name": {"x"}, "trusted_root": {"{"}})
	if text := body(t, res); res.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(text, "It is no JSON") {
		t.Errorf("%d %s", res.StatusCode, text)
	}
}

// A field has whole seconds; what was not touched keeps the rest of its time, so that
// saving a note moves no window.
func TestTimesThatWereNotTouched(t *testing.T) {
	w := newWorld(t, nil)
	csrf := w.login()
	exactly := "2025-03-04T05:06:07.890123Z"
	signer := `{"id": "s1", "name": "a", "type": "keyless", "issuer": "https://i", "subject": "s", "claims": {}, "trust_roots": [], "images": [], "enabled": true, "signed_until": "` + exactly + `", "version": 2}`
	w.face.answers["GET /api/v1/signers/s1"] = signer
	w.face.answers["PATCH /api/v1/signers/s1"] = signer
	page := body(t, w.ask(http.MethodGet, Root+"/signers/s1/edit", nil))
	if !strings.Contains(page, `name="signed_until" type="datetime-local" step="1" value="2025-03-04T05:06:07"`) || !strings.Contains(page, `name="was_signed_until" value="`+exactly+`"`) {
		t.Fatalf("the form:\n%s", page)
	}
	form := url.Values{"csrf": {csrf}, "version": {"2"}, "type": {"keyless"}, "name": {"a"}, "issuer": {"https://i"}, "subject": {"s"}, "zone": {"UTC"}, "was_signed_until": {exactly}}
	for typed, want := range map[string]string{"2025-03-04T05:06:07": `"signed_until":"` + exactly + `"`, "2025-03-04T05:06": `"signed_until":"2025-03-04T05:06:00Z"`, "": `"signed_until":null`} {
		form.Set("signed_until", typed)
		res := w.ask(http.MethodPost, Root+"/signers/s1/edit", form)
		if res.StatusCode != http.StatusSeeOther {
			t.Fatalf("%d %s", res.StatusCode, body(t, res))
		}
		if sent := w.face.bodies[len(w.face.bodies)-1]; !strings.Contains(sent, want) {
			t.Errorf("typed %q, sent %s, want %s", typed, sent, want)
		}
	}
}
