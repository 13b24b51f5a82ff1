package store

import (
	"context"

	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/verdict"
)

// Snapshot is everything in force, as of one revision.
type Snapshot struct {
	Active verdict.Active
	Inputs Inputs
	// Lists that are Unchanged are nil.
	Tokens   []auth.Token
	Signers  []SignerRow
	Policies []PolicyRow
	Roots    []RootRow
	// Bundles are without their archives, which are objects of kind [ObjectBundle].
	Bundles []BundleRow
	// Unchanged names the kinds of inputs whose lists were not read, because the
	// caller has them.
	Unchanged map[string]bool
	// Objects are those that only this snapshot has, see [Store.Try].
	Objects map[ObjectName][]byte
}

// ObjectName names an immutable value, see [Tx.PutObject].
type ObjectName struct{ Kind, Digest string }

// Snapshot reads everything in force in one transaction, so that all of it
// belongs to the revision that it names. have are the Inputs of a Snapshot that
// the caller has, or nil: a list that gave the digest there is not read again.
// What changes no verdict (a signer's note, a token's last use) has no part in
// a digest, and may be older in a list that was not read again.
func (s *Store) Snapshot(ctx context.Context, have Inputs) (Snapshot, error) {
	tx, err := s.read.view(ctx)
	if err != nil {
		return Snapshot{}, wrap("reading what is in force", err)
	}
	defer tx.Rollback()
	return readSnapshot(ctx, tx, have)
}

// Snapshot reads everything in force as this change sees it.
func (t *Tx) Snapshot(ctx context.Context, have Inputs) (Snapshot, error) {
	return readSnapshot(ctx, t.tx, have)
}

func readSnapshot(ctx context.Context, tx *tx, have Inputs) (snap Snapshot, err error) {
	snap = Snapshot{Unchanged: map[string]bool{}}
	if snap.Active, err = readActive(ctx, tx, ""); err != nil {
		return Snapshot{}, err
	}
	if snap.Inputs, err = readInputs(ctx, tx); err != nil {
		return Snapshot{}, err
	}
	lists := []struct {
		kind string
		read func() error
	}{
		{InputTokens, func() (err error) { snap.Tokens, err = readTokens(ctx, tx); return err }},
		{InputSigners, func() (err error) { snap.Signers, err = readSigners(ctx, tx); return err }},
		{InputPolicies, func() (err error) { snap.Policies, err = readPolicies(ctx, tx); return err }},
		{InputTrustRoots, func() (err error) { snap.Roots, err = readRoots(ctx, tx); return err }},
		{InputBundles, func() (err error) { snap.Bundles, err = readBundles(ctx, tx); return err }},
	}
	for _, l := range lists {
		if d, ok := snap.Inputs[l.kind]; ok && d == have[l.kind] {
			snap.Unchanged[l.kind] = true
			continue
		}
		if err := l.read(); err != nil {
			return Snapshot{}, err
		}
	}
	return snap, nil
}
