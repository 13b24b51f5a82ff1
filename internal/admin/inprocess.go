package admin

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/api"
	"github.com/signet-policy/signet/internal/auth"
)

// askTime bounds one request to the REST face; a preview takes the longest.
const askTime = 5 * time.Minute

// inProcess carries requests to the REST face as the person behind a browser's
// request: with their token, or with the principal that we have made sure of.
type inProcess struct {
	handler http.Handler
	browser *http.Request
	// principal is nil where a token speaks, or the connection itself.
	principal *auth.Principal
}

// RoundTrip answers with what the handler writes.
func (t inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx := r.Context()
	if t.principal != nil {
		ctx = api.WithPrincipal(ctx, *t.principal)
	}
	in := r.Clone(ctx)
	in.RequestURI, in.RemoteAddr, in.Host = r.URL.RequestURI(), t.browser.RemoteAddr, t.browser.Host
	for _, name := range []string{"X-Forwarded-For", "X-Request-Id"} {
		if values := t.browser.Header[name]; len(values) > 0 {
			in.Header[name] = values
		}
	}
	if in.Body == nil {
		in.Body = http.NoBody
	}
	defer func() { _ = in.Body.Close() }()
	out := &written{header: http.Header{}}
	t.handler.ServeHTTP(out, in)
	out.WriteHeader(http.StatusOK) // unless it has one
	return &http.Response{
		Status: http.StatusText(out.status), StatusCode: out.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: out.sent, Body: io.NopCloser(&out.body), ContentLength: int64(out.body.Len()), Request: r,
	}, nil
}

// written keeps what a handler writes.
type written struct {
	header, sent http.Header
	status       int
	body         bytes.Buffer
}

func (w *written) Header() http.Header { return w.header }

func (w *written) WriteHeader(status int) {
	if w.status == 0 {
		w.status, w.sent = status, w.header.Clone()
	}
}

func (w *written) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(p)
}

// client asks the REST face for who is behind r; token is "" where principal, or
// the connection, says who that is.
func (p *Page) client(r *http.Request, principal *auth.Principal, token string) (*client.Client, error) {
	return client.New(client.Config{
		BaseURL: "http://localhost", Token: token, UserAgent: "signet-page", MaxRetries: -1,
		HTTPClient: &http.Client{Transport: inProcess{p.cfg.API, r, principal}, Timeout: askTime},
	})
}

// ready asks /readyz, whose details are for people.
func (v *view) ready(ctx context.Context) (readiness, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/readyz", nil)
	if err != nil {
		return readiness{}, err
	}
	if v.who.token != "" {
		req.Header.Set("Authorization", "Bearer "+v.who.token)
	}
	res, err := inProcess{v.page.cfg.API, v.Request(), v.who.vouched()}.RoundTrip(req)
	if err != nil {
		return readiness{}, err
	}
	defer func() { _ = res.Body.Close() }()
	var out readiness
	if err := decodeJSON(res.Body, &out); err != nil {
		return readiness{}, errors.Join(errors.New("reading how it stands"), err)
	}
	return out, nil
}
