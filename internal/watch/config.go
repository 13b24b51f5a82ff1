package watch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/store"
	"github.com/signet-policy/signet/internal/verdict"
)

// Principal is who asks when the watch does. Verdicts that a principal of this name
// was given are not taken for asking.
const Principal = "watch"

// Store keeps what is watched; a [store.Store] is one.
type Store interface {
	VerdictPlaces(ctx context.Context, after store.Place, limit int) ([]store.Place, error)
	AskedVerdicts(ctx context.Context, ids []string) ([]store.AskedVerdict, error)
	Reliance(ctx context.Context, imageRef string, since time.Time) (principals, assessments []string, err error)
	Revision(ctx context.Context, n int64) (store.Revision, error)
	AuditBetween(ctx context.Context, after, upTo int64, limit int) ([]store.AuditEntry, error)

	Watched(ctx context.Context, ids ...string) (map[string]store.Watched, error)
	WatchedPage(ctx context.Context, f store.WatchedFilter) ([]store.Watched, string, error)
	WatchedDue(ctx context.Context, now time.Time, stateKey string, limit int) ([]store.Due, error)
	WatchedStats(ctx context.Context, now time.Time) (store.WatchedStats, error)
	SaveWatched(ctx context.Context, changes []store.WatchedChange) ([]int, []store.Event, error)
	ForgetWatched(ctx context.Context, before time.Time, limit int) (int64, error)
	Unlist(ctx context.Context, keep []string) (int64, error)

	Marks(ctx context.Context, kind string) ([]store.Mark, error)
	SetMark(ctx context.Context, m store.Mark) error
	TellOnce(ctx context.Context, marks []store.Mark, events []store.NewEvent) ([]store.Event, error)
	DropMarks(ctx context.Context, kind string, keys []string) error
	ForgetMarks(ctx context.Context, kind string, before time.Time) error
}

// PDP decides.
type PDP interface {
	// State is what is in force now. An error, such as that the store cannot be read
	// or that only the last known state is had, lets the watch wait.
	State(ctx context.Context) (State, error)
	// Decide asks under that state. An error is the end of ctx, or that the question
	// cannot be asked (any more), which [ErrRefused] wraps.
	Decide(ctx context.Context, st State, q Question) (Answer, error)
	// Name is the image's normalised name.
	Name(image string) (string, error)
}

// ErrRefused says that a question is no longer one that can be asked: its context
// is not declared, or its image is not allowed any more.
var ErrRefused = errors.New("the question is refused")

// State is what is in force, as far as the watch must know it.
type State struct {
	Revision int64
	// Key names everything that decides, see [Key]: what has another key may be
	// decided otherwise.
	Key string
	// Boundaries are the times known in advance at which decisions may change.
	Boundaries []Boundary
	// Of is the PDP's own.
	Of any
}

// The kinds of boundaries.
const (
	KindSigner      = "signer"
	KindException   = "exception"
	KindRoot        = "root"
	KindCertificate = "certificate"
)

// Boundary is a time at which something that is in force begins or ends.
type Boundary struct {
	// Kind is one of the constants, Name as verdicts and people have it.
	Kind, Name string
	At         time.Time
	// Begins says that it is a beginning, which nobody is warned of.
	Begins bool
	// Renewed is how long it lasts where it is renewed by itself, such as a trust
	// root that TUF refreshes: warnings come only in the second half of that time.
	// 0: it is not.
	Renewed time.Duration
	// Owner answers for it, "" for nobody.
	Owner string
	// Covers says whether it can matter to an image of this name.
	Covers func(imageName string) bool
}

// Question is what the PDP is asked.
type Question struct {
	Image, Platform string
	Context         map[string]string
	Roles           []string
	// Environment is where the image runs. Where a policy of the image declares the
	// context key of that name, and Context lacks it, it is given as context.
	Environment string
	Refresh     bool
}

// Answer is a verdict, as far as the watch must know it.
type Answer struct {
	VerdictID  string
	Decision   verdict.Decision
	Allowed    bool
	Digest     string
	Reasons    []string // codes
	At         time.Time
	RetryAfter time.Duration
	// ValidUntil is when time alone may end it, nil for never.
	ValidUntil *time.Time
}

// Listed is an image that is watched though nobody asks.
type Listed struct {
	// Image is a reference; with a tag alone, whatever the tag names then.
	Image, Environment string
}

// Config of a [Watcher]. Store and PDP are needed.
type Config struct {
	Store Store
	PDP   PDP
	// Recent is for how long an image is watched that was asked for; 0: only those
	// that are listed are.
	Recent time.Duration
	// Rate bounds the decisions, per second (5).
	Rate float64
	// Refresh is how often the registry is asked anew for each (24 h).
	Refresh time.Duration
	// WarnBefore are the times before an end at which it is told.
	WarnBefore []time.Duration
	// Images is the list.
	Images []Listed
	// UnknownAfter is how long an image must be undecidable before that is told (1 h).
	UnknownAfter time.Duration
	// Webhooks names those that are sent an event; nil: none.
	Webhooks func(client.Event) []string
	// Tell is told of each event that was written by this process, after it was. It
	// must not block. nil: nobody is.
	Tell func(client.Event)
	// AtTime decides what a watched image would be answered at a later time, without
	// asking a registry; false where that cannot be said. nil: nobody can, and those
	// that rely on what ends are counted as they are.
	AtTime func(ctx context.Context, w store.Watched, at time.Time) (verdict.Decision, bool)
	// Held says whether this process is still the one that watches; nil: it is.
	Held func() bool
	// Poll is how often it is looked whether there is work (1 s).
	Poll time.Duration
	Now  func() time.Time
	Log  *slog.Logger
}

func (cfg Config) withDefaults() (Config, error) {
	switch {
	case cfg.Store == nil || cfg.PDP == nil:
		return cfg, errors.New("watch: Config.Store and Config.PDP are needed")
	case cfg.Rate < 0 || cfg.Recent < 0 || cfg.Refresh < 0:
		return cfg, fmt.Errorf("watch: a rate of %v, or a time, is negative", cfg.Rate)
	}
	if cfg.Rate == 0 {
		cfg.Rate = 5
	}
	if cfg.Refresh == 0 {
		cfg.Refresh = 24 * time.Hour
	}
	if cfg.UnknownAfter <= 0 {
		cfg.UnknownAfter = time.Hour
	}
	if cfg.Poll <= 0 {
		cfg.Poll = time.Second
	}
	if cfg.Webhooks == nil {
		cfg.Webhooks = func(client.Event) []string { return nil }
	}
	if cfg.Tell == nil {
		cfg.Tell = func(client.Event) {}
	}
	if cfg.Held == nil {
		cfg.Held = func() bool { return true }
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return cfg, nil
}
