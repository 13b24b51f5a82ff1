package administration

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/testkit/tuftest"
	"github.com/signet-policy/signet/internal/trust"
)

// A root from a TUF repository: the first time, again, and when the repository
// misbehaves.
func TestTrustRootFromTUF(t *testing.T) {
	s := newSite(t)
	repo := tuftest.New(t, instanceRoot(t, "own", 1))
	in := client.PutTrustRoot{TUFURL: repo.URL(), TUFRoot: repo.Root(1)}
	got := s.mustPut("own", in, nil)
	if got.Kind != "tuf" || got.TUFURL != repo.URL() || got.RefreshedAt == nil || !got.RefreshedAt.Equal(s.now) || got.Error != "" {
		t.Fatalf("got %+v", got)
	}
	refresh := func() (client.TrustRoot, error) { return s.RefreshTrustRoot(t.Context(), s.admin, "own") }

	s.now = s.now.Add(time.Hour)
	repo.RotateRoot()
	repo.Publish(instanceRoot(t, "own", 2))
	got, err := refresh()
	if err != nil {
		t.Fatal(err)
	}
	if want := parsedRoot(t, "own", instanceRoot(t, "own", 2)).Digest(); got.Digest != want || !got.RefreshedAt.Equal(s.now) {
		t.Errorf("got %s of %s, want %s", got.Digest, got.RefreshedAt, want)
	}
	if e := s.lastAudit(); e.Action != "trust_root.update" || e.Actor != "alice" {
		t.Errorf("audited as %+v", e)
	}

	for _, tt := range []struct {
		name  string
		spoil func()
		want  error
		text  string
	}{
		{"rolled back", func() { repo.Rollback(instanceRoot(t, "own", 1)) }, trust.ErrRollback, "the root in use stays"},
		{"signed by a stranger", repo.WrongSignature, trust.ErrUntrusted, ""},
		{"expired", func() { repo.Bump(); repo.Bump(); repo.Expire() }, trust.ErrExpired, ""},
		{"another target", func() { repo.Publish(instanceRoot(t, "own", 3)); repo.Tamper([]byte("{}")) }, trust.ErrUntrusted, ""},
		{"no trusted root", func() { repo.Publish([]byte(`{"a":1}`)) }, trust.ErrInvalid, ""},
		{"an older root, duly signed", func() { repo.Publish(instanceRoot(t, "own", 1)) }, trust.ErrOlder, "begins"},
		{"down", func() { repo.Down(http.StatusBadGateway) }, trust.ErrUnreachable, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s.t = t
			tt.spoil()
			s.unchanged(tt.want, tt.text, func() error { _, err := refresh(); return err })
			s.unchanged(ErrConflict, "", func() error { _, err := refresh(); return err })
			if now := s.trustRoot("own"); now.Error == "" || now.Digest != got.Digest || !now.RefreshedAt.Equal(*got.RefreshedAt) {
				t.Errorf("the root is now %+v", now)
			}
		})
	}
	s.t = t
	repo.Down(0)
	repo.Publish(instanceRoot(t, "own", 4))
	if got, err = refresh(); err != nil || got.Error != "" {
		t.Errorf("after all that: %+v, %v", got, err)
	}
	// What was seen of the repository counts for a put as well, unless an older
	// state is meant.
	repo.Rollback(instanceRoot(t, "own", 2))
	again := client.PutTrustRoot{TUFURL: repo.URL()}
	s.unchanged(nil, "tuf_url:", func() error { _, err := s.put("own", again, &got.Version); return err })
	again.AllowOlder = true
	s.unchanged(nil, "tuf_root:", func() error { _, err := s.put("own", again, &got.Version); return err })
	again.TUFRoot = repo.Root(1)
	if got = s.mustPut("own", again, &got.Version); got.Digest != parsedRoot(t, "own", instanceRoot(t, "own", 2)).Digest() {
		t.Errorf("allowed to be older, and is %s", got.Digest)
	}
	s.mustPut("file", client.PutTrustRoot{TrustedRoot: instanceRoot(t, "file", 1)}, nil)
	s.unchanged(ErrConflict, "is a file", func() error { return second(s.RefreshTrustRoot(t.Context(), s.admin, "file")) })
}

// What one process has seen of a repository keeps another from going back.
func TestRollbackIsRefusedByAnyReplica(t *testing.T) {
	s := newSite(t)
	repo := tuftest.New(t, instanceRoot(t, "own", 1))
	s.mustPut("own", client.PutTrustRoot{TUFURL: repo.URL(), TUFRoot: repo.Root(1)}, nil)
	repo.Publish(instanceRoot(t, "own", 2))
	s.now = s.now.Add(25 * time.Hour)
	if err := s.RefreshDue(t.Context(), s.now, 24*time.Hour); err != nil {
		t.Fatal(err)
	}
	repo.Rollback(instanceRoot(t, "own", 2))
	other := s.service(nil)
	s.unchanged(trust.ErrRollback, "", func() error { return second(other.RefreshTrustRoot(t.Context(), s.admin, "own")) })
}

func TestRefreshDue(t *testing.T) {
	s := newSite(t)
	const every = 24 * time.Hour
	repo := tuftest.New(t, instanceRoot(t, "own", 1))
	s.mustPut("own", client.PutTrustRoot{TUFURL: repo.URL(), TUFRoot: repo.Root(1)}, nil)
	s.mustPut("file", client.PutTrustRoot{TrustedRoot: instanceRoot(t, "file", 1)}, nil)
	asked := func() int {
		t.Helper()
		before := repo.Asked()
		err := s.RefreshDue(t.Context(), s.now, every)
		if err != nil && !errors.Is(err, trust.ErrUnreachable) {
			t.Fatal(err)
		}
		return repo.Asked() - before
	}
	if n := asked(); n != 0 {
		t.Errorf("asked %d times right after", n)
	}
	s.now = s.now.Add(every)
	if n := asked(); n == 0 {
		t.Error("not asked when due")
	}
	if e := s.lastAudit(); e.Actor != "server" || e.Object != "trust_root/own" {
		t.Errorf("audited as %+v", e)
	}
	if n := asked(); n != 0 {
		t.Errorf("asked %d times right after", n)
	}
	s.now = s.now.Add(every)
	repo.Down(http.StatusServiceUnavailable)
	if n := asked(); n == 0 {
		t.Error("not asked when due")
	}
	s.now = s.now.Add(time.Minute)
	if n := asked(); n != 0 {
		t.Errorf("asked %d times a minute after it failed", n)
	}
	s.now = s.now.Add(10 * time.Minute)
	repo.Down(0)
	if n := asked(); n == 0 {
		t.Error("not asked again after it failed")
	}
	if now := s.trustRoot("own"); now.Error != "" || !now.RefreshedAt.Equal(s.now) {
		t.Errorf("the root is now %+v", now)
	}
}

func TestWithoutTUF(t *testing.T) {
	s := newSite(t)
	repo := tuftest.New(t, instanceRoot(t, "own", 1))
	in := client.PutTrustRoot{TUFURL: repo.URL(), TUFRoot: repo.Root(1)}
	s.mustPut("own", in, nil)
	offline, err := New(Config{Store: s.store})
	if err != nil {
		t.Fatal(err)
	}
	s.unchanged(nil, "tuf_url:", func() error { return second(offline.PutTrustRoot(t.Context(), s.admin, "new", in, nil)) })
	s.unchanged(ErrConflict, "cannot be refreshed here", func() error { return second(offline.RefreshTrustRoot(t.Context(), s.admin, "own")) })
	rows, err := s.store.Roots(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for offline, want := range map[bool]bool{true: false, false: true} {
		roots, err := LoadRoots(t.Context(), s.store, rows, offline)
		if err != nil {
			t.Fatal(err)
		}
		if got := roots[0].Info().Refreshable(); got != want {
			t.Errorf("offline %t: refreshable %t", offline, got)
		}
	}
}

// A root that was removed and made anew while it was fetched has the version that
// the first one had, and is another root all the same.
func TestTrustRootMadeAnewWhileFetched(t *testing.T) {
	f := onSQLite(t)
	s := siteOn(t, f)
	repo := tuftest.New(t, instanceRoot(t, "own", 1))
	s.mustPut("last", client.PutTrustRoot{TrustedRoot: instanceRoot(t, "last", 1)}, nil)
	s.mustPut("own", client.PutTrustRoot{TUFURL: repo.URL(), TUFRoot: repo.Root(1)}, nil)
	var anew client.TrustRoot
	slow, err := New(Config{Store: s.store, Now: f.clock.Now, TUF: fetcherFunc(func(ctx context.Context, cfg trust.TUFConfig) (trust.Refreshed, error) {
		if err := s.DeleteTrustRoot(ctx, s.admin, "own", s.trustRoot("own").Version); err != nil {
			t.Error(err)
		}
		f.clock.move(time.Second)
		anew = s.mustPut("own", client.PutTrustRoot{TrustedRoot: instanceRoot(t, "anew", 5)}, nil)
		return s.tuf.Refresh(ctx, cfg)
	})})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := slow.RefreshTrustRoot(t.Context(), s.admin, "own"); !errors.Is(err, ErrStale) {
		t.Errorf("refresh: %v", err)
	}
	if diff := cmp.Diff(anew, s.trustRoot("own")); diff != "" {
		t.Error(diff)
	}
}

// fetcherFunc is a TUF fetcher that does something first.
type fetcherFunc func(context.Context, trust.TUFConfig) (trust.Refreshed, error)

func (f fetcherFunc) Refresh(ctx context.Context, cfg trust.TUFConfig) (trust.Refreshed, error) {
	return f(ctx, cfg)
}

// Fetching takes time, in which somebody else may change the root.
func TestTrustRootChangedWhileFetched(t *testing.T) {
	s := newSite(t)
	repo := tuftest.New(t, instanceRoot(t, "own", 1))
	in := client.PutTrustRoot{TUFURL: repo.URL(), TUFRoot: repo.Root(1)}
	got := s.mustPut("own", in, nil)
	var err error
	slow, bad := New(Config{Store: s.store, Now: func() time.Time { return s.now }, TUF: fetcherFunc(func(ctx context.Context, cfg trust.TUFConfig) (trust.Refreshed, error) {
		got, err = s.PatchTrustRoot(ctx, s.admin, "own", got.Version, fmt.Appendf(nil, `{"position": %d}`, got.Position+1))
		if err != nil {
			t.Error(err)
		}
		return s.tuf.Refresh(ctx, cfg)
	})})
	if bad != nil {
		t.Fatal(bad)
	}
	if _, err := slow.RefreshTrustRoot(t.Context(), s.admin, "own"); !errors.Is(err, ErrStale) {
		t.Errorf("refresh: %v", err)
	}
	version := got.Version
	if _, err := slow.PutTrustRoot(t.Context(), s.admin, "own", in, &version); !errors.Is(err, ErrStale) {
		t.Errorf("put: %v", err)
	}
	if now := s.trustRoot("own"); now.Version != got.Version || now.Position != 2 {
		t.Errorf("the root is now %+v", now)
	}
}

// A root that is a file now has no refresh that could have failed.
func TestErrorGoesWithTheRepository(t *testing.T) {
	s := newSite(t)
	repo := tuftest.New(t, instanceRoot(t, "own", 1))
	was := s.mustPut("own", client.PutTrustRoot{TUFURL: repo.URL(), TUFRoot: repo.Root(1)}, nil)
	repo.Down(http.StatusServiceUnavailable)
	if _, err := s.RefreshTrustRoot(t.Context(), s.admin, "own"); err == nil || s.trustRoot("own").Error == "" {
		t.Errorf("%v, and the root says nothing", err)
	}
	s.mustPut("own", client.PutTrustRoot{TrustedRoot: instanceRoot(t, "own", 1)}, &was.Version)
	if now := s.trustRoot("own"); now.Error != "" {
		t.Errorf("a file says %q", now.Error)
	}
}

// A refresh that the caller gave up says nothing about the repository.
func TestRefreshGivenUp(t *testing.T) {
	s := newSite(t)
	repo := tuftest.New(t, instanceRoot(t, "own", 1))
	s.mustPut("own", client.PutTrustRoot{TUFURL: repo.URL(), TUFRoot: repo.Root(1)}, nil)
	ctx, cancel := context.WithCancel(t.Context())
	svc, err := New(Config{Store: s.store, TUF: fetcherFunc(func(ctx context.Context, cfg trust.TUFConfig) (trust.Refreshed, error) {
		cancel()
		return s.tuf.Refresh(ctx, cfg)
	})})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := svc.RefreshTrustRoot(ctx, s.admin, "own"); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if now := s.trustRoot("own"); now.Error != "" {
		t.Errorf("the repository is said to fail: %s", now.Error)
	}
}
