package administration

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/store"
)

// RotateSecret replaces the installation's secret, from which the keys of caches
// and of the trust archive are made. One that comes from a file is [ErrConflict].
func (s *Service) RotateSecret(ctx context.Context, c Caller) error {
	if err := c.whole(auth.Administer, "the secret"); err != nil {
		return err
	}
	return s.change(ctx, c, func(tx *store.Tx) error {
		err := tx.RotateSecret(ctx)
		if errors.Is(err, store.ErrInvalid) {
			return refuse(ErrConflict, "the secret is in a file that the configuration names; replace that file and start again")
		}
		return err
	})
}

// lease takes a lease of the store under a holder of its own; release gives it
// back.
func (s *Service) lease(ctx context.Context, name string, ttl time.Duration) (release func(), held bool, err error) {
	holder := rand.Text()
	held, err = s.store.Lease(ctx, name, holder, ttl)
	release = func() { _ = s.store.ReleaseLease(context.WithoutCancel(ctx), name, holder) } // else it ends by itself
	return release, held, err
}
