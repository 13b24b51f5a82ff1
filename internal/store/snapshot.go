package store

import (
	"context"
	"database/sql"

	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/verdict"
)

// Snapshot is everything in force that the store holds, as of one revision.
type Snapshot struct {
	Active  verdict.Active
	Inputs  Inputs
	Tokens  []auth.Token
	Signers []SignerRow
}

// Snapshot reads everything in force in one transaction, so that all of it
// belongs to the revision that it names.
func (s *Store) Snapshot(ctx context.Context) (Snapshot, error) {
	tx, err := s.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return Snapshot{}, wrap("reading what is in force", err)
	}
	defer tx.Rollback()
	var snap Snapshot
	if snap.Active, err = readActive(ctx, tx); err != nil {
		return Snapshot{}, err
	}
	if snap.Inputs, err = readInputs(ctx, tx); err != nil {
		return Snapshot{}, err
	}
	if snap.Tokens, err = readTokens(ctx, tx); err != nil {
		return Snapshot{}, err
	}
	if snap.Signers, err = readSigners(ctx, tx); err != nil {
		return Snapshot{}, err
	}
	return snap, nil
}
