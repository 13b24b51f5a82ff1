package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/administration"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/config"
	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/signers"
	"github.com/signet-policy/signet/internal/signingpolicy"
	"github.com/signet-policy/signet/internal/store"
	"github.com/signet-policy/signet/internal/testkit/eventually"
	"github.com/signet-policy/signet/internal/testkit/pgtest"
	"github.com/signet-policy/signet/internal/trust"
)

// seeded is a store with what a server brings when it starts: the default policy
// and the embedded root.
func seededStore(t *testing.T, cfg store.Config) *store.Store {
	t.Helper()
	s := openOwn(t, cfg)
	f := config.Default()
	f.Offline = true
	admin, err := newAdministration(f, s, &preparedPolicies{}, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := admin.SeedPolicies(t.Context(), nil, signingpolicy.Default()); err != nil {
		t.Fatal(err)
	}
	root, err := publicGoodSeed(f, config.TrustRoot{Name: trust.EmbeddedName}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := admin.SeedRoots(t.Context(), []administration.RootSeed{root}); err != nil {
		t.Fatal(err)
	}
	return s
}

func inForceOf(s *store.Store, grace time.Duration) *inForce {
	f := config.Default()
	f.Offline, f.Active.Grace = true, config.Duration(grace)
	return newInForce(inForceConfig{file: f, store: s, log: slog.New(slog.DiscardHandler)})
}

// spoil puts a policy into the store that cannot be compiled: by another version.
func spoil(t *testing.T, s *store.Store) {
	t.Helper()
	_, err := s.Change(t.Context(), store.Actor{Name: "test", From: "test"}, "", func(tx *store.Tx) error {
		_, err := tx.PutPolicy(t.Context(), store.PolicyRow{Name: "new", Source: "api", Body: "signing_policy: {name: new, of_a_later_version: true}\n"})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The state is built once, and anew when active has changed.
func TestInForceFollows(t *testing.T) {
	for name, cfg := range map[string]store.Config{"SQLite": {}, "PostgreSQL": {URL: pgtest.Database(t)}} {
		t.Run(name, func(t *testing.T) {
			s := seededStore(t, cfg)
			f := inForceOf(s, 0)
			first, err := f.current(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			again, err := f.current(t.Context())
			if err != nil || again != first {
				t.Errorf("it was built twice (%v)", err)
			}
			plain, tok, err := auth.NewToken(auth.NewTokenRequest{Name: "x", Role: auth.Viewer, CreatedBy: "test", TTL: time.Hour}, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Change(t.Context(), store.Actor{Name: "test", From: "test"}, "", func(tx *store.Tx) error {
				return tx.CreateToken(t.Context(), tok)
			}); err != nil {
				t.Fatal(err)
			}
			next, err := f.current(t.Context())
			if err != nil || next == first || next.Active.Revision <= first.Active.Revision || next.Tokens.Len() != 1 {
				t.Fatalf("after a change: %+v (%v)", next, err)
			}
			// What did not change is what it was.
			if len(next.Policies) != 1 || next.Policies[0].Set != first.Policies[0].Set {
				t.Error("the policy was compiled again")
			}
			_ = plain
		})
	}
}

// Whoever writes the embedded policy down as it is has written one: it is no fallback
// any more, on a server that runs on as little as on one that starts.
func TestAdoptedPolicyCountsEverywhere(t *testing.T) {
	for name, cfg := range map[string]store.Config{"SQLite": {}, "PostgreSQL": {URL: pgtest.Database(t)}} {
		t.Run(name, func(t *testing.T) {
			s := seededStore(t, cfg)
			running := inForceOf(s, 0)
			before, err := running.current(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if !before.Policies[0].Fallback {
				t.Fatal("the embedded policy is no fallback")
			}
			other := s // which makes the change: on SQLite there is one
			if s.Shared() {
				other = openOwn(t, cfg)
			}
			f := config.Default()
			f.Offline = true
			admin, err := newAdministration(f, other, &preparedPolicies{}, nil, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			row, err := other.Policy(t.Context(), "default")
			if err != nil {
				t.Fatal(err)
			}
			alice := administration.Caller{Principal: auth.Principal{Name: "alice", Role: auth.Admin}}
			if _, err := admin.PutPolicy(t.Context(), alice, "default", "", []byte(row.Body), &row.Version); err != nil {
				t.Fatal(err)
			}
			for where, f := range map[string]*inForce{"the one that runs": running, "one that starts": inForceOf(s, 0)} {
				st, err := f.current(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if st.Policies[0].Fallback || st.Active.Digest == before.Active.Digest {
					t.Errorf("%s: fallback %t, under %+v after %+v", where, st.Policies[0].Fallback, st.Active, before.Active)
				}
			}
			// Decided again, what was in force before is what it was.
			past, err := running.past(t.Context(), before.Active.Revision, true)
			if err != nil || !past.Policies[0].Fallback || past.Active != before.Active {
				t.Errorf("revision %d is put together as %+v (%v)", before.Active.Revision, past, err)
			}
		})
	}
}

// What another server has put into force is built without anybody asking.
func TestInForceIsReadyBeforeItIsAskedFor(t *testing.T) {
	url := pgtest.Database(t)
	s := seededStore(t, store.Config{URL: url})
	f := inForceOf(s, 0)
	if _, err := f.current(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var following sync.WaitGroup
	following.Go(func() { f.follow(ctx) })
	defer following.Wait()
	defer stop()

	other := openOwn(t, store.Config{URL: url})
	sp, err := signingpolicy.ParseAs("another", []byte("mode: audit\ntrusted_signers: [{type: registry}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	admin, err := newAdministration(config.Default(), other, &preparedPolicies{}, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := admin.SeedPolicies(t.Context(), []*signingpolicy.Policy{sp}, nil); err != nil {
		t.Fatal(err)
	}
	compiled := func() bool {
		return slices.ContainsFunc(f.state.Load().policies, func(p inForcePolicy) bool { return p.Name == "another" && p.set != nil })
	}
	for deadline := time.Now().Add(time.Minute); !compiled(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the other server's policy was not compiled before somebody asked")
		}
	}
}

// A state that cannot be built is no state, under active.grace neither: the store
// has named it, so the old one is known not to be in force any more.
func TestInForceCannotBeBuilt(t *testing.T) {
	s := seededStore(t, store.Config{})
	strict, lenient, fresh := inForceOf(s, 0), inForceOf(s, time.Minute), inForceOf(s, time.Minute)
	for _, f := range []*inForce{strict, lenient} {
		if _, err := f.current(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	spoil(t, s)
	for name, f := range map[string]*inForce{"without grace": strict, "with grace": lenient, "with nothing known": fresh} {
		if st, err := f.current(t.Context()); !errors.Is(err, engine.ErrState) || !strings.Contains(err.Error(), "of_a_later_version") {
			t.Errorf("%s: %v, %v", name, st, err)
		}
	}
	// Mended, all is as it should be.
	if _, err := s.Change(t.Context(), store.Actor{Name: "test", From: "test"}, "", func(tx *store.Tx) error {
		return tx.DeletePolicy(t.Context(), "new", 1)
	}); err != nil {
		t.Fatal(err)
	}
	for _, f := range []*inForce{strict, lenient, fresh} {
		if st, err := f.current(t.Context()); err != nil || st.GraceNote != "" {
			t.Errorf("mended: %v", err)
		}
	}
}

// What the store has named another state after is no last known state, when the
// store goes before that one could be read.
func TestInForceSuperseded(t *testing.T) {
	s := seededStore(t, store.Config{URL: pgtest.Database(t)})
	f := inForceOf(s, time.Minute)
	if _, err := f.current(t.Context()); err != nil {
		t.Fatal(err)
	}
	spoil(t, s) // so that it is seen, and cannot be had
	if _, err := f.current(t.Context()); !errors.Is(err, engine.ErrState) {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if st, err := f.current(t.Context()); !errors.Is(err, engine.ErrState) {
		t.Errorf("the state before the last is given: %+v, %v", st, err)
	}
}

// A caller's patience is no limit to what may come into force.
func TestInForceOutlastsItsCaller(t *testing.T) {
	s := seededStore(t, store.Config{})
	f := inForceOf(s, 0)
	slow := make(chan struct{})
	f.cfg.rekey = func(auth.Secret) error { <-slow; return nil }
	brief, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := f.current(brief); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a caller who left: %v", err)
	}
	close(slow)
	eventually.Holds(t, "the state is built", func() bool { return f.state.Load() != nil })
}

// The same where the store cannot be read at all; a caller who leaves is told
// nothing of the store.
func TestInForceWithoutStore(t *testing.T) {
	s := seededStore(t, store.Config{URL: pgtest.Database(t)})
	strict, lenient := inForceOf(s, 0), inForceOf(s, time.Minute)
	for _, f := range []*inForce{strict, lenient} {
		if _, err := f.current(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if st, err := strict.current(t.Context()); !errors.Is(err, engine.ErrState) {
		t.Errorf("without grace: %v, %v", st, err)
	}
	st, err := lenient.current(t.Context())
	if err != nil || !strings.Contains(st.GraceNote, "active.grace") || len(st.Policies) != 1 {
		t.Fatalf("under grace: %+v, %v", st, err)
	}
	if known := lenient.state.Load(); known.State.GraceNote != "" {
		t.Error("the note stays with the state")
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := lenient.current(gone); !errors.Is(err, context.Canceled) || errors.Is(err, engine.ErrState) {
		t.Errorf("a caller who left: %v", err)
	}
	for name, at := range map[string]time.Time{
		"by both clocks": time.Now().Add(-2 * time.Minute),
		// As if the clock on the wall, or the one within, had stood still.
		"by the wall": time.Now().Round(0).Add(-2 * time.Minute),
	} {
		lenient.state.Load().confirmed.Store(&at)
		if st, err := lenient.current(t.Context()); !errors.Is(err, engine.ErrState) {
			t.Errorf("after grace, %s: %v, %v", name, st, err)
		}
	}
}

// A secret that cannot be taken is no state either: the cache would go on under
// the old one.
func TestInForceRekey(t *testing.T) {
	s := seededStore(t, store.Config{})
	f := inForceOf(s, 0)
	taken, refuse := 0, false
	f.cfg.rekey = func(auth.Secret) error {
		if refuse {
			return errors.New("no cache takes that")
		}
		taken++
		return nil
	}
	current := func() error { _, err := f.current(t.Context()); return err }
	change := func(do func(tx *store.Tx) error) {
		t.Helper()
		if _, err := s.Change(t.Context(), store.Actor{Name: "test", From: "test"}, "", do); err != nil {
			t.Fatal(err)
		}
	}
	if err := current(); err != nil || taken != 1 {
		t.Fatalf("at the start: %v, taken %d times", err, taken)
	}
	change(func(tx *store.Tx) error { return tx.Note(t.Context(), "test", "test", nil, nil) })
	if err := current(); err != nil || taken != 1 {
		t.Errorf("another change: %v, taken %d times", err, taken)
	}
	refuse = true
	change(func(tx *store.Tx) error { return tx.RotateSecret(t.Context()) })
	if err := current(); !errors.Is(err, engine.ErrState) {
		t.Errorf("a secret that is not taken: %v", err)
	}
	refuse = false
	if err := current(); err != nil || taken != 2 {
		t.Errorf("then taken: %v, %d times", err, taken)
	}
}

// Settings that active does not name are part of every cached answer's key.
func TestSettings(t *testing.T) {
	digest := func(f config.File, keys ...signers.Key) string {
		t.Helper()
		d, err := settings(f, keys)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	base := digest(config.Default())
	if digest(config.Default()) != base {
		t.Error("the same settings differ")
	}
	for name, change := range map[string]func(*config.File){
		"offline":          func(f *config.File) { f.Offline = true },
		"max_staleness":    func(f *config.File) { f.MaxStaleness = 1 },
		"limits":           func(f *config.File) { f.Limits.CandidateKeys++ },
		"allow_registries": func(f *config.File) { f.AllowRegistries = []string{"a/**"} },
		"registries": func(f *config.File) {
			f.Registries = map[string]config.Registry{"a": {Mirrors: []config.Mirror{{Host: "b", Tags: true}}}}
		},
		"network.ca_files":      func(f *config.File) { f.Network.CAFiles = []string{"a"} },
		"evidence_repositories": func(f *config.File) { f.EvidenceRepositories = map[string]string{"a": "b"} },
	} {
		f := config.Default()
		change(&f)
		if digest(f) == base {
			t.Errorf("%s makes no difference", name)
		}
	}
	if digest(config.Default(), signers.Key{Fingerprint: "aa"}) == base {
		t.Error("--key makes no difference")
	}
}

// Where secrets and the database come from, and what is said when they do not.
func TestSecretsOfTheConfiguration(t *testing.T) {
	dir := t.TempDir()
	write := func(name, body string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	t.Setenv("SIGNET_TEST_PASSWORD", "from the variable")
	f := config.Default()
	f.Database.URLFile = write("url", "postgres://u@h/d\n")
	if cfg, err := storeConfig(f); err != nil || cfg.URL != "postgres://u@h/d" {
		t.Errorf("url_file: %+v, %v", cfg, err)
	}
	for name, path := range map[string]string{"missing": filepath.Join(dir, "none"), "no URL": write("bad", "hunter2"), "empty": write("empty", "")} {
		f.Database.URLFile = path
		if _, err := storeConfig(f); err == nil || !strings.Contains(err.Error(), "database.url_file") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}

	f = config.Default()
	f.Cache.Redis.URL, f.Cache.Redis.PasswordEnv = "redis://h:1", "SIGNET_TEST_PASSWORD"
	if cfg, err := redisConfig(f, f.Cache.Redis); err != nil || cfg.Password != "from the variable" {
		t.Errorf("password_env: %v", err)
	}
	f.Cache.Redis.PasswordEnv = "SIGNET_TEST_NO_SUCH"
	if _, err := redisConfig(f, f.Cache.Redis); err == nil || !strings.Contains(err.Error(), "cache.redis.password_env: the variable SIGNET_TEST_NO_SUCH is not set") {
		t.Errorf("no such variable: %v", err)
	}
	f.Cache.Redis.PasswordEnv, f.Cache.Redis.SentinelPasswordFile = "", filepath.Join(dir, "none")
	if _, err := redisConfig(f, f.Cache.Redis); err == nil || !strings.Contains(err.Error(), "cache.redis.sentinel_password_file") {
		t.Errorf("no such file: %v", err)
	}
	var secret auth.Secret
	if _, err := newCache(f, secret, nil); err == nil {
		t.Error("a cache was made all the same")
	}
}

// What the configuration says of the embedded root is said of it: to leave out a
// demand or a scope would trust more than was meant.
func TestEmbeddedRootAsConfigured(t *testing.T) {
	f := config.File{DataDir: t.TempDir(), TrustRoots: []config.TrustRoot{{
		Name: "pgi", Embedded: true, Images: []string{"ghcr.io/org/**"}, Requires: &config.Requires{Log: true, SCT: true, Timestamp: true},
	}}}
	seeds, err := seedRoots(t.Context(), f, nil, nil)
	if err != nil || len(seeds) != 1 {
		t.Fatalf("%v, %v", seeds, err)
	}
	root, err := seeded(seeds[0], false)
	if err != nil {
		t.Fatal(err)
	}
	if want := (trust.Requires{Log: true, SCT: true, Timestamp: true}); root.Name() != "pgi" || root.Requires() != want || root.Covers("ghcr.io/stranger/app") {
		t.Errorf("root %s requires %+v and covers a stranger's image: %t", root.Name(), root.Requires(), root.Covers("ghcr.io/stranger/app"))
	}
	if !isPublicGood(f, "pgi") || isPublicGood(f, trust.EmbeddedName) || !isPublicGood(config.File{}, trust.EmbeddedName) {
		t.Error("it is not known by its name")
	}
}

// Servers on one store bring the same public-good root, whether they are offline
// or not: else one that is offline would take back what another has refreshed, and
// no trust archive could bring it news. Offline it only has no age.
func TestOfflineBringsTheSameRoot(t *testing.T) {
	online := config.File{DataDir: t.TempDir()}
	offline := online
	offline.Offline = true
	seeds := map[bool]administration.RootSeed{}
	for _, f := range []config.File{online, offline} {
		list, err := seedRoots(t.Context(), f, nil, nil)
		if err != nil || len(list) != 1 {
			t.Fatalf("%v, %v", list, err)
		}
		root, err := seeded(list[0], f.Offline)
		if err != nil {
			t.Fatal(err)
		}
		if got := root.Info().Refreshable(); got == f.Offline {
			t.Errorf("offline %t: has an age: %t", f.Offline, got)
		}
		list[0].Root = nil
		seeds[f.Offline] = list[0]
	}
	if diff := cmp.Diff(seeds[false], seeds[true]); diff != "" {
		t.Error(diff)
	}
}
