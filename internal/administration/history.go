package administration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/signingpolicy"
	"github.com/signet-policy/signet/internal/store"
)

// BundleHistory lists the states that a bundle has had, newest first; those of a
// removed one too. A name that never was is [ErrNotFound].
func (s *Service) BundleHistory(ctx context.Context, c Caller, name string) ([]client.BundleVersion, error) {
	if err := c.may(auth.Read); err != nil {
		return nil, err
	}
	past, err := s.store.BundleHistory(ctx, name)
	if err != nil {
		return nil, err
	}
	if len(past) == 0 {
		return nil, refuse(ErrNotFound, "there was never a bundle %q", name)
	}
	var out []client.BundleVersion
	before := ""
	for i, p := range past {
		v := client.BundleVersion{
			ActiveRevision: p.From, Change: "settings", Digest: p.Row.Digest, Revision: p.Row.Revision, Sequence: p.Row.Sequence, SignedBy: p.Row.SignedBy,
		}
		if p.Row.Digest != before {
			v.Change = "archive"
		}
		before = p.Row.Digest
		if v.At, v.By, v.Why, err = s.whoMade(ctx, "bundle/"+name, p.From); err != nil {
			return nil, err
		}
		out = append(out, v)
		if end := endOf(past, i); end > 0 {
			gone := client.BundleVersion{ActiveRevision: end, Change: "removed"}
			if gone.At, gone.By, gone.Why, err = s.whoMade(ctx, "bundle/"+name, end); err != nil {
				return nil, err
			}
			out, before = append(out, gone), ""
		}
	}
	slices.Reverse(out)
	return out, nil
}

// endOf is the revision at which the i-th state ended without another one after
// it, which is a removal; 0 for none.
func endOf[T any](past []store.Past[T], i int) int64 {
	end := past[i].Until
	if end == nil || i+1 < len(past) && past[i+1].From == *end {
		return 0
	}
	return *end
}

// whoMade tells of the change of an object that a revision came with.
func (s *Service) whoMade(ctx context.Context, object string, revision int64) (at time.Time, by, why string, err error) {
	e, err := s.store.AuditOf(ctx, object, revision)
	if errors.Is(err, store.ErrNotFound) {
		return time.Time{}, "", "", nil
	}
	return e.At, e.Actor, e.Why, err
}

// policyPast is everything that a policy was.
type policyPast struct {
	documents []store.Past[store.PolicyRow]
	// bundles are the states of those that its documents named, by name.
	bundles map[string][]store.Past[store.BundleRow]
}

func (s *Service) policyPast(ctx context.Context, name string) (policyPast, error) {
	past := policyPast{bundles: map[string][]store.Past[store.BundleRow]{}}
	var err error
	if past.documents, err = s.in.PolicyHistory(ctx, name); err != nil {
		return past, err
	}
	if len(past.documents) == 0 {
		return past, refuse(ErrNotFound, "there was never a policy %q", name)
	}
	for _, d := range past.documents {
		bundle := bundleOf(d.Row)
		if _, known := past.bundles[bundle]; known || bundle == "" {
			continue
		}
		if past.bundles[bundle], err = s.in.BundleHistory(ctx, bundle); err != nil {
			return past, err
		}
	}
	return past, nil
}

// bundleOf is the bundle that a stored policy names. One of an older version, which
// cannot be read any more, names none that we know.
func bundleOf(row store.PolicyRow) string {
	p, err := signingpolicy.Parse([]byte(row.Body))
	if err != nil {
		return ""
	}
	return p.Bundle
}

// policyState is a policy under a revision.
type policyState struct {
	document store.PolicyRow
	// bundle is the zero value where it named none.
	bundle store.BundleRow
}

// at is the policy under a revision of active.
func (p policyPast) at(revision int64) (policyState, bool) {
	document, ok := during(p.documents, revision)
	if !ok {
		return policyState{}, false
	}
	bundle, _ := during(p.bundles[bundleOf(document)], revision)
	return policyState{document, bundle}, true
}

func during[T any](past []store.Past[T], revision int64) (row T, ok bool) {
	for _, p := range past {
		if p.From <= revision && (p.Until == nil || *p.Until > revision) {
			return p.Row, true
		}
	}
	return row, false
}

// revisions are those at which the policy or its bundle changed, oldest first, each
// with what changed.
func (p policyPast) revisions() []client.PolicyVersion {
	var out []client.PolicyVersion
	for i, d := range p.documents {
		name := bundleOf(d.Row)
		out = append(out, client.PolicyVersion{ActiveRevision: d.From, Change: "document", Version: d.Row.Version, Digest: d.Row.Digest, Bundle: name})
		for j, b := range p.bundles[name] {
			begins := b.From > d.From && (d.Until == nil || b.From < *d.Until)
			if begins && (j == 0 || b.Row.Digest != p.bundles[name][j-1].Row.Digest) {
				out = append(out, client.PolicyVersion{ActiveRevision: b.From, Change: "bundle", Version: d.Row.Version, Digest: d.Row.Digest, Bundle: name})
			}
		}
		if end := endOf(p.documents, i); end > 0 {
			out = append(out, client.PolicyVersion{ActiveRevision: end, Change: "removed"})
		}
	}
	for i, v := range out {
		if state, ok := p.at(v.ActiveRevision); ok && v.Change != "removed" {
			out[i].BundleRevision, out[i].BundleSequence, out[i].BundleDigest = state.bundle.Revision, state.bundle.Sequence, state.bundle.Digest
		}
	}
	return out
}

// PolicyHistory lists the states that a policy has had, newest first: its
// documents, and what the bundle held that each of them named. A name that never
// was is [ErrNotFound].
func (s *Service) PolicyHistory(ctx context.Context, c Caller, name string) ([]client.PolicyVersion, error) {
	if err := c.may(auth.Read); err != nil {
		return nil, err
	}
	past, err := s.policyPast(ctx, name)
	if err != nil {
		return nil, err
	}
	list := past.revisions()
	for i, v := range list {
		object := "policy/" + name
		if v.Change == "bundle" {
			object = "bundle/" + v.Bundle
		}
		if list[i].At, list[i].By, list[i].Why, err = s.whoMade(ctx, object, v.ActiveRevision); err != nil {
			return nil, err
		}
	}
	slices.Reverse(list)
	return list, nil
}

// upTo is the policy under a revision; the zero value where it was removed by then.
func (p policyPast) upTo(name string, revision int64) (policyState, error) {
	state, ok := p.at(revision)
	if !ok && revision < p.documents[0].From {
		return state, neverUnder(name, revision)
	}
	return state, nil
}

func neverUnder(name string, revision int64) error {
	return refuse(ErrNotFound, "there was no policy %q under revision %d; signet policy history %s shows when there was", name, revision, name)
}

// between finds two states of a policy: of the revisions asked for; nil is the
// newest for to, and for from the one before to. A state in which it was removed is
// the zero value.
func (p policyPast) between(name string, from, to *int64) (a, b policyState, fromRevision, toRevision int64, err error) {
	list := p.revisions()
	toRevision = list[len(list)-1].ActiveRevision
	if to != nil {
		toRevision = *to
	}
	if b, err = p.upTo(name, toRevision); err != nil {
		return a, b, 0, 0, err
	}
	for _, v := range list {
		if v.ActiveRevision < toRevision && v.Change != "removed" {
			if then, ok := p.at(v.ActiveRevision); ok && (then.document.Digest != b.document.Digest || then.bundle.Digest != b.bundle.Digest) {
				fromRevision = v.ActiveRevision
			}
		}
	}
	if from != nil {
		fromRevision = *from
	}
	if fromRevision == 0 && from == nil {
		return a, b, 0, 0, refuse(ErrNotFound, "%s has no state before revision %d", policyNamed(name), toRevision)
	}
	a, err = p.upTo(name, fromRevision)
	return a, b, fromRevision, toRevision, err
}

// DiffPolicy compares two states of a policy, each under a revision of everything
// in force; nil is the newest for to, and for from the one before to. Where it was
// removed it is empty.
func (s *Service) DiffPolicy(ctx context.Context, c Caller, name string, from, to *int64) (client.PolicyDiff, error) {
	if err := c.may(auth.Read); err != nil {
		return client.PolicyDiff{}, err
	}
	past, err := s.policyPast(ctx, name)
	if err != nil {
		return client.PolicyDiff{}, err
	}
	a, b, fromRevision, toRevision, err := past.between(name, from, to)
	if err != nil {
		return client.PolicyDiff{}, err
	}
	out := client.PolicyDiff{From: fromRevision, To: toRevision}
	if s.archives == nil {
		return out, refuse(ErrConflict, "this server compares no policies")
	}
	fromName, toName := fmt.Sprintf("revision %d", fromRevision), fmt.Sprintf("revision %d", toRevision)
	out.Document = string(s.archives.DiffText(fromName, toName, []byte(a.document.Body), []byte(b.document.Body)))
	if a.bundle.Digest == b.bundle.Digest {
		return out, nil
	}
	var archives [2][]byte
	for i, row := range []store.BundleRow{a.bundle, b.bundle} {
		if row.Digest == "" {
			continue
		}
		if archives[i], err = s.store.Object(ctx, store.ObjectBundle, row.Digest); err != nil {
			return client.PolicyDiff{}, err
		}
	}
	diff, err := s.archives.Diff(fromName, toName, archives[0], archives[1])
	out.Bundle = string(diff)
	return out, err
}

// RollbackPolicy goes back to what a policy was under a revision of everything in
// force, nil for before its last change: its document, and the archive of the
// bundle that it named then, as [Service.RollbackBundle] does. One that was removed
// comes back, as its owner's of then. version is that of the policy as the caller
// knows it, 0: they know that it was removed; nil: whatever it is.
func (s *Service) RollbackPolicy(ctx context.Context, c Caller, name string, to, version *int64) (client.Policy, error) {
	if err := c.may(auth.Policy); err != nil {
		return client.Policy{}, err
	}
	past, err := s.policyPast(ctx, name)
	if err != nil {
		return client.Policy{}, err
	}
	target, _, revision, _, err := past.between(name, to, nil)
	if err == nil && target.document.Digest == "" {
		err = neverUnder(name, revision)
	}
	if err != nil {
		return client.Policy{}, err
	}
	row, err := s.goesBack(ctx, c, name, version)
	if errors.Is(err, ErrNotFound) && (version == nil || *version == 0) {
		row, err = store.PolicyRow{Name: name, Source: sourceAPI, Owner: target.document.Owner}, nil
	}
	if err != nil {
		return client.Policy{}, err
	}
	p, err := signingpolicy.Parse([]byte(target.document.Body))
	if err != nil {
		return client.Policy{}, refuse(ErrConflict, "%s: what it was under revision %d cannot be read by this version: %s", policyNamed(name), revision, err)
	}
	if err := c.owns(policyNamed(name), row.Owner, p.Images); err != nil {
		return client.Policy{}, err
	}
	var documents []proposedPolicy
	if target.document.Body != row.Body {
		if row.Source == sourceConfiguration {
			return client.Policy{}, refuse(ErrConflict, "%s: is written in the server's configuration; change it there", policyNamed(name))
		}
		row.Source, row.Body = sourceAPI, target.document.Body
		documents = []proposedPolicy{{row, p}}
	}
	if err := s.rollback(ctx, c, target.bundle, documents); err != nil {
		return client.Policy{}, err
	}
	return s.Policy(ctx, c, name)
}

// goesBack is the policy that is in force, of that version where one is given, which
// the caller may change.
func (s *Service) goesBack(ctx context.Context, c Caller, name string, version *int64) (store.PolicyRow, error) {
	row, err := s.policy(ctx, name)
	if err != nil {
		return row, err
	}
	now, err := policyShown(row)
	if err != nil {
		return row, err
	}
	if err := c.owns(policyNamed(name), row.Owner, now.Images); err != nil {
		return row, err
	}
	switch {
	case version == nil || *version == row.Version:
		return row, nil
	case *version == 0:
		return row, refuse(ErrStale, "%s: was made again meanwhile", policyNamed(name))
	}
	return row, stale(policyNamed(name), row.Version, *version)
}

// rollback makes documents and the archive of a bundle what they were, in one
// change.
func (s *Service) rollback(ctx context.Context, c Caller, target store.BundleRow, documents []proposedPolicy) error {
	if target.Digest != "" {
		row, err := s.bundle(ctx, target.Name)
		if err != nil {
			return err
		}
		if row.Digest != target.Digest {
			if err := s.mayPublish(ctx, c, s.in, row); err != nil {
				return err
			}
			_, err := s.goBack(ctx, c, row, target, documents)
			return err
		}
	}
	_, err := s.activate(ctx, &proposal{by: c.actor(), why: c.Why, policies: documents})
	return err
}
