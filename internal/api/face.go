package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/verdict"
)

// Face is another protocol on the addresses of the REST API, under the same
// authentication, roles, limits and log. Its requests are POSTs of JSON.
type Face struct {
	// Path is where it answers.
	Path string
	// BodyLimit is its largest request, in bytes.
	BodyLimit int64
	// Serve answers one request. Where the connection vouches for its caller nothing
	// that is in force has been read before the first question, so that a protocol
	// can say who it is while the store is away.
	Serve func(ctx context.Context, ask *Asker, body []byte) FaceReply
}

// FaceReply is what a face answers with; without a Body there is no Content-Type.
type FaceReply struct {
	Status      int
	ContentType string
	Body        []byte
}

func (s *Server) faceRoutes() []*route {
	routes := make([]*route, 0, len(s.cfg.Faces))
	for i := range s.cfg.Faces {
		routes = append(routes, &route{method: http.MethodPost, path: s.cfg.Faces[i].Path, need: auth.Verify, face: &s.cfg.Faces[i], anyQuery: true})
	}
	return routes
}

// faceSteps are the way of a request to a face: who asks, then the body. What is
// in force is read with each question.
func (s *Server) faceSteps(r *http.Request, c *call) (reply, error) {
	token, err := s.credential(c)
	if err != nil {
		return reply{}, err
	}
	ctx := newPatience(r.Context(), s.cfg.RequestTimeout)
	defer ctx.end()
	if c.vouched {
		if err := s.authenticate(c, ""); err != nil {
			return reply{}, err
		}
		if p := c.route.permit(c.principal); p != nil {
			return reply{}, p
		}
	} else if err := s.known(ctx, c, token); err != nil {
		return reply{}, err
	}
	var p *problem
	if c.body, p = readBody(r, c.body, c.route.face.BodyLimit, nil); p != nil {
		return reply{}, p
	}
	out := c.route.face.Serve(ctx, &Asker{s, c}, c.body)
	return reply{status: out.Status, contentType: out.ContentType, body: out.Body}, nil
}

// Asker asks on behalf of the caller of a [Face]. It is good only while that
// request is served, for one goroutine.
type Asker struct {
	s *Server
	c *call
}

// Question is what a face asks.
type Question struct {
	Image, Platform string
	Context         map[string]string
	// AssessmentID is recorded beside the verdict.
	AssessmentID string
}

// AskError says that a question was refused: what is wrong with it, in words for
// its caller.
type AskError struct {
	// Field is what is wrong, "image" for one; "" where it is no field.
	Field  string
	detail string
}

func (e *AskError) Error() string { return e.detail }

// Decide answers as POST /api/v1/verdicts does, within the caller's scope and rate
// limit. An error is an [*AskError], or means that it could not be found out.
func (a *Asker) Decide(ctx context.Context, q Question) (engine.Answer, error) {
	c := a.c
	req := &verdictRequest{Image: q.Image, Platform: q.Platform, Context: q.Context, AssessmentID: q.AssessmentID}
	ans, err := func() (engine.Answer, error) {
		if p := req.check(); p != nil {
			return engine.Answer{}, p
		}
		if err := a.s.admit(c, 1); err != nil {
			return engine.Answer{}, err
		}
		st, err := a.s.current(ctx)
		if err != nil {
			return engine.Answer{}, err
		}
		c.state = st
		return a.s.ask(ctx, c, req)
	}()
	var p *problem
	switch {
	case err == nil:
		c.decision, c.cache = worse(c.decision, ans.Decision), ans.From
		return ans, nil
	case errors.As(err, &p) && p.status() < http.StatusInternalServerError && p.code != codeRateLimited:
		return engine.Answer{}, &AskError{p.field, p.detail}
	}
	a.s.cfg.Log.WarnContext(ctx, "a question of a face was not answered", "request_id", c.id, "route", c.route.path, "error", causeOf(err).Error())
	return engine.Answer{}, err
}

// causeOf is what a problem came of, where it says.
func causeOf(err error) error {
	var p *problem
	if errors.As(err, &p) && p.cause != nil {
		return p.cause
	}
	return err
}

// worse is the one of two decisions that the log is to tell.
func worse(a, b verdict.Decision) verdict.Decision {
	if a == verdict.Unknown || a == verdict.Deny && b == verdict.Allow {
		return a
	}
	return b
}

// ask asks the engine about what was checked, and makes sure that what it gives
// is an answer.
func (s *Server) ask(ctx context.Context, c *call, req *verdictRequest) (engine.Answer, error) {
	if scoped(c.principal) {
		if p := s.inScope(c.principal, req.Image); p != nil {
			return engine.Answer{}, p
		}
	}
	ans, err := s.cfg.Decider.Decide(ctx, c.state, engine.Request{
		Image: req.Image, Platform: req.Platform, Context: req.Context, Refresh: req.Refresh,
		Roles: s.roles[c.principal.Role], Principal: c.principal.Name,
		AssessmentID: req.AssessmentID, Labels: req.Labels, RequestID: c.id, BatchID: c.batch,
	})
	switch {
	case err != nil:
		return engine.Answer{}, decideProblem(err, req)
	case len(ans.Body) == 0:
		return engine.Answer{}, errors.New("the engine gave an answer without a body")
	case !known(ans.Decision), ans.Decision == verdict.Allow && !ans.Allowed:
		return engine.Answer{}, fmt.Errorf("the engine gave decision %q with allowed %t, which is no answer", ans.Decision, ans.Allowed)
	}
	s.metrics.verdict(ans.Decision, ans.From)
	return ans, nil
}
