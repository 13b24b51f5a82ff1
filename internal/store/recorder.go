package store

import (
	"context"
	"errors"
	"fmt"
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
	// maxWaiting bounds how many verdicts wait for those before them: sixteen
	// batches, which take less than a second where the database is well. Where it is
	// not, who comes behind them would hardly be answered in time.
	maxWaiting = 16 * maxBatch
	// maxWaitingBytes bounds them in bytes: most are of a few KB, and one that stands
	// on large predicates is of many MB.
	maxWaitingBytes = 128 << 20
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

// alone makes other transactions that ask for the same lock wait until this one has
// ended. On SQLite there is only one writer.
func (w writer) alone(lock int64) error {
	if !w.tx.postgres {
		return nil
	}
	return w.exec(`SELECT pg_advisory_xact_lock(?)`, lock)
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
	size    int // of waiting, in bytes
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
	// size is about how many bytes it holds.
	size int

	ctx  context.Context //nolint:containedctx // the caller's, who may leave before it is written
	left bool            // the caller had left before it was begun, so it is not written
	done chan error
}

var errClosed = errors.New("the store is closed")

const recordingOp = "recording a verdict"

func (r *recorder) start(s *Store) { r.s = s }

// stop refuses new verdicts and waits for those under way.
func (r *recorder) stop() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.done.Wait()
}

// record waits until rec has been committed. When ctx ends first, it may be
// committed all the same if it was begun, and is not if it was not. Where too many
// wait already it is [ErrUnavailable] at once.
func (r *recorder) record(ctx context.Context, rec *recording) error {
	rec.ctx, rec.done = ctx, make(chan error, 1)
	if err := r.add(rec); err != nil {
		return wrap(recordingOp, err)
	}
	select {
	case err := <-rec.done:
		return err
	case <-ctx.Done():
		r.takeBack(rec)
		return wrap(recordingOp, ctx.Err())
	}
}

func (r *recorder) add(rec *recording) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed || r.s == nil:
		return errClosed
	case len(r.waiting) >= maxWaiting || len(r.waiting) > 0 && r.size+rec.size > maxWaitingBytes:
		return fmt.Errorf("%w: %d verdicts of %d bytes wait already", ErrUnavailable, len(r.waiting), r.size)
	}
	r.waiting = append(r.waiting, rec)
	r.size += rec.size
	if !r.running {
		r.running = true
		r.done.Add(1)
		go r.run()
	}
	return nil
}

// takeBack lets go of one that still waits.
func (r *recorder) takeBack(rec *recording) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := slices.Index(r.waiting, rec); i >= 0 {
		r.waiting = slices.Delete(r.waiting, i, i+1)
		r.size -= rec.size
	}
}

// run writes what waits, batch by batch, until nothing waits.
func (r *recorder) run() {
	defer r.done.Done()
	for {
		batch := r.next()
		if batch == nil {
			return
		}
		r.write(batch)
	}
}

// next takes the batch that is to be written, nil for none: then nobody runs any more.
func (r *recorder) next() []*recording {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := min(len(r.waiting), maxBatch)
	if n == 0 {
		r.waiting = nil
		r.running = false
		return nil
	}
	batch := slices.Clone(r.waiting[:n])
	r.waiting = slices.Delete(r.waiting, 0, n)
	for _, rec := range batch {
		r.size -= rec.size
	}
	return batch
}

// write commits a batch; when one verdict in it cannot be written, each is tried
// alone, so that it does not take the others with it. When the database is
// unavailable it is so for all of them: nobody waits for sixty more failures.
func (r *recorder) write(batch []*recording) {
	err := r.commit(batch)
	if err == nil || len(batch) == 1 || errors.Is(err, ErrUnavailable) {
		for _, rec := range batch {
			rec.finish(err)
		}
		return
	}
	for _, rec := range batch {
		if !errors.Is(err, ErrUnavailable) {
			err = r.commit([]*recording{rec})
		}
		rec.finish(err)
	}
}

// finish tells the caller, if there still is one.
func (rec *recording) finish(err error) {
	if rec.left {
		err = wrap(recordingOp, rec.ctx.Err())
	}
	rec.done <- err
}

func (r *recorder) commit(batch []*recording) error {
	ctx, cancel := context.WithTimeout(context.Background(), batchTimeout)
	defer cancel()
	slices.SortStableFunc(batch, func(a, b *recording) int { return strings.Compare(a.order, b.order) })
	err := r.s.update(ctx, recordingOp, func(w writer) error {
		// Now, because the transaction may have been waited for. What an attempt before
		// this one has written was taken back.
		staying := make([]*recording, 0, len(batch))
		for _, rec := range batch {
			if rec.left = rec.ctx.Err() != nil; !rec.left {
				staying = append(staying, rec)
			}
		}
		return insertAll(w, staying, formatTime(r.s.now()))
	})
	if errors.Is(err, context.DeadlineExceeded) {
		// Not the caller's deadline: the database was too slow.
		return errors.Join(ErrUnavailable, err)
	}
	return err
}

func insertAll(w writer, batch []*recording, at string) error {
	if len(batch) == 0 {
		return nil
	}
	if err := putEvidence(w, batch, at); err != nil {
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
