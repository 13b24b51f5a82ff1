package admin

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/signet-policy/signet/internal/auth"
)

// provider is a small OpenID Connect provider: discovery, keys, codes that count
// once, PKCE, and signed ID tokens. It lets everybody in as who claims says.
type provider struct {
	*testing.T
	url    string
	key    *rsa.PrivateKey
	now    func() time.Time
	claims map[string]any
	codes  map[string]url.Values // what the browser asked with
	// spoil changes an ID token's claims before they are signed, and forge signs with
	// another key.
	spoil func(map[string]any)
	forge bool
}

func newProvider(t *testing.T, now func() time.Time) *provider {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p := &provider{T: t, key: key, now: now, claims: map[string]any{}, codes: map[string]url.Values{}}
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{
			"issuer": p.url, "authorization_endpoint": p.url + "/authorize", "token_endpoint": p.url + "/token", "jwks_uri": p.url + "/keys",
			"id_token_signing_alg_values_supported": []string{"RS256"},
		})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		encode := base64.RawURLEncoding.EncodeToString
		answer(w, map[string]any{"keys": []any{map[string]any{"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "1", "n": encode(key.N.Bytes()), "e": encode(big.NewInt(int64(key.E)).Bytes())}}})
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		asked, ok := p.codes[r.FormValue("code")]
		delete(p.codes, r.FormValue("code"))
		sum := sha256.Sum256([]byte(r.FormValue("code_verifier")))
		user, secret, _ := r.BasicAuth()
		if !ok || user != "signet" || secret != "hush" || asked.Get("code_challenge_method") != "S256" || asked.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(sum[:]) {
			w.WriteHeader(http.StatusBadRequest)
			answer(w, map[string]any{"error": "invalid_grant"})
			return
		}
		answer(w, map[string]any{"access_token": "x", "token_type": "Bearer", "id_token": p.token(asked.Get("nonce"))})
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	p.url = server.URL
	return p
}

// token signs an ID token (RFC 7519, RS256).
func (p *provider) token(nonce string) string {
	claims := map[string]any{"iss": p.url, "aud": "signet", "sub": "u-1", "nonce": nonce, "iat": p.now().Unix(), "exp": p.now().Add(time.Minute).Unix()}
	maps.Copy(claims, p.claims)
	if p.spoil != nil {
		p.spoil(claims)
	}
	body, err := json.Marshal(claims)
	if err != nil {
		p.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(`{"alg":"RS256","kid":"1"}`)) + "." + encode(body)
	key := p.key
	if p.forge {
		if key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			p.Fatal(err)
		}
	}
	sum := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		p.Fatal(err)
	}
	return signed + "." + encode(signature)
}

// authorize is what a person does at the provider: they say yes, and are sent back.
func (p *provider) authorize(address string) (code, state string) {
	p.Helper()
	u, err := url.Parse(address)
	if err != nil || !strings.HasPrefix(address, p.url+"/authorize?") {
		p.Fatalf("the browser is sent to %s", address)
	}
	code = "code-" + u.Query().Get("state")
	p.codes[code] = u.Query()
	return code, u.Query().Get("state")
}

// withProvider is a page whose people come from a provider.
func withProvider(t *testing.T) (*world, *provider) {
	t.Helper()
	var w *world
	p := newProvider(t, func() time.Time { return w.now })
	w = newWorld(t, func(c *Config) {
		c.OIDC = &OIDC{
			Issuer: p.url, Label: "Example", ClientID: "signet", ClientSecret: "hush", RedirectURL: "http://signet.example" + Root + "/login/oidc/callback",
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
			p.claims, p.spoil, p.forge = tt.claims, tt.spoil, tt.forge
			res := w.ask("GET", Root+"/login/oidc?next=/results", nil)
			code, state := p.authorize(res.Header.Get("Location"))
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
	w.page.cfg.OIDC.Issuer = p.url
	if res := w.ask("GET", Root+"/login/oidc", nil); res.StatusCode != http.StatusSeeOther {
		t.Errorf("when it is back: %d", res.StatusCode)
	}
	w.login()
}
