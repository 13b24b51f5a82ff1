// Package cache keeps bytes in memory until their own expiry.
//
// Start with [New]. A value is stored with the moment until which it may be
// used, and that moment never moves: reading a value does not renew it, so a hot
// entry expires like any other. Keys are digests; purposes keep kinds of values
// apart. Whatever is wrong is a miss.
package cache

import (
	"fmt"
	"math"
	"time"

	"github.com/maypok86/otter/v2"
)

// overhead is what an entry costs beside its value, in bytes: key, node, expiry
// and policy bookkeeping, measured by TestOverhead.
const overhead = 240

// minBytes is the smallest bound that makes sense.
const minBytes = 64 << 10

// Config of a cache.
type Config struct {
	// MaxBytes bounds what the values and their keys take, at least 64 KiB.
	MaxBytes int64
	// Now is the clock by which expired values are swept out. What may be used is
	// decided by the time that the caller of Get names. Default: time.Now.
	Now func() time.Time
}

// Cache is safe for concurrent use. Close it to end its sweeper.
type Cache struct {
	entries  *otter.Cache[key, entry]
	maxValue int64
	now      func() time.Time
}

type key struct {
	purpose string
	sum     [32]byte
}

type entry struct {
	value  []byte
	expiry time.Time
}

// New makes an empty cache.
func New(cfg Config) (*Cache, error) {
	if cfg.MaxBytes < minBytes {
		return nil, fmt.Errorf("cache: MaxBytes is %d, want at least %d", cfg.MaxBytes, minBytes)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
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
	// One value may take an eighth: a few large ones must not empty the cache.
	return &Cache{entries: entries, maxValue: cfg.MaxBytes / 8, now: cfg.Now}, nil
}

// Get returns the value stored under purpose and key, and until when it may be
// used. It is a miss unless now lies before that. The value must not be changed.
func (c *Cache) Get(purpose string, sum [32]byte, now time.Time) (value []byte, expiry time.Time, ok bool) {
	e, ok := c.entries.GetIfPresent(key{purpose, sum})
	if !ok || !now.Before(e.expiry) {
		return nil, time.Time{}, false
	}
	return e.value, e.expiry, true
}

// Put stores a value until expiry, in place of what was there. The caller gives
// the value away: it must not change it any more. A value that has expired, or
// that is larger than an eighth of the cache, is not kept, and what was there
// before goes too.
func (c *Cache) Put(purpose string, sum [32]byte, value []byte, expiry time.Time) {
	k := key{purpose, sum}
	if !c.now().Before(expiry) || weight(purpose, value) > c.maxValue {
		c.entries.Invalidate(k)
		return
	}
	c.entries.Set(k, entry{value, expiry})
}

// Clear removes everything.
func (c *Cache) Clear() { c.entries.InvalidateAll() }

// Stats says how full the cache is.
type Stats struct {
	// Entries is about how many there are, expired ones not yet swept included.
	Entries int
	// Bytes is about what they weigh, of MaxBytes.
	Bytes, MaxBytes int64
}

// Stats counts what is there.
func (c *Cache) Stats() Stats {
	return Stats{
		Entries:  c.entries.EstimatedSize(),
		Bytes:    clampInt64(c.entries.WeightedSize()),
		MaxBytes: clampInt64(c.entries.GetMaximum()),
	}
}

// Close empties the cache and ends its sweeper. A closed cache may still be
// used; it then sweeps only when written to.
func (c *Cache) Close() {
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
