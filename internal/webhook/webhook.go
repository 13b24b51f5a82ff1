// Package webhook sends what others are to be told: JSON by HTTP POST, signed, in
// the order of its ids, again and again for a day until it is taken. What waits is
// in the store, so that a restart loses nothing; a receiver may be sent the same
// twice, under the same id. Begin with [New] and [Sender.Run]; one process runs at
// a time.
package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/signet-policy/signet/internal/store"
)

// The headers of a request. The signature is "v1=" and the hex HMAC-SHA256, with
// the webhook's key, of the timestamp (Unix time in seconds), a dot, and the body
// to the byte.
const (
	HeaderID        = "Signet-Event-Id"
	HeaderKind      = "Signet-Event-Kind"
	HeaderTimestamp = "Signet-Timestamp"
	HeaderSignature = "Signet-Signature"
)

// Sign gives the value of [HeaderSignature].
func Sign(key []byte, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(timestamp))
	mac.Write([]byte{'.'})
	mac.Write(body)
	return "v1=" + hex.EncodeToString(mac.Sum(nil))
}

// Queue keeps what is to be sent; a [store.Store] is one.
type Queue interface {
	NextDelivery(ctx context.Context, webhook string) (store.Delivery, bool, error)
	DeferDelivery(ctx context.Context, d store.Delivery) error
	DropDelivery(ctx context.Context, webhook, id string) error
	DropDeliveries(ctx context.Context, webhook string, upTo time.Time) (int64, error)
	Deliveries(ctx context.Context) (map[string]int64, error)
}

// Target is one webhook.
type Target struct {
	// Name is that of its deliveries; it stands in logs, where the URL does not: a
	// URL may hold a secret.
	Name, URL string
	// Key signs; it is asked for each time, because it may be changed.
	Key func(ctx context.Context) ([]byte, error)
	// Client sends; it decides which addresses may be reached. It follows no
	// redirects.
	Client *http.Client
	// Timeout of one attempt (10 s).
	Timeout time.Duration
}

// Config of a [Sender]. Queue is needed.
type Config struct {
	Queue   Queue
	Targets []Target
	// GiveUp is after how long a delivery is given up (24 h), whether it was tried or
	// not.
	GiveUp time.Duration
	// FirstWait is the wait after the first failure (5 s); it doubles up to LongestWait
	// (1 h).
	FirstWait, LongestWait time.Duration
	// Held says whether this process is still the one that sends; nil: it is.
	Held func() bool
	// Poll is how often it is looked whether there is something to send (1 s).
	Poll      time.Duration
	UserAgent string
	Now       func() time.Time
	Log       *slog.Logger
}

// Sender sends. Make it with [New].
type Sender struct {
	cfg   Config
	stats Stats
	// gone are the targets that answered 410, until the process ends.
	mu   sync.Mutex
	gone map[string]bool
}

// Stats are for metrics: what became of deliveries, how often one was tried again,
// and how many wait.
type Stats struct {
	Delivered, Retried, GivenUp, Gone, Waiting atomic.Int64
}

// New checks cfg and fills in defaults.
func New(cfg Config) (*Sender, error) {
	if cfg.Queue == nil {
		return nil, errors.New("webhook: Config.Queue is missing")
	}
	seen := map[string]bool{}
	for i := range cfg.Targets {
		t := &cfg.Targets[i]
		switch {
		case t.Name == "" || t.URL == "" || t.Key == nil || t.Client == nil:
			return nil, fmt.Errorf("webhook: target %d needs a Name, a URL, a Key and a Client", i)
		case seen[t.Name]:
			return nil, fmt.Errorf("webhook: two targets have the name %s", t.Name)
		}
		seen[t.Name] = true
		if t.Timeout <= 0 {
			t.Timeout = 10 * time.Second
		}
	}
	for _, d := range []struct {
		to  *time.Duration
		def time.Duration
	}{{&cfg.GiveUp, 24 * time.Hour}, {&cfg.FirstWait, 5 * time.Second}, {&cfg.LongestWait, time.Hour}, {&cfg.Poll, time.Second}} {
		if *d.to <= 0 {
			*d.to = d.def
		}
	}
	if cfg.Held == nil {
		cfg.Held = func() bool { return true }
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Sender{cfg: cfg, gone: map[string]bool{}}, nil
}

// Stats gives the counters.
func (s *Sender) Stats() *Stats { return &s.stats }

// Run sends until ctx ends, or another process does. Targets do not wait for each
// other.
func (s *Sender) Run(ctx context.Context) {
	var all sync.WaitGroup
	for _, t := range s.cfg.Targets {
		all.Go(func() { s.serve(ctx, t) })
	}
	failed := ""
	for s.cfg.Held() {
		err := s.look(ctx)
		if err != nil && ctx.Err() == nil && err.Error() != failed {
			s.cfg.Log.Warn("webhooks: reading what waits", "error", err.Error())
			failed = err.Error()
		}
		if err == nil {
			failed = ""
		}
		if !wait(ctx, s.cfg.Poll) {
			break
		}
	}
	all.Wait()
}

// look counts what waits.
func (s *Sender) look(ctx context.Context) error {
	counts, err := s.cfg.Queue.Deliveries(ctx)
	if err != nil {
		return err
	}
	n := int64(0)
	for _, waiting := range counts {
		n += waiting
	}
	s.stats.Waiting.Store(n)
	return s.forget(ctx, counts)
}

// forget drops what is too old of the deliveries for webhooks that are configured no
// more. What is younger stays: the process that wrote it may know them, and send it
// when the lease is its own.
func (s *Sender) forget(ctx context.Context, counts map[string]int64) error {
	for _, t := range s.cfg.Targets {
		delete(counts, t.Name)
	}
	for name := range counts {
		d, ok, err := s.cfg.Queue.NextDelivery(ctx, name)
		if err != nil {
			return err
		}
		now := s.cfg.Now()
		if !ok || !s.tooOld(d, now) {
			continue
		}
		n, err := s.cfg.Queue.DropDeliveries(ctx, name, now.Add(-s.cfg.GiveUp))
		if n > 0 {
			s.cfg.Log.Warn("a webhook is configured no more, and what it was to be sent is dropped", "webhook", name, "deliveries", n)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Sender) tooOld(d store.Delivery, now time.Time) bool {
	return now.Sub(d.CreatedAt) >= s.cfg.GiveUp
}

func (s *Sender) serve(ctx context.Context, t Target) {
	failed := ""
	for ctx.Err() == nil && s.cfg.Held() {
		again, err := s.one(ctx, t)
		if err != nil && ctx.Err() == nil && err.Error() != failed {
			s.cfg.Log.Warn("webhook", "webhook", t.Name, "error", err.Error())
			failed = err.Error()
		}
		if err == nil {
			failed = ""
		}
		if !again && !wait(ctx, s.cfg.Poll) {
			return
		}
	}
}

func (s *Sender) isGone(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gone[name]
}

// one sends the oldest delivery, if its time has come, and says whether the next
// may follow at once. What is behind it waits, so that the order is kept. What is too
// old is given up all at once: attempts that time out are too slow to keep up.
func (s *Sender) one(ctx context.Context, t Target) (again bool, err error) {
	d, ok, err := s.cfg.Queue.NextDelivery(ctx, t.Name)
	now := s.cfg.Now()
	switch {
	case err != nil || !ok:
		return false, err
	case s.isGone(t.Name):
		n, err := s.cfg.Queue.DropDeliveries(ctx, t.Name, now)
		s.stats.Gone.Add(n)
		return false, err
	case s.tooOld(d, now):
		n, err := s.cfg.Queue.DropDeliveries(ctx, t.Name, now.Add(-s.cfg.GiveUp))
		if n > 0 {
			s.stats.GivenUp.Add(n)
			s.cfg.Log.Error("deliveries to a webhook are given up", "webhook", t.Name, "deliveries", n, "first", d.ID, "attempts", d.Attempts, "error", d.Error)
		}
		return err == nil, err
	case now.Before(d.NextAt):
		return false, nil
	}
	status, err := s.send(ctx, t, d, now)
	switch {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case err == nil && status >= 200 && status <= 299:
		s.stats.Delivered.Add(1)
		return true, s.cfg.Queue.DropDelivery(ctx, t.Name, d.ID)
	case err == nil && status == http.StatusGone:
		s.mu.Lock()
		s.gone[t.Name] = true
		s.mu.Unlock()
		s.cfg.Log.Error("a webhook answers 410 Gone, and is sent nothing more until the server starts again; what was for it is dropped", "webhook", t.Name)
		return true, nil // to be dropped with all the others
	case err == nil:
		err = fmt.Errorf("it answered %d", status)
	}
	d.Attempts++
	d.Error = err.Error()
	s.stats.Retried.Add(1)
	d.NextAt = now.Add(s.backOff(d.Attempts))
	if err := s.cfg.Queue.DeferDelivery(ctx, d); err != nil {
		return false, err
	}
	return false, fmt.Errorf("a delivery is tried again: %w", err)
}

// backOff doubles the first wait with each attempt; chance takes up to half away.
func (s *Sender) backOff(attempts int) time.Duration {
	d := s.cfg.LongestWait
	if shift := attempts - 1; shift < 20 {
		d = min(s.cfg.FirstWait<<shift, s.cfg.LongestWait)
	}
	return d - rand.N(d/2+1) //nolint:gosec // G404: spreads attempts, protects nothing
}

// answerBytes is what is read of an answer, so that the connection can be used
// again.
const answerBytes = 64 << 10

func (s *Sender) send(ctx context.Context, t Target, d store.Delivery, now time.Time) (status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, t.Timeout)
	defer cancel()
	key, err := t.Key(ctx)
	if err != nil {
		return 0, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.URL, bytes.NewReader(d.Body))
	if err != nil {
		return 0, errors.New("its URL cannot be asked")
	}
	timestamp := strconv.FormatInt(now.Unix(), 10)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", s.cfg.UserAgent)
	req.Header.Set(HeaderID, d.ID)
	req.Header.Set(HeaderKind, d.Kind)
	req.Header.Set(HeaderTimestamp, timestamp)
	req.Header.Set(HeaderSignature, Sign(key, timestamp, d.Body))
	res, err := t.Client.Do(req)
	if err != nil {
		var at *url.Error
		if errors.As(err, &at) { // its text quotes the URL
			err = at.Err
		}
		return 0, err
	}
	defer func() { _ = res.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, answerBytes)) // what it says does not matter
	return res.StatusCode, nil
}

// wait is false when ctx ended first.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
