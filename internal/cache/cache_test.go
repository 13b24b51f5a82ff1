package cache

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestMain keeps the Redis library, which logs per process, quiet.
func TestMain(m *testing.M) {
	LogRedis(discard())
	code := m.Run()
	// A goroutine of the library that waits for a server to come back looks once a
	// second whether its pool was closed, longer than goleak waits.
	leak := goleak.Find()
	for end := time.Now().Add(time.Minute); leak != nil && time.Now().Before(end); {
		leak = goleak.Find()
	}
	if code == 0 && leak != nil {
		fmt.Fprintln(os.Stderr, leak)
		code = 1
	}
	os.Exit(code)
}

// ctx is of calls that nothing interrupts.
var ctx = context.Background()

var start = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// fakeClock is a clock that tests move.
type fakeClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) add(d time.Duration) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	return c.now
}

func newCache(t testing.TB, maxBytes int64) (*Cache, *fakeClock) {
	t.Helper()
	clk := &fakeClock{now: start}
	c, err := New(Config{MaxBytes: maxBytes, Now: clk.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, clk
}

func sum(i int) [32]byte {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(i))
	return sha256.Sum256(b[:])
}

func TestGetPut(t *testing.T) {
	c, clk := newCache(t, 1<<20)
	expiry := start.Add(time.Minute)
	c.Put(ctx, "answer", sum(1), []byte("allow"), expiry)

	value, until, tier, ok := c.Get(ctx, "answer", sum(1), clk.Now())
	if !ok || string(value) != "allow" || !until.Equal(expiry) || tier != Memory {
		t.Errorf("Get = %q, %s, %q, %v", value, until, tier, ok)
	}
	if _, _, _, ok := c.Get(ctx, "search", sum(1), clk.Now()); ok {
		t.Error("a value of one purpose answers for another")
	}
	if _, _, _, ok := c.Get(ctx, "answer", sum(2), clk.Now()); ok {
		t.Error("a value of one key answers for another")
	}
	c.Put(ctx, "answer", sum(1), []byte("deny"), expiry)
	if value, _, _, _ := c.Get(ctx, "answer", sum(1), clk.Now()); string(value) != "deny" {
		t.Errorf("after a second Put, Get = %q", value)
	}
	c.Clear()
	if _, _, _, ok := c.Get(ctx, "answer", sum(1), clk.Now()); ok {
		t.Error("a cleared cache still answers")
	}
}

// A cache whose time to live is renewed on read never lets a hot entry go:
// the answer of a revoked signer would stay for ever.
func TestHotEntryExpires(t *testing.T) {
	c, clk := newCache(t, 1<<20)
	expiry := start.Add(10 * time.Second)
	c.Put(ctx, "answer", sum(1), []byte("allow"), expiry)
	for now := clk.Now(); now.Before(expiry); now = clk.add(100 * time.Millisecond) {
		_, until, _, ok := c.Get(ctx, "answer", sum(1), now)
		if !ok {
			t.Fatalf("a miss %s before expiry", expiry.Sub(now))
		}
		if !until.Equal(expiry) {
			t.Fatalf("reading moved the expiry to %s", until)
		}
	}
	if _, _, _, ok := c.Get(ctx, "answer", sum(1), clk.Now()); ok {
		t.Error("the entry is still there at its expiry, because it was read often")
	}
}

// The caller's time decides, whatever the sweeper's clock says.
func TestGetUsesTheTimeOfTheCaller(t *testing.T) {
	c, _ := newCache(t, 1<<20)
	expiry := start.Add(time.Minute)
	c.Put(ctx, "answer", sum(1), []byte("x"), expiry)
	for _, at := range []time.Time{expiry, expiry.Add(1), expiry.Add(time.Hour)} {
		if _, _, _, ok := c.Get(ctx, "answer", sum(1), at); ok {
			t.Errorf("a hit at %s, expiry is %s", at, expiry)
		}
	}
	if _, _, _, ok := c.Get(ctx, "answer", sum(1), expiry.Add(-1)); !ok {
		t.Error("a miss one nanosecond before expiry")
	}
}

func TestRewritingChangesExpiry(t *testing.T) {
	c, clk := newCache(t, 1<<20)
	c.Put(ctx, "tag", sum(1), []byte("old"), start.Add(time.Hour))
	c.Put(ctx, "tag", sum(1), []byte("new"), start.Add(time.Second))
	if _, _, _, ok := c.Get(ctx, "tag", sum(1), clk.add(2*time.Second)); ok {
		t.Error("a rewritten entry kept the longer life of the old one")
	}
	c.Put(ctx, "tag", sum(2), []byte("old"), clk.Now().Add(time.Second))
	c.Put(ctx, "tag", sum(2), []byte("new"), clk.Now().Add(time.Hour))
	if v, _, _, ok := c.Get(ctx, "tag", sum(2), clk.add(2*time.Second)); !ok || string(v) != "new" {
		t.Error("a rewritten entry kept the shorter life of the old one")
	}
}

func TestPutRefuses(t *testing.T) {
	c, _ := newCache(t, 1<<20)
	tests := []struct {
		name   string
		value  []byte
		expiry time.Time
	}{
		{"no expiry", []byte("x"), time.Time{}},
		{"expired", []byte("x"), start.Add(-time.Second)},
		{"expires now", []byte("x"), start},
		{"larger than an eighth of the cache", make([]byte, 1<<17), start.Add(time.Hour)},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c.Put(ctx, "answer", sum(i), []byte("before"), start.Add(time.Hour))
			c.Put(ctx, "answer", sum(i), tt.value, tt.expiry)
			if v, _, _, ok := c.Get(ctx, "answer", sum(i), start.Add(-time.Minute)); ok {
				t.Errorf("Get = %d bytes; neither the refused value nor the one before may stay", len(v))
			}
		})
	}
	if _, err := New(Config{MaxBytes: 1000}); err == nil || !strings.Contains(err.Error(), "MaxBytes is 1000") {
		t.Errorf("New with a tiny bound: %v", err)
	}
}

func TestFarExpiry(t *testing.T) {
	c, clk := newCache(t, 1<<20)
	c.Put(ctx, "item", sum(1), []byte("x"), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC))
	if _, _, _, ok := c.Get(ctx, "item", sum(1), clk.add(24*time.Hour)); !ok {
		t.Error("a far expiry overflowed")
	}
}

func TestStaysWithinItsBound(t *testing.T) {
	const bound = 1 << 20
	c, _ := newCache(t, bound)
	for i := range 5000 {
		c.Put(ctx, "answer", sum(i), make([]byte, 1000), start.Add(time.Hour))
	}
	c.entries.CleanUp()
	st := c.Stats()
	if st.MaxBytes != bound || st.Bytes > bound {
		t.Errorf("the cache holds %d of %d bytes", st.Bytes, st.MaxBytes)
	}
	if st.Bytes < bound/2 || st.Entries < 300 {
		t.Errorf("the cache holds only %d bytes in %d entries", st.Bytes, st.Entries)
	}
}

func TestExpiredEntriesAreSwept(t *testing.T) {
	c, clk := newCache(t, 1<<20)
	for i := range 100 {
		c.Put(ctx, "answer", sum(i), make([]byte, 100), start.Add(time.Second))
	}
	clk.add(time.Hour)
	c.entries.CleanUp()
	if st := c.Stats(); st.Entries != 0 || st.Bytes != 0 {
		t.Errorf("an hour after expiry there are %d entries of %d bytes", st.Entries, st.Bytes)
	}
}

// overhead is a measured number; this keeps it near the truth.
func TestOverhead(t *testing.T) {
	c, err := New(Config{MaxBytes: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const n, size = 50_000, 512
	before := heap()
	expiry := time.Now().Add(time.Hour)
	for i := range n {
		c.Put(ctx, "answer", sum(i), make([]byte, size), expiry)
	}
	c.entries.CleanUp()
	perEntry := int64(heap()-before) / n
	want := weight("answer", make([]byte, size))
	t.Logf("an entry of %d bytes takes %d bytes, is counted as %d", size, perEntry, want)
	if perEntry > want*5/4 || perEntry < want/2 {
		t.Errorf("an entry of %d bytes takes %d bytes and is counted as %d: adjust overhead", size, perEntry, want)
	}
	runtime.KeepAlive(c)
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestConcurrentUse(t *testing.T) {
	c, clk := newCache(t, 1<<18)
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 2000 {
				k := i % 300
				if v, _, _, ok := c.Get(ctx, "answer", sum(k), clk.Now()); ok && string(v) != fmt.Sprint(k) {
					t.Errorf("key %d holds %q", k, v)
					return
				}
				c.Put(ctx, "answer", sum(k), []byte(fmt.Sprint(k)), clk.Now().Add(time.Second))
				if w == 0 && i%100 == 0 {
					clk.add(time.Second)
				}
			}
		})
	}
	wg.Wait()
}

func TestHitDoesNotAllocate(t *testing.T) {
	c, clk := newCache(t, 1<<20)
	c.Put(ctx, "answer", sum(1), []byte("x"), start.Add(time.Hour))
	k, now := sum(1), clk.Now()
	if n := testing.AllocsPerRun(1000, func() { c.Get(ctx, "answer", k, now) }); n > 0.1 {
		t.Errorf("a hit allocates %v times", n)
	}
}

func BenchmarkHit(b *testing.B) {
	c, err := New(Config{MaxBytes: 1 << 20})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	now := time.Now()
	k := sum(1)
	c.Put(ctx, "answer", k, make([]byte, 2000), now.Add(time.Hour))
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, _, _, ok := c.Get(ctx, "answer", k, now); !ok {
				b.Error("a miss")
				return
			}
		}
	})
}

// BenchmarkRedisHit is a hit in Redis on the same machine, frame and MAC included.
func BenchmarkRedisHit(b *testing.B) {
	c := newShared(b, given(b), func(cfg *Config) { cfg.MaxBytes = minBytes })
	// Larger than an eighth of the memory, so that every Get goes to Redis.
	c.Put(ctx, "answer", sum(1), make([]byte, minBytes/8), soon())
	settled(b, c, 1)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, tier, ok := c.Get(ctx, "answer", sum(1), time.Now()); !ok || tier != Redis {
			b.Fatalf("%q, %v", tier, ok)
		}
	}
}

func BenchmarkPut(b *testing.B) {
	c, err := New(Config{MaxBytes: 8 << 20})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	expiry := time.Now().Add(time.Hour)
	value := make([]byte, 2000)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		c.Put(ctx, "answer", sum(i), value, expiry)
	}
}
