package store

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
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

// writer runs the statements of a transaction.
type writer struct {
	ctx context.Context //nolint:containedctx // it lives as long as the call that it is made for
	tx  *tx
}

func (w writer) exec(query string, args ...any) error {
	_, err := w.tx.ExecContext(w.ctx, query, args...)
	return err
}

// affected tells how many rows the statement changed.
func (w writer) affected(query string, args ...any) (int64, error) {
	res, err := w.tx.ExecContext(w.ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// update runs fn in a transaction that changes nothing that is in force. Where it
// fails through another transaction, fn is run again.
func (s *Store) update(ctx context.Context, op string, fn func(writer) error) error {
	if s.write == nil {
		return ErrReadOnly
	}
	const attempts = 3
	var err error
	for range attempts {
		if err = s.updateOnce(ctx, fn); !again(err) {
			break
		}
	}
	return wrap(op, err)
}

func (s *Store) updateOnce(ctx context.Context, fn func(writer) error) error {
	tx, err := s.write.begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := fn(writer{ctx, tx}); err != nil {
		return err
	}
	return tx.Commit()
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
	id string
	// order is what another replica may lock at the same time: a transaction takes
	// several in this order, as all replicas do.
	order string
	// evidence is written before all else, of the whole transaction, in the order of
	// its digests: several verdicts, here and elsewhere, may stand on the same.
	evidence *packedBody
	write    func(writer) error
	done     chan error
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

// record waits until rec has been committed. When ctx ends first, it may be
// committed all the same.
func (r *recorder) record(ctx context.Context, rec *recording) error {
	rec.done = make(chan error, 1)
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
	slices.SortStableFunc(batch, func(a, b *recording) int { return strings.Compare(a.order, b.order) })
	err := r.s.update(ctx, "recording a verdict", func(w writer) error {
		if err := putEvidence(w, batch, formatTime(r.s.now())); err != nil {
			return err
		}
		ids := make([]any, len(batch))
		for i, rec := range batch {
			if err := rec.write(w); err != nil {
				return err
			}
			ids[i] = rec.id
		}
		return countDigests(w, ids)
	})
	if errors.Is(err, context.DeadlineExceeded) {
		// Not the caller's deadline: the database was too slow.
		return errors.Join(ErrUnavailable, err)
	}
	return err
}

func putEvidence(w writer, batch []*recording, at string) error {
	found := map[string]*packedBody{}
	for _, rec := range batch {
		if rec.evidence != nil {
			found[rec.evidence.digest] = rec.evidence
		}
	}
	for _, digest := range slices.Sorted(maps.Keys(found)) {
		if err := found[digest].insert(w, "evidence", at); err != nil {
			return err
		}
	}
	return nil
}
