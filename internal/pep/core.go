package pep

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/verdict"
)

// Decider decides; [*engine.Engine] is one.
type Decider interface {
	// Current gives what is in force. It is called once per request; whatever
	// was acknowledged before the request is in it. Any error is taken to mean
	// that this could not be found out.
	Current(ctx context.Context) (*engine.State, error)
	// Decide answers under st. An error wraps [engine.ErrInvalid] or is the end
	// of ctx.
	Decide(ctx context.Context, st *engine.State, req engine.Request) (engine.Answer, error)
}

// Config of a [Core]. Decider and Build are needed.
type Config struct {
	Decider Decider
	// ImageName gives the normalised name of an image, as facts.Subject.Name
	// does. Nil: who is bound to some images may ask about none.
	ImageName func(image string) (string, error)
	// ExternalURL is where people reach this installation, without a slash at the
	// end; "": answers carry no links.
	ExternalURL string
	// Build names this binary in verdicts that the engine did not give.
	Build string
	// Log is told of panics and of what should not be. Nil: nobody is.
	Log *slog.Logger
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// Core answers questions. It is safe for concurrent use.
type Core struct {
	cfg   Config
	roles map[auth.Role][]string
}

// New checks cfg and fills in defaults.
func New(cfg Config) (*Core, error) {
	switch {
	case cfg.Decider == nil:
		return nil, errors.New("pep: Config.Decider is missing")
	case cfg.Build == "":
		return nil, errors.New("pep: Config.Build is missing")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	c := &Core{cfg: cfg, roles: map[auth.Role][]string{}}
	for _, r := range auth.Roles() {
		c.roles[r] = []string{string(r)}
	}
	return c, nil
}

// Question asks whether an image may run.
type Question struct {
	// Image is a reference, and Platform os/architecture[/variant] or "".
	Image, Platform string
	// Context are keys that a policy declares; see [Core.Context].
	Context map[string]string
	// Refresh bypasses leases and cached answers.
	Refresh bool
	// AssessmentID and Labels are recorded and nothing else.
	AssessmentID string
	Labels       map[string]string
	// Evidence are Sigstore bundles that count beside what is found, for this answer alone.
	Evidence [][]byte
	// Attest asks for the verdict as a signed attestation beside it.
	Attest bool
	// Principal who asks.
	Principal auth.Principal
	// RequestID and BatchID are for the decision log.
	RequestID, BatchID string
}

// Answer is a verdict, whole.
type Answer struct {
	// Body is the verdict's JSON as it is recorded and cached; Verdict is the same, read.
	Body    []byte
	Verdict verdict.Verdict
	// Allowed is what an enforcement point acts on. It is false in the zero value.
	Allowed bool
	// From says where it came from: engine.FromMemory, FromRedis or FromMiss.
	From string
	// RetryAfter is in seconds, at least 1 for an unknown that does not pass.
	RetryAfter int
	// Recorded says that the verdict can be read again by its id.
	Recorded bool
	// Link is the page of the verdict, "" where there is none.
	Link string
}

// Message is the first reason in words, "" for an answer without reasons.
func (a *Answer) Message() string {
	if len(a.Verdict.Reasons) == 0 {
		return ""
	}
	return a.Verdict.Reasons[0].Message
}

// Messages are the reasons in words; for an answer that does not pass there is at
// least one.
func (a *Answer) Messages() []string {
	list := make([]string, 0, len(a.Verdict.Reasons))
	for _, r := range a.Verdict.Reasons {
		list = append(list, r.Message)
	}
	if len(list) == 0 && !a.Allowed {
		list = append(list, "The policies do not allow the image "+a.Verdict.Image+".")
	}
	return list
}

// Check says what is wrong with a question, before anybody works on it: the error is
// a [*Mistake]. What the engine may find besides, it says when it is asked.
func (c *Core) Check(st *engine.State, q Question) error {
	if m := c.check(q); m != nil {
		return m
	}
	if c.cfg.ImageName == nil {
		return nil
	}
	name, err := c.cfg.ImageName(q.Image)
	if err != nil {
		return &Mistake{Code: InvalidField, Field: "image", Cause: err, Detail: "The field \"image\" is not right: " + strings.TrimSuffix(err.Error(), ".") + "."}
	}
	known := st.Declared(name)
	for _, key := range slices.Sorted(maps.Keys(q.Context)) {
		if !slices.Contains(known[key], q.Context[key]) {
			return &Mistake{Code: InvalidField, Field: "context." + key, Detail: "No policy for this image declares the key " + Shown("context."+key) + " with the value " + Shown(q.Context[key]) + " (.manifest, metadata.signet.context)."}
		}
	}
	return nil
}

// Decide asks the engine under st, and holds its answer against what an answer must
// be. The error is a [*Mistake] that the caller can mend, the end of ctx, or a
// failure of ours.
func (c *Core) Decide(ctx context.Context, st *engine.State, q Question) (engine.Answer, error) {
	if m := c.check(q); m != nil {
		return engine.Answer{}, m
	}
	ans, err := c.cfg.Decider.Decide(ctx, st, engine.Request{
		Image: q.Image, Platform: q.Platform, Context: q.Context, Refresh: q.Refresh,
		Roles: c.roles[q.Principal.Role], Principal: q.Principal.Name,
		AssessmentID: q.AssessmentID, Labels: q.Labels, RequestID: q.RequestID, BatchID: q.BatchID, Attest: q.Attest, Evidence: q.Evidence,
	})
	if err != nil {
		return engine.Answer{}, invalid(err, q)
	}
	switch {
	case len(ans.Body) == 0:
		return engine.Answer{}, errors.New("the engine gave an answer without a body")
	case ans.Allowed && known(ans.Decision), ans.Decision == verdict.Deny:
		return ans, nil
	case ans.Decision == verdict.Unknown:
		ans.RetryAfter = max(ans.RetryAfter, 1)
		return ans, nil
	}
	return engine.Answer{}, fmt.Errorf("the engine gave decision %q with allowed %t, which is no answer", ans.Decision, ans.Allowed)
}

func known(d verdict.Decision) bool {
	return d == verdict.Allow || d == verdict.Deny || d == verdict.Unknown
}

// Answer decides under st; whatever goes wrong is unknown. At the end of ctx's time
// it is unknown still_verifying, and the engine goes on. The error is a [*Mistake],
// or that of a caller who went away.
func (c *Core) Answer(ctx context.Context, st *engine.State, q Question) (a Answer, err error) {
	defer func() {
		if p := recover(); p != nil {
			c.Panicked(ctx, q.RequestID, p)
			a, err = c.Unknown(q.Image, Internal()), nil
		}
	}()
	if st == nil {
		return c.Unknown(q.Image, StoreUnavailable()), nil
	}
	given, err := c.Decide(ctx, st, q)
	var mistake *Mistake
	switch {
	case errors.As(err, &mistake), errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return Answer{}, err
	case errors.Is(err, context.DeadlineExceeded):
		return c.Unknown(q.Image, StillVerifying(q.Image)), nil
	case err != nil:
		c.cfg.Log.ErrorContext(ctx, "deciding", "request_id", q.RequestID, "error", err.Error())
		return c.Unknown(q.Image, Internal()), nil
	}
	a = Answer{Body: given.Body, Allowed: given.Allowed, From: given.From, RetryAfter: given.RetryAfter, Recorded: given.Recorded}
	if err := json.Unmarshal(given.Body, &a.Verdict); err != nil || a.Verdict.Decision != given.Decision || a.Verdict.Allowed != given.Allowed {
		c.cfg.Log.ErrorContext(ctx, "a verdict does not read as what the engine says of it", "request_id", q.RequestID, "error", fmt.Sprint(err))
		return c.Unknown(q.Image, Internal()), nil
	}
	if given.Recorded {
		a.Link = c.Link(a.Verdict.ID)
	}
	return a, nil
}

// Panicked logs what was recovered from a panic.
func (c *Core) Panicked(ctx context.Context, requestID string, p any) {
	c.cfg.Log.ErrorContext(ctx, "panic while deciding", "request_id", requestID, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
}

// Ask is [Core.Answer] for a face with a way in of its own: it reads what is in force
// first, and takes no longer than deadline. A principal that a token gave is answered
// only while the token is good; else the error is that of [auth.Tokens.Good].
func (c *Core) Ask(ctx context.Context, q Question, deadline time.Duration) (Answer, error) {
	patience := NewPatience(ctx, deadline)
	defer patience.End()
	st, err := c.cfg.Decider.Current(patience)
	switch {
	case err != nil && errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return Answer{}, err
	case err != nil:
		c.cfg.Log.WarnContext(ctx, "reading what is in force", "request_id", q.RequestID, "error", err.Error())
		return c.Unknown(q.Image, StoreUnavailable()), nil
	}
	if id := q.Principal.TokenID; id != "" && st != nil {
		if err := st.Tokens.Good(id, c.cfg.Now()); err != nil {
			return Answer{}, err
		}
	}
	return c.Answer(patience, st, q)
}

// Link is the page of a verdict, "" without an external URL.
func (c *Core) Link(id string) string {
	if c.cfg.ExternalURL == "" || id == "" {
		return ""
	}
	return c.cfg.ExternalURL + "/admin/security/signing/results/" + id
}

// Unknown is an answer that the engine had no part in; it is not recorded.
func (c *Core) Unknown(image string, why verdict.Reason) Answer {
	now := c.cfg.Now().UTC().Truncate(time.Microsecond)
	v := verdict.Verdict{
		Decision: verdict.Unknown, Image: image,
		Policies: []verdict.PolicyVerdict{}, Reasons: []verdict.Reason{why}, Warnings: []verdict.Reason{}, Coverage: []verdict.Coverage{},
		Build: c.cfg.Build, EvaluatedAt: now, ExpiresAt: now, RetryAfter: retryAfter[why.Code],
	}
	body, err := json.Marshal(v)
	if err != nil { // no field of it can fail to encode
		body = []byte(`{"decision":"unknown","allowed":false}`)
	}
	return Answer{Body: body, Verdict: v, From: engine.FromMiss, RetryAfter: max(v.RetryAfter, 1)}
}

// retryAfter is in seconds, by the reason's code.
var retryAfter = map[string]int{engine.ReasonStillVerifying: 2, engine.ReasonStoreUnavailable: 5, engine.ReasonInternal: 10}

// StillVerifying says that the time was up.
func StillVerifying(image string) verdict.Reason {
	return verdict.Reason{
		Code: engine.ReasonStillVerifying, Rule: "engine",
		Message:     "Verification of " + image + " was not finished in time.",
		Remediation: "Ask again: the work goes on, and its result is kept.",
	}
}

// StoreUnavailable says that what is in force could not be read.
func StoreUnavailable() verdict.Reason {
	return verdict.Reason{
		Code: engine.ReasonStoreUnavailable, Rule: "engine",
		Message:     "What is in force could not be read, so nothing was decided.",
		Remediation: "Ask again; the operator finds the cause in the server's log and at /readyz.",
	}
}

// Internal says that we failed.
func Internal() verdict.Reason {
	return verdict.Reason{
		Code: engine.ReasonInternal, Rule: "engine",
		Message:     "Something went wrong inside Signet; nothing was decided.",
		Remediation: "Ask again; the operator finds the cause in the server's log under this request id.",
	}
}

// invalid names the field that the engine found wrong. Its messages begin with the
// field's name.
func invalid(err error, q Question) error {
	if !errors.Is(err, engine.ErrInvalid) {
		return err
	}
	detail := strings.TrimPrefix(err.Error(), engine.ErrInvalid.Error()+": ")
	fields := []string{"image", "platform", "evidence"}
	for k := range q.Context {
		fields = append(fields, "context."+k)
	}
	for _, field := range fields {
		if rest, ok := strings.CutPrefix(detail, field+": "); ok {
			return &Mistake{Code: InvalidField, Field: field, Detail: fmt.Sprintf("The field %s is not right: %s.", Shown(field), strings.TrimSuffix(rest, ".")), Cause: err}
		}
	}
	return &Mistake{Code: InvalidField, Detail: "The request is not right: " + strings.TrimSuffix(detail, ".") + ".", Cause: err}
}
