package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/facts"
)

// Decider decides; [*engine.Engine] is one.
type Decider interface {
	// Current gives what is in force. It is called once per request; whatever
	// was acknowledged before the request is in it. Any error is taken to mean
	// that this could not be found out.
	Current(ctx context.Context) (*engine.State, error)
	// Decide answers under st. An error wraps [engine.ErrInvalid] or is the end
	// of ctx; any other becomes 500.
	Decide(ctx context.Context, st *engine.State, req engine.Request) (engine.Answer, error)
}

// Verdicts are the verdicts of the past. Errors wrap [ErrNotFound] or
// [ErrUnavailable].
type Verdicts interface {
	// Verdict gives the bytes that were answered when it was computed.
	Verdict(ctx context.Context, id string) ([]byte, error)
	// Basis gives what it was decided on: the facts, and a frame for each
	// policy that was evaluated, by the policy's name.
	Basis(ctx context.Context, id string) (facts.Facts, map[string]facts.Frame, error)
}

// Check is one thing that must work for this process to be of use.
type Check struct {
	// Name in the details of /readyz, for example "cache".
	Name string
	// Run returns nil when it works. It has two seconds, and is run at most
	// once a second however often /readyz is asked.
	Run func(ctx context.Context) error
}

// Config of the REST face. Decider, Verdicts and Build are needed.
type Config struct {
	Decider  Decider
	Verdicts Verdicts
	// Checks are run by /readyz, beside reading what is in force.
	Checks []Check
	// Build names this binary, in metrics and in the details of /readyz.
	Build string
	// Log gets one line per request: hits and health at debug, the rest at
	// info, failures at warn or error. Never tokens, never bodies. Nil: no log.
	Log *slog.Logger
	// Metrics is where the metrics are registered and what /metrics shows. Nil:
	// a registry of its own, with those of the Go runtime and the process.
	Metrics *prometheus.Registry
	// Stats are the engine's counters, shown at /metrics; nil: not shown.
	Stats *engine.Stats
	// RequestTimeout bounds one request, body excluded (30 s).
	RequestTimeout time.Duration
	// BodyLimit is the largest request body, in bytes (64 KiB).
	BodyLimit int64
	// TrustedProxies are the addresses whose X-Forwarded-For is believed for
	// the remote address in the log. Empty: nobody's, the peer is the caller.
	TrustedProxies []netip.Prefix
	// Now is the clock for tokens and durations; nil: time.Now.
	Now func() time.Time
}

// Defaults of [Config].
const (
	DefaultRequestTimeout = 30 * time.Second
	DefaultBodyLimit      = 64 << 10
)

// withDefaults refuses what cannot work and fills in the rest.
func (cfg Config) withDefaults() (Config, error) {
	switch {
	case cfg.Decider == nil:
		return cfg, errors.New("api: Config.Decider is missing")
	case cfg.Verdicts == nil:
		return cfg, errors.New("api: Config.Verdicts is missing")
	case cfg.Build == "":
		return cfg, errors.New("api: Config.Build is missing")
	case cfg.RequestTimeout < 0:
		return cfg, fmt.Errorf("api: Config.RequestTimeout is %s; it must be more than 0, or 0 for %s", cfg.RequestTimeout, DefaultRequestTimeout)
	case cfg.BodyLimit < 0:
		return cfg, fmt.Errorf("api: Config.BodyLimit is %d; it must be more than 0, or 0 for %d", cfg.BodyLimit, DefaultBodyLimit)
	}
	seen := map[string]bool{checkState: true}
	for i, c := range cfg.Checks {
		switch {
		case c.Name == "" || c.Run == nil:
			return cfg, fmt.Errorf("api: Config.Checks[%d] needs a Name and a Run", i)
		case seen[c.Name]:
			return cfg, fmt.Errorf("api: Config.Checks[%d]: the name %q is taken", i, c.Name)
		}
		seen[c.Name] = true
	}
	for i, p := range cfg.TrustedProxies {
		if !p.IsValid() {
			return cfg, fmt.Errorf("api: Config.TrustedProxies[%d] is not a valid prefix", i)
		}
	}
	if cfg.RequestTimeout == 0 {
		cfg.RequestTimeout = DefaultRequestTimeout
	}
	if cfg.BodyLimit == 0 {
		cfg.BodyLimit = DefaultBodyLimit
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return cfg, nil
}
