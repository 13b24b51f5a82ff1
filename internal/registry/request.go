package registry

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
)

// maxRedirects is how many redirects are followed for one request.
const maxRedirects = 5

// maxErrorBody is how much is read of the body of an error.
const maxErrorBody = 8 << 10

// session is one repository of one registry, with the authorisation for it.
type session struct {
	*endpoint
	repo string
}

// name is the normalised name of the repository.
func (s session) name() string { return s.Host + "/" + s.repo }

// request is one thing to GET (or, for tokens, to POST).
type request struct {
	// session is asked on behalf of; its credentials are used unless anonymous.
	session
	url *url.URL
	// where names it for people.
	where  string
	accept string
	// max caps the body, in bytes.
	max int64
	// elsewhere allows redirects to other hosts, as big registries send them for
	// blobs, and some (registry.k8s.io) for manifests. Tokens are never fetched so.
	elsewhere bool
	// spool has the answer's body put into a temporary file.
	spool bool
	// once is for what is not tried again.
	once bool
	// method is GET where it is "". Any other is for clients that write, sends body,
	// of contentType, and never to another host.
	method      string
	body        []byte
	contentType string
	// token marks a request for a token: it is never authorised by a token, and
	// authorization and form are sent as they are.
	token         bool
	authorization string
	form          url.Values
}

// reply is an answer whose body was read within its cap.
type reply struct {
	status int
	header http.Header
	body   []byte
	large  *evidence.Spool // instead of body, where the request says spool
}

// mediaType is the Content-Type in lower case, without parameters.
func (r reply) mediaType() string { return mediaTypeOf(r.header.Get("Content-Type")) }

func mediaTypeOf(contentType string) string {
	t, _, _ := strings.Cut(contentType, ";")
	return strings.ToLower(strings.TrimSpace(t))
}

// fetch sends rq, follows what may be followed, and tries again where that may
// help. The error is a *brokenError or an *evidence.Problem; any status that is
// not worth another try is a reply.
func (c *Client) fetch(ctx context.Context, rq request) (reply, error) {
	rp, err := c.attempts(ctx, rq)
	c.health.note(ctx, rq.Host, rp, err, c.cfg.Now())
	return rp, err
}

func (c *Client) attempts(ctx context.Context, rq request) (reply, error) {
	for attempt := 1; ; attempt++ {
		rp, err := c.attempt(ctx, rq)
		wait, again := c.again(ctx, attempt, rp, err)
		if !again || rq.once {
			return rp, c.asError(ctx, rq, err)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return reply{}, c.asError(ctx, rq, ctx.Err())
		}
	}
}

// attempt sends rq once: with one answer to a challenge, and redirects.
func (c *Client) attempt(ctx context.Context, rq request) (reply, error) {
	authorization := rq.authorization
	if !rq.token {
		var err error
		if authorization, err = c.authorization(ctx, rq.session); err != nil {
			return reply{}, err
		}
	}
	u, left, challenged := rq.url, false, rq.token
	for hops := 0; ; {
		sent := authorization
		if left {
			sent = "" // once another host was involved, nothing is shown to anyone
		}
		rp, err := c.roundTrip(ctx, rq, u, sent)
		if err != nil {
			return reply{}, err
		}
		switch {
		case rp.status == http.StatusUnauthorized && !challenged && !left:
			challenged = true
			if authorization, err = c.answer(ctx, rq.session, rp.header, authorization); err != nil {
				return reply{}, err
			}
		case isRedirect(rp.status):
			if hops++; hops > maxRedirects {
				return reply{}, problem(evidence.CodeRedirectRefused, rq.where, "redirected more than %d times", maxRedirects)
			}
			next, err := follow(rq, u, rp.header.Get("Location"))
			if err != nil {
				return reply{}, err
			}
			left = left || !sameOrigin(rq.url, next)
			u = next
		default:
			return rp, nil
		}
	}
}

func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && addressOf(a) == addressOf(b)
}

// follow says where a redirect leads, if it may be followed (threat 45).
func follow(rq request, from *url.URL, location string) (*url.URL, error) {
	next, err := from.Parse(location)
	if err != nil || location == "" || next.Host == "" || next.User != nil {
		return nil, problem(evidence.CodeRedirectRefused, rq.where, "redirected to something that is not a plain URL")
	}
	next.Fragment = ""
	switch {
	case sameOrigin(rq.url, next):
		return next, nil
	case !rq.elsewhere:
		return nil, problem(evidence.CodeRedirectRefused, rq.where, "redirected to another host, %s, where nothing may be sent", clip(next.Host, 100))
	case next.Scheme != "https":
		return nil, problem(evidence.CodeRedirectRefused, rq.where, "redirected to %s without TLS", clip(next.Host, 100))
	}
	return next, nil
}

// roundTrip sends one request and reads the answer's body, all within the
// request timeout, so that a body that drips ends with it (threat 39).
func (c *Client) roundTrip(ctx context.Context, rq request, u *url.URL, authorization string) (reply, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.cfg.Limits.RequestTimeout, errRequestTimeout)
	defer cancel()
	method, body := http.MethodGet, io.Reader(nil)
	if rq.form != nil {
		method, body = http.MethodPost, strings.NewReader(rq.form.Encode())
	}
	if rq.method != "" {
		method, body = rq.method, bytes.NewReader(rq.body)
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return reply{}, fmt.Errorf("making a request: %w", err)
	}
	req.Header.Set("User-Agent", c.cfg.UserAgent)
	if rq.accept != "" {
		req.Header.Set("Accept", rq.accept)
	}
	if rq.form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if rq.contentType != "" {
		req.Header.Set("Content-Type", rq.contentType)
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	transport, guarded := c.transport(rq.endpoint, u)
	if guarded && c.proxy != nil {
		if err := literalRefused(u.Hostname()); err != nil {
			return reply{}, err
		}
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return reply{}, timeoutOr(ctx, err)
	}
	defer resp.Body.Close()
	rp := reply{status: resp.StatusCode, header: resp.Header}
	if rp.status != http.StatusOK {
		// Read to the end where it is near, so that the connection is reused.
		rp.body, _ = io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
		return rp, nil
	}
	if enc := resp.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		return reply{}, broken(facts.CodeContentMismatch, "sent with content encoding %q, which was not asked for", clip(enc, 40))
	}
	if rq.spool {
		rp.large, err = spoolCapped(resp.Body, rq.max, resp.ContentLength)
	} else {
		rp.body, err = readCapped(resp.Body, rq.max, resp.ContentLength)
	}
	if err != nil {
		return reply{}, timeoutOr(ctx, err)
	}
	return rp, nil
}

// spoolCapped is readCapped to a temporary file.
func spoolCapped(r io.Reader, limit, length int64) (*evidence.Spool, error) {
	if length > limit {
		return nil, tooLarge(length, limit)
	}
	s, err := evidence.NewSpool(r, limit)
	if err != nil {
		return nil, err
	}
	if s.Size() > limit {
		s.Close()
		return nil, broken(facts.CodeTooLarge, "more than the limit of %d bytes", limit)
	}
	return s, nil
}

func tooLarge(length, limit int64) error {
	return broken(facts.CodeTooLarge, "%d bytes are more than the limit of %d", length, limit)
}

// readCapped reads at most limit bytes; more is an error. length is what was
// declared, -1 for nothing; it is trusted for refusing only, never for allocating.
func readCapped(r io.Reader, limit, length int64) ([]byte, error) {
	if length > limit {
		return nil, tooLarge(length, limit)
	}
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, broken(facts.CodeTooLarge, "more than the limit of %d bytes", limit)
	}
	return b, nil
}

var errRequestTimeout = errors.New("the request took too long")

// timeoutOr gives the reason why ctx ended, if it did, else err.
func timeoutOr(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// asError makes an *evidence.Problem of whatever is not yet one of our errors.
// The text of transport errors is not repeated where it holds URLs: signed ones
// are credentials.
func (c *Client) asError(ctx context.Context, rq request, err error) error {
	if err == nil {
		return nil
	}
	var ours *brokenError
	var known *evidence.Problem
	if errors.As(err, &ours) || errors.As(err, &known) {
		return err
	}
	p := &evidence.Problem{Code: evidence.CodeUnavailable, Where: rq.where, Err: err}
	var cert *tls.CertificateVerificationError
	switch {
	case ctx.Err() != nil:
		p.Message, p.Err = "not answered in time", ctx.Err()
	case errors.Is(err, errRequestTimeout):
		p.Message = fmt.Sprintf("not answered within %s", c.cfg.Limits.RequestTimeout)
	case errors.Is(err, evidence.ErrSpool):
		p.Message = clip(err.Error(), 200)
	case speaksPlainHTTP(err):
		p.Message = fmt.Sprintf("%s speaks plain HTTP, which must be allowed for it (insecure registry)", rq.Host)
	case errors.As(err, &cert):
		p.Message = "certificate not trusted: " + clip(cert.Err.Error(), 200)
	default:
		p.Message = "connection failed: " + clip(err.Error(), 200)
	}
	if a, ok := refusedAddress(err); ok {
		p.Code, p.Message = evidence.CodeAddressRefused, a.Error()
	}
	return p
}

// speaksPlainHTTP recognises the answer of an HTTP server to a TLS handshake.
func speaksPlainHTTP(err error) bool {
	var rh tls.RecordHeaderError
	return errors.As(err, &rh) && string(rh.RecordHeader[:]) == "HTTP/"
}
