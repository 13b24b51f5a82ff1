package api

import (
	"context"
	"errors"
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/administration"
	"github.com/signet-policy/signet/internal/auth"
)

// getDependencies tells how it stands with what the server depends on: its own
// checks, what is fetched from elsewhere, and the registries that were asked.
func (s *Server) getDependencies(ctx context.Context, _ *call, by administration.Caller) (reply, error) {
	_, err := s.current(ctx)
	if errors.Is(err, context.Canceled) {
		return reply{}, err
	}
	own := []string{checkState}
	for _, check := range s.cfg.Checks {
		own = append(own, check.Name)
	}
	page := client.Page[client.Dependency]{}
	now := s.cfg.Now().UTC()
	for _, o := range append([]CheckOutcome{outcome(checkState, false, err)}, s.checked(ctx)...) {
		if !slices.Contains(own, o.Name) {
			continue // what comes and goes is told below, with more of it
		}
		d := client.Dependency{Kind: o.Name, Name: o.Name, State: "ok", Optional: o.Optional, LastSuccess: &now, Error: o.Error}
		if !o.OK {
			d.State, d.LastSuccess, d.LastFailure = "failing", nil, &now
		}
		page.Items = append(page.Items, d)
	}
	if s.cfg.Registries != nil {
		for _, d := range s.cfg.Registries() {
			if seesHost(by.Principal, d.Name) {
				page.Items = append(page.Items, d)
			}
		}
	}
	more, err := s.cfg.Administration.Dependencies(ctx, by)
	page.Items = append(page.Items, more...)
	return jsonOf(http.StatusOK, page, err)
}

// seesHost says whether images of a registry can be among those that a principal may
// ask about: other hosts are other people's.
func seesHost(p auth.Principal, host string) bool {
	if !scoped(p) {
		return true
	}
	return slices.ContainsFunc(p.Images, func(pattern string) bool {
		first, _, _ := strings.Cut(pattern, "/")
		ok, err := path.Match(first, host)
		return first == "**" || err == nil && ok
	})
}
