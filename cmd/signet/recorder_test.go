package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"

	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/store"
	"github.com/signet-policy/signet/internal/testkit/eventually"
	"github.com/signet-policy/signet/internal/verdict"
)

// doorStore takes records while it is open, and answers fail while it is shut.
type doorStore struct {
	mu   sync.Mutex
	fail func(id string) error // nil: open
	got  []string
	late []bool
}

func (d *doorStore) set(fail func(string) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail = fail
}

func (d *doorStore) kept() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]string(nil), d.got...)
}

func (d *doorStore) Record(_ context.Context, rec store.Record) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail != nil {
		if err := d.fail(rec.Verdict.ID); err != nil {
			return err
		}
	}
	d.got, d.late = append(d.got, rec.Verdict.ID), append(d.late, rec.Late)
	return nil
}

func (d *doorStore) Repeat(_ context.Context, rep store.Repeat) error {
	if rep.Original == "gone" {
		return fmt.Errorf("repeating: %w", store.ErrNotFound)
	}
	return nil
}

func (*doorStore) RecordShadows(context.Context, []store.ShadowRow) error { return nil }

var errAway = fmt.Errorf("recording: %w", store.ErrUnavailable)

func shut(string) error { return errAway }

func record(id string) engine.Record {
	return engine.Record{Verdict: &verdict.Verdict{ID: id}}
}

// What could not be written is written when the store is back, in order.
func TestRecorderDefers(t *testing.T) {
	d := &doorStore{fail: shut}
	r := newRecorder(d, slog.New(slog.DiscardHandler))
	defer r.close()
	if err := r.Record(t.Context(), record("now")); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("without the store: %v", err)
	}
	// What the store does not take is not given, however long it waits.
	for _, cause := range []error{store.ErrInvalid, store.ErrCorrupt, context.Canceled} {
		if r.Defer(record("bad"), cause) {
			t.Errorf("one waits that failed through %v", cause)
		}
	}
	for i := range maxDeferred {
		if !r.Defer(record(fmt.Sprintf("%04d", i)), errAway) {
			t.Fatalf("verdict %d is not taken", i)
		}
	}
	// More are not taken, so that they are not given.
	if r.Defer(record("one too many"), errAway) {
		t.Error("there is no bound")
	}
	d.set(nil)
	eventually.Holds(t, "all are written", func() bool { return len(d.kept()) == maxDeferred })
	for i, id := range d.kept() {
		if id != fmt.Sprintf("%04d", i) {
			t.Fatalf("verdict %s was written as number %d", id, i)
		}
	}
	if slices.Contains(d.late, false) {
		t.Error("one is not said to be late, and the watch passes it by")
	}
	eventually.Holds(t, "there is room again", func() bool { return r.Defer(record("later"), errAway) })
}

// One that can never be written is counted and named, and does not hold up others;
// one that was written after all is no loss.
func TestRecorderLoses(t *testing.T) {
	d := &doorStore{fail: func(id string) error {
		switch id {
		case "bad":
			return store.ErrInvalid
		case "twice":
			return store.ErrConflict
		}
		return nil
	}}
	var book logbook
	r := newRecorder(d, book.log())
	for _, id := range []string{"bad", "twice", "good"} {
		r.Defer(record(id), errAway)
	}
	eventually.Holds(t, "the good one is written", func() bool { return len(d.kept()) == 1 })
	r.close()
	if r.lost.Load() != 1 || !book.has("could not be recorded", "verdict=bad") || book.has("verdict=twice") {
		t.Errorf("%d lost; the log reads\n%s", r.lost.Load(), book.text.String())
	}
}

// At the end what waits is tried once more, and what is lost is said.
func TestRecorderEnds(t *testing.T) {
	for _, tt := range []struct {
		name string
		back bool
	}{{"the store is back", true}, {"the store is away", false}} {
		t.Run(tt.name, func(t *testing.T) {
			d := &doorStore{fail: shut}
			var book logbook
			r := newRecorder(d, book.log())
			r.Defer(record("a"), errAway)
			r.Defer(record("b"), errAway)
			if tt.back {
				d.set(nil)
			}
			r.close()
			if kept := len(d.kept()); tt.back != (kept == 2) || tt.back == book.has("before the end", "verdicts=2") {
				t.Errorf("%d were written; the log reads\n%s", kept, book.text.String())
			}
			if r.Defer(record("c"), errAway) {
				t.Error("one is taken after the end")
			}
		})
	}
}

// A verdict that retention has removed cannot be repeated.
func TestRecorderRepeats(t *testing.T) {
	r := newRecorder(&doorStore{}, slog.New(slog.DiscardHandler))
	defer r.close()
	if err := r.Repeat(t.Context(), engine.Repeat{Original: "there"}); err != nil {
		t.Error(err)
	}
	if err := r.Repeat(t.Context(), engine.Repeat{Original: "gone"}); !errors.Is(err, engine.ErrForgotten) || !errors.Is(err, store.ErrNotFound) {
		t.Errorf("%v", err)
	}
}
