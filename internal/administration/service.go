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
	// archive is that of the bundle that it names, nil where it names none. An error
	// that wraps [signingpolicy.ErrInvalid] names lines; a [*signingpolicy.CodesError]
	// is about a policy that can be in force all the same.
	CheckPolicy func(ctx context.Context, p *signingpolicy.Policy, archive []byte) error
	// LongestException is how far ahead an exception may end; 0 is 90 days.
	LongestException time.Duration
	// ImageName gives an image's normalised name; nil refuses to list images that are
	// to be watched.
	ImageName func(image string) (string, error)
	// WebhookKey gives the key of a webhook of the configuration; its error wraps
	// [store.ErrNotFound] where there is none of the name. nil: there are none.
	WebhookKey func(ctx context.Context, name string) ([]byte, error)
	// Archives reads policy bundles; nil refuses them.
	Archives Archives
	// Preview says what a change of bundles and policies would flip; nil: it is not
	// asked.
	Preview PreviewFunc
	// Sources are where the bundles of the configuration are fetched from, by name.
	Sources map[string]BundleSource
	// Activated is told of each attempt to put a bundle into force; nil: nobody is.
	// Outcome is activated, unchanged, refused or unreachable.
	Activated func(bundle, outcome string)
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
	// changeBy is [store.Store.Change], or a part of a trial.
	changeBy    func(ctx context.Context, by store.Actor, why string, fn func(*store.Tx) error) error
	kms         KeyResolver
	tuf         TUFFetcher
	checkPolicy func(context.Context, *signingpolicy.Policy, []byte) error
	longest     time.Duration
	imageName   func(string) (string, error)
	webhookKey  func(context.Context, string) ([]byte, error)
	archives    Archives
	preview     PreviewFunc
	sources     map[string]BundleSource
	activated   func(bundle, outcome string)
	now         func() time.Time
	log         *slog.Logger
}

// New makes a Service.
func New(cfg Config) (*Service, error) {
	if cfg.Store == nil {
		return nil, errors.New("administration: the store is missing")
	}
	if cfg.CheckPolicy == nil {
		cfg.CheckPolicy = func(context.Context, *signingpolicy.Policy, []byte) error { return nil }
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Service{
		store: cfg.Store, in: cfg.Store, kms: cfg.KMS, tuf: cfg.TUF, checkPolicy: cfg.CheckPolicy, longest: cfg.LongestException,
		imageName: cfg.ImageName, webhookKey: cfg.WebhookKey, archives: cfg.Archives, preview: cfg.Preview,
		sources: cfg.Sources, activated: cfg.Activated, now: cfg.Now, log: cfg.Log,
	}
	s.changeBy = func(ctx context.Context, by store.Actor, why string, fn func(*store.Tx) error) error {
		_, err := s.store.Change(ctx, by, why, fn)
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

// change makes a change on behalf of the caller.
func (s *Service) change(ctx context.Context, c Caller, fn func(*store.Tx) error) error {
	return s.changeBy(ctx, c.actor(), c.Why, fn)
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
