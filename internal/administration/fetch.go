package administration

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/signingpolicy"
	"github.com/signet-policy/signet/internal/store"
)

// ErrNotModified says that a source has nothing else than what it was asked about.
var ErrNotModified = errors.New("not modified")

// BundleSource is where a bundle of the configuration is fetched from.
type BundleSource struct {
	// Fetch gives the newest archive, and what to ask with the next time, once this
	// one is in force. [ErrNotModified] where validator is of the newest already; "" is
	// of none, and next, where it is not "", is then to be asked with instead. Its other
	// errors may be shown to administrators.
	Fetch func(ctx context.Context, validator string) (archive []byte, next string, err error)
	// Network says that it is not on this machine, so that its archives must be
	// signed.
	Network bool
	// MaxFlips refuses an archive that changes more recent verdicts; nil: any number.
	MaxFlips *int
}

// BundleSeed is a policy bundle of the server's configuration.
type BundleSeed struct {
	Name string
	// Location is where it is fetched from, without secrets.
	Location string
	// Keys are public keys, PEM by key id, and Scope that of the signatures; ""
	// means the usual one.
	Keys  map[string]string
	Scope string
}

// seeder is who puts into force what the configuration brings.
func seeder() store.Actor { return store.Actor{Name: "server", From: sourceConfiguration} }

// SeedBundles makes the bundles of the server's configuration known: without an
// archive, until it is fetched. A name that the API has taken is [ErrConflict]. A
// server calls it when it starts, and [Service.DropBundles] when its policies are
// in force.
func (s *Service) SeedBundles(ctx context.Context, seeds []BundleSeed) error {
	if len(seeds) == 0 {
		return nil
	}
	rows := make([]store.BundleRow, 0, len(seeds))
	for _, seed := range seeds {
		row := store.BundleRow{Name: seed.Name, Source: sourceConfiguration, Location: seed.Location, Keys: seed.Keys, Scope: seed.Scope}
		if row.Scope == "" {
			row.Scope = defaultScope
		}
		if len(row.Keys) > 0 && s.archives != nil {
			if err := s.archives.CheckKeys(row.Keys, row.Scope); err != nil {
				return fmt.Errorf("%s of the configuration: keys: %w", bundleNamed(seed.Name), err)
			}
		}
		row, err := s.continued(ctx, row)
		if err != nil {
			return err
		}
		rows = append(rows, row)
	}
	_, err := s.store.Change(ctx, seeder(), "the server's configuration", func(tx *store.Tx) error {
		for _, row := range rows {
			old, err := tx.Bundle(ctx, row.Name)
			switch {
			case errors.Is(err, store.ErrNotFound):
			case err != nil:
				return err
			case old.Source == sourceAPI:
				return refuse(ErrConflict, "%s: is in the configuration, and was put through the API too; remove one of them, or give it another name", bundleNamed(row.Name))
			case old.Location == row.Location && old.Scope == row.Scope && maps.Equal(old.Keys, row.Keys):
				continue
			default:
				// What is in force stays until the source says something that counts by the
				// new settings; it is asked from the beginning.
				old.Location, old.Scope, old.Keys, old.Validator = row.Location, row.Scope, row.Keys, ""
				row = old
			}
			if _, err := tx.PutBundle(ctx, row); err != nil {
				return putError(err, bundleNamed(row.Name), row.Version)
			}
		}
		return nil
	})
	return err
}

// TryPolicies compiles the policies of a configuration with the bundles that they
// name, of those that there are. Errors are for who starts the server.
func (s *Service) TryPolicies(ctx context.Context, list []*signingpolicy.Policy) error {
	for _, p := range list {
		if p.Bundle == "" {
			continue
		}
		row, err := s.store.Bundle(ctx, p.Bundle)
		if errors.Is(err, store.ErrNotFound) || err == nil && row.Digest == "" {
			continue // SeedPolicies says the one; the other makes its images unknown
		}
		if err != nil {
			return err
		}
		archive, err := s.store.Object(ctx, store.ObjectBundle, row.Digest)
		if err != nil {
			return err
		}
		// What a bundle has dropped since must not keep a server from starting.
		if _, err := s.codesOf(ctx, s.checkPolicy(ctx, p, archive), p.Name, false); err != nil {
			return err
		}
	}
	return nil
}

// DropBundles removes the bundles that a configuration brought and has no more.
// One that a policy names is [ErrConflict].
func (s *Service) DropBundles(ctx context.Context, keep []BundleSeed) error {
	rows, err := s.store.Bundles(ctx)
	if err != nil {
		return err
	}
	for _, row := range rows {
		if row.Source != sourceConfiguration || slices.ContainsFunc(keep, func(b BundleSeed) bool { return b.Name == row.Name }) {
			continue
		}
		_, err := s.store.Change(ctx, seeder(), "the server's configuration", func(tx *store.Tx) error {
			if err := unnamedBundle(ctx, tx, row.Name); err != nil {
				return fmt.Errorf("%w (the configuration has the bundle no more)", err)
			}
			err := tx.DeleteBundle(ctx, row.Name, row.Version)
			if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrConflict) {
				return nil // another server does the same
			}
			return err
		})
		if err != nil {
			return err
		}
		s.forgetAttempts(ctx, row.Name)
	}
	return nil
}

// FetchBundle asks the source of a bundle now, and puts what it has into force.
// When that fails, what is in force stays, and the error says why.
func (s *Service) FetchBundle(ctx context.Context, c Caller, name string) (client.Bundle, error) {
	if err := c.may(auth.Policy); err != nil {
		return client.Bundle{}, err
	}
	row, err := s.bundle(ctx, name)
	if err != nil {
		return client.Bundle{}, err
	}
	if err := s.mayPublish(ctx, c, s.store, row); err != nil {
		return client.Bundle{}, err
	}
	if err := s.fetch(ctx, c.actor(), c.Why, row, nil); err != nil && !errors.Is(err, errUnchanged) {
		return client.Bundle{}, err
	}
	return s.Bundle(ctx, c, name)
}

// Poll asks the source of a bundle on schedule. What is in force stays when that
// fails.
func (s *Service) Poll(ctx context.Context, name string) (changed bool, err error) {
	row, err := s.bundle(ctx, name)
	if err != nil {
		return false, err
	}
	err = s.fetch(ctx, refresher(), "fetched on schedule", row, nil)
	if errors.Is(err, errUnchanged) {
		return false, nil
	}
	return err == nil, err
}

// FetchFirst asks the source of a bundle when a server starts, with the policies of
// its configuration beside those that are in force: both may have changed while no
// server ran. It puts those that name the bundle into force with it.
func (s *Service) FetchFirst(ctx context.Context, name string, configured []*signingpolicy.Policy) error {
	row, err := s.bundle(ctx, name)
	if err != nil {
		return err
	}
	var beside []proposedPolicy
	for _, p := range configured {
		if p.Bundle != name {
			continue
		}
		old, err := s.store.Policy(ctx, p.Name) // the zero row is a new one
		switch {
		case err != nil && !errors.Is(err, store.ErrNotFound):
			return err
		case old.Source == sourceAPI:
			continue // SeedPolicies says it
		}
		body, err := p.Canonical()
		if err != nil {
			return err
		}
		beside = append(beside, proposedPolicy{store.PolicyRow{Name: p.Name, Source: sourceConfiguration, Body: string(body), Version: old.Version}, p})
	}
	err = s.fetch(ctx, seeder(), "the server's configuration", row, beside)
	if errors.Is(err, errUnchanged) {
		return nil
	}
	return err
}

// fetch asks the source of a bundle, and puts what it has into force. What the
// source says of it is remembered only then.
func (s *Service) fetch(ctx context.Context, by store.Actor, why string, row store.BundleRow, beside []proposedPolicy) error {
	source, ok := s.sources[row.Name]
	switch {
	case row.Source != sourceConfiguration:
		return refuse(ErrConflict, "%s is uploaded, and nothing can fetch it; put the next one in its place: signet bundles put", bundleNamed(row.Name))
	case !ok:
		return refuse(ErrConflict, "%s: the configuration of this server does not have it; ask one whose configuration does", bundleNamed(row.Name))
	case source.Network && len(row.Keys) == 0:
		return refuse(ErrConflict, "%s: comes over a network and has no keys; what comes from there must be signed", bundleNamed(row.Name))
	}
	validator := row.Validator
	if len(beside) > 0 {
		validator = "" // what is in force may not go with them
	}
	archive, next, err := source.Fetch(ctx, validator)
	switch {
	case errors.Is(err, ErrNotModified):
		s.noteAttempt(ctx, row.Name, attempt{Sequence: row.Sequence, Revision: row.Revision}, errUnchanged)
		if next != "" && next != validator {
			if err := s.store.NoteValidator(ctx, row.Name, row.Digest, next); err != nil {
				return err
			}
		}
		return errUnchanged
	case err != nil && errors.Is(ctx.Err(), context.Canceled):
		return err // the caller gave up, which says nothing about the source
	case err != nil:
		err = &refusal{kind: errors.Join(ErrConflict, err), text: fmt.Sprintf("%s: %s; what is in force stays", bundleNamed(row.Name), err)}
		s.noteAttempt(ctx, row.Name, attempt{Outcome: outcomeUnreachable}, err)
		return err
	}
	var kept store.BundleRow
	const attempts = 3 // another server may do the same, or policies be changed
	for range attempts {
		row.Validator = next
		kept, err = s.put(ctx, &proposal{by: by, why: why, policies: beside, maxFlips: source.MaxFlips}, row, archive)
		if !errors.Is(err, ErrStale) {
			break
		}
		if row, err = s.bundle(ctx, row.Name); err != nil {
			return err
		}
	}
	if errors.Is(err, errUnchanged) && next != validator {
		if err := s.store.NoteValidator(ctx, kept.Name, kept.Digest, next); err != nil {
			return err
		}
	}
	return err
}

// BundleHealth says, by name, why a bundle cannot be used or could not be renewed.
// waiting are those that a policy names and that have no archive yet: the images
// that those policies speak of are unknown.
func (s *Service) BundleHealth(ctx context.Context) (failed map[string]string, waiting []string, err error) {
	rows, err := s.store.Bundles(ctx)
	if err != nil || len(rows) == 0 {
		return nil, nil, err
	}
	show, err := s.shownBundles(ctx)
	if err != nil {
		return nil, nil, err
	}
	failed = map[string]string{}
	for _, row := range rows {
		b := show(row)
		failed[b.Name] = ""
		if b.LastAttempt != nil {
			failed[b.Name] = b.LastAttempt.Error
		}
		if b.Digest == "" && len(b.Policies) > 0 {
			waiting = append(waiting, b.Name)
			if failed[b.Name] == "" {
				failed[b.Name] = "it has not been fetched yet"
			}
		}
	}
	return failed, waiting, nil
}
