package admin

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/auth"
)

// OIDC logs people in at an OpenID Connect provider, by the authorization code flow
// with PKCE. What it knows of the provider it asks when somebody first logs in.
type OIDC struct {
	Issuer, Label, ClientID, ClientSecret, RedirectURL string
	Scopes                                             []string
	// GroupsClaim is the claim that lists a person's groups.
	GroupsClaim string
	// Roles give roles to groups; the first that fits counts.
	Roles []GroupRole
	// Client asks the provider.
	Client *http.Client

	mu       sync.Mutex
	provider *oidc.Provider
}

// GroupRole gives a role to the people of a group.
type GroupRole struct {
	Group  string
	Role   auth.Role
	Team   string
	Images []string
}

const (
	cookieOIDC = "signet_oidc"
	// personTime is how long somebody stays logged in whom a provider knows: what they
	// lose there ends here as much later.
	personTime = 4 * time.Hour
	// providerTime bounds one question to the provider.
	providerTime = 10 * time.Second
)

// attempt is a login on its way, sealed into a cookie.
type attempt struct {
	State    string    `json:"s"`
	Nonce    string    `json:"n"`
	Verifier string    `json:"v"`
	Next     string    `json:"to"`
	Until    time.Time `json:"u"`
}

// rules names what gives people their roles: sessions of other rules count no more.
func (o *OIDC) rules() string {
	body, err := json.Marshal(map[string]any{"issuer": o.Issuer, "client": o.ClientID, "claim": o.GroupsClaim, "roles": o.Roles})
	if err != nil {
		panic(err) // there are only texts
	}
	return digestOf(string(body))
}

func (o *OIDC) discover(ctx context.Context) (*oidc.Provider, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.provider != nil {
		return o.provider, nil
	}
	// Keys are fetched with this context long after.
	p, err := oidc.NewProvider(oidc.ClientContext(context.WithoutCancel(ctx), o.Client), o.Issuer)
	if err != nil {
		return nil, unreachableProvider(err)
	}
	o.provider = p
	return p, nil
}

func unreachableProvider(err error) error {
	return &client.Problem{Status: http.StatusServiceUnavailable, Detail: "The identity provider could not be asked: " + err.Error() + ". Try again, or log in with an API token."}
}

func (o *OIDC) config(p *oidc.Provider) *oauth2.Config {
	return &oauth2.Config{
		ClientID: o.ClientID, ClientSecret: o.ClientSecret, Endpoint: p.Endpoint(), RedirectURL: o.RedirectURL,
		Scopes: append([]string{oidc.ScopeOpenID}, o.Scopes...),
	}
}

// beginOIDC sends the browser to the provider.
func beginOIDC(v *view) error {
	o := v.page.cfg.OIDC
	provider, err := o.discover(v.Request().Context())
	if err != nil {
		return err
	}
	k, err := v.page.keys(v.Request().Context())
	if err != nil {
		return err
	}
	a := attempt{Verifier: oauth2.GenerateVerifier(), Next: safeNext(v.QueryParam("next")), Until: v.page.cfg.Now().Add(loginTime)}
	if a.State, err = random(); err != nil {
		return err
	}
	if a.Nonce, err = random(); err != nil {
		return err
	}
	value, err := k.seal(cookieOIDC, a)
	if err != nil {
		return err
	}
	v.setCookie(cookieOIDC, value, loginTime)
	return v.Redirect(http.StatusSeeOther, o.config(provider).AuthCodeURL(a.State, oidc.Nonce(a.Nonce), oauth2.S256ChallengeOption(a.Verifier)))
}

// endOIDC takes the code that the provider sent the browser back with.
func endOIDC(v *view) error {
	next, s, err := v.person()
	v.setCookie(cookieOIDC, "", 0) // a code counts once
	if err != nil {
		var refused loginRefused
		if errors.As(err, &refused) {
			return v.loginPage(http.StatusForbidden, loginPage{Problem: refused.detail})
		}
		return err
	}
	if err := v.begin(s); err != nil {
		return err
	}
	return v.to(next, "")
}

// loginRefused is a login that came to nothing, for its person to read.
type loginRefused struct{ detail string }

func (e loginRefused) Error() string { return e.detail }

func (v *view) person() (next string, s session, err error) {
	o, r := v.page.cfg.OIDC, v.Request()
	k, err := v.page.keys(r.Context())
	if err != nil {
		return "", s, err
	}
	var a attempt
	c, err := r.Cookie(cookieOIDC)
	if err != nil || k.unseal(cookieOIDC, c.Value, &a) != nil || !v.page.cfg.Now().Before(a.Until) {
		return "", s, loginRefused{"The login took too long, or was begun in another browser. Begin anew."}
	}
	if subtle.ConstantTimeCompare([]byte(v.QueryParam("state")), []byte(a.State)) != 1 {
		return "", s, loginRefused{"This is not the login that was begun here. Begin anew."}
	}
	if said := v.QueryParam("error"); said != "" {
		return "", s, loginRefused{"The identity provider did not let you in (" + brief(said) + ")."}
	}
	ctx, cancel := context.WithTimeout(oidc.ClientContext(r.Context(), o.Client), providerTime)
	defer cancel()
	provider, err := o.discover(ctx)
	if err != nil {
		return "", s, err
	}
	token, err := o.config(provider).Exchange(ctx, v.QueryParam("code"), oauth2.VerifierOption(a.Verifier))
	if err != nil {
		v.page.cfg.Log.WarnContext(ctx, "the identity provider gave no token", "error", err.Error())
		return "", s, loginRefused{"The identity provider did not confirm the login. Begin anew; the operator finds the cause in the server's log."}
	}
	raw, ok := token.Extra("id_token").(string)
	if !ok {
		return "", s, loginRefused{"The identity provider gave no ID token. Is openid among what the client may ask for?"}
	}
	id, err := provider.VerifierContext(ctx, &oidc.Config{ClientID: o.ClientID, Now: v.page.cfg.Now}).Verify(ctx, raw)
	if err != nil {
		v.page.cfg.Log.WarnContext(ctx, "an ID token does not verify", "error", err.Error())
		return "", s, loginRefused{"The identity provider's answer does not verify. The operator finds the cause in the server's log."}
	}
	if subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(a.Nonce)) != 1 {
		return "", s, loginRefused{"This is the answer to another login. Begin anew."}
	}
	who, err := o.role(id)
	if err != nil {
		return "", s, err
	}
	return a.Next, session{Person: &who, Until: v.page.cfg.Now().Add(personTime)}, nil
}

// role is what the provider's groups make of a person.
func (o *OIDC) role(id *oidc.IDToken) (person, error) {
	var claims map[string]json.RawMessage
	if err := id.Claims(&claims); err != nil {
		return person{}, loginRefused{"The identity provider's answer cannot be read."}
	}
	text := func(name string) (out string) {
		_ = json.Unmarshal(claims[name], &out) // what is no text is none
		return out
	}
	var verified bool
	_ = json.Unmarshal(claims["email_verified"], &verified) // what is no truth is none
	name := id.Subject                                      // the one name that nobody can choose
	if email := text("email"); email != "" && verified {
		name = email
	}
	var groups []string
	if raw := claims[o.GroupsClaim]; len(raw) > 0 && json.Unmarshal(raw, &groups) != nil {
		var one string
		if json.Unmarshal(raw, &one) == nil {
			groups = []string{one}
		}
	}
	for _, r := range o.Roles {
		if slices.Contains(groups, r.Group) {
			return person{Name: "oidc:" + name, Role: r.Role, Team: r.Team, Images: r.Images, Rules: o.rules()}, nil
		}
	}
	return person{}, loginRefused{fmt.Sprintf("You are known as %s, and none of your groups has a role here. Ask an administrator of Signet for one (page.oidc.roles).", name)}
}
