package main

import (
	"cmp"
	"context"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/signet-policy/signet/internal/admin"
	"github.com/signet-policy/signet/internal/api"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/config"
)

// withPage puts the page beside the REST face, which it asks for everything.
func (s *server) withPage(face http.Handler) (http.Handler, error) {
	proxies, err := trustedProxies(s.file)
	if err != nil {
		return nil, err
	}
	login, err := pageOIDC(s.file)
	if err != nil {
		return nil, err
	}
	page, err := admin.New(admin.Config{
		OIDC: login, Gateway: pageGateway(s.file),
		API: face, TrustedProxies: proxies, Log: s.log, Secret: s.store.Secret, Unsafe: unsafeConfiguration(s.file),
		Token: func(ctx context.Context, id string, from netip.Addr) (auth.Principal, error) {
			st, err := s.engine.Current(ctx)
			if err != nil {
				return auth.Principal{}, err
			}
			return st.Tokens.Principal(id, from, time.Now())
		},
		Counts: func(ctx context.Context, since, until time.Time) ([]admin.DayCount, error) {
			counts, err := s.store.DayCounts(ctx, since, until)
			out := make([]admin.DayCount, 0, len(counts))
			for _, c := range counts {
				out = append(out, admin.DayCount{Day: c.Day, Decision: string(c.Decision), Count: c.Count})
			}
			return out, err
		},
	})
	if err != nil {
		return nil, err
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		on := r.URL.Path == admin.Root || strings.HasPrefix(r.URL.Path, admin.Root+"/")
		if on && api.Speaks(r.Context(), api.ProtocolREST) { // it is a face of REST
			page.ServeHTTP(w, r)
			return
		}
		face.ServeHTTP(w, r)
	}), nil
}

// pageOIDC is the identity provider that people log in at; nil for none.
func pageOIDC(f config.File) (*admin.OIDC, error) {
	o := f.Page.OIDC
	if o == nil {
		return nil, nil
	}
	asker, err := administratorsClient(f)
	if err != nil {
		return nil, err
	}
	secret, err := secretFrom(f.Relative(o.ClientSecretFile), "")
	if err != nil {
		return nil, usage("page.oidc.client_secret_file: %w", err)
	}
	out := &admin.OIDC{
		Issuer: o.Issuer, Label: o.Label, ClientID: o.ClientID, ClientSecret: secret, RedirectURL: o.RedirectURL, Scopes: o.Scopes,
		GroupsClaim: cmp.Or(o.GroupsClaim, "groups"), Client: asker,
	}
	if out.Scopes == nil {
		out.Scopes = []string{"profile", "email"}
	}
	if u, err := url.Parse(o.Issuer); err == nil && out.Label == "" {
		out.Label = u.Host
	}
	for i, r := range o.Roles {
		p, err := listenerPrincipal(config.Principal{Name: r.Group, Role: r.Role, Team: r.Team, Images: r.Images})
		if err != nil {
			return nil, usage("page.oidc.roles[%d]: %w", i, err)
		}
		out.Roles = append(out.Roles, admin.GroupRole{Group: r.Group, Role: p.Role, Team: p.Team, Images: p.Images})
	}
	return out, nil
}

// pageGateway is the gateway whose sessions count; nil for none.
func pageGateway(f config.File) *admin.Gateway {
	g := f.Page.Gateway
	if g == nil {
		return nil
	}
	out := &admin.Gateway{URL: strings.TrimRight(g.URL, "/"), AdminRole: auth.Role(cmp.Or(g.AdminRole, string(auth.Admin))), Role: auth.Role(g.Role), Cookies: g.Cookies}
	if out.Cookies == nil {
		out.Cookies = []string{"jwt_token", "access_token"}
	}
	return out
}

func trustedProxies(f config.File) ([]netip.Prefix, error) {
	var proxies []netip.Prefix
	for _, s := range f.TrustedProxies {
		prefix, err := config.ParsePrefix(s)
		if err != nil {
			return nil, err
		}
		proxies = append(proxies, prefix)
	}
	return proxies, nil
}
