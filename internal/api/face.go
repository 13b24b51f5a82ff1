package api

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/pep"
)

// ProtocolREST is REST's own name among the protocols of a listener.
const ProtocolREST = "rest"

type protocolsKey struct{}

// WithProtocols leaves requests under ctx the paths of these protocols alone, and
// health. Without it there are those of all.
func WithProtocols(ctx context.Context, names []string) context.Context {
	return context.WithValue(ctx, protocolsKey{}, names)
}

// Speaks says whether the listener that a request under ctx came to has a protocol.
func Speaks(ctx context.Context, protocol string) bool {
	names, bound := ctx.Value(protocolsKey{}).([]string)
	return !bound || slices.Contains(names, protocol)
}

// speaks says whether the listener that a request came to has the route.
func (rt *route) speaks(ctx context.Context) bool {
	return rt.protocol == "" || Speaks(ctx, rt.protocol)
}

// faceRoutes are the paths of the protocols beside REST.
func (s *Server) faceRoutes() []*route {
	var list []*route
	for _, f := range s.cfg.Faces {
		for _, r := range f.Routes {
			protocol := f.Protocol
			if r.Open { // whether a server is well may be asked wherever it listens
				protocol = ""
			}
			list = append(list, &route{
				method: r.Method, path: r.Path, protocol: protocol, open: r.Open, anyRole: r.AnyRole, need: auth.Verify, anyQuery: true,
				body: r.Body, media: r.Media, anyMedia: r.Body && r.Media == nil, limit: r.Limit, timeout: r.Deadline, verdict: true, quiet: r.Open,
				serve: s.serveFace(r), fail: s.failFace(r),
			})
		}
	}
	return list
}

func (s *Server) serveFace(r pep.Route) func(context.Context, *call) (reply, error) {
	return func(ctx context.Context, c *call) (reply, error) {
		req := s.faceRequest(c)
		req.Body, req.State, req.Principal = c.body, c.state, c.principal
		return s.fromFace(c, r.Serve(ctx, req)), nil
	}
}

// failFace says a problem in the words of the protocol.
func (s *Server) failFace(r pep.Route) func(*call, *problem) reply {
	return func(c *call, p *problem) reply {
		req := s.faceRequest(c)
		req.Body = c.body
		return s.fromFace(c, r.Fail(req, failure(p)))
	}
}

func failure(p *problem) pep.Failure {
	return pep.Failure{Status: p.status(), Code: string(p.code), Detail: p.detail, RetryAfter: p.retryAfter}
}

func (s *Server) faceRequest(c *call) *pep.Request {
	r := c.echo.Request()
	var mu sync.Mutex
	left := s.cfg.RateLimit.Burst - 1 // the request itself was the first
	return &pep.Request{
		ID: c.id, HTTP: r, Rest: rest(r, c.route.path), Begun: c.begun, Current: s.current, Ready: s.readyError,
		Admit: func(n int) *pep.Failure {
			mu.Lock()
			defer mu.Unlock()
			// More than a whole bucket counts as a whole one, or it could never be asked.
			n = max(min(n, left), 0)
			if err := s.admit(c, n); err != nil {
				f := failure(asProblem(err))
				return &f
			}
			left -= n
			return nil
		},
	}
}

// rest are the segments behind the fixed part of a path that ends in "*".
func rest(r *http.Request, path string) []string {
	fixed, ok := strings.CutSuffix(path, "*")
	if !ok {
		return nil
	}
	behind, _ := strings.CutPrefix(r.URL.EscapedPath(), fixed)
	list := strings.Split(behind, "/")
	for i, segment := range list {
		if plain, err := url.PathUnescape(segment); err == nil {
			list[i] = plain
		}
	}
	return list
}

// fromFace is a face's reply, told to the log and to metrics.
func (s *Server) fromFace(c *call, r pep.Reply) reply {
	c.image = r.Image
	for _, g := range r.Given {
		s.metrics.verdict(g.Decision, g.From)
		c.decision, c.cache = g.Decision, g.From
	}
	if len(r.Given) > 1 {
		c.decision, c.cache = "", engine.FromMiss
	}
	return reply{status: r.Status, contentType: r.ContentType, body: r.Body, retryAfter: r.RetryAfter}
}

// readyError says what keeps the server from being of use.
func (s *Server) readyError(ctx context.Context) error {
	if _, err := s.current(ctx); err != nil {
		return errors.New("what is in force cannot be read")
	}
	for _, o := range s.checked(ctx) {
		if !o.OK && !o.Optional {
			return errors.New("the check " + o.Name + " fails")
		}
	}
	if s.draining.Load() {
		return errors.New("the server is stopping")
	}
	return nil
}

// problemReply says a problem: in the words of the face, or as REST does.
func (s *Server) problemReply(c *call, p *problem, h http.Header) reply {
	if c.route.fail != nil {
		out := c.route.fail(c, p)
		if out.status >= http.StatusBadRequest {
			p.headers(h, false)
		}
		return out
	}
	p.headers(h, c.route.page)
	return reply{status: p.status(), contentType: mediaProblem, body: p.body(c.id, c.route.verdict)}
}
