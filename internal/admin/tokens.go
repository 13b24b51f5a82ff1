package admin

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/auth"
)

// tokensPage is the list of API tokens.
type tokensPage struct {
	Tokens []client.Token
	Next   string
	First  bool
}

func listTokens(v *view) error {
	cursor := v.QueryParam("cursor")
	page, err := v.api.Tokens(v.Request().Context(), pageLength, cursor)
	if err != nil {
		return err
	}
	return v.render(http.StatusOK, "tokens", "tokens", "Tokens", tokensPage{page.Items, page.Next, cursor == ""})
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

// auditPage is the audit log.
type auditPage struct {
	Entries []client.AuditEntry
	Object  string
	First   bool
	Before  int64
	Next    int64
	Head    client.AuditHead
}

func listAudit(v *view) error {
	ctx := v.Request().Context()
	f := client.AuditFilter{Object: strings.TrimSpace(v.QueryParam("object")), Limit: pageLength}
	if before := v.QueryParam("before"); before != "" {
		n, err := strconv.ParseInt(before, 10, 64)
		if err != nil || n < 1 {
			return &client.Problem{Status: http.StatusUnprocessableEntity, Detail: fmt.Sprintf("%q is not the number of an entry.", before)}
		}
		f.Before = n
	}
	page, err := v.api.Audit(ctx, f)
	if err != nil {
		return err
	}
	p := auditPage{Entries: page.Items, Object: f.Object, First: f.Before == 0, Before: f.Before}
	if n := len(page.Items); n == f.Limit && page.Items[n-1].Seq > 1 {
		p.Next = page.Items[n-1].Seq
	}
	if p.Head, err = v.api.AuditHead(ctx); err != nil && !client.IsForbidden(err) {
		return err
	}
	return v.render(http.StatusOK, "audit", "audit", "Audit", p)
}

// auditCheck is what came of checking the chain.
type auditCheck struct {
	Head    client.AuditHead
	Problem string
}

func checkAudit(v *view) error {
	head, err := v.api.VerifyAudit(v.Request().Context(), client.AuditHead{})
	c := auditCheck{Head: head}
	if err != nil {
		if c.Problem = mistake(err); c.Problem == "" {
			c.Problem = "The chain could not be checked, or it is broken: " + err.Error()
			v.page.cfg.Log.ErrorContext(v.Request().Context(), "checking the audit log for the page", "error", err.Error())
		}
	}
	if v.Request().Header.Get("HX-Request") != "true" {
		return v.render(http.StatusOK, "auditcheck", "audit", "Audit log checked", c)
	}
	return v.part(http.StatusOK, "auditcheck", "checked", c)
}
