package administration

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/signingpolicy"
	"github.com/signet-policy/signet/internal/store"
)

// KeyResolver reads public keys from key management services.
type KeyResolver interface {
	// PublicKeys gives the current key of a reference such as
	// "gcpkms://projects/…" as PEM. Its errors may be shown to administrators.
	PublicKeys(ctx context.Context, ref string) (pem string, err error)
}

// Config is what a [Service] works with.
type Config struct {
	// Store keeps everything; needed.
	Store *store.Store
	// KMS resolves the keys of kms signers; nil refuses such signers.
	KMS KeyResolver
	// TUF refreshes trust roots from TUF repositories; nil refuses to.
	TUF TUFFetcher
	// CheckPolicy compiles a policy whole before it is stored; its error is shown
	// to the author. nil checks no more than the policy's form.
	CheckPolicy func(ctx context.Context, p *signingpolicy.Policy) error
	// Now is the clock; nil is [time.Now].
	Now func() time.Time
	// Log is told what background work meets; nil discards it.
	Log *slog.Logger
}

// Service administers one installation. It may be used by many goroutines.
type Service struct {
	store *store.Store
	// in is what is looked at: the store, or a trial of it.
	in      stored
	onTrial bool
	// change is [store.Store.Change] on behalf of the caller, or a part of a trial.
	change      func(ctx context.Context, c Caller, fn func(*store.Tx) error) error
	kms         KeyResolver
	tuf         TUFFetcher
	checkPolicy func(context.Context, *signingpolicy.Policy) error
	now         func() time.Time
	log         *slog.Logger
}

// New makes a Service.
func New(cfg Config) (*Service, error) {
	if cfg.Store == nil {
		return nil, errors.New("administration: the store is missing")
	}
	if cfg.CheckPolicy == nil {
		cfg.CheckPolicy = func(context.Context, *signingpolicy.Policy) error { return nil }
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Service{store: cfg.Store, in: cfg.Store, kms: cfg.KMS, tuf: cfg.TUF, checkPolicy: cfg.CheckPolicy, now: cfg.Now, log: cfg.Log}
	s.change = func(ctx context.Context, c Caller, fn func(*store.Tx) error) error {
		_, err := s.store.Change(ctx, c.actor(), c.Why, fn)
		return err
	}
	return s, nil
}

// Caller is on whose behalf something is done.
type Caller struct {
	Principal auth.Principal
	// From is the network address, or "cli".
	From string
	// Why is what the caller says is the reason, for the audit log.
	Why string
}

func (c Caller) actor() store.Actor { return store.By(c.Principal, c.From) }

const (
	defaultPage = 100
	maxPage     = 1000
)

// pageSize checks a limit; 0 is the default.
func pageSize(limit int) (int, error) {
	switch {
	case limit == 0:
		return defaultPage, nil
	case limit < 0 || limit > maxPage:
		return 0, fieldError("limit", "is %d; a page has 1 to %d entries", limit, maxPage)
	}
	return limit, nil
}
