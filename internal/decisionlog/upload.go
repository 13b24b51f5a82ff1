package decisionlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Defaults of [HTTPConfig], OPA's but for the last two, which OPA leaves open.
const (
	DefaultMinDelay          = 300 * time.Second
	DefaultMaxDelay          = 600 * time.Second
	DefaultUploadSizeLimit   = 32768
	DefaultUploadBufferLimit = 64 << 20
	DefaultUploadTime        = 30 * time.Second
	// MinUploadSizeLimit is OPA's: an event with nothing but an id, compressed.
	MinUploadSizeLimit = 90
)

// HTTPConfig says where chunks go: POST URL + Resource, as OPA sends them.
type HTTPConfig struct {
	// URL of the service.
	URL string
	// Resource is the path below it; "" is /logs, or with a PartitionName
	// /logs/PARTITION.
	Resource, PartitionName string
	// Client sends; it follows no redirects.
	Client *http.Client
	// TokenFile holds a bearer token, read for every upload; "": none.
	TokenFile string
	// MinDelay and MaxDelay bound the time between two uploads, which is chosen by
	// chance; MaxDelay is the longest wait after a failure too.
	MinDelay, MaxDelay time.Duration
	// UploadSizeLimit bounds a chunk, BufferSizeLimit all that wait, in bytes,
	// compressed.
	UploadSizeLimit, BufferSizeLimit int64
	// MaxDecisionsPerSecond drops what comes faster; 0: nothing.
	MaxDecisionsPerSecond float64
	// Timeout of one upload.
	Timeout time.Duration
}

// minRetryDelay is OPA's: the wait after the first failure.
const minRetryDelay = 100 * time.Millisecond

// uploader sends chunks, now and then.
type uploader struct {
	cfg     HTTPConfig
	url     string
	client  *http.Client
	limiter *rate.Limiter // nil: none
	counts  *counts
	log     *slog.Logger

	mu     sync.Mutex
	chunks *chunker
	queue  []chunk // oldest first
	bytes  int64
	broken error // why the last upload failed

	stop    context.CancelFunc
	stopped chan struct{}
}

func newUploader(cfg HTTPConfig, c *counts, log *slog.Logger) (*uploader, error) {
	if cfg.MinDelay == 0 && cfg.MaxDelay == 0 {
		cfg.MinDelay, cfg.MaxDelay = DefaultMinDelay, DefaultMaxDelay
	}
	if cfg.MaxDelay < cfg.MinDelay {
		return nil, errors.New("http: MaxDelay is less than MinDelay")
	}
	if cfg.UploadSizeLimit == 0 {
		cfg.UploadSizeLimit = DefaultUploadSizeLimit
	}
	if cfg.BufferSizeLimit <= 0 {
		cfg.BufferSizeLimit = DefaultUploadBufferLimit
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = DefaultUploadTime
	}
	u := &uploader{cfg: cfg, counts: c, log: log, chunks: newChunker(int(max(cfg.UploadSizeLimit, MinUploadSizeLimit))), stopped: make(chan struct{})}
	at, err := url.Parse(cfg.URL)
	if err != nil || at.Host == "" {
		return nil, fmt.Errorf("http: %q is not the URL of a service", cfg.URL)
	}
	resource := cfg.Resource
	switch {
	case cfg.PartitionName != "":
		resource = "/logs/" + url.PathEscape(cfg.PartitionName)
	case resource == "":
		resource = "/logs"
	}
	u.url = at.JoinPath(path.Clean("/" + resource)).String()
	if cfg.MaxDecisionsPerSecond > 0 {
		u.limiter = rate.NewLimiter(rate.Limit(cfg.MaxDecisionsPerSecond), int(max(1, cfg.MaxDecisionsPerSecond)))
	}
	client := http.Client{}
	if cfg.Client != nil {
		client = *cfg.Client
	}
	// The token is for this host, and a POST that became a GET would be lost.
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	u.client = &client
	return u, nil
}

func (u *uploader) start() {
	ctx, stop := context.WithCancel(context.Background())
	u.stop = stop
	go u.run(ctx)
}

// push takes one encoded event, of which nothing is kept.
func (u *uploader) push(encoded []byte) {
	if u.limiter != nil && !u.limiter.Allow() {
		u.counts.drop(DroppedRate, 1)
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.keep(u.chunks.add(encoded))
}

// keep queues chunks, and makes room by dropping the oldest. The caller holds mu.
func (u *uploader) keep(full []chunk, tooLarge int, err error) {
	if err != nil {
		u.log.Error("events of the decision log could not be compressed", "error", err.Error())
	}
	u.counts.drop(DroppedSize, tooLarge)
	for _, c := range full {
		size := int64(len(c.body))
		for len(u.queue) > 0 && u.bytes+size > u.cfg.BufferSizeLimit {
			u.bytes -= int64(len(u.queue[0].body))
			u.counts.drop(DroppedUpload, u.queue[0].events)
			u.queue[0] = chunk{}
			u.queue = u.queue[1:]
		}
		if size > u.cfg.BufferSizeLimit {
			u.counts.drop(DroppedUpload, c.events)
			continue
		}
		u.queue = append(u.queue, c)
		u.bytes += size
	}
}

func (u *uploader) run(ctx context.Context) {
	defer close(u.stopped)
	failures := 0
	for {
		wait, err := u.upload(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			wait = min(max(wait, backoff(failures, u.cfg.MaxDelay)), u.cfg.MaxDelay)
			failures++
		default:
			wait = u.cfg.MinDelay + time.Duration(rand.Float64()*float64(u.cfg.MaxDelay-u.cfg.MinDelay)) //nolint:gosec // G404: spreads the load, protects nothing
			failures = 0
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

// backoff grows by 1.6 with every failure, with a fifth of chance, as OPA's does.
func backoff(failures int, most time.Duration) time.Duration {
	d := float64(minRetryDelay)
	for range failures {
		if d *= 1.6; d >= float64(most) {
			break
		}
	}
	d *= 1 + 0.2*(2*rand.Float64()-1) //nolint:gosec // G404: as above
	return min(time.Duration(d), most)
}

// upload sends all that waits, up to the first chunk that fails, which goes to the
// end of the queue: one that is never taken does not hold up the others. wait is
// what the endpoint asked for.
func (u *uploader) upload(ctx context.Context) (wait time.Duration, err error) {
	u.mu.Lock()
	u.keep(u.chunks.flush())
	left := len(u.queue)
	u.mu.Unlock()
	if left == 0 {
		return 0, nil
	}
	for range left {
		c, ok := u.pop()
		if !ok {
			break
		}
		if wait, err = u.send(ctx, c.body); err != nil {
			u.mu.Lock()
			u.keep([]chunk{c}, 0, nil)
			u.mu.Unlock()
			break
		}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case ctx.Err() != nil:
	case err != nil && u.broken == nil:
		u.log.Error("the decision log could not be sent; what waits is tried again", "url", u.url, "error", err.Error())
	case err == nil && u.broken != nil:
		u.log.Info("the decision log can be sent again", "url", u.url)
	}
	if ctx.Err() == nil {
		u.broken = err
	}
	return wait, err
}

func (u *uploader) pop() (chunk, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.queue) == 0 {
		return chunk{}, false
	}
	c := u.queue[0]
	u.queue[0] = chunk{}
	u.queue = u.queue[1:]
	u.bytes -= int64(len(c.body))
	return c, true
}

func (u *uploader) send(ctx context.Context, body []byte) (wait time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, u.cfg.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.url, bytes.NewReader(body))
	if err != nil {
		return 0, fmt.Errorf("http: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Content-Encoding", "gzip")
	if u.cfg.TokenFile != "" {
		token, err := os.ReadFile(u.cfg.TokenFile)
		if err != nil {
			return 0, fmt.Errorf("http: token_file: %w", err)
		}
		req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	}
	res, err := u.client.Do(req)
	if err != nil {
		return 0, fmt.Errorf("http: %w", err)
	}
	_, _ = io.CopyN(io.Discard, res.Body, 64<<10) // so that the connection can be used again
	_ = res.Body.Close()
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return retryAfter(res.Header), fmt.Errorf("http: %s answered %s", u.url, res.Status)
	}
	return 0, nil
}

// retryAfter reads what a busy endpoint asks for, in seconds or as a date (RFC
// 9110, 10.2.3).
func retryAfter(h http.Header) time.Duration {
	v := h.Get("Retry-After")
	if n, err := strconv.ParseUint(v, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if t, err := http.ParseTime(v); err == nil {
		return max(time.Until(t), 0)
	}
	return 0
}

func (u *uploader) problem() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.broken
}

// close sends what waits until ctx ends, and says how many events are left.
func (u *uploader) close(ctx context.Context) (left int) {
	u.stop()
	<-u.stopped
	for try := 0; ctx.Err() == nil; try++ {
		wait, err := u.upload(ctx)
		u.mu.Lock()
		empty := len(u.queue) == 0
		u.mu.Unlock()
		if err == nil && empty {
			return 0
		}
		if err != nil {
			select {
			case <-time.After(max(wait, backoff(try, time.Second))):
			case <-ctx.Done():
			}
		}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, c := range u.queue {
		left += c.events
	}
	return left
}
