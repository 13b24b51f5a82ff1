package client

import (
	"context"
	"crypto/tls"
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

// Waits between attempts: firstWait, doubled each time up to longestWait, of
// which chance takes up to half away so that callers who failed together do not
// come back together. A server that asks for more than patience is not waited for.
const (
	firstWait   = 250 * time.Millisecond
	longestWait = 10 * time.Second
	patience    = time.Minute
)

// do sends a request until it is answered for good: as often as cfg.MaxRetries
// and ctx let it. What was last answered counts, a refusal too.
func (c *Client) do(ctx context.Context, r call) (answer, error) {
	for attempt := 0; ; attempt++ {
		a, err := c.once(ctx, r)
		if attempt >= c.cfg.MaxRetries || !again(ctx, r, a, err) {
			return a, err
		}
		wait := max(backOff(attempt), a.retryAfter)
		if deadline, ok := ctx.Deadline(); wait > patience || ok && c.cfg.Now().Add(wait).After(deadline) {
			return a, err // the wait would come to nothing
		}
		if c.cfg.Sleep(ctx, wait) != nil {
			return a, err
		}
	}
}

// again says whether the request is worth repeating, and may be.
func again(ctx context.Context, r call, a answer, err error) bool {
	var certificate *tls.CertificateVerificationError
	switch {
	case ctx.Err() != nil:
		return false
	case err != nil:
		return r.mayRepeat() && !errors.Is(err, ErrRequest) && !errors.Is(err, ErrAnswer) && !errors.Is(err, ErrRedirect) &&
			!errors.As(err, &certificate)
	case a.status == http.StatusTooManyRequests: // refused before anything was done
		return true
	}
	return a.status == http.StatusServiceUnavailable && r.mayRepeat()
}

// mayRepeat follows RFC 9110, section 9.2.2, for the methods used here.
func (r call) mayRepeat() bool {
	return r.repeatable || r.method == http.MethodGet || r.method == http.MethodPut || r.method == http.MethodDelete
}

func backOff(attempt int) time.Duration {
	wait := longestWait
	if attempt < 6 {
		wait = min(firstWait<<attempt, longestWait)
	}
	return wait - rand.N(wait/2) //nolint:gosec // G404: spreads callers, protects nothing
}

// retryAfter reads the header of RFC 9110, section 10.2.3: seconds or a date.
// What is neither asks for nothing.
func retryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
