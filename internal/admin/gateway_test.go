package admin

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/signet-policy/signet/internal/auth"
)

// The gateway says who has its session; what it does not say plainly lets nobody in.
func TestGateway(t *testing.T) {
	const good = `{"valid": true, "user": {"email": "jane@example.com", "is_admin": true, "is_active": true}}`
	for _, tt := range []struct {
		name   string
		cookie string
		status int
		answer string
		want   string // the principal
		page   int
	}{
		{"an administrator", "s", 200, good, "gateway:jane@example.com admin", 200},
		{"somebody else", "s", 200, `{"valid": true, "user": {"email": "joe@example.com", "is_admin": false, "is_active": true}}`, "gateway:joe@example.com viewer", 200},
		{"no session", "", 200, good, "", 303},
		{"a session that has ended", "s", 401, `{}`, "", 303},
		{"not valid", "s", 200, `{"valid": false, "user": {"email": "jane@example.com", "is_admin": true, "is_active": true}}`, "", 303},
		{"it does not say that it is valid", "s", 200, `{"user": {"email": "jane@example.com", "is_admin": true, "is_active": true}}`, "", 303},
		{"somebody who is not active", "s", 200, `{"valid": true, "user": {"email": "jane@example.com", "is_admin": true, "is_active": false}}`, "", 303},
		{"nobody", "s", 200, `{"valid": true}`, "", 303},
		{"no JSON", "s", 200, `hello`, "", 503},
		{"it is ill", "s", 500, ``, "", 503},
		{"it sends elsewhere", "s", 302, ``, "", 503},
	} {
		t.Run(tt.name, func(t *testing.T) {
			gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if c, err := r.Cookie("jwt_token"); r.URL.Path != "/auth/validate" || err != nil || c.Value != "s" {
					w.WriteHeader(http.StatusUnauthorized)
					return
				}
				w.WriteHeader(tt.status)
				_, _ = w.Write([]byte(tt.answer))
			}))
			t.Cleanup(gateway.Close)
			w := newWorld(t, func(c *Config) {
				c.Gateway = &Gateway{URL: gateway.URL, AdminRole: auth.Admin, Role: auth.Viewer, Cookies: []string{"jwt_token"}}
			})
			if tt.cookie != "" {
				w.cookies["jwt_token"] = tt.cookie
			}
			res := w.ask("GET", Root+"/signers", nil)
			got := ""
			if p := w.face.vouched; p.Name != "" {
				got = p.Name + " " + string(p.Role)
			}
			if res.StatusCode != tt.page || got != tt.want {
				t.Errorf("%d as %q, want %d as %q", res.StatusCode, got, tt.page, tt.want)
			}
			// Its cookie comes by itself, so a change needs our CSRF token.
			if tt.want != "" {
				if res := w.ask("POST", Root+"/trust/public/refresh", url.Values{}); res.StatusCode != http.StatusForbidden {
					t.Errorf("a change without the CSRF token: %d", res.StatusCode)
				}
			}
		})
	}
}
