package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/facts"
)

// Secret returns the installation's secret: the secret file's, as it was when
// the store was opened, or the one in the store, as it is now. Keys are made
// from it with [auth.Secret.Derive]; they are good for as long as the input
// [InputSecret] stays.
func (s *Store) Secret(ctx context.Context) (auth.Secret, error) {
	if s.cfg.SecretFile != "" {
		return s.fileSecret, nil
	}
	secret, err := readSecret(ctx, s.read)
	if err != nil {
		return auth.Secret{}, wrap("reading the secret", err)
	}
	return secret, nil
}

// RotateSecret makes a new random secret. Whatever was made with the one before
// (cached answers, sessions) is void from then on. [ErrInvalid] where a secret
// file is configured: it is changed there.
func (t *Tx) RotateSecret(ctx context.Context) error {
	if t.s.cfg.SecretFile != "" {
		return fmt.Errorf("%w: the secret is in %s: write a new one there and start all servers again", ErrInvalid, t.s.cfg.SecretFile)
	}
	before, err := t.digestSecret(ctx)
	if err != nil {
		return err
	}
	secret, err := auth.NewSecret()
	if err != nil {
		return err
	}
	err = t.exec(ctx, "keeping the secret", `UPDATE secret SET value = ?, created_at = ? WHERE one = 1`, secret.Bytes(), formatTime(t.at))
	if err != nil {
		return err
	}
	after, err := t.digestSecret(ctx)
	if err != nil {
		return err
	}
	t.touched[InputSecret] = true
	return t.audit(ctx, "secret.rotate", "secret", jsonString(before), jsonString(after))
}

// digestSecret is of a key that is derived from the secret: it shows that the
// secret is another, and is no help to find it.
func (t *Tx) digestSecret(ctx context.Context) (string, error) {
	secret := t.s.fileSecret
	if t.s.cfg.SecretFile == "" {
		var err error
		if secret, err = readSecret(ctx, t.tx); err != nil {
			return "", wrap("reading the secret", err)
		}
	}
	key, err := secret.Derive("identity")
	if err != nil {
		return "", err
	}
	return facts.Digest(key[:]), nil
}

// settle brings what is in force into step with this version and its
// configuration: it makes the secret of a new store, and takes over what an older
// version has left. Most often there is nothing to do.
func (s *Store) settle(ctx context.Context) error {
	_, err := s.Change(ctx, Actor{Name: "signet", From: "start"}, "the store was opened", func(t *Tx) error {
		if err := t.makeSecret(ctx); err != nil {
			return err
		}
		secret, err := t.digestSecret(ctx)
		if err != nil {
			return err
		}
		in, err := readInputs(ctx, t.tx)
		if err != nil {
			return err
		}
		if t.from.Revision == 0 {
			return t.begin(ctx, in, secret)
		}
		return t.takeOver(ctx, in, secret)
	})
	return err
}

func (t *Tx) makeSecret(ctx context.Context) error {
	if t.s.cfg.SecretFile != "" {
		return nil
	}
	_, err := readSecret(ctx, t.tx)
	if !errors.Is(err, sql.ErrNoRows) {
		return wrap("reading the secret", err)
	}
	secret, err := auth.NewSecret()
	if err != nil {
		return err
	}
	return t.exec(ctx, "keeping the secret", `INSERT INTO secret (one, value, created_at) VALUES (1, ?, ?)`, secret.Bytes(), formatTime(t.at))
}

// begin puts the secret into revision 0, which nobody has changed yet.
func (t *Tx) begin(ctx context.Context, in Inputs, secret string) error {
	if in[InputSecret] == secret {
		return nil
	}
	if err := t.setInput(ctx, InputSecret, secret); err != nil {
		return err
	}
	digest, err := Inputs{InputSecret: secret}.digest()
	if err != nil {
		return err
	}
	return t.exec(ctx, "beginning the store", `UPDATE active SET digest = ? WHERE one = 1`, digest)
}

// takeOver digests everything anew where an older version has written, and
// notices another secret file.
func (t *Tx) takeOver(ctx context.Context, in Inputs, secret string) error {
	var bare int // signers without a digest
	if err := t.tx.QueryRowContext(ctx, `SELECT count(*) FROM trusted_signers WHERE digest = ''`).Scan(&bare); err != nil {
		return wrap("reading the signers", err)
	}
	ofPolicies, err := t.policyDigests(ctx)
	if err != nil {
		return err
	}
	// Digested without their sources, until the next policy changed.
	bareSources := len(ofPolicies) > 1 && in[InputPolicies] == ofPolicies[1]
	upgrade := bare > 0 || in[InputSecret] == "" || bareSources
	for _, kind := range sortedKeys(in) {
		if slices.Contains(inputKinds, kind) {
			continue
		}
		upgrade = true
		if err := t.setInput(ctx, kind, ""); err != nil {
			return err
		}
	}
	if upgrade {
		for _, kind := range inputKinds {
			t.touched[kind] = true
		}
		before, err := facts.Canonical(in)
		if err != nil {
			return err
		}
		if err := t.audit(ctx, "store.upgrade", "store", before, nil); err != nil {
			return err
		}
	}
	// An older version that did not digest the secret does not say that a file's is
	// another: it counts as one, for verifySecret.
	if in[InputSecret] == secret || in[InputSecret] == "" && t.s.cfg.SecretFile == "" {
		return nil
	}
	t.touched[InputSecret] = true
	return t.audit(ctx, "secret.change", "secret", jsonString(in[InputSecret]), jsonString(secret))
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
