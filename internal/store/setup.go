package store

import (
	"context"
	"crypto/subtle"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/signet-policy/signet/internal/auth"
)

// PutSetup keeps the one-time setup token of a first start, in place of one that
// was there: its id, hash and times count. [ErrConflict] when setup is done.
func (t *Tx) PutSetup(ctx context.Context, tok auth.Token) error {
	if _, err := auth.NewTokens([]auth.Token{tok}); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	var done int
	if err := t.tx.QueryRowContext(ctx, `SELECT count(*) FROM setup WHERE used_at IS NOT NULL`).Scan(&done); err != nil {
		return wrap("reading the setup", err)
	}
	if done > 0 {
		return fmt.Errorf("setup: %w: it is done", ErrConflict)
	}
	err := t.exec(ctx, "keeping the setup token", `INSERT INTO setup (one, token_id, hash, created_at, expires_at) VALUES (1, ?, ?, ?, ?)
		ON CONFLICT (one) DO UPDATE SET token_id = excluded.token_id, hash = excluded.hash,
			created_at = excluded.created_at, expires_at = excluded.expires_at`,
		tok.ID, tok.Hash[:], formatTime(tok.CreatedAt), formatTime(tok.ExpiresAt))
	if err != nil {
		return err
	}
	return t.audit(ctx, "setup.create", "setup", nil, jsonString(tok.ID))
}

// UseSetup uses the setup token up, in the transaction that makes the first
// administrator. Its errors are those of [auth.Tokens.Authenticate]; a setup token
// that was used, or that is no longer needed because there are API tokens, is
// [auth.ErrRevoked].
func (t *Tx) UseSetup(ctx context.Context, plain string) error {
	id, hash, err := auth.Parse(plain)
	if err != nil {
		return err
	}
	var keptID string
	var kept []byte
	var expires time.Time
	var used *time.Time
	var tokens int64
	err = t.tx.QueryRowContext(ctx, `SELECT token_id, hash, expires_at, used_at, (SELECT count(*) FROM tokens) FROM setup WHERE one = 1`).
		Scan(&keptID, &kept, timeColumn{&expires}, timePtrColumn{&used}, &tokens)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return auth.ErrUnknown
	case err != nil:
		return wrap("reading the setup", err)
	case id != keptID || subtle.ConstantTimeCompare(hash[:], kept) != 1:
		return auth.ErrUnknown
	case used != nil || tokens > 0:
		return auth.ErrRevoked
	case !t.at.Before(expires):
		return auth.ErrExpired
	}
	if err := t.exec(ctx, "using the setup token", `UPDATE setup SET used_at = ? WHERE one = 1`, formatTime(t.at)); err != nil {
		return err
	}
	return t.audit(ctx, "setup.use", "setup", nil, jsonString(id))
}
