package administration

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/signingpolicy"
	"github.com/signet-policy/signet/internal/store"
)

// plannedBundle is a policy bundle that an import is to write.
type plannedBundle struct {
	row     store.BundleRow
	archive []byte
	// touched are the policies that name it and are not imported themselves, as they
	// were when they were compiled with it.
	touched []proposedPolicy
}

// planBundles checks the bundles of an archive as those that are published here.
func (s *Service) planBundles(ctx context.Context, p *importPlan, list []archivedBundle) error {
	seen := map[string]bool{}
	for i, ab := range list {
		field := fmt.Sprintf("archive.bundles[%d]", i)
		switch {
		case !signingpolicy.IsName(ab.Name):
			return fieldError(field, "name: %q is not a name", ab.Name)
		case seen[ab.Name]:
			return fieldError(field, "there is another bundle %q before it", ab.Name)
		case facts.Digest(ab.Archive) != ab.Digest:
			return fieldError(field, "its bytes do not have the digest %s", ab.Digest)
		case s.archives == nil:
			return fieldError(field, "this server reads no policy bundles")
		}
		seen[ab.Name] = true
		if err := auth.ValidTeam(ab.Owner); err != nil {
			return fieldError(field, "owner: %s", err)
		}
		if len(ab.Keys) > 0 {
			if err := s.archives.CheckKeys(ab.Keys, ab.Scope); err != nil {
				return fieldError(field, "keys: %s", err)
			}
		}
		next, err := s.planBundle(ctx, ab)
		switch {
		case errors.Is(err, errUnchanged):
			continue
		case errors.Is(err, ErrConflict), ctx.Err() != nil:
			return err
		case err != nil:
			return fieldError(field, "%s", err)
		}
		p.bundles = append(p.bundles, plannedBundle{row: next, archive: ab.Archive})
		p.out.Bundles = append(p.out.Bundles, ab.Name)
	}
	return nil
}

// planBundle is a bundle of an archive in the place of the one here; [errUnchanged]
// where nothing would be written.
func (s *Service) planBundle(ctx context.Context, ab archivedBundle) (store.BundleRow, error) {
	row, err := s.store.Bundle(ctx, ab.Name)
	switch {
	case errors.Is(err, store.ErrNotFound):
		if row, err = s.continued(ctx, store.BundleRow{Name: ab.Name, Source: sourceAPI}); err != nil {
			return row, err
		}
	case err != nil:
		return row, err
	case row.Source == sourceConfiguration && row.Digest == ab.Digest:
		return row, errUnchanged
	case row.Source == sourceConfiguration:
		return row, refuse(ErrConflict, "%s: is fetched from %s, as the configuration of this server says; rename one of them", bundleNamed(ab.Name), row.Location)
	}
	before := row
	row.Owner, row.Keys, row.Scope = ab.Owner, ab.Keys, ab.Scope
	next, err := s.received(row, ab.Archive)
	switch {
	case err == nil:
		now := s.now().UTC()
		next.ActivatedAt = &now
	case errors.Is(err, errUnchanged):
		signedBy := next.SignedBy
		next = row
		next.SignedBy = signedBy
	default:
		return row, err
	}
	next.HighestSequence = max(next.HighestSequence, ab.HighestSequence)
	if same, err := sameBundle(next, before); err != nil || same {
		return next, errors.Join(err, errUnchanged)
	}
	return next, nil
}

func sameBundle(a, b store.BundleRow) (bool, error) {
	plain := func(r store.BundleRow) ([]byte, error) {
		keys := r.Keys
		if keys == nil {
			keys = map[string]string{}
		}
		return facts.Canonical([]any{r.Owner, keys, r.Scope, r.Digest, r.SignedBy, r.HighestSequence})
	}
	x, err := plain(a)
	if err != nil {
		return false, err
	}
	y, err := plain(b)
	return string(x) == string(y), err
}

// tryArchived compiles a policy with the bundle that it names, as it would be; own
// says that the policy is imported too.
func (s *Service) tryArchived(ctx context.Context, p *importPlan, t proposedPolicy, own bool) error {
	_, err := s.codesOf(ctx, s.compileArchived(ctx, p, t), t.row.Name, own)
	return err
}

func (s *Service) compileArchived(ctx context.Context, p *importPlan, t proposedPolicy) error {
	for i := range p.bundles {
		if b := &p.bundles[i]; b.row.Name == t.policy.Bundle {
			if err := ofSameOwner(t.row, b.row); err != nil {
				return err
			}
			return s.checkPolicy(ctx, t.policy, b.archive)
		}
	}
	rows, err := s.store.Bundles(ctx)
	if err != nil {
		return err
	}
	archive, err := s.archiveFor(ctx, &proposal{}, store.Snapshot{Bundles: rows}, t)
	if err != nil {
		return err
	}
	return s.checkPolicy(ctx, t.policy, archive)
}

// tryBundles compiles the policies that are here and stay, and name a bundle that is
// to be imported.
func (s *Service) tryBundles(ctx context.Context, p *importPlan) error {
	if len(p.bundles) == 0 {
		return nil
	}
	rows, err := s.store.Policies(ctx)
	if err != nil {
		return err
	}
	for _, r := range rows {
		if slices.ContainsFunc(p.policies, func(o store.PolicyRow) bool { return o.Name == r.Name }) {
			continue
		}
		policy, err := signingpolicy.Parse([]byte(r.Body))
		if err != nil {
			return fmt.Errorf("%w: policy %s: %w", store.ErrCorrupt, r.Name, err)
		}
		for i := range p.bundles {
			b := &p.bundles[i]
			if policy.Bundle != b.row.Name {
				continue
			}
			t := proposedPolicy{r, policy}
			b.touched = append(b.touched, t)
			if err := s.tryArchived(ctx, p, t, false); err != nil {
				if ctx.Err() != nil {
					return err
				}
				return fieldError("archive", "%s with %s: %s", bundleNamed(b.row.Name), policyNamed(r.Name), err)
			}
		}
	}
	return nil
}

// writeBundles writes the bundles of an import, if they still are what was compiled.
func (p *importPlan) writeBundles(ctx context.Context, tx *store.Tx) error {
	own := make([]proposedPolicy, 0, len(p.policies))
	for _, r := range p.policies {
		own = append(own, proposedPolicy{row: r})
	}
	for _, b := range p.bundles {
		change := &proposal{bundle: &b.row, policies: own}
		if err := change.stillTouches(ctx, tx, b.touched); err != nil {
			return err
		}
		if err := tx.PutObject(ctx, store.ObjectBundle, b.row.Digest, b.archive); err != nil {
			return err
		}
		if _, err := tx.PutBundle(ctx, b.row); err != nil {
			return changedMeanwhile(err, bundleNamed(b.row.Name))
		}
	}
	return nil
}
