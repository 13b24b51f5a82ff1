package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/signet-policy/signet/internal/auth"
)

// Server is the REST face, an [http.Handler] that is safe for concurrent use.
type Server struct {
	cfg      Config
	echo     *echo.Echo
	calls    sync.Pool // of *call
	metrics  *metrics
	ready    readiness
	draining atomic.Bool
	// roles are the lists that requests to the engine share.
	roles map[auth.Role][]string
	// notFound and wrongMethod take requests that no route takes.
	notFound    *route
	wrongMethod *route
}

// New makes the face. It errs when cfg lacks something or its metrics are
// already registered.
func New(cfg Config) (*Server, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	registry := cfg.Metrics
	if registry == nil {
		if registry, err = ownRegistry(); err != nil {
			return nil, fmt.Errorf("api: registering metrics: %w", err)
		}
	}
	m, err := newMetrics(registry, cfg.Build, cfg.Stats)
	if err != nil {
		return nil, fmt.Errorf("api: registering metrics: %w", err)
	}
	s := &Server{cfg: cfg, echo: echo.New(), metrics: m, roles: map[auth.Role][]string{}}
	for _, r := range auth.Roles() {
		s.roles[r] = []string{string(r)}
	}
	s.echo.Logger.SetOutput(io.Discard) // we log ourselves
	s.echo.IPExtractor = ipExtractor(cfg.TrustedProxies)
	s.echo.HTTPErrorHandler = s.unrouted
	s.notFound = s.prepare(&route{path: "(none)", anyRole: true, anyQuery: true, serve: nothingHere})
	s.wrongMethod = s.prepare(&route{path: "(method)", anyRole: true, anyQuery: true, serve: notThisMethod})
	s.mount(s.routes(registry))
	return s, nil
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.echo.ServeHTTP(w, r) }

// Drain makes /readyz answer 503 from now on, so that balancers send no new
// requests while those under way are finished.
func (s *Server) Drain() { s.draining.Store(true) }

// routes is all that there is; openapi.json describes the same.
func (s *Server) routes(registry *prometheus.Registry) []*route {
	const v1 = "/api/v1"
	return []*route{
		{
			method: http.MethodPost, path: v1 + "/verdicts", need: auth.Verify, body: true, verdict: true,
			serve: withJSON(verdictExample, laterFields(), s.postVerdict),
		},
		{method: http.MethodGet, path: v1 + "/verdicts/:id", need: auth.Read, serve: s.getVerdict},
		{method: http.MethodGet, path: v1 + "/verdicts/:id/input", need: auth.Read, query: []string{"policy"}, serve: s.getInput},
		{method: http.MethodGet, path: "/openapi.json", anyRole: true, quiet: true, serve: getOpenAPI},
		{method: http.MethodGet, path: "/metrics", need: auth.Read, quiet: true, serve: exposition(registry)},
		{method: http.MethodGet, path: "/healthz", open: true, quiet: true, serve: getHealth},
		{method: http.MethodGet, path: "/readyz", open: true, quiet: true, serve: s.getReady},
	}
}

// mount registers the routes, HEAD beside every GET, and OPTIONS on every path.
func (s *Server) mount(routes []*route) {
	paths := map[string][]*route{}
	var order []string
	for _, rt := range routes {
		s.prepare(rt)
		if paths[rt.path] == nil {
			order = append(order, rt.path)
		}
		paths[rt.path] = append(paths[rt.path], rt)
		s.add(rt.method, rt)
		if rt.method == http.MethodGet {
			s.add(http.MethodHead, rt) // net/http leaves the body out
		}
	}
	for _, path := range order {
		methods := []string{http.MethodOptions}
		for _, rt := range paths[path] {
			methods = append(methods, rt.method)
			if rt.method == http.MethodGet {
				methods = append(methods, http.MethodHead)
			}
		}
		slices.Sort(methods)
		s.add(http.MethodOptions, s.prepare(&route{
			path: path, open: paths[path][0].open, anyRole: true, anyQuery: true, quiet: true,
			serve: options(strings.Join(methods, ", ")),
		}))
	}
}

func (s *Server) add(method string, rt *route) {
	s.echo.Add(method, rt.path, func(ec echo.Context) error {
		s.run(ec, rt)
		return nil
	})
}

func (s *Server) prepare(rt *route) *route {
	rt.timing = s.metrics.timings(rt.path)
	if rt.verdict {
		rt.timing = s.metrics.byCache(rt.path)
	}
	return rt
}

// unrouted takes what Echo has no route for the same way as everything else, so
// that a caller without a token learns nothing from it.
func (s *Server) unrouted(err error, ec echo.Context) {
	rt := s.notFound
	if errors.Is(err, echo.ErrMethodNotAllowed) {
		rt = s.wrongMethod
		ec.Response().Header().Del("Allow") // comes with the problem, to who has a token
	}
	s.run(ec, rt)
}

func nothingHere(_ context.Context, c *call) (reply, error) {
	return reply{}, &problem{code: codeRouteNotFound, detail: "Nothing is at the path " + shown(c.echo.Request().URL.Path) + ". What there is stands in /openapi.json."}
}

func notThisMethod(_ context.Context, c *call) (reply, error) {
	known, _ := c.echo.Get(echo.ContextKeyHeaderAllow).(string)
	methods := strings.Split(known, ", ")
	slices.Sort(methods)
	r := c.echo.Request()
	return reply{}, &problem{
		code: codeMethodNotAllowed, allow: strings.Join(methods, ", "),
		detail: "The path " + shown(r.URL.Path) + " takes " + oneOf(methods) + ", not " + shown(r.Method) + ".",
	}
}

// options answers OPTIONS. No Access-Control header is ever sent: browsers of
// other origins have no business here.
func options(allow string) func(context.Context, *call) (reply, error) {
	return func(context.Context, *call) (reply, error) {
		return reply{status: http.StatusNoContent, allow: allow}, nil
	}
}

// ipExtractor believes nobody's headers but those of the named proxies.
func ipExtractor(trusted []netip.Prefix) echo.IPExtractor {
	if len(trusted) == 0 {
		return echo.ExtractIPDirect()
	}
	opts := []echo.TrustOption{echo.TrustLoopback(false), echo.TrustLinkLocal(false), echo.TrustPrivateNet(false)}
	for _, p := range trusted {
		p = p.Masked()
		opts = append(opts, echo.TrustIPRange(&net.IPNet{
			IP:   p.Addr().AsSlice(),
			Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen()),
		}))
	}
	return echo.ExtractIPFromXFFHeader(opts...)
}
