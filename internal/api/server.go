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

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/administration"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/pep"
)

// Server is the REST face, an [http.Handler] that is safe for concurrent use.
type Server struct {
	cfg     Config
	echo    *echo.Echo
	calls   sync.Pool // of *call
	metrics *metrics
	ready   readiness
	// limits are the principals' buckets, nil without a limit.
	limits   *buckets[string]
	guesses  guesses
	draining atomic.Bool
	// drained is closed when it begins to drain, so that streams end.
	drained chan struct{}
	// streams are those who listen for events.
	streams  atomic.Int64
	previews previews
	work     *work
	core     *pep.Core
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
	m, err := newMetrics(registry, cfg)
	if err != nil {
		return nil, fmt.Errorf("api: registering metrics: %w", err)
	}
	s := &Server{
		cfg: cfg, echo: echo.New(), metrics: m, guesses: newGuesses(), drained: make(chan struct{}),
		previews: previews{by: map[string]bool{}}, work: newWork(),
	}
	s.core, err = pep.New(pep.Config{Decider: cfg.Decider, ImageName: cfg.ImageName, ExternalURL: cfg.ExternalURL, Build: cfg.Build, Log: cfg.Log, Now: cfg.Now})
	if err != nil {
		return nil, err
	}
	if cfg.Events != nil {
		if err := registry.Register(s.countStreams()); err != nil {
			return nil, fmt.Errorf("api: registering metrics: %w", err)
		}
	}
	if cfg.RateLimit != (RateLimit{}) {
		s.limits = newBuckets[string](cfg.RateLimit, mostPrincipals)
	}
	s.echo.Logger.SetOutput(io.Discard) // we log ourselves
	s.echo.IPExtractor = IPExtractor(cfg.TrustedProxies)
	s.echo.HTTPErrorHandler = s.unrouted
	s.notFound = s.prepare(&route{path: "(none)", anyRole: true, anyQuery: true, serve: nothingHere})
	s.wrongMethod = s.prepare(&route{path: "(method)", anyRole: true, anyQuery: true, serve: notThisMethod})
	s.mount(append(s.restRoutes(registry), s.faceRoutes()...))
	return s, nil
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.echo.ServeHTTP(w, r) }

// Drain makes /readyz answer 503 from now on, so that balancers send no new
// requests while those under way are finished.
func (s *Server) Drain() {
	if s.draining.CompareAndSwap(false, true) {
		close(s.drained)
	}
}

// v1 is where the REST API begins.
const v1 = "/api/v1"

// restRoutes are REST's, on the listeners that speak it.
func (s *Server) restRoutes(registry *prometheus.Registry) []*route {
	list := s.routes(registry)
	for _, rt := range list {
		if rt.path != "/healthz" && rt.path != "/readyz" {
			rt.protocol = ProtocolREST
		}
		if rt.verdict {
			rt.timeout = s.cfg.VerdictTimeout
		}
	}
	return list
}

// routes are those of REST; openapi.json describes the same.
func (s *Server) routes(registry *prometheus.Registry) []*route {
	verdicts := []*route{
		{
			method: http.MethodPost, path: v1 + "/verdicts", need: auth.Verify, body: true, mayBeLarge: true, verdict: true,
			serve: withJSON(verdictExample, nil, s.postVerdict),
		},
		{
			method: http.MethodGet, path: v1 + "/verdicts", need: auth.Read, serve: s.listVerdicts,
			query: []string{"image", "name", "digest", "decision", "signer", "identity", "assessment_id", "reason_code", "since", "until", "limit", "cursor", "at"},
		},
		{method: http.MethodPost, path: v1 + "/verdicts/batch", need: auth.Verify, body: true, large: true, verdict: true, serve: withJSON(batchExample, nil, s.postBatch)},
		{method: http.MethodGet, path: v1 + "/verdicts/:id", need: auth.Read, serve: s.getVerdict},
		{method: http.MethodGet, path: v1 + "/verdicts/:id/input", need: auth.Read, query: []string{"policy"}, serve: s.getInput},
		{method: http.MethodGet, path: v1 + "/verdicts/:id/uses", need: auth.Read, serve: s.getUses},
		{method: http.MethodGet, path: v1 + "/assessments/:id", need: auth.Read, serve: s.getAssessment},
		{method: http.MethodGet, path: v1 + "/verdicts/:id/attestation", need: auth.Verify, query: []string{"format"}, serve: s.getAttestation},
		{method: http.MethodGet, path: v1 + "/attester", anyRole: true, serve: s.getAttester},
		{method: http.MethodGet, path: v1 + "/whoami", anyRole: true, serve: s.whoami},
	}
	if s.cfg.Requests != nil {
		verdicts = append(verdicts, &route{method: http.MethodGet, path: v1 + "/verdict-requests/:id", anyRole: true, serve: s.getVerdictRequest})
	}
	verdicts = append(verdicts, s.imageSigningRoutes()...)
	if s.cfg.Past != nil {
		verdicts = append(verdicts, &route{method: http.MethodGet, path: v1 + "/verdicts/:id/reproduction", need: auth.Read, serve: s.getReproduction})
	}
	if s.cfg.Events != nil {
		verdicts = append(verdicts, &route{method: http.MethodGet, path: v1 + "/events", need: auth.Read, query: []string{"since", "kind", "image", "limit", "cursor"}, serve: s.listEvents})
	}
	operation := []*route{
		{method: http.MethodGet, path: "/openapi.json", anyRole: true, quiet: true, serve: getOpenAPI},
		{method: http.MethodGet, path: "/docs", anyRole: true, quiet: true, page: true, serve: getDocs()},
		{method: http.MethodGet, path: "/docs/style.css", anyRole: true, quiet: true, page: true, serve: getDocsStyle},
		{method: http.MethodGet, path: "/metrics", need: auth.Read, quiet: true, serve: exposition(registry)},
		{method: http.MethodGet, path: "/healthz", open: true, anyQuery: true, quiet: true, serve: getHealth},
		{method: http.MethodGet, path: "/readyz", open: true, anyQuery: true, quiet: true, serve: s.getReady},
	}
	return slices.Concat(verdicts, s.administrationRoutes(), operation, s.faceRoutes())
}

// administrationRoutes are the paths that change what is in force, and show it.
func (s *Server) administrationRoutes() []*route {
	a := s.cfg.Administration
	if a == nil {
		return nil
	}
	var previews []*route
	if s.cfg.Previews != nil {
		previews = []*route{{method: http.MethodPost, path: v1 + "/policies/preview", need: auth.Policy, body: true, large: true, serve: byJSON(s, previewExample, s.postPreview)}}
	}
	previews = append(previews, s.draftRoutes()...)
	page := []string{"limit", "cursor"}
	patch := []string{mediaMerge, mediaJSON}
	document := []string{mediaYAML, mediaJSON}
	archive := []string{mediaGzip, mediaBundle}
	return append(previews, []*route{
		{method: http.MethodGet, path: v1 + "/signers", need: auth.Read, query: []string{"query", "type", "state", "owner", "enabled", "sort", "limit", "cursor"}, serve: s.by(s.listSigners)},
		{method: http.MethodPost, path: v1 + "/signers", need: auth.Administer, body: true, serve: byJSONOver(s, client.Signer{Enabled: true}, signerExample, s.createSigner)},
		{method: http.MethodGet, path: v1 + "/signers/export", need: auth.Read, serve: s.by(s.exportSigners)},
		{method: http.MethodPost, path: v1 + "/signers/import", need: auth.Administer, body: true, large: true, media: document, query: []string{"dry_run", "replace"}, serve: s.by(s.importSigners)},
		{method: http.MethodPost, path: v1 + "/signers/read-key", need: auth.Administer, body: true, serve: byJSON(s, readKeyExample, s.readKey)},
		{method: http.MethodGet, path: v1 + "/signers/:id", need: auth.Read, serve: s.by(s.getSigner)},
		{method: http.MethodPatch, path: v1 + "/signers/:id", need: auth.Administer, body: true, media: patch, serve: s.by(s.patchSigner)},
		{method: http.MethodDelete, path: v1 + "/signers/:id", need: auth.Administer, serve: s.by(s.deleteSigner)},
		{method: http.MethodPost, path: v1 + "/signers/:id/compromise", need: auth.Administer, body: true, serve: byJSON(s, compromiseExample, s.compromiseSigner)},
		{method: http.MethodPost, path: v1 + "/signers/:id/accept-key", need: auth.Administer, body: true, serve: byJSON(s, acceptExample, s.acceptKey)},
		{method: http.MethodPost, path: v1 + "/signers/:id/refresh-key", need: auth.Administer, serve: s.by(s.refreshKey)},
		{method: http.MethodGet, path: v1 + "/signers/:id/verdicts", need: auth.Read, query: page, serve: s.by(s.signerVerdicts)},

		{method: http.MethodGet, path: v1 + "/tokens", need: auth.Read, query: append([]string{"state"}, page...), serve: s.by(filteredList("state", a.Tokens))},
		{method: http.MethodPost, path: v1 + "/tokens", need: auth.Administer, body: true, serve: byJSON(s, tokenExample, s.createToken)},
		{method: http.MethodGet, path: v1 + "/tokens/:id", need: auth.Read, serve: s.by(s.getToken)},
		{method: http.MethodDelete, path: v1 + "/tokens/:id", need: auth.Administer, serve: s.by(s.revokeToken)},
		{method: http.MethodPost, path: v1 + "/setup", open: true, body: true, serve: withJSON(setupExample, nil, s.setup)},

		{method: http.MethodGet, path: v1 + "/policies", need: auth.Read, query: page, serve: s.by(listOf(a.Policies))},
		{method: http.MethodGet, path: v1 + "/policies/:name", need: auth.Read, serve: s.by(s.getPolicy)},
		{method: http.MethodPut, path: v1 + "/policies/:name", need: auth.Policy, body: true, large: true, media: append(slices.Concat(document, archive), mediaPolicy), query: []string{"owner"}, serve: s.by(s.putPolicy)},
		{method: http.MethodDelete, path: v1 + "/policies/:name", need: auth.Policy, serve: s.by(s.deletePolicy)},
		{method: http.MethodPost, path: v1 + "/policies/:name/exceptions", need: auth.Policy, body: true, serve: byJSON(s, exceptionExample, s.addException)},
		{method: http.MethodDelete, path: v1 + "/policies/:name/exceptions/:n", need: auth.Policy, serve: s.by(s.removeException)},
		{method: http.MethodGet, path: v1 + "/policies/:name/shadow", need: auth.Read, query: page, serve: s.by(s.getShadow)},
		{method: http.MethodGet, path: v1 + "/policies/:name/history", need: auth.Read, query: page, serve: s.by(s.policyHistory)},
		{method: http.MethodGet, path: v1 + "/policies/:name/diff", need: auth.Read, query: []string{"from", "to"}, serve: s.by(s.diffPolicy)},
		{method: http.MethodPost, path: v1 + "/policies/:name/rollback", need: auth.Policy, body: true, serve: byJSON(s, rollbackExample, s.rollbackPolicy)},

		{method: http.MethodGet, path: v1 + "/bundles", need: auth.Read, query: page, serve: s.by(listOf(a.Bundles))},
		{method: http.MethodGet, path: v1 + "/bundles/:name", need: auth.Read, serve: s.by(s.getBundle)},
		{method: http.MethodPut, path: v1 + "/bundles/:name", need: auth.Policy, body: true, large: true, media: append(slices.Clone(archive), mediaKeyedBundle), query: []string{"owner"}, serve: s.by(s.putBundle)},
		{method: http.MethodPatch, path: v1 + "/bundles/:name", need: auth.Administer, body: true, media: patch, serve: s.by(s.patchBundle)},
		{method: http.MethodDelete, path: v1 + "/bundles/:name", need: auth.Policy, serve: s.by(s.deleteBundle)},
		{method: http.MethodGet, path: v1 + "/bundles/:name/archive", need: auth.Read, serve: s.by(s.bundleArchive)},
		{method: http.MethodGet, path: v1 + "/bundles/:name/history", need: auth.Read, query: page, serve: s.by(s.bundleHistory)},
		{method: http.MethodPost, path: v1 + "/bundles/:name/rollback", need: auth.Policy, body: true, serve: byJSON(s, rollbackExample, s.rollbackBundle)},
		{method: http.MethodPost, path: v1 + "/bundles/:name/fetch", need: auth.Policy, serve: s.by(s.fetchBundle)},

		{method: http.MethodGet, path: v1 + "/trust-roots", need: auth.Read, query: page, serve: s.by(listOf(s.trustRoots))},
		{method: http.MethodGet, path: v1 + "/trust-roots/:name", need: auth.Read, serve: s.by(s.getTrustRoot)},
		{method: http.MethodPut, path: v1 + "/trust-roots/:name", need: auth.Administer, body: true, large: true, serve: byJSON(s, trustRootExample, s.putTrustRoot)},
		{method: http.MethodPatch, path: v1 + "/trust-roots/:name", need: auth.Administer, body: true, media: patch, serve: s.by(s.patchTrustRoot)},
		{method: http.MethodDelete, path: v1 + "/trust-roots/:name", need: auth.Administer, serve: s.by(s.deleteTrustRoot)},
		{method: http.MethodPost, path: v1 + "/trust-roots/:name/refresh", need: auth.Administer, serve: s.by(s.refreshTrustRoot)},
		{method: http.MethodGet, path: v1 + "/trust/export", need: auth.Administer, serve: s.by(s.exportTrust)},
		{method: http.MethodGet, path: v1 + "/trust/export-key", need: auth.Administer, serve: s.by(s.exportKey)},
		{method: http.MethodPost, path: v1 + "/trust/import", need: auth.Administer, body: true, large: true, query: []string{"dry_run"}, serve: byJSON(s, trustImportExample, s.importTrust)},

		{method: http.MethodGet, path: v1 + "/dependencies", need: auth.Read, serve: s.by(s.getDependencies)},
		{method: http.MethodGet, path: v1 + "/watch", need: auth.Read, query: []string{"source", "limit", "cursor"}, serve: s.by(s.listWatched)},
		{method: http.MethodPut, path: v1 + "/watch", need: auth.Policy, body: true, serve: byJSON(s, watchExample, s.putWatched)},
		{method: http.MethodDelete, path: v1 + "/watch/:id", need: auth.Policy, serve: s.by(s.deleteWatched)},
		{method: http.MethodGet, path: v1 + "/webhooks/:name/key", need: auth.Administer, serve: s.by(s.webhookKey)},

		{method: http.MethodGet, path: v1 + "/gateways", need: auth.Read, query: append([]string{"query"}, page...), serve: s.by(filteredList("query", a.Gateways))},
		{method: http.MethodGet, path: v1 + "/gateways/:name", need: auth.Read, serve: s.by(s.getGateway)},
		{method: http.MethodPut, path: v1 + "/gateways/:name", need: auth.Administer, body: true, serve: byJSON(s, gatewayExample, s.putGateway)},
		{method: http.MethodDelete, path: v1 + "/gateways/:name", need: auth.Administer, serve: s.by(s.deleteGateway)},

		{method: http.MethodGet, path: v1 + "/audit", need: auth.Read, query: []string{"object", "name", "actor", "action", "since", "until", "before", "limit"}, serve: s.by(s.listAudit)},
		{method: http.MethodGet, path: v1 + "/audit/head", need: auth.Read, serve: s.by(s.auditHead)},
		{method: http.MethodPost, path: v1 + "/audit/verify", need: auth.Read, body: true, serve: byJSON(s, verifyAuditExample, s.verifyAudit)},
		{method: http.MethodPost, path: v1 + "/secret/rotate", need: auth.Administer, serve: s.by(s.rotateSecret)},
	}...)
}

// byJSON is [Server.by] for an endpoint that takes a decoded body.
func byJSON[T any](s *Server, example string, serve func(context.Context, *call, administration.Caller, *T) (reply, error)) func(context.Context, *call) (reply, error) {
	return byJSONOver(s, *new(T), example, serve)
}

// byJSONOver is [byJSON] for a body whose absent fields are those of initial.
func byJSONOver[T any](s *Server, initial T, example string, serve func(context.Context, *call, administration.Caller, *T) (reply, error)) func(context.Context, *call) (reply, error) {
	return s.by(func(ctx context.Context, c *call, by administration.Caller) (reply, error) {
		return withJSONOver(initial, example, nil, func(ctx context.Context, c *call, req *T) (reply, error) { return serve(ctx, c, by, req) })(ctx, c)
	})
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
			path: path, protocol: paths[path][0].protocol, open: paths[path][0].open, anyRole: true, anyQuery: true, quiet: true,
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

// IPExtractor finds a caller's address, and believes nobody's headers but those of
// the named proxies.
func IPExtractor(trusted []netip.Prefix) echo.IPExtractor {
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
