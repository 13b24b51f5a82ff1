package admin

import (
	"net/http"
	"slices"
	"time"

	"github.com/signet-policy/signet/client"
)

// trustPage is the roots of trust, and how it stands.
type trustPage struct {
	Roots        []rootShown
	Ready        readiness
	Dependencies []client.Dependency
	Unsafe       []string
}

// rootShown is one root with what its parts come to now.
type rootShown struct {
	client.TrustRoot
	now time.Time
}

// Changeable says whether the page can change it: what the configuration or the
// server brings is changed there.
func (r rootShown) Changeable() bool { return r.Source == "api" }

// Ends says whether what counts now ends soon.
func (r rootShown) Ends() bool {
	return r.Contains.NextEnd != nil && r.Contains.NextEnd.Sub(r.now) < soonTime
}

// State of a part: "counts", "to come" or "ended".
func (r rootShown) State(p client.TrustRootPart) string {
	switch {
	case p.Since != nil && p.Since.After(r.now):
		return "to come"
	case p.Until != nil && !p.Until.After(r.now):
		return "ended"
	}
	return "counts"
}

// Near says whether a part that counts ends soon.
func (r rootShown) Near(p client.TrustRootPart) bool {
	return r.State(p) == "counts" && p.Until != nil && p.Until.Sub(r.now) < soonTime
}

// Over are the kinds of which the root has some, and none that counts any more: what
// is signed from now on lacks that proof.
func (r rootShown) Over() []string {
	counts := map[string]bool{}
	var kinds []string
	for _, p := range r.Contains.Parts {
		if !slices.Contains(kinds, p.Kind) {
			kinds = append(kinds, p.Kind)
		}
		counts[p.Kind] = counts[p.Kind] || r.State(p) != "ended"
	}
	var over []string
	for _, kind := range kinds {
		if !counts[kind] {
			over = append(over, partName(kind))
		}
	}
	return over
}

// partName is a kind of part in words.
func partName(kind string) string {
	switch kind {
	case "certificate_authority":
		return "certificate authority"
	case "transparency_log":
		return "transparency log"
	case "ct_log":
		return "CT log"
	case "timestamp_authority":
		return "timestamp authority"
	}
	return kind
}

// dependencyName is a kind of dependency in words.
func dependencyName(kind string) string {
	switch kind {
	case client.DependencyState:
		return "What is in force"
	case client.DependencyStore:
		return "Database"
	case client.DependencyRedis:
		return "Redis"
	case client.DependencyDecisionLog:
		return "Decision log"
	case client.DependencyRegistry:
		return "Registry"
	case client.DependencyKMS:
		return "Key in a KMS"
	case client.DependencyTUF:
		return "Trust root (TUF)"
	case client.DependencyBundle:
		return "Policy bundle"
	}
	return kind
}

// readiness is what /readyz says to who may know it.
type readiness struct {
	Status string         `json:"status"`
	Build  string         `json:"build"`
	Active *client.Active `json:"active"`
	Note   string         `json:"note"`
}

func showTrust(v *view) error {
	ctx := v.Request().Context()
	var p trustPage
	now := v.page.cfg.Now()
	for r, err := range v.api.AllTrustRoots(ctx) {
		if err != nil {
			return err
		}
		p.Roots = append(p.Roots, rootShown{r, now})
	}
	var err error
	if p.Ready, err = v.ready(ctx); err != nil {
		return err
	}
	known, err := v.api.Dependencies(ctx)
	if err != nil {
		return err
	}
	p.Dependencies = known.Items
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
