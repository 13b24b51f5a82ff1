package mcp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/signet-policy/signet/client"
)

// Decider answers for one caller, whose rights it knows.
type Decider interface {
	// Decide answers one question. An error that wraps [ErrImage] or [ErrMistake] is
	// the caller's; any other means that it could not be found out.
	Decide(ctx context.Context, q Question) (Answer, error)
}

// What the caller can mend: the image, or anything else of the question. The message
// behind it is for people.
var (
	ErrImage   = errors.New("the image cannot be asked about")
	ErrMistake = errors.New("the question cannot be asked")
)

// Question is about one image.
type Question struct {
	Image, Platform string
	// Context has declared keys only.
	Context map[string]string
	// AssessmentID is recorded beside the verdict.
	AssessmentID string
}

// Answer is a verdict. The zero value allows nothing.
type Answer struct {
	Verdict client.Verdict
}

// Gateways are the images that stand behind the gateway's own gateways.
type Gateways interface {
	// Images gives the images that are kept for a gateway: by its id, else by its
	// URL, else by its tags. It sees every change that was acknowledged before.
	Images(ctx context.Context, g Gateway) ([]string, error)
}

// Gateway is one server behind the gateway, as a tool call names it.
type Gateway struct {
	ID, URL string
	Tags    []string
}

// Config of a [Server]. Version and Plugins are needed.
type Config struct {
	// Version is that of this program.
	Version string
	// Plugins are the names that it answers to.
	Plugins []Plugin
	// Gateways are asked for hooks that name no image; nil: there are none.
	Gateways Gateways
	// Deadline bounds one answer (25 s). The gateway waits for 30 s.
	Deadline time.Duration
	// ExternalURL is where people find the pages of this installation, "" for nowhere.
	ExternalURL string
	// Log is told of panics alone; nil discards it.
	Log *slog.Logger
}

// DefaultDeadline is what one answer may take.
const DefaultDeadline = 25 * time.Second

// Server answers messages. It keeps nothing between them and is safe for
// concurrent use.
type Server struct {
	cfg     Config
	plugins map[string]Plugin
}

// New checks cfg and fills in defaults.
func New(cfg Config) (*Server, error) {
	if cfg.Version == "" {
		return nil, errors.New("mcp: Config.Version is missing")
	}
	if len(cfg.Plugins) == 0 {
		return nil, errors.New("mcp: Config.Plugins are missing")
	}
	if cfg.Deadline <= 0 {
		cfg.Deadline = DefaultDeadline
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{cfg: cfg, plugins: map[string]Plugin{}}
	for _, p := range cfg.Plugins {
		if err := p.check(); err != nil {
			return nil, err
		}
		if _, twice := s.plugins[p.Name]; twice {
			return nil, fmt.Errorf("mcp: plugin %q is there twice", p.Name)
		}
		s.plugins[p.Name] = p
	}
	return s, nil
}

// Mode says what an answer does.
type Mode string

// The modes of a plugin.
const (
	// Enforce refuses what is denied or unknown.
	Enforce Mode = "enforce"
	// Permissive lets everything pass, and says what it would have refused.
	Permissive Mode = "permissive"
	// Disabled decides nothing.
	Disabled Mode = "disabled"
)

// What to do for a gateway without an image.
const (
	UnmappedAllow = "allow"
	UnmappedDeny  = "deny"
)

// DefaultPlugin is the name that a gateway knows us by where nobody chose another.
const DefaultPlugin = "ImageSigningPlugin"

// HookToolPreInvoke is the hook of each tool call.
const HookToolPreInvoke = "tool_pre_invoke"

// DefaultHooks are those of a plugin whose file names none.
func DefaultHooks() []string {
	return []string{"assessment_post_container_scan", "runtime_pre_deploy", "catalog_pre_deploy", "server_pre_register", "gateway_pre_register"}
}

// Plugin is one name that a gateway asks under.
type Plugin struct {
	Name, Description string
	Hooks             []string
	Mode              Mode
	Priority          int
	Tags              []string
	// Unmapped is what a gateway without an image gets in tool_pre_invoke: allow or
	// deny. "" refuses to serve that hook.
	Unmapped string
	// Context is given to each question.
	Context map[string]string
}

func (p Plugin) check() error {
	switch {
	case p.Name == "":
		return errors.New("mcp: a plugin has no name")
	case !slices.Contains([]Mode{Enforce, Permissive, Disabled}, p.Mode):
		return fmt.Errorf("mcp: plugin %q: mode %q is none of enforce, permissive, disabled", p.Name, p.Mode)
	case !slices.Contains([]string{"", UnmappedAllow, UnmappedDeny}, p.Unmapped):
		return fmt.Errorf("mcp: plugin %q: unmapped is %q, and must be allow or deny", p.Name, p.Unmapped)
	case p.Unmapped == "" && p.Mode != Disabled && slices.Contains(p.Hooks, HookToolPreInvoke):
		return fmt.Errorf("mcp: plugin %q: serves tool_pre_invoke, and does not say what a gateway without an image gets; write unmapped: deny, or allow", p.Name)
	}
	return nil
}
