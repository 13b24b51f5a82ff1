package api

import (
	"container/list"
	"fmt"
	"math"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/signet-policy/signet/internal/auth"
)

// RateLimit bounds the requests of one principal. The zero value does not.
type RateLimit struct {
	// PerSecond is how many requests a second may come in the long run. A batch
	// of verdicts counts as many as it has items.
	PerSecond float64
	// Burst is how many may come at once.
	Burst int
}

func (l RateLimit) validate() error {
	switch {
	case l == RateLimit{}:
		return nil
	case math.IsNaN(l.PerSecond) || math.IsInf(l.PerSecond, 0) || l.PerSecond <= 0:
		return fmt.Errorf("api: Config.RateLimit.PerSecond is %v; it must be more than 0, or 0 with Burst 0 for no limit", l.PerSecond)
	case l.Burst < 1:
		return fmt.Errorf("api: Config.RateLimit.Burst is %d; it must be at least 1, or 0 with PerSecond 0 for no limit", l.Burst)
	}
	return nil
}

// buckets are token buckets by key, the most recently used ones: whoever was
// forgotten starts with a full one again.
type buckets[K comparable] struct {
	limit RateLimit
	most  int
	// used is how many there are, read without the lock.
	used atomic.Int64

	mu    sync.Mutex
	byKey map[K]*list.Element // of *bucket[K]
	order *list.List          // the most recently used in front
}

type bucket[K comparable] struct {
	key     K
	limiter *rate.Limiter
}

func newBuckets[K comparable](limit RateLimit, most int) *buckets[K] {
	return &buckets[K]{limit: limit, most: most, byKey: map[K]*list.Element{}, order: list.New()}
}

// take takes n out of the bucket of key, or nothing and says how long to wait.
// n is a whole bucket at most.
func (b *buckets[K]) take(key K, n int, now time.Time) (wait time.Duration, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e, there := b.byKey[key]
	if !there {
		e = b.order.PushFront(&bucket[K]{key, rate.NewLimiter(rate.Limit(b.limit.PerSecond), b.limit.Burst)})
		b.byKey[key] = e
		if b.order.Len() > b.most {
			b.forget(b.order.Back())
		}
		b.used.Store(int64(b.order.Len()))
	}
	b.order.MoveToFront(e)
	return take(e.Value.(*bucket[K]).limiter, n, now) //nolint:errcheck // only buckets are put in
}

// empty says whether key has nothing left, and for how long. It makes no bucket.
func (b *buckets[K]) empty(key K, now time.Time) (wait time.Duration, is bool) {
	if b.used.Load() == 0 {
		return 0, false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	e, there := b.byKey[key]
	if !there {
		return 0, false
	}
	limiter := e.Value.(*bucket[K]).limiter //nolint:errcheck // only buckets are put in
	if limiter.TokensAt(now) >= 1 {
		return 0, false
	}
	r := limiter.ReserveN(now, 1)
	defer r.CancelAt(now)
	return r.DelayFrom(now), true
}

func (b *buckets[K]) forget(e *list.Element) {
	delete(b.byKey, e.Value.(*bucket[K]).key) //nolint:errcheck // only buckets are put in
	b.order.Remove(e)
}

func take(l *rate.Limiter, n int, now time.Time) (time.Duration, bool) {
	r := l.ReserveN(now, n)
	if wait := r.DelayFrom(now); wait > 0 {
		r.CancelAt(now)
		return wait, false
	}
	return 0, true
}

// Bounds of what is remembered, and of what may fail.
const (
	mostPrincipals = 10_000
	mostGuesses    = 10_000
)

// Failed attempts: ten at once for one token from one source, one more every
// ten seconds; a hundred for a source over all tokens, one more a second.
var (
	perGuess  = RateLimit{PerSecond: 0.1, Burst: 10}
	perSource = RateLimit{PerSecond: 1, Burst: 100}
)

// guess is where a token that is not known came from, and which it claims to
// be. Counting by both makes guessing one token's secret slow without locking
// out others behind the same address, or its owner elsewhere.
type guess struct {
	source netip.Addr
	id     string
}

// guesses counts tokens that were not known.
type guesses struct {
	byToken  *buckets[guess]
	bySource *buckets[netip.Addr]
}

func newGuesses() guesses {
	return guesses{newBuckets[guess](perGuess, mostGuesses), newBuckets[netip.Addr](perSource, mostGuesses)}
}

// any says whether there was a failure at all; most servers never see one.
func (g guesses) any() bool { return g.byToken.used.Load() > 0 }

// blocked says whether what is presented must wait before it is looked at.
func (g guesses) blocked(source netip.Addr, token string, now time.Time) (time.Duration, bool) {
	id, _, err := auth.Parse(token)
	if err != nil {
		return 0, false // it can be no token that we know
	}
	return g.byToken.empty(guess{source, id}, now)
}

// failed counts one, and says how long its sender has to wait, if it must.
func (g guesses) failed(source netip.Addr, id string, now time.Time) (time.Duration, bool) {
	one, ok := g.byToken.take(guess{source, id}, 1, now)
	all, allOK := g.bySource.take(source, 1, now)
	return max(one, all), !ok || !allOK
}

// sourceOf is what failures are counted by: an IPv4 address, or the /64 of an
// IPv6 one, which is what one caller has.
func sourceOf(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if !a.Is6() {
		return a
	}
	p, err := a.Prefix(64)
	if err != nil {
		return a
	}
	return p.Addr()
}

// rateLimited asks to come again after wait.
func rateLimited(detail string, wait time.Duration) *problem {
	return &problem{code: codeRateLimited, detail: detail, retryAfter: max(1, int(math.Ceil(wait.Seconds())))}
}
