package admin

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/signet-policy/signet/internal/auth"
)

// post sends a form, and gives what is answered.
func (w *world) post(path string, form url.Values) (status int, page string) {
	w.Helper()
	res := w.ask(http.MethodPost, Root+path, form)
	return res.StatusCode, body(w.T, res)
}

// sent is the body of the last request of a method.
func (f *face) sent(method string) string {
	for i := len(f.asked) - 1; i >= 0; i-- {
		if f.asked[i].Method == method {
			return f.bodies[i]
		}
	}
	return ""
}

// The counts of a form's lists are whatever its sender wrote: more than a person fills
// in cost nothing.
func TestFormOfTooManyParts(t *testing.T) {
	w := newWorld(t, nil)
	csrf := w.login()
	for _, more := range []url.Values{
		{"p.trusted_signers": {"2000000000"}},
		{"p.groups": {"2000000000"}, "change": {"remove:groups[0]"}},
		{"p.groups": {"99999999999999999999"}, "change": {"add:groups"}},
		{"p.trusted_signers": {"-1"}, "p.groups": {"501"}},
	} {
		more.Set("csrf", csrf)
		more.Set("document", "signing_policy: {mode: audit}\n")
		more.Set("beside", editorPage{Document: more.Get("document")}.Beside())
		status, page := w.post("/policy/x/form?from=form", more)
		if status != http.StatusOK || !strings.Contains(page, "a form has 500 parts at most") || !strings.Contains(page, "signing_policy: {mode: audit}") {
			t.Errorf("%v: %d\n%s", more, status, page)
		}
	}
}

const aPolicy = `{"name": "default", "source": "api", "mode": "enforce", "images": [], "exceptions": [], "signing_policy": "signing_policy: {}\n", "version": 1}`

const aSigner = `{"id": "s1", "name": "a", "type": "keyless", "issuer": "https://i", "subject": "s", "claims": {"runner_environment": "github-hosted", "source_repository_ref": "refs/heads/main"}, "trust_roots": ["acme"], "images": [], "enabled": true, "version": 2}`

// What a person has written wrongly, or too much of, is no error of ours.
func TestMistakesArePeoples(t *testing.T) {
	w := newWorld(t, nil)
	csrf := w.login()
	w.face.answers["GET /api/v1/signers/s1"] = aSigner
	for name, tt := range map[string]struct {
		path   string
		form   url.Values
		status int
		says   string
	}{
		"a reason of too many bytes": {"/signers/s1/change", url.Values{"action": {"disable"}, "version": {"2"}, "why": {strings.Repeat("я", 260)}}, http.StatusUnprocessableEntity, "500 bytes"},
		"a form that is too large":   {"/signers/s1/edit", url.Values{"version": {"2"}, "note": {strings.Repeat("x", mostForm)}}, http.StatusRequestEntityTooLarge, "may have 8192 kB"},
	} {
		tt.form.Set("csrf", csrf)
		if status, page := w.post(tt.path, tt.form); status != tt.status || !strings.Contains(page, tt.says) {
			t.Errorf("%s: %d\n%s", name, status, page)
		}
	}
}

// What is no form, or one that nobody may send yet, is answered as such: it is no error
// of ours, and who is not known does not send much.
func TestWhatIsNoForm(t *testing.T) {
	w := newWorld(t, nil)
	if status := w.ask(http.MethodPost, Root+"/login", url.Values{"token": {strings.Repeat("x", mostLogin)}}).StatusCode; status != http.StatusRequestEntityTooLarge {
		t.Errorf("a long token: %d", status)
	}
	w.login()
	for _, path := range []string{"/results?image=50%", "/results?a;b"} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://signet.example"+Root+path, nil)
		for name, value := range w.cookies {
			r.AddCookie(&http.Cookie{Name: name, Value: value})
		}
		out := httptest.NewRecorder()
		if w.page.ServeHTTP(out, r); out.Code != http.StatusOK {
			t.Errorf("%s: %d", path, out.Code)
		}
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "http://signet.example"+Root+"/signers/new", strings.NewReader("a=%zz"))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for name, value := range w.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	out := httptest.NewRecorder()
	if w.page.ServeHTTP(out, r); out.Code != http.StatusBadRequest || !strings.Contains(out.Body.String(), "The form cannot be read") {
		t.Errorf("%d\n%s", out.Code, out.Body)
	}
}

// Nobody is led to where their role does not let them, or where what they look for is
// not.
func TestNoDeadEnds(t *testing.T) {
	const denied = `{"id": "v1", "image": "ghcr.io/a", "decision": "deny", "allowed": false, "reasons": [{"code": "signer_not_trusted", "message": "No.", "nearest": {"signer": "ci", "field": "subject", "want": "a", "have": "b", "principal": "b", "why": "w"}}]}`
	w := newWorld(t, nil)
	csrf := w.login()
	w.face.answers["GET /api/v1/verdicts/v1"], w.face.answers["POST /api/v1/verdicts"] = denied, denied
	page := func(path string) string { return body(t, w.ask(http.MethodGet, Root+path, nil)) }
	if page := page("/results/v1"); !strings.Contains(page, `/signers?teams=all&amp;query=ci"`) {
		t.Errorf("a signer of the installation is not found by a team:\n%s", page)
	}
	verified := func() string {
		return body(t, w.ask(http.MethodPost, Root+"/verify/stream", url.Values{"csrf": {csrf}, "image": {"ghcr.io/a"}}))
	}
	places := map[string]func() string{"What was refused lately": func() string { return page("/verify") }, "Link for others": verified, "To the signers": func() string { return page("/nothing") }, "Look at the signer": verified}
	for place, of := range places {
		if page := of(); !strings.Contains(page, place) {
			t.Errorf("who may read is not led to %q:\n%s", place, page)
		}
	}
	w.face.principal.Role = auth.Verifier
	for place, of := range places {
		if page := of(); strings.Contains(page, place) {
			t.Errorf("who may not read is led to %q:\n%s", place, page)
		}
	}

	w.face.principal.Role, w.face.principal.Team = auth.Admin, "web"
	w.face.answers["GET /api/v1/signers"] = `{"items": [` + aSigner + `]}`
	for path, owner := range map[string]string{"/signers": "web", "/signers?query=&owner=": "", "/signers?teams=all": "", "/signers?owner=data": "data"} {
		page := page(path)
		if asked := w.face.asked[len(w.face.asked)-1].URL.Query().Get("owner"); asked != owner {
			t.Errorf("%s asks for those of %q, want %q", path, asked, owner)
		}
		if path == "/signers?query=&owner=" && !strings.Contains(page, `name="teams" value="all"`) {
			t.Errorf("the next filter has the team again:\n%s", page)
		}
	}
}

// What is wrong with a field is tied to it, in every form, and the first such field has
// the focus; no part of the page that is folded hides it.
func TestMistakesAreTiedToTheirFields(t *testing.T) {
	w := newWorld(t, nil)
	csrf := w.login()
	w.face.answers["GET /api/v1/signers/s1"] = aSigner
	w.face.answers["GET /api/v1/trust-roots"] = `{"items": [{"name": "acme", "contains": {"parts": []}}]}`
	w.face.answers["GET /api/v1/trust-roots/acme"] = `{"name": "acme", "kind": "file", "source": "api", "images": [], "contains": {"parts": []}, "version": 3}`
	w.face.answers["GET /api/v1/policies/default"] = `{"name": "default", "source": "api", "mode": "enforce", "images": [], "exceptions": [], "signing_policy": "signing_policy: {}\n", "version": 1}`
	for _, tt := range []struct {
		path, asked, wrong string // wrong are the fields that the server names
		fields             string // those of the form, where they are others
		form               url.Values
	}{
		{path: "/signers/new", asked: "POST /api/v1/signers", wrong: "name issuer subject_regex claims trust_roots images expires_at not_before signed_from signed_until owner note",
			fields: "name issuer subject claims trust_roots images expires_at not_before signed_from signed_until owner note", form: url.Values{"type": {"keyless"}}},
		{path: "/signers/new", asked: "POST /api/v1/signers", wrong: "public_key", form: url.Values{"type": {"public_key"}}},
		{path: "/signers/new", asked: "POST /api/v1/signers", wrong: "kms_key_ref", form: url.Values{"type": {"kms"}}},
		{path: "/signers/s1/compromise", asked: "POST /api/v1/signers/s1/compromise", wrong: "since why", form: url.Values{"since": {"2025-07-01T12:00"}, "zone": {"UTC"}}},
		{path: "/trust/new", asked: "PUT /api/v1/trust-roots/a", wrong: "name trusted_root tuf_url tuf_root target images position", form: url.Values{"name": {"a"}}},
		{path: "/trust/acme/edit", asked: "PATCH /api/v1/trust-roots/acme", wrong: "requires", form: url.Values{"version": {"3"}}},
		{path: "/gateways/new", asked: "PUT /api/v1/gateways/a", wrong: "name url image note", fields: "name value image note", form: url.Values{"name": {"a"}, "told": {"url"}}},
		{path: "/tokens/new", asked: "POST /api/v1/tokens", wrong: "name role team images sources expires_in", form: url.Values{}},
		{path: "/policy/default/edit", fields: "context threshold trusted_signers-0-claims parameters", form: url.Values{
			"p.context": {"stage"}, "p.threshold": {"many"}, "p.trusted_signers": {"1"}, "p.trusted_signers[0].type": {"keyless"}, "p.trusted_signers[0].claims": {"ref"}, "p.parameters": {"{"},
		}},
		{path: "/policy/default/edit", fields: "mode shadow_of images slsa-minimum_level slsa-trusted_builders", form: url.Values{
			"p.mode": {"perhaps"}, "p.shadow_of": {"A B"}, "p.images": {"**["}, "p.slsa": {"on"}, "p.slsa.minimum_level": {"7"}, "p.slsa.require_attestation": {"on"},
		}},
		{path: "/policy/default/edit", fields: "require_signature", form: url.Values{"p.mode": {"enforce"}}},
		{path: "/policy/default/edit", fields: "trusted_signers", form: url.Values{"p.mode": {"enforce"}, "p.require_signature": {"on"}}},
		{path: "/policy/default/exceptions", asked: "POST /api/v1/policies/default/exceptions", wrong: "images codes reason owner expires_at", form: url.Values{"version": {"1"}, "expires_at": {"2025-07-20T18:00"}}},
	} {
		var list []string
		for _, field := range strings.Fields(tt.wrong) {
			list = append(list, fmt.Sprintf(`{"field": %q, "detail": "It is not right."}`, field))
		}
		w.face.answers[tt.asked] = `422 {"code": "invalid_field", "detail": "No.", "errors": [` + strings.Join(list, ", ") + `]}`
		tt.form.Set("csrf", csrf)
		if strings.HasPrefix(tt.path, "/policy/default/edit") { // what is wrong is found in the form
			tt.form.Set("version", "1")
			tt.form.Set("beside", editorPage{}.Beside())
		}
		status, page := w.post(tt.path, tt.form)
		if status != http.StatusUnprocessableEntity {
			t.Errorf("%s: %d\n%s", tt.path, status, page)
			continue
		}
		if _, part := w.post("/policy/default/form?from=form", tt.form); tt.form.Has("beside") && (!strings.Contains(part, "-error") || strings.Contains(part, "autofocus")) {
			t.Errorf("while somebody fills in the form, the focus stays with them:\n%s", part)
		}
		if !strings.Contains(page, ` data-guard="unsaved">`) {
			t.Errorf("%s: what was not saved can be left without a question:\n%s", tt.path, page)
		}
		if tt.fields == "" {
			tt.fields = tt.wrong
		}
		for _, field := range strings.Fields(tt.fields) {
			marked := regexp.MustCompile(`<(input|textarea|select) id="` + field + `" name="[^"]+" aria-invalid="true" autofocus aria-describedby="` + field + `-error( ` + field + `-help)?"`)
			switch field {
			case "trusted_signers", "slsa-trusted_builders": // any number of parts
				marked = regexp.MustCompile(`<summary autofocus aria-describedby="` + field + `-error ` + field + `-help"`)
			case "trust_roots", "requires": // several boxes
				marked = regexp.MustCompile(`<fieldset aria-describedby="` + field + `-error"`)
			}
			says := "It is not right."
			if tt.asked == "" {
				says = ""
			}
			at := marked.FindStringIndex(page)
			if at == nil || !strings.Contains(page, `<p class="error" id="`+field+`-error">`+says) {
				t.Errorf("%s: %s is not marked:\n%s", tt.path, field, page)
				continue
			}
			if opened := strings.LastIndex(page[:at[0]], "<details"); opened > strings.LastIndex(page[:at[0]], "</details>") && !regexp.MustCompile(`^<details( class="part")? open>`).MatchString(page[opened:]) {
				t.Errorf("%s: %s is folded away", tt.path, field)
			}
		}
		for _, help := range regexp.MustCompile(`aria-describedby="([^"]+)"`).FindAllStringSubmatch(page, -1) {
			for _, id := range strings.Fields(help[1]) {
				if strings.Count(page, `id="`+id+`"`) != 1 {
					t.Errorf("%s: there is not one %s", tt.path, id)
				}
			}
		}
	}
}
