package cache

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/signet-policy/signet/internal/testkit/eventually"
	"github.com/signet-policy/signet/internal/testkit/redistest"
)

// testTimeout is long, so that a busy machine gives no misses of its own.
const testTimeout = 5 * time.Second

// newShared makes a cache in front of Redis, as one of several replicas would have.
func newShared(t testing.TB, rc RedisConfig, change ...func(*Config)) *Cache {
	t.Helper()
	if rc.Timeout == 0 {
		rc.Timeout = testTimeout
	}
	cfg := Config{MaxBytes: 16 << 20, Redis: &rc, Key: testSecret, Build: testLabel.build}
	for _, f := range change {
		f(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// given is the server that all tests share, with a prefix of this test.
func given(t testing.TB) RedisConfig {
	t.Helper()
	url, prefix := redistest.Database(t)
	return RedisConfig{URL: url, Prefix: prefix}
}

// raw is a client of its own, to do what others may do to our values.
func raw(t testing.TB, url string) *redis.Client {
	t.Helper()
	o, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(o)
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return client
}

// settled waits until what was put has gone one way or the other.
func settled(t testing.TB, c *Cache, n uint64) {
	t.Helper()
	eventually.Holds(t, "everything put has been written", func() bool {
		st := c.Stats().Redis
		return st.Written+st.Dropped+st.Errors >= n
	})
}

func soon() time.Time { return time.Now().Add(time.Hour) }

func TestRedisSharesValues(t *testing.T) {
	rc := given(t)
	a, b := newShared(t, rc), newShared(t, rc)
	expiry := soon().Add(123456789) // not even in milliseconds
	for i, value := range []string{"allow", ""} {
		a.Put(ctx, "answer", sum(i), []byte(value), expiry)
		settled(t, a, uint64(i+1))
		for _, want := range []Tier{Redis, Memory} {
			got, until, tier, ok := b.Get(ctx, "answer", sum(i), time.Now())
			if !ok || string(got) != value || tier != want || !until.Equal(expiry) {
				t.Errorf("Get = %q until %s from %q, %v; want %q until %s from %q", got, until, tier, ok, value, expiry, want)
			}
		}
	}
	if _, _, _, ok := b.Get(ctx, "search", sum(0), time.Now()); ok {
		t.Error("a value of one purpose answers for another")
	}
	if _, _, tier, ok := b.Get(ctx, "answer", sum(0), expiry); ok {
		t.Errorf("a hit in %s at the expiry", tier)
	}
	client := raw(t, rc.URL)
	name := rc.Prefix + "1:answer:" + hex.EncodeToString(sum0())
	if left, err := client.PExpireTime(ctx, name).Result(); err != nil || left != time.Duration(expiry.UnixMilli())*time.Millisecond {
		t.Errorf("Redis lets %s go at %s (%v), want %d ms", name, left, err, expiry.UnixMilli())
	}
	want := RedisStats{Configured: true, Hits: 2, Misses: 1, Breaker: "closed", Rejected: rejections(nil)}
	got := b.Stats().Redis
	want.Rejected["expired"] = got.Rejected["expired"] // of the last Get
	if diff := cmp.Diff(want, got); diff != "" || got.Rejected["expired"] != 1 {
		t.Errorf("stats (-want +got):\n%s", diff)
	}
	if st := b.Stats(); st.Hits != 2 || st.Misses != 4 {
		t.Errorf("memory: %d hits and %d misses, want 2 and 4", st.Hits, st.Misses)
	}
	if st := a.Stats().Redis; st.Written != 2 || st.Queued != 0 || a.remote.queued.Load() != 0 {
		t.Errorf("written %d, queued %d", st.Written, st.Queued)
	}
}

func sum0() []byte { s := sum(0); return s[:] }

func rejections(counted map[string]uint64) map[string]uint64 {
	all := map[string]uint64{"short": 0, "version": 0, "mac": 0, "purpose": 0, "key": 0, "build": 0, "expired": 0, "oversize": 0, "type": 0}
	for why, n := range counted {
		all[why] = n
	}
	return all
}

func TestWhatGoesToRedis(t *testing.T) {
	rc := given(t)
	limits := func(cfg *Config) { cfg.Remote, cfg.MaxRemoteValue = []string{"answer"}, 1000 }
	a, b := newShared(t, rc, limits), newShared(t, rc, limits)
	old := []byte("the value before")
	tests := []struct {
		name, purpose string
		value         []byte
		expiry        time.Time
		memory, redis bool
	}{
		{"a value", "answer", []byte("x"), soon(), true, true},
		{"the largest", "answer", make([]byte, 1000), soon(), true, true},
		{"too large", "answer", make([]byte, 1001), soon(), true, false},
		{"expired", "answer", []byte("x"), time.Now().Add(-time.Second), false, false},
		{"another purpose", "search", []byte("x"), soon(), true, false},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := a.Stats().Redis.Written
			a.Put(ctx, tt.purpose, sum(i), old, soon())
			a.Put(ctx, tt.purpose, sum(i), tt.value, tt.expiry)
			if tt.purpose == "answer" {
				settled(t, a, before+2)
			}
			if got, _, tier, ok := a.Get(ctx, tt.purpose, sum(i), time.Now()); ok != tt.memory || ok && (tier != Memory || !bytes.Equal(got, tt.value)) {
				t.Errorf("where it was put: %d bytes from %q, %v; want memory %v", len(got), tier, ok, tt.memory)
			}
			if got, _, _, ok := b.Get(ctx, tt.purpose, sum(i), time.Now()); ok != tt.redis || ok && !bytes.Equal(got, tt.value) {
				t.Errorf("elsewhere: %d bytes, %v; want %v", len(got), ok, tt.redis)
			}
		})
	}
	if st := a.Stats().Redis; st.Errors != 0 || st.Dropped != 0 {
		t.Errorf("%d errors, %d dropped", st.Errors, st.Dropped)
	}
}

// Threat 54: a Redis value written by someone else, by an older version, cut short,
// or moved to another key: MAC, version and label fail; a miss.
func TestForeignValuesAreMisses(t *testing.T) {
	rc := given(t)
	c := newShared(t, rc, func(cfg *Config) { cfg.MaxRemoteValue = 4000 })
	client := raw(t, rc.URL)
	stranger := sum(2000)
	expiry := soon()
	good := seal(&testSecret, testLabel, []byte("deny"), expiry)
	put := func(frame []byte) func(string) error {
		return func(name string) error { return client.Set(ctx, name, frame, time.Hour).Err() }
	}
	changed := func(f func(b []byte) []byte) func(string) error { return put(f(bytes.Clone(good))) }
	tests := []struct {
		name  string
		write func(name string) error
		why   string
	}{
		{"a plain answer", put([]byte("aallow")), "version"},
		{"an answer behind our version", put([]byte("\x01allow")), "short"},
		{"a long answer behind our version", put(append([]byte{formatVersion}, bytes.Repeat([]byte("allow "), 50)...)), "mac"},
		{"one byte", put([]byte{formatVersion}), "short"},
		{"sealed by someone else", put(seal(&stranger, testLabel, []byte("allow"), expiry)), "mac"},
		{"an older version", changed(func(b []byte) []byte { b[0]--; return b }), "version"},
		{"an older version under a good MAC", changed(func(b []byte) []byte {
			b[0]--
			copy(b[1:], macOf(&testSecret, b))
			return b
		}), "version"},
		{"cut short by a byte", put(good[:len(good)-1]), "mac"},
		{"cut short to the MAC", put(good[:bodyStart]), "short"},
		{"another payload", changed(func(b []byte) []byte { b[len(b)-1] ^= 1; return b }), "mac"},
		{"a longer life", changed(func(b []byte) []byte { b[bodyStart+5]++; return b }), "mac"},
		{"moved from another key", put(seal(&testSecret, label{"answer", sum(2), testLabel.build}, []byte("allow"), expiry)), "key"},
		{"moved from another purpose", put(seal(&testSecret, label{"search", sum(1), testLabel.build}, []byte("allow"), expiry)), "purpose"},
		{"of another build", put(seal(&testSecret, label{"answer", sum(1), "build-0"}, []byte("allow"), expiry)), "build"},
		{"expired, and kept by someone", put(seal(&testSecret, testLabel, []byte("allow"), time.Now().Add(-time.Second))), "expired"},
		{"larger than we write", put(seal(&testSecret, testLabel, make([]byte, 4000+maxOverhead), expiry)), "oversize"},
		{"a list", func(name string) error { return client.RPush(ctx, name, good).Err() }, "type"},
		{"a hash", func(name string) error { return client.HSet(ctx, name, "a", good).Err() }, "type"},
	}
	name := c.remote.name(testLabel.purpose, testLabel.sum)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c.Clear()
			if err := client.Del(ctx, name).Err(); err != nil {
				t.Fatal(err)
			}
			if err := tt.write(name); err != nil {
				t.Fatal(err)
			}
			before := c.Stats().Redis
			if got, _, tier, ok := c.Get(ctx, testLabel.purpose, testLabel.sum, time.Now()); ok {
				t.Fatalf("%q from %s", got, tier)
			}
			after := c.Stats().Redis
			before.Rejected[tt.why]++
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("counted otherwise than as one %q (-want +got):\n%s", tt.why, diff)
			}
			// The next value that we compute takes its place.
			c.Put(ctx, testLabel.purpose, testLabel.sum, []byte("deny"), expiry)
			settled(t, c, after.Written+1)
			c.Clear()
			if got, _, tier, ok := c.Get(ctx, testLabel.purpose, testLabel.sum, time.Now()); !ok || string(got) != "deny" || tier != Redis {
				t.Errorf("after a new Put: %q from %q, %v", got, tier, ok)
			}
		})
	}
}

// After a rotation of the secret nothing that came to be under the old one is used,
// whether Redis or memory has it.
func TestRekey(t *testing.T) {
	rc := given(t)
	a, b := newShared(t, rc), newShared(t, rc)
	a.Put(ctx, "answer", sum(1), []byte("old"), soon())
	settled(t, a, 1)
	if _, _, _, ok := b.Get(ctx, "answer", sum(1), time.Now()); !ok {
		t.Fatal("a miss before the rotation")
	}
	if err := b.Rekey([32]byte{}); err == nil {
		t.Error("an empty key is taken")
	}
	if err := b.Rekey(testSecret); err != nil {
		t.Error(err)
	}
	if _, _, tier, ok := b.Get(ctx, "answer", sum(1), time.Now()); !ok || tier != Memory {
		t.Error("the same key again empties the memory")
	}
	renewed := sum(1001)
	if err := b.Rekey(renewed); err != nil {
		t.Fatal(err)
	}
	if got, _, tier, ok := b.Get(ctx, "answer", sum(1), time.Now()); ok {
		t.Errorf("after the rotation %q from %s", got, tier)
	}
	if n := b.Stats().Redis.Rejected["mac"]; n != 1 {
		t.Errorf("%d rejected for their MAC, want 1", n)
	}
	b.Put(ctx, "answer", sum(1), []byte("new"), soon())
	settled(t, b, 1)
	a.Clear()
	if got, _, _, ok := a.Get(ctx, "answer", sum(1), time.Now()); ok {
		t.Errorf("under the old key: %q", got)
	}
	if err := a.Rekey(renewed); err != nil {
		t.Fatal(err)
	}
	if got, _, tier, ok := a.Get(ctx, "answer", sum(1), time.Now()); !ok || string(got) != "new" || tier != Redis {
		t.Errorf("both renewed: %q from %q, %v", got, tier, ok)
	}
	// What was still queued is written under the key of its time.
	a.remote.queue(job{"answer", sum(2), []byte("late"), soon(), &testSecret})
	settled(t, a, 2)
	if got, _, _, ok := b.Get(ctx, "answer", sum(2), time.Now()); ok {
		t.Errorf("queued before the rotation, read after it: %q", got)
	}
	b.fill(key{"answer", sum(3)}, found{[]byte("x"), soon(), &testSecret})
	if _, _, _, ok := b.Get(ctx, "answer", sum(3), time.Now()); ok {
		t.Error("what was checked under the old key entered memory after the rotation")
	}
}

// A burst for one cold key costs Redis one call, and the first caller leaving does
// not hurt the rest.
func TestCallersShareALookup(t *testing.T) {
	srv := redistest.Start(t, redistest.Options{})
	rc := RedisConfig{URL: srv.URL()}
	a, b := newShared(t, rc), newShared(t, rc)
	a.Put(ctx, "answer", sum(1), []byte("allow"), soon())
	settled(t, a, 1)
	if err := b.Ping(ctx); err != nil { // so that there is a connection
		t.Fatal(err)
	}
	srv.Pause()
	leaving, leave := context.WithCancel(ctx)
	first := make(chan bool)
	go func() {
		_, _, _, ok := b.Get(leaving, "answer", sum(1), time.Now())
		first <- ok
	}()
	eventually.Holds(t, "the first has asked", func() bool { return b.Stats().Misses == 1 })
	var wg sync.WaitGroup
	var hits atomic.Int64
	const others = 100
	for range others {
		wg.Go(func() {
			if got, _, _, ok := b.Get(ctx, "answer", sum(1), time.Now()); ok && string(got) == "allow" {
				hits.Add(1)
			}
		})
	}
	eventually.Holds(t, "all have asked", func() bool { return b.Stats().Misses == 1+others })
	leave()
	if <-first {
		t.Error("the caller who left got a value from a server that hangs")
	}
	srv.Resume()
	wg.Wait()
	if hits.Load() != others {
		t.Errorf("%d of %d got the value", hits.Load(), others)
	}
	// One who has missed, and comes to the call when it has ended, makes another.
	if st := b.Stats().Redis; st.Hits < 1 || st.Hits > others/10 || st.Errors != 0 {
		t.Errorf("%d hits in Redis and %d errors, want one call for all, or for nearly all", st.Hits, st.Errors)
	}
}

// What was put while a lookup was under way is newer than what the lookup finds.
func TestALookupDoesNotOverwriteANewerValue(t *testing.T) {
	c := newShared(t, given(t))
	c.Put(ctx, "tag", sum(1), []byte("new"), soon())
	c.fill(key{"tag", sum(1)}, found{[]byte("old"), soon(), c.remote.secret.Load()})
	if got, _, _, _ := c.Get(ctx, "tag", sum(1), time.Now()); string(got) != "new" {
		t.Errorf("Get = %q", got)
	}
}

// Threat 55: Redis down, slow or full: compute; never allow. Whatever happens to
// the server while callers use the cache, they get a value that was put under this
// very key or a miss, no error and no endless wait; and afterwards it serves again.
func TestRedisFailsUnderLoad(t *testing.T) {
	srv := redistest.Start(t, redistest.Options{Lines: []string{"maxmemory-policy noeviction"}})
	rc := RedisConfig{URL: srv.URL(), Timeout: 50 * time.Millisecond}
	replicas := []*Cache{newShared(t, rc), newShared(t, rc)}
	for _, c := range replicas {
		c.remote.breaker.pause = 20 * time.Millisecond
	}
	valueOf := func(i int) string { return fmt.Sprintf("value %d", i) }
	running, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	var asked atomic.Int64
	for w := range 4 {
		c := replicas[w%2]
		wg.Go(func() {
			for i := w; running.Err() == nil; i++ {
				k := i % 50
				if got, until, _, ok := c.Get(ctx, "answer", sum(k), time.Now()); ok && (string(got) != valueOf(k) || !time.Now().Before(until)) {
					t.Errorf("key %d holds %q until %s", k, got, until)
					return
				}
				c.Put(ctx, "answer", sum(k), []byte(valueOf(k)), soon())
				if i%10 == 0 {
					c.Clear() // so that Redis is asked, not memory alone
				}
				asked.Add(1)
				time.Sleep(100 * time.Microsecond)
			}
		})
	}
	defer wg.Wait()
	defer stop()
	goesOn := func(t *testing.T) {
		t.Helper()
		n := asked.Load()
		eventually.Holds(t, "callers got on", func() bool { return asked.Load() > n+100 })
	}
	serves := func(t *testing.T) {
		t.Helper()
		for _, c := range replicas {
			hits, written := c.Stats().Redis.Hits, c.Stats().Redis.Written
			eventually.Holds(t, "Redis serves again", func() bool {
				st := c.Stats().Redis
				return st.Hits > hits && st.Written > written && st.Breaker == "closed"
			})
		}
	}
	open := func(t *testing.T) {
		t.Helper()
		for _, c := range replicas {
			eventually.Holds(t, "the breaker is open, and lookups are skipped", func() bool {
				st := c.Stats().Redis
				return st.Breaker != "closed" && st.Skipped > 0
			})
		}
	}
	serves(t)
	snapshot := srv.Snapshot()
	for _, tt := range []struct {
		name string
		do   func(t *testing.T)
	}{
		{"killed", func(t *testing.T) { srv.Kill(); open(t); goesOn(t); srv.Restart() }},
		{"hangs", func(t *testing.T) { srv.Pause(); open(t); goesOn(t); srv.Resume() }},
		{"flushed", func(*testing.T) { srv.Do("flushall") }},
		{"full", func(t *testing.T) {
			srv.Do("config", "set", "maxmemory", "1")
			for _, c := range replicas {
				errs := c.Stats().Redis.Errors
				eventually.Holds(t, "writes are refused", func() bool { return c.Stats().Redis.Errors > errs })
				hits := c.Stats().Redis.Hits
				eventually.Holds(t, "it is still read", func() bool { return c.Stats().Redis.Hits > hits })
			}
			srv.Do("config", "set", "maxmemory", "0")
		}},
		{"connections cut", func(*testing.T) { srv.Do("client", "kill", "type", "normal", "skipme", "yes") }},
		{"restarted from an old snapshot", func(*testing.T) { srv.Restore(snapshot) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.do(t)
			goesOn(t)
			serves(t)
		})
	}
	for _, c := range replicas {
		for why, n := range c.Stats().Redis.Rejected {
			if n != 0 {
				t.Errorf("%d of our own values were rejected: %s", n, why)
			}
		}
	}
}

// A snapshot brings back values whose time to live Redis no longer knows, and those
// of a secret that was rotated because it had leaked. The frame knows.
func TestOldSnapshotRevivesNothing(t *testing.T) { // threats 54 and 55
	srv := redistest.Start(t, redistest.Options{})
	rc := RedisConfig{URL: srv.URL()}
	c := newShared(t, rc)
	expiry := soon()
	c.Put(ctx, "answer", sum(1), []byte("allow"), expiry)
	settled(t, c, 1)
	srv.Do("persist", c.remote.name("answer", sum(1)))
	snapshot := srv.Snapshot()
	srv.Do("flushall")
	srv.Restore(snapshot)
	fresh := func() *Cache { return newShared(t, rc) }
	if _, until, tier, ok := fresh().Get(ctx, "answer", sum(1), time.Now()); !ok || tier != Redis || !until.Equal(expiry) {
		t.Errorf("within its time: until %s from %q, %v; want a hit, or the rest shows nothing", until, tier, ok)
	}
	if _, _, _, ok := fresh().Get(ctx, "answer", sum(1), expiry); ok {
		t.Error("the snapshot brought back a value after its expiry")
	}
	rotated := fresh()
	if err := rotated.Rekey(sum(1001)); err != nil {
		t.Fatal(err)
	}
	if _, _, _, ok := rotated.Get(ctx, "answer", sum(1), time.Now()); ok {
		t.Error("the snapshot brought back a value of the old secret")
	}
}

// Redis being down when the cache is made is no error, and it is used as soon as it
// is there.
func TestRedisIsDownAtTheStart(t *testing.T) { // threat 55
	srv := redistest.Start(t, redistest.Options{})
	srv.Kill()
	var log bytes.Buffer
	c := newShared(t, RedisConfig{URL: srv.URL()}, func(cfg *Config) { cfg.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	for i := range breakerLimit + 1 {
		if err := c.Ping(ctx); err == nil || !strings.Contains(err.Error(), "redis: ") {
			t.Errorf("ping %d of a server that is down: %v", i, err)
		}
	}
	if st := c.Stats().Redis; st.Breaker != "open" {
		t.Errorf("the breaker is %s", st.Breaker)
	}
	c.Put(ctx, "answer", sum(1), []byte("allow"), soon())
	eventually.Holds(t, "the value was dropped", func() bool { return c.Stats().Redis.Dropped == 1 })
	if _, _, tier, ok := c.Get(ctx, "answer", sum(1), time.Now()); !ok || tier != Memory {
		t.Errorf("memory does not answer: %q, %v", tier, ok)
	}
	srv.Restart()
	if err := c.Ping(ctx); err != nil {
		t.Error(err)
	}
	c.Put(ctx, "answer", sum(1), []byte("allow"), soon())
	settled(t, c, 2)
	c.Clear()
	if _, _, tier, ok := c.Get(ctx, "answer", sum(1), time.Now()); !ok || tier != Redis {
		t.Errorf("after the restart: %q, %v", tier, ok)
	}
	c.Close()
	for _, want := range []string{"does not answer", "answers again"} {
		if n := strings.Count(log.String(), want); n != 1 {
			t.Errorf("the log says %d times %q:\n%s", n, want, log.String())
		}
	}
}

// What speaks no Redis, or lies about sizes, costs errors and nothing else.
func TestServerThatLies(t *testing.T) { // threats 54 and 55
	for _, reply := range []string{
		"HTTP/1.1 400 Bad Request\r\n\r\n", "$9223372036854775807\r\n", "$-7\r\n", "*9223372036854775807\r\n", "$5\r\nallow", "+allow\r\n", ":1\r\n", "\r\n", "$",
	} {
		t.Run(fmt.Sprintf("%q", reply), func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			defer wg.Wait()
			defer l.Close()
			wg.Go(func() {
				for conn, err := l.Accept(); err == nil; conn, err = l.Accept() {
					wg.Go(func() {
						defer conn.Close()
						for b := make([]byte, 4096); ; {
							if _, err := conn.Read(b); err != nil {
								return
							}
							if _, err := conn.Write([]byte(reply)); err != nil {
								return
							}
						}
					})
				}
			})
			c := newShared(t, RedisConfig{URL: "redis://" + l.Addr().String(), Timeout: 100 * time.Millisecond})
			if got, _, tier, ok := c.Get(ctx, "answer", sum(1), time.Now()); ok {
				t.Errorf("%q from %s", got, tier)
			}
			c.Put(ctx, "answer", sum(1), []byte("deny"), soon())
			c.Close()
			if st := c.Stats().Redis; st.Hits != 0 {
				t.Errorf("%+v", st)
			}
		})
	}
}

func TestGuard(t *testing.T) {
	if err := guard(func() error { panic("makeslice: len out of range") }); err == nil || !strings.Contains(err.Error(), "makeslice") {
		t.Errorf("a panic is the error %v", err)
	}
	if err := guard(func() error { return nil }); err != nil {
		t.Error(err)
	}
}

// A server that hangs makes no caller wait for a Put, nor Close for ever; what finds
// no place is counted.
func TestQueueIsBounded(t *testing.T) { // threat 55
	for _, tt := range []struct {
		name  string
		size  int
		count int
	}{
		{"by number", 1, 3 * queueLength},
		{"by bytes", 1 << 20, 3 * queueBytes >> 20},
	} {
		t.Run(tt.name, func(t *testing.T) {
			srv := redistest.Start(t, redistest.Options{})
			c := newShared(t, RedisConfig{URL: srv.URL(), Timeout: 500 * time.Millisecond}, func(cfg *Config) { cfg.MaxBytes = 64 << 20 })
			if err := c.Ping(ctx); err != nil {
				t.Fatal(err)
			}
			srv.Pause()
			for i := range tt.count {
				c.Put(ctx, "answer", sum(i), make([]byte, tt.size), soon())
			}
			if n := c.Stats().Redis.Dropped; n == 0 {
				t.Error("nothing was dropped")
			}
			if n := c.remote.queued.Load(); n > queueBytes {
				t.Errorf("%d bytes are queued", n)
			}
			c.Close()
			c.Close()
			if st := c.Stats().Redis; st.Queued != 0 || st.Dropped+st.Errors+st.Written < uint64(tt.count) {
				t.Errorf("after Close: %d queued, %d dropped, %d failed of %d", st.Queued, st.Dropped, st.Errors, tt.count)
			}
		})
	}
}

func TestCloseWritesWhatIsQueued(t *testing.T) {
	rc := given(t)
	c := newShared(t, rc)
	c.remote.drain = time.Minute
	const n = 500
	for i := range n {
		c.Put(ctx, "answer", sum(i), []byte("allow"), soon())
	}
	c.Close()
	if st := c.Stats().Redis; st.Written != n {
		t.Errorf("%d of %d are written: %+v", st.Written, n, st)
	}
	c.Put(ctx, "answer", sum(1), []byte("allow"), soon())
	if _, _, tier, ok := c.Get(ctx, "answer", sum(1), time.Now()); !ok || tier != Memory {
		t.Errorf("a closed cache is one of memory: %q, %v", tier, ok)
	}
	if _, _, _, ok := c.Get(ctx, "answer", sum(2), time.Now()); ok {
		t.Error("a closed cache asks Redis")
	}
	if err := c.Ping(ctx); err == nil {
		t.Error("a closed cache pings Redis")
	}
}

// shares shows that two replicas with this configuration exchange values.
func shares(t *testing.T, rc RedisConfig) (a, b *Cache) {
	t.Helper()
	a, b = newShared(t, rc), newShared(t, rc)
	if err := a.Ping(ctx); err != nil {
		t.Fatal(err)
	}
	const n = 50
	for i := range n {
		a.Put(ctx, "answer", sum(i), []byte(fmt.Sprint(i)), soon())
	}
	settled(t, a, n)
	for i := range n {
		if got, _, tier, ok := b.Get(ctx, "answer", sum(i), time.Now()); !ok || tier != Redis || string(got) != fmt.Sprint(i) {
			t.Fatalf("key %d: %q from %q, %v; writer %+v, reader %+v", i, got, tier, ok, a.Stats().Redis, b.Stats().Redis)
		}
	}
	return a, b
}

func TestTLS(t *testing.T) {
	certs := redistest.NewCertificates(t)
	srv := redistest.Start(t, redistest.Options{TLS: certs})
	good := RedisTLS{CAFile: certs.CAFile, CertFile: certs.ClientCert, KeyFile: certs.ClientKey}
	named := good
	named.ServerName = "redis.test"
	for _, with := range []RedisTLS{good, named} {
		shares(t, RedisConfig{URL: srv.URL(), TLS: with})
	}
	stranger := redistest.NewCertificates(t)
	for _, tt := range []struct {
		name string
		url  string
		tls  RedisTLS
	}{
		{"unknown authority", srv.URL(), RedisTLS{CAFile: stranger.CAFile, CertFile: certs.ClientCert, KeyFile: certs.ClientKey}},
		{"roots of the system", srv.URL(), RedisTLS{CertFile: certs.ClientCert, KeyFile: certs.ClientKey}},
		{"another name", srv.URL(), RedisTLS{CAFile: certs.CAFile, CertFile: certs.ClientCert, KeyFile: certs.ClientKey, ServerName: "other.test"}},
		{"no client certificate", srv.URL(), RedisTLS{CAFile: certs.CAFile}},
		{"another's client certificate", srv.URL(), RedisTLS{CAFile: certs.CAFile, CertFile: stranger.ClientCert, KeyFile: stranger.ClientKey}},
		{"plain", "redis://" + srv.Addr, RedisTLS{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newShared(t, RedisConfig{URL: tt.url, TLS: tt.tls})
			if err := c.Ping(ctx); err == nil {
				t.Error("it was spoken to")
			}
			if _, _, _, ok := c.Get(ctx, "answer", sum(1), time.Now()); ok {
				t.Error("it was believed")
			}
		})
	}
}

func TestUsers(t *testing.T) {
	srv := redistest.Start(t, redistest.Options{Lines: []string{
		// What RedisConfig says that a user needs, and no more.
		"user signet on >first ~signet:* -@all +getrange +set +del +ping",
		"user other on >first ~other:* +@all",
	}})
	file := filepath.Join(t.TempDir(), "password")
	write := func(password string) {
		if err := os.WriteFile(file, []byte(password), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("first\n")
	inURL := strings.Replace(srv.URL(), "redis://", "redis://signet:first@", 1)
	t.Run("password", func(t *testing.T) { shares(t, RedisConfig{URL: srv.URL(), Username: "signet", Password: "first"}) })
	t.Run("in the URL", func(t *testing.T) { shares(t, RedisConfig{URL: inURL}) })
	t.Run("default user", func(t *testing.T) { shares(t, RedisConfig{URL: srv.URL() + "/3"}) })
	t.Run("in a file, changed while running", func(t *testing.T) {
		a, b := shares(t, RedisConfig{URL: srv.URL(), Username: "signet", PasswordFile: file})
		srv.Do("acl", "setuser", "signet", "resetpass", ">second")
		srv.Do("client", "kill", "user", "signet")
		for _, c := range []*Cache{a, b} {
			eventually.Holds(t, "the old password is refused", func() bool { return c.Ping(ctx) != nil })
		}
		write("second")
		for _, c := range []*Cache{a, b} {
			eventually.Holds(t, "the new password is used", func() bool { return c.Ping(ctx) == nil })
		}
		b.Clear()
		if _, _, tier, ok := b.Get(ctx, "answer", sum(1), time.Now()); !ok || tier != Redis {
			t.Errorf("%q, %v", tier, ok)
		}
		write("")
		srv.Do("client", "kill", "user", "signet")
		eventually.Holds(t, "an empty file is an error", func() bool { err := a.Ping(ctx); return err != nil && strings.Contains(err.Error(), "is empty") })
	})
	for _, tt := range []struct {
		name string
		rc   RedisConfig
	}{
		{"wrong password", RedisConfig{Username: "signet", Password: "third"}},
		{"no rights on the prefix", RedisConfig{Username: "other", Password: "first"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.rc.URL = srv.URL()
			c := newShared(t, tt.rc)
			c.Put(ctx, "answer", sum(1), []byte("allow"), soon())
			c.Clear()
			if _, _, _, ok := c.Get(ctx, "answer", sum(1), time.Now()); ok {
				t.Error("a hit")
			}
			eventually.Holds(t, "both calls are counted as errors", func() bool { return c.Stats().Redis.Errors == 2 })
		})
	}
}

func TestSentinel(t *testing.T) {
	r := redistest.StartSentinel(t)
	a, b := shares(t, RedisConfig{Mode: ModeSentinel, Addresses: r.Sentinels, SentinelMaster: r.Name})
	r.Master.Kill()
	value := func() bool {
		a.Put(ctx, "answer", sum(1000), []byte("after the failover"), soon())
		b.Clear()
		got, _, tier, ok := b.Get(ctx, "answer", sum(1000), time.Now())
		return ok && tier == Redis && string(got) == "after the failover"
	}
	eventually.Holds(t, "the replica has taken over", value)
	if role := r.Replica.Do("role"); !strings.HasPrefix(role, "master") {
		t.Errorf("the replica's role is %s", role)
	}
	if b.Stats().Redis.Errors+a.Stats().Redis.Errors == 0 {
		t.Error("nobody noticed that the master was gone")
	}
}

func TestCluster(t *testing.T) {
	nodes := redistest.StartCluster(t, "user signet on >first ~signet:* -@all +getrange +set +del +ping +cluster|slots +command")
	rc := RedisConfig{Username: "signet", Password: "first", Mode: ModeCluster, Addresses: []string{nodes[0].Addr, nodes[1].Addr}}
	_, b := shares(t, rc)
	for _, node := range nodes {
		if n := node.Do("dbsize"); n == "0" {
			t.Errorf("no key is on %s: all went to one slot", node.Addr)
		}
	}
	nodes[2].Kill()
	b.Clear()
	hits := 0
	for i := range 50 {
		if got, _, _, ok := b.Get(ctx, "answer", sum(i), time.Now()); ok {
			hits++
			if string(got) != fmt.Sprint(i) {
				t.Errorf("key %d holds %q", i, got)
			}
		}
	}
	if hits == 50 {
		t.Error("what the lost node held is still there")
	}
}

func TestRaces(t *testing.T) {
	rc := given(t)
	c := newShared(t, rc, func(cfg *Config) { cfg.MaxBytes = 1 << 18 })
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 300 {
				k := i % 40
				if v, _, _, ok := c.Get(ctx, "answer", sum(k), time.Now()); ok && string(v) != fmt.Sprint(k) {
					t.Errorf("key %d holds %q", k, v)
					return
				}
				c.Put(ctx, "answer", sum(k), []byte(fmt.Sprint(k)), soon())
				switch {
				case w == 0 && i%50 == 0:
					if err := c.Rekey(sum(5000 + i)); err != nil {
						t.Error(err)
					}
				case w == 1 && i%50 == 0:
					c.Clear()
				case w == 2:
					c.Stats()
				case w == 3 && i == 250:
					c.Close()
				case w == 4 && i%20 == 0:
					_ = c.Ping(ctx)
				}
			}
		})
	}
	wg.Wait()
}

func TestBreaker(t *testing.T) {
	var log bytes.Buffer
	b := &breaker{log: slog.New(slog.NewTextHandler(&log, nil)), pause: time.Hour}
	failed := fmt.Errorf("no answer")
	step := func(state string, allowed bool) {
		t.Helper()
		if got := b.state(); got != state {
			t.Errorf("the breaker is %s, want %s", got, state)
		}
		if got := b.allow(); got != allowed {
			t.Errorf("allow = %v, want %v (%s)", got, allowed, state)
		}
	}
	for range breakerLimit - 1 {
		b.report(failed)
	}
	b.report(nil) // not in a row
	for range breakerLimit {
		step("closed", true)
		b.report(failed)
	}
	step("open", false)
	b.until = time.Now() // the pause is over
	step("open", true)
	step("probing", false) // one probe
	b.report(failed)
	step("open", false)
	b.until = time.Now()
	step("open", true)
	b.report(nil)
	step("closed", true)
	if n := strings.Count(log.String(), "\n"); n != 2 {
		t.Errorf("%d lines are logged, want one when it opens and one when it closes:\n%s", n, log.String())
	}
}

func TestNamesOfReasons(t *testing.T) {
	var names []string
	for why := accepted + 1; why < reasonCount; why++ {
		names = append(names, why.name())
	}
	for why := range rejections(nil) {
		if !slices.Contains(names, why) {
			t.Errorf("no reason is named %q", why)
		}
	}
	if len(names) != len(rejections(nil)) || slices.Contains(names, "") {
		t.Errorf("reasons are named %q", names)
	}
}
