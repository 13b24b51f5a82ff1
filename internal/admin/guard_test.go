package admin

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/signet-policy/signet/internal/api"
	"github.com/signet-policy/signet/internal/auth"
)

// Who is not known comes to the login, and from there to where they wanted.
func TestAnonymous(t *testing.T) {
	w := newWorld(t, nil)
	for _, tt := range []struct{ name, path, want string }{
		{"the page", Root, Root + "/login"},
		{"a list", Root + "/results?decision=deny", Root + "/login?next=%2Fresults%3Fdecision%3Ddeny"},
		{"nothing", Root + "/nothing", Root + "/login?next=%2Fnothing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			res := w.ask("GET", tt.path, nil)
			if res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != tt.want {
				t.Errorf("%d to %s", res.StatusCode, res.Header.Get("Location"))
			}
		})
	}
	t.Run("a part", func(t *testing.T) { // the login leads back to the page that it was a part of
		for _, tt := range []struct{ open, want string }{
			{"http://signet.example" + Root + "/results?decision=deny", "/login?next=%2Fresults%3Fdecision%3Ddeny"},
			{"http://signet.example" + Root, "/login"},
			{"http://gateway.example/admin", "/login"}, {"http://gateway.example" + Root + "//evil.example", "/login?next=%2F%2Fevil.example"}, {":", "/login"}, {"", "/login"},
		} {
			res := w.ask("GET", Root+"/results/01J?row=1", nil, "HX-Request", "true", "HX-Current-URL", tt.open)
			if res.StatusCode != http.StatusUnauthorized || res.Header.Get("HX-Redirect") != Root+tt.want {
				t.Errorf("from %q: %d, HX-Redirect %q", tt.open, res.StatusCode, res.Header.Get("HX-Redirect"))
			}
		}
	})
	t.Run("a fragment in another page", func(t *testing.T) { // which is not ours to leave
		res := w.ask("GET", Root+"/partial/results", nil, "HX-Request", "true", "X-Forwarded-Prefix", "/evil")
		page := body(t, res)
		if res.StatusCode != http.StatusOK || res.Header.Get("HX-Redirect") != "" || !strings.Contains(page, `href="`+Root+`/login?next=/results" target="_blank"`) || !strings.Contains(page, `hx-get="`+Root+`/partial/results"`) {
			t.Errorf("%d %v\n%s", res.StatusCode, res.Header, page)
		}
		if res := w.ask("GET", Root+"/results", nil, "HX-Request", "true", "HX-Boosted", "true", headerEmbedded, "1"); res.StatusCode != http.StatusUnauthorized || res.Header.Get("HX-Retarget") != "#signet-notice" {
			t.Errorf("a tab of it: %d %v", res.StatusCode, res.Header)
		}
		if res := w.ask("GET", Root+"/partial/results", nil); res.StatusCode != http.StatusSeeOther {
			t.Errorf("without htmx: %d", res.StatusCode)
		}
	})
	t.Run("a form's script", func(t *testing.T) {
		for _, boosted := range []string{"", "true"} {
			res := w.ask("POST", Root+"/signers/check", url.Values{"subject": {"a"}}, "HX-Request", "true", "HX-Boosted", boosted)
			if res.StatusCode != http.StatusUnauthorized || res.Header.Get("HX-Redirect") != "" || res.Header.Get("HX-Retarget") != "#signet-notice" || res.Header.Get(headerPage) == "" {
				t.Errorf("%d %v", res.StatusCode, res.Header)
			}
			if page := body(t, res); !strings.Contains(page, "Your session has ended.") || !strings.Contains(page, `href="`+Root+`/login" target="_blank" rel="noopener"`) {
				t.Errorf("it says:\n%s", page)
			}
		}
	})
	t.Run("a form without a script", func(t *testing.T) {
		if res := w.ask("POST", Root+"/signers/new", url.Values{"subject": {"a"}}); res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != Root+"/login" {
			t.Errorf("%d to %s", res.StatusCode, res.Header.Get("Location"))
		}
	})
	t.Run("a token that is not known", func(t *testing.T) {
		if res := w.ask("GET", Root, nil, "Authorization", "Bearer sgn_x"); res.StatusCode != http.StatusSeeOther {
			t.Errorf("%d", res.StatusCode)
		}
	})
}

// A login leads on to places of the page alone.
func TestNext(t *testing.T) {
	for next, want := range map[string]string{
		"/results?a=b": "/results?a=b", "//evil.example": "", "https://evil.example": "", `/\evil.example`: "", "/login": "", "": "", "/a\r\nSet-Cookie: x": "",
	} {
		if got := safeNext(next); got != want {
			t.Errorf("%q: %q", next, got)
		}
	}
}

// A session is as good as its token, its time, and the secret.
func TestSessionEnds(t *testing.T) {
	other, err := auth.NewSecret()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		end  func(*world)
		want int
	}{
		{"it lives", func(*world) {}, http.StatusOK},
		{"the token is revoked", func(w *world) { w.revoked = true }, http.StatusSeeOther},
		{"its time is over", func(w *world) { w.now = w.now.Add(sessionTime) }, http.StatusSeeOther},
		{"the secret is another", func(w *world) { w.secret = other }, http.StatusSeeOther},
		{"the cookie was changed", func(w *world) { w.cookies[cookieSession] = "A" + w.cookies[cookieSession][1:] + "A" }, http.StatusSeeOther},
		{"the cookie is that of the login", func(w *world) {
			w.ask("GET", Root+"/login", nil)
			w.cookies[cookieSession] = w.cookies[cookieLogin]
		}, http.StatusSeeOther},
		{"it was logged out", func(w *world) {
			csrf := csrfOf(w.T, body(w.T, w.ask("GET", Root, nil)))
			w.ask("POST", Root+"/logout", url.Values{"csrf": {csrf}})
		}, http.StatusSeeOther},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, nil)
			w.login()
			tt.end(w)
			if res := w.ask("GET", Root, nil); res.StatusCode != tt.want {
				t.Errorf("%d", res.StatusCode)
			}
		})
	}
}

// Nothing is done because another site says so.
func TestCrossSite(t *testing.T) {
	for _, tt := range []struct {
		name   string
		csrf   string // "" the right one
		header []string
		want   int
	}{
		{"the page itself", "", nil, http.StatusSeeOther},
		{"the page itself, as browsers say it", "", []string{"Sec-Fetch-Site", "same-origin", "Origin", "http://signet.example"}, http.StatusSeeOther},
		{"without the CSRF token", "-", nil, http.StatusForbidden},
		{"with another CSRF token", "AAAA", nil, http.StatusForbidden},
		{"with the header instead", "header", nil, http.StatusSeeOther},
		{"another site", "", []string{"Sec-Fetch-Site", "cross-site"}, http.StatusForbidden},
		{"another host of the same site", "", []string{"Sec-Fetch-Site", "same-site"}, http.StatusForbidden},
		{"another origin, in an old browser", "", []string{"Origin", "http://evil.example"}, http.StatusForbidden},
		{"no origin that could be told", "", []string{"Origin", "null"}, http.StatusForbidden},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, nil)
			csrf := w.login()
			form := url.Values{}
			switch tt.csrf {
			case "":
				form.Set("csrf", csrf)
			case "header":
				tt.header = append(tt.header, headerCSRF, csrf)
			default:
				form.Set("csrf", tt.csrf)
			}
			w.face.asked = nil
			res := w.ask("POST", Root+"/trust/public/refresh", form, tt.header...)
			if res.StatusCode != tt.want {
				t.Errorf("%d: %s", res.StatusCode, body(t, res))
			}
			done := false
			for _, r := range w.face.asked {
				done = done || r.Method != http.MethodGet
			}
			if done != (tt.want == http.StatusSeeOther) {
				t.Errorf("something was done: %t", done)
			}
		})
	}
}

// A CSRF token is good for one principal alone: for a form that was open when a session
// ended and another one of the same principal began, and not for ever.
func TestCSRFOfAnotherSession(t *testing.T) {
	other, err := auth.NewSecret()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		change func(*world)
		want   int
	}{
		{"the same principal", func(*world) {}, http.StatusSeeOther},
		{"a week later", func(w *world) { w.now = w.now.Add(csrfTime) }, http.StatusSeeOther},
		{"two weeks later", func(w *world) { w.now = w.now.Add(2 * csrfTime) }, http.StatusForbidden},
		{"another token of the same name", func(w *world) { w.face.principal.TokenID = "ponmlkjihgfedcba" }, http.StatusForbidden},
		{"the secret is another", func(w *world) { w.secret = other }, http.StatusForbidden},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, nil)
			old := w.login()
			w.cookies = map[string]string{}
			tt.change(w)
			w.login()
			if res := w.ask("POST", Root+"/trust/public/refresh", url.Values{"csrf": {old}}); res.StatusCode != tt.want {
				t.Errorf("%d, want %d: %s", res.StatusCode, tt.want, body(t, res))
			}
		})
	}
}

// The token of the login is none of a session, and none of somebody who is not known.
func TestCSRFOfTheLogin(t *testing.T) {
	w := newWorld(t, nil)
	before := csrfOf(t, body(t, w.ask("GET", Root+"/login", nil)))
	w.login()
	for _, csrf := range []string{before, ""} {
		if res := w.ask("POST", Root+"/trust/public/refresh", url.Values{"csrf": {csrf}}); res.StatusCode != http.StatusForbidden {
			t.Errorf("%q: %d", csrf, res.StatusCode)
		}
	}
}

// What a form's script sent and was not done is told above the form, which stays; where no
// script asks, and where nothing was written, it is a page.
func TestNoteAboveTheForm(t *testing.T) {
	w := newWorld(t, nil)
	csrf := w.login()
	w.face.answers["GET /api/v1/signers/s1"] = aSigner
	for _, problem := range []string{
		`403 {"code": "forbidden", "detail": "Your role may not."}`, `409 {"code": "conflict", "detail": "It is named by a policy."}`, `412 {"code": "stale", "detail": "Stale."}`,
		`429 {"code": "rate_limited", "detail": "Later."}`, `500 {"code": "internal", "detail": "Broken."}`, `503 {"code": "unavailable", "detail": "Away."}`,
	} {
		w.face.answers["DELETE /api/v1/signers/s1"] = problem
		send := func(header ...string) (*http.Response, string) {
			res := w.ask("POST", Root+"/signers/s1/change", url.Values{"csrf": {csrf}, "action": {"delete"}, "version": {"2"}, "why": {"because"}}, header...)
			return res, body(t, res)
		}
		for _, header := range [][]string{{"HX-Request", "true", "HX-Boosted", "true"}, {"HX-Request", "true"}, {"HX-Request", "true", headerEmbedded, "1"}} {
			res, page := send(header...)
			if h := res.Header; problem[:3] != strconv.Itoa(res.StatusCode) || h.Get("HX-Retarget") != "#signet-notice" || h.Get("HX-Reswap") != "innerHTML" || h.Get("HX-Reselect") != "unset" || h.Get("HX-Push-Url") != "false" || h.Get(headerPage) == "" {
				t.Errorf("%s: %d %v", problem, res.StatusCode, h)
			}
			if !strings.HasPrefix(page, `<div class="note bad" role="alert">`) || strings.Contains(page, `id="signet"`) {
				t.Errorf("%s:\n%s", problem, page)
			}
		}
		if res, page := send(); problem[:3] != strconv.Itoa(res.StatusCode) || res.Header.Get("HX-Retarget") != "" || !strings.Contains(page, `id="signet"`) {
			t.Errorf("without a script: %d %v\n%s", res.StatusCode, res.Header, page)
		}
	}
	if res := w.ask("GET", Root+"/nothing", nil, "HX-Request", "true", "HX-Boosted", "true"); res.StatusCode != http.StatusNotFound || res.Header.Get("HX-Retarget") != "" || res.Header.Get("HX-Push-Url") != "" {
		t.Errorf("a link to nothing: %d %v", res.StatusCode, res.Header)
	}
	// A form that comes back with its mistakes is not what its address shows when it is loaded again.
	res := w.ask("POST", Root+"/signers/s1/edit", url.Values{"csrf": {csrf}, "version": {"2"}, "type": {"keyless"}, "zone": {"UTC"}, "expires_at": {"tomorrow"}}, "HX-Request", "true", "HX-Boosted", "true")
	if page := body(t, res); res.StatusCode != http.StatusUnprocessableEntity || res.Header.Get("HX-Push-Url") != "false" || res.Header.Get("HX-Retarget") != "" || !strings.Contains(page, `id="signet"`) {
		t.Errorf("mistakes: %d %v", res.StatusCode, res.Header)
	}
}

// Who sends the token itself needs no CSRF token: no browser does that by itself.
func TestBearer(t *testing.T) {
	w := newWorld(t, nil)
	if res := w.ask("POST", Root+"/trust/public/refresh", nil, "Authorization", "Bearer "+plain); res.StatusCode != http.StatusSeeOther {
		t.Errorf("%d: %s", res.StatusCode, body(t, res))
	}
	if res := w.ask("POST", Root+"/trust/public/refresh", nil, "Authorization", "Bearer "+plain, "Sec-Fetch-Site", "cross-site"); res.StatusCode != http.StatusForbidden {
		t.Errorf("from another site: %d", res.StatusCode)
	}
}

// Every answer has the headers, and none lets a script or a style in that is not ours.
func TestHeaders(t *testing.T) {
	w := newWorld(t, nil)
	w.login()
	for _, path := range []string{"", "/signers", "/login", "/nothing", "/partial/signers"} {
		res := w.ask("GET", Root+path, nil)
		policy := res.Header.Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'none'; script-src 'self'; style-src 'self';") || strings.Contains(policy, "unsafe") {
			t.Errorf("%s: %s", path, policy)
		}
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Referrer-Policy": "same-origin", "X-Frame-Options": "SAMEORIGIN"} {
			if got := res.Header.Get(name); got != want {
				t.Errorf("%s: %s is %q", path, name, got)
			}
		}
		page := body(t, res)
		for _, bad := range []string{"<script>", "<style", "style=", "onclick", "javascript:", "http://cdn", "//unpkg"} {
			if strings.Contains(page, bad) {
				t.Errorf("%s has %s", path, bad)
			}
		}
	}
}

// Cookies say what a browser may do with them.
func TestCookies(t *testing.T) {
	proxies := func(c *Config) { c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} }
	for _, tt := range []struct {
		name   string
		change func(*Config)
		header []string
		secure bool
		path   string
	}{
		{"plain HTTP", nil, nil, false, Root},
		{"TLS at a trusted proxy", proxies, []string{"peer", "10.1.2.3:99", "X-Forwarded-Proto", "https"}, true, Root},
		{"a stranger says TLS", proxies, []string{"peer", "192.0.2.1:99", "X-Forwarded-Proto", "https"}, false, Root},
		{"a prefix of a trusted proxy", proxies, []string{"peer", "10.1.2.3:99", "X-Forwarded-Prefix", "/gateway"}, false, "/gateway" + Root},
		{"a prefix of a stranger", proxies, []string{"peer", "192.0.2.1:99", "X-Forwarded-Prefix", "/gateway"}, false, Root},
		{"a prefix that is another host", proxies, []string{"peer", "10.1.2.3:99", "X-Forwarded-Prefix", "//evil.example"}, false, Root},
		{"a prefix that breaks out", proxies, []string{"peer", "10.1.2.3:99", "X-Forwarded-Prefix", `/a"><script>`}, false, Root},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, tt.change)
			res := w.ask("GET", Root+"/login", nil, tt.header...)
			c := res.Cookies()[0]
			if !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Secure != tt.secure || c.Path != tt.path {
				t.Errorf("%+v", c)
			}
			if page := body(t, res); !strings.Contains(page, `action="`+tt.path+`/login"`) {
				t.Errorf("the links are others:\n%s", page)
			}
		})
	}
}

// Roles decide what is shown; what works is the REST face's to say.
func TestRoles(t *testing.T) {
	for role, want := range map[auth.Role]string{
		auth.Viewer: "Signers Results Policy Gateways Trust Tokens Audit", auth.Author: "Signers Verify Results Policy Gateways Trust Tokens Audit", auth.Admin: "Signers Verify Results Policy Gateways Trust Tokens Audit",
	} {
		w := newWorld(t, nil)
		w.face.principal.Role = role
		page := body(t, w.ask("GET", Root, nil, "Authorization", "Bearer "+plain))
		var shown []string
		for _, tab := range tabs() {
			if strings.Contains(page, `href="`+Root+"/"+tab.Path+`"`) && strings.Contains(page, ">"+tab.Label+"</a>") {
				shown = append(shown, tab.Label)
			}
		}
		if got := strings.Join(shown, " "); got != want {
			t.Errorf("%s sees %s", role, got)
		}
		if strings.Contains(page, "/signers/new") != (role == auth.Admin) {
			t.Errorf("%s: adding a signer is shown: %t", role, role != auth.Admin)
		}
	}
}

// What a team or a token for some images may not change is not offered to it.
func TestWithinReach(t *testing.T) {
	const list = `{"items": [
		{"id": "s1", "name": "whole", "owner": "", "images": [], "enabled": true, "type": "keyless"},
		{"id": "s2", "name": "web-all", "owner": "web", "images": ["ghcr.io/acme/**"], "enabled": true, "type": "keyless"},
		{"id": "s3", "name": "web-one", "owner": "web", "images": ["ghcr.io/acme/web/app"], "enabled": true, "type": "keyless"}]}`
	for _, tt := range []struct {
		name string
		is   auth.Principal
		want string
	}{
		{"of the installation", auth.Principal{Role: auth.Admin}, "s1 s2 s3"},
		{"of a team", auth.Principal{Role: auth.Admin, Team: "web"}, "s2 s3"},
		{"of some images", auth.Principal{Role: auth.Admin, Images: []string{"ghcr.io/acme/web/**"}}, "s3"},
		{"a viewer", auth.Principal{Role: auth.Viewer}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, nil)
			tt.is.Name, tt.is.TokenID = "jane", w.face.principal.TokenID
			w.face.principal = tt.is
			w.login()
			w.face.answers["GET /api/v1/signers"] = list
			page := body(t, w.ask("GET", Root+"/signers", nil))
			var offered []string
			for _, id := range []string{"s1", "s2", "s3"} {
				if strings.Contains(page, "/signers/"+id+"/change") {
					offered = append(offered, id)
				}
				if !strings.Contains(page, `/signers/`+id+`"`) {
					t.Errorf("%s is not shown", id)
				}
			}
			if got := strings.Join(offered, " "); got != tt.want {
				t.Errorf("it may change %s", got)
			}
		})
	}
}

// A bundle is opened by those who may work on it.
func TestBundlesWithinReach(t *testing.T) {
	for _, tt := range []struct {
		is   auth.Principal
		want string
	}{
		{auth.Principal{Role: auth.Author}, "ours theirs drafted"},
		{auth.Principal{Role: auth.Author, Team: "web"}, "ours drafted"},
		{auth.Principal{Role: auth.Viewer}, ""},
	} {
		w := newWorld(t, nil)
		tt.is.Name, tt.is.TokenID = "jane", w.face.principal.TokenID
		w.face.principal = tt.is
		w.login()
		w.face.answers["GET /api/v1/bundles"] = `{"items": [{"name": "ours", "owner": "web", "digest": "sha256:1"}, {"name": "theirs", "owner": "", "digest": "sha256:2"}]}`
		w.face.answers["GET /api/v1/drafts"] = `{"items": [{"name": "drafted", "owner": "web", "version": 1}]}`
		w.face.answers["GET /api/v1/audit"] = `{"items": [{"seq": 2, "action": "bundle.put", "object": "bundle/ours", "after": {"name": "ours", "owner": "web"}}, {"seq": 1, "action": "bundle.put", "object": "bundle/theirs", "after": {"name": "theirs", "owner": ""}}]}`
		list, audit := body(t, w.ask("GET", Root+"/policy", nil)), body(t, w.ask("GET", Root+"/audit", nil))
		var offered []string
		for _, name := range []string{"ours", "theirs", "drafted"} {
			leads := strings.Contains(list, `/bundle/`+name+`"`)
			if leads {
				offered = append(offered, name)
			}
			if name != "drafted" && strings.Contains(audit, `/bundle/`+name+`"`) != leads {
				t.Errorf("%s %s: the audit log leads to %s: %t", tt.is.Role, tt.is.Team, name, !leads)
			}
		}
		if got := strings.Join(offered, " "); got != tt.want {
			t.Errorf("%s %s is led to %s", tt.is.Role, tt.is.Team, got)
		}
	}
}

// The fragment has its own style sheet and script, and its CSRF token in a header.
func TestPartial(t *testing.T) {
	w := newWorld(t, nil)
	csrf := w.login()
	res := w.ask("GET", Root+"/partial/signers", nil)
	page := body(t, res)
	if res.StatusCode != http.StatusOK || res.Header.Get(headerCSRF) != csrf {
		t.Errorf("%d, CSRF %q", res.StatusCode, res.Header.Get(headerCSRF))
	}
	for _, want := range []string{`<link rel="stylesheet" href="` + Root + `/static/signet-`, `<script src="` + Root + `/static/app-`, `class="signet signet-embedded"`} {
		if !strings.Contains(page, want) {
			t.Errorf("%s is missing", want)
		}
	}
	if strings.Contains(page, "<html") || strings.Contains(page, "htmx-") {
		t.Error("it is a whole page, or brings htmx along")
	}
	if next := body(t, w.ask("GET", Root+"/results", nil, headerEmbedded, "1")); !strings.Contains(next, `class="signet signet-embedded"`) || !strings.Contains(next, `"X-Signet-Embedded": "1"`) || strings.Contains(next, "<html") {
		t.Error("what follows the fragment is a page of its own")
	}
	if res := w.ask("GET", Root+"/partial/nothing", nil); res.StatusCode != http.StatusNotFound {
		t.Errorf("a tab that is not there: %d", res.StatusCode)
	}
	// The other page's htmx shows what is no error, and has no script of ours yet that says otherwise.
	w.face.answers["GET /api/v1/signers"] = `503 {"code": "unavailable", "detail": "The store is away."}`
	for path, want := range map[string]string{"nothing": "There is no tab of this name.", "signers": "The store is away."} {
		res := w.ask("GET", Root+"/partial/"+path, nil, "HX-Request", "true")
		if page := body(t, res); res.StatusCode != http.StatusOK || !strings.Contains(page, want) || !strings.Contains(page, `<div class="signet signet-embedded">`) || !strings.Contains(page, `<link rel="stylesheet"`) {
			t.Errorf("%s: %d\n%s", path, res.StatusCode, page)
		}
	}
}

// All assets but the editor, which only its page loads, are small together, and none
// changes under its name.
func TestAssets(t *testing.T) {
	w := newWorld(t, nil)
	total := 0
	for name, a := range w.page.assets.files {
		if !strings.HasPrefix(name, "editor-") {
			total += len(a.body)
		}
		res := w.ask("GET", Root+"/static/"+name, nil)
		if res.StatusCode != http.StatusOK || res.Header.Get("Cache-Control") != "public, max-age=31536000, immutable" {
			t.Errorf("%s: %d, %s", name, res.StatusCode, res.Header.Get("Cache-Control"))
		}
	}
	if total > 400_000 {
		t.Errorf("%d bytes are more than 400 KB", total)
	}
	if res := w.ask("GET", Root+"/static/app-000000000000.js", nil); res.StatusCode != http.StatusNotFound {
		t.Errorf("a name of another version: %d", res.StatusCode)
	}
}

func TestFormTime(t *testing.T) {
	for _, tt := range []struct {
		text, zone, want string
		wrong            bool
	}{
		{"2026-01-31T18:00", "UTC", "2026-01-31T18:00:00Z", false},
		{"2026-07-31T18:00", "Europe/Berlin", "2026-07-31T16:00:00Z", false},
		{"2026-01-31T18:00", "Europe/Berlin", "2026-01-31T17:00:00Z", false},
		{"", "UTC", "", false},
		{"tomorrow", "UTC", "", true},
		{"2026-01-31T18:00", "Mars/Olympus", "", true},
		{"2026-01-31T18:00", "Local", "", true},
	} {
		got, problem := formTime(tt.text, tt.zone)
		text := ""
		if got != nil {
			text = got.Format(time.RFC3339)
		}
		if text != tt.want || (problem != "") != tt.wrong {
			t.Errorf("%q in %s: %q, %q", tt.text, tt.zone, text, problem)
		}
	}
}

// Where the connection says who asks, no cookie says otherwise.
func TestConnection(t *testing.T) {
	w := newWorld(t, nil)
	w.login()
	r := httptest.NewRequestWithContext(api.WithPrincipal(t.Context(), auth.Principal{Name: "machine", Role: auth.Viewer}), "GET", "http://signet.example"+Root, nil)
	r.AddCookie(&http.Cookie{Name: cookieSession, Value: w.cookies[cookieSession]})
	out := httptest.NewRecorder()
	w.page.ServeHTTP(out, r)
	if out.Code != http.StatusOK || w.face.vouched.Name != "machine" {
		t.Errorf("%d as %q", out.Code, w.face.vouched.Name)
	}
}

// Remediations end with a command that can be copied, or with none.
func TestMend(t *testing.T) {
	for text, want := range map[string]mend{
		"If you trust this signer: signet signers add --issuer 'x' --subject 'y'": {"If you trust this signer:", "signet signers add --issuer 'x' --subject 'y'"},
		"Sign it, then ask again: cosign sign r@sha256:00":                        {"Sign it, then ask again:", "cosign sign r@sha256:00"},
		"Ask again: the work goes on.":                                            {"Ask again: the work goes on.", ""},
		"Do it: signet a. Then do that.":                                          {"Do it: signet a. Then do that.", ""},
	} {
		if got := mendOf(text); *got != want {
			t.Errorf("%q: %+v", text, *got)
		}
	}
	if mendOf("") != nil {
		t.Error("nothing mends nothing")
	}
}

// A cell is never a formula of a spreadsheet.
func TestInert(t *testing.T) {
	for cell, want := range map[string]string{"=1+1": "'=1+1", "+a": "'+a", "-a": "'-a", "@a": "'@a", "ghcr.io/a": "ghcr.io/a", "": ""} {
		if got := inert(cell); got != want {
			t.Errorf("%q: %q", cell, got)
		}
	}
}
