package pep

import (
	"context"
	"net/http"
	"time"

	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/verdict"
)

// Face is a protocol that enforcement points speak, as the paths that a server
// mounts. The server does what all faces have in common before a path is served:
// request id, what is in force, who asks and whether they may, limits.
type Face struct {
	// Protocol is its name in the configuration of listeners.
	Protocol string
	Routes   []Route
}

// Route is one path of a [Face].
type Route struct {
	Method string
	// Path, of which "*" at the end stands for the rest.
	Path string
	// Open wants nobody to say who they are: health alone.
	Open bool
	// AnyRole is enough for what every known caller may see; else the caller must be
	// one who may ask for verdicts.
	AnyRole bool
	// Body is read and handed over, up to Limit bytes (64 KiB); Media are its types,
	// nil: whatever it is called.
	Body  bool
	Media []string
	Limit int64
	// Deadline bounds the answer, from when the body has come.
	Deadline time.Duration
	// Serve answers.
	Serve func(ctx context.Context, r *Request) Reply
	// Fail answers in this protocol when the server did not come as far as Serve,
	// or Serve panicked.
	Fail func(r *Request, f Failure) Reply
}

// Request is one request to a [Route].
type Request struct {
	// ID names the request, in logs and in the header X-Request-Id.
	ID   string
	HTTP *http.Request
	// Rest are the segments that "*" of the path stands for, unescaped.
	Rest []string
	Body []byte
	// State is what is in force, and Principal who asks; both are zero on an open
	// route, and in Fail.
	State     *engine.State
	Principal auth.Principal
	// Current reads what is in force, for a route that is open.
	Current func(ctx context.Context) (*engine.State, error)
	// Ready says what keeps the server from being of use, nil for nothing.
	Ready func(ctx context.Context) error
	// Admit takes n more out of what the principal may ask for; nil: it may.
	Admit func(n int) *Failure
	Begun time.Time
}

// Failure is why a request was not served.
type Failure struct {
	// Status is what REST answers, Code names the kind of problem, and Detail says
	// what is wrong in a sentence that is meant for the caller.
	Status       int
	Code, Detail string
	// RetryAfter is in seconds, 0 where asking again is no use.
	RetryAfter int
}

// Undecided says that it is we who failed, so that the answer to a question is
// unknown.
func (f Failure) Undecided() bool { return f.Status >= http.StatusInternalServerError }

// Reason is the failure as the reason of an unknown verdict.
func (f Failure) Reason() verdict.Reason {
	if f.Code == engine.ReasonStoreUnavailable {
		return StoreUnavailable()
	}
	return Internal()
}

// Reply is what a [Route] answers with.
type Reply struct {
	Status      int
	ContentType string
	Body        []byte
	// RetryAfter is in seconds; 0: the header is not sent.
	RetryAfter int
	// Image and Given are told to the log and to metrics.
	Image string
	Given []Given
}

// Given is one verdict that a reply gives.
type Given struct {
	Decision verdict.Decision
	From     string
}
