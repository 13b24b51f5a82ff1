package admin

import (
	"fmt"
	"html"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// Nothing of a draft is kept over what somebody else has made of it.
func TestDraftThatMoved(t *testing.T) {
	const mine, theirs = "package mine\n", "package theirs\n"
	draft := func(version int, files string) string {
		return fmt.Sprintf(`{"name": "ours", "owner": "", "base": "sha256:1", "files": %s, "replaced": [], "version": %d, "created_by": "jane", "created_at": "2025-07-01T10:00:00Z", "updated_by": "joe", "updated_at": "2025-07-01T11:00:00Z"}`, files, version)
	}
	const release = `{"name": "ours", "digest": "sha256:2", "revision": "r", "sequence": 2, "highest_sequence": 2, "policies": [], "version": 5}`
	for _, tt := range []struct {
		name, draft, file, text, version, seen string
	}{
		{"the file that was edited is gone", draft(4, `{"signing/rules/b.rego": "package theirs\n"}`), "signing/rules/a.rego", mine, "3", "sha256:2"},
		{"another file was saved, and ours is as it was", draft(4, `{"signing/rules/a.rego": "package mine\n", "signing/rules/b.rego": "package theirs\n"}`), "signing/rules/a.rego", mine, "3", "sha256:2"},
		{"no draft was kept, and another release came", draft(0, `{"signing/rules/a.rego": "package theirs\n"}`), "signing/rules/a.rego", mine, "0", "sha256:1"},
	} {
		for _, do := range []string{"save", "publish", "add", "remove", "open:signing/rules/b.rego"} {
			t.Run(tt.name+"/"+do, func(t *testing.T) {
				w := newWorld(t, nil)
				csrf := w.login()
				w.face.answers["GET /api/v1/drafts/ours"], w.face.answers["GET /api/v1/bundles/ours"] = tt.draft, release
				status, page := w.post("/bundle/ours", url.Values{"csrf": {csrf}, "do": {do}, "file": {tt.file}, "text": {tt.text}, "version": {tt.version}, "seen": {tt.seen}, "newname": {"c"}})
				if status != http.StatusPreconditionFailed || !strings.Contains(page, "Somebody else has changed the draft") || !strings.Contains(page, mine) || strings.Contains(page, theirs) {
					t.Errorf("%d\n%s", status, page)
				}
				for _, r := range w.face.asked {
					if r.Method != http.MethodGet {
						t.Errorf("%s %s", r.Method, r.URL.Path)
					}
				}
			})
		}
	}
}

// A draft that there is no room for is refused in the server's words, and what was
// written stays in the editor.
func TestNoRoomForADraft(t *testing.T) {
	const full = `team "web" has 100 drafts, and a team may have at most 100; discard one that nobody works on`
	w := newWorld(t, nil)
	csrf := w.login()
	w.face.answers["GET /api/v1/drafts/ours"] = `{"name": "ours", "owner": "web", "base": "", "files": {"signing/rules/a.rego": "package theirs\n"}, "replaced": [], "version": 0}`
	w.face.answers["PUT /api/v1/drafts/ours"] = fmt.Sprintf(`409 {"code": "conflict", "detail": %q}`, full)
	for do, want := range map[string]int{"save": http.StatusUnprocessableEntity, "add": http.StatusUnprocessableEntity, "publish": http.StatusConflict} {
		status, page := w.post("/bundle/ours", url.Values{"csrf": {csrf}, "do": {do}, "file": {"signing/rules/a.rego"}, "text": {"package mine\n"}, "version": {"0"}, "newname": {"c"}})
		if status != want || !strings.Contains(page, html.EscapeString(full)) || do != "publish" && (!strings.Contains(page, "package mine") || !strings.Contains(page, `data-guard="unsaved"`)) {
			t.Errorf("%s: %d\n%s", do, status, page)
		}
	}
}

// Enter in the name of a new file adds it; in another field it checks. A name that is
// refused stays where it was typed.
func TestEnterInABundle(t *testing.T) {
	w := newWorld(t, nil)
	csrf := w.login()
	w.face.answers["GET /api/v1/drafts/ours"] = `{"name": "ours", "owner": "", "base": "", "files": {"signing/rules/a.rego": "package a\n"}, "replaced": [], "version": 0}`
	w.face.answers["POST /api/v1/policy/check"] = `{"problems": []}`
	form := url.Values{"csrf": {csrf}, "do": {"enter"}, "file": {"signing/rules/a.rego"}, "text": {"package a\n"}, "version": {"0"}}
	if status, page := w.post("/bundle/ours", form); status != http.StatusOK || !strings.Contains(page, "Nothing is wrong with the bundle.") {
		t.Errorf("%d\n%s", status, page)
	}
	form.Set("newname", "a")
	if status, page := w.post("/bundle/ours", form); status != http.StatusUnprocessableEntity || !strings.Contains(page, "a name that no other has") || !strings.Contains(page, `value="a" placeholder="labels.rego"`) || !strings.Contains(page, "<details open><summary>Add a file") {
		t.Errorf("%d\n%s", status, page)
	}
	form.Set("newname", "labels.rego")
	if status, _ := w.post("/bundle/ours", form); status != http.StatusSeeOther || !strings.Contains(w.face.sent(http.MethodPut), "signing/rules/labels.rego") {
		t.Errorf("%d, kept %s", status, w.face.sent(http.MethodPut))
	}
}

// A release that somebody has looked at, and that is gone, is no bundle that never was:
// what was written is shown, and nothing is kept.
func TestBundleThatIsGone(t *testing.T) {
	w := newWorld(t, nil)
	csrf := w.login()
	w.face.answers["GET /api/v1/drafts/ours"] = `{"name": "ours", "owner": "", "base": "", "files": {"signing/rules/starter.rego": "package starter\n"}, "replaced": [], "version": 0}`
	w.face.answers["GET /api/v1/bundles/ours"] = `404 {"code": "not_found", "detail": "There is none."}`
	status, page := w.post("/bundle/ours", url.Values{"csrf": {csrf}, "do": {"save"}, "file": {"signing/rules/mine.rego"}, "text": {"package mine\n"}, "version": {"0"}, "seen": {"sha256:1"}})
	if status != http.StatusPreconditionFailed || !strings.Contains(page, "package mine") || w.face.sent(http.MethodPut) != "" {
		t.Errorf("%d\n%s", status, page)
	}
}
