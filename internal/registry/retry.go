package registry

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/signet-policy/signet/internal/evidence"
)

const (
	maxAttempts = 3
	// maxWait is the longest pause between two attempts; a registry that asks for
	// more is left alone, and the caller told when to come back.
	maxWait = 5 * time.Second
	// maxRetryAfter caps what is passed on to callers.
	maxRetryAfter = time.Hour
	// firstBackoff is the pause before the second attempt, on average; it doubles.
	firstBackoff = 250 * time.Millisecond
)

// again says whether another attempt may help, and how long to wait for it.
func (c *Client) again(ctx context.Context, attempt int, rp reply, err error) (time.Duration, bool) {
	if ctx.Err() != nil || attempt >= maxAttempts {
		return 0, false
	}
	if err != nil && !transient(err) || err == nil && !retryable(rp.status) {
		return 0, false
	}
	wait := c.backoff << (attempt - 1)
	wait = wait/2 + rand.N(wait) //nolint:gosec // jitter needs no secrecy
	if asked := retryAfter(rp.header, c.cfg.Now()); asked > 0 {
		wait = asked
	}
	if deadline, ok := ctx.Deadline(); wait > maxWait || ok && time.Until(deadline) < wait {
		return 0, false
	}
	return wait, true
}

func retryable(status int) bool {
	switch status {
	case http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// transient says whether an error is of the connection, and not an answer, a
// refusal, or a time limit that would only be hit again.
func transient(err error) bool {
	var ours *brokenError
	var known *evidence.Problem
	var cert *tls.CertificateVerificationError
	_, refused := refusedAddress(err)
	switch {
	case refused, errors.As(err, &ours), errors.As(err, &known), errors.As(err, &cert):
		return false
	case errors.Is(err, errRequestTimeout), speaksPlainHTTP(err):
		return false
	}
	return true
}

// retryAfter reads RFC 9110, section 10.2.3: seconds or a date. 0 is nothing.
func retryAfter(h http.Header, now time.Time) time.Duration {
	v := h.Get("Retry-After")
	if v == "" {
		return 0
	}
	if n, err := strconv.ParseInt(v, 10, 32); err == nil && n >= 0 {
		return min(time.Duration(n)*time.Second, maxRetryAfter)
	}
	if at, err := http.ParseTime(v); err == nil && at.After(now) {
		return min(at.Sub(now), maxRetryAfter)
	}
	return 0
}

// statusError says what a status other than 200 means for content that is named
// by tag or digest.
func (c *Client) statusError(rq request, rp reply) error {
	code, what := evidence.CodeUnavailable, fmt.Sprintf("the registry answered %d", rp.status)
	switch rp.status {
	case http.StatusOK:
		return nil
	case http.StatusNotFound, http.StatusGone:
		return errAbsent
	case http.StatusUnauthorized, http.StatusForbidden:
		code = evidence.CodeUnauthorized
	case http.StatusTooManyRequests:
		code = evidence.CodeRateLimited
	}
	if said := errorCode(rp.body); said != "" {
		what += " " + said
	}
	if hint := c.credentialHint(rq.session); code == evidence.CodeUnauthorized && hint != "" {
		what += "; " + hint
	}
	p := problem(code, rq.where, "%s", what)
	p.RetryAfter = retryAfter(rp.header, c.cfg.Now())
	return p
}

// errorCode is the first code of an error body (distribution-spec, "Error
// codes"). The message beside it is a stranger's text and not repeated.
func errorCode(body []byte) string {
	var e struct {
		Errors []struct {
			Code string `json:"code"`
		} `json:"errors"`
	}
	if json.Unmarshal(body, &e) != nil || len(e.Errors) == 0 || !isErrorCode(e.Errors[0].Code) {
		return ""
	}
	return e.Errors[0].Code
}
