package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"

	"github.com/signet-policy/signet/internal/auth"
)

// Secret returns the installation's secret: the secret file's, or the one in the
// store. Keys are made from it with [auth.Secret.Derive].
func (s *Store) Secret(ctx context.Context) (auth.Secret, error) {
	if s.secret != (auth.Secret{}) {
		return s.secret, nil
	}
	// Open for reading: it is seldom wanted, so it is read when it is.
	if s.cfg.SecretFile != "" {
		return secretFromFile(s.cfg.SecretFile)
	}
	secret, err := readSecret(ctx, s.read)
	if err != nil {
		return auth.Secret{}, wrap("reading the secret", err)
	}
	return secret, nil
}

// loadSecret reads the secret, or makes one where the store is new.
func (s *Store) loadSecret(ctx context.Context) (err error) {
	if s.cfg.SecretFile != "" {
		s.secret, err = secretFromFile(s.cfg.SecretFile)
		return err
	}
	s.secret, err = readSecret(ctx, s.write)
	if !errors.Is(err, sql.ErrNoRows) {
		return wrap("reading the secret", err)
	}
	if s.secret, err = auth.NewSecret(); err != nil {
		return err
	}
	_, err = s.write.ExecContext(ctx, `INSERT INTO secret (one, value, created_at) VALUES (1, ?, ?)`, s.secret.Bytes(), formatTime(s.now()))
	return wrap("keeping the secret", err)
}

func readSecret(ctx context.Context, q querier) (auth.Secret, error) {
	var value []byte
	if err := q.QueryRowContext(ctx, `SELECT value FROM secret WHERE one = 1`).Scan(&value); err != nil {
		return auth.Secret{}, err
	}
	secret, err := auth.ParseSecret(value)
	if err != nil {
		return auth.Secret{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return secret, nil
}

func secretFromFile(path string) (auth.Secret, error) {
	b, err := os.ReadFile(path) //nolint:gosec // the operator names the file
	if err != nil {
		return auth.Secret{}, fmt.Errorf("reading the secret file: %w", err)
	}
	secret, err := auth.ParseSecret(b)
	if err != nil {
		return auth.Secret{}, fmt.Errorf("reading the secret file %s: %w", path, err)
	}
	return secret, nil
}
