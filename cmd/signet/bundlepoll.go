package main

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/signet-policy/signet/internal/administration"
	"github.com/signet-policy/signet/internal/config"
)

const (
	pollNetwork = time.Minute
	pollLocal   = 2 * time.Second
	// slowestNetwork and slowestLocal bound how rarely a source is asked that fails.
	slowestNetwork = 10 * time.Minute
	slowestLocal   = 10 * time.Second
	// fetchTime bounds one look at a source, with all that follows from it.
	fetchTime = 2 * time.Minute
	// firstFetch bounds fetching all bundles before a server answers for the first
	// time.
	firstFetch = 30 * time.Second
)

// bundlePoller asks the sources of the configuration's bundles, each in its own
// time. Only the server that does the upkeep does; that two of them might, while
// the lease changes hands, costs a request and nothing else, because what they find
// is put into force one after the other.
type bundlePoller struct {
	bundles map[string]config.Bundle
	poll    func(ctx context.Context, name string) (changed bool, err error)
	// mine says whether this server does the upkeep.
	mine func() bool
	log  *slog.Logger
}

// run works until ctx ends.
func (p *bundlePoller) run(ctx context.Context) {
	var all sync.WaitGroup
	for name, b := range p.bundles {
		all.Go(func() { p.one(ctx, name, b) })
	}
	all.Wait()
}

func (p *bundlePoller) one(ctx context.Context, name string, b config.Bundle) {
	every, slowest := pollEvery(b)
	failures := 0
	for wait := jittered(every); ; wait = jittered(backedOff(every, slowest, failures)) {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		if !p.mine() {
			failures = 0
			continue
		}
		err := p.look(ctx, name)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			if failures == 0 || b.Network() { // a folder is looked at often, and says the same
				p.log.Warn("a bundle could not be renewed", "bundle", name, "error", err.Error())
			}
			failures++
		default:
			failures = 0
		}
	}
}

func (p *bundlePoller) look(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	changed, err := p.poll(ctx, name)
	switch {
	case errors.Is(err, administration.ErrNotFound):
		return nil // the configuration of another server has removed it
	case changed:
		p.log.Info("a bundle is in force", "bundle", name)
	}
	return err
}

func pollEvery(b config.Bundle) (every, slowest time.Duration) {
	every, slowest = pollLocal, slowestLocal
	if b.Network() {
		every, slowest = pollNetwork, slowestNetwork
	}
	if b.Poll > 0 {
		every = time.Duration(b.Poll)
	}
	return every, max(every, slowest)
}

// backedOff doubles with each failure.
func backedOff(every, slowest time.Duration, failures int) time.Duration {
	for range failures {
		if every *= 2; every >= slowest {
			return slowest
		}
	}
	return every
}

// jittered is d, a tenth more or less, so that servers do not ask at once.
func jittered(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.9 + 0.2*rand.Float64())) //nolint:gosec // no secret
}
