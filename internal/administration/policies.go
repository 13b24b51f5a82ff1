package administration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/signers"
	"github.com/signet-policy/signet/internal/signingpolicy"
	"github.com/signet-policy/signet/internal/store"
)

// Where policies and trust roots come from.
const (
	sourceAPI           = "api"
	sourceConfiguration = "configuration"
)

// Policies lists the policies in force by name. limit is 1 to 1000, 0 means 100;
// after is Next of the page before.
func (s *Service) Policies(ctx context.Context, c Caller, limit int, after string) (client.Page[client.Policy], error) {
	page := client.Page[client.Policy]{Items: []client.Policy{}}
	if err := c.may(auth.Read); err != nil {
		return page, err
	}
	limit, err := pageSize(limit)
	if err != nil {
		return page, err
	}
	rows, err := s.in.Policies(ctx)
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
		w, err := policyShown(r)
		if err != nil {
			return client.Page[client.Policy]{Items: []client.Policy{}}, err
		}
		page.Items = append(page.Items, w)
	}
	return page, nil
}

// Policy returns one policy, or [ErrNotFound].
func (s *Service) Policy(ctx context.Context, c Caller, name string) (client.Policy, error) {
	if err := c.may(auth.Read); err != nil {
		return client.Policy{}, err
	}
	r, err := s.policy(ctx, name)
	if err != nil {
		return client.Policy{}, err
	}
	return policyShown(r)
}

func (s *Service) policy(ctx context.Context, name string) (store.PolicyRow, error) {
	r, err := s.in.Policy(ctx, name)
	return r, missing(err, "there is no policy %q", name)
}

func policyNamed(name string) string { return fmt.Sprintf("policy %q", name) }

func policyShown(r store.PolicyRow) (client.Policy, error) {
	p, err := signingpolicy.Parse([]byte(r.Body))
	if err != nil {
		return client.Policy{}, fmt.Errorf("%w: policy %s: %w", store.ErrCorrupt, r.Name, err)
	}
	return client.Policy{
		Name: r.Name, Source: r.Source, Owner: r.Owner, Mode: string(p.Mode), ShadowOf: p.ShadowOf, Images: orEmpty(p.Images),
		Bundle: p.Bundle, Exceptions: exceptionsShown(p), SigningPolicy: r.Body, Digest: r.Digest,
		CreatedBy: r.CreatedBy, CreatedAt: r.CreatedAt, UpdatedBy: r.UpdatedBy, UpdatedAt: r.UpdatedAt, Version: r.Version,
	}, nil
}

// PutPolicy makes a policy, where version is nil, or replaces the one of that
// version. body is the document that users write, in any of its spellings; it may
// leave out its own name. A new policy without an owner belongs to the caller's
// team; one that is replaced keeps its owner unless another is named. What is in
// force already is not written again.
func (s *Service) PutPolicy(ctx context.Context, c Caller, name, owner string, body []byte, version *int64) (client.Policy, error) {
	return s.PutPolicyWith(ctx, c, name, owner, body, nil, version)
}

// PutPolicyWith is [Service.PutPolicy], and puts an archive into force as the
// bundle that the policy names (the one of its own name, where it names none), in
// the same change; nil leaves the bundle as it is.
func (s *Service) PutPolicyWith(ctx context.Context, c Caller, name, owner string, body, archive []byte, version *int64) (client.Policy, error) {
	if err := c.may(auth.Policy); err != nil {
		return client.Policy{}, err
	}
	p, err := signingpolicy.ParseAs(name, body)
	if err != nil {
		return client.Policy{}, linesOf(err)
	}
	if archive != nil && p.Bundle == "" {
		p.Bundle = name
	}
	if err := auth.ValidTeam(owner); err != nil {
		return client.Policy{}, fieldError("owner", "%s", err)
	}
	row := store.PolicyRow{Name: name, Source: sourceAPI, Owner: c.ownerOf(owner)}
	before := ""
	if version != nil {
		old, err := s.replaceable(ctx, c, name, *version)
		if err != nil {
			return client.Policy{}, err
		}
		row.Version, before = old.Version, old.Body
		if owner == "" {
			row.Owner = old.Owner
		}
	}
	if err := c.owns(policyNamed(name), row.Owner, p.Images); err != nil {
		return client.Policy{}, err
	}
	if err := s.checkExceptions(p, before); err != nil {
		return client.Policy{}, linesOf(err)
	}
	if err := s.checkShadow(ctx, p, before); err != nil {
		return client.Policy{}, err
	}
	if err := s.checkNamed(ctx, p, before); err != nil {
		return client.Policy{}, err
	}
	if err := s.resolvePolicy(ctx, p); err != nil {
		return client.Policy{}, err
	}
	canonical, err := p.Canonical()
	if err != nil {
		return client.Policy{}, err
	}
	row.Body = string(canonical)
	change := &proposal{by: c.actor(), why: c.Why, policies: []proposedPolicy{{row, p}}}
	if archive == nil {
		if _, err := s.activate(ctx, change); err != nil {
			return client.Policy{}, err
		}
		return policyShown(change.policies[0].row)
	}
	if err := s.publishBeside(ctx, c, p.Bundle, row.Owner, archive, change); err != nil {
		return client.Policy{}, err
	}
	return policyShown(change.policies[0].row)
}

// publishBeside puts an archive into force as a bundle, and what change says in the
// same change. The bundle may be new, and is then owner's.
func (s *Service) publishBeside(ctx context.Context, c Caller, name, owner string, archive []byte, change *proposal) error {
	row, err := s.in.Bundle(ctx, name)
	switch {
	case errors.Is(err, store.ErrNotFound):
		row = store.BundleRow{Name: name, Source: sourceAPI, Owner: owner, Scope: defaultScope}
	case err != nil:
		return err
	case row.Source == sourceConfiguration && !s.onTrial:
		return refuse(ErrConflict, "%s: is fetched from %s, as the server's configuration says; publish it there", bundleNamed(name), row.Location)
	}
	if err := s.mayPublish(ctx, c, s.in, row); err != nil {
		return err
	}
	change.within = func(ctx context.Context, tx *store.Tx) error { return s.mayPublish(ctx, c, tx, row) }
	if _, err := s.put(ctx, change, row, archive); err != nil && !errors.Is(err, errUnchanged) {
		return err
	}
	return nil
}

// PublishPolicy puts an archive into force as the bundle that a policy of that
// version names; where it names none, as the bundle of the policy's own name, which
// the policy names from then on.
func (s *Service) PublishPolicy(ctx context.Context, c Caller, name string, archive []byte, version *int64) (client.Policy, error) {
	if err := c.may(auth.Policy); err != nil {
		return client.Policy{}, err
	}
	row, err := s.policy(ctx, name)
	if err != nil {
		return client.Policy{}, err
	}
	p, err := signingpolicy.Parse([]byte(row.Body))
	if err != nil {
		return client.Policy{}, fmt.Errorf("%w: policy %s: %w", store.ErrCorrupt, name, err)
	}
	if err := c.owns(policyNamed(name), row.Owner, p.Images); err != nil {
		return client.Policy{}, err
	}
	switch {
	case version == nil:
		return client.Policy{}, refuse(ErrConflict, "%s: is there already; name its version to give it another bundle", policyNamed(name))
	case *version != row.Version:
		return client.Policy{}, stale(policyNamed(name), row.Version, *version)
	}
	change := &proposal{by: c.actor(), why: c.Why}
	if p.Bundle == "" {
		if row.Source == sourceConfiguration {
			return client.Policy{}, refuse(ErrConflict, "%s: is written in the server's configuration; name a bundle there", policyNamed(name))
		}
		p.Bundle = name
		body, err := p.Canonical()
		if err != nil {
			return client.Policy{}, err
		}
		row.Source, row.Body = sourceAPI, string(body)
		change.policies = []proposedPolicy{{row, p}}
	}
	if err := s.publishBeside(ctx, c, p.Bundle, row.Owner, archive, change); err != nil {
		return client.Policy{}, err
	}
	return s.Policy(ctx, c, name)
}

// resolvePolicy pins the keys of the policy's own kms signers.
func (s *Service) resolvePolicy(ctx context.Context, p *signingpolicy.Policy) error {
	if !p.NeedsKMS() {
		return nil
	}
	if s.kms == nil {
		return fieldError("signing_policy", "has signers of type kms, and this server asks no key management service; give the key beside key_ref, or use type public_key")
	}
	err := p.ResolveKMS(func(ref string) (string, error) { return s.kms.PublicKeys(ctx, ref) })
	if err != nil && ctx.Err() == nil {
		return fieldError("signing_policy", "%s", err)
	}
	return err
}

// replaceable is the policy of that version, which the caller may change here.
func (s *Service) replaceable(ctx context.Context, c Caller, name string, version int64) (store.PolicyRow, error) {
	old, err := s.policy(ctx, name)
	if err != nil {
		return store.PolicyRow{}, err
	}
	shown, err := policyShown(old)
	if err != nil {
		return store.PolicyRow{}, err
	}
	if err := c.owns(policyNamed(name), old.Owner, shown.Images); err != nil {
		return store.PolicyRow{}, err
	}
	switch {
	case old.Source == sourceConfiguration && !s.onTrial: // where it is written, it can be tried
		return store.PolicyRow{}, refuse(ErrConflict, "%s: is written in the server's configuration; change it there", policyNamed(name))
	case old.Version != version:
		return store.PolicyRow{}, stale(policyNamed(name), old.Version, version)
	}
	return old, nil
}

// DeletePolicy removes a policy of that version.
func (s *Service) DeletePolicy(ctx context.Context, c Caller, name string, version int64) error {
	if err := c.may(auth.Policy); err != nil {
		return err
	}
	old, err := s.replaceable(ctx, c, name, version)
	if err != nil {
		return err
	}
	return s.change(ctx, c, func(tx *store.Tx) error {
		err := tx.DeletePolicy(ctx, name, old.Version)
		if errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) {
			return refuse(ErrStale, "%s was changed meanwhile; read it again", policyNamed(name))
		}
		return err
	})
}

// SeedPolicies makes the policies of the server's configuration those that are in
// force from there: new ones are put, others replaced where they differ, and
// those that the configuration no longer has are removed. A name that a policy of
// the API has is [ErrConflict]. A server calls it when it starts. Where list is
// empty, or has only policies of questions with a context, fallback takes its
// place, unless administrators have put policies of their own: it is there so that an installation that has written none denies and
// says why, and can be replaced like those of the API.
func (s *Service) SeedPolicies(ctx context.Context, list []*signingpolicy.Policy, fallback *signingpolicy.Policy) error {
	by := store.Actor{Name: "server", From: sourceConfiguration}
	_, err := s.store.Change(ctx, by, "the server's configuration", func(tx *store.Tx) error {
		rows, err := tx.Policies(ctx)
		if err != nil {
			return err
		}
		have := make(map[string]store.PolicyRow, len(rows))
		fromAPI := false
		for _, r := range rows {
			have[r.Name] = r
			fromAPI = fromAPI || r.Source == sourceAPI
		}
		for _, p := range append(slices.Clone(list), fallback) {
			if p == nil || p.Bundle == "" {
				continue
			}
			if _, err := tx.Bundle(ctx, p.Bundle); err != nil {
				return missing(err, "%s of the configuration names the bundle %q, which is neither under bundles there nor in the store", policyNamed(p.Name), p.Bundle)
			}
		}
		for _, p := range list {
			if err := s.checkExceptions(p, have[p.Name].Body); err != nil {
				return fmt.Errorf("%s of the configuration: %w", policyNamed(p.Name), err)
			}
			if err := checkShadow(p, have[p.Name].Body, func(name string) bool {
				return have[name].Source == sourceAPI || slices.ContainsFunc(list, func(o *signingpolicy.Policy) bool { return o.Name == name })
			}); err != nil {
				return fmt.Errorf("%s of the configuration: %w", policyNamed(p.Name), err)
			}
			if err := seedPolicy(ctx, tx, p, sourceConfiguration, have); err != nil {
				return err
			}
		}
		everywhere := slices.ContainsFunc(list, func(p *signingpolicy.Policy) bool { return len(p.Context) == 0 })
		if !everywhere && fallback != nil && (!fromAPI || have[fallback.Name].Source == sourceEmbedded) {
			if err := seedPolicy(ctx, tx, fallback, sourceEmbedded, have); err != nil {
				return err
			}
		}
		for _, r := range rows {
			if _, left := have[r.Name]; left && r.Source != sourceAPI {
				if err := tx.DeletePolicy(ctx, r.Name, r.Version); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return err
}

// seedPolicy puts one policy, and takes its name out of those that are left.
func seedPolicy(ctx context.Context, tx *store.Tx, p *signingpolicy.Policy, source string, have map[string]store.PolicyRow) error {
	old := have[p.Name] // the zero row is a new one
	if old.Source == sourceAPI {
		return refuse(ErrConflict, "%s: is in the configuration, and was made through the API too; remove one of them, or give it another name", policyNamed(p.Name))
	}
	body, err := p.Canonical()
	if err != nil {
		return err
	}
	row := store.PolicyRow{Name: p.Name, Source: source, Body: string(body), Version: old.Version}
	if _, err := tx.PutPolicy(ctx, row); err != nil {
		return err
	}
	delete(have, p.Name)
	return nil
}

// linesOf turns the mistakes of a document, "line N: field: what", into field
// errors whose problem names the line.
func linesOf(err error) error {
	if !errors.Is(err, signingpolicy.ErrInvalid) {
		return err
	}
	var mistakes FieldErrors
	for line := range strings.SplitSeq(err.Error(), "\n") {
		at, rest, ok := strings.Cut(line, ": ")
		field, what, named := strings.Cut(rest, ": ")
		if !ok || !named || strings.ContainsAny(field, " \"'`") {
			mistakes.add("", "%s", line)
			continue
		}
		mistakes.add(field, "%s: %s", at, what)
	}
	return mistakes
}

// unreferenced makes sure that no policy names a signer that is to go. what says
// what is about to happen to it.
func unreferenced(ctx context.Context, tx *store.Tx, name, what string) error {
	rows, err := tx.Policies(ctx)
	if err != nil {
		return err
	}
	for _, r := range rows {
		p, err := signingpolicy.Parse([]byte(r.Body))
		if err != nil {
			return fmt.Errorf("%w: policy %s: %w", store.ErrCorrupt, r.Name, err)
		}
		if slices.Contains(p.NamesRegistered(), name) {
			return refuse(ErrConflict, "%s cannot be %s, because policy %q names it; take it out of that policy first, or disable the signer", signerNamed(name), what, r.Name)
		}
	}
	return nil
}

// stored is the store, or a change of it under way.
type stored interface {
	Signers(ctx context.Context) ([]store.SignerRow, error)
	Signer(ctx context.Context, id string) (store.SignerRow, error)
	Policies(ctx context.Context) ([]store.PolicyRow, error)
	Policy(ctx context.Context, name string) (store.PolicyRow, error)
	Roots(ctx context.Context) ([]store.RootRow, error)
	Root(ctx context.Context, name string) (store.RootRow, error)
	Bundles(ctx context.Context) ([]store.BundleRow, error)
	Bundle(ctx context.Context, name string) (store.BundleRow, error)
	PolicyHistory(ctx context.Context, name string) ([]store.Past[store.PolicyRow], error)
	BundleHistory(ctx context.Context, name string) ([]store.Past[store.BundleRow], error)
	// Snapshot is everything in force; have is as for [store.Store.Snapshot].
	Snapshot(ctx context.Context, have store.Inputs) (store.Snapshot, error)
	Objects
}

// fits is the function of that name, on the store as it is now.
func (s *Service) fits(ctx context.Context, changed []store.SignerRow, policies []*signingpolicy.Policy) error {
	return fits(ctx, s.in, changed, policies)
}

// fits makes sure that the registered signers, with changed ones in place of
// those of the same id, can be put in force together with the signers that each
// policy has: too many patterns without a literal prefix would slow every
// verdict, and a set that is refused stops all of them. Without policies, those
// in force are taken. What decides is what a change itself sees; to ask the store
// before is to spare work.
func fits(ctx context.Context, in stored, changed []store.SignerRow, policies []*signingpolicy.Policy) error {
	loose := slices.ContainsFunc(changed, func(r store.SignerRow) bool { return r.SubjectKind == subjectRegex })
	if policies == nil && !loose {
		return nil // only patterns can be too many
	}
	rows, err := in.Signers(ctx)
	if err != nil {
		return err
	}
	rows = slices.DeleteFunc(rows, func(r store.SignerRow) bool {
		return slices.ContainsFunc(changed, func(n store.SignerRow) bool { return n.ID == r.ID })
	})
	rows = slices.DeleteFunc(append(rows, changed...), func(r store.SignerRow) bool { return r.SubjectKind != subjectRegex })
	registered, err := FromRows(rows)
	if err != nil {
		return err
	}
	if policies == nil {
		kept, err := in.Policies(ctx)
		if err != nil {
			return err
		}
		policies = []*signingpolicy.Policy{signingpolicy.Default()}
		for _, r := range kept {
			p, err := signingpolicy.Parse([]byte(r.Body))
			if err != nil {
				return fmt.Errorf("%w: policy %s: %w", store.ErrCorrupt, r.Name, err)
			}
			policies = append(policies, p)
		}
	}
	for _, p := range policies {
		patterns := slices.DeleteFunc(p.InForce(registered), func(s signers.Signer) bool { return s.SubjectRegex == "" })
		if _, err := signers.Compile(patterns); err != nil {
			return fieldError("subject_regex", "with the signers of %s: %s", policyNamed(p.Name), err)
		}
	}
	return nil
}
