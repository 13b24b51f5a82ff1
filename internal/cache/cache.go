// Package cache keeps bytes until their own expiry: in memory, and behind that,
// where it is configured, in Redis for all replicas.
//
// Start with [New]. A value is stored with the moment until which it may be
// used, and that moment never moves: reading a value does not renew it, so a hot
// entry expires like any other, and one that comes from Redis keeps its own
// moment. Keys are digests; purposes keep kinds of values apart.
//
// Whatever is wrong is a miss. What Redis gives is used only when it is a frame
// (frame.go) under a MAC that a holder of [Config.Key] made for this very purpose,
// key and build; a Redis that is slow, full or down costs at most
// [RedisConfig.Timeout], and soon nothing.
package cache

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
)

// overhead is what an entry costs beside its value, in bytes: key, node, expiry
// and policy bookkeeping, measured by TestOverhead.
const overhead = 240

// minBytes is the smallest bound that makes sense.
const minBytes = 64 << 10

// defaultMaxRemoteValue is the largest value that goes to Redis.
const defaultMaxRemoteValue = 1 << 20

// Tier names where a value was found. It is an alias, so that the rooms that only
// pass it on need not know this package.
type Tier = string

// The tiers.
const (
	Memory Tier = "memory"
	Redis  Tier = "redis"
)

// Config of a cache.
type Config struct {
	// MaxBytes bounds what the values and their keys take in memory, at least 64 KiB.
	MaxBytes int64
	// Now is the clock by which expired values are swept out. What may be used is
	// decided by the time that the caller of Get names. Default: time.Now.
	Now func() time.Time

	// Redis is the second tier; nil: memory only. What follows belongs to it.
	Redis *RedisConfig
	// Remote are the purposes whose values go to Redis; nil: every purpose.
	Remote []string
	// Key is the key of the MAC over every value in Redis, derived from the
	// installation's secret under a label of its own.
	Key [32]byte
	// Build names the binary; values of other builds are misses.
	Build string
	// MaxRemoteValue is the largest value that goes to Redis, in bytes; larger ones
	// stay in memory only. Default: 1 MiB.
	MaxRemoteValue int
	// Log is told when Redis stops answering and when it answers again. Default: nobody.
	Log *slog.Logger
}

// Cache is safe for concurrent use. Close it to end its goroutines.
type Cache struct {
	entries  *otter.Cache[key, entry]
	maxValue int64
	now      func() time.Time
	remote   *remote // nil: memory only
	// filling keeps values that were checked under an old key from entering memory
	// after Rekey has emptied it.
	filling sync.RWMutex

	hits   counter
	misses counter
}

// counter has a cache line of its own: every reader on every core counts here.
type counter struct {
	_ [64]byte
	n atomic.Uint64
	_ [64]byte
}

type key struct {
	purpose string
	sum     [32]byte
}

type entry struct {
	value  []byte
	expiry time.Time
}

// New makes a cache with nothing in memory. A mistake in cfg is an error that names
// the field; a Redis that is down is not: it is used when it is there.
func New(cfg Config) (*Cache, error) {
	if cfg.MaxBytes < minBytes {
		return nil, fmt.Errorf("cache: MaxBytes is %d, want at least %d", cfg.MaxBytes, minBytes)
	}
	if cfg.MaxRemoteValue < 0 {
		return nil, fmt.Errorf("cache: MaxRemoteValue is %d, want a number of bytes, or 0 for %d", cfg.MaxRemoteValue, defaultMaxRemoteValue)
	}
	if cfg.MaxRemoteValue == 0 {
		cfg.MaxRemoteValue = defaultMaxRemoteValue
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = discard()
	}
	entries, err := otter.New(&otter.Options[key, entry]{
		MaximumWeight: uint64(cfg.MaxBytes),
		Weigher: func(k key, e entry) uint32 {
			return uint32(min(weight(k.purpose, e.value), math.MaxUint32)) //nolint:gosec // bounded by min
		},
		// Of a value's own making, and set by writes alone.
		ExpiryCalculator: otter.ExpiryWritingFunc(func(e otter.Entry[key, entry]) time.Duration {
			return max(e.Value.expiry.Sub(cfg.Now()), 1)
		}),
		Clock:  clock{now: cfg.Now},
		Logger: &otter.NoopLogger{},
	})
	if err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	c := &Cache{
		entries: entries,
		// One value may take an eighth: a few large ones must not empty the cache.
		maxValue: cfg.MaxBytes / 8,
		now:      cfg.Now,
	}
	if cfg.Redis != nil {
		if c.remote, err = newRemote(cfg); err != nil {
			entries.StopAllGoroutines()
			return nil, fmt.Errorf("cache: %w", err)
		}
	}
	return c, nil
}

// Get returns the value stored under purpose and key, until when it may be used,
// and which tier had it. It is a miss unless now lies before that moment. The
// value must not be changed. Redis is asked only for what is not in memory, and ctx
// bounds only that; its end is a miss.
func (c *Cache) Get(ctx context.Context, purpose string, sum [32]byte, now time.Time) (value []byte, expiry time.Time, tier Tier, ok bool) {
	e, ok := c.entries.GetIfPresent(key{purpose, sum})
	if ok && now.Before(e.expiry) {
		c.hits.n.Add(1)
		return e.value, e.expiry, Memory, true
	}
	c.misses.n.Add(1)
	if c.remote == nil {
		return nil, time.Time{}, "", false
	}
	f, ok := c.remote.get(ctx, purpose, sum, now)
	if !ok {
		return nil, time.Time{}, "", false
	}
	c.fill(key{purpose, sum}, f)
	return f.value, f.expiry, Redis, true
}

// fill takes what came from Redis into memory, with its own expiry. What was put
// there meanwhile is newer and stays.
func (c *Cache) fill(k key, f found) {
	if !c.now().Before(f.expiry) || weight(k.purpose, f.value) > c.maxValue {
		return
	}
	c.filling.RLock()
	defer c.filling.RUnlock()
	if f.secret == c.remote.secret.Load() {
		c.entries.SetIfAbsent(k, entry{f.value, f.expiry})
	}
}

// Put stores a value until expiry, in place of what was there. The caller gives
// the value away: it must not change it any more. A value that has expired, or
// that is larger than an eighth of the cache, is not kept in memory, and what was
// there before goes too. Redis gets it later and beside the caller; it may be
// dropped, and then the one before stays there until its own expiry.
func (c *Cache) Put(_ context.Context, purpose string, sum [32]byte, value []byte, expiry time.Time) {
	k := key{purpose, sum}
	live := c.now().Before(expiry)
	if live && weight(purpose, value) <= c.maxValue {
		c.entries.Set(k, entry{value, expiry})
	} else {
		c.entries.Invalidate(k)
	}
	switch {
	case c.remote == nil:
	case live:
		c.remote.put(purpose, sum, value, expiry)
	default:
		c.remote.remove(purpose, sum)
	}
}

// Rekey uses another key for the MACs from now on, after the installation's secret
// was changed. What Redis holds under the old key becomes a miss. Memory is emptied
// too: what came into it from Redis is worth what the old key is worth.
func (c *Cache) Rekey(secret [32]byte) error {
	if c.remote == nil {
		return nil
	}
	if secret == [32]byte{} {
		return errors.New("cache: the new key is empty")
	}
	if *c.remote.secret.Load() == secret {
		return nil
	}
	c.filling.Lock()
	defer c.filling.Unlock()
	c.remote.secret.Store(&secret)
	c.entries.InvalidateAll()
	return nil
}

// Ping asks Redis whether it answers, within [RedisConfig.Timeout]. Without Redis
// there is nothing to ask.
func (c *Cache) Ping(ctx context.Context) error {
	if c.remote == nil {
		return nil
	}
	return c.remote.ping(ctx)
}

// Clear removes everything from memory.
func (c *Cache) Clear() { c.entries.InvalidateAll() }

// Stats says how full the memory tier is, and what was found where. Counters begin
// with the process.
type Stats struct {
	// Entries is about how many there are, expired ones not yet swept included.
	Entries int
	// Bytes is about what they weigh, of MaxBytes.
	Bytes, MaxBytes int64
	// Hits and Misses are of memory.
	Hits, Misses uint64
	Redis        RedisStats
}

// RedisStats counts what became of lookups in Redis (hits, misses, errors, skipped,
// rejected; several callers who share one count once) and of values for it
// (written, dropped, errors).
type RedisStats struct {
	// Configured is false when there is no Redis; everything else is then zero.
	Configured   bool
	Hits, Misses uint64
	// Errors are calls that failed: no answer in time, or one that is an error.
	Errors uint64
	// Skipped are lookups that were not made, because the breaker is open.
	Skipped uint64
	// Rejected are values that were there and are not used, by reason: short,
	// version, mac, purpose, key, build, expired, oversize, type. All are listed.
	Rejected map[string]uint64
	// Written and Dropped are values, and removals of values; Queued wait.
	Written, Dropped uint64
	Queued           int
	// Breaker is closed (calls are made), open (they are not) or probing (one is).
	Breaker string
}

// Stats counts what is there.
func (c *Cache) Stats() Stats {
	s := Stats{
		Entries:  c.entries.EstimatedSize(),
		Bytes:    clampInt64(c.entries.WeightedSize()),
		MaxBytes: clampInt64(c.entries.GetMaximum()),
		Hits:     c.hits.n.Load(),
		Misses:   c.misses.n.Load(),
	}
	if c.remote != nil {
		s.Redis = c.remote.stats()
	}
	return s
}

// Close writes what still waits for Redis, for at most a second, empties the memory
// and ends the goroutines. A closed cache may still be used: as one of memory only,
// which sweeps only when written to.
func (c *Cache) Close() {
	if c.remote != nil {
		c.remote.close()
	}
	c.entries.StopAllGoroutines()
	c.entries.InvalidateAll()
}

func weight(purpose string, value []byte) int64 {
	return int64(len(value)) + int64(len(purpose)) + overhead
}

func clampInt64(n uint64) int64 { return int64(min(n, math.MaxInt64)) }

// clock gives otter the time of the configuration, and real ticks to sweep by.
type clock struct{ now func() time.Time }

func (c clock) NowNano() int64 { return c.now().UnixNano() }

// Tick is called once, for the life of the cache.
func (c clock) Tick(d time.Duration) <-chan time.Time { return time.Tick(d) }
