package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/testkit/eventually"
)

// blocked takes the one connection that writes, until release is called.
func blocked(t *testing.T, s *Store) (release func()) {
	t.Helper()
	tx, err := s.write.begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	release = sync.OnceFunc(func() { _ = tx.Rollback() })
	t.Cleanup(release)
	return release
}

func (r *recorder) holds() (n, size int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.waiting), r.size
}

// A verdict whose caller has left before it was begun is let go of at once, and is
// not written: the caller was told that there is none.
func TestWhoLeavesIsNotRecorded(t *testing.T) {
	s := openTemp(t, Config{})
	release := blocked(t, s)
	ctx, leave := context.WithCancel(t.Context())
	const n = 3 * maxBatch
	var callers sync.WaitGroup
	record := func(ctx context.Context, id string, want error) {
		callers.Go(func() {
			if err := s.Record(ctx, aRecord(id, facts.Facts{})); !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", id, err, want)
			}
		})
	}
	record(ctx, "first", context.Canceled) // its transaction is waited for
	eventually.Holds(t, "the first is taken", func() bool {
		s.records.mu.Lock()
		defer s.records.mu.Unlock()
		return s.records.running && len(s.records.waiting) == 0
	})
	for i := range n {
		record(ctx, fmt.Sprint("left", i), context.Canceled)
	}
	record(t.Context(), "stayed", nil)
	eventually.Holds(t, "they wait", func() bool { n, _ := s.records.holds(); return n == 3*maxBatch+1 })
	leave()
	eventually.Holds(t, "those who left are gone", func() bool { n, _ := s.records.holds(); return n == 1 })
	release()
	callers.Wait()
	if n, size := s.records.holds(); n != 0 || size != 0 {
		t.Errorf("%d verdicts of %d bytes are left", n, size)
	}
	list, _, err := s.Verdicts(t.Context(), Filter{}, Page{})
	if err != nil || len(list) != 1 || list[0].ID != "stayed" {
		t.Errorf("recorded are %+v (%v)", list, err)
	}
}

// Those who share a transaction with one who has left are written without it.
func TestWhoLeavesTakesNobodyAlong(t *testing.T) {
	s := openTemp(t, Config{})
	ctx, leave := context.WithCancel(t.Context())
	leave()
	var batch []*recording
	for i, ctx := range []context.Context{t.Context(), ctx, t.Context()} {
		row, err := s.packRecord(aRecord(fmt.Sprint("v", i), facts.Facts{}))
		if err != nil {
			t.Fatal(err)
		}
		batch = append(batch, &recording{id: row.id, write: row.insert, ctx: ctx, done: make(chan error, 1)})
	}
	s.records.write(batch)
	for i, want := range []error{nil, context.Canceled, nil} {
		if err := <-batch[i].done; !errors.Is(err, want) {
			t.Errorf("v%d: %v, want %v", i, err, want)
		}
	}
	s.records.write(batch[1:2])
	if err := <-batch[1].done; !errors.Is(err, context.Canceled) {
		t.Errorf("alone: %v", err)
	}
	if list, _, err := s.Verdicts(t.Context(), Filter{}, Page{}); err != nil || len(list) != 2 {
		t.Errorf("recorded are %+v (%v)", list, err)
	}
}

func TestFewWaitToBeRecorded(t *testing.T) {
	nothing := func(writer) error { return nil }
	for name, tt := range map[string]struct{ n, size int }{
		"number": {maxWaiting, 1},
		"bytes":  {3, maxWaitingBytes/3 - 1},
		"one":    {1, 2 * maxWaitingBytes}, // whatever its size
	} {
		t.Run(name, func(t *testing.T) {
			s := openTemp(t, Config{})
			release := blocked(t, s)
			var callers sync.WaitGroup
			record := func(id string, size int) {
				callers.Go(func() {
					if err := s.records.record(t.Context(), &recording{id: id, size: size, write: nothing}); err != nil {
						t.Errorf("%s: %v", id, err)
					}
				})
			}
			record("first", maxWaitingBytes)
			eventually.Holds(t, "the first is taken", func() bool {
				s.records.mu.Lock()
				defer s.records.mu.Unlock()
				return s.records.running && len(s.records.waiting) == 0
			})
			for i := range tt.n {
				record(fmt.Sprint(i), tt.size)
			}
			eventually.Holds(t, "they wait", func() bool { n, _ := s.records.holds(); return n == tt.n })
			began := time.Now()
			err := s.records.record(t.Context(), &recording{id: "over", size: 10, write: nothing})
			if took := time.Since(began); !errors.Is(err, ErrUnavailable) || took > 10*time.Second {
				t.Errorf("one more, after %s: %v", took, err)
			}
			release()
			callers.Wait()
			if err := s.records.record(t.Context(), &recording{id: "after", size: 10, write: nothing}); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}
