package replicas

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/testkit"
	"github.com/signet-policy/signet/internal/testkit/eventually"
	"github.com/signet-policy/signet/internal/testkit/kmstest"
	"github.com/signet-policy/signet/internal/testkit/sigstack"
	"github.com/signet-policy/signet/internal/testkit/tuftest"
)

// rounds is how often something is changed through one server and asked of the
// others with the next request.
const rounds = 1000

// load asks all servers for verdicts until stopped, and counts what it must never
// see: errors, and answers that are neither an allow nor a deny.
type load struct {
	stop   context.CancelFunc
	done   sync.WaitGroup
	asked  atomic.Int64
	failed atomic.Int64
	first  atomic.Pointer[string]
}

func (w *world) load(perServer int) *load {
	ctx, stop := context.WithCancel(w.Context())
	l := &load{stop: stop}
	for _, s := range w.servers {
		for range perServer {
			l.done.Go(func() {
				for ctx.Err() == nil {
					v, err := s.Verify(ctx, client.VerdictRequest{Image: w.image})
					if ctx.Err() != nil {
						return
					}
					l.asked.Add(1)
					if err != nil || v.Decision != client.Allow && v.Decision != client.Deny {
						l.failed.Add(1)
						text := fmt.Sprintf("%s: %s %v %v", s.address, v.Decision, err, v.Reasons)
						l.first.CompareAndSwap(nil, &text)
					}
					time.Sleep(time.Millisecond) // the machine is also the database's
				}
			})
		}
	}
	return l
}

// end stops the load and reports what it saw.
func (l *load) end(t *testing.T) {
	t.Helper()
	l.stop()
	l.done.Wait()
	if n := l.failed.Load(); n > 0 {
		t.Errorf("under load %d of %d requests failed, the first: %s", n, l.asked.Load(), *l.first.Load())
	}
	t.Logf("%d requests of load", l.asked.Load())
}

// A signer disabled (and enabled) through one server counts with the next request
// on each of the others, every time, under load.
func TestSignerCountsEverywhereAtOnce(t *testing.T) {
	w := newWorld(t, 3, "")
	s := w.signer()
	l := w.load(2)
	wrong := 0
	for i := range rounds {
		enabled := i%2 == 1
		by := w.servers[i%3]
		var err error
		if s, err = by.UpdateSigner(t.Context(), s.ID, s.Version, map[string]any{"enabled": enabled}); err != nil {
			t.Fatal(err)
		}
		want := client.Deny
		if enabled {
			want = client.Allow
		}
		for j := 1; j <= 2; j++ {
			if got := w.decision(w.servers[(i+j)%3]); got != want {
				wrong++
			}
		}
	}
	l.end(t)
	if wrong > 0 {
		t.Errorf("%d of %d answers were those of before", wrong, 2*rounds)
	}
}

// The same for tokens that are revoked, and for policies that change.
func TestTokensAndPoliciesCountEverywhereAtOnce(t *testing.T) {
	const fewer = rounds / 2
	w := newWorld(t, 3, "")
	w.signer()
	l := w.load(1)
	defer l.end(t)
	for i := range fewer {
		by := w.servers[i%3]
		made, err := by.CreateToken(t.Context(), client.NewToken{Name: "short", Role: "verifier"})
		if err != nil {
			t.Fatal(err)
		}
		others := []*client.Client{w.as(w.servers[(i+1)%3], made.Plain), w.as(w.servers[(i+2)%3], made.Plain)}
		for _, c := range others {
			if _, err := c.Whoami(t.Context()); err != nil {
				t.Errorf("round %d: a token that was just made: %v", i, err)
			}
		}
		if err := by.RevokeToken(t.Context(), made.ID); err != nil {
			t.Fatal(err)
		}
		for _, c := range others {
			var p *client.Problem
			if _, err := c.Whoami(t.Context()); !errors.As(err, &p) || p.Code != "token_revoked" {
				t.Errorf("round %d: a token that was just revoked: %v", i, err)
			}
		}
	}
	policy, err := w.servers[0].PutPolicy(t.Context(), "strict", "", policyOf("disabled"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range fewer {
		mode, want := "enforce", client.Deny // nobody signs as this policy wants
		if i%2 == 1 {
			mode, want = "disabled", client.Allow
		}
		if policy, err = w.servers[i%3].PutPolicy(t.Context(), "strict", "", policyOf(mode), &policy.Version); err != nil {
			t.Fatal(err)
		}
		for j := 1; j <= 2; j++ {
			if got := w.decision(w.servers[(i+j)%3]); got != want {
				t.Errorf("round %d, policy in mode %s: %s", i, mode, got)
			}
		}
	}
}

func policyOf(mode string) []byte {
	return fmt.Appendf(nil, `
signing_policy:
  name: strict
  mode: %s
  trusted_signers: [{type: keyless, issuer: "https://accounts.google.com", subject: "nobody@example.com"}]
`, mode)
}

// Redis is killed, comes back with what it held long ago, hangs and is emptied:
// nobody sees more than latency, and no allow of before.
func TestRedisMayDoWhatItLikes(t *testing.T) { // threats 54 and 55
	w := newWorld(t, 3, "")
	s := w.signer()
	if got := w.decision(w.servers[0]); got != client.Allow {
		t.Fatalf("decision %s", got)
	}
	eventually.Holds(t, "the answer is in Redis", func() bool { return strings.TrimSpace(w.redis.Do("DBSIZE")) != "0" })
	old := w.redis.Snapshot()
	l := w.load(2)
	toggle := func(enabled bool, want client.Decision) {
		t.Helper()
		for range 10 {
			var err error
			if s, err = w.servers[0].UpdateSigner(t.Context(), s.ID, s.Version, map[string]any{"enabled": enabled, "note": time.Now().String()}); err != nil {
				t.Fatal(err)
			}
			for _, other := range w.servers {
				if got := w.decision(other); got != want {
					t.Errorf("%s, want %s", got, want)
				}
			}
		}
	}
	toggle(false, client.Deny)
	w.redis.Restore(old) // killed, and back with the allow that it held
	toggle(false, client.Deny)
	toggle(true, client.Allow)
	w.redis.Kill()
	toggle(false, client.Deny)
	toggle(true, client.Allow)
	w.redis.Restart()
	toggle(false, client.Deny)
	w.redis.Do("FLUSHALL")
	toggle(true, client.Allow)
	w.redis.Pause()
	toggle(false, client.Deny)
	w.redis.Resume()
	toggle(true, client.Allow)
	l.end(t)
}

// What one server has computed, another answers from the shared cache.
func TestSharedCache(t *testing.T) {
	w := newWorld(t, 2, "")
	w.signer()
	if status, h, body := w.post(w.servers[0]); status != http.StatusOK || h.Get("Signet-Cache") != "miss" {
		t.Fatalf("status %d from %q: %s", status, h.Get("Signet-Cache"), body)
	}
	eventually.Holds(t, "the answer is in Redis", func() bool { return strings.TrimSpace(w.redis.Do("DBSIZE")) != "0" })
	if status, h, body := w.post(w.servers[1]); h.Get("Signet-Cache") != "redis" {
		t.Errorf("the other server answers %d from %q: %s", status, h.Get("Signet-Cache"), body)
	}
	// A new secret makes everything in it worthless, on every server.
	if err := w.servers[0].RotateSecret(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, s := range w.servers {
		if _, h, _ := w.post(s); h.Get("Signet-Cache") == "redis" && s == w.servers[0] {
			t.Error("an answer from before the new secret was used")
		}
	}
}

// Without its database a server knows nothing: unknown, with 503 and Retry-After.
// It recovers without a restart.
func TestDatabaseDown(t *testing.T) {
	w := newWorld(t, 2, "")
	s := w.signer()
	if got := w.decision(w.servers[1]); got != client.Allow {
		t.Fatalf("decision %s", got)
	}
	w.door.Shut()
	for _, srv := range w.servers {
		status, h, body := w.post(srv)
		var p struct {
			Decision string
			Allowed  *bool
		}
		_ = json.Unmarshal(body, &p)
		if status != http.StatusServiceUnavailable || h.Get("Retry-After") == "" || p.Decision != "unknown" || p.Allowed == nil || *p.Allowed {
			t.Errorf("with the database away: status %d, Retry-After %q: %s", status, h.Get("Retry-After"), body)
		}
	}
	w.door.Open()
	for _, srv := range w.servers {
		eventually.Holds(t, "the server recovers", func() bool { status, _, _ := w.post(srv); return status == http.StatusOK })
	}
	if _, err := w.servers[0].UpdateSigner(t.Context(), s.ID, s.Version, map[string]any{"enabled": false}); err != nil {
		t.Fatal(err)
	}
	if got := w.decision(w.servers[1]); got != client.Deny {
		t.Errorf("after it came back: %s", got)
	}
}

// With active.grace the last known state is accepted for that long, and each
// verdict says so; what was given meanwhile is recorded when the database is back.
func TestGrace(t *testing.T) {
	w := newWorld(t, 1, "active: {grace: 60s}")
	w.signer()
	srv := w.servers[0]
	if got := w.decision(srv); got != client.Allow {
		t.Fatalf("decision %s", got)
	}
	w.door.Shut()
	v, err := srv.Verify(t.Context(), client.VerdictRequest{Image: w.image, Refresh: true})
	if err != nil || v.Decision != client.Allow {
		t.Fatalf("under grace: %s, %v", v.Decision, err)
	}
	if len(v.Warnings) == 0 || v.Warnings[0].Code != "last_known_state" {
		t.Errorf("the verdict does not say that it stands on the last known state: %+v", v.Warnings)
	}
	w.door.Open()
	eventually.Holds(t, "the verdict is recorded", func() bool {
		_, err := srv.Verdict(t.Context(), v.ID)
		return err == nil
	})
}

// One server does the upkeep for all. When it is killed, another takes over.
func TestUpkeepMovesOn(t *testing.T) {
	w := newWorld(t, 3, "")
	holder := w.holder
	eventually.Holds(t, "a server does the upkeep", func() bool { return holder() != nil })
	first := holder()
	for _, s := range w.servers {
		if s != first && s.said(`"msg":"upkeep"`, `"here":true`) {
			t.Errorf("%s does the upkeep too", s.address)
		}
	}
	first.stop(syscall.SIGKILL)
	eventually.Holds(t, "another server takes over", func() bool { return holder() != nil })
	// One that stops in order hands the work on at once.
	second := holder()
	second.stop(syscall.SIGTERM)
	eventually.Holds(t, "the last server takes over", func() bool { return holder() != nil })
}

// holder is the server that does the upkeep, nil for none.
func (w *world) holder() *server {
	for _, s := range w.servers {
		if !s.ended() && s.said(`"msg":"upkeep"`, `"here":true`) && s.said("audit head") {
			return s
		}
	}
	return nil
}

// KMS keys and trust roots are fetched by one server and used by all; when it is
// killed, another one fetches them.
func TestOneFetchesForAll(t *testing.T) {
	v := kmstest.NewVault(t)
	v.Setenv(t)
	key := v.Key("release", kmstest.ECDSAP256)
	w := newWorld(t, 2, "offline: false\nkms: {refresh: 1s}\nmax_staleness: 10s") // so roots are refreshed every 5 s
	byKey := func() string {
		return w.signed(w.stack, rand.Text(), sigstack.SignRequest{Key: sigstack.KeyFrom(key.Signer(t), sigstack.ECDSAP256SHA256), Log: sigstack.RekorV1()})
	}
	allowed := func(what, image string) {
		t.Helper()
		for _, s := range w.servers {
			if s.ended() {
				continue
			}
			eventually.Holds(t, what, func() bool {
				if s.ended() {
					t.Fatalf("the server at %s ended by itself: %s", s.address, s.cmd.ProcessState)
				}
				return w.decisionOn(s, image) == client.Allow
			})
		}
	}
	own, later := testkit.NewStack(t, sigstack.Options{Seed: "own"}), testkit.NewStack(t, sigstack.Options{Seed: "later", From: w.stack.From.Add(time.Hour)})
	byOwn := w.signed(own, "own", sigstack.SignRequest{Identity: w.identity, Log: sigstack.RekorV1()})
	byLater := w.signed(later, "later", sigstack.SignRequest{Identity: w.identity, Log: sigstack.RekorV1()})
	repo := tuftest.New(t, own.TrustedRootJSON())
	w.signer()
	eventually.Holds(t, "a server does the upkeep", func() bool { return w.holder() != nil })
	first := w.holder()
	by := w.servers[0]
	if by == first {
		by = w.servers[1]
	}
	if _, err := by.CreateSigner(t.Context(), client.Signer{Name: "kms", Type: "kms", KMSKeyRef: key.Reference(), AutoRotate: true, Enabled: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := by.PutTrustRoot(t.Context(), "own", client.PutTrustRoot{TUFURL: repo.URL(), TUFRoot: repo.Root(1)}, nil); err != nil {
		t.Fatal(err)
	}
	allowed("the key counts everywhere", byKey())
	allowed("the root counts everywhere", byOwn)
	key.Rotate()
	allowed("the next key counts everywhere", byKey())

	first.stop(syscall.SIGKILL)
	key.Rotate()
	repo.Publish(later.TrustedRootJSON())
	allowed("the key after the next counts", byKey())
	allowed("the next root counts", byLater)
}

// A trust root is fetched by one server and used by all: nobody else asks the
// repository, which may go away; what one has seen, no other takes back.
func TestTrustRootIsFetchedByOne(t *testing.T) {
	w := newWorld(t, 3, "offline: false")
	w.signer()
	stack := testkit.NewStack(t, sigstack.Options{Name: "other", Seed: "other"})
	other := w.signed(stack, "other", sigstack.SignRequest{Identity: w.identity, Log: sigstack.RekorV1()})
	for _, s := range w.servers {
		if got := w.decisionOn(s, other); got != client.Deny {
			t.Fatalf("before its root is known: %s", got)
		}
	}

	repo := tuftest.New(t, stack.TrustedRootJSON())
	root, err := w.servers[0].PutTrustRoot(t.Context(), "other", client.PutTrustRoot{TUFURL: repo.URL(), TUFRoot: repo.Root(1)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	asked := repo.Asked()
	repo.Down(http.StatusServiceUnavailable)
	for i, s := range w.servers {
		if v, err := s.Verify(t.Context(), client.VerdictRequest{Image: other, Refresh: true}); err != nil || v.Decision != client.Allow {
			t.Errorf("server %d with the root that server 0 has fetched: %s, %v", i, v.Decision, err)
		}
	}
	if n := repo.Asked(); n != asked {
		t.Errorf("the repository was asked %d times more", n-asked)
	}

	repo.Down(0)
	repo.Bump()
	fresh, err := w.servers[1].RefreshTrustRoot(t.Context(), "other")
	if err != nil {
		t.Fatal(err)
	}
	w.servers[1].stop(syscall.SIGKILL)
	repo.Rollback(stack.TrustedRootJSON())
	if _, err := w.servers[2].RefreshTrustRoot(t.Context(), "other"); !client.IsConflict(err) {
		t.Errorf("a repository that went back to what it was: %v", err)
	}
	kept, err := w.servers[2].TrustRoot(t.Context(), "other")
	if err != nil || kept.Digest != root.Digest || kept.RefreshedAt == nil || fresh.RefreshedAt == nil || !kept.RefreshedAt.Equal(*fresh.RefreshedAt) || kept.Error == "" {
		t.Errorf("afterwards: %+v, %v", kept, err)
	}
	if got := w.decisionOn(w.servers[2], other); got != client.Allow {
		t.Errorf("afterwards: %s", got)
	}
}

// The number of uses is exact after a graceful stop.
func TestUsesAreExact(t *testing.T) {
	const each = 400
	w := newWorld(t, 3, "")
	w.signer()
	v, err := w.servers[0].Verify(t.Context(), client.VerdictRequest{Image: w.image})
	if err != nil {
		t.Fatal(err)
	}
	eventually.Holds(t, "the answer is in Redis", func() bool { return strings.TrimSpace(w.redis.Do("DBSIZE")) != "0" })
	for _, s := range w.servers[1:] {
		if again, err := s.Verify(t.Context(), client.VerdictRequest{Image: w.image}); err != nil || again.ID != v.ID {
			t.Fatalf("another server answers %s, %v", again.ID, err)
		}
	}
	count := func(s *server) (n int64) {
		uses, err := s.VerdictUses(t.Context(), v.ID)
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range uses {
			n += u.Count
		}
		return n
	}
	var done sync.WaitGroup
	for _, s := range w.servers {
		done.Go(func() {
			for range each {
				if again, err := s.Verify(t.Context(), client.VerdictRequest{Image: w.image}); err != nil || again.ID != v.ID {
					t.Errorf("%s, %v", again.ID, err)
				}
			}
		})
	}
	done.Wait()
	for _, s := range w.servers {
		s.stop(syscall.SIGTERM)
	}
	// The first answer made the verdict; each of the others is a use of it.
	if n := count(w.start()); n != 3*each+2 {
		t.Errorf("%d uses, want %d", n, 3*each+2)
	}
}
