package administration

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/store"
)

// setupLife is how long the token of the first start is good.
const setupLife = 24 * time.Hour

// setupName is who makes the first administrator.
const setupName = "setup"

// EnsureSetup makes the setup token of a first start and returns its plain form,
// to be shown once: where there are no tokens at all, and no setup token that is
// still good. Else it returns "".
func (s *Service) EnsureSetup(ctx context.Context) (plain string, err error) {
	// Of several processes that start at once only one may show a token: each
	// would end the one that another has shown.
	release, held, err := s.lease(ctx, "setup", time.Minute)
	if err != nil || !held {
		return "", err
	}
	defer release()
	wanted, err := s.wantsSetup(ctx)
	if err != nil || !wanted {
		return "", err
	}
	plain, t, err := auth.NewToken(auth.NewTokenRequest{Name: setupName, Role: auth.Admin, CreatedBy: "server", TTL: setupLife}, s.now())
	if err != nil {
		return "", fmt.Errorf("making a setup token: %w", err)
	}
	_, err = s.store.Change(ctx, store.Actor{Name: "server", From: "start"}, "first start", func(tx *store.Tx) error {
		return tx.PutSetup(ctx, t)
	})
	switch {
	case errors.Is(err, store.ErrConflict): // setup is done
		return "", nil
	case err != nil:
		return "", err
	}
	return plain, nil
}

func (s *Service) wantsSetup(ctx context.Context) (bool, error) {
	tokens, err := s.store.Tokens(ctx)
	if err != nil || len(tokens) > 0 {
		return false, err
	}
	// The audit log tells when the last one was made.
	last, err := s.store.Audit(ctx, store.AuditFilter{Object: "setup", Limit: 1})
	if err != nil {
		return false, err
	}
	return len(last) == 0 || last[0].Action != "setup.create" || !s.now().Before(last[0].At.Add(setupLife)), nil
}

// Setup uses the setup token up and makes the first administrator's token. from
// is the caller's address. A setup token that is not good is one of the errors of
// [auth.Tokens.Authenticate].
func (s *Service) Setup(ctx context.Context, from, setupToken, name string) (client.Token, error) {
	if err := auth.ValidTokenName(name); err != nil {
		return client.Token{}, fieldError("name", "%s", err)
	}
	// Anybody may ask, and a change is made one at a time.
	if _, _, err := auth.Parse(setupToken); err != nil {
		return client.Token{}, err
	}
	want := auth.NewTokenRequest{Name: name, Role: auth.Admin, CreatedBy: setupName}
	return s.makeToken(ctx, store.Actor{Name: setupName, From: from}, "first administrator", want, func(tx *store.Tx) error {
		return tx.UseSetup(ctx, setupToken)
	})
}
