package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/signet-policy/signet/internal/administration"
	"github.com/signet-policy/signet/internal/config"
	"github.com/signet-policy/signet/internal/store"
)

// upkeep is the background work that one server does for all: refreshing trust
// roots and KMS keys, removing old verdicts, and telling the audit log's head.
// Which one, is a lease in the store.
type upkeep struct {
	file   config.File
	store  *store.Store
	log    *slog.Logger
	holder string
	tasks  []upkeepTask
	// lease is how long a server that died keeps others from its work; it is
	// asked for anew every renew.
	lease, renew time.Duration
	until        time.Time    // when the lease ends, or before
	mine         atomic.Int64 // the same in nanoseconds of Unix time, 0 while another server has it
	// beside are what runs beside the tasks while the lease is here. Each ends when
	// its context does, and begins nothing while held says no.
	beside []func(context.Context)
}

type upkeepTask struct {
	name  string
	every time.Duration
	run   func(context.Context) error
	next  time.Time
}

const (
	upkeepLease = "upkeep"
	leaseTime   = 15 * time.Second
	leaseRenew  = 5 * time.Second

	rootsEvery  = 24 * time.Hour
	rootsLook   = time.Minute // for what is due; what failed is, after ten minutes
	pruneEvery  = 10 * time.Minute
	headEvery   = time.Hour
	upkeepLimit = 2 * time.Minute // of one task
)

// errLeaseLost ends what is being done: another server does it now, or may.
var errLeaseLost = errors.New("the upkeep lease is lost")

func newUpkeep(f config.File, s *store.Store, admin *administration.Service, log *slog.Logger) (*upkeep, error) {
	id := make([]byte, 16)
	if _, err := rand.Read(id); err != nil {
		return nil, fmt.Errorf("reading randomness: %w", err)
	}
	u := &upkeep{file: f, store: s, log: log, holder: hex.EncodeToString(id), lease: leaseTime, renew: leaseRenew}
	u.tasks = []upkeepTask{{name: "audit head", every: headEvery, run: u.tellHead}}
	if !f.Offline {
		due := rootsEvery
		if half := time.Duration(f.MaxStaleness) / 2; half > 0 { // else all would be stale before they are due
			due = min(due, half)
		}
		u.tasks = append(u.tasks,
			upkeepTask{name: "trust roots", every: min(rootsLook, due), run: func(ctx context.Context) error {
				return admin.RefreshDue(ctx, time.Now(), due)
			}},
			upkeepTask{name: "KMS keys", every: time.Duration(f.KMS.Refresh), run: func(ctx context.Context) error {
				return admin.RefreshKeys(ctx, time.Now())
			}})
	}
	if f.Retention.MaxAge > 0 || f.Retention.MaxVerdicts > 0 {
		u.tasks = append(u.tasks, upkeepTask{name: "retention", every: pruneEvery, run: u.prune})
	}
	asked := maps.Clone(f.Bundles)
	maps.DeleteFunc(asked, func(_ string, b config.Bundle) bool { return f.Offline && b.Network() })
	if len(asked) > 0 {
		poller := &bundlePoller{bundles: asked, poll: admin.Poll, mine: u.held, log: log}
		u.beside = append(u.beside, poller.run)
	}
	return u, nil
}

// run works until ctx ends, and then lets another server have the lease.
func (u *upkeep) run(ctx context.Context) {
	defer func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = u.store.ReleaseLease(last, upkeepLease, u.holder) // it ends by itself
	}()
	mine := false
	stop := func() {}
	defer func() { stop() }()
	for {
		held, err := u.keep(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			u.log.Warn("the upkeep lease cannot be read", "error", err.Error())
		case held != mine:
			u.log.Info("upkeep", "here", held)
		}
		if now := err == nil && held; now != mine {
			stop()
			stop = func() {}
			if mine = now; mine {
				stop = u.start(ctx)
			}
		}
		if mine {
			u.due(ctx)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(u.renew):
		}
	}
}

// keep takes the lease, or keeps it.
func (u *upkeep) keep(ctx context.Context) (held bool, err error) {
	asked := time.Now()
	held, err = u.store.Lease(ctx, upkeepLease, u.holder, u.lease)
	switch {
	case err == nil && held:
		u.until = asked.Add(u.lease)
		u.mine.Store(u.until.UnixNano())
	case err == nil:
		u.mine.Store(0)
	}
	return held, err
}

// held says whether the lease is here for sure: a store that did not answer since
// may have given it to another server.
func (u *upkeep) held() bool { return time.Now().UnixNano() < u.mine.Load() }

// start runs what goes on beside the tasks, until the returned function is called,
// which waits for its end.
func (u *upkeep) start(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	for _, run := range u.beside {
		all.Go(func() {
			for ctx.Err() == nil {
				u.guarded(ctx, run)
				select { // it ends early where the lease was away, and comes back
				case <-ctx.Done():
				case <-time.After(u.renew):
				}
			}
		})
	}
	return func() { cancel(); all.Wait() }
}

func (u *upkeep) guarded(ctx context.Context, run func(context.Context)) {
	defer func() {
		if p := recover(); p != nil {
			u.log.Error("panic in the upkeep", "panic", fmt.Sprint(p))
		}
	}()
	run(ctx)
}

// due runs what is due, beside the renewing of the lease.
func (u *upkeep) due(ctx context.Context) {
	now := time.Now()
	for i := range u.tasks {
		t := &u.tasks[i]
		if now.Before(t.next) {
			continue
		}
		t.next = now.Add(t.every)
		err := u.one(ctx, t)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, errLeaseLost):
			t.next = time.Time{} // not done here
			return
		case err != nil:
			u.log.Warn("upkeep failed", "task", t.name, "error", err.Error())
		}
	}
}

// one keeps the lease while the task runs. It is asked for anew at the beginning:
// the tasks before may have taken most of it.
func (u *upkeep) one(ctx context.Context, t *upkeepTask) error {
	if held, err := u.keep(ctx); err != nil || !held {
		return errLeaseLost
	}
	ctx, lose := context.WithCancelCause(ctx)
	defer lose(nil)
	limited, cancel := context.WithTimeout(ctx, upkeepLimit)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil { // over what others publish: no reason to end a server that answers
				done <- fmt.Errorf("panic: %v", p)
			}
		}()
		done <- t.run(limited)
	}()
	renew := time.NewTicker(u.renew)
	defer renew.Stop()
	for {
		select {
		case err := <-done:
			if lost := context.Cause(ctx); errors.Is(lost, errLeaseLost) {
				return lost
			}
			return err
		case <-renew.C:
			// A store that does not answer is not waited for longer than the lease.
			asking, cancel := context.WithDeadline(ctx, u.until)
			held, err := u.keep(asking)
			cancel()
			if err == nil && !held || !time.Now().Before(u.until) {
				lose(errLeaseLost)
			}
		}
	}
}

func (u *upkeep) prune(ctx context.Context) error {
	n, err := u.store.Prune(ctx, store.Retention{MaxAge: time.Duration(u.file.Retention.MaxAge), MaxRows: u.file.Retention.MaxVerdicts})
	if n > 0 {
		u.log.Info("verdicts removed (retention)", "verdicts", n)
	}
	return err
}

// tellHead lets the end of the audit log leave the database: kept with the
// server's log, it shows later whether entries were changed or cut off.
func (u *upkeep) tellHead(ctx context.Context) error {
	head, err := u.store.AuditHead(ctx)
	if err == nil {
		u.log.Info("audit head", "seq", head.Seq, "hash", head.Hash)
	}
	return err
}
