package config

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Page is the page at /admin/security/signing.
type Page struct {
	// OIDC logs people in at an identity provider, beside API tokens.
	OIDC *PageOIDC `yaml:"oidc"`
	// Gateway takes the session of a gateway that the page is a part of.
	Gateway *PageGateway `yaml:"gateway"`
}

// PageOIDC is an OpenID Connect provider.
type PageOIDC struct {
	// Issuer is its URL, https unless it is on this machine.
	Issuer string `yaml:"issuer"`
	// Label stands on the button. Default: the issuer's host.
	Label string `yaml:"label"`
	// ClientID names Signet there.
	ClientID string `yaml:"client_id"`
	// ClientSecretFile holds the client's secret; absent: there is none, and PKCE
	// alone is the proof.
	ClientSecretFile string `yaml:"client_secret_file"`
	// RedirectURL is registered there: the page's address with /login/oidc/callback
	// behind it.
	RedirectURL string `yaml:"redirect_url"`
	// Scopes are asked for beside openid. Default: profile, email.
	Scopes []string `yaml:"scopes"`
	// GroupsClaim is the claim of the ID token that lists a person's groups. Default:
	// groups.
	GroupsClaim string `yaml:"groups_claim"`
	// Roles give roles to groups; the first that fits counts, and who is in none of
	// them is not let in.
	Roles []GroupRole `yaml:"roles"`
}

// GroupRole gives a role to a group of an identity provider.
type GroupRole struct {
	// Group is the name of the group.
	Group string `yaml:"group"`
	// Role is viewer, verifier, author or admin.
	Role string `yaml:"role"`
	// Team whose signers and policies they may change; absent: everybody's.
	Team string `yaml:"team"`
	// Images are globs of the images that they may see and ask about; absent: all. A
	// team's author or admin must name them.
	Images []string `yaml:"images"`
}

// PageGateway is a gateway whose people need no login of their own.
type PageGateway struct {
	// URL is the gateway's as this server reaches it; it is asked at /auth/validate.
	URL string `yaml:"url"`
	// AdminRole is what its administrators may do. Default: admin.
	AdminRole string `yaml:"admin_role"`
	// Role is what all others may do. Default: nothing.
	Role string `yaml:"role"`
	// Cookies are the names of its session's cookies. Default: jwt_token, access_token.
	Cookies []string `yaml:"cookies"`
}

func (f *File) checkPage(p *problems) {
	if o := f.Page.OIDC; o != nil {
		o.check(p)
	}
	g := f.Page.Gateway
	if g == nil {
		return
	}
	if u, err := url.Parse(g.URL); err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "http" && u.Scheme != "https" {
		p.bad("page.gateway.url", "is not an http or https URL; write it as https://gateway.example.com")
	} else if u.Scheme == "http" && !IsLoopback(u.Hostname()) {
		p.bad("page.gateway.url", "people's sessions would cross the network in clear text; use https")
	}
	for field, role := range map[string]string{"admin_role": g.AdminRole, "role": g.Role} {
		if role != "" {
			checkRoleName(p, "page.gateway."+field, role)
		}
	}
}

func (o *PageOIDC) check(p *problems) {
	secure := func(field, text string) {
		u, err := url.Parse(text)
		switch {
		case err != nil || u.Host == "" || u.User != nil || u.Fragment != "":
			p.bad("page.oidc."+field, "is not an https URL")
		case u.Scheme != "https" && (u.Scheme != "http" || !IsLoopback(u.Hostname())):
			p.bad("page.oidc."+field, "%q is not https; plain http is for this machine alone", text)
		}
	}
	secure("issuer", o.Issuer)
	secure("redirect_url", o.RedirectURL)
	if !strings.HasSuffix(o.RedirectURL, "/admin/security/signing/login/oidc/callback") {
		p.bad("page.oidc.redirect_url", "must end in /admin/security/signing/login/oidc/callback, where the page is waiting")
	}
	if o.ClientID == "" {
		p.bad("page.oidc.client_id", "is missing; it is what the provider calls Signet")
	}
	if len(o.Roles) == 0 {
		p.bad("page.oidc.roles", "is missing or empty, so that nobody could log in; give a role to a group")
	}
	for i, r := range o.Roles {
		at := fmt.Sprintf("page.oidc.roles[%d]", i)
		if r.Group == "" {
			p.bad(at+".group", "is missing")
		}
		checkRoleName(p, at+".role", r.Role)
		p.notEmpty(at+".images", r.Images)
		if r.Team != "" && r.Images == nil && (r.Role == "author" || r.Role == "admin") {
			p.bad(at+".images", "are missing; a team's %s makes what is trusted for these images alone, so name them, or ** for every image", r.Role)
		}
	}
}

func checkRoleName(p *problems, field, role string) {
	if !slices.Contains([]string{"viewer", "verifier", "author", "admin"}, role) {
		p.bad(field, "%q is none of viewer, verifier, author, admin", role)
	}
}
