package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Config is what a client needs. Only BaseURL is required.
type Config struct {
	// BaseURL is the server's, "https://signet.example.com", a path in front of
	// /api/v1 included. Plain http is taken for a loopback host only, or with
	// AllowHTTP.
	BaseURL string
	// Token is an API token. TokenSource gives it anew for each attempt instead,
	// for tokens that change while the client lives. Neither: no token is sent.
	Token       string
	TokenSource func() (string, error)
	// AllowHTTP sends the token in clear text to hosts that are not loopback.
	AllowHTTP bool
	// HTTPClient makes the connections; nil: one that waits two minutes for an
	// answer. Its redirects and cookies are not used.
	HTTPClient *http.Client
	// UserAgent names the caller; "" is "signet-client".
	UserAgent string
	// MaxRetries is how often a request is repeated: 0 is 4 times, -1 never.
	MaxRetries int
	// Now and Sleep are for tests; nil is the clock's. Sleep returns early with
	// ctx's error.
	Now   func() time.Time
	Sleep func(ctx context.Context, d time.Duration) error
}

// String leaves the token out.
func (c Config) String() string { return "client.Config{BaseURL: " + strconv.Quote(c.BaseURL) + "}" }

// GoString leaves the token out of %#v.
func (c Config) GoString() string { return c.String() }

// LogValue leaves the token out of logs.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// Client is a Signet server's face. It is safe for concurrent use.
type Client struct {
	base  *url.URL
	cfg   Config
	http  *http.Client
	token func() (string, error)
	why   string
}

const (
	defaultRetries = 4
	attemptTime    = 2 * time.Minute
	// maxAnswer bounds what is read: a trust archive or an export of signers.
	maxAnswer = 64 << 20
)

// New makes a client; nothing is sent yet. Its errors are [ErrConfig].
func New(cfg Config) (*Client, error) {
	base, err := baseURL(cfg.BaseURL, cfg.AllowHTTP)
	if err != nil {
		return nil, fmt.Errorf("%w: BaseURL: %w", ErrConfig, err)
	}
	switch {
	case cfg.Token != "" && cfg.TokenSource != nil:
		return nil, fmt.Errorf("%w: Token: give Token or TokenSource, not both", ErrConfig)
	case cfg.MaxRetries < -1:
		return nil, fmt.Errorf("%w: MaxRetries: %d is less than -1, which is never", ErrConfig, cfg.MaxRetries)
	case cfg.MaxRetries == 0:
		cfg.MaxRetries = defaultRetries
	}
	if cfg.UserAgent == "" {
		cfg.UserAgent = "signet-client"
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Sleep == nil {
		cfg.Sleep = sleep
	}
	c := &Client{base: base, cfg: cfg, token: cfg.TokenSource, http: &http.Client{Timeout: attemptTime}}
	if cfg.HTTPClient != nil {
		own := *cfg.HTTPClient
		c.http = &own
	}
	c.http.Jar = nil
	c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	if c.token == nil {
		c.token = func() (string, error) { return cfg.Token, nil }
	}
	return c, nil
}

func baseURL(text string, allowHTTP bool) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil: // its text quotes the URL, which may hold a password
		return nil, errors.New("is not a URL; write it as https://signet.example.com")
	case u.Scheme != "https" && u.Scheme != "http" || u.Host == "":
		return nil, errors.New("is not an http or https URL; write it as https://signet.example.com")
	case u.User != nil:
		return nil, errors.New("holds a user name or a password; give a token instead")
	case u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("ends in a query or a fragment; write it as https://signet.example.com")
	case u.Scheme == "http" && !allowHTTP && !loopback(u.Hostname()):
		return nil, fmt.Errorf("%s is not a loopback host, and the token would cross the network in clear text; use https", u.Hostname())
	}
	u.Path = strings.TrimRight(u.Path, "/")
	return u, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// String names the server, and no token.
func (c *Client) String() string { return "client of " + c.base.Redacted() }

// GoString leaves the token out of %#v.
func (c *Client) GoString() string { return c.String() }

// LogValue leaves the token out of logs.
func (c *Client) LogValue() slog.Value { return slog.StringValue(c.String()) }

// WithWhy is the same client, whose changes say why they are made: 500 bytes of
// one printable line at most, kept in the audit log.
func (c *Client) WithWhy(why string) *Client {
	other := *c
	other.why = why
	return &other
}

// call is one request before it is sent.
type call struct {
	method string
	// path is what follows /api/v1, its parts escaped.
	path   string
	query  url.Values
	header http.Header
	// body is sent as contentType; nil is none.
	body        []byte
	contentType string
	// repeatable may be sent again though it may have been done already.
	repeatable bool
	// token is sent instead of the client's.
	token string
	// root says that path follows the server's own, and not /api/v1.
	root bool
}

// answer is what came back, read whole.
type answer struct {
	status     int
	header     http.Header
	body       []byte
	retryAfter time.Duration
}

const (
	mediaJSON = "application/json"
	mediaYAML = "application/yaml"
)

// path joins the parts of a path, each escaped. ".", ".." and "" would lead
// elsewhere than they say.
func path(parts ...string) (string, error) {
	var b strings.Builder
	for _, p := range parts {
		if p == "" || p == "." || p == ".." {
			return "", fmt.Errorf("%w: %q names nothing", ErrRequest, p)
		}
		b.WriteString("/" + url.PathEscape(p))
	}
	return b.String(), nil
}

func get(query url.Values) call { return call{method: http.MethodGet, query: query} }

func post(in any) call { return call{method: http.MethodPost}.json(in) }

// json gives the call a body. What does not encode shows as a nil body with its
// type set, which bytes refuses.
func (r call) json(in any) call {
	if in == nil {
		return r
	}
	r.contentType = mediaJSON
	r.body, _ = json.Marshal(in)
	return r
}

// ifVersion makes a change depend on the version that it was based on.
func (r call) ifVersion(version int64) call {
	r.header = http.Header{"If-Match": {etag(version)}}
	return r
}

func etag(version int64) string { return `"` + strconv.FormatInt(version, 10) + `"` }

// ask makes the request at the path of parts and reads its JSON answer.
func ask[T any](ctx context.Context, c *Client, r call, parts ...string) (T, error) {
	var out T
	a, err := c.bytes(ctx, r, parts...)
	if err != nil {
		return out, err
	}
	if err := json.Unmarshal(a.body, &out); err != nil {
		var none T
		return none, fmt.Errorf("%s %s: %w: %w", r.method, strings.Join(parts, "/"), ErrAnswer, err)
	}
	return out, nil
}

// bytes makes the request at path; an answer that is not 2xx is an error.
func (c *Client) bytes(ctx context.Context, r call, parts ...string) (answer, error) {
	var err error
	if r.path, err = path(parts...); err != nil {
		return answer{}, err
	}
	if r.contentType != "" && r.body == nil {
		return answer{}, fmt.Errorf("%w: %s %s: the body is no JSON", ErrRequest, r.method, r.path)
	}
	a, err := c.do(ctx, r)
	if err != nil {
		return answer{}, err
	}
	if a.status < 200 || a.status > 299 {
		return answer{}, problemOf(a)
	}
	return a, nil
}

// request makes an HTTP request of a call.
func (c *Client) request(ctx context.Context, r call, accept string) (*http.Request, error) {
	under := "/api/v1"
	if r.root {
		under = ""
	}
	req, err := http.NewRequestWithContext(ctx, r.method, c.base.String()+under+r.path, bytes.NewReader(r.body))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	req.URL.RawQuery = r.query.Encode()
	for name, values := range r.header {
		req.Header[name] = values
	}
	req.Header.Set("Accept", accept+", application/problem+json, */*;q=0.5")
	req.Header.Set("User-Agent", c.cfg.UserAgent)
	if r.contentType != "" {
		req.Header.Set("Content-Type", r.contentType)
	}
	if c.why != "" && r.method != http.MethodGet {
		if !printableLine(c.why) {
			return nil, fmt.Errorf("%w: why: is kept in the audit log as one line: printable text of 500 bytes at most", ErrRequest)
		}
		req.Header.Set("Signet-Why", c.why)
	}
	return req, c.authorise(req, r.token)
}

// once sends the request a single time.
func (c *Client) once(ctx context.Context, r call) (answer, error) {
	req, err := c.request(ctx, r, mediaJSON)
	if err != nil {
		return answer{}, err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return answer{}, err // a *url.Error, which holds the URL and no header
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case err != nil:
		return answer{}, fmt.Errorf("%s %s: reading the answer: %w", r.method, req.URL.Path, err)
	case len(body) > maxAnswer:
		return answer{}, fmt.Errorf("%s %s: %w: it is larger than %d MiB", r.method, req.URL.Path, ErrAnswer, maxAnswer>>20)
	case res.StatusCode >= 300 && res.StatusCode < 400:
		to := "elsewhere"
		if at, err := res.Location(); err == nil {
			to = "to " + at.Scheme + "://" + at.Host
		}
		return answer{}, fmt.Errorf("%w %s; give the address where it answers itself", ErrRedirect, to)
	}
	return answer{
		status: res.StatusCode, header: res.Header, body: body,
		retryAfter: retryAfter(res.Header.Get("Retry-After"), c.cfg.Now()),
	}, nil
}

// authorise puts the token into its header. A token that is no header value is
// named as such, without quoting it.
func (c *Client) authorise(req *http.Request, instead string) error {
	token := instead
	if token == "" {
		var err error
		if token, err = c.token(); err != nil {
			return fmt.Errorf("%w: token: %w", ErrRequest, err)
		}
	}
	if token == "" {
		return nil
	}
	for i := range len(token) {
		if token[i] <= ' ' || token[i] > '~' {
			return fmt.Errorf("%w: token: holds characters that no token has; is it one line, and complete?", ErrRequest)
		}
	}
	req.Header.Set("Authorization", "Bearer "+token)
	return nil
}

func printableLine(s string) bool {
	if len(s) > 500 {
		return false
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}
