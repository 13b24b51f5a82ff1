package registry

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/signet-policy/signet/internal/evidence"
)

// Health is how it went with one registry since this client was made.
type Health struct {
	Host string
	// LastSuccess is when it last answered, whatever it said but 429 and 5xx;
	// LastFailure when it last did not. Zero: never.
	LastSuccess, LastFailure time.Time
	// Failure says why it did not, "" for never. It names no repository.
	Failure string
}

// mostHosts are remembered: names of registries come from whoever asks.
const mostHosts = 256

// health remembers how it went with the registries that were asked most recently.
type health struct {
	mu    sync.Mutex
	hosts map[string]Health
}

// Health tells how it went with the registries that were asked lately, by host.
func (c *Client) Health() []Health {
	c.health.mu.Lock()
	defer c.health.mu.Unlock()
	out := make([]Health, 0, len(c.health.hosts))
	for _, h := range c.health.hosts {
		out = append(out, h)
	}
	slices.SortFunc(out, func(a, b Health) int { return strings.Compare(a.Host, b.Host) })
	return out
}

// note keeps the outcome of a request. A caller who has left says nothing about the
// registry; what it answered and we refuse is an answer.
func (h *health) note(ctx context.Context, host string, rp reply, err error, at time.Time) {
	failure := ""
	var known *evidence.Problem
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return
	case err == nil && (rp.status == http.StatusTooManyRequests || rp.status >= http.StatusInternalServerError):
		failure = "it answered " + http.StatusText(rp.status)
	case errors.As(err, &known) && (known.Code == evidence.CodeUnavailable || known.Code == evidence.CodeAddressRefused):
		failure = known.Message
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	now, seen := h.hosts[host]
	if !seen && len(h.hosts) >= mostHosts {
		h.forgetOldest()
	}
	now.Host = host
	if failure == "" {
		now.LastSuccess = at
	} else {
		now.LastFailure, now.Failure = at, failure
	}
	h.hosts[host] = now
}

func (h *health) forgetOldest() {
	oldest, when := "", time.Time{}
	for host, of := range h.hosts {
		last := of.LastSuccess
		if of.LastFailure.After(last) {
			last = of.LastFailure
		}
		if oldest == "" || last.Before(when) {
			oldest, when = host, last
		}
	}
	delete(h.hosts, oldest)
}
