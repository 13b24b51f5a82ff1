package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Barrier reads something that changes, such as the active row, once for any
// number of callers. A caller joins the next read that starts after it arrived,
// never one under way: so whatever was acknowledged before a request is seen by
// it, and there is at most one read in flight and one waiting.
type Barrier[T any] struct {
	read func(context.Context) (T, error)

	mu      sync.Mutex
	running bool
	next    *flight[T]
}

type flight[T any] struct {
	done  chan struct{}
	value T
	err   error
}

// NewBarrier wraps read, which is given a context of its own: one caller's
// leaving does not end the read for the rest.
func NewBarrier[T any](read func(context.Context) (T, error)) *Barrier[T] {
	return &Barrier[T]{read: read}
}

// Read returns a value that was read after Read was called.
func (b *Barrier[T]) Read(ctx context.Context) (T, error) {
	b.mu.Lock()
	if b.next == nil {
		b.next = &flight[T]{done: make(chan struct{})}
	}
	f := b.next
	if !b.running {
		b.running = true
		go b.run(context.WithoutCancel(ctx))
	}
	b.mu.Unlock()
	select {
	case <-f.done:
		return f.value, f.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// run takes the waiting flight, reads, and goes on while others wait.
func (b *Barrier[T]) run(ctx context.Context) {
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
		f.value, f.err = b.guarded(ctx)
		close(f.done)
	}
}

var errPanic = errors.New("panic")

// guarded turns a panic into an error: it would end the process, and callers who
// are given nothing would wait for ever.
func (b *Barrier[T]) guarded(ctx context.Context) (value T, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errPanic, p)
		}
	}()
	return b.read(ctx)
}
