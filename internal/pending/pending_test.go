package pending_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/pending"
	"github.com/signet-policy/signet/internal/pep"
	"github.com/signet-policy/signet/internal/store"
	"github.com/signet-policy/signet/internal/store/storetest"
	"github.com/signet-policy/signet/internal/testkit/eventually"
	"github.com/signet-policy/signet/internal/verdict"
)

// asker answers with a function.
type asker func(ctx context.Context, q pep.Question) (pep.Answer, error)

func (f asker) Ask(ctx context.Context, q pep.Question, _ time.Duration) (pep.Answer, error) {
	return f(ctx, q)
}

const image = "ghcr.io/org/app:v1"

func answered(d verdict.Decision) pep.Answer {
	v := verdict.Verdict{ID: "01JZ5X3F8Q0000000000000000", Decision: d, Allowed: d == verdict.Allow, Image: image, Digest: "sha256:aa"}
	if d != verdict.Allow {
		v.Reasons = []verdict.Reason{{Code: "why", Message: "Because."}}
	}
	body, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return pep.Answer{Body: body, Verdict: v, Allowed: v.Allowed, Recorded: d != verdict.Unknown}
}

// bed is a store, and a clock that is turned by hand.
type bed struct {
	*testing.T
	store *store.Store
	mu    sync.Mutex
	now   time.Time
}

func newBed(t *testing.T) *bed {
	t.Helper()
	b := &bed{T: t, now: time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)}
	var err error
	if b.store, err = store.Open(t.Context(), store.Config{DataDir: storetest.Fresh(t)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.store.Close() })
	return b
}

func (b *bed) turn(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = b.now.Add(d)
}

// queue makes one that runs until the test ends, or stop is called.
func (b *bed) queue(ask asker, change func(*pending.Config)) (q *pending.Queue, stop func()) {
	b.Helper()
	cfg := pending.Config{
		Store: b.store, Asker: ask, Poll: time.Millisecond,
		ImageName: func(image string) (string, error) { name, _, _ := strings.Cut(image, ":"); return name, nil },
		Webhooks:  func(client.Event) []string { return []string{"chat"} },
		Now:       func() time.Time { b.mu.Lock(); defer b.mu.Unlock(); return b.now },
	}
	if change != nil {
		change(&cfg)
	}
	q, err := pending.New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan struct{})
	go func() { defer close(done); q.Run(ctx) }()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	b.Cleanup(stop)
	return q, stop
}

// until waits until a request stands so.
func (b *bed) until(q *pending.Queue, id string, ok func(client.VerdictRequestStatus) bool) client.VerdictRequestStatus {
	b.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		s, _, err := q.Get(b.Context(), id)
		if err != nil {
			b.Fatal(err)
		}
		if ok(s) {
			return s
		}
		if time.Now().After(end) {
			b.Fatalf("it stays %+v", s)
		}
	}
}

func done(s client.VerdictRequestStatus) bool { return s.State == client.RequestDone }

func question() pep.Question {
	return pep.Question{Image: image, AssessmentID: "a-1", Context: map[string]string{"stage": "x"}, Labels: map[string]string{"run": "7"}, Platform: "linux/amd64",
		Principal: auth.Principal{Name: "ci", Role: auth.Verifier, TokenID: "kkos4lc5npcnvhvn", Images: []string{"ghcr.io/**"}}}
}

// An answer is fetched later, is what was given, and is told to webhooks.
func TestAnswerIsKept(t *testing.T) {
	b := newBed(t)
	asked := make(chan pep.Question, 1)
	q, _ := b.queue(func(_ context.Context, q pep.Question) (pep.Answer, error) {
		asked <- q
		return answered(verdict.Deny), nil
	}, nil)
	got, err := q.Add(t.Context(), question())
	if err != nil || got.State != client.RequestWaiting || got.Image != image {
		t.Fatalf("%+v, %v", got, err)
	}
	want := question()
	want.RequestID = got.ID
	if d := cmp.Diff(want, <-asked, cmp.AllowUnexported(auth.Principal{})); d != "" {
		t.Errorf("asked (-want +got):\n%s", d)
	}
	s := b.until(q, got.ID, done)
	a := answered(verdict.Deny)
	if s.Decision != client.Deny || s.VerdictID != a.Verdict.ID || string(s.Verdict) != string(a.Body) || s.Message != "Because." || s.FinishedAt == nil {
		t.Errorf("%+v", s)
	}
	if _, by, _ := q.Get(t.Context(), got.ID); by != "ci" {
		t.Errorf("asked by %q", by)
	}
	d, ok, err := b.store.NextDelivery(t.Context(), "chat")
	var e client.Event
	if err != nil || !ok || json.Unmarshal(d.Body, &e) != nil {
		t.Fatalf("delivery %+v, %t, %v", d, ok, err)
	}
	if e.Kind != client.EventVerdict || e.After != "deny" || e.Request == nil || e.Request.ID != got.ID || e.Request.AssessmentID != "a-1" || e.VerdictID != a.Verdict.ID {
		t.Errorf("event %+v", e)
	}
	if _, _, err := q.Get(t.Context(), "none"); !errors.Is(err, pending.ErrNotFound) {
		t.Errorf("one that is not there: %v", err)
	}
}

// What cannot be found out is tried again, and in the end given as what it is.
func TestUnknownIsTriedAgain(t *testing.T) {
	b := newBed(t)
	up := make(chan bool, 1)
	q, _ := b.queue(func(context.Context, pep.Question) (pep.Answer, error) {
		select {
		case <-up:
			return answered(verdict.Allow), nil
		default:
			return answered(verdict.Unknown), nil
		}
	}, nil)
	one, err := q.Add(t.Context(), question())
	if err != nil {
		t.Fatal(err)
	}
	s := b.until(q, one.ID, func(s client.VerdictRequestStatus) bool { return s.Attempts == 1 })
	if s.State != client.RequestWaiting || s.Message != "Because." || s.Verdict != nil {
		t.Errorf("after the first attempt: %+v", s)
	}
	up <- true
	b.turn(time.Minute)
	if s = b.until(q, one.ID, done); s.Decision != client.Allow {
		t.Errorf("in the end: %+v", s)
	}

	two, err := q.Add(t.Context(), question())
	if err != nil {
		t.Fatal(err)
	}
	b.until(q, two.ID, func(s client.VerdictRequestStatus) bool { return s.Attempts == 1 })
	b.turn(time.Hour)
	s = b.until(q, two.ID, done)
	v, err := s.Answer()
	if s.Decision != client.Unknown || s.VerdictID != "" || err != nil || v.Allowed {
		t.Errorf("given up: %+v, %v", s, err)
	}
}

// What a server leaves behind, even one that is killed, another one takes up.
func TestAnotherServerTakesUp(t *testing.T) {
	b := newBed(t)
	began := make(chan struct{}, 2)
	hangs := func(ctx context.Context, _ pep.Question) (pep.Answer, error) {
		began <- struct{}{}
		<-ctx.Done()
		return pep.Answer{}, ctx.Err()
	}
	first, stop := b.queue(hangs, nil)
	got, err := first.Add(t.Context(), question())
	if err != nil {
		t.Fatal(err)
	}
	<-began
	stop() // it gives the claim back
	other, _ := b.queue(func(context.Context, pep.Question) (pep.Answer, error) { return answered(verdict.Allow), nil }, nil)
	if s := b.until(other, got.ID, done); s.Decision != client.Allow {
		t.Errorf("%+v", s)
	}

	// One that does not come back keeps its claim until that ends.
	r := store.VerdictRequest{ID: "01JZ5X3F8Q0000000000000009", Principal: "ci", Role: "verifier", ImageRef: image, CreatedAt: b.now, NextAt: b.now}
	if err := b.store.AddVerdictRequest(t.Context(), r, "killed", b.now.Add(time.Minute), 10); err != nil {
		t.Fatal(err)
	}
	b.turn(2 * time.Minute)
	if s := b.until(other, r.ID, done); s.Decision != client.Allow {
		t.Errorf("%+v", s)
	}
}

// A panic costs an attempt, and a mistake ends them.
func TestAttemptsThatFail(t *testing.T) {
	b := newBed(t)
	first := true
	q, _ := b.queue(func(context.Context, pep.Question) (pep.Answer, error) {
		if first {
			first = false
			panic("boom")
		}
		return pep.Answer{}, &pep.Mistake{Code: pep.InvalidField, Field: "context.stage", Detail: "No policy declares it."}
	}, func(cfg *pending.Config) { cfg.SideBySide = 1 })
	got, err := q.Add(t.Context(), question())
	if err != nil {
		t.Fatal(err)
	}
	s := b.until(q, got.ID, func(s client.VerdictRequestStatus) bool { b.turn(time.Minute); return done(s) })
	if s.Decision != client.Unknown || s.Message != "No policy declares it." || s.Verdict != nil {
		t.Errorf("%+v", s)
	}
	if _, err := s.Answer(); err == nil {
		t.Error("there is a verdict")
	}
}

// Who may ask no more is answered nothing, and nobody is told.
func TestTokenCountsNoMore(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{auth.ErrRevoked, "Nothing was decided: the token was revoked."},
		{fmt.Errorf("asking: %w", auth.ErrExpired), "Nothing was decided: asking: the token has expired."},
		{auth.ErrUnknown, "Nothing was decided: the token is not known here."},
	} {
		b := newBed(t)
		q, _ := b.queue(func(context.Context, pep.Question) (pep.Answer, error) { return pep.Answer{}, tt.err }, nil)
		got, err := q.Add(t.Context(), question())
		if err != nil {
			t.Fatal(err)
		}
		s := b.until(q, got.ID, done)
		if s.Decision != client.Unknown || s.Message != tt.want || s.VerdictID != "" || s.Verdict != nil {
			t.Errorf("%v: %+v", tt.err, s)
		}
		if n, err := b.store.Deliveries(t.Context()); len(n) > 0 || err != nil {
			t.Errorf("%v: told to %v, %v", tt.err, n, err)
		}
	}
}

func TestTooManyWait(t *testing.T) {
	b := newBed(t)
	q, _ := b.queue(func(ctx context.Context, _ pep.Question) (pep.Answer, error) {
		<-ctx.Done()
		return pep.Answer{}, ctx.Err()
	}, func(cfg *pending.Config) { cfg.SideBySide, cfg.Most = 1, 2 })
	for range 2 {
		if _, err := q.Add(t.Context(), question()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := q.Add(t.Context(), question()); !errors.Is(err, pending.ErrFull) {
		t.Errorf("a third: %v", err)
	}
}

// Answers that are too old go at once, however many: not one batch of them every ten
// minutes.
func TestOldAnswersGo(t *testing.T) {
	b := newBed(t)
	var last string
	for i := range 1001 { // more than two batches of the store
		r := store.VerdictRequest{ID: fmt.Sprintf("01JZ5X3F8Q%016d", i), Principal: "ci", Role: "verifier", ImageRef: image, CreatedAt: b.now, NextAt: b.now}
		if err := b.store.AddVerdictRequest(t.Context(), r, "gone", b.now.Add(time.Minute), 10); err != nil {
			t.Fatal(err)
		}
		r.FinishedAt, r.Decision = &r.CreatedAt, verdict.Allow
		if _, err := b.store.FinishVerdictRequest(t.Context(), r, "gone", nil); err != nil {
			t.Fatal(err)
		}
		last = r.ID
	}
	b.turn(7*24*time.Hour + time.Second)
	q, _ := b.queue(nil, nil)
	eventually.Holds(t, "the last one is gone", func() bool {
		_, _, err := q.Get(t.Context(), last)
		return errors.Is(err, pending.ErrNotFound)
	})
}
