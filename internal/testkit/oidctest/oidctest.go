// Package oidctest is a small OpenID Connect provider for tests: discovery, keys,
// codes that count once, PKCE, and signed ID tokens. A test says who is there, and
// lets a browser in; nobody is asked for a password.
package oidctest

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
	"sync"
	"testing"
	"time"
)

// The client that the provider knows.
const (
	ClientID     = "signet"
	ClientSecret = "hush"
)

// Provider is safe for concurrent use.
type Provider struct {
	// URL is the issuer.
	URL string

	t   testing.TB
	key *rsa.PrivateKey
	now func() time.Time

	mu     sync.Mutex
	claims map[string]any
	codes  map[string]url.Values // what the browser asked with
	spoil  func(map[string]any)
	forge  bool
}

// New starts a provider that ends with the test. now is the time by which it signs.
func New(t testing.TB, now func() time.Time) *Provider {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p := &Provider{t: t, key: key, now: now, codes: map[string]url.Values{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", p.discovery)
	mux.HandleFunc("GET /keys", p.keys)
	mux.HandleFunc("GET /authorize", p.page)
	mux.HandleFunc("POST /token", p.exchange)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	p.URL = server.URL
	return p
}

// Is says who is at the provider from now on: claims of their ID tokens, beside those
// that every token has.
func (p *Provider) Is(claims map[string]any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.claims = claims
}

// Spoil changes the claims of ID tokens before they are signed; nil changes nothing.
func (p *Provider) Spoil(change func(map[string]any)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spoil = change
}

// Forge has ID tokens signed by a key that the provider does not publish.
func (p *Provider) Forge(yes bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forge = yes
}

// Authorize is what a person does at the address that they were sent to: they say
// yes, and take a code and the state back.
func (p *Provider) Authorize(address string) (code, state string) {
	p.t.Helper()
	u, err := url.Parse(address)
	if err != nil || !strings.HasPrefix(address, p.URL+"/authorize?") {
		p.t.Fatalf("the browser is sent to %s", address)
	}
	return p.authorize(u.Query()), u.Query().Get("state")
}

func (p *Provider) authorize(asked url.Values) (code string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	code = "code-" + asked.Get("state")
	p.codes[code] = asked
	return code
}

// page sends a browser back where it came from.
func (p *Provider) page(w http.ResponseWriter, r *http.Request) {
	asked := r.URL.Query()
	back, err := url.Parse(asked.Get("redirect_uri"))
	if err != nil || asked.Get("client_id") != ClientID || asked.Get("response_type") != "code" {
		http.Error(w, "that is no login of a client that is known here", http.StatusBadRequest)
		return
	}
	back.RawQuery = url.Values{"code": {p.authorize(asked)}, "state": {asked.Get("state")}}.Encode()
	http.Redirect(w, r, back.String(), http.StatusSeeOther)
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func (p *Provider) discovery(w http.ResponseWriter, _ *http.Request) {
	answer(w, map[string]any{
		"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token", "jwks_uri": p.URL + "/keys",
		"id_token_signing_alg_values_supported": []string{"RS256"},
	})
}

func (p *Provider) keys(w http.ResponseWriter, _ *http.Request) {
	encode := base64.RawURLEncoding.EncodeToString
	answer(w, map[string]any{"keys": []any{map[string]any{
		"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "1", "n": encode(p.key.N.Bytes()), "e": encode(big.NewInt(int64(p.key.E)).Bytes()),
	}}})
}

func (p *Provider) exchange(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	asked, ok := p.codes[r.FormValue("code")]
	delete(p.codes, r.FormValue("code"))
	sum := sha256.Sum256([]byte(r.FormValue("code_verifier")))
	user, secret, _ := r.BasicAuth()
	if !ok || user != ClientID || secret != ClientSecret || asked.Get("code_challenge_method") != "S256" ||
		asked.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(sum[:]) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		answer(w, map[string]any{"error": "invalid_grant"})
		return
	}
	token, err := p.token(asked.Get("nonce"))
	if err != nil {
		p.t.Errorf("signing an ID token: %v", err)
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	answer(w, map[string]any{"access_token": "x", "token_type": "Bearer", "id_token": token})
}

// token signs an ID token (RFC 7519, RS256).
func (p *Provider) token(nonce string) (string, error) {
	claims := map[string]any{"iss": p.URL, "aud": ClientID, "sub": "u-1", "nonce": nonce, "iat": p.now().Unix(), "exp": p.now().Add(time.Minute).Unix()}
	maps.Copy(claims, p.claims)
	if p.spoil != nil {
		p.spoil(claims)
	}
	body, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(`{"alg":"RS256","kid":"1"}`)) + "." + encode(body)
	key := p.key
	if p.forge {
		if key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			return "", err
		}
	}
	sum := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		return "", err
	}
	return signed + "." + encode(signature), nil
}
