package store

import (
	"context"
	"errors"
	"sync"
	"time"
)

const (
	// maxBatch bounds how many verdicts share one transaction.
	maxBatch = 64
	// batchTimeout bounds one transaction of verdicts. It is its own, because
	// several callers wait for it.
	batchTimeout = 10 * time.Second
)

// execFunc runs one statement of a transaction.
type execFunc func(query string, args ...any) error

// update runs fn in a transaction that changes nothing that is in force.
func (s *Store) update(ctx context.Context, op string, fn func(execFunc) error) error {
	if s.write == nil {
		return ErrReadOnly
	}
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return wrap(op, err)
	}
	defer tx.Rollback()
	err = fn(func(query string, args ...any) error {
		_, err := tx.ExecContext(ctx, query, args...)
		return err
	})
	if err != nil {
		return wrap(op, err)
	}
	return wrap(op, tx.Commit())
}

// recorder writes verdicts that arrive together in one transaction: a commit
// waits for the disk, and the disk takes as long for one as for sixty.
type recorder struct {
	s *Store

	mu      sync.Mutex
	waiting []*recording
	running bool
	closed  bool
	done    sync.WaitGroup
}

// recording is one verdict on its way.
type recording struct {
	write func(execFunc) error
	done  chan error
}

var errClosed = errors.New("the store is closed")

func (r *recorder) start(s *Store) { r.s = s }

// stop refuses new verdicts and waits for those under way.
func (r *recorder) stop() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.done.Wait()
}

// record waits until write has been committed. When ctx ends first, it may be
// committed all the same.
func (r *recorder) record(ctx context.Context, write func(execFunc) error) error {
	rec := &recording{write: write, done: make(chan error, 1)}
	r.mu.Lock()
	if r.closed || r.s == nil {
		r.mu.Unlock()
		return wrap("recording a verdict", errClosed)
	}
	r.waiting = append(r.waiting, rec)
	if !r.running {
		r.running = true
		r.done.Add(1)
		go r.run()
	}
	r.mu.Unlock()
	select {
	case err := <-rec.done:
		return err
	case <-ctx.Done():
		return wrap("recording a verdict", ctx.Err())
	}
}

// run writes what waits, batch by batch, until nothing waits.
func (r *recorder) run() {
	defer r.done.Done()
	for {
		r.mu.Lock()
		n := min(len(r.waiting), maxBatch)
		batch := r.waiting[:n:n]
		r.waiting = r.waiting[n:]
		if n == 0 {
			r.waiting = nil
			r.running = false
			r.mu.Unlock()
			return
		}
		r.mu.Unlock()
		r.write(batch)
	}
}

// write commits a batch; when one verdict in it cannot be written, each is tried
// alone, so that it does not take the others with it. When the database is
// unavailable it is so for all of them: nobody waits for sixty more failures.
func (r *recorder) write(batch []*recording) {
	err := r.commit(batch)
	if err == nil || len(batch) == 1 || errors.Is(err, ErrUnavailable) {
		for _, rec := range batch {
			rec.done <- err
		}
		return
	}
	for _, rec := range batch {
		rec.done <- r.commit([]*recording{rec})
	}
}

func (r *recorder) commit(batch []*recording) error {
	ctx, cancel := context.WithTimeout(context.Background(), batchTimeout)
	defer cancel()
	err := r.s.update(ctx, "recording a verdict", func(exec execFunc) error {
		for _, rec := range batch {
			if err := rec.write(exec); err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, context.DeadlineExceeded) {
		// Not the caller's deadline: the database was too slow.
		return errors.Join(ErrUnavailable, err)
	}
	return err
}
