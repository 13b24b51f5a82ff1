package cache

import (
	"log/slog"
	"sync"
	"time"
)

const (
	// breakerLimit is how many calls in a row may fail before Redis is left alone.
	breakerLimit = 5
	// breakerPause is for how long, and after each probe that failed again.
	breakerPause = time.Second
)

// breaker keeps callers from waiting for a Redis that does not answer: after
// breakerLimit failures in a row it is open, and then lets one call through per
// breakerPause, the probe. Any success closes it.
type breaker struct {
	log   *slog.Logger
	pause time.Duration

	mu       sync.Mutex
	failures int
	until    time.Time // of an open one: no probe before
	probing  bool
}

// allow says whether a call may be made. Whoever makes it reports how it went.
func (b *breaker) allow() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failures < breakerLimit {
		return true
	}
	if b.probing || time.Now().Before(b.until) {
		return false
	}
	b.probing = true
	return true
}

// report takes the outcome of a call; nil is a success.
func (b *breaker) report(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	was := b.failures >= breakerLimit
	b.probing = false
	if err == nil {
		b.failures = 0
		if was {
			b.log.Info("the Redis cache answers again")
		}
		return
	}
	b.failures = min(b.failures+1, breakerLimit)
	if b.failures < breakerLimit {
		return
	}
	b.until = time.Now().Add(b.pause)
	if !was {
		b.log.Warn("the Redis cache does not answer and is left alone; everything is computed", "error", err.Error(), "retry_every", b.pause.String())
	}
}

// state is "closed", "open" or "probing".
func (b *breaker) state() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.failures < breakerLimit:
		return "closed"
	case b.probing:
		return "probing"
	default:
		return "open"
	}
}
