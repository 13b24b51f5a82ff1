package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/config"
	"github.com/signet-policy/signet/internal/store"
	"github.com/signet-policy/signet/internal/testkit/eventually"
	"github.com/signet-policy/signet/internal/testkit/pgtest"
)

// logbook is a log to look into.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logbook) has(parts ...string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range parts {
		if !strings.Contains(l.text.String(), p) {
			return false
		}
	}
	return true
}

func (l *logbook) log() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// openOwn opens a store of the test's own.
func openOwn(t *testing.T, cfg store.Config) *store.Store {
	t.Helper()
	if cfg.URL == "" {
		cfg.DataDir = t.TempDir()
	}
	cfg.Migrate = true
	s, err := store.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// working is an upkeep of s with these tasks, which renews every few milliseconds.
func working(t *testing.T, s *store.Store, log *slog.Logger, tasks ...upkeepTask) *upkeep {
	t.Helper()
	u, err := newUpkeep(config.Default(), s, nil, log)
	if err != nil {
		t.Fatal(err)
	}
	u.tasks, u.renew, u.lease = tasks, 5*time.Millisecond, time.Minute
	return u
}

// start runs u until the returned function is called.
func start(t *testing.T, u *upkeep) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); u.run(ctx) }()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop
}

// One does the work at a time, and who stops in order hands it on at once.
func TestUpkeepHandsOn(t *testing.T) {
	for name, cfg := range map[string]store.Config{"SQLite": {}, "PostgreSQL": {URL: pgtest.Database(t)}} {
		t.Run(name, func(t *testing.T) {
			s := openOwn(t, cfg)
			var one, two atomic.Int64
			counting := func(n *atomic.Int64) upkeepTask {
				return upkeepTask{name: "count", run: func(context.Context) error { n.Add(1); return nil }}
			}
			stop := start(t, working(t, s, slog.New(slog.DiscardHandler), counting(&one)))
			eventually.Holds(t, "the first works", func() bool { return one.Load() > 2 })
			start(t, working(t, s, slog.New(slog.DiscardHandler), counting(&two)))
			before := one.Load()
			eventually.Holds(t, "the first works on", func() bool { return one.Load() > before+2 })
			if two.Load() != 0 {
				t.Error("both work")
			}
			stop()
			last := one.Load()
			eventually.Holds(t, "the second works", func() bool { return two.Load() > 2 })
			if one.Load() != last {
				t.Error("the first works after its end")
			}
		})
	}
}

// Tasks that follow each other do not use the lease up.
func TestUpkeepKeepsTheLeaseBetweenTasks(t *testing.T) {
	var clock atomic.Int64
	s := openOwn(t, store.Config{Now: func() time.Time { return time.Unix(clock.Load(), 0) }})
	others, ran := 0, make(chan struct{}, 16)
	task := upkeepTask{name: "brief", every: time.Hour, run: func(ctx context.Context) error {
		clock.Add(6)
		if held, err := s.Lease(ctx, upkeepLease, "other", time.Second); err != nil || held {
			others++
		}
		ran <- struct{}{}
		return nil
	}}
	u := working(t, s, slog.New(slog.DiscardHandler), task, task, task, task)
	u.lease, u.renew = leaseTime, leaseRenew
	stop := start(t, u)
	for range u.tasks {
		<-ran
	}
	stop()
	if others > 0 {
		t.Errorf("another server has got the lease %d times", others)
	}
}

// A server that loses the lease while a task runs stops the task and begins no
// other one.
func TestUpkeepLeaseLost(t *testing.T) {
	s := openOwn(t, store.Config{})
	var book logbook
	began, ended := make(chan struct{}, 1), make(chan error, 1)
	var next atomic.Int64
	u := working(t, s, book.log(),
		upkeepTask{name: "long", every: time.Hour, run: func(ctx context.Context) error {
			began <- struct{}{}
			<-ctx.Done()
			ended <- ctx.Err()
			return ctx.Err()
		}},
		upkeepTask{name: "next", every: time.Hour, run: func(context.Context) error { next.Add(1); return nil }})
	start(t, u)
	<-began
	if err := s.ReleaseLease(t.Context(), upkeepLease, u.holder); err != nil {
		t.Fatal(err)
	}
	eventually.Holds(t, "another has the lease", func() bool {
		// The server may renew it in between.
		held, err := s.Lease(t.Context(), upkeepLease, "other", time.Minute)
		if err == nil && !held {
			err = s.ReleaseLease(t.Context(), upkeepLease, u.holder)
		}
		if err != nil {
			t.Fatal(err)
		}
		return held
	})
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the task ended by %v", err)
	}
	eventually.Holds(t, "the log says so", func() bool { return book.has("msg=upkeep here=false") })
	if next.Load() != 0 {
		t.Error("another task was begun")
	}
	// Handed back, the task that was broken off is done before its time.
	if err := s.ReleaseLease(t.Context(), upkeepLease, "other"); err != nil {
		t.Fatal(err)
	}
	<-began
}

// A task that fails, or panics, is tried again, and keeps nobody from the others.
func TestUpkeepFails(t *testing.T) {
	s := openOwn(t, store.Config{})
	var book logbook
	var after atomic.Int64
	start(t, working(t, s, book.log(),
		upkeepTask{name: "fails", run: func(context.Context) error { return errors.New("out of order") }},
		upkeepTask{name: "panics", run: func(context.Context) error { panic("unheard of") }},
		upkeepTask{name: "after", run: func(context.Context) error { after.Add(1); return nil }}))
	eventually.Holds(t, "the task after them ran", func() bool { return after.Load() > 1 })
	if !book.has(`msg="upkeep failed" task=fails error="out of order"`, "task=panics", "unheard of") {
		t.Errorf("the log reads\n%s", book.text.String())
	}
}

// A store that cannot be reached ends what is done under its lease, when the lease
// may have ended there.
func TestUpkeepWithoutStore(t *testing.T) {
	s := openOwn(t, store.Config{})
	var book logbook
	began, ended := make(chan struct{}, 1), make(chan struct{}, 1)
	u := working(t, s, book.log(), upkeepTask{name: "long", every: time.Hour, run: func(ctx context.Context) error {
		began <- struct{}{}
		<-ctx.Done()
		ended <- struct{}{}
		return nil
	}})
	u.lease = 50 * time.Millisecond
	start(t, u)
	<-began
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	<-ended
	eventually.Holds(t, "the log says that the lease cannot be read", func() bool { return book.has("the upkeep lease cannot be read") })
}

// What the tasks are, and how often.
func TestUpkeepTasks(t *testing.T) {
	s := openOwn(t, store.Config{})
	names := func(change func(*config.File)) string {
		t.Helper()
		f := config.Default()
		change(&f)
		u, err := newUpkeep(f, s, nil, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, task := range u.tasks {
			out = append(out, fmt.Sprintf("%s/%s", task.name, task.every))
		}
		return strings.Join(out, " ")
	}
	for _, tt := range []struct {
		name, want string
		change     func(*config.File)
	}{
		{"by default", "audit head/1h0m0s trust roots/1m0s KMS keys/1h0m0s", func(*config.File) {}},
		{"with roots that are soon stale", "audit head/1h0m0s trust roots/5s KMS keys/1h0m0s", func(f *config.File) { f.MaxStaleness = config.Duration(10 * time.Second) }},
		{"offline", "audit head/1h0m0s", func(f *config.File) { f.Offline = true }},
		{"with retention", "audit head/1h0m0s retention/10m0s", func(f *config.File) { f.Offline, f.Retention.MaxVerdicts = true, 1 }},
	} {
		if got := names(tt.change); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

// Above retention.max_verdicts the oldest go, and never the audit log. The head of
// the audit log is in the server's log.
func TestRetention(t *testing.T) {
	w := newWorld(t, "retention: {max_verdicts: 3}")
	w.admin()
	d := w.serve()
	ref, s := w.keyless("acme/app")
	d.create(s)
	var ids []string
	for i := range 8 {
		v, err := d.Verify(t.Context(), client.VerdictRequest{Image: ref, AssessmentID: fmt.Sprint("as-", i)})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, v.ID)
	}
	audit := w.do("audit", "list", "--limit", "0")
	head := strings.TrimSpace(w.do("audit", "head"))
	d.stop(syscall.SIGTERM)
	d = w.serve() // the work that is due is done at the start
	eventually.Holds(t, "the oldest verdicts are removed", func() bool { return d.said("verdicts removed", `"verdicts":5`) })
	page, err := d.Verdicts(t.Context(), client.VerdictFilter{})
	if err != nil || len(page.Items) != 3 || page.Items[0].ID != ids[7] || page.Items[2].ID != ids[5] {
		t.Errorf("left are %+v (%v)", page.Items, err)
	}
	if _, err := d.Verdict(t.Context(), ids[0]); !client.IsNotFound(err) {
		t.Errorf("the oldest verdict: %v", err)
	}
	if now := w.do("audit", "list", "--limit", "0"); now != audit {
		t.Errorf("the audit log was\n%s\nand is\n%s", audit, now)
	}
	seq, hash, _ := strings.Cut(head, ":")
	eventually.Holds(t, "the head is logged", func() bool { return d.said(`"audit head"`, `"seq":`+seq, hash) })
	// An answer that was cached before, and whose verdict is gone, is given anew.
	if v := d.decides(ref, client.Allow); v.ID == ids[0] {
		t.Error("a verdict that is gone was given again")
	}
}

// The number of uses is exact after a graceful stop, on SQLite too.
func TestUsesOnSQLite(t *testing.T) {
	w := newWorld(t, "")
	w.admin()
	d := w.serve()
	ref, s := w.keyless("acme/app")
	d.create(s)
	id := d.decides(ref, client.Allow).ID
	const each, callers = 50, 4
	var done sync.WaitGroup
	for range callers {
		done.Go(func() {
			for range each {
				if v, err := d.Verify(t.Context(), client.VerdictRequest{Image: ref}); err != nil || v.ID != id {
					t.Errorf("%s, %v", v.ID, err)
				}
			}
		})
	}
	done.Wait()
	d.stop(syscall.SIGTERM)
	if !d.said("stopping") {
		t.Error("it did not stop in order")
	}
	d = w.serve()
	uses, err := d.VerdictUses(t.Context(), id)
	n := int64(0)
	for _, u := range uses {
		n += u.Count
		if u.Principal != "first" {
			t.Errorf("used by %s", u.Principal)
		}
	}
	if err != nil || n != each*callers {
		t.Errorf("%d uses (%v), want %d", n, err, each*callers)
	}
}
