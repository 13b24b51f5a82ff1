package store_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/store"
)

func openStore(t *testing.T) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{DataDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func countUses(t *testing.T, s *store.Store, id string) (n int64) {
	t.Helper()
	uses, err := s.Uses(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range uses {
		n += u.Count
	}
	return n
}

// After Close the number of uses is exact, however many added at once.
func TestBatchIsExactAfterClose(t *testing.T) {
	s := openStore(t)
	b := store.NewBatch(store.BatchConfig{Store: s, Every: time.Millisecond})
	at := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	const adders, each = 16, 500
	var done sync.WaitGroup
	for i := range adders {
		done.Go(func() {
			for n := range each {
				b.Add("v", fmt.Sprint("p", i%3), at.Add(time.Duration(n)*time.Second))
			}
		})
	}
	done.Wait()
	b.Close()
	b.Close() // twice does no harm
	if n := countUses(t, s, "v"); n != adders*each {
		t.Errorf("%d uses on disk, %d were added", n, adders*each)
	}
	if b.Dropped() != 0 {
		t.Errorf("%d dropped", b.Dropped())
	}
}

func TestBatchIsBounded(t *testing.T) {
	s := openStore(t)
	b := store.NewBatch(store.BatchConfig{Store: s, Every: time.Hour, Most: 3})
	at := time.Now()
	for i := range 10 {
		b.Add(fmt.Sprint("v", i), "p", at)
		b.Add("v0", "p", at)
	}
	b.Close()
	if b.Dropped() != 7 {
		t.Errorf("%d dropped, want 7 of the 10 different ones", b.Dropped())
	}
	if n := countUses(t, s, "v0"); n != 11 {
		t.Errorf("%d uses of the first, want 11", n)
	}
}

// What cannot be written waits until it can.
func TestBatchWaitsForTheStore(t *testing.T) {
	dir := t.TempDir()
	s, err := store.Open(t.Context(), store.Config{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	b := store.NewBatch(store.BatchConfig{Store: s, Every: time.Millisecond})
	ctx, release := context.WithCancel(t.Context())
	blocked := make(chan struct{})
	over := make(chan struct{})
	go func() {
		defer close(over)
		_, _ = s.Change(t.Context(), store.Actor{Name: "a"}, "", func(*store.Tx) error {
			close(blocked)
			<-ctx.Done()
			return ctx.Err()
		})
	}()
	<-blocked
	b.Add("v", "p", time.Now())
	time.Sleep(20 * time.Millisecond)
	release()
	<-over
	b.Close()
	if n := countUses(t, s, "v"); n != 1 {
		t.Errorf("%d uses, want 1", n)
	}
	_ = s.Close()
}

// What cannot be written at the end is counted as lost.
func TestBatchLosesAtTheEnd(t *testing.T) {
	s := openStore(t)
	b := store.NewBatch(store.BatchConfig{Store: s, Every: time.Hour})
	b.Add("v", "p", time.Now())
	b.Add("v", "p", time.Now())
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	b.Close()
	if b.Dropped() != 2 {
		t.Errorf("%d lost, want 2", b.Dropped())
	}
}

func TestBatchNotesTokens(t *testing.T) {
	s := openStore(t)
	_, tok, err := auth.NewToken(auth.NewTokenRequest{Name: "n", Role: auth.Viewer, CreatedBy: "a"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Change(t.Context(), store.Actor{Name: "a"}, "", func(tx *store.Tx) error { return tx.CreateToken(t.Context(), tok) }); err != nil {
		t.Fatal(err)
	}
	b := store.NewBatch(store.BatchConfig{Store: s})
	at := time.Now().Add(time.Minute).UTC().Truncate(time.Microsecond)
	b.Touch(tok.ID, at)
	b.Touch(tok.ID, at.Add(time.Millisecond)) // too soon to be worth a write
	b.Close()
	list, err := s.Tokens(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if list[0].LastUsedAt == nil || !list[0].LastUsedAt.Equal(at) {
		t.Errorf("last used %v, want %v", list[0].LastUsedAt, at)
	}
}
