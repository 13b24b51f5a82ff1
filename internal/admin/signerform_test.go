package admin

import (
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// What is taken out of a signer's form goes, and what the form cannot offer stays.
func TestSignerFormSaysAll(t *testing.T) {
	w := newWorld(t, nil)
	csrf := w.login()
	w.face.answers["GET /api/v1/signers/s1"], w.face.answers["PATCH /api/v1/signers/s1"] = aSigner, aSigner
	page := body(t, w.ask(http.MethodGet, Root+"/signers/s1/edit", nil)) // there is no trust root acme any more
	for _, want := range []string{`name="trust_roots" value="acme" checked> acme <span class="badge warn">no longer there`, `name="had_claim" value="runner_environment"`, `name="had_claim" value="source_repository_ref"`} {
		if !strings.Contains(page, want) {
			t.Errorf("%s is not in the form:\n%s", want, page)
		}
	}
	form := url.Values{
		"csrf": {csrf}, "version": {"2"}, "type": {"keyless"}, "name": {"a"}, "issuer": {"https://i"}, "subject": {"s"}, "zone": {"UTC"}, "note": {"one\r\ntwo"},
		"had_claim": {"runner_environment", "source_repository_ref"}, "claims": {"source_repository_ref: refs/tags/**"}, "trust_roots": {"acme"},
	}
	if status, page := w.post("/signers/s1/edit", form); status != http.StatusSeeOther {
		t.Fatalf("%d %s", status, page)
	}
	for _, want := range []string{`"claims":{"runner_environment":null,"source_repository_ref":"refs/tags/**"}`, `"trust_roots":["acme"]`, `"note":"one\ntwo"`} {
		if sent := w.face.sent(http.MethodPatch); !strings.Contains(sent, want) {
			t.Errorf("sent %s, want %s", sent, want)
		}
	}
}

// A name that is taken leaves the form as it was filled in, and says so beside it.
func TestNameIsTaken(t *testing.T) {
	w := newWorld(t, nil)
	csrf := w.login()
	const taken = `412 {"code": "stale", "detail": "It is there already. To change it, read it and send its ETag as If-Match."}`
	for path, put := range map[string]string{"/trust/new": "/api/v1/trust-roots/acme", "/gateways/new": "/api/v1/gateways/acme", "/policy/acme/edit": "/api/v1/policies/acme"} {
		w.face.answers["PUT "+put] = taken
		status, page := w.post(path, url.Values{
			"csrf": {csrf}, "name": {"acme"}, "trusted_root": {"{}"}, "told": {"url"}, "value": {"https://a.test"}, "image": {"ghcr.io/a"}, "document": {"signing_policy: {}\n"}, "why": {"request seven"},
		})
		if status != http.StatusUnprocessableEntity || !strings.Contains(page, "of this name already") || !strings.Contains(page, "request seven") || strings.Contains(page, "If-Match") {
			t.Errorf("%s: %d\n%s", path, status, page)
		}
	}
}

// What somebody else has changed meanwhile is said in a person's words, above what was
// written.
func TestFormThatIsStale(t *testing.T) {
	w := newWorld(t, nil)
	csrf := w.login()
	const stale = `412 {"code": "stale", "detail": "It is at version 3, and the change was meant for version 2; read it again."}`
	w.face.answers["GET /api/v1/trust-roots/acme"] = `{"name": "acme", "source": "api", "kind": "file", "requires": {}, "version": 3}`
	w.face.answers["GET /api/v1/policies/default"] = `{"name": "default", "source": "api", "mode": "enforce", "version": 3}`
	for path, to := range map[string]string{
		"/signers/s1/edit": "PATCH /api/v1/signers/s1", "/gateways/acme/edit": "PUT /api/v1/gateways/acme", "/trust/acme/edit": "PATCH /api/v1/trust-roots/acme",
		"/policy/default/edit": "PUT /api/v1/policies/default", "/policy/default/exceptions": "POST /api/v1/policies/default/exceptions",
	} {
		w.face.answers[to] = stale
		status, page := w.post(path, url.Values{
			"csrf": {csrf}, "version": {"2"}, "type": {"keyless"}, "name": {"acme"}, "issuer": {"https://i"}, "subject": {"s"}, "told": {"url"}, "value": {"https://a.test"}, "image": {"ghcr.io/a"},
			"document": {"signing_policy: {}\n"}, "why": {"request seven"}, "reason": {"request seven"}, "expires_at": {"2031-07-31T18:00"}, "zone": {"UTC"},
		})
		if status != http.StatusUnprocessableEntity || !strings.Contains(page, "It was changed since this page was opened") || !strings.Contains(page, "request seven") || strings.Contains(page, "meant for version") {
			t.Errorf("%s: %d\n%s", path, status, page)
		}
	}
}

// A zone is of the times that one writes: those that nobody has touched stay the moments
// that they are, and are shown by its clock when the form comes back.
func TestZoneMovesNoOtherTime(t *testing.T) {
	w := newWorld(t, nil)
	csrf := w.login()
	w.face.answers["PATCH /api/v1/signers/s1"] = aSigner
	form := func(more ...string) url.Values {
		out := url.Values{
			"csrf": {csrf}, "version": {"2"}, "type": {"keyless"}, "name": {"a"}, "issuer": {"https://i"}, "subject": {"s"}, "expires_at": {"2031-07-31T18:00"}, "zone": {"America/Los_Angeles"}, "shown_in": {"UTC"},
			"signed_until": {"2025-03-04T05:06"}, "was_signed_until": {"2025-03-04T05:06:00Z"}, "not_before": {"2025-11-02T09:30:01"}, "was_not_before": {"2025-11-02T09:30:01.5Z"},
		}
		for i := 0; i+1 < len(more); i += 2 {
			out.Set(more[i], more[i+1])
		}
		return out
	}
	const until, from = `"signed_until":"2025-03-04T05:06:00Z"`, `"not_before":"2025-11-02T09:30:01.5Z"`
	for name, tt := range map[string]struct {
		form url.Values
		want []string
	}{
		"another expiry, and its zone":             {form(), []string{until, from, `"expires_at":"2031-08-01T01:00:00Z"`}},
		"shown by the clock of the zone by script": {form("shown_in", "America/Los_Angeles", "signed_until", "2025-03-03T21:06", "not_before", "2025-11-02T01:30:01"), []string{until, from}}, // an hour that comes twice
		"written anew": {form("shown_in", "America/Los_Angeles", "signed_until", "2025-03-04T05:06"), []string{`"signed_until":"2025-03-04T13:06:00Z"`}},
		"emptied":      {form("signed_until", ""), []string{`"signed_until":null`, from}},
	} {
		if status, page := w.post("/signers/s1/edit", tt.form); status != http.StatusSeeOther {
			t.Fatalf("%s: %d\n%s", name, status, page)
		}
		for _, want := range tt.want {
			if sent := w.face.sent(http.MethodPatch); !strings.Contains(sent, want) {
				t.Errorf("%s: sent %s, want %s", name, sent, want)
			}
		}
	}
	shown := []string{
		`name="signed_until" type="datetime-local" step="1" value="2025-03-03T21:06"`, `name="was_signed_until" value="2025-03-04T05:06:00Z"`, `name="shown_in" value="America/Los_Angeles"`,
		`value="soon"`,
	}
	status, page := w.post("/signers/s1/edit", form("expires_at", "soon"))
	for _, want := range shown {
		if status != http.StatusUnprocessableEntity || !strings.Contains(page, want) {
			t.Errorf("%d, without %s\n%s", status, want, page)
		}
	}
	if status, page := w.post("/signers/s1/edit", form("shown_in", "Local")); status != http.StatusUnprocessableEntity || !strings.Contains(page, "Load the page again.") {
		t.Errorf("%d\n%s", status, page)
	}
}

// A preview is of the signer that was typed, or of none: what of it can be read is
// another one, which more may match.
func TestPreviewOfWhatWasTyped(t *testing.T) {
	w := newWorld(t, nil)
	csrf := w.login()
	for name, more := range map[string]url.Values{
		"a claim without a value": {"claims": {"source_repository_ref"}, "zone": {"UTC"}},
		"a time that is none":     {"expires_at": {"soon"}, "zone": {"UTC"}},
		"a zone that is none":     {"expires_at": {"2031-07-31T18:00"}, "zone": {"Europe/Atlantis"}},
	} {
		more["csrf"], more["type"], more["name"], more["issuer"], more["subject"] = []string{csrf}, []string{"keyless"}, []string{"a"}, []string{"https://i"}, []string{"s"}
		status, page := w.post("/signers/preview", more)
		if status != http.StatusOK || !strings.Contains(page, "What is typed is not right yet: ") {
			t.Errorf("%s: %d\n%s", name, status, page)
		}
	}
	for _, r := range w.face.asked {
		if r.URL.Path == "/api/v1/policies/preview" {
			t.Error("a preview was asked for")
		}
	}
}

// Who chooses another type of signer has typed what any signer has once.
func TestTypeIsChangedLater(t *testing.T) {
	w := newWorld(t, nil)
	csrf := w.login()
	w.face.asked = nil
	status, page := w.post("/signers/new", url.Values{
		"csrf": {csrf}, "as": {"public_key"}, "type": {"keyless"}, "name": {"laptop"}, "issuer": {"https://i"}, "claims": {"no value"}, "images": {"ghcr.io/a/**"}, "owner": {"web"}, "note": {"of Jane"}, "why": {"request seven"},
		"expires_at": {"2031-07-31T18:00"}, "signed_until": {"soon"}, "zone": {"Europe/Paris"},
	})
	for _, want := range []string{`name="type" value="public_key"`, `value="laptop"`, "ghcr.io/a/**", `value="web"`, "of Jane", "request seven", `value="2031-07-31T18:00"`, `value="soon"`, "<option selected>Europe/Paris</option>", `id="public_key"`, `value="public_key" formnovalidate aria-current="true"`} {
		if status != http.StatusOK || !strings.Contains(page, want) {
			t.Errorf("%d, without %s\n%s", status, want, page)
		}
	}
	for _, r := range w.face.asked {
		if r.Method != http.MethodGet {
			t.Errorf("%s %s", r.Method, r.URL.Path)
		}
	}
	if strings.Contains(page, "aria-invalid") {
		t.Errorf("what is not finished is wrong already:\n%s", page)
	}
}

// What only one type of signer has outlives the choice of others, each in its turn, and
// what was refused; it is a part of no other signer.
func TestTypesKeepTheirFields(t *testing.T) {
	w := newWorld(t, nil)
	csrf := w.login()
	w.face.answers["GET /api/v1/trust-roots"] = `{"items": [{"name": "acme", "contains": {"parts": []}}, {"name": "other", "contains": {"parts": []}}]}`
	w.face.answers["POST /api/v1/signers"] = `422 {"code": "invalid_field", "detail": "No.", "errors": [{"field": "name", "detail": "It is taken."}]}`
	form := url.Values{
		"csrf": {csrf}, "type": {"keyless"}, "name": {"ci"}, "zone": {"UTC"}, "issuer": {"https://i"}, "match": {"regex"}, "subject": {"s.*"}, "claims": {"a: b\r\nno value"}, "trust_roots": {"acme", "other"},
	}
	keptUnseen := regexp.MustCompile(`<input type="hidden" name="([a-z_]+)" value="([^"]*)">`)
	goes := func(as, more, value string) string { // as a browser sends what the page has, with what is written into it
		t.Helper()
		form.Set("as", as)
		_, page := w.post("/signers/new", form)
		form = url.Values{"csrf": {csrf}, "name": {"ci"}, "zone": {"UTC"}}
		for _, field := range keptUnseen.FindAllStringSubmatch(page, -1) {
			if field[1] != "csrf" {
				form.Add(field[1], html.UnescapeString(field[2]))
			}
		}
		if more != "" {
			form.Set(more, value)
		}
		return page
	}
	const pem = "-----BEGIN PUBLIC KEY-----\nAA+A\n-----END PUBLIC KEY-----\n"
	goes("public_key", "public_key", pem)
	goes("kms", "kms_key_ref", "hashivault://a")
	form.Set("auto_rotate", "on")
	form.Del("as")
	if status, page := w.post("/signers/new", form); status != http.StatusUnprocessableEntity || !strings.Contains(page, `name="public_key" value="-----BEGIN`) || strings.Count(page, `name="kms_key_ref"`) != 1 {
		t.Errorf("refused: %d\n%s", status, page)
	}
	if sent := w.face.sent(http.MethodPost); strings.Contains(sent, "BEGIN") || strings.Contains(sent, "https://i") {
		t.Errorf("sent %s", sent)
	}
	page := goes("keyless", "", "")
	for _, want := range []string{`id="issuer" name="issuer" aria-describedby="issuer-help" value="https://i"`, `value="regex" checked`, `value="s.*"`, "a: b\nno value</textarea>", `value="acme" checked`, `value="other" checked`} {
		if !strings.Contains(strings.ReplaceAll(page, "\r", ""), want) {
			t.Errorf("back at the first, without %s:\n%s", want, page)
		}
	}
	if page := goes("kms", "", ""); !strings.Contains(page, `value="hashivault://a"`) || !strings.Contains(page, `name="auto_rotate" checked`) {
		t.Errorf("back at the KMS:\n%s", page)
	}
	if page := goes("public_key", "", ""); !strings.Contains(html.UnescapeString(page), pem[:40]) || strings.Count(page, `name="public_key"`) != 1 {
		t.Errorf("back at the key:\n%s", page)
	}
}

// Another type of signer is as unsaved as what was written before.
func TestTypeIsUnsaved(t *testing.T) {
	w := newWorld(t, nil)
	csrf := w.login()
	for unsaved, want := range map[string]string{"": `data-guard=""`, "yes": `data-guard="unsaved"`} {
		if _, page := w.post("/signers/new", url.Values{"csrf": {csrf}, "as": {"kms"}, "type": {"keyless"}, "unsaved": {unsaved}}); !strings.Contains(page, want) {
			t.Errorf("%q: without %s\n%s", unsaved, want, page)
		}
	}
}

// The list says how many there are.
func TestSignersAreCounted(t *testing.T) {
	w := newWorld(t, nil)
	w.login()
	for _, tt := range []struct{ answer, path, want string }{
		{`{"items": [` + aSigner + `]}`, "/signers", "1 signer."},
		{`{"items": [` + aSigner + `]}`, "/signers?query=a", "1 signer matches."},
		{`{"items": [` + aSigner + `, ` + aSigner + `]}`, "/signers?query=a", "2 signers match."},
		{`{"items": [` + aSigner + `, ` + aSigner + `], "next": "c"}`, "/signers", "More than 2 signers; these are the first."},
	} {
		w.face.answers["GET /api/v1/signers"] = tt.answer
		if page := body(t, w.ask(http.MethodGet, Root+tt.path, nil)); !strings.Contains(page, tt.want) {
			t.Errorf("%s: without %q\n%s", tt.path, tt.want, page)
		}
	}
}
