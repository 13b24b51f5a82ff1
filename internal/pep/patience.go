package pep

import (
	"context"
	"sync"
	"time"
)

// Patience is a context that ends after some time, as [context.WithTimeout]
// makes one, except that its timer is started by whoever first waits for it. A
// cached verdict waits for nothing, and a timer would be a tenth of its time.
// End must be called when the request is finished.
type Patience struct {
	parent context.Context
	until  time.Time

	mu     sync.Mutex
	inner  context.Context // nil until somebody waits
	cancel context.CancelFunc
	ended  bool
}

// NewPatience makes one that ends after timeout, or with parent.
func NewPatience(parent context.Context, timeout time.Duration) *Patience {
	return &Patience{parent: parent, until: time.Now().Add(timeout)}
}

// started is the context with a timer.
func (p *Patience) started() context.Context {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.inner == nil {
		p.inner, p.cancel = context.WithDeadline(p.parent, p.until)
		if p.ended {
			p.cancel()
		}
	}
	return p.inner
}

// End cancels the context, whether it was started or not.
func (p *Patience) End() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	if p.cancel != nil {
		p.cancel()
	}
}

// Deadline is the earlier of the parent's and our own.
func (p *Patience) Deadline() (time.Time, bool) {
	if at, ok := p.parent.Deadline(); ok && at.Before(p.until) {
		return at, true
	}
	return p.until, true
}

// Done starts the timer.
func (p *Patience) Done() <-chan struct{} { return p.started().Done() }

// Err tells the end of the parent or the deadline, without starting a timer
// while there is time.
func (p *Patience) Err() error {
	p.mu.Lock()
	inner, ended := p.inner, p.ended
	p.mu.Unlock()
	switch {
	case inner != nil:
		return inner.Err()
	case ended:
		return context.Canceled
	case p.parent.Err() != nil:
		return p.parent.Err()
	case time.Now().Before(p.until):
		return nil
	}
	return p.started().Err()
}

// Value asks the started context where there is one, so that contexts made of
// this one find what they hang on.
func (p *Patience) Value(key any) any {
	p.mu.Lock()
	inner := p.inner
	p.mu.Unlock()
	if inner != nil {
		return inner.Value(key)
	}
	return p.parent.Value(key)
}
