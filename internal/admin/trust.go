package admin

import (
	"net/http"

	"github.com/signet-policy/signet/client"
)

// trustPage is the roots of trust, and how it stands.
type trustPage struct {
	Roots  []client.TrustRoot
	Ready  readiness
	Unsafe []string
}

// readiness is what /readyz says to who may know it.
type readiness struct {
	Status string         `json:"status"`
	Build  string         `json:"build"`
	Active *client.Active `json:"active"`
	Note   string         `json:"note"`
	Checks []struct {
		Name     string `json:"name"`
		OK       bool   `json:"ok"`
		Optional bool   `json:"optional"`
		Error    string `json:"error"`
	} `json:"checks"`
}

func showTrust(v *view) error {
	ctx := v.Request().Context()
	var p trustPage
	for r, err := range v.api.AllTrustRoots(ctx) {
		if err != nil {
			return err
		}
		p.Roots = append(p.Roots, r)
	}
	var err error
	if p.Ready, err = v.ready(ctx); err != nil {
		return err
	}
	if v.who.MayAdminister() {
		p.Unsafe = v.page.cfg.Unsafe
	}
	return v.render(http.StatusOK, "trust", "trust", "Trust", p)
}

func refreshRoot(v *view) error {
	if _, err := v.api.RefreshTrustRoot(v.Request().Context(), v.Param("name")); err != nil {
		return err
	}
	return v.to("/trust", "root-refreshed")
}
