package watch

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/signet-policy/signet/internal/store"
)

// EventStore is what a [Feed] reads; a [store.Store] is one.
type EventStore interface {
	Events(ctx context.Context, f store.EventFilter) ([]store.Event, bool, error)
	LastEvent(ctx context.Context) (string, error)
}

// Feed hands events on to those who listen, whichever process wrote them. It reads
// the store only while somebody listens.
type Feed struct {
	cfg FeedConfig

	mu        sync.Mutex
	listeners map[*Listener]bool
	stop      context.CancelFunc
	stopped   chan struct{}
	closed    bool
}

// FeedConfig of a [Feed]. Store is needed.
type FeedConfig struct {
	Store EventStore
	// Poll is how often it looks for events (1 s).
	Poll time.Duration
	// Buffer is how many events wait for one listener (256): one who is slower is
	// let go, and can go on from the last that it has seen.
	Buffer int
	Log    *slog.Logger
}

// NewFeed makes a feed. Close it.
func NewFeed(cfg FeedConfig) *Feed {
	if cfg.Poll <= 0 {
		cfg.Poll = time.Second
	}
	if cfg.Buffer <= 0 {
		cfg.Buffer = 256
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Feed{cfg: cfg, listeners: map[*Listener]bool{}}
}

// Listener gets events in the order of their ids.
type Listener struct {
	feed *Feed
	c    chan store.Event
}

// C gives the events. It is closed when the listener was too slow, or the feed was
// closed.
func (l *Listener) C() <-chan store.Event { return l.c }

// Close ends listening.
func (l *Listener) Close() { l.feed.leave(l) }

// Listen begins listening: missed are the events after since that are there, "" for
// none, and the listener is given those that come. The same event may be among
// both.
func (f *Feed) Listen(ctx context.Context, since string) (_ *Listener, missed []store.Event, err error) {
	l := &Listener{feed: f, c: make(chan store.Event, f.cfg.Buffer)}
	last, err := f.cfg.Store.LastEvent(ctx)
	if err != nil {
		return nil, nil, err
	}
	f.mu.Lock()
	if f.closed {
		close(l.c)
		f.mu.Unlock()
		return l, nil, nil
	}
	f.listeners[l] = true
	if f.stop == nil {
		running, stop := context.WithCancel(context.Background())
		f.stop, f.stopped = stop, make(chan struct{})
		go f.run(running, last, f.stopped)
	}
	f.mu.Unlock()
	if since == "" {
		return l, nil, nil
	}
	for {
		page, more, err := f.cfg.Store.Events(ctx, store.EventFilter{Since: since, Limit: 1000})
		if err != nil {
			l.Close()
			return nil, nil, err
		}
		missed = append(missed, page...)
		switch {
		case !more:
			return l, missed, nil
		case len(missed) >= mostMissed: // it is let go after these, and goes on from their last
			l.Close()
			return l, missed, nil
		}
		since = page[len(page)-1].ID
	}
}

// mostMissed bounds what one listener is given of the past at once.
const mostMissed = 10_000

func (f *Feed) leave(l *Listener) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.drop(l)
}

// drop lets a listener go; the last one ends the reading. The caller holds mu.
func (f *Feed) drop(l *Listener) {
	if !f.listeners[l] {
		return
	}
	delete(f.listeners, l)
	close(l.c)
	if len(f.listeners) == 0 && f.stop != nil {
		f.stop()
		f.stop = nil
	}
}

// Close lets all listeners go.
func (f *Feed) Close() {
	f.mu.Lock()
	f.closed = true
	for l := range f.listeners {
		f.drop(l)
	}
	stopped := f.stopped
	f.mu.Unlock()
	if stopped != nil {
		<-stopped
	}
}

func (f *Feed) run(ctx context.Context, last string, stopped chan struct{}) {
	defer close(stopped)
	failed := false
	for wait(ctx, f.cfg.Poll) {
		for {
			page, more, err := f.cfg.Store.Events(ctx, store.EventFilter{Since: last, Forward: true, Limit: 200})
			if err != nil {
				if ctx.Err() == nil && !failed {
					f.cfg.Log.Warn("events cannot be read", "error", err.Error())
				}
				failed = true
				break
			}
			failed = false
			if len(page) > 0 {
				last = page[len(page)-1].ID
				f.give(ctx, page)
			}
			if !more {
				break
			}
		}
	}
}

// give hands events to all who listen, unless another reading has begun.
func (f *Feed) give(ctx context.Context, page []store.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	for l := range f.listeners {
		for _, e := range page {
			select {
			case l.c <- e:
				continue
			default:
			}
			f.drop(l)
			break
		}
	}
}
