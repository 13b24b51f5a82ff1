package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/administration"
	"github.com/signet-policy/signet/internal/api"
	"github.com/signet-policy/signet/internal/attest"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/cache"
	"github.com/signet-policy/signet/internal/config"
	"github.com/signet-policy/signet/internal/decisionlog"
	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/kms"
	"github.com/signet-policy/signet/internal/pending"
	"github.com/signet-policy/signet/internal/pep"
	"github.com/signet-policy/signet/internal/pep/mcp"
	"github.com/signet-policy/signet/internal/registry"
	"github.com/signet-policy/signet/internal/signingpolicy"
	"github.com/signet-policy/signet/internal/store"
	"github.com/signet-policy/signet/internal/trust"
)

// storeConfig says which store the configuration means: a PostgreSQL, or the
// file in the data directory.
func storeConfig(f config.File) (store.Config, error) {
	cfg := store.Config{DataDir: f.DataDir, SecretFile: f.Relative(f.SecretFile), Migrate: f.Database.Migrate != "manual"}
	switch {
	case f.Database.URLFile != "":
		body, err := os.ReadFile(f.Relative(f.Database.URLFile))
		if err != nil {
			return store.Config{}, usage("database.url_file: %w", err)
		}
		cfg.URL = strings.TrimSpace(string(body))
		if err := config.CheckDatabaseURL(cfg.URL); err != nil {
			return store.Config{}, usage("database.url_file: %w", err)
		}
	case f.Database.URL != "":
		cfg.URL = f.Database.URL
	}
	return cfg, nil
}

// openStore opens the store for a server's writing; see [store.Open]. With
// database.migrate: manual an older one is left alone, SQLite too, which the store
// itself migrates whenever it is opened for writing.
func openStore(ctx context.Context, f config.File) (*store.Store, error) {
	cfg, err := storeConfig(f)
	if err != nil {
		return nil, err
	}
	return openFor(ctx, cfg)
}

// openStoreOnce is openStore for one command. It may make the schema of an empty
// database, and changes no other: servers of an older version that share it would
// stop deciding. A data directory has no other process to mind.
func openStoreOnce(ctx context.Context, f config.File) (*store.Store, error) {
	cfg, err := storeConfig(f)
	if err != nil {
		return nil, err
	}
	if cfg.URL != "" && cfg.Migrate {
		have, _, _, err := store.SchemaStatus(ctx, cfg)
		if err != nil {
			return nil, err
		}
		cfg.Migrate = have == 0
	}
	return openFor(ctx, cfg)
}

func openFor(ctx context.Context, cfg store.Config) (*store.Store, error) {
	if cfg.URL == "" && !cfg.Migrate {
		have, want, _, err := store.SchemaStatus(ctx, cfg)
		switch {
		case err != nil && !errors.Is(err, store.ErrNoStore):
			return nil, err
		case have < want:
			return nil, fmt.Errorf("%w (schema %d, this one uses %d): run signet migrate up", store.ErrOlderSchema, have, want)
		}
	}
	return store.Open(ctx, cfg)
}

// labelCache is what the key of the shared cache is derived under.
const labelCache = "cache"

func newCache(f config.File, secret auth.Secret, log *slog.Logger) (*cache.Cache, error) {
	cfg := cache.Config{MaxBytes: f.Cache.MemoryBytes, Build: build(), Log: log}
	if r := f.Cache.Redis; r.Set() {
		redis, err := redisConfig(f, r)
		if err != nil {
			return nil, err
		}
		if cfg.Key, err = secret.Derive(labelCache); err != nil {
			return nil, err
		}
		cfg.Redis = &redis
	}
	c, err := cache.New(cfg)
	if err != nil {
		return nil, wrapUsage("cache.redis", err)
	}
	return c, nil
}

func redisConfig(f config.File, r config.Redis) (cache.RedisConfig, error) {
	out := cache.RedisConfig{
		URL: r.URL, Addresses: r.Addresses, Mode: r.Mode, SentinelMaster: r.SentinelMaster,
		SentinelUsername: r.SentinelUsername, Username: r.Username, PasswordFile: f.Relative(r.PasswordFile),
		TLS: cache.RedisTLS{
			Enabled: r.TLS.Enabled, CAFile: f.Relative(r.TLS.CAFile),
			CertFile: f.Relative(r.TLS.CertFile), KeyFile: f.Relative(r.TLS.KeyFile), ServerName: r.TLS.ServerName,
		},
		DB: r.DB, Prefix: r.Prefix, Timeout: durationOf(r.Timeout),
	}
	sentinel, err := secretFrom(f.Relative(r.SentinelPasswordFile), "")
	if err != nil {
		return out, usage("cache.redis.sentinel_password_file: %w", err)
	}
	password, err := secretFrom("", r.PasswordEnv)
	if err != nil {
		return out, usage("cache.redis.password_env: %w", err)
	}
	out.SentinelPassword, out.Password = cache.Password(sentinel), cache.Password(password)
	return out, nil
}

// rekey makes the shared cache forget what was written under an older secret.
func rekey(c *cache.Cache, secret auth.Secret) error {
	key, err := secret.Derive(labelCache)
	if err != nil {
		return err
	}
	return c.Rekey(key)
}

// newAdministration makes the service; prepared takes the policies that it tries.
func newAdministration(f config.File, s *store.Store, prepared *preparedPolicies, activated func(bundle, outcome string), log *slog.Logger) (*administration.Service, error) {
	sources, err := bundleSources(f)
	if err != nil {
		return nil, err
	}
	cfg := administration.Config{
		Store: s, Log: log, LongestException: longestException(f), ImageName: referenceName,
		WebhookKey: func(ctx context.Context, name string) ([]byte, error) { return webhookKey(ctx, f, s, name) },
		Archives:   bundleArchives{}, Sources: sources, Activated: activated,
		CheckPolicy: func(ctx context.Context, p *signingpolicy.Policy, archive []byte) error {
			return prepared.check(ctx, p, archive, f.Limits)
		},
	}
	if !f.Offline {
		resolver, err := newKMS(f)
		if err != nil {
			return nil, err
		}
		cfg.KMS = resolver
		client, err := administratorsClient(f)
		if err != nil {
			return nil, err
		}
		cfg.TUF = trust.Refresher{Client: client, UserAgent: "signet/" + version}
	}
	// What is tried before it comes into force is tried on what the store keeps. The
	// policies in force are compiled for that when it is first asked for.
	var recent *previewer
	cfg.Preview = func(ctx context.Context, proposed store.Snapshot) (int, []string, error) {
		return recent.activation(ctx, proposed)
	}
	admin, err := administration.New(cfg)
	if err != nil {
		return nil, err
	}
	recent, err = localPreviews(f, s, admin, log)
	return admin, err
}

// longestException is how far ahead an exception may end.
func longestException(f config.File) time.Duration {
	return time.Duration(f.ExceptionsMaxDays) * 24 * time.Hour
}

func newKMS(f config.File) (*kms.Resolver, error) {
	r, err := kms.New(kms.Config{AllowedHosts: f.KMS.AllowedHosts, Timeout: durationOf(f.KMS.Timeout)})
	if err != nil {
		return nil, wrapUsage("kms", err)
	}
	return r, nil
}

// pinKMS gives the policy's own kms signers their keys: read from the service,
// or, when that is out of reach, those that the store has from before.
func pinKMS(ctx context.Context, f config.File, s *store.Store, p *signingpolicy.Policy) (*signingpolicy.Policy, error) {
	if !p.NeedsKMS() {
		return p, nil
	}
	if f.Offline {
		return nil, usage("policy %s: type: kms needs its service to be asked, and offline: true forbids it; "+
			"give the key beside key_ref, or use type: public_key", p.Name)
	}
	resolver, err := newKMS(f)
	if err != nil {
		return nil, err
	}
	known, err := keptKMSKeys(ctx, s, p.Name)
	if err != nil {
		return nil, err
	}
	err = p.ResolveKMS(func(ref string) (string, error) {
		pem, err := resolver.PublicKeys(ctx, ref)
		if err != nil && known[ref] != "" && !errors.Is(err, kms.ErrNotAllowed) {
			return known[ref], nil
		}
		return pem, err
	})
	if err != nil {
		return nil, wrapUsage("policy "+p.Name, err)
	}
	return p, nil
}

// keptKMSKeys are the keys of a stored policy's own kms signers, by reference.
func keptKMSKeys(ctx context.Context, s *store.Store, name string) (map[string]string, error) {
	if s == nil {
		return nil, nil
	}
	row, err := s.Policy(ctx, name)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	old, err := signingpolicy.Parse([]byte(row.Body))
	if err != nil {
		return nil, nil //nolint:nilerr // written by another version; its keys are not needed
	}
	return old.KMSKeys(), nil
}

// apiParts is what the REST face is made of.
type apiParts struct {
	file     config.File
	decider  api.Decider
	store    *store.Store
	admin    *administration.Service
	log      *slog.Logger
	stats    *engine.Stats
	shadows  func() ([]engine.ShadowCount, int64)
	cache    *cache.Cache
	batch    *store.Batch
	recorder *recorder
	source   engine.Source
	// registries is nil where no registry is asked.
	registries *registry.Client
	past       pastVerdicts
	watching   *watching
	core       *pep.Core
	pending    *pending.Queue
	// decisions is nil where no decision log is written.
	decisions *decisionlog.Log
	// collectors are metrics of other parts.
	collectors []prometheus.Collector
	previews   api.Previews
	// attester is nil where verdicts cannot be attested.
	attester *attest.Attester
	// plugin is the face of MCP gateways.
	plugin *mcp.Server
}

func newAPI(p apiParts) (*api.Server, error) {
	proxies, err := trustedProxies(p.file)
	if err != nil {
		return nil, err
	}
	faces, err := newFaces(p.file, p.core, p.admin)
	if err != nil {
		return nil, err
	}
	counters, gauges := p.watching.metrics()
	var attester api.Attester // nil must be nil
	if p.attester != nil {
		attester = p.attester
	}
	return api.New(api.Config{
		Attester: attester,
		Faces:    append(faces, asFace(p.plugin, p.core)), ExternalURL: p.file.ExternalURL, VerdictTimeout: durationOf(p.file.Deadlines.REST),
		Decider: p.decider, Events: happened{p.store, p.watching.feed}, Gauges: gauges, Verdicts: history{p.store}, Past: p.past, Administration: p.admin,
		Build: build(), Log: p.log, Stats: p.stats,
		ImageName:      imageName(p.source),
		Requests:       requests{p.pending},
		Previews:       p.previews,
		Workbench:      newWorkbench(p.file),
		Checks:         checks(p),
		MoreChecks:     moreChecks(p.admin),
		Registries:     registriesOf(p.registries),
		Collectors:     p.collectors,
		RateLimit:      rateLimit(p.file.RateLimit),
		TrustedProxies: proxies,
		TokenUsed:      p.batch.Touch,
		Shadows:        p.shadows,
		Counters: append(append(decisionCounters(p.decisions), counters...), []api.Counter{
			{Name: "signet_uses_dropped_total", Help: "Uses of verdicts that were not counted, because too many waited.", Value: func() float64 { return float64(p.batch.Dropped()) }},
			{Name: "signet_records_lost_total", Help: "Verdicts that were given under active.grace and could not be recorded.", Value: func() float64 { return float64(p.recorder.lost.Load()) }},
			{Name: "signet_redis_hits_total", Help: "Values that Redis had.", Value: func() float64 { return float64(p.cache.Stats().Redis.Hits) }},
			{Name: "signet_redis_misses_total", Help: "Values that Redis did not have.", Value: func() float64 { return float64(p.cache.Stats().Redis.Misses) }},
			{Name: "signet_redis_errors_total", Help: "Calls to Redis that failed or were too slow.", Value: func() float64 { return float64(p.cache.Stats().Redis.Errors) }},
			{Name: "signet_redis_rejected_total", Help: "Values in Redis that were not ours, or not for this.", Value: func() float64 {
				n := uint64(0)
				for _, of := range p.cache.Stats().Redis.Rejected {
					n += of
				}
				return float64(n)
			}},
		}...),
	})
}

// rateLimit is r with its default.
func rateLimit(r config.RateLimit) api.RateLimit {
	if r.PerSecond > 0 && r.Burst == 0 {
		r.Burst = max(1, int(r.PerSecond))
	}
	return api.RateLimit{PerSecond: r.PerSecond, Burst: r.Burst}
}

// registriesOf tells how it went with the registries that a client has asked.
func registriesOf(c *registry.Client) func() []client.Dependency {
	if c == nil {
		return nil
	}
	return func() []client.Dependency {
		known := c.Health()
		out := make([]client.Dependency, 0, len(known))
		for _, h := range known {
			d := client.Dependency{Kind: client.DependencyRegistry, Name: h.Host, State: "ok", Optional: true}
			if at := h.LastSuccess.UTC(); !h.LastSuccess.IsZero() {
				d.LastSuccess = &at
			}
			if at := h.LastFailure.UTC(); !h.LastFailure.IsZero() {
				d.LastFailure = &at
			}
			if h.LastFailure.After(h.LastSuccess) {
				d.State, d.Error = "failing", h.Failure
			}
			out = append(out, d)
		}
		return out
	}
}

func checks(p apiParts) []api.Check {
	list := []api.Check{{Name: "store", Run: func(ctx context.Context) error { _, err := p.store.Active(ctx); return err }}}
	if p.file.Cache.Redis.Set() {
		list = append(list, api.Check{Name: "redis", Optional: true, Run: p.cache.Ping})
	}
	if p.decisions != nil {
		list = append(list, api.Check{Name: "decision_log", Optional: true, Run: func(context.Context) error { return p.decisions.Healthy() }})
	}
	// While the last known state is accepted a server without its store is of use;
	// the check of the state fails when that time is over.
	list[0].Optional = p.file.Active.Grace > 0
	return list
}

// moreChecks tells how it stands with keys in key management services, and with
// policy bundles. What was in force stays when one is out of reach, so it makes us
// unready only where a policy waits for its first bundle.
func moreChecks(admin *administration.Service) func(context.Context) []api.CheckOutcome {
	return func(ctx context.Context) []api.CheckOutcome {
		return append(kmsChecks(ctx, admin), bundleChecks(ctx, admin)...)
	}
}

func kmsChecks(ctx context.Context, admin *administration.Service) []api.CheckOutcome {
	health, err := admin.KMSHealth(ctx)
	if err != nil {
		return nil // the store's own check says it
	}
	out := make([]api.CheckOutcome, 0, len(health))
	for name, err := range health {
		o := api.CheckOutcome{Name: "kms." + name, OK: err == nil, Optional: true}
		if err != nil {
			o.Error = err.Error()
		}
		out = append(out, o)
	}
	return out
}

func bundleChecks(ctx context.Context, admin *administration.Service) []api.CheckOutcome {
	failed, waiting, err := admin.BundleHealth(ctx)
	if err != nil {
		return nil // the store's own check says it
	}
	out := make([]api.CheckOutcome, 0, len(failed))
	for _, name := range sortedKeys(failed) {
		why := failed[name]
		out = append(out, api.CheckOutcome{Name: "bundle." + name, OK: why == "", Optional: !slices.Contains(waiting, name), Error: why})
	}
	return out
}

// secretFrom reads a secret from a file or a variable; "" for neither.
func secretFrom(path, env string) (string, error) {
	switch {
	case path != "":
		body, err := os.ReadFile(path) //nolint:gosec // the operator names the file
		return strings.TrimSpace(string(body)), err
	case env != "":
		v := os.Getenv(env)
		if v == "" {
			return "", fmt.Errorf("the variable %s is not set", env)
		}
		return v, nil
	}
	return "", nil
}

func durationOf(d config.Duration) time.Duration { return time.Duration(d) }
