package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/pep"
	"github.com/signet-policy/signet/internal/verdict"
)

// call is one request on its way through. It is used again for later requests,
// so nothing may keep it.
type call struct {
	echo  echo.Context
	route *route
	id    string
	begun time.Time
	// state is what is in force, read once, after the body had come.
	state     *engine.State
	principal auth.Principal
	// vouched says that the connection, not a token, gave the principal.
	vouched bool
	body    []byte
	// batch names the batch whose items are being decided, "" for none.
	batch string

	// What the log and the counters are told.
	image    string
	decision verdict.Decision
	cache    string
	streamed bool
}

// keepBuffer is the largest body buffer that is kept for the next request.
const keepBuffer = 64 << 10

func (c *call) reset() {
	buf := c.body[:0]
	if cap(buf) > keepBuffer {
		buf = nil
	}
	*c = call{body: buf}
}

// run takes a request through all steps. It never returns an error: whatever
// goes wrong has been answered.
func (s *Server) run(ec echo.Context, rt *route) {
	c, ok := s.calls.Get().(*call)
	if !ok {
		c = &call{}
	}
	r, w := ec.Request(), ec.Response()
	if !rt.speaks(r.Context()) {
		rt = s.notFound
	}
	c.echo, c.route, c.begun = ec, rt, s.cfg.Now()
	c.id = requestID(r.Header)
	h := w.Header()
	h[headerRequestID] = []string{c.id}
	secure(h)
	if rt.page {
		h["Content-Security-Policy"] = valuePagePolicy
	}

	out, err := s.answer(r, c)
	var p *problem
	switch {
	case err == nil:
	case gone(r, err):
		// Who closed only their own side still reads, and would take silence for 200. It
		// is no abort, because callers in this process would have to recover from that.
		out = s.problemReply(c, leftEarly(), h)
		out.write(w)
		s.finished(c, statusClientGone, nil, err)
		c.reset()
		s.calls.Put(c)
		return
	default:
		p = asProblem(err)
		out = s.problemReply(c, p, h)
	}
	c.streamed = out.stream != nil // for as long as the caller listens, which says nothing of us
	out.write(w)
	s.finished(c, out.status, p, err)
	c.reset()
	s.calls.Put(c)
}

// gone says whether the caller went away, or closed their side of the connection,
// which looks alike: hardly anybody reads an answer.
func gone(r *http.Request, err error) bool {
	return errors.Is(err, context.Canceled) && r.Context().Err() != nil
}

// answer makes a panic an error, which becomes 500: never an allow. What the
// panic interrupted is not used again.
func (s *Server) answer(r *http.Request, c *call) (out reply, err error) {
	defer func() {
		if v := recover(); v != nil {
			s.metrics.panics.Inc()
			s.cfg.Log.ErrorContext(r.Context(), "panic while answering", "request_id", c.id, "route", c.route.path,
				"panic", fmt.Sprint(v), "stack", string(debug.Stack()))
			c.body = nil
			out, err = reply{}, fmt.Errorf("%w: %v", errPanic, v)
		}
	}()
	return s.steps(r, c)
}

// steps are the way of every request: token, body, what is in force, role,
// limit, query, the endpoint.
func (s *Server) steps(r *http.Request, c *call) (reply, error) {
	rt := c.route
	if rt.open {
		return s.openSteps(r, c)
	}
	token, err := s.credential(c)
	if err != nil {
		return reply{}, err
	}
	large := rt.isLarge(r, s.cfg.BodyLimit)
	if large { // no stranger makes us keep a large body, nor who asks too often
		ctx := pep.NewPatience(r.Context(), s.cfg.RequestTimeout)
		defer ctx.End()
		if err := s.known(ctx, c, token); err != nil {
			return reply{}, err
		}
		if err := s.admit(c, 1); err != nil {
			return reply{}, err
		}
	}
	// The body comes before the barrier read, so that a caller who is slow to
	// send it is judged by what is in force when all of it has come.
	bodyProblem := s.read(r, c)
	ctx := pep.NewPatience(r.Context(), s.timeout(rt))
	defer ctx.End()
	if err := s.known(ctx, c, token); err != nil {
		return reply{}, err
	}
	if !large {
		if err := s.admit(c, 1); err != nil {
			return reply{}, err
		}
	}
	if p := rt.checkQuery(r.URL); p != nil {
		return reply{}, p
	}
	if bodyProblem != nil {
		return reply{}, bodyProblem
	}
	return rt.serve(ctx, c)
}

// openSteps are the way of a request that wants no API token.
func (s *Server) openSteps(r *http.Request, c *call) (reply, error) {
	bodyProblem := s.read(r, c)
	ctx := pep.NewPatience(r.Context(), s.timeout(c.route))
	defer ctx.End()
	if p := c.route.checkQuery(r.URL); p != nil {
		return reply{}, p
	}
	if bodyProblem != nil {
		return reply{}, bodyProblem
	}
	return c.route.serve(ctx, c)
}

// timeout is what a request to rt may take once its body has come.
func (s *Server) timeout(rt *route) time.Duration {
	if rt.timeout > 0 {
		return rt.timeout
	}
	return s.cfg.RequestTimeout
}

// isLarge says whether a request has a large body.
func (rt *route) isLarge(r *http.Request, small int64) bool {
	return rt.large || rt.mayBeLarge && r.ContentLength > small
}

// known reads what is in force, and finds out who asks and whether they may.
func (s *Server) known(ctx context.Context, c *call, token string) (err error) {
	if c.state, err = s.current(ctx); err != nil {
		return err
	}
	if err := s.authenticate(c, token); err != nil {
		return err
	}
	if p := c.route.permit(c.principal); p != nil {
		return p
	}
	return nil
}

// read reads the body, where the route takes one.
func (s *Server) read(r *http.Request, c *call) (p *problem) {
	if !c.route.body {
		return nil
	}
	limit := s.cfg.BodyLimit
	if c.route.isLarge(r, s.cfg.BodyLimit) {
		limit = s.cfg.LargeBodyLimit
	}
	if c.route.limit > 0 {
		limit = c.route.limit
	}
	c.body, p = readBody(r, c.body, limit, c.route)
	return p
}

// current is the request's one barrier read. Whatever keeps it from succeeding,
// but the caller's leaving, is the store's trouble.
func (s *Server) current(ctx context.Context) (*engine.State, error) {
	st, err := s.cfg.Decider.Current(ctx)
	switch {
	case err == nil && st != nil:
		return st, nil
	case err == nil:
		return nil, storeUnavailable(errors.New("the decider gave no state"))
	case errors.Is(err, context.Canceled):
		return nil, err
	}
	return nil, storeUnavailable(err)
}

// finished counts and logs one request.
func (s *Server) finished(c *call, status int, p *problem, err error) {
	took := s.cfg.Now().Sub(c.begun)
	if !c.streamed {
		c.route.timing.observe(c.cache, took)
	}
	if p != nil {
		s.metrics.problem(p)
	}
	level := slog.LevelInfo
	switch {
	case p == nil && (c.route.quiet || c.cache != "" && c.cache != engine.FromMiss):
		level = slog.LevelDebug
	case p != nil && p.code == codeInternal:
		level = slog.LevelError
	case p != nil && status >= http.StatusInternalServerError:
		level = slog.LevelWarn
	}
	r := c.echo.Request()
	ctx := r.Context()
	if !s.cfg.Log.Enabled(ctx, level) {
		return
	}
	attrs := append(make([]slog.Attr, 0, 16),
		slog.String("request_id", c.id), slog.String("method", knownMethod(r.Method)), slog.String("route", c.route.path),
		slog.Int("status", status), slog.Duration("took", took), slog.String("remote", c.echo.RealIP()))
	add := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, value))
		}
	}
	add("principal", c.principal.Name)
	add("token_id", c.principal.TokenID)
	add("image", c.image)
	add("decision", string(c.decision))
	add("cache", c.cache)
	if p != nil {
		add("code", string(p.code))
		add("field", p.field)
		err = p.cause
	}
	if err != nil {
		add("error", err.Error())
	}
	s.cfg.Log.LogAttrs(ctx, level, "request", attrs...)
}

// knownMethod keeps what a stranger sends as a method out of the log.
func knownMethod(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return m
	}
	return "other"
}
