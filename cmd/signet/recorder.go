package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/store"
)

// recorder writes verdicts into the store. While the operator accepts the last
// known state, those that cannot be written wait until the store is back.
type recorder struct {
	store verdictStore
	log   *slog.Logger

	mu      sync.Mutex
	waiting []store.Record
	closed  bool
	wake    chan struct{}
	lost    atomic.Int64
	stop    context.CancelFunc
	stopped chan struct{}
}

// verdictStore is what a recorder writes to: a [store.Store].
type verdictStore interface {
	Record(ctx context.Context, rec store.Record) error
	Repeat(ctx context.Context, rep store.Repeat) error
	RecordShadows(ctx context.Context, list []store.ShadowRow) error
}

const (
	// maxDeferred bounds the verdicts that wait, which are whole in memory.
	maxDeferred = 1000
	// deferredEvery is how often writing them is tried again.
	deferredEvery = time.Second
)

func newRecorder(s verdictStore, log *slog.Logger) *recorder {
	ctx, stop := context.WithCancel(context.Background())
	r := &recorder{store: s, log: log, wake: make(chan struct{}, 1), stop: stop, stopped: make(chan struct{})}
	go r.run(ctx)
	return r
}

func storeRecord(rec engine.Record) (store.Record, error) {
	basis, err := rec.Basis.Encode()
	if err != nil {
		return store.Record{}, err
	}
	var kept []byte // nil where there was nothing
	if len(rec.Items) > 0 {
		if kept, err = evidence.Keep(rec.Items); err != nil {
			return store.Record{}, err
		}
	}
	return store.Record{
		Verdict: rec.Verdict, Body: rec.Body, Facts: rec.Facts, Frames: rec.Frames, Basis: basis, Evidence: kept, ImageName: rec.ImageName,
		Principal: rec.Principal, AssessmentID: rec.AssessmentID, Labels: rec.Labels, Decided: rec.Decided,
	}, nil
}

func (r *recorder) Record(ctx context.Context, rec engine.Record) error {
	row, err := storeRecord(rec)
	if err != nil {
		return err
	}
	return r.store.Record(ctx, row)
}

func (r *recorder) Repeat(ctx context.Context, rep engine.Repeat) error {
	err := r.store.Repeat(ctx, store.Repeat{
		Original: rep.Original, ID: rep.ID, Body: rep.Body, Principal: rep.Principal,
		AssessmentID: rep.AssessmentID, Labels: rep.Labels, At: rep.At,
	})
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("%w: %w", engine.ErrForgotten, err)
	}
	return err
}

// RecordShadows keeps what policies in shadow said. It does not wait for a store that
// is away: nobody was given any of it.
func (r *recorder) RecordShadows(ctx context.Context, list []engine.ShadowVerdict) error {
	rows := make([]store.ShadowRow, 0, len(list))
	for _, s := range list {
		v := s.Verdict
		rows = append(rows, store.ShadowRow{
			VerificationID: s.VerificationID, ImageRef: s.Image, ImageName: s.Name, Policy: v.Name, Digest: v.Digest, ParamsDigest: v.ParamsDigest,
			Decision: v.Decision, Reasons: v.Reasons, ShadowOf: s.Of, ComparedWith: s.ComparedWith, CreatedAt: s.At,
		})
	}
	return r.store.RecordShadows(ctx, rows)
}

func (r *recorder) Defer(rec engine.Record, cause error) bool {
	if !away(cause) {
		return false // it would never be written
	}
	row, err := storeRecord(rec)
	if err != nil {
		return false
	}
	row.Late = true
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || len(r.waiting) >= maxDeferred {
		return false
	}
	r.waiting = append(r.waiting, row)
	select {
	case r.wake <- struct{}{}:
	default:
	}
	return true
}

func (r *recorder) run(ctx context.Context) {
	defer close(r.stopped)
	for {
		select {
		case <-r.wake:
		case <-ctx.Done():
			r.flush()
			return
		}
		for !r.flush() {
			select {
			case <-time.After(deferredEvery):
			case <-ctx.Done():
				r.flush()
				return
			}
		}
	}
}

// away says that it is the store that could not be reached, not the verdict that it
// does not take.
func away(err error) bool {
	return errors.Is(err, store.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded)
}

// flush writes what waits, in order, and says whether nothing is left.
func (r *recorder) flush() bool {
	for {
		r.mu.Lock()
		if len(r.waiting) == 0 {
			r.mu.Unlock()
			return true
		}
		rec := r.waiting[0]
		r.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		err := r.store.Record(ctx, rec)
		cancel()
		if away(err) {
			return false
		}
		if err != nil && !errors.Is(err, store.ErrConflict) { // a conflict: it was written after all
			r.lost.Add(1)
			r.log.Error("a verdict that was given could not be recorded", "verdict", rec.Verdict.ID, "error", err.Error())
		}
		r.mu.Lock()
		r.waiting = r.waiting[1:]
		r.mu.Unlock()
	}
}

// close tries once more, and says what is lost.
func (r *recorder) close() {
	r.mu.Lock()
	r.closed = true // nobody would write what comes now
	r.mu.Unlock()
	r.stop()
	<-r.stopped
	if n := len(r.waiting); n > 0 {
		r.log.Error("verdicts that were given could not be recorded before the end", "verdicts", n)
	}
}
