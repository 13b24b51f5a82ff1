package store

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Batch gathers what is counted on the hot path, uses of verdicts and of tokens,
// and writes it down now and then. Make it with [NewBatch], and close it: what
// was added before is then on disk.
type Batch struct {
	cfg BatchConfig

	mu     sync.Mutex
	uses   map[useKey]int64
	tokens map[string]time.Time

	dropped atomic.Int64
	stop    chan struct{}
	stopped chan struct{}
	once    sync.Once
}

// BatchConfig of a [Batch]. Store is needed.
type BatchConfig struct {
	Store *Store
	// Every is how often it writes. Default: 1 s.
	Every time.Duration
	// Most bounds how many different uses wait. Default: 50,000. Above it new ones
	// are dropped, and counted.
	Most int
	// Log is told when writing fails.
	Log *slog.Logger
}

type useKey struct {
	verdict, principal string
	minute             int64 // Unix time in minutes
}

// writeTimeout bounds one write of a batch.
const writeTimeout = 10 * time.Second

// NewBatch starts writing.
func NewBatch(cfg BatchConfig) *Batch {
	if cfg.Every <= 0 {
		cfg.Every = time.Second
	}
	if cfg.Most <= 0 {
		cfg.Most = 50_000
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	b := &Batch{
		cfg: cfg, uses: map[useKey]int64{}, tokens: map[string]time.Time{},
		stop: make(chan struct{}), stopped: make(chan struct{}),
	}
	go b.run()
	return b
}

// Add counts one use of a verdict. It never waits for the database.
func (b *Batch) Add(verdictID, principal string, at time.Time) {
	k := useKey{verdictID, principal, at.Unix() / 60}
	b.mu.Lock()
	defer b.mu.Unlock()
	if n, ok := b.uses[k]; ok || len(b.uses) < b.cfg.Most {
		b.uses[k] = n + 1
		return
	}
	b.dropped.Add(1)
}

// Touch notes that a token was used. It never waits for the database.
func (b *Batch) Touch(tokenID string, at time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if old, ok := b.tokens[tokenID]; ok && at.Sub(old) < time.Second {
		return
	}
	b.tokens[tokenID] = at
}

// Dropped is how many uses were not counted because too many waited, or because
// they could not be written before the end.
func (b *Batch) Dropped() int64 { return b.dropped.Load() }

// Close writes what waits, and ends. What cannot be written now is lost, and said.
func (b *Batch) Close() {
	b.once.Do(func() { close(b.stop) })
	<-b.stopped
}

func (b *Batch) run() {
	defer close(b.stopped)
	tick := time.NewTicker(b.cfg.Every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			b.write()
		case <-b.stop:
			b.write()
			b.lose()
			return
		}
	}
}

// write takes what waits. What cannot be written waits on, within the bound.
func (b *Batch) write() {
	b.mu.Lock()
	uses, tokens := b.uses, b.tokens
	b.uses, b.tokens = map[useKey]int64{}, map[string]time.Time{}
	b.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
	defer cancel()
	if len(uses) > 0 {
		if err := b.cfg.Store.AddUses(ctx, useList(uses)); err != nil {
			b.cfg.Log.Warn("uses of verdicts are not written down yet", "error", err.Error())
			b.putBack(uses)
		}
	}
	if len(tokens) > 0 {
		if err := b.cfg.Store.TouchTokens(ctx, tokens); err != nil {
			b.cfg.Log.Warn("the last use of tokens is not written down", "error", err.Error())
		}
	}
}

// lose says at the end what could not be written.
func (b *Batch) lose() {
	b.mu.Lock()
	defer b.mu.Unlock()
	lost := int64(0)
	for _, n := range b.uses {
		lost += n
	}
	if lost > 0 {
		b.dropped.Add(lost)
		b.cfg.Log.Error("uses of verdicts could not be written down before the end", "uses", lost)
	}
}

func (b *Batch) putBack(uses map[useKey]int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for k, n := range uses {
		if have, ok := b.uses[k]; ok || len(b.uses) < b.cfg.Most {
			b.uses[k] = have + n
			continue
		}
		b.dropped.Add(n)
	}
}

func useList(uses map[useKey]int64) []Use {
	list := make([]Use, 0, len(uses))
	for k, n := range uses {
		list = append(list, Use{VerdictID: k.verdict, Principal: k.principal, Minute: time.Unix(k.minute*60, 0).UTC(), Count: n})
	}
	return list
}
