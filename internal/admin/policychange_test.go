package admin

import (
	"fmt"
	"html"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/signingpolicy"
)

// What counts of a policy's form and its YAML is what was changed. A mistake that only
// the form can have is in no YAML, and does not let the old one pass for what the form
// says.
func TestPolicyFormOrYAML(t *testing.T) {
	const was = "signing_policy:\n  name: default\n  mode: audit\n  trusted_signers: [{type: registry}]\n  threshold: 1\n"
	beside := editorPage{Document: was}.Beside()
	edited := strings.Replace(was, "1", "3", 1)
	policy, err := signingpolicy.Parse([]byte(was))
	if err != nil {
		t.Fatal(err)
	}
	filled, err := signingpolicy.FormOf(policy)
	if err != nil {
		t.Fatal(err)
	}
	mistaken := strings.Replace(was, "audit", "perhaps", 1) // which makes no form
	for _, tt := range []struct {
		name, document, beside string
		form                   url.Values
		status                 int
		sent                   string   // in what is put
		has                    []string // on the page
	}{
		{"no whole number", was, beside, url.Values{"p.threshold": {"many"}, "p.mode": {"disabled"}}, http.StatusUnprocessableEntity, "", []string{`value="many"`, `class="error"`}},
		{"the form was changed", was, beside, url.Values{"p.threshold": {"2"}}, http.StatusSeeOther, "threshold: 2", nil},
		{"nothing was changed", was, beside, url.Values{"p.threshold": {"1"}, "p.images": {""}}, http.StatusSeeOther, was, nil},
		{"the YAML was changed", edited, beside, url.Values{"p.threshold": {"many"}}, http.StatusSeeOther, edited, nil},
		{"the YAML as browsers send it", strings.ReplaceAll(was, "\n", "\r\n"), beside, url.Values{"p.threshold": {"2"}}, http.StatusSeeOther, "threshold: 2", nil},
		{"there was no form", was, "", nil, http.StatusSeeOther, was, nil},
		{"the form was asked for", was, beside, url.Values{"use": {"form"}, "p.threshold": {"2"}}, http.StatusSeeOther, "threshold: 2", nil},
		{
			"the form was asked for, but the YAML was changed", edited, beside, url.Values{"use": {"form"}, "p.threshold": {"2"}}, http.StatusUnprocessableEntity, "",
			[]string{edited, `id="threshold" name="p.threshold" aria-describedby="threshold-help" value="2"`, `name="beside" value="` + beside + `"`, "changed as well as the form"},
		},
		{"the form was asked for, and the YAML emptied", " \r\n", beside, url.Values{"use": {"form"}, "p.threshold": {"2"}}, http.StatusSeeOther, "threshold: 2", nil},
		{"the form was asked for, but there was none", mistaken, "", url.Values{"use": {"form"}}, http.StatusUnprocessableEntity, "", []string{mistaken, "no form that could be saved", "mode"}},
		{"a part, and the YAML was changed", edited, beside, url.Values{"change": {"add:groups"}, "p.threshold": {"2"}}, http.StatusOK, "", []string{edited, `name="p.groups[0].name"`, `name="beside" value="` + beside + `"`}},
		{"a part, and there was no form", mistaken, "", url.Values{"change": {"add:groups"}}, http.StatusOK, "", []string{mistaken}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, nil)
			csrf := w.login()
			w.face.answers["PUT /api/v1/policies/default"] = aPolicy
			form := url.Values{"csrf": {csrf}, "version": {"1"}, "document": {tt.document}, "beside": {tt.beside}}
			for path, value := range filled {
				if tt.beside != "" {
					form.Set(formPrefix+path, value)
				}
			}
			maps.Copy(form, tt.form)
			status, page := w.post("/policy/default/edit", form)
			if sent := w.face.sent(http.MethodPut); status != tt.status || (sent == "") != (tt.sent == "") || !strings.Contains(sent, tt.sent) {
				t.Errorf("%d, sent %q\n%s", status, sent, page)
			}
			for _, want := range tt.has {
				if !strings.Contains(html.UnescapeString(page), want) || !strings.Contains(page, `data-guard="unsaved"`) {
					t.Errorf("it does not say %q:\n%s", want, page)
				}
			}
			if _, preview := w.post("/policy/default/preview", form); tt.form.Get("p.threshold") == "many" && tt.sent == "" && (!strings.Contains(preview, "beside the fields") || w.face.sent(http.MethodPost) != "") {
				t.Errorf("what would change: %s", preview)
			}
		})
	}
}

// A browser's time zone that the list has not is still the chosen one after a mistake.
func TestExceptionKeepsItsZone(t *testing.T) {
	w := newWorld(t, nil)
	csrf := w.login()
	w.face.answers["GET /api/v1/policies/default"] = `{"name": "default", "source": "api", "mode": "enforce", "images": [], "exceptions": [], "signing_policy": "signing_policy: {}\n", "version": 1}`
	w.face.answers["POST /api/v1/policies/default/exceptions"] = `422 {"code": "invalid_field", "detail": "No.", "errors": [{"field": "codes", "detail": "There is no such code."}]}`
	status, page := w.post("/policy/default/exceptions", url.Values{
		"csrf": {csrf}, "version": {"1"}, "images": {"ghcr.io/a"}, "codes": {"unsinged"}, "reason": {strings.Repeat("я", 400)}, "owner": {"o"}, "expires_at": {"2025-07-20T18:00"}, "zone": {"Europe/Paris"},
	})
	if status != http.StatusUnprocessableEntity || !strings.Contains(page, `<option selected>Europe/Paris</option>`) || !strings.Contains(page, "There is no such code.") {
		t.Errorf("%d\n%s", status, page)
	}
}

// Who presses Enter in a field has neither button in mind: what counts is what they
// changed, and what the server refuses of their YAML is theirs still.
func TestEnterSavesWhatWasChanged(t *testing.T) {
	const written = "signing_policy:\n  # ours\n  mode: perhaps\n  threshold: 3\n"
	w := newWorld(t, nil)
	csrf := w.login()
	w.face.answers["GET /api/v1/policies/default"] = aPolicy
	page := body(t, w.ask(http.MethodGet, Root+"/policy/default/edit", nil))
	_, form, _ := strings.Cut(page, `id="policy-form"`)
	if button := regexp.MustCompile(`<button[^>]*>`).FindString(form); !strings.Contains(button, `type="submit"`) || strings.Contains(button, "name=") {
		t.Errorf("Enter presses %s", button)
	}
	w.face.answers["PUT /api/v1/policies/default"] = `422 {"code": "invalid_fields", "detail": "No.", "errors": [{"field": "mode", "detail": "line 3: mode: perhaps is none"}]}`
	status, page := w.post("/policy/default/edit", url.Values{"csrf": {csrf}, "version": {"1"}, "document": {written}, "why": {"so"}})
	if sent := w.face.sent(http.MethodPut); status != http.StatusUnprocessableEntity || sent != written || !strings.Contains(html.UnescapeString(page), written) {
		t.Errorf("%d, sent %q\n%s", status, sent, page)
	}
	if !strings.Contains(page, `name="document" aria-invalid="true" autofocus aria-describedby="document-error document-help"`) || !strings.Contains(page, `<ul id="document-error">`) {
		t.Errorf("what is wrong with the YAML is not tied to it:\n%s", page)
	}
	if strings.Contains(page, "Save what the form says") {
		t.Errorf("a form can be saved that is not there:\n%s", page)
	}
}

// A change of the form that comes with a changed YAML does not take its place.
func TestFormBesideAnotherYAML(t *testing.T) {
	w := newWorld(t, nil)
	csrf := w.login()
	const was, edited = "signing_policy: {trusted_signers: [{type: registry}], threshold: 1}\n", "signing_policy: {trusted_signers: [{type: registry}], threshold: 3} # ours\n"
	form := url.Values{"csrf": {csrf}, "beside": {editorPage{Document: was}.Beside()}, "document": {edited}, "p.mode": {"audit"}, "p.threshold": {"1"}, "change": {"add:groups"}}
	_, page := w.post("/policy/default/form?from=form", form)
	if !strings.Contains(page, edited) || !strings.Contains(page, `name="p.threshold" aria-describedby="threshold-help" value="3"`) || !strings.Contains(page, "made of it anew") {
		t.Errorf("the YAML was changed too:\n%s", page)
	}
	form.Set("document", was)
	if _, page := w.post("/policy/default/form?from=form", form); !strings.Contains(page, `name="p.groups[0].name"`) || strings.Contains(page, "made of it anew") {
		t.Errorf("the YAML was not changed:\n%s", page)
	}
}

const aHistory = `{"items": [
	{"active_revision": 9, "change": "bundle", "by": "joe", "version": 3, "bundle": "ours", "bundle_revision": "c", "bundle_sequence": 3, "bundle_digest": "sha256:3"},
	{"active_revision": 7, "change": "removed", "by": "joe"},
	{"active_revision": 5, "change": "document", "by": "jane", "version": 2, "bundle": "ours", "bundle_revision": "b", "bundle_sequence": 2, "bundle_digest": "sha256:2"},
	{"active_revision": 4, "change": "document", "by": "jane", "version": 1}]}`

// Nothing is taken away or put back by one click: a page asks, shows what would change,
// and keeps why.
func TestChangesAreAsked(t *testing.T) {
	const excepted = `{"name": "default", "source": "api", "mode": "audit", "images": [], "bundle": "ours", "version": 3, "exceptions": [
		{"name": "default/exceptions/1", "images": ["ghcr.io/a"], "codes": ["unsigned"], "reason": "first", "owner": "web", "expires_at": "2025-08-01T00:00:00Z"},
		{"name": "default/exceptions/2", "images": ["ghcr.io/b"], "codes": ["unsigned"], "reason": "second", "owner": "web", "expires_at": "2025-08-01T00:00:00Z"}],
		"signing_policy": "signing_policy: {mode: audit, trusted_signers: [{type: registry}], exceptions: [{images: [ghcr.io/a], codes: [unsigned], reason: first, owner: web, expires_at: 2025-08-01T00:00:00Z}, {images: [ghcr.io/b], codes: [unsigned], reason: second, owner: web, expires_at: 2025-08-01T00:00:00Z}]}\n"}`
	bundle := func(policies, source string) string {
		return `{"name": "ours", "source": "` + source + `", "digest": "sha256:3", "revision": "c", "sequence": 3, "highest_sequence": 3, "policies": [` + policies + `], "version": 8}`
	}
	for _, tt := range []struct {
		name, path, bundle string
		has                []string // on the page
		operation          string   // of its preview; "": it has none
		answer             url.Values
		sent               string // method and path; "": it cannot be done
		body               string
	}{
		{
			"rollback", "/policy/default/rollback?to=5", bundle(`"default", "other", "third"`, "api"),
			[]string{"from sequence 3 to sequence 2", "other, third.", "+  threshold: 2"},
			`"op":"rollback_policy","name":"default","to":5`, url.Values{"to": {"5"}, "version": {"3"}, "seen": {"9"}}, "POST /api/v1/policies/default/rollback", `"to":5`,
		},
		{
			"rollback without a bundle", "/policy/default/rollback?to=4", bundle(`"other"`, "api"), []string{"so that this can be taken back"},
			`"op":"rollback_policy","name":"default","to":4`, url.Values{"to": {"4"}, "version": {"3"}, "seen": {"9"}}, "POST /api/v1/policies/default/rollback", `"to":4`,
		},
		{"rollback to a bundle that is gone", "/policy/default/rollback?to=5", `404 {"code": "not_found", "detail": "There is none."}`, []string{"the bundle ours then, which was removed"}, "", nil, "", ""},
		{
			"a policy", "/policy/default/remove", bundle("", "api"), []string{"answered unknown", "The bundle ours, by which it decides, stays."},
			`"op":"delete_policy","name":"default"`, url.Values{"version": {"3"}}, "DELETE /api/v1/policies/default", "",
		},
		{
			"an exception", "/policy/default/exceptions/remove?place=2", bundle("", "api"), []string{"Why: second (web)"},
			`reason: first`, url.Values{"version": {"3"}, "place": {"2"}}, "DELETE /api/v1/policies/default/exceptions/2", "",
		},
		{"a bundle", "/bundle/ours/remove", bundle("", "api"), []string{"no verdict changes"}, "", url.Values{"version": {"8"}}, "DELETE /api/v1/bundles/ours", ""},
		{
			"a signer", "/signers/s1/change?action=disable", bundle("", "api"), []string{"It can be enabled again.", `<a href="` + Root + `/signers">Signers</a> · <a href="` + Root + `/signers/s1">a</a>`, `danger" type="submit">Disable a<`},
			`"op":"disable_signer","name":"s1"`, url.Values{"version": {"2"}, "action": {"disable"}}, "PATCH /api/v1/signers/s1", `"enabled":false`,
		},
		{
			"a signer that is trusted again", "/signers/s1/change?action=enable", bundle("", "api"), []string{`class="button" type="submit">Enable a<`},
			`"op":"enable_signer","name":"s1"`, url.Values{"version": {"2"}, "action": {"enable"}}, "PATCH /api/v1/signers/s1", `"enabled":true`,
		},
		{
			"a trust root", "/trust/acme/remove", bundle("", "api"), []string{"counts no more", `<a href="` + Root + `/trust">Trust</a></p>`},
			`"op":"delete_trust_root","name":"acme"`, url.Values{"version": {"3"}}, "DELETE /api/v1/trust-roots/acme", "",
		},
		{"a bundle that decides", "/bundle/ours/remove", bundle(`"default", "other"`, "api"), []string{"default, other. Give them another bundle first"}, "", nil, "", ""},
		{"a bundle of the configuration", "/bundle/ours/remove", bundle("", "configuration"), []string{"remove it there"}, "", nil, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, nil)
			csrf := w.login()
			for path, answer := range map[string]string{
				"GET /api/v1/policies/default": excepted, "GET /api/v1/policies": `{"items": [` + excepted + `]}`, "GET /api/v1/policies/default/history": aHistory,
				"GET /api/v1/policies/default/diff": `{"from": 9, "to": 5, "document": "+  threshold: 2\n", "bundle": ""}`, "GET /api/v1/bundles/ours": tt.bundle,
				"POST /api/v1/policies/default/rollback": excepted, "DELETE /api/v1/policies/default": `{}`, "DELETE /api/v1/bundles/ours": `{}`, "DELETE /api/v1/policies/default/exceptions/2": excepted,
				"GET /api/v1/signers/s1": aSigner, "PATCH /api/v1/signers/s1": aSigner, "GET /api/v1/trust-roots/acme": `{"name": "acme", "contains": {"parts": []}, "version": 3}`, "DELETE /api/v1/trust-roots/acme": `{}`,
			} {
				w.face.answers[path] = answer
			}
			path, _, _ := strings.Cut(tt.path, "?")
			page := html.UnescapeString(body(t, w.ask(http.MethodGet, Root+tt.path, nil)))
			for _, want := range tt.has {
				if !strings.Contains(page, want) {
					t.Errorf("the page does not say %q:\n%s", want, page)
				}
			}
			if asks := strings.Contains(page, `action="`+Root+path+`"`); asks != (tt.sent != "") {
				t.Errorf("it asks: %t\n%s", asks, page)
			}
			for name, value := range tt.answer {
				if !strings.Contains(page, fmt.Sprintf(`name=%q value=%q`, name, value[0])) {
					t.Errorf("the form does not send %s=%s:\n%s", name, value[0], page)
				}
			}
			if at := strings.Replace(tt.path+"?", "?", "?preview=part&", 1); strings.Contains(page, "preview=part") != (tt.operation != "") {
				t.Errorf("previews:\n%s", page)
			} else if tt.operation != "" {
				w.ask(http.MethodGet, Root+strings.TrimRight(at, "?"), nil)
				if sent := w.face.sent(http.MethodPost); !strings.Contains(sent, tt.operation) || strings.Contains(sent, "second") {
					t.Errorf("%s previews %s", at, sent)
				}
			}
			if tt.sent == "" {
				return
			}
			tt.answer.Set("csrf", csrf)
			tt.answer.Set("why", "request seven")
			if status, page := w.post(path, tt.answer); status != http.StatusSeeOther {
				t.Errorf("%d %s", status, page)
			}
			last := w.face.asked[len(w.face.asked)-1]
			if got := last.Method + " " + last.URL.Path; got != tt.sent || last.Header.Get("Signet-Why") != "request seven" || !strings.Contains(w.face.bodies[len(w.face.bodies)-1], tt.body) {
				t.Errorf("sent %s %v", got, last.Header)
			}
		})
	}
}

// What goes back is what the person has looked at: not another state than that, nor over
// another one.
func TestRollbackOfWhatWasSeen(t *testing.T) {
	w := newWorld(t, nil)
	csrf := w.login()
	w.face.answers["GET /api/v1/policies/default"], w.face.answers["GET /api/v1/policies/default/history"] = aPolicy, aHistory
	form := url.Values{"csrf": {csrf}, "to": {"4"}, "version": {"3"}, "seen": {"5"}}
	status, page := w.post("/policy/default/rollback", form)
	if status != http.StatusPreconditionFailed || w.face.sent(http.MethodPost) != "" {
		t.Errorf("%d\n%s", status, page)
	}
	form.Set("seen", "9")
	w.face.answers["POST /api/v1/policies/default/rollback"] = `412 {"code": "stale", "detail": "It was changed."}` // after we looked
	status, page = w.post("/policy/default/rollback", form)
	if last := w.face.asked[len(w.face.asked)-1]; status != http.StatusPreconditionFailed || last.Method != http.MethodPost || last.Header.Get("If-Match") != `"3"` || !strings.Contains(page, "Somebody else has changed this") {
		t.Errorf("%d, %v\n%s", status, last.Header, page)
	}
	form.Del("version")
	if status, page := w.post("/policy/default/rollback", form); status != http.StatusForbidden {
		t.Errorf("a form that says of no version: %d\n%s", status, page)
	}
	for _, to := range []string{"", "7", "6"} {
		if status := w.ask(http.MethodGet, Root+"/policy/default/rollback?to="+to, nil).StatusCode; status != http.StatusNotFound {
			t.Errorf("to %q: %d", to, status)
		}
	}
}

// radios are what a history offers to compare, each with an asterisk where it is chosen.
func radios(page string) (out []string) {
	for _, m := range regexp.MustCompile(`<input type="radio" name="(from|to)" value="(\d+)"[^>]*?( checked)?>`).FindAllStringSubmatch(page, -1) {
		out = append(out, m[1]+m[2]+strings.Replace(m[3], " checked", "*", 1))
	}
	return out
}

// What can be compared of a policy is what it was: its removals are no states. What
// cannot be compared is told beside the others.
func TestHistoryCompares(t *testing.T) {
	w := newWorld(t, nil)
	w.login()
	const at, path = "GET /api/v1/policies/default/history", Root + "/policy/default/history"
	w.face.answers["GET /api/v1/policies/default"], w.face.answers[at] = aPolicy, aHistory
	w.face.answers["GET /api/v1/policies/default/diff"] = `{"from": 4, "to": 5, "document": "+  threshold: 2\n", "bundle": ""}`
	get := func(query string) (int, string) {
		t.Helper()
		res := w.ask(http.MethodGet, path+query, nil)
		return res.StatusCode, html.UnescapeString(body(t, res))
	}
	if _, page := get(""); !slices.Equal(radios(page), []string{"from9", "to9*", "from5*", "to5", "from4", "to4"}) {
		t.Errorf("at first: %q\n%s", radios(page), page)
	}
	if status, page := get("?from=4&to=5"); status != http.StatusOK || !slices.Equal(radios(page), []string{"from9", "to9", "from5", "to5*", "from4*", "to4"}) || !strings.Contains(page, "<ins>+  threshold: 2") {
		t.Errorf("%d, as asked: %q\n%s", status, radios(page), page)
	}
	w.face.answers["GET /api/v1/policies/default/diff"] = `404 {"code": "not_found", "detail": "There was no policy under revision 2."}`
	if status, page := get("?from=2&to=5"); status != http.StatusUnprocessableEntity || !strings.Contains(page, "no policy under revision 2.") || !slices.Contains(radios(page), "from5*") {
		t.Errorf("%d, what was not: %q\n%s", status, radios(page), page)
	}
	w.face.answers[at] = `{"items": [{"active_revision": 4, "change": "document", "by": "jane", "version": 1}]}`
	if _, page := get(""); radios(page) != nil || strings.Contains(page, ">Compare<") {
		t.Errorf("with nothing to compare:\n%s", page)
	}
}

// A policy that was removed is where it was: with who removed it, what it was, and the
// way back.
func TestRemovedPolicy(t *testing.T) {
	w := newWorld(t, nil)
	csrf := w.login()
	w.face.answers["GET /api/v1/policies/default"] = aPolicy
	res := w.ask(http.MethodPost, Root+"/policy/default/remove", url.Values{"csrf": {csrf}, "version": {"1"}})
	if to := res.Header.Get("Location"); to != Root+"/policy/default?done=policy-removed" {
		t.Errorf("the removal leads to %q", to)
	}
	const gone = `404 {"code": "not_found", "detail": "There is no policy."}`
	w.face.answers["GET /api/v1/policies/default"] = gone
	w.face.answers["GET /api/v1/policies/default/history"] = `{"items": [{"active_revision": 7, "change": "removed", "by": "joe", "why": "tried"}, {"active_revision": 5, "change": "document", "by": "jane", "version": 1}]}`
	w.face.answers["GET /api/v1/policies/default/diff"] = `{"from": 7, "to": 5, "document": "+  threshold: 2\n", "bundle": ""}`
	res = w.ask(http.MethodGet, Root+"/policy/default?done=policy-removed", nil)
	page := body(t, res)
	for _, want := range []string{"The policy is removed.", "default was removed", "by joe: tried", `href="` + Root + `/policy/default/rollback?to=5"`} {
		if res.StatusCode != http.StatusOK || !strings.Contains(page, want) {
			t.Errorf("%d, it does not say %q:\n%s", res.StatusCode, want, page)
		}
	}
	page = html.UnescapeString(body(t, w.ask(http.MethodGet, Root+"/policy/default/rollback?to=5", nil)))
	for _, want := range []string{"Bring default back", "What comes back", "<ins>+  threshold: 2", `name="version" value="0"`, `name="seen" value="7"`, "preview=part"} {
		if !strings.Contains(page, want) {
			t.Errorf("the question does not say %q:\n%s", want, page)
		}
	}
	form := url.Values{"csrf": {csrf}, "to": {"5"}, "version": {"0"}, "seen": {"7"}}
	status, page := w.post("/policy/default/rollback", form)
	if last := w.face.asked[len(w.face.asked)-1]; status != http.StatusSeeOther || last.Header.Get("If-None-Match") != "*" || w.face.sent(http.MethodPost) != `{"to":5}` {
		t.Errorf("%d, %v\n%s", status, last.Header, page)
	}
	w.face.principal.Role = auth.Viewer
	if page := body(t, w.ask(http.MethodGet, Root+"/policy/default", nil)); strings.Contains(page, "/rollback") || strings.Contains(page, "put back") || !strings.Contains(page, "was removed") {
		t.Errorf("who may only read:\n%s", page)
	}
	w.face.answers["GET /api/v1/policies/default/history"] = gone
	if status := w.ask(http.MethodGet, Root+"/policy/default", nil).StatusCode; status != http.StatusNotFound {
		t.Errorf("one that never was: %d", status)
	}
}
