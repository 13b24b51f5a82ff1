package authzen

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/pep"
	"github.com/signet-policy/signet/internal/verdict"
)

// Protocol is the face's name in the configuration of listeners.
const Protocol = "authzen"

// DefaultDeadline bounds an answer: the client of the gateway's framework gives up
// after half a second.
const DefaultDeadline = 400 * time.Millisecond

// The paths, as section 10 of the specification has them.
const (
	pathEvaluation  = "/access/v1/evaluation"
	pathEvaluations = "/access/v1/evaluations"
	pathMetadata    = "/.well-known/authzen-configuration"
)

// bodyLimit of a request, in bytes.
const bodyLimit = 1 << 20

// Config of the face. Core is needed.
type Config struct {
	Core *pep.Core
	// ExternalURL is where callers reach this installation, without a slash at the
	// end; "": the metadata are not there.
	ExternalURL string
	// Deadline of an answer, for a batch of all its items together; 0:
	// [DefaultDeadline].
	Deadline time.Duration
}

type face struct{ cfg Config }

// New makes the face.
func New(cfg Config) (pep.Face, error) {
	if cfg.Core == nil {
		return pep.Face{}, errors.New("authzen: Config.Core is missing")
	}
	if cfg.Deadline <= 0 {
		cfg.Deadline = DefaultDeadline
	}
	f := &face{cfg}
	media := []string{mediaJSON}
	return pep.Face{Protocol: Protocol, Routes: []pep.Route{
		{Method: http.MethodPost, Path: pathEvaluation, Body: true, Media: media, Limit: bodyLimit, Deadline: cfg.Deadline, Serve: f.evaluation, Fail: f.fail},
		{Method: http.MethodPost, Path: pathEvaluations, Body: true, Media: media, Limit: bodyLimit, Deadline: cfg.Deadline, Serve: f.evaluations, Fail: f.fail},
		{Method: http.MethodGet, Path: pathMetadata, AnyRole: true, Deadline: cfg.Deadline, Serve: f.metadata, Fail: f.fail},
	}}, nil
}

const (
	mediaJSON = "application/json"
	mediaText = "text/plain; charset=utf-8"
)

// outcome is what came of one evaluation.
type outcome struct {
	Decision bool    `json:"decision"`
	Context  details `json:"context"`

	// status is that of the outcome where it is asked for alone.
	status int
	image  string
	given  *pep.Given
}

// details is the context of a decision, which the specification leaves to us.
type details struct {
	// Decision is allow, deny or unknown; whether it is enforced says the outcome's.
	Decision verdict.Decision `json:"decision"`
	// Reason is the first of Reasons in words.
	Reason   string           `json:"reason,omitempty"`
	Reasons  []verdict.Reason `json:"reasons,omitempty"`
	Warnings []verdict.Reason `json:"warnings,omitempty"`
	// ID, Digest, Pinned and Link are those of the verdict.
	ID     string `json:"id,omitempty"`
	Digest string `json:"digest,omitempty"`
	Pinned string `json:"pinned,omitempty"`
	Link   string `json:"link,omitempty"`
	// RetryAfter is in seconds, for unknown alone.
	RetryAfter int `json:"retry_after,omitempty"`
	// Ignored are the members of the context that no policy declares.
	Ignored []string `json:"ignored,omitempty"`
	// Error is what was wrong with one evaluation of several (section 7.2.2).
	Error *itemError `json:"error,omitempty"`
}

type itemError struct {
	Status  int    `json:"status"`
	Message string `json:"message"`
}

// evaluation answers one (section 6).
func (f *face) evaluation(ctx context.Context, r *pep.Request) pep.Reply {
	req, m := parse(r.Body)
	if m != nil {
		return badRequest(m)
	}
	return f.alone(ctx, r, req.evaluation)
}

// alone answers one evaluation that stands for itself.
func (f *face) alone(ctx context.Context, r *pep.Request, e evaluation) pep.Reply {
	out := f.decide(ctx, r, e, "")
	if out.Context.Error != nil {
		return text(out.Context.Error.Status, out.Context.Error.Message)
	}
	return out.reply()
}

// reply is an outcome alone: 503 when it is unknown, and not for an audit policy's
// sake let through.
func (o outcome) reply() pep.Reply {
	reply := encode(o.status, o)
	reply.Image = o.image
	if o.status == http.StatusServiceUnavailable {
		reply.RetryAfter = max(o.Context.RetryAfter, 1)
	}
	if o.given != nil {
		reply.Given = []pep.Given{*o.given}
	}
	return reply
}

// decide never fails: what is no answer is no permission.
func (f *face) decide(ctx context.Context, r *pep.Request, e evaluation, batch string) outcome {
	asked, m := e.read()
	if m != nil {
		return refused(m)
	}
	if !pep.IsImage(asked.resourceType) {
		return denied("resource_type", "The resource type "+pep.Shown(asked.resourceType)+" is none that Signet decides on.", `Ask about a resource of type "container_image" or "oci_image", whose id is the image.`)
	}
	declared, ignored, m := f.cfg.Core.Context(r.State, asked.image, asked.action, asked.context)
	if m != nil {
		return refused(m)
	}
	ans, err := f.cfg.Core.Answer(ctx, r.State, pep.Question{
		Image: asked.image, Platform: asked.platform, Context: declared, AssessmentID: asked.assessment,
		Principal: r.Principal, RequestID: r.ID, BatchID: batch,
	})
	switch {
	case err == nil:
		out := outcomeOf(ans)
		out.Context.Ignored = ignored
		return out
	case !errors.As(err, &m): // the caller went away: nobody reads it
		return outcomeOf(f.cfg.Core.Unknown(asked.image, pep.StillVerifying(asked.image)))
	case m.Field == "context."+pep.ActionKey:
		return denied("action_not_declared", "The action "+pep.Shown(asked.action)+" is none that the policies for "+asked.image+" know.", "Ask for an action that the policy declares (.manifest, metadata.signet.context).")
	}
	return refused(m)
}

func outcomeOf(ans pep.Answer) outcome {
	v := ans.Verdict
	out := outcome{
		Decision: ans.Allowed, status: http.StatusOK, image: v.Image, given: &pep.Given{Decision: v.Decision, From: ans.From},
		Context: details{
			Decision: v.Decision, Reason: ans.Message(), Reasons: v.Reasons, Warnings: v.Warnings,
			ID: v.ID, Digest: v.Digest, Pinned: v.Pinned, Link: ans.Link,
		},
	}
	if !ans.Allowed {
		out.Context.Reason, out.Context.RetryAfter = ans.Messages()[0], ans.RetryAfter
		if v.Decision == verdict.Unknown {
			out.status = http.StatusServiceUnavailable
		}
	}
	return out
}

// denied is a decision that needs no look at an image.
func denied(code, message, remediation string) outcome {
	return outcome{status: http.StatusOK, Context: details{
		Decision: verdict.Deny, Reason: message, Reasons: []verdict.Reason{{Code: code, Message: message, Remediation: remediation, Rule: "authzen"}},
	}}
}

// refused is an evaluation that cannot be asked so.
func refused(m *pep.Mistake) outcome {
	status := http.StatusBadRequest
	if m.Code == pep.OutOfScope {
		status = http.StatusForbidden
	}
	return outcome{status: status, Context: details{Decision: verdict.Deny, Reason: m.Detail, Error: &itemError{Status: status, Message: m.Detail}}}
}

// metadata tells where what is (section 9). It comes from the configuration: what a
// caller says in Host must not become what others are told.
func (f *face) metadata(context.Context, *pep.Request) pep.Reply {
	at := f.cfg.ExternalURL
	if at == "" {
		return text(http.StatusNotFound, "The operator has not configured external_url, so the address of this policy decision point is not known here.")
	}
	return encode(http.StatusOK, struct {
		PDP         string `json:"policy_decision_point"`
		Evaluation  string `json:"access_evaluation_endpoint"`
		Evaluations string `json:"access_evaluations_endpoint"`
	}{at, at + pathEvaluation, at + pathEvaluations})
}

// fail says what kept the server from serving a request. When it was we who failed,
// the answer is unknown and permits nothing.
func (f *face) fail(_ *pep.Request, why pep.Failure) pep.Reply {
	if !why.Undecided() {
		return text(why.Status, why.Detail)
	}
	out := outcomeOf(f.cfg.Core.Unknown("", why.Reason()))
	out.given = &pep.Given{Decision: verdict.Unknown, From: engine.FromMiss}
	return out.reply()
}

func badRequest(m *pep.Mistake) pep.Reply { return text(http.StatusBadRequest, m.Detail) }

// text is an error: its body is a message (section 10.1.2).
func text(status int, message string) pep.Reply {
	return pep.Reply{Status: status, ContentType: mediaText, Body: []byte(message + "\n")}
}

func encode(status int, v any) pep.Reply {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil { // strings and numbers always encode
		return text(http.StatusInternalServerError, "The answer could not be encoded.")
	}
	return pep.Reply{Status: status, ContentType: mediaJSON, Body: buf.Bytes()}
}
