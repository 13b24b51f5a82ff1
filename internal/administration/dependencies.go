package administration

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/signers"
	"github.com/signet-policy/signet/internal/store"
)

// States of a [client.Dependency].
const (
	dependencyOK      = "ok"
	dependencyFailing = "failing"
	dependencyUnknown = "unknown"
)

// Dependencies tells how it stands with what is fetched from elsewhere: the keys of
// enabled kms signers, the trust roots of TUF repositories, and policy bundles. What
// was in force stays while one of them is out of reach.
func (s *Service) Dependencies(ctx context.Context, c Caller) ([]client.Dependency, error) {
	if err := c.may(auth.Read); err != nil {
		return nil, err
	}
	keys, err := s.keyDependencies(ctx)
	if err != nil {
		return nil, err
	}
	roots, err := s.rootDependencies(ctx)
	if err != nil {
		return nil, err
	}
	bundles, err := s.bundleDependencies(ctx)
	if err != nil {
		return nil, err
	}
	return slices.Concat(keys, roots, bundles), nil
}

func (s *Service) keyDependencies(ctx context.Context) ([]client.Dependency, error) {
	rows, err := s.store.Signers(ctx)
	if err != nil {
		return nil, err
	}
	states, err := s.kmsStates(ctx)
	if err != nil {
		return nil, err
	}
	var out []client.Dependency
	for _, r := range rows {
		if r.Type != string(signers.KMS) || !r.Enabled {
			continue
		}
		state := states.of(r)
		out = append(out, standing(client.Dependency{Kind: client.DependencyKMS, Name: r.Name, Optional: true, LastSuccess: state.CheckedAt}, state.Error))
	}
	slices.SortFunc(out, func(a, b client.Dependency) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

func (s *Service) rootDependencies(ctx context.Context) ([]client.Dependency, error) {
	rows, err := s.store.Roots(ctx)
	if err != nil {
		return nil, err
	}
	upkeep, err := s.store.Upkeep(ctx, store.UpkeepRoot)
	if err != nil {
		return nil, err
	}
	tried := map[string]store.Upkeep{}
	for _, u := range upkeep {
		tried[u.Key] = u
	}
	var out []client.Dependency
	for _, r := range rows {
		if r.Kind != kindTUF {
			continue
		}
		d := client.Dependency{Kind: client.DependencyTUF, Name: r.Name, Optional: true, LastSuccess: r.RefreshedAt}
		last := tried[r.Name]
		if last.Error != "" {
			d.LastFailure = bound(last.CheckedAt)
		}
		out = append(out, standing(d, last.Error))
	}
	return out, nil
}

func (s *Service) bundleDependencies(ctx context.Context) ([]client.Dependency, error) {
	rows, err := s.store.Bundles(ctx)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	failed, waiting, err := s.BundleHealth(ctx)
	if err != nil {
		return nil, err
	}
	show, err := s.shownBundles(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]client.Dependency, 0, len(rows))
	for _, row := range rows {
		b := show(row)
		d := client.Dependency{Kind: client.DependencyBundle, Name: b.Name, Optional: !slices.Contains(waiting, b.Name), LastSuccess: b.ActivatedAt}
		if b.LastAttempt != nil {
			at := b.LastAttempt.At
			if b.LastAttempt.Error != "" {
				d.LastFailure = &at
			} else if b.ActivatedAt == nil || at.After(*b.ActivatedAt) { // there was nothing new
				d.LastSuccess = &at
			}
		}
		out = append(out, standing(d, failed[b.Name]))
	}
	return out, nil
}

// standing says what is known of a dependency whose last attempt ended so.
func standing(d client.Dependency, failure string) client.Dependency {
	d.Error = failure
	switch {
	case failure != "":
		d.State = dependencyFailing
	case d.LastSuccess == nil || d.LastSuccess.Equal(time.Time{}):
		d.State = dependencyUnknown
	default:
		d.State = dependencyOK
	}
	return d
}
