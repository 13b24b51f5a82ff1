package admin

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/testkit/oidctest"
)

// withProvider is a page whose people come from a provider.
func withProvider(t *testing.T) (*world, *oidctest.Provider) {
	t.Helper()
	var w *world
	p := oidctest.New(t, func() time.Time { return w.now })
	w = newWorld(t, func(c *Config) {
		c.OIDC = &OIDC{
			Issuer: p.URL, Label: "Example", ClientID: oidctest.ClientID, ClientSecret: oidctest.ClientSecret, RedirectURL: "http://signet.example" + Root + "/login/oidc/callback",
			GroupsClaim: "groups", Client: http.DefaultClient,
			Roles: []GroupRole{{Group: "admins", Role: auth.Admin}, {Group: "web", Role: auth.Author, Team: "web", Images: []string{"ghcr.io/acme/web/**"}}},
		}
	})
	return w, p
}

func TestOIDC(t *testing.T) {
	for _, tt := range []struct {
		name   string
		claims map[string]any
		spoil  func(map[string]any)
		forge  bool
		// back changes what the browser comes back with.
		back func(w *world, q url.Values)
		want string // the principal, "" for nobody
	}{
		{name: "an administrator", claims: map[string]any{"groups": []string{"x", "admins"}, "email": "jane@example.com", "email_verified": true}, want: "oidc:jane@example.com admin "},
		{name: "somebody of a team", claims: map[string]any{"groups": []string{"web"}, "email": "joe@example.com", "email_verified": true}, want: "oidc:joe@example.com author web"},
		{name: "one group as text", claims: map[string]any{"groups": "web"}, want: "oidc:u-1 author web"},
		{name: "an email that nobody has verified", claims: map[string]any{"groups": []string{"admins"}, "email": "boss@example.com"}, want: "oidc:u-1 admin "},
		{name: "in no group", claims: map[string]any{}},
		{name: "in another group", claims: map[string]any{"groups": []string{"administrators"}}},
		{name: "a token for another client", claims: map[string]any{"groups": []string{"admins"}}, spoil: func(c map[string]any) { c["aud"] = "other" }},
		{name: "a token of another issuer", claims: map[string]any{"groups": []string{"admins"}}, spoil: func(c map[string]any) { c["iss"] = "https://evil.example" }},
		{name: "a token of another login", claims: map[string]any{"groups": []string{"admins"}}, spoil: func(c map[string]any) { c["nonce"] = "other" }},
		{name: "a token that has ended", claims: map[string]any{"groups": []string{"admins"}}, spoil: func(c map[string]any) { c["exp"] = 1 }},
		{name: "a token by another key", claims: map[string]any{"groups": []string{"admins"}}, forge: true},
		{name: "another state", claims: map[string]any{"groups": []string{"admins"}}, back: func(_ *world, q url.Values) { q.Set("state", "other") }},
		{name: "another code", claims: map[string]any{"groups": []string{"admins"}}, back: func(_ *world, q url.Values) { q.Set("code", "other") }},
		{name: "another browser", claims: map[string]any{"groups": []string{"admins"}}, back: func(w *world, _ url.Values) { delete(w.cookies, cookieOIDC) }},
		{name: "too late", claims: map[string]any{"groups": []string{"admins"}}, back: func(w *world, _ url.Values) { w.now = w.now.Add(loginTime) }},
		{name: "a refusal there", claims: map[string]any{"groups": []string{"admins"}}, back: func(_ *world, q url.Values) { q.Set("error", "access_denied") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, p := withProvider(t)
			p.Is(tt.claims)
			p.Spoil(tt.spoil)
			p.Forge(tt.forge)
			res := w.ask("GET", Root+"/login/oidc?next=/results", nil)
			code, state := p.Authorize(res.Header.Get("Location"))
			q := url.Values{"code": {code}, "state": {state}}
			if tt.back != nil {
				tt.back(w, q)
			}
			res = w.ask("GET", Root+"/login/oidc/callback?"+q.Encode(), nil)
			if tt.want == "" {
				if res.StatusCode != http.StatusForbidden || w.cookies[cookieSession] != "" {
					t.Errorf("%d: %s", res.StatusCode, body(t, res))
				}
				return
			}
			if res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != Root+"/results" {
				t.Fatalf("%d to %s: %s", res.StatusCode, res.Header.Get("Location"), body(t, res))
			}
			w.ask("GET", Root, nil)
			if got := w.face.vouched; got.Name+" "+string(got.Role)+" "+got.Team != tt.want {
				t.Errorf("it is %+v", got)
			}
			if again := w.ask("GET", Root+"/login/oidc/callback?"+q.Encode(), nil); again.StatusCode != http.StatusForbidden {
				t.Errorf("the code counts again: %d", again.StatusCode)
			}
			w.page.cfg.OIDC.Roles = w.page.cfg.OIDC.Roles[1:]
			if res := w.ask("GET", Root, nil); res.StatusCode != http.StatusSeeOther {
				t.Errorf("with other roles in the configuration the session counts: %d", res.StatusCode)
			}
		})
	}
}

// A provider that is down is said, and keeps nobody from a token.
func TestOIDCDown(t *testing.T) {
	w, p := withProvider(t)
	w.page.cfg.OIDC.Issuer = "http://127.0.0.1:1"
	if res := w.ask("GET", Root+"/login/oidc", nil); res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("%d", res.StatusCode)
	}
	w.page.cfg.OIDC.Issuer = p.URL
	if res := w.ask("GET", Root+"/login/oidc", nil); res.StatusCode != http.StatusSeeOther {
		t.Errorf("when it is back: %d", res.StatusCode)
	}
	w.login()
}
