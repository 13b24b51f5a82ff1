package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/signet-policy/signet/internal/api"
	"github.com/signet-policy/signet/internal/cache"
	"github.com/signet-policy/signet/internal/config"
	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/policy"
	"github.com/signet-policy/signet/internal/signers"
	"github.com/signet-policy/signet/internal/signingpolicy"
	"github.com/signet-policy/signet/internal/store"
	"github.com/signet-policy/signet/internal/trust"
)

type serveCmd struct {
	commonFlags
	sourceFlags
	policyFlags
	Listen string `help:"Address of the HTTP server (default 127.0.0.1:8090)." placeholder:"ADDR" env:"SIGNET_LISTEN"`
	Demo   bool   `help:"Serve sample images from an in-process registry, on a data directory that goes at exit."`
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
		if err := config.CheckListen(f.Listen, f.ListenInsecure); err != nil {
			return &exit{code: exitUsage, err: err}
		}
	}
	if c.Demo {
		return c.demo(ctx, std, f)
	}
	keys, err := readKeys(c.Key)
	if err != nil {
		return err
	}
	sp, err := choosePolicy(f, c.policyFlags, keys)
	if err != nil {
		return err
	}
	roots, err := loadRoots(f, c.TrustedRoot)
	if err != nil {
		return err
	}
	srv, err := newServer(ctx, std, serverParts{file: f, policy: sp, roots: roots, keys: keys})
	if err != nil {
		return err
	}
	defer srv.close()
	listener, err := listen(ctx, f.Listen)
	if err != nil {
		return err
	}
	srv.log.Info("listening", "address", "http://"+listener.Addr().String(), "data_dir", f.DataDir, "build", build())
	srv.hints(ctx)
	return srv.run(ctx, listener)
}

func listen(ctx context.Context, addr string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen: %w; choose another address with --listen", err)
	}
	return l, nil
}

// serverParts is what a server is made of.
type serverParts struct {
	file   config.File
	policy *signingpolicy.Policy
	roots  []*trust.Root
	keys   []signers.Key
	quiet  bool
}

// server is the service: everything connected.
type server struct {
	log     *slog.Logger
	store   *store.Store
	cache   *cache.Cache
	inForce *inForce
	engine  *engine.Engine
	api     *api.Server
	file    config.File
	stop    []func()
}

// newServer connects the parts. The caller closes it.
func newServer(ctx context.Context, std streams, parts serverParts) (*server, error) {
	s := &server{log: newLogger(std.err, parts.file.Log, parts.quiet), file: parts.file}
	if err := s.connect(ctx, parts); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *server) connect(ctx context.Context, parts serverParts) (err error) {
	f := parts.file
	if s.store, err = store.Open(ctx, store.Config{DataDir: f.DataDir, SecretFile: f.SecretFile}); err != nil {
		return err
	}
	s.stop = append(s.stop, func() { _ = s.store.Close() })
	if s.cache, err = cache.New(cache.Config{MaxBytes: f.Cache.MemoryBytes}); err != nil {
		return err
	}
	s.stop = append(s.stop, s.cache.Close)
	set, err := loadPolicy(ctx, parts.policy, f.Limits)
	if err != nil {
		return err
	}
	s.inForce = &inForce{
		file: f, store: s.store, policy: parts.policy, set: set, keys: parts.keys, memo: memo{s.cache}, log: s.log,
	}
	if err := s.inForce.useRoots(ctx, parts.roots, "configuration loaded"); err != nil {
		return err
	}
	client, err := newRegistryClient(f, false)
	if err != nil {
		return err
	}
	s.stop = append(s.stop, client.Close)
	s.engine, err = engine.New(engine.Config{
		Source: registrySource{client: client}, Current: s.inForce.current, Cache: s.cache, Recorder: recorder{s.store},
		Limits: f.Limits, DecisionMaxAge: durationOf(f.Cache.DecisionMaxAge), MaxStaleness: durationOf(f.MaxStaleness),
		Build: build(), Log: s.log,
	})
	if err != nil {
		return err
	}
	if _, err := s.engine.Current(ctx); err != nil { // a signer that cannot be read shows now, not at the first request
		return err
	}
	s.api, err = api.New(api.Config{
		Decider: s.engine, Verdicts: history{s.store}, Build: build(), Log: s.log, Stats: s.engine.Stats(),
		Checks: []api.Check{{Name: "store", Run: func(ctx context.Context) error { _, err := s.store.Active(ctx); return err }}},
	})
	if err != nil {
		return err
	}
	stopControl, err := serveControl(ctx, f.DataDir, &storeAdministration{store: s.store, by: commandLineActor()}, s.log)
	if err != nil {
		return err
	}
	s.stop = append(s.stop, stopControl)
	return nil
}

// run serves until ctx ends, then lets requests under way finish.
func (s *server) run(ctx context.Context, listener net.Listener) error {
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	refreshed := make(chan struct{})
	go func() {
		defer close(refreshed)
		s.inForce.keepFresh(background)
	}()
	srv := api.NewHTTPServer(listener.Addr().String(), s.api)
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(listener) }()
	select {
	case err := <-failed:
		cancel()
		<-refreshed
		return err
	case <-ctx.Done():
	}
	s.log.Info("stopping")
	s.api.Drain()
	stopping, done := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer done()
	err := srv.Shutdown(stopping)
	if errors.Is(err, context.DeadlineExceeded) {
		err = errors.Join(fmt.Errorf("requests under way did not finish within %s", shutdownTime), srv.Close())
	}
	cancel()
	<-refreshed
	if served := <-failed; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// close undoes newServer, last first.
func (s *server) close() {
	for i := len(s.stop) - 1; i >= 0; i-- {
		s.stop[i]()
	}
	s.stop = nil
}

// hints says what to do first on an empty installation, and what is unsafe.
func (s *server) hints(ctx context.Context) {
	st, err := s.engine.Current(ctx)
	if err != nil {
		return
	}
	if st.Tokens.Len() == 0 {
		s.log.Warn("there are no API tokens, so nobody can ask", "do", "signet token create --role admin --name first --data-dir "+s.file.DataDir)
	}
	if st.Policies[0].Signers.Len() == 0 {
		s.log.Warn("there are no trusted signers, so every image is denied", "do", "signet signers add --issuer URL --subject ID --data-dir "+s.file.DataDir)
	}
	for host, r := range s.file.Registries {
		if r.Insecure {
			s.log.Warn("registry is asked over plain HTTP", "registry", host)
		}
	}
	if s.file.ListenInsecure {
		s.log.Warn("tokens cross the network in clear text unless a proxy speaks TLS (listen_insecure)")
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

func loadPolicy(ctx context.Context, sp *signingpolicy.Policy, limits evidenceLimits) (*policy.Set, error) {
	params, err := sp.Params()
	if err != nil {
		return nil, err
	}
	set, err := policy.Load(ctx, policy.Source{Name: sp.Name, Params: params, Limits: limits})
	if err != nil {
		return nil, fmt.Errorf("policy %s: %w", sp.Name, err)
	}
	return set, nil
}
