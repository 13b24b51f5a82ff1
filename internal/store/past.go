package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// RevisionAt returns what was in force at a time, as digests. Before the first
// change that is revision 0, the empty installation, which has no time.
func (s *Store) RevisionAt(ctx context.Context, at time.Time) (Revision, error) {
	const op = "reading the revision of a time"
	var r Revision
	r.Inputs = Inputs{}
	err := s.read.QueryRowContext(ctx, `SELECT revision, digest, inputs, at FROM revisions WHERE at <= ? ORDER BY at DESC, revision DESC LIMIT 1`, formatTime(at)).
		Scan(&r.Active.Revision, &r.Active.Digest, jsonColumn{&r.Inputs}, timeColumn{&r.At})
	if err = wrap(op, err); !errors.Is(err, ErrNotFound) {
		return r, err
	}
	r.Active.Digest, err = r.Inputs.digest()
	return r, err
}

// SnapshotAt reads everything that was in force under a revision, but for tokens,
// which decide nothing about an image. have are the Inputs of a Snapshot that the
// caller has, as for [Store.Snapshot].
func (s *Store) SnapshotAt(ctx context.Context, revision int64, have Inputs) (Snapshot, error) {
	snap := Snapshot{Inputs: Inputs{}, Unchanged: map[string]bool{}}
	if revision == 0 {
		digest, err := snap.Inputs.digest()
		snap.Active.Digest = digest
		return snap, err
	}
	rev, err := s.Revision(ctx, revision)
	if err != nil {
		return Snapshot{}, err
	}
	snap.Active, snap.Inputs = rev.Active, rev.Inputs
	lists := []struct {
		kind string
		read func() error
	}{
		{InputSigners, func() (err error) { snap.Signers, err = s.SignersAt(ctx, revision); return err }},
		{InputPolicies, func() (err error) { snap.Policies, err = s.PoliciesAt(ctx, revision); return err }},
		{InputBundles, func() (err error) { snap.Bundles, err = s.BundlesAt(ctx, revision); return err }},
		{InputTrustRoots, func() (err error) { snap.Roots, err = s.RootsAt(ctx, revision); return err }},
	}
	for _, l := range lists {
		d, ok := snap.Inputs[l.kind]
		switch {
		case !ok: // there was none
		case d == have[l.kind] && l.kind != InputPolicies:
			snap.Unchanged[l.kind] = true
		default:
			if err := l.read(); err != nil {
				return Snapshot{}, err
			}
		}
	}
	if d, ok := snap.Inputs[InputPolicies]; ok && d == have[InputPolicies] {
		// Before sources were digested, the same policies of other sources had this digest.
		digests, err := digestPolicyRows(snap.Policies)
		if err != nil {
			return Snapshot{}, err
		}
		if digests[0] == d {
			snap.Policies, snap.Unchanged[InputPolicies] = nil, true
		}
	}
	// In the order in which they were tried.
	slices.SortStableFunc(snap.Roots, func(a, b RootRow) int {
		return cmp.Or(cmp.Compare(a.Position, b.Position), cmp.Compare(a.Name, b.Name))
	})
	return snap, nil
}

// Near finds the verdicts on facts about an image, as it was asked for, that lie
// nearest to a time: the last one up to it, and the first one after. "" where
// there is none.
func (s *Store) Near(ctx context.Context, imageRef string, at time.Time) (before, after string, err error) {
	const op = "looking for verdicts near a time"
	for _, side := range []struct {
		id    *string
		query string
	}{
		{&before, nearQuery("<=", "DESC")},
		{&after, nearQuery(">", "ASC")},
	} {
		err := wrap(op, s.read.QueryRowContext(ctx, side.query, imageRef, formatTime(at)).Scan(side.id))
		if err != nil && !errors.Is(err, ErrNotFound) {
			return "", "", err
		}
	}
	return before, after, nil
}

func nearQuery(side, order string) string {
	return fmt.Sprintf(`SELECT id FROM signature_verifications WHERE image_ref = ? AND created_at %s ? AND facts_digest IS NOT NULL AND basis IS NOT NULL
		ORDER BY created_at %s, id %s LIMIT 1`, side, order, order)
}
