package administration

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/signingpolicy"
	"github.com/signet-policy/signet/internal/store"
)

// defaultScope is the scope of signatures where a bundle names none.
const defaultScope = "signet"

func bundleNamed(name string) string { return fmt.Sprintf("bundle %q", name) }

// Bundles lists the policy bundles by name, as [Service.Policies] does.
func (s *Service) Bundles(ctx context.Context, c Caller, limit int, after string) (client.Page[client.Bundle], error) {
	page := client.Page[client.Bundle]{Items: []client.Bundle{}}
	if err := c.may(auth.Read); err != nil {
		return page, err
	}
	limit, err := pageSize(limit)
	if err != nil {
		return page, err
	}
	rows, err := s.in.Bundles(ctx)
	if err != nil {
		return page, err
	}
	show, err := s.shownBundles(ctx)
	if err != nil {
		return page, err
	}
	for _, r := range rows {
		if r.Name <= after {
			continue
		}
		if len(page.Items) == limit {
			page.Next = page.Items[limit-1].Name
			break
		}
		page.Items = append(page.Items, show(r))
	}
	return page, nil
}

// Bundle returns one policy bundle, or [ErrNotFound].
func (s *Service) Bundle(ctx context.Context, c Caller, name string) (client.Bundle, error) {
	if err := c.may(auth.Read); err != nil {
		return client.Bundle{}, err
	}
	row, err := s.bundle(ctx, name)
	if err != nil {
		return client.Bundle{}, err
	}
	return s.showBundle(ctx, row)
}

func (s *Service) bundle(ctx context.Context, name string) (store.BundleRow, error) {
	row, err := s.in.Bundle(ctx, name)
	return row, missing(err, "there is no bundle %q", name)
}

func (s *Service) showBundle(ctx context.Context, row store.BundleRow) (client.Bundle, error) {
	show, err := s.shownBundles(ctx)
	if err != nil {
		return client.Bundle{}, err
	}
	return show(row), nil
}

// shownBundles gives what the API says of a bundle.
func (s *Service) shownBundles(ctx context.Context) (func(store.BundleRow) client.Bundle, error) {
	policies, err := s.in.Policies(ctx)
	if err != nil {
		return nil, err
	}
	naming := map[string][]string{}
	for _, r := range policies {
		p, err := signingpolicy.Parse([]byte(r.Body))
		if err != nil {
			return nil, fmt.Errorf("%w: policy %s: %w", store.ErrCorrupt, r.Name, err)
		}
		naming[p.Bundle] = append(naming[p.Bundle], r.Name)
	}
	attempts, err := s.lastAttempts(ctx)
	if err != nil {
		return nil, err
	}
	return func(r store.BundleRow) client.Bundle {
		return client.Bundle{
			Name: r.Name, Source: r.Source, Owner: r.Owner, Location: r.Location, Keys: r.Keys, Scope: r.Scope,
			Digest: r.Digest, PolicyDigest: r.PolicyDigest, Revision: r.Revision, Sequence: r.Sequence, HighestSequence: r.HighestSequence,
			SignedBy: r.SignedBy, ActivatedAt: r.ActivatedAt, Policies: orEmpty(naming[r.Name]), LastAttempt: shownAttempt(attempts[r.Name]),
			CreatedBy: r.CreatedBy, CreatedAt: r.CreatedAt, UpdatedBy: r.UpdatedBy, UpdatedAt: r.UpdatedAt, Version: r.Version,
		}
	}, nil
}

func shownAttempt(u store.Upkeep) *client.BundleAttempt {
	if u.CheckedAt.IsZero() {
		return nil
	}
	var tried attempt
	_ = json.Unmarshal(u.Detail, &tried) // of another version: the time and the error are what matters
	return &client.BundleAttempt{
		At: u.CheckedAt, Outcome: tried.Outcome, Error: u.Error, Sequence: tried.Sequence, Revision: tried.Revision,
		Flips: tried.Flips, Examples: tried.Examples, Warnings: tried.Warnings,
	}
}

// BundleArchive returns the archive that is in force, or [ErrNotFound].
func (s *Service) BundleArchive(ctx context.Context, c Caller, name string) ([]byte, error) {
	if err := c.may(auth.Read); err != nil {
		return nil, err
	}
	row, err := s.bundle(ctx, name)
	if err != nil {
		return nil, err
	}
	if row.Digest == "" {
		return nil, refuse(ErrNotFound, "%s has not been fetched yet", bundleNamed(name))
	}
	return s.in.Object(ctx, store.ObjectBundle, row.Digest)
}

// PutBundle publishes an archive: as a new bundle, where version is nil, or as the
// next of the one of that version. A new bundle without an owner belongs to the
// caller's team; one that is replaced keeps its owner unless another is named.
// What is in force already is not written again.
func (s *Service) PutBundle(ctx context.Context, c Caller, name, owner string, archive []byte, version *int64) (client.Bundle, error) {
	return s.putBundle(ctx, c, name, owner, archive, version, nil)
}

// PutBundleWith is [Service.PutBundle], and in the same change says who must have
// signed this archive and later ones: by the keys with their ids, in a scope ("": as
// it was, and of a new bundle the default). Only administrators may, as for
// [Service.PatchBundle].
func (s *Service) PutBundleWith(ctx context.Context, c Caller, name, owner string, archive []byte, keys map[string]string, scope string, version *int64) (client.Bundle, error) {
	if err := c.may(auth.Administer); err != nil {
		return client.Bundle{}, err
	}
	return s.putBundle(ctx, c, name, owner, archive, version, func(row *store.BundleRow) error {
		row.Keys, row.Scope = keys, cmp.Or(scope, row.Scope)
		if len(keys) == 0 {
			return fieldError("keys", "give one at least; without keys, put the archive alone")
		}
		if s.archives == nil {
			return refuse(ErrConflict, "this server reads no policy bundles")
		}
		if err := s.archives.CheckKeys(row.Keys, row.Scope); err != nil {
			return fieldError("keys", "%s", err)
		}
		return nil
	})
}

// putBundle puts an archive into force, after keyed has changed who must have
// signed it; nil: nothing changes in that.
func (s *Service) putBundle(ctx context.Context, c Caller, name, owner string, archive []byte, version *int64, keyed func(*store.BundleRow) error) (client.Bundle, error) {
	if err := c.may(auth.Policy); err != nil {
		return client.Bundle{}, err
	}
	if !signingpolicy.IsName(name) {
		return client.Bundle{}, fieldError("name", "%q is not a name; use at most 63 lower-case letters, digits and dashes", name)
	}
	if err := auth.ValidTeam(owner); err != nil {
		return client.Bundle{}, fieldError("owner", "%s", err)
	}
	row := store.BundleRow{Name: name, Source: sourceAPI, Owner: c.ownerOf(owner), Scope: defaultScope}
	if version != nil {
		old, err := s.changeableBundle(ctx, c, name, *version)
		if err != nil {
			return client.Bundle{}, err
		}
		row = old
		if owner != "" {
			row.Owner = owner
		}
	} else if _, err := s.in.Bundle(ctx, name); err == nil {
		return client.Bundle{}, refuse(ErrConflict, "%s: is there already; name its version to replace it", bundleNamed(name))
	} else if !errors.Is(err, store.ErrNotFound) {
		return client.Bundle{}, err
	}
	if keyed != nil {
		if err := keyed(&row); err != nil {
			return client.Bundle{}, err
		}
	}
	return s.publish(ctx, c, row, archive, owner != "" || keyed != nil, nil)
}

// publish puts an archive into force as row's, beside policies that change with
// it.
func (s *Service) publish(ctx context.Context, c Caller, row store.BundleRow, archive []byte, settings bool, policies []proposedPolicy) (client.Bundle, error) {
	if err := s.mayPublish(ctx, c, s.in, row); err != nil {
		return client.Bundle{}, err
	}
	_, err := s.put(ctx, &proposal{
		by: c.actor(), why: c.Why, policies: policies, settings: settings,
		within: func(ctx context.Context, tx *store.Tx) error { return s.mayPublish(ctx, c, tx, row) },
	}, row, archive)
	if err != nil && !errors.Is(err, errUnchanged) {
		return client.Bundle{}, err
	}
	if row, err = s.bundle(ctx, row.Name); err != nil {
		return client.Bundle{}, err
	}
	return s.showBundle(ctx, row)
}

// put puts an archive into force as the next of row, and keeps how that went. An
// archive that is in force already is [errUnchanged], after a change of the
// bundle's owner or of policies was made.
func (s *Service) put(ctx context.Context, p *proposal, row store.BundleRow, archive []byte) (store.BundleRow, error) {
	var err error
	if row.Version == 0 {
		if row, err = s.continued(ctx, row); err != nil {
			return row, err
		}
	}
	next, err := s.received(row, archive)
	tried := attempt{Sequence: next.Sequence, Revision: next.Revision}
	unchanged := errors.Is(err, errUnchanged)
	switch {
	case unchanged && len(p.policies) == 0 && !p.settings:
	case unchanged && next.Digest == row.Digest:
		row.SignedBy = next.SignedBy // under the keys as they are now
		p.bundle, err = &row, nil
	case unchanged: // the same content, signed anew: the archive in force is to have that signature
		p.bundle, p.archive, unchanged, err = &next, archive, false, nil
	case err == nil:
		now := s.now().UTC()
		next.ActivatedAt = &now
		p.bundle, p.archive = &next, archive
	}
	if err == nil {
		tried, err = s.activate(ctx, p)
	}
	if err == nil && unchanged {
		err = errUnchanged
	}
	// Else there is no bundle to tell it of, or it says nothing about this one.
	if (row.Version > 0 || err == nil) && !errors.Is(err, ErrStale) {
		s.noteAttempt(ctx, row.Name, tried, err)
	}
	if p.bundle != nil {
		row = *p.bundle
	}
	return row, err
}

// continued gives a new bundle the highest sequence that one of its name has had.
func (s *Service) continued(ctx context.Context, row store.BundleRow) (store.BundleRow, error) {
	past, err := s.in.BundleHistory(ctx, row.Name)
	if err != nil {
		return row, err
	}
	for _, p := range past {
		row.HighestSequence = max(row.HighestSequence, p.Row.HighestSequence)
	}
	return row, nil
}

// mayPublish asks whether the caller may decide what a bundle's rules are: the
// bundle is theirs, and so is every policy that names it.
func (s *Service) mayPublish(ctx context.Context, c Caller, in stored, row store.BundleRow) error {
	if err := c.ofTeam(bundleNamed(row.Name), row.Owner); err != nil {
		return err
	}
	policies, err := in.Policies(ctx)
	if err != nil {
		return err
	}
	for _, r := range policies {
		p, err := signingpolicy.Parse([]byte(r.Body))
		if err != nil {
			return fmt.Errorf("%w: policy %s: %w", store.ErrCorrupt, r.Name, err)
		}
		if p.Bundle != row.Name {
			continue
		}
		if err := c.owns(fmt.Sprintf("%s, which %s names", bundleNamed(row.Name), policyNamed(r.Name)), r.Owner, p.Images); err != nil {
			return err
		}
		if row.Owner != "" && row.Owner != r.Owner {
			return ofSameOwner(r, row)
		}
	}
	return nil
}

// changeableBundle is the bundle of that version, which the API may change and the
// caller too.
func (s *Service) changeableBundle(ctx context.Context, c Caller, name string, version int64) (store.BundleRow, error) {
	row, err := s.bundle(ctx, name)
	if err != nil {
		return store.BundleRow{}, err
	}
	if err := s.mayPublish(ctx, c, s.in, row); err != nil {
		return store.BundleRow{}, err
	}
	switch {
	case row.Source == sourceConfiguration && !s.onTrial: // where it is published, it can be tried
		return store.BundleRow{}, refuse(ErrConflict, "%s: is fetched from %s, as the server's configuration says; publish it there", bundleNamed(name), row.Location)
	case row.Version != version:
		return store.BundleRow{}, stale(bundleNamed(name), row.Version, version)
	}
	return row, nil
}

// PatchBundle changes owner, keys and scope of a bundle of that version by a JSON
// merge patch over what [Service.Bundle] returns. Only administrators may, because
// keys are there against a stolen token of an author. The archive in force must be
// signed as is asked for from then on.
func (s *Service) PatchBundle(ctx context.Context, c Caller, name string, version int64, patch []byte) (client.Bundle, error) {
	if err := c.may(auth.Administer); err != nil {
		return client.Bundle{}, err
	}
	row, err := s.changeableBundle(ctx, c, name, version)
	if err != nil {
		return client.Bundle{}, err
	}
	now, err := s.showBundle(ctx, row)
	if err != nil {
		return client.Bundle{}, err
	}
	next, err := mergePatch(now, patch, []string{
		"name", "source", "location", "digest", "policy_digest", "revision", "sequence", "highest_sequence", "signed_by", "activated_at",
		"policies", "last_attempt", "created_by", "created_at", "updated_by", "updated_at", "version",
	}, []string{"scope"})
	if err != nil {
		return client.Bundle{}, err
	}
	if err := auth.ValidTeam(next.Owner); err != nil {
		return client.Bundle{}, fieldError("owner", "%s", err)
	}
	row.Owner, row.Keys, row.Scope = next.Owner, next.Keys, next.Scope
	if err := s.resigned(ctx, &row); err != nil {
		return client.Bundle{}, err
	}
	if err := s.mayPublish(ctx, c, s.in, row); err != nil {
		return client.Bundle{}, err
	}
	err = s.change(ctx, c, func(tx *store.Tx) error {
		if err := s.mayPublish(ctx, c, tx, row); err != nil {
			return err
		}
		kept, err := tx.PutBundle(ctx, row)
		row = kept
		return putError(err, bundleNamed(name), version)
	})
	if err != nil {
		return client.Bundle{}, err
	}
	return s.showBundle(ctx, row)
}

// resigned checks the keys of a bundle, and the archive in force with them.
func (s *Service) resigned(ctx context.Context, row *store.BundleRow) error {
	row.SignedBy = ""
	if len(row.Keys) == 0 {
		return nil
	}
	if s.archives == nil {
		return refuse(ErrConflict, "this server reads no policy bundles")
	}
	if err := s.archives.CheckKeys(row.Keys, row.Scope); err != nil {
		return fieldError("keys", "%s", err)
	}
	if row.Digest == "" {
		return nil
	}
	archive, err := s.in.Object(ctx, store.ObjectBundle, row.Digest)
	if err != nil {
		return err
	}
	if row.SignedBy, err = s.archives.Verify(archive, row.Keys, row.Scope); err != nil {
		return refuse(ErrConflict, "the archive in force would not count: %s; publish one that is signed with these keys first", err)
	}
	return nil
}

// DeleteBundle removes a bundle of that version. One that a policy names is
// [ErrConflict].
func (s *Service) DeleteBundle(ctx context.Context, c Caller, name string, version int64) error {
	if err := c.may(auth.Policy); err != nil {
		return err
	}
	if _, err := s.changeableBundle(ctx, c, name, version); err != nil {
		return err
	}
	err := s.change(ctx, c, func(tx *store.Tx) error {
		if err := unnamedBundle(ctx, tx, name); err != nil {
			return err
		}
		return putError(tx.DeleteBundle(ctx, name, version), bundleNamed(name), version)
	})
	if err != nil {
		return err
	}
	s.forgetAttempts(ctx, name)
	return nil
}

func (s *Service) forgetAttempts(ctx context.Context, name string) {
	if err := s.store.DeleteUpkeep(ctx, store.UpkeepBundle, name); err != nil {
		s.log.WarnContext(ctx, "forgetting the attempts of a removed bundle", "bundle", name, "error", err)
	}
}

// unnamedBundle makes sure that no policy names a bundle that is to go.
func unnamedBundle(ctx context.Context, tx *store.Tx, name string) error {
	rows, err := tx.Policies(ctx)
	if err != nil {
		return err
	}
	for _, r := range rows {
		p, err := signingpolicy.Parse([]byte(r.Body))
		if err != nil {
			return fmt.Errorf("%w: policy %s: %w", store.ErrCorrupt, r.Name, err)
		}
		if p.Bundle == name {
			return refuse(ErrConflict, "%s cannot be removed, because %s names it; give that policy another bundle first", bundleNamed(name), policyNamed(r.Name))
		}
	}
	return nil
}

// RollbackBundle goes back to an archive that was in force before: the one of that
// sequence, nil for the last one. What the source offers up to the sequence that is
// left is refused from then on, until a higher one comes.
func (s *Service) RollbackBundle(ctx context.Context, c Caller, name string, to *int64) (client.Bundle, error) {
	if err := c.may(auth.Policy); err != nil {
		return client.Bundle{}, err
	}
	row, err := s.bundle(ctx, name)
	if err != nil {
		return client.Bundle{}, err
	}
	if err := s.mayPublish(ctx, c, s.in, row); err != nil {
		return client.Bundle{}, err
	}
	past, err := s.in.BundleHistory(ctx, name)
	if err != nil {
		return client.Bundle{}, err
	}
	target, err := earlier(row, past, to)
	if err != nil {
		return client.Bundle{}, err
	}
	return s.goBack(ctx, c, row, target, nil)
}

// earlier finds the state to go back to.
func earlier(row store.BundleRow, past []store.Past[store.BundleRow], to *int64) (store.BundleRow, error) {
	for _, p := range slices.Backward(past) {
		switch {
		case p.Row.Digest == "":
		case to == nil && p.Row.Digest != row.Digest && p.Row.Sequence < row.Sequence, to != nil && p.Row.Sequence == *to:
			return p.Row, nil
		}
	}
	if to != nil {
		return row, refuse(ErrNotFound, "%s: sequence %d was never in force; signet bundles history %s shows what was", bundleNamed(row.Name), *to, row.Name)
	}
	return row, refuse(ErrConflict, "%s: there is no archive before the one in force", bundleNamed(row.Name))
}

// goBack puts the archive of an earlier state of row into force.
func (s *Service) goBack(ctx context.Context, c Caller, row, target store.BundleRow, policies []proposedPolicy) (client.Bundle, error) {
	next := row
	next.Digest, next.PolicyDigest, next.Revision, next.Sequence = target.Digest, target.PolicyDigest, target.Revision, target.Sequence
	next.HighestSequence = max(row.HighestSequence, target.Sequence)
	next.Validator = "" // the source is asked what it has, and told why that is not taken
	archive, err := s.in.Object(ctx, store.ObjectBundle, target.Digest)
	if err != nil {
		return client.Bundle{}, err
	}
	if len(row.Keys) > 0 {
		if next.SignedBy, err = s.archives.Verify(archive, row.Keys, row.Scope); err != nil {
			return client.Bundle{}, refuse(ErrConflict, "%s: sequence %d would not count any more: %s", bundleNamed(row.Name), target.Sequence, err)
		}
	}
	now := s.now().UTC()
	next.ActivatedAt = &now
	tried, err := s.activate(ctx, &proposal{
		by: c.actor(), why: c.Why, bundle: &next, archive: archive, policies: policies,
		within: func(ctx context.Context, tx *store.Tx) error { return s.mayPublish(ctx, c, tx, row) },
	})
	s.noteAttempt(ctx, row.Name, tried, err)
	if err != nil {
		return client.Bundle{}, err
	}
	if row, err = s.bundle(ctx, row.Name); err != nil {
		return client.Bundle{}, err
	}
	return s.showBundle(ctx, row)
}
