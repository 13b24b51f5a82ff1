package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/pep"
	"github.com/signet-policy/signet/internal/verdict"
)

// Decider decides; [*engine.Engine] is one.
type Decider = pep.Decider

// Verdicts are the verdicts of the past. Errors wrap [ErrNotFound] or
// [ErrUnavailable].
type Verdicts interface {
	// Verdict gives the bytes that were answered when it was computed.
	Verdict(ctx context.Context, id string) ([]byte, error)
	// Basis gives what it was decided on: the facts, and a frame for each
	// policy that was evaluated, by the policy's name.
	Basis(ctx context.Context, id string) (facts.Facts, map[string]facts.Frame, error)
	// Question tells how it was asked, beside the image.
	Question(ctx context.Context, id string) (Question, error)
	// List gives one page of those that f chooses, newest first; cursor is the
	// Next of the page before, "" for the first. A cursor that is none wraps
	// [ErrCursor].
	List(ctx context.Context, f VerdictFilter, cursor string, limit int) (client.Page[client.Verification], error)
	// Uses tells how often a verdict was given again, oldest first.
	Uses(ctx context.Context, id string) ([]client.Use, error)
}

// Question is what else than the image a verdict depends on that the caller says.
type Question struct {
	Platform string
	Context  map[string]string
}

// Past decides again what was decided before. Errors wrap [ErrNotFound],
// [ErrUnavailable] or [ErrNotReproducible].
type Past interface {
	Reproduce(ctx context.Context, id string) (client.Reproduction, error)
	// At takes an image as it was asked for.
	At(ctx context.Context, image string, at time.Time) (client.PastVerdict, error)
}

// VerdictFilter chooses verdicts; what is zero does not restrict.
type VerdictFilter struct {
	// Image is the image as it was asked for, Name its normalised name without
	// tag and digest.
	Image, Name string
	Digest      string
	Decision    verdict.Decision
	// ReasonCode is the code of the first reason why it was not allowed.
	ReasonCode string
	// Signer is a trusted signer's name, Identity who really signed.
	Signer, Identity string
	AssessmentID     string
	// Since and Until bound the time: from Since on, up to but not including Until.
	Since, Until time.Time
}

// Check is one thing that must work for this process to be of use.
type Check struct {
	// Name in the details of /readyz, for example "cache".
	Name string
	// Run returns nil when it works. It has two seconds, and is run at most
	// once a second however often /readyz is asked.
	Run func(ctx context.Context) error
	// Optional says that the process is of use without it: its failure is shown,
	// and leaves the process ready.
	Optional bool
}

// Counter is a number that only rises, or starts at 0 again with the process.
type Counter struct {
	// Name is as Prometheus wants it: signet_…_total.
	Name, Help string
	// Labels tell the counters of one name apart; all of them have the same ones.
	Labels map[string]string
	Value  func() float64
}

// Gauge is a number that rises and falls.
type Gauge struct {
	// Name is as Prometheus wants it: signet_….
	Name, Help string
	Value      func() float64
}

// Config of the REST face. Decider, Verdicts and Build are needed.
type Config struct {
	Decider  Decider
	Verdicts Verdicts
	// Past decides again; nil: its paths are not there.
	Past Past
	// Attester gives the verifier's own word about verdicts; nil: nobody can.
	Attester Attester
	// Administration changes what is in force; nil: its paths are not there.
	Administration Administration
	// ImageName gives the normalised name of an image, as facts.Subject.Name
	// does. Nil: who is bound to some images may ask about none.
	ImageName func(image string) (string, error)
	// ExternalURL is where people reach this installation, without a slash at the end;
	// verdicts then carry a link to their page. "": they do not.
	ExternalURL string
	// Faces are protocols beside REST.
	Faces []pep.Face
	// Requests are verdicts that are fetched later; nil: all are given at once.
	Requests Requests
	// Checks are run by /readyz, beside reading what is in force.
	Checks []Check
	// MoreChecks gives outcomes of checks that come and go; nil: none. It is
	// called as a check is run: for two seconds at most, once a second at most.
	MoreChecks func(ctx context.Context) []CheckOutcome
	// Registries tells how it went with the registries that were asked; nil: nobody
	// knows.
	Registries func() []client.Dependency
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
	// Counters are those of other parts, shown at /metrics; Collectors too, where
	// there is more than one number to a name.
	Counters   []Counter
	Collectors []prometheus.Collector
	// Shadows gives what policies of mode shadow came to, shown at /metrics; nil:
	// not shown.
	Shadows func() (counts []engine.ShadowCount, dropped int64)
	// Gauges are those of other parts, shown at /metrics.
	Gauges []Gauge
	// Events are what happened to watched images; nil: their path is not there.
	Events Events
	// Streams is how many may listen for events at a time (100), and Heartbeat how
	// often a stream on which nothing happens says that it is there (15 s).
	Streams   int
	Heartbeat time.Duration
	// Previews tell what a change would do; nil: their path is not there.
	Previews Previews
	// Workbench looks at bundles that are worked on; nil: their paths are not there.
	Workbench Workbench
	// PreviewTime bounds one preview. 0 is [DefaultPreviewTime].
	PreviewTime time.Duration
	// TokenUsed is told each time that a token was good. It must not block. Nil:
	// nobody is told.
	TokenUsed func(tokenID string, at time.Time)
	// RequestTimeout bounds one request, body excluded (30 s).
	RequestTimeout time.Duration
	// VerdictTimeout bounds a request for verdicts; past it they are unknown, and the
	// work goes on. 0 is RequestTimeout.
	VerdictTimeout time.Duration
	// BodyLimit is the largest request body, in bytes (64 KiB).
	BodyLimit int64
	// LargeBodyLimit is the same for imports, policies, trust roots and batches,
	// which are read only from who has authenticated (16 MiB).
	LargeBodyLimit int64
	// RateLimit bounds each principal; the zero value does not.
	RateLimit RateLimit
	// TrustedProxies are the addresses whose X-Forwarded-For is believed for
	// the remote address: in the log, in the audit log, for tokens that are bound
	// to networks and for counting failed attempts. Empty: nobody's, the peer is the caller.
	TrustedProxies []netip.Prefix
	// Now is the clock for tokens and durations; nil: time.Now.
	Now func() time.Time
}

// Defaults of [Config].
const (
	DefaultRequestTimeout = 30 * time.Second
	DefaultBodyLimit      = 64 << 10
	DefaultLargeBodyLimit = 16 << 20
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
	case cfg.VerdictTimeout < 0:
		return cfg, fmt.Errorf("api: Config.VerdictTimeout is %s; it must be more than 0, or 0 for RequestTimeout", cfg.VerdictTimeout)
	case cfg.BodyLimit < 0:
		return cfg, fmt.Errorf("api: Config.BodyLimit is %d; it must be more than 0, or 0 for %d", cfg.BodyLimit, DefaultBodyLimit)
	case cfg.LargeBodyLimit < 0:
		return cfg, fmt.Errorf("api: Config.LargeBodyLimit is %d; it must be more than 0, or 0 for %d", cfg.LargeBodyLimit, DefaultLargeBodyLimit)
	}
	if err := cfg.RateLimit.validate(); err != nil {
		return cfg, err
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
	if cfg.LargeBodyLimit == 0 {
		cfg.LargeBodyLimit = max(DefaultLargeBodyLimit, cfg.BodyLimit)
	}
	if cfg.Streams <= 0 {
		cfg.Streams = defaultStreams
	}
	if cfg.Heartbeat <= 0 {
		cfg.Heartbeat = defaultHeartbeat
	}
	if cfg.PreviewTime <= 0 {
		cfg.PreviewTime = DefaultPreviewTime
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return cfg, nil
}
