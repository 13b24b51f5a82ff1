package engine

import (
	"context"
	"sync"

	"github.com/signet-policy/signet/internal/verdict"
)

// Barrier reads the active row once for any number of callers. A caller joins
// the next read that starts after it arrived, never one under way: so whatever
// was acknowledged before a request is seen by it, and there is at most one
// read in flight and one waiting.
type Barrier struct {
	read func(context.Context) (verdict.Active, error)

	mu      sync.Mutex
	running bool
	next    *flight
}

type flight struct {
	done   chan struct{}
	active verdict.Active
	err    error
}

// NewBarrier wraps read, which is given a context of its own: one caller's
// leaving does not end the read for the rest.
func NewBarrier(read func(context.Context) (verdict.Active, error)) *Barrier {
	return &Barrier{read: read}
}

// Read returns a value of the active row that was read after Read was called.
func (b *Barrier) Read(ctx context.Context) (verdict.Active, error) {
	b.mu.Lock()
	if b.next == nil {
		b.next = &flight{done: make(chan struct{})}
	}
	f := b.next
	if !b.running {
		b.running = true
		go b.run(context.WithoutCancel(ctx))
	}
	b.mu.Unlock()
	select {
	case <-f.done:
		return f.active, f.err
	case <-ctx.Done():
		return verdict.Active{}, ctx.Err()
	}
}

// run takes the waiting flight, reads, and goes on while others wait.
func (b *Barrier) run(ctx context.Context) {
	for {
		b.mu.Lock()
		f := b.next
		if f == nil {
			b.running = false
			b.mu.Unlock()
			return
		}
		b.next = nil
		b.mu.Unlock()
		f.active, f.err = b.read(ctx)
		close(f.done)
	}
}
