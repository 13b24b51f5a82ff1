package admin

import (
	"cmp"
	"net/http"
	"net/url"
	"strings"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/auth"
)

// tokensPage is the list of API tokens.
type tokensPage struct {
	Tokens []client.Token
	// State is that of the tokens that are listed, "all" for any.
	State string
	Next  string
	First bool
}

// tokenStates are those to choose from, the usual one first.
func tokenStates() []string { return []string{"valid", "expired", "revoked", "all"} }

// States are those to choose from.
func (p tokensPage) States() []string { return tokenStates() }

// Page is the address of a page of the same list.
func (p tokensPage) Page(cursor string) string {
	return with(url.Values{}, "state", p.State, "cursor", cursor)
}

func listTokens(v *view) error {
	cursor := v.QueryParam("cursor")
	state := cmp.Or(v.QueryParam("state"), tokenStates()[0])
	asked := state
	if asked == "all" {
		asked = ""
	}
	page, err := v.api.TokensIn(v.Request().Context(), asked, pageLength, cursor)
	if err != nil {
		return err
	}
	return v.render(http.StatusOK, "tokens", "tokens", "Tokens", tokensPage{page.Items, state, page.Next, cursor == ""})
}

// tokenForm is the form of a token, and then the token itself, once.
type tokenForm struct {
	Name, Role, Team, Images, Sources, ExpiresIn string
	Roles                                        []auth.Role
	Mistakes                                     mistakes
	Made                                         *client.Token
}

func (v *view) tokenForm(status int, f tokenForm) error {
	for _, r := range auth.Roles() {
		if auth.Role(v.who.Role).Includes(r) {
			f.Roles = append(f.Roles, r)
		}
	}
	return v.render(status, "tokenform", "tokens", "New token", f)
}

func newToken(v *view) error {
	return v.tokenForm(http.StatusOK, tokenForm{Role: string(auth.Verifier), Team: v.who.Team, ExpiresIn: "90d", Images: strings.Join(v.who.Images, "\n")})
}

func createToken(v *view) error {
	f := tokenForm{
		Name: strings.TrimSpace(v.FormValue("name")), Role: v.FormValue("role"), Team: strings.TrimSpace(v.FormValue("team")),
		Images: v.FormValue("images"), Sources: v.FormValue("sources"), ExpiresIn: strings.TrimSpace(v.FormValue("expires_in")),
	}
	made, err := v.api.CreateToken(v.Request().Context(), client.NewToken{
		Name: f.Name, Role: f.Role, Team: f.Team, Images: listOf(f.Images), Sources: listOf(f.Sources), ExpiresIn: f.ExpiresIn,
	})
	if err != nil {
		m, ok := mistakesOf(err, "", "name", "role", "team", "images", "sources", "expires_in")
		if !ok {
			return err
		}
		f.Mistakes = m
		return v.tokenForm(http.StatusUnprocessableEntity, f)
	}
	f.Made = &made
	return v.tokenForm(http.StatusOK, f)
}

func revokeToken(v *view) error {
	if err := v.api.RevokeToken(v.Request().Context(), v.Param("id")); err != nil {
		return err
	}
	return v.to("/tokens", "token-revoked")
}
