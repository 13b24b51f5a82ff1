package preview

import (
	"context"
	"time"

	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/verdict"
)

// Row is one kept verdict.
type Row struct {
	ID string
	At time.Time
	// Image is as it was asked for.
	Image, Digest  string
	Decision       verdict.Decision
	Allowed        bool
	Active         verdict.Active
	Build          string
	FactsDigest    string // "" where there are none
	EvidenceDigest string // "" where there is none
	// Uses is how often it was given again, LastUsed when.
	Uses     int64
	LastUsed time.Time
	// Basis gives what [engine.DecodeBasis] reads, nil where it was not kept, and
	// Facts the facts and their size in bytes. They are called by several goroutines,
	// each for another row.
	Basis func() ([]byte, error)
	Facts func(ctx context.Context) (facts.Facts, int, error)
}

// Source is the verdicts to be looked at.
type Source interface {
	// Count says how many there are, about.
	Count(ctx context.Context) (int64, error)
	// Next gives the next of them, the newest first. done says how many of those that
	// Count counted have been read by now; the end is a nil list.
	Next(ctx context.Context) (rows []Row, done int64, err error)
	// Evidence gives what [evidence.Kept] reads.
	Evidence(ctx context.Context, digest string) ([]byte, error)
	// Origin says what was in force under a revision.
	Origin(ctx context.Context, active verdict.Active) (*Origin, error)
}

// Origin is what a verdict, and the facts that it stands on, were made under.
type Origin struct {
	// State has the policies with those signers that have keys.
	State *engine.State
	// Roots names the trust roots that verified, in their order.
	Roots string
	// Current says that policies, signers and trust roots are those in force now, but
	// for when a root was refreshed.
	Current bool
}

// Side is what is decided under.
type Side struct {
	State *engine.State
	// Roots names the trust roots as [Origin.Roots] does.
	Roots string
}

// Config of a preview. All of it is needed but Workers, Limit, Questions, Emit and Every.
type Config struct {
	Engine *engine.Engine
	Source Source
	// Build is that of this process: what another build decided is decided anew.
	Build string
	// InForce gives the answers before, at Now; Candidate those after, at At, which is
	// Now or later.
	InForce, Candidate Side
	Now, At            time.Time
	// Since is before the oldest verdict of the source.
	Since        time.Time
	MaxStaleness time.Duration
	// Workers is how many decide side by side (as many as there are processors).
	Workers int
	// Limit is how many flips are listed and emitted (1000).
	Limit int
	// Questions is how many questions are told apart (131072). Beyond them one is
	// decided, and counted, each time that it comes: memory stays flat.
	Questions int
	// Emit is told of what is found while it is, one call at a time; an error ends the
	// preview. Every is how often it is told how far things are (500 ms).
	Emit  func(Event) error
	Every time.Duration
}

// Event is something that was found: one of its members is there.
type Event struct {
	Progress *Progress
	Flip     *Flip
}

// Progress is how far a preview is, in verdicts.
type Progress struct{ Done, Total, Flips int64 }

// Direction of a flip.
type Direction string

// The directions.
const (
	AllowToDeny Direction = "allow_to_deny"
	DenyToAllow Direction = "deny_to_allow"
	ToUnknown   Direction = "to_unknown"
	FromUnknown Direction = "from_unknown"
)

// Why it cannot be told what would be answered.
const (
	NotResolved          = "not_resolved"
	NoBasis              = "no_basis"
	BasisUnreadable      = "basis_unreadable"
	FactsDamaged         = "facts_damaged"
	ContextUndeclared    = "context_undeclared"
	EvidenceMissing      = "evidence_missing"
	EvidenceLeftOut      = "evidence_left_out"
	EvidenceDamaged      = "evidence_damaged"
	TrustUnknown         = "trust_unknown"
	PlatformsNotSearched = "platforms_not_searched"
	TimeLimit            = "time_limit"
	ReplayFailed         = "replay_failed"
)

// Count counts questions and the verdicts that answered them.
type Count struct{ Questions, Verdicts int64 }

// Reason is why an answer is no allow.
type Reason struct{ Policy, Code, Message string }

// Flip is a question whose answer would be different.
type Flip struct {
	Image, Digest, Platform string
	Context                 map[string]string
	Roles                   []string
	// Before and After are allow where the caller may go on.
	Before, After verdict.Decision
	Direction     Direction
	// Reasons are those of After, or of Before where After allows.
	Reasons []Reason
	// VerdictID is the newest verdict on the question, LastAsked when it was given the
	// last time.
	VerdictID string
	LastAsked time.Time
	// Verdicts is how many are kept of it, Uses how often it was answered in all.
	Verdicts, Uses int64

	newest time.Time
}

// mostImages is how many images a group names.
const mostImages = 20

// Group are the questions that flip in one direction for one reason.
type Group struct {
	Direction Direction
	Reason
	Tally
}

// Skipped are the questions of which it cannot be told what would be answered.
type Skipped struct {
	// Reason is one of the constants, Message says it to a person.
	Reason, Message string
	Tally
}

// Tally counts a kind of questions, with some images, each once, and the newest
// verdict.
type Tally struct {
	Count
	Images     []string
	MoreImages bool
	VerdictID  string

	newest time.Time
}

// Result is what a preview found.
type Result struct {
	// Complete is false where it ended early, and Why says so; ReachedTo is the oldest
	// verdict that was looked at.
	Complete  bool
	Why       string
	ReachedTo time.Time
	Total     Count
	// Exact is false where there were more questions than are told apart: some are
	// counted several times.
	Exact                                            bool
	Unchanged                                        Count
	AllowToDeny, DenyToAllow, ToUnknown, FromUnknown Count
	NotReplayable                                    Count
	// Groups, Skipped and Flips are sorted: what concerns most first.
	Groups    []*Group
	Skipped   []*Skipped
	Flips     []*Flip
	MoreFlips bool
}
