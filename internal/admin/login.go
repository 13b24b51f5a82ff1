package admin

import (
	"net/http"
	"strings"

	"github.com/signet-policy/signet/client"
)

// loginPage is what the login shows.
type loginPage struct {
	Next, Problem string
	// Setup says that the form of the first start is the one to be filled in.
	Setup bool
	// OIDC is the label of the identity provider, "" for none.
	OIDC string
}

// prelogin gives a browser without a session something that its CSRF token can
// belong to.
func (v *view) prelogin() error {
	r := v.Request()
	k, err := v.page.keys(r.Context())
	if err != nil {
		return err
	}
	var nonce string
	if c, err := r.Cookie(cookieLogin); err == nil && k.unseal(cookieLogin, c.Value, &nonce) != nil {
		nonce = ""
	}
	if nonce == "" {
		if nonce, err = random(); err != nil {
			return err
		}
		value, err := k.seal(cookieLogin, nonce)
		if err != nil {
			return err
		}
		v.setCookie(cookieLogin, value, loginTime)
	}
	v.csrf, err = k.csrf("login\n" + nonce)
	return err
}

func showLogin(v *view) error {
	return v.loginPage(http.StatusOK, loginPage{Next: v.QueryParam("next"), Setup: v.QueryParam("setup") == "1"})
}

func (v *view) loginPage(status int, p loginPage) error {
	p.Next = safeNext(p.Next)
	if o := v.page.cfg.OIDC; o != nil {
		p.OIDC = o.Label
	}
	return v.render(status, "login", "", "Log in", p)
}

// safeNext takes places below the page only.
func safeNext(next string) string {
	if !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || strings.ContainsAny(next, "\\\r\n") || strings.HasPrefix(next, "/login") {
		return ""
	}
	return next
}

// postLogin takes an API token. The REST face tells whose it is, and counts those
// who guess.
func postLogin(v *view) error {
	if err := v.sameOrigin(true); err != nil {
		return err
	}
	token := strings.TrimSpace(v.FormValue("token"))
	next := safeNext(v.FormValue("next"))
	again := func(status int, problem string) error {
		return v.loginPage(status, loginPage{Next: next, Problem: problem})
	}
	if token == "" {
		return again(http.StatusUnprocessableEntity, "Paste an API token. An administrator makes one under Tokens, or with signet token create.")
	}
	api, err := v.page.client(v.Request(), nil, token)
	if err != nil {
		return err
	}
	who, err := api.Whoami(v.Request().Context())
	switch {
	case client.IsUnauthorized(err):
		return again(http.StatusUnauthorized, "That token is not one, or it was revoked or has expired. Check that it was pasted whole.")
	case err != nil && strings.HasPrefix(err.Error(), client.ErrRequest.Error()):
		return again(http.StatusUnprocessableEntity, "That is no API token: it has characters that no token has.")
	case err != nil:
		return err
	}
	if err := v.begin(session{TokenID: who.TokenID}); err != nil {
		return err
	}
	return v.to(next, "")
}

// setupPage shows the token of the first administrator, once.
type setupPage struct{ Token client.Token }

// postSetup turns the setup token of a first start into an administrator's, and
// logs that one in.
func postSetup(v *view) error {
	if err := v.sameOrigin(true); err != nil {
		return err
	}
	setup, name := strings.TrimSpace(v.FormValue("setup")), strings.TrimSpace(v.FormValue("name"))
	again := func(problem string) error {
		return v.loginPage(http.StatusUnprocessableEntity, loginPage{Setup: true, Problem: problem})
	}
	if setup == "" {
		return again("Paste the setup token. The server prints it at its first start, and after that never again.")
	}
	if name == "" {
		name = "admin"
	}
	api, err := v.page.client(v.Request(), nil, "")
	if err != nil {
		return err
	}
	made, err := api.Setup(v.Request().Context(), setup, name)
	if err != nil {
		if problem := mistake(err); problem != "" {
			return again(problem)
		}
		return err
	}
	if err := v.begin(session{TokenID: made.ID}); err != nil {
		return err
	}
	v.who.Whoami = client.Whoami{Name: made.Name, Role: made.Role, TokenID: made.ID}
	return v.render(http.StatusOK, "setup", "", "Your token", setupPage{made})
}

// mistake is what a person can mend of an error; "" where it is nothing of theirs.
func mistake(err error) string {
	if client.IsInvalid(err) || client.IsUnauthorized(err) || client.IsForbidden(err) || client.IsConflict(err) || client.IsUnavailable(err) || client.IsNotFound(err) || client.IsStale(err) {
		return err.Error()
	}
	if err != nil && strings.HasPrefix(err.Error(), client.ErrRequest.Error()) {
		return strings.TrimPrefix(err.Error(), client.ErrRequest.Error()+": ")
	}
	return ""
}

// postLogout ends the session in this browser.
func postLogout(v *view) error {
	if err := v.identify(); err == nil {
		if err := v.sameOrigin(v.who.ambient); err != nil {
			return err
		}
	}
	v.setCookie(cookieSession, "", 0)
	return v.to("/login", "logged-out")
}
