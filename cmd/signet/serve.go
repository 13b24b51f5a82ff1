package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/signet-policy/signet/internal/administration"
	"github.com/signet-policy/signet/internal/api"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/cache"
	"github.com/signet-policy/signet/internal/config"
	"github.com/signet-policy/signet/internal/decisionlog"
	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/pending"
	"github.com/signet-policy/signet/internal/pep"
	"github.com/signet-policy/signet/internal/pluginfile"
	"github.com/signet-policy/signet/internal/signers"
	"github.com/signet-policy/signet/internal/signingpolicy"
	"github.com/signet-policy/signet/internal/store"
)

type serveCmd struct {
	commonFlags
	sourceFlags
	policyFlags
	Listen  string `help:"Address of the HTTP server (default 127.0.0.1:8090)." placeholder:"ADDR" env:"SIGNET_LISTEN"`
	Plugins string `help:"Plugin file of an MCP gateway, whose plugins for image signatures are served at /mcp." placeholder:"FILE" type:"path"`
	Demo    bool   `help:"Serve sample images from an in-process registry, on a data directory that goes at exit."`
}

// shutdownTime is what requests under way may take when the server stops.
const shutdownTime = 20 * time.Second

// Run serves until it is interrupted.
func (c serveCmd) Run(ctx context.Context, std streams) error {
	if err := c.policyFlags.check(); err != nil {
		return err
	}
	f, err := c.load(c.sourceFlags)
	if err != nil {
		return err
	}
	if c.Listen != "" {
		f.Listen = c.Listen
		if err := f.CheckListen(); err != nil {
			return &exit{code: exitUsage, err: err}
		}
	}
	if c.Plugins != "" {
		f.MCP.Plugins = c.Plugins
	}
	if err := addPluginsServer(&f); err != nil {
		return err
	}
	if c.Demo {
		return c.demo(ctx, std, f)
	}
	keys, err := readKeys(c.Key)
	if err != nil {
		return err
	}
	if isBundle(c.Policy) {
		return usage("--policy: %s is a policy bundle, which a server has under a name; write it under bundles in the configuration, or put it: signet bundles put; and name it as signing_policy.bundle", c.Policy)
	}
	sp, source, err := choosePolicy(f, c.policyFlags, keys)
	if err != nil {
		return err
	}
	srv, err := newServer(ctx, std, serverParts{file: f, policy: sp, source: source, keys: keys, roots: func(ctx context.Context, st *store.Store) ([]administration.RootSeed, error) {
		return seedRoots(ctx, f, c.TrustedRoot, st)
	}})
	if err != nil {
		return err
	}
	defer srv.close()
	if err := srv.open(ctx); err != nil {
		return err
	}
	srv.hints(ctx, std)
	return srv.run(ctx)
}

// serverParts is what a server is made of.
type serverParts struct {
	file   config.File
	policy *signingpolicy.Policy
	source string // of the policy
	// roots are those that the server brings, given what its store has.
	roots func(context.Context, *store.Store) ([]administration.RootSeed, error)
	keys  []signers.Key
	quiet bool
}

// server is the service: everything connected.
type server struct {
	log      *slog.Logger
	store    *store.Store
	cache    *cache.Cache
	admin    *administration.Service
	prepared *preparedPolicies
	metrics  *bundleMetrics
	inForce  *inForce
	engine   *engine.Engine
	api      *api.Server
	// handler is api, with the page beside it.
	handler  http.Handler
	upkeep   *upkeep
	watching *watching
	core     *pep.Core
	pending  *pending.Queue
	// decisions is the decision log; nil: it is not written.
	decisions *decisionlog.Log
	file      config.File
	faces     []face
	// plugins are those of an MCP gateway.
	plugins pluginfile.File
	stop    []func()
}

// newServer connects the parts. The caller closes it.
func newServer(ctx context.Context, std streams, parts serverParts) (*server, error) {
	s := &server{log: newLogger(std.err, parts.file.Log, parts.quiet), file: parts.file}
	cache.LogRedis(s.log)
	if err := s.connect(ctx, parts); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *server) later(f func()) { s.stop = append(s.stop, f) }

func (s *server) connect(ctx context.Context, parts serverParts) (err error) {
	f := parts.file
	if s.plugins, err = loadPlugins(f); err != nil {
		return err
	}
	if s.store, err = openStore(ctx, f); err != nil {
		return err
	}
	s.later(func() { _ = s.store.Close() })
	secret, err := s.store.Secret(ctx)
	if err != nil {
		return err
	}
	if s.cache, err = newCache(f, secret, s.log); err != nil {
		return err
	}
	s.later(s.cache.Close)
	s.prepared, s.metrics = &preparedPolicies{}, newBundleMetrics(s.store)
	if s.admin, err = newAdministration(f, s.store, s.prepared, s.metrics.activated, s.log); err != nil {
		return err
	}
	if err := s.seed(ctx, parts); err != nil {
		return err
	}
	s.inForce = newInForce(inForceConfig{
		file: f, store: s.store, keys: parts.keys, memo: memo{s.cache}, log: s.log, prepared: s.prepared,
		rekey: func(secret auth.Secret) error { return rekey(s.cache, secret) },
	})
	if s.upkeep, err = newUpkeep(f, s.store, s.admin, s.log); err != nil {
		return err
	}
	if err := s.connectEngine(ctx, parts); err != nil {
		return err
	}
	s.upkeep.beside = append(s.upkeep.beside, s.watching.watcher.Run, s.watching.sender.Run)
	if _, err := s.engine.Current(ctx); err != nil { // what cannot be put in force shows now, not at the first request
		return err
	}
	if f.Database.Set() {
		return nil
	}
	stopControl, err := serveControl(ctx, f.DataDir, s.api, s.log)
	if err != nil {
		return err
	}
	s.later(stopControl)
	return nil
}

// seed puts what the configuration holds into the store.
func (s *server) seed(ctx context.Context, parts serverParts) error {
	policy, err := pinKMS(ctx, s.file, s.store, parts.policy)
	if err != nil {
		return err
	}
	list, fallback := []*signingpolicy.Policy{policy}, (*signingpolicy.Policy)(nil)
	if parts.source == sourceEmbedded {
		list, fallback = nil, policy
	}
	for _, p := range pluginPolicies(s.plugins) {
		if p, err = pinKMS(ctx, s.file, s.store, p); err != nil {
			return err
		}
		list = append(list, p)
	}
	bundles, err := bundleSeeds(s.file)
	if err != nil {
		return err
	}
	if err := s.admin.SeedBundles(ctx, bundles); err != nil {
		return err
	}
	s.fetchFirst(ctx, list)
	if err := s.admin.TryPolicies(ctx, list); err != nil {
		return &exit{code: exitUsage, err: prefixed(s.file.Path, err)}
	}
	if err := s.admin.SeedPolicies(ctx, list, fallback); err != nil {
		return err
	}
	if err := s.admin.DropBundles(ctx, bundles); err != nil {
		return err
	}
	if err := s.admin.SeedGateways(ctx, gatewaySeeds(s.file)); err != nil {
		if errors.Is(err, administration.ErrUnavailable) {
			return err
		}
		return &exit{code: exitUsage, err: prefixed(s.file.Path, err)}
	}
	roots, err := parts.roots(ctx, s.store)
	if err != nil {
		return err
	}
	return s.admin.SeedRoots(ctx, roots)
}

// fetchFirst asks the sources of the configuration's bundles before the server
// answers: those of this machine, which may have changed together with the
// configuration, and those of which there is nothing yet. A server starts without
// those that cannot be had; what was in force stays.
func (s *server) fetchFirst(ctx context.Context, configured []*signingpolicy.Policy) {
	ctx, cancel := context.WithTimeout(ctx, firstFetch)
	defer cancel()
	for _, name := range sortedKeys(s.file.Bundles) {
		if row, err := s.store.Bundle(ctx, name); err == nil && row.Digest != "" && s.file.Bundles[name].Network() {
			continue
		}
		if err := s.admin.FetchFirst(ctx, name, configured); err != nil {
			s.log.Warn("a bundle could not be fetched at the start", "bundle", name, "error", err.Error())
		}
	}
}

func (s *server) connectEngine(ctx context.Context, parts serverParts) error {
	f := parts.file
	client, err := newRegistryClient(f, false)
	if err != nil {
		return err
	}
	s.later(client.Close)
	configured, err := settings(f, parts.keys)
	if err != nil {
		return err
	}
	second, err := newSecondOpinions(s.plugins, client)
	if err != nil {
		return err
	}
	if configured, err = second.settings(configured); err != nil {
		return err
	}
	batch := store.NewBatch(store.BatchConfig{Store: s.store, Log: s.log})
	s.later(batch.Close)
	record := newRecorder(s.store, s.log)
	s.later(record.close)
	source := registrySource{client: client}
	cfg := engine.Config{
		Source: source, Current: s.inForce.current, Cache: s.cache, Recorder: record, Uses: batch, Shadows: record, Settings: configured,
		Limits: f.Limits, DecisionMaxAge: durationOf(f.Cache.DecisionMaxAge), MaxStaleness: durationOf(f.MaxStaleness),
		Build: build(), Log: s.log,
	}
	attester, err := s.connectAttester(ctx, parts)
	if err != nil {
		return err
	}
	if attester != nil {
		cfg.Attester = attester
	}
	if s.decisions, err = openDecisionLog(ctx, f, s.log); err != nil {
		return err
	}
	if s.decisions != nil {
		s.later(func() { closeDecisionLog(s.decisions, s.log) })
		cfg.Decisions = decisions{s.decisions}
	}
	if second != nil {
		cfg.Second = second
	}
	if s.engine, err = engine.New(cfg); err != nil {
		return err
	}
	s.later(s.engine.Close)
	s.watching, err = newWatching(watchParts{file: f, store: s.store, engine: s.engine, inForce: s.inForce, source: source, held: s.upkeep.held, tell: tellDecisionLog(s.decisions), log: s.log})
	if err != nil {
		return err
	}
	s.later(s.watching.feed.Close)
	if err := s.connectFaces(ctx, source); err != nil {
		return err
	}
	s.later(s.pending.Close)
	plugin, err := newMCP(f, s.plugins, mappedGateways{s.admin}, s.log)
	if err != nil {
		return err
	}
	s.api, err = newAPI(apiParts{
		plugin: plugin,
		file:   f, decider: s.engine, store: s.store, admin: s.admin, log: s.log, stats: s.engine.Stats(), shadows: s.engine.ShadowCounts,
		cache: s.cache, batch: batch, recorder: record, source: source, decisions: s.decisions, watching: s.watching, core: s.core, pending: s.pending,
		past:       pastVerdicts{store: s.store, states: s.inForce, engine: s.engine},
		previews:   &previewer{inForce: s.inForce, admin: s.admin, engine: s.engine},
		collectors: []prometheus.Collector{s.metrics}, attester: attester, registries: client,
	})
	if err != nil {
		return err
	}
	s.handler, err = s.withPage(s.api)
	return err
}

// open listens on every address of the configuration.
func (s *server) open(ctx context.Context) (err error) {
	if s.faces, err = openFaces(ctx, s.file, s.handler, s.log); err != nil {
		return err
	}
	for _, f := range s.faces {
		s.log.Info("listening", "address", f.url(), "data_dir", s.file.DataDir, "build", build())
	}
	return nil
}

// run serves until ctx ends, then lets requests under way finish.
func (s *server) run(ctx context.Context) error {
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var kept sync.WaitGroup
	kept.Go(func() { s.upkeep.run(background) })
	kept.Go(func() { s.inForce.follow(background) })
	kept.Go(func() { s.pending.Run(background) })
	defer func() { cancel(); kept.Wait() }()
	if s.decisions != nil {
		defer reopenOnHangup(s.decisions, s.log)()
	}
	failed := make(chan error, len(s.faces))
	for _, f := range s.faces {
		go func() { failed <- f.serve() }()
	}
	var err error
	left := len(s.faces)
	select {
	case err = <-failed:
		left--
	case <-ctx.Done():
	}
	s.log.Info("stopping")
	s.api.Drain()
	stopping, done := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer done()
	errs := []error{err}
	for _, f := range s.faces {
		err := f.server.Shutdown(stopping)
		if errors.Is(err, context.DeadlineExceeded) {
			err = errors.Join(fmt.Errorf("requests under way did not finish within %s", shutdownTime), f.server.Close())
		}
		f.removeSocket()
		errs = append(errs, err)
	}
	for range left {
		errs = append(errs, <-failed)
	}
	return errors.Join(errs...)
}

// close undoes newServer, last first.
func (s *server) close() {
	closeFaces(s.faces)
	for i := len(s.stop) - 1; i >= 0; i-- {
		s.stop[i]()
	}
	s.stop, s.faces = nil, nil
}

// hints says what to do first on an empty installation, and what is unsafe.
func (s *server) hints(ctx context.Context, std streams) {
	st, err := s.engine.Current(ctx)
	if err != nil {
		return
	}
	if st.Tokens.Len() == 0 {
		s.firstStart(ctx, std)
	}
	if !slices.ContainsFunc(st.Policies, func(p engine.Policy) bool { return p.Signers.Len() > 0 }) {
		s.log.Warn("there are no trusted signers, so every image is denied", "do", "signet signers add --issuer URL --subject ID"+onStore(s.file))
	}
	for host, r := range s.file.Registries {
		if r.Insecure {
			s.log.Warn("registry is asked over plain HTTP", "registry", host)
		}
	}
	if s.file.ListenInsecure && !s.file.TLS.On() {
		s.log.Warn("tokens cross the network in clear text unless a proxy speaks TLS (listen_insecure)")
	}
	for _, l := range s.file.Listeners {
		if l.Authentication == config.AuthNone {
			s.log.Warn("whoever can run programs on this machine may ask here without authentication", "address", l.Address, "principal", l.Principal.Name)
		}
	}
}

// onStore are the flags by which a command finds the store of this server; a
// database is found by its configuration.
func onStore(f config.File) string {
	if f.Database.Set() {
		return ""
	}
	return " --data-dir " + f.DataDir
}

// firstStart shows the one-time setup token, on stdout alone: a log is read by
// many.
func (s *server) firstStart(ctx context.Context, std streams) {
	plain, err := s.admin.EnsureSetup(ctx)
	switch {
	case err != nil:
		s.log.Error("no setup token could be made", "error", err.Error())
	case plain == "":
		s.log.Warn("there are no API tokens, and the setup token was shown before", "do", "signet token create --role admin --name first"+onStore(s.file))
	default:
		s.log.Warn("there are no API tokens, so nobody can ask; the setup token on stdout makes the first administrator, once and within 24 hours")
		fmt.Fprintf(std.out, "Setup token, shown this once: %s\nsignet setup --server %s --name admin\n", plain, s.faces[0].url())
	}
}

// newLogger writes structured lines to stderr.
func newLogger(w io.Writer, cfg config.Log, quiet bool) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(cfg.Level)) // validated when the configuration was read
	if quiet {
		level = slog.LevelError
	}
	opts := &slog.HandlerOptions{Level: level}
	if cfg.Format == "text" {
		return slog.New(slog.NewTextHandler(w, opts))
	}
	return slog.New(slog.NewJSONHandler(w, opts))
}
