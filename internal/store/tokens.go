package store

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/facts"
)

const tokenColumns = `id, name, role, hash, created_by, created_at, expires_at, revoked_at, last_used_at, team, images, sources` //nolint:gosec // names of columns, not a credential

func scanToken(row rower) (auth.Token, error) {
	var t auth.Token
	var hash []byte
	err := row.Scan(&t.ID, &t.Name, &t.Role, &hash, &t.CreatedBy, timeColumn{&t.CreatedAt}, timeColumn{&t.ExpiresAt},
		timePtrColumn{&t.RevokedAt}, timePtrColumn{&t.LastUsedAt},
		&t.Team, strictColumn{&t.Images}, strictColumn{&t.Sources})
	if err != nil {
		return auth.Token{}, err
	}
	if len(hash) != len(t.Hash) {
		return auth.Token{}, fmt.Errorf("%w: token %s has a hash of %d bytes", ErrCorrupt, t.ID, len(hash))
	}
	t.Hash = auth.Hash(hash)
	t.Images, t.Sources = orNil(t.Images), orNil(t.Sources)
	return t, nil
}

// Tokens lists all tokens, the newest first, revoked and expired ones included.
func (s *Store) Tokens(ctx context.Context) ([]auth.Token, error) { return readTokens(ctx, s.read) }

func readTokens(ctx context.Context, q querier) ([]auth.Token, error) {
	const op = "reading the tokens"
	rows, err := q.QueryContext(ctx, `SELECT `+tokenColumns+` FROM tokens ORDER BY created_at DESC, id`)
	if err != nil {
		return nil, wrap(op, err)
	}
	return collect(op, rows, scanToken)
}

// CreateToken keeps a token that [auth.NewToken] made.
func (t *Tx) CreateToken(ctx context.Context, tok auth.Token) error {
	if _, err := auth.NewTokens([]auth.Token{tok}); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if tok.CreatedBy == "" || tok.RevokedAt != nil || !tok.CreatedAt.Before(tok.ExpiresAt) {
		return fmt.Errorf("%w: token %s: has no creator, is revoked, or expires before it begins", ErrInvalid, tok.ID)
	}
	images, err := canonicalJSON(orEmpty(tok.Images))
	if err != nil {
		return err
	}
	sources, err := canonicalJSON(orEmpty(tok.Sources))
	if err != nil {
		return err
	}
	err = t.exec(ctx, "keeping a token", `INSERT INTO tokens (`+tokenColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, NULL, NULL, ?, ?, ?)`,
		tok.ID, tok.Name, string(tok.Role), tok.Hash[:], tok.CreatedBy, formatTime(tok.CreatedAt), formatTime(tok.ExpiresAt),
		tok.Team, images, sources)
	if err != nil {
		return err
	}
	after, err := tokenJSON(tok)
	if err != nil {
		return err
	}
	t.touched[InputTokens] = true
	return t.audit(ctx, "token.create", "token/"+tok.ID, nil, after)
}

// RevokeToken ends a token for good, from now on. [ErrNotFound] for an id that is
// not known, [ErrConflict] for a token that is revoked already.
func (t *Tx) RevokeToken(ctx context.Context, id string) error {
	tok, err := scanToken(t.tx.QueryRowContext(ctx, `SELECT `+tokenColumns+` FROM tokens WHERE id = ?`, id))
	if err != nil {
		return wrap(fmt.Sprintf("reading token %q", id), err)
	}
	if tok.RevokedAt != nil {
		return fmt.Errorf("token %s: %w: it was revoked at %s", id, ErrConflict, tok.RevokedAt.Format(time.RFC3339))
	}
	before, err := tokenJSON(tok)
	if err != nil {
		return err
	}
	tok.RevokedAt = &t.at
	after, err := tokenJSON(tok)
	if err != nil {
		return err
	}
	if err := t.exec(ctx, "revoking a token", `UPDATE tokens SET revoked_at = ? WHERE id = ?`, formatTime(t.at), id); err != nil {
		return err
	}
	t.touched[InputTokens] = true
	return t.audit(ctx, "token.revoke", "token/"+id, before, after)
}

// TouchTokens notes when tokens were last used, by id. It is no change of what
// is in force, so it is not audited; an older time than what is there is
// ignored.
func (s *Store) TouchTokens(ctx context.Context, used map[string]time.Time) error {
	if len(used) == 0 {
		return nil
	}
	return s.update(ctx, "noting the use of tokens", func(w writer) error {
		for _, id := range sortedKeys(used) {
			at := formatTime(used[id])
			err := w.exec(`UPDATE tokens SET last_used_at = ? WHERE id = ? AND (last_used_at IS NULL OR last_used_at < ?)`, at, id, at)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// tokenInForce is what the audit log and the digest of tokens hold: no hash,
// which is of no use to a reader, and nothing that moves with use.
type tokenInForce struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	Role      auth.Role  `json:"role"`
	CreatedBy string     `json:"created_by"`
	CreatedAt time.Time  `json:"created_at"`
	ExpiresAt time.Time  `json:"expires_at"`
	RevokedAt *time.Time `json:"revoked_at"`
	// What schema 1 did not have is left out where it says nothing, so that older
	// tokens keep their digest.
	Team    string         `json:"team,omitempty"`
	Images  []string       `json:"images,omitempty"`
	Sources []netip.Prefix `json:"sources,omitempty"`
	// HashDigest is the SHA-256 of the hash: it shows that the hash was changed,
	// and is no help to make one.
	HashDigest string `json:"hash_digest"`
}

func inForce(t auth.Token) tokenInForce {
	return tokenInForce{
		ID: t.ID, Name: t.Name, Role: t.Role, CreatedBy: t.CreatedBy, CreatedAt: t.CreatedAt.UTC(), ExpiresAt: t.ExpiresAt.UTC(),
		RevokedAt: canonicalTime(t.RevokedAt), Team: t.Team, Images: t.Images, Sources: t.Sources, HashDigest: facts.Digest(t.Hash[:]),
	}
}

func tokenJSON(t auth.Token) (json.RawMessage, error) {
	b, err := facts.Canonical(inForce(t))
	if err != nil {
		return nil, fmt.Errorf("%w: token: %w", ErrInvalid, err)
	}
	return b, nil
}

func (t *Tx) digestTokens(ctx context.Context) (string, error) {
	const op = "reading the tokens"
	rows, err := t.tx.QueryContext(ctx, `SELECT `+tokenColumns+` FROM tokens ORDER BY id`)
	if err != nil {
		return "", wrap(op, err)
	}
	list, err := collect(op, rows, scanToken)
	if err != nil {
		return "", err
	}
	if len(list) == 0 { // as of all that is in force
		return "", nil
	}
	forms := make([]tokenInForce, len(list))
	for i, tok := range list {
		forms[i] = inForce(tok)
	}
	body, err := facts.Canonical(forms)
	if err != nil {
		return "", fmt.Errorf("digesting the tokens: %w", err)
	}
	return facts.Digest(body), nil
}
