package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"time"

	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/signers"
	"github.com/signet-policy/signet/internal/store"
)

// administration changes what is trusted, and who may ask. It writes to the
// store, or asks the server that holds it.
type administration interface {
	CreateToken(ctx context.Context, req tokenRequest) (plain string, err error)
	Signers(ctx context.Context) ([]store.SignerRow, error)
	AddSigner(ctx context.Context, row store.SignerRow) (store.SignerRow, error)
	RemoveSigner(ctx context.Context, name string) error
	Close() error
}

// tokenRequest is a token to be made.
type tokenRequest struct {
	Name string        `json:"name"`
	Role auth.Role     `json:"role"`
	TTL  time.Duration `json:"ttl"`
}

// openAdministration opens the store of a data directory, making and migrating
// it where there is none. Where a server holds it, the server is asked through
// its control socket.
func openAdministration(ctx context.Context, dataDir, secretFile string) (administration, error) {
	st, err := store.Open(ctx, store.Config{DataDir: dataDir, SecretFile: secretFile})
	var held *store.InUseError
	switch {
	case err == nil:
		return &storeAdministration{store: st, by: commandLineActor()}, nil
	case errors.As(err, &held):
		return dialControl(ctx, dataDir, held)
	}
	return nil, err
}

func commandLineActor() store.Actor {
	name := fmt.Sprintf("uid %d", os.Getuid())
	if u, err := user.Current(); err == nil && u.Username != "" {
		name = u.Username
	}
	return store.Actor{Name: "cli:" + name, From: "cli"}
}

// storeAdministration is administration on the store itself.
type storeAdministration struct {
	store *store.Store
	by    store.Actor
}

func (a *storeAdministration) Close() error { return a.store.Close() }

func (a *storeAdministration) CreateToken(ctx context.Context, req tokenRequest) (string, error) {
	plain, token, err := auth.NewToken(auth.NewTokenRequest{
		Name: req.Name, Role: req.Role, CreatedBy: a.by.Name, TTL: req.TTL,
	}, time.Now())
	if err != nil {
		return "", &exit{code: exitUsage, err: err}
	}
	_, err = a.store.Change(ctx, a.by, "token create", func(tx *store.Tx) error { return tx.CreateToken(ctx, token) })
	if err != nil {
		return "", err
	}
	return plain, nil
}

func (a *storeAdministration) Signers(ctx context.Context) ([]store.SignerRow, error) {
	return a.store.Signers(ctx)
}

func (a *storeAdministration) AddSigner(ctx context.Context, row store.SignerRow) (store.SignerRow, error) {
	s, err := signerFromRow(row)
	if err != nil {
		return store.SignerRow{}, &exit{code: exitUsage, err: err}
	}
	row.Fingerprints = nil
	for _, k := range s.Keys {
		row.Fingerprints = append(row.Fingerprints, k.Fingerprint)
	}
	_, err = a.store.Change(ctx, a.by, "signers add", func(tx *store.Tx) (err error) {
		row, err = tx.PutSigner(ctx, row)
		return err
	})
	if errors.Is(err, store.ErrConflict) {
		return store.SignerRow{}, usage("signer %s: there is one of that name; give another --name, or remove it first: signet signers remove %s", row.Name, row.Name)
	}
	return row, err
}

func (a *storeAdministration) RemoveSigner(ctx context.Context, name string) error {
	rows, err := a.store.Signers(ctx)
	if err != nil {
		return err
	}
	for _, r := range rows {
		if r.Name == name {
			_, err := a.store.Change(ctx, a.by, "signers remove", func(tx *store.Tx) error {
				return tx.DeleteSigner(ctx, r.ID, r.Version)
			})
			return err
		}
	}
	return usage("there is no signer %q; signet signers list shows them", name)
}

// signerFromRow turns a stored row into a signer that can be trusted. A field
// that this version does not enforce is an error: leaving it out would trust
// more than was meant.
func signerFromRow(r store.SignerRow) (signers.Signer, error) {
	s := signers.Signer{
		Name: r.Name, Type: signers.Type(r.Type), Issuer: r.Issuer, Images: r.Images, Enabled: r.Enabled,
		NotBefore: r.NotBefore, ExpiresAt: r.ExpiresAt, Owner: r.Owner, Note: r.Note,
	}
	if err := signers.ValidName(r.Name); err != nil {
		return s, err
	}
	switch {
	case len(r.Claims) > 0:
		return s, fmt.Errorf("signer %s: claims: are enforced by a later version", r.Name)
	case r.SignedFrom != nil || r.SignedUntil != nil:
		return s, fmt.Errorf("signer %s: signed_from and signed_until: are enforced by a later version", r.Name)
	}
	switch r.SubjectKind {
	case "exact":
		s.Subject = r.SubjectPattern
	case "regex":
		s.SubjectRegex = r.SubjectPattern
	}
	if r.PublicKey != "" {
		keys, err := signers.ParseKeys(r.PublicKey)
		if err != nil {
			return s, fmt.Errorf("signer %s: public_key %w", r.Name, err)
		}
		s.Keys = keys
	}
	if err := s.Validate(); err != nil {
		return s, fmt.Errorf("signer %s: %w", r.Name, err)
	}
	return s, nil
}

// signersFromRows refuses the whole set when one row is not understood.
func signersFromRows(rows []store.SignerRow) ([]signers.Signer, error) {
	out := make([]signers.Signer, 0, len(rows))
	for _, r := range rows {
		s, err := signerFromRow(r)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}
