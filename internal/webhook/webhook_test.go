package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/signet-policy/signet/internal/store"
	"github.com/signet-policy/signet/internal/store/storetest"
	"github.com/signet-policy/signet/internal/testkit/eventually"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)

// bench is a sender on a store of its own, with a clock, and a receiver that
// answers as it is told.
type bench struct {
	*Sender
	store  *store.Store
	log    bytes.Buffer
	at     time.Time
	status atomic.Int64
	mu     sync.Mutex
	got    []string // ids, in the order in which they came
}

func newBench(t *testing.T, change func(*Config)) *bench {
	t.Helper()
	b := &bench{at: start}
	b.status.Store(http.StatusOK)
	st, err := store.Open(t.Context(), store.Config{DataDir: storetest.Fresh(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	b.store = st
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		want := Sign([]byte("key"), r.Header.Get(HeaderTimestamp), body)
		if err != nil || r.Header.Get(HeaderSignature) != want || r.Header.Get(HeaderKind) != "flip" || r.Header.Get("Content-Type") != "application/json" || r.Method != http.MethodPost {
			t.Errorf("%s %v: %s", r.Method, r.Header, body)
		}
		b.mu.Lock()
		b.got = append(b.got, r.Header.Get(HeaderID))
		b.mu.Unlock()
		if b.status.Load() == http.StatusFound {
			w.Header().Set("Location", "http://127.0.0.1:1/elsewhere")
		}
		w.WriteHeader(int(b.status.Load()))
		for range 64 { // more than is read
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	}))
	t.Cleanup(srv.Close)
	cfg := Config{
		Queue: st, Poll: time.Millisecond, Now: func() time.Time { return b.at }, Log: slog.New(slog.NewTextHandler(&b.log, nil)),
		Targets: []Target{{
			Name: "chat", URL: srv.URL + "/secret", Key: func(context.Context) ([]byte, error) { return []byte("key"), nil },
			Client: &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		}},
	}
	if change != nil {
		change(&cfg)
	}
	if b.Sender, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) put(t *testing.T, webhook string, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if err := b.store.PutDelivery(t.Context(), store.Delivery{Webhook: webhook, ID: id, Kind: "flip", Body: []byte(`{}`), CreatedAt: b.at, NextAt: b.at}); err != nil {
			t.Fatal(err)
		}
	}
}

// turn sends what is due.
func (b *bench) turn(t *testing.T) (got []string, err error) {
	t.Helper()
	b.got = nil
	for again := true; again && err == nil; {
		again, err = b.one(t.Context(), b.cfg.Targets[0])
	}
	return b.got, err
}

// The order is kept: what is behind a delivery that fails waits for it, for a day
// at most, at growing intervals.
func TestOrderAndRetries(t *testing.T) {
	b := newBench(t, nil)
	b.put(t, "chat", "2", "1", "3")
	b.status.Store(http.StatusInternalServerError)
	got, err := b.turn(t)
	if !slices.Equal(got, []string{"1"}) || err == nil || !strings.Contains(err.Error(), "it answered 500") {
		t.Errorf("sent %v, %v", got, err)
	}
	if got, err := b.turn(t); len(got) > 0 || err != nil {
		t.Errorf("at once again: sent %v, %v", got, err)
	}
	var waits []time.Duration
	for b.at.Before(start.Add(23 * time.Hour)) {
		d, ok, err := b.store.NextDelivery(t.Context(), "chat")
		if err != nil || !ok || d.ID != "1" || d.Error != "it answered 500" {
			t.Fatalf("%+v, %t, %v", d, ok, err)
		}
		waits = append(waits, d.NextAt.Sub(b.at))
		b.at = d.NextAt
		if got, _ := b.turn(t); len(got) != 1 {
			t.Fatalf("at its time: sent %v", got)
		}
	}
	for i, w := range waits {
		if most := min(5*time.Second<<min(i, 20), time.Hour); w > most || w < most/2 {
			t.Errorf("wait %d is %s, of %s at most", i, w, most)
		}
	}
	b.at = start.Add(24 * time.Hour)
	got, _ = b.turn(t)
	if len(got) > 0 || b.stats.GivenUp.Load() != 3 || !strings.Contains(b.log.String(), "given up") {
		t.Errorf("after a day: sent %v, %d given up", got, b.stats.GivenUp.Load())
	}
	b.put(t, "chat", "4", "5")
	b.status.Store(http.StatusAccepted)
	if got, err := b.turn(t); !slices.Equal(got, []string{"4", "5"}) || err != nil || b.stats.Delivered.Load() != 2 {
		t.Errorf("sent %v, %v", got, err)
	}
	if n, err := b.store.Deliveries(t.Context()); len(n) != 0 || err != nil {
		t.Errorf("there wait %v, %v", n, err)
	}
}

// What waits longer than a day is given up all at once, however slowly attempts fail:
// a receiver that only times out, and more events than it could be tried with.
func TestOldAreGivenUpTogether(t *testing.T) {
	b := newBench(t, nil)
	const old = 1200 // more than two batches of the store
	for i := range old {
		b.put(t, "chat", fmt.Sprintf("%05d", i))
	}
	b.at = start.Add(time.Hour)
	b.put(t, "chat", "young")
	b.at = start.Add(24 * time.Hour)
	b.status.Store(http.StatusInternalServerError)
	got, err := b.turn(t)
	if !slices.Equal(got, []string{"young"}) || err == nil {
		t.Errorf("sent %d, %v", len(got), err)
	}
	if n, err := b.store.Deliveries(t.Context()); n["chat"] != 1 || err != nil || b.stats.GivenUp.Load() != old {
		t.Errorf("there wait %v, %v; %d are given up", n, err, b.stats.GivenUp.Load())
	}
}

// Who answers 410 is sent nothing more, and nothing is kept for it, neither what
// waited nor what comes.
func TestGone(t *testing.T) {
	b := newBench(t, nil)
	b.put(t, "chat", "1", "2")
	b.status.Store(http.StatusGone)
	if got, err := b.turn(t); len(got) != 1 || err != nil || !b.isGone("chat") {
		t.Errorf("sent %v, %v", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); b.Run(ctx) }()
	b.put(t, "chat", "3", "4")
	eventually.Holds(t, "nothing waits", func() bool {
		n, err := b.store.Deliveries(t.Context())
		return err == nil && len(n) == 0
	})
	cancel()
	<-done
	if n := b.stats.Gone.Load(); n != 4 || len(b.got) != 1 {
		t.Errorf("%d are gone, sent %v", n, b.got)
	}
}

// What another process wrote for a webhook that this one does not know, as in a
// restart of one server after the other that adds it, stays until it is too old.
func TestUnknownStay(t *testing.T) {
	b := newBench(t, nil)
	b.put(t, "new", "1")
	for _, tt := range []struct {
		age  time.Duration
		want int64
	}{{0, 1}, {24*time.Hour - time.Second, 1}, {24 * time.Hour, 0}} {
		b.at = start.Add(tt.age)
		if err := b.look(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n, err := b.store.Deliveries(t.Context()); n["new"] != tt.want || err != nil {
			t.Errorf("after %s there wait %v, %v", tt.age, n, err)
		}
	}
}

// A redirect is no delivery, and is not followed; what goes wrong names no URL.
func TestNoRedirectsNoURLs(t *testing.T) {
	b := newBench(t, nil)
	b.put(t, "chat", "1")
	b.status.Store(http.StatusFound)
	if got, err := b.turn(t); len(got) != 1 || err == nil || !strings.Contains(err.Error(), "302") {
		t.Errorf("sent %v, %v", got, err)
	}
	b.cfg.Targets[0].URL = "http://127.0.0.1:1/secret"
	b.at = b.at.Add(time.Hour)
	if _, err := b.turn(t); err == nil || strings.Contains(err.Error(), "/secret") {
		t.Errorf("%v", err)
	}
	b.cfg.Targets[0].Key = func(context.Context) ([]byte, error) { return nil, errors.New("the store is away") }
	b.at = b.at.Add(time.Hour)
	if got, err := b.turn(t); len(got) > 0 || err == nil {
		t.Errorf("unsigned: sent %v, %v", got, err)
	}
}

// Run sends what is there and what comes, drops what is for nobody and old, and ends
// with the lease or its context.
func TestRun(t *testing.T) {
	var held atomic.Bool
	held.Store(true)
	b := newBench(t, func(c *Config) { c.Held = held.Load })
	b.at = start.Add(-24 * time.Hour)
	b.put(t, "former", "1", "2")
	b.at = start
	b.put(t, "chat", "1")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan struct{})
	go func() { defer close(done); b.Run(ctx) }()
	seen := func() []string { b.mu.Lock(); defer b.mu.Unlock(); return slices.Clone(b.got) }
	eventually.Holds(t, "the first", func() bool { return len(seen()) == 1 })
	b.put(t, "chat", "2")
	eventually.Holds(t, "the second", func() bool { return len(seen()) == 2 })
	held.Store(false)
	<-done
	if n, err := b.store.Deliveries(t.Context()); len(n) != 0 || err != nil {
		t.Errorf("there wait %v, %v", n, err)
	}
}

func TestNewRefuses(t *testing.T) {
	q := &store.Store{}
	good := Target{Name: "a", URL: "https://a", Key: func(context.Context) ([]byte, error) { return nil, nil }, Client: http.DefaultClient}
	for name, cfg := range map[string]Config{
		"no queue":       {},
		"a name twice":   {Queue: q, Targets: []Target{good, good}},
		"without a key":  {Queue: q, Targets: []Target{{Name: "a", URL: "https://a", Client: http.DefaultClient}}},
		"without a name": {Queue: q, Targets: []Target{{URL: "https://a", Key: good.Key, Client: http.DefaultClient}}},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// The signature is the one that docs/integrators.md shows how to check.
func TestSign(t *testing.T) {
	// printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac key
	const want = "v1=a438e398bfafc57e4396bb7fc2304422f0f768e965d073ca313cb52e22e6ad03"
	if d := cmp.Diff(want, Sign([]byte("key"), "1700000000", []byte(`{"a":1}`))); d != "" {
		t.Error(d)
	}
	docs, err := os.ReadFile("../../docs/integrators.md")
	if err != nil || !bytes.Contains(docs, []byte(want)) {
		t.Errorf("docs/integrators.md has another signature: %v", err)
	}
	if fmt.Sprint(Sign([]byte("other"), "1700000000", []byte(`{"a":1}`))) == want {
		t.Error("another key signs alike")
	}
}
