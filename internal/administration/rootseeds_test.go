package administration

import (
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/testkit/tuftest"
	"github.com/signet-policy/signet/internal/trust"
)

func (s *site) seed(seeds ...RootSeed) error {
	return s.SeedRoots(s.t.Context(), seeds)
}

func (s *site) mustSeed(seeds ...RootSeed) {
	s.t.Helper()
	if err := s.seed(seeds...); err != nil {
		s.t.Fatal(err)
	}
}

func TestSeedRoots(t *testing.T) {
	s := newSite(t)
	file := func(name string, hours int) RootSeed {
		return RootSeed{Root: parsedRoot(t, name, instanceRoot(t, name, hours))}
	}
	s.mustSeed(file("b", 1), file("a", 1))
	s.mustPut("mine", client.PutTrustRoot{TrustedRoot: instanceRoot(t, "mine", 1)}, nil)
	if diff := cmp.Diff([]string{"configuration b", "configuration a", "api mine"}, s.rootNames()); diff != "" {
		t.Error(diff)
	}
	// The same start again changes nothing.
	before := s.lastAudit()
	s.mustSeed(file("b", 1), file("a", 1))
	if after := s.lastAudit(); after.Seq != before.Seq {
		t.Errorf("entry %d %s %s was written for nothing", after.Seq, after.Action, after.Object)
	}
	// The configuration alone changes its roots.
	s.unchanged(ErrConflict, "configuration of the server", func() error {
		return second(s.put("a", client.PutTrustRoot{TrustedRoot: instanceRoot(t, "a", 2)}, ptr(int64(1))))
	})
	s.unchanged(ErrConflict, "configuration of the server", func() error { return second(s.PatchTrustRoot(t.Context(), s.admin, "a", 1, []byte(`{"position":9}`))) })
	s.unchanged(ErrConflict, "configuration of the server", func() error { return s.DeleteTrustRoot(t.Context(), s.admin, "a", 1) })
	// A server whose file is older does not take the newer one from the others,
	// unless that is meant.
	s.unchanged(trust.ErrOlder, "allow_older: true", func() error { return s.seed(file("a", 0)) })
	meant := file("a", 0)
	meant.AllowOlder = true
	s.mustSeed(meant)
	if diff := cmp.Diff([]string{"configuration a", "api mine"}, s.rootNames()); diff != "" {
		t.Error(diff)
	}
	if got, want := s.trustRoot("a").Digest, parsedRoot(t, "a", instanceRoot(t, "a", 0)).Digest(); got != want {
		t.Errorf("root a is %s, want %s", got, want)
	}
	s.unchanged(ErrConflict, "signet trust remove mine", func() error { return s.seed(file("b", 1), file("mine", 1)) })
	s.unchanged(ErrConflict, "twice", func() error { return s.seed(file("b", 1), file("b", 1)) })
}

// An embedded root that was refreshed is not taken back by a start, and a newer
// program brings its newer root.
func TestSeedEmbedded(t *testing.T) {
	s := newSite(t)
	repo := tuftest.New(t, instanceRoot(t, "pg", 3))
	snapshot := s.now.Add(-48 * time.Hour)
	seed := func(hours int) RootSeed {
		return RootSeed{
			Root: parsedRoot(t, "pg", instanceRoot(t, "pg", hours)), Embedded: true,
			TUFURL: repo.URL(), TUFRoot: repo.Root(1), Since: snapshot,
		}
	}
	digest := func(hours int) string { return parsedRoot(t, "pg", instanceRoot(t, "pg", hours)).Digest() }
	is := func(want string, at time.Time) {
		t.Helper()
		if got := s.trustRoot("pg"); got.Digest != want || !got.RefreshedAt.Equal(at) || got.Source != "embedded" {
			t.Errorf("root %s of %s from %s, want %s of %s", got.Digest, got.RefreshedAt, got.Source, want, at)
		}
	}
	s.mustSeed(seed(1))
	is(digest(1), snapshot)
	s.unchanged(ErrConflict, "embedded", func() error { return s.DeleteTrustRoot(t.Context(), s.admin, "pg", 1) })
	if err := s.RefreshDue(t.Context(), s.now, 24*time.Hour); err != nil {
		t.Fatal(err)
	}
	is(digest(3), s.now)
	s.mustSeed(seed(1))
	is(digest(3), s.now)
	s.mustSeed(seed(5))
	is(digest(5), s.now)
	// What was seen of the repository is not forgotten by that: it may not go back.
	repo.Bump()
	s.unchanged(trust.ErrOlder, "", func() error { return second(s.RefreshTrustRoot(t.Context(), s.admin, "pg")) })
	repo.Rollback(instanceRoot(t, "pg", 6))
	repo.Rollback(instanceRoot(t, "pg", 6))
	s.unchanged(trust.ErrRollback, "", func() error { return second(s.RefreshTrustRoot(t.Context(), s.admin, "pg")) })
	// And it goes when it is no longer brought.
	s.mustSeed(RootSeed{Root: parsedRoot(t, "own", instanceRoot(t, "own", 1))})
	if diff := cmp.Diff([]string{"configuration own"}, s.rootNames()); diff != "" {
		t.Error(diff)
	}
}

// A seed that names another file of the repository, or another repository by
// another first root.json, does not go on with what was there before.
func TestSeedOfAnotherOrigin(t *testing.T) {
	for name, edit := range map[string]func(*RootSeed, *tuftest.Repo){
		"target":    func(r *RootSeed, _ *tuftest.Repo) { r.Target = "other.json" },
		"tuf_root":  func(r *RootSeed, repo *tuftest.Repo) { repo.RotateRoot(); r.TUFRoot = repo.Root(2) },
		"no tuf":    func(r *RootSeed, _ *tuftest.Repo) { r.TUFURL, r.TUFRoot = "", nil },
		"unchanged": func(*RootSeed, *tuftest.Repo) {},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			repo := tuftest.New(t, instanceRoot(t, "own", 3))
			seed := RootSeed{Root: parsedRoot(t, "own", instanceRoot(t, "own", 3)), TUFURL: repo.URL(), TUFRoot: repo.Root(1), Since: s.now}
			s.mustSeed(seed)
			first := s.trustRoot("own").Digest
			if kept, _, err := KeptRoot(t.Context(), s.store, "own", seed); err != nil || kept == nil || kept.Digest() != first {
				t.Errorf("kept: %v, %v", kept, err)
			}
			seed.Root = parsedRoot(t, "own", instanceRoot(t, "other", 3))
			edit(&seed, repo)
			kept, _, err := KeptRoot(t.Context(), s.store, "own", seed)
			if err != nil || (kept != nil) != (name == "unchanged") {
				t.Errorf("kept: %v, %v", kept, err)
			}
			s.mustSeed(seed)
			if got := s.trustRoot("own").Digest; (got == first) != (name == "unchanged") {
				t.Errorf("the root is %s; it was %s", got, first)
			}
		})
	}
}

// Replicas that start together bring the same roots.
func TestSeedRootsTogether(t *testing.T) {
	s := siteOn(t, onPostgres(t))
	repo := tuftest.New(t, instanceRoot(t, "pg", 1))
	seeds := []RootSeed{
		{Root: parsedRoot(t, "pg", instanceRoot(t, "pg", 1)), Embedded: true, TUFURL: repo.URL(), TUFRoot: repo.Root(1), Since: s.now},
		{Root: parsedRoot(t, "own", instanceRoot(t, "own", 1))},
	}
	var wg sync.WaitGroup
	for range 4 {
		svc := s.service(nil)
		wg.Go(func() {
			if err := svc.SeedRoots(t.Context(), seeds); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if diff := cmp.Diff([]string{"embedded pg", "configuration own"}, s.rootNames()); diff != "" {
		t.Error(diff)
	}
	if v := s.trustRoot("pg").Version; v != 1 {
		t.Errorf("version %d: it was written more than once", v)
	}
}
