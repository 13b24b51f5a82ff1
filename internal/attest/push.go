package attest

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"github.com/signet-policy/signet/internal/verdict"
)

// States of a push.
const (
	StatePushed  = "pushed"
	StatePresent = "present"
	StateQueued  = "queued"
	StateFailed  = "failed"
)

// purposePushed keeps where an attestation of the same meaning was put.
const purposePushed = "attested_pushed"

// maxWaiting bounds the pushes that wait behind answers; each holds a bundle.
const maxWaiting = 64

// pushes are those that nobody waits for.
type pushes struct {
	mu      sync.Mutex
	closed  bool
	waiting int
	work    sync.WaitGroup
	// turn is held by the one that works.
	turn sync.Mutex
	stop context.CancelFunc
	ctx  context.Context //nolint:containedctx // the life of the background work, which belongs to no request
}

// Push puts the attestation of v beside its image, unless one that says the same was
// put there within PushEvery, and notes in a how it went. With wait it is done when
// this returns; else it is done behind the answer. It does nothing where nothing is
// to be pushed, and for all but passes: a denial beside an unsigned image would only
// make it look as if somebody had signed it.
func (a *Attester) Push(ctx context.Context, v *verdict.Verdict, at *verdict.Attestation, wait bool) {
	if a.cfg.Push == nil || at == nil || at.Result != verdict.AttestedPassed || len(at.Bundle) == 0 {
		return
	}
	if !strings.Contains(at.ResourceURI, "@") { // a layout or a file
		at.Push = &verdict.Push{State: StateFailed, Problem: "the image has no name in a registry"}
		return
	}
	key := pushKey(at)
	if a.cfg.Cache != nil {
		if where, _, _, ok := a.cfg.Cache.Get(ctx, purposePushed, key, a.cfg.Now()); ok {
			at.Push = &verdict.Push{State: StatePresent, Where: string(where)}
			return
		}
	}
	p := Pushed{Image: at.ResourceURI, Bundle: at.Bundle, PredicateType: PredicateType, CreatedAt: v.EvaluatedAt}
	if wait {
		at.Push = a.push(ctx, p, key)
		return
	}
	at.Push = a.enqueue(p, key)
}

func (a *Attester) enqueue(p Pushed, key [32]byte) *verdict.Push {
	q := &a.pushes
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || q.waiting >= maxWaiting {
		return &verdict.Push{State: StateFailed, Problem: "too many wait to be pushed; ask again"}
	}
	if q.ctx == nil {
		q.ctx, q.stop = context.WithCancel(context.Background())
	}
	q.waiting++
	q.work.Go(func() {
		defer func() {
			q.mu.Lock()
			defer q.mu.Unlock()
			q.waiting--
		}()
		q.turn.Lock()
		defer q.turn.Unlock()
		if a.cfg.Cache != nil { // one that waited before it may have said the same
			if _, _, _, ok := a.cfg.Cache.Get(q.ctx, purposePushed, key, a.cfg.Now()); ok {
				return
			}
		}
		if done := a.push(q.ctx, p, key); done.State == StateFailed {
			a.cfg.Log.Warn("an attestation could not be pushed", "image", p.Image, "problem", done.Problem)
		}
	})
	return &verdict.Push{State: StateQueued}
}

// push puts one beside its image.
func (a *Attester) push(ctx context.Context, p Pushed, key [32]byte) (done *verdict.Push) {
	ctx, cancel := context.WithTimeout(ctx, a.cfg.PushTime)
	defer cancel()
	defer func() {
		if r := recover(); r != nil {
			done = &verdict.Push{State: StateFailed, Problem: "something went wrong inside Signet"}
			a.cfg.Log.Error("panic while pushing an attestation", "image", p.Image, "panic", fmt.Sprint(r))
		}
	}()
	where, err := a.cfg.Push.Push(ctx, p)
	if err != nil {
		return &verdict.Push{State: StateFailed, Problem: err.Error()}
	}
	if a.cfg.Cache != nil {
		a.cfg.Cache.Put(context.WithoutCancel(ctx), purposePushed, key, []byte(where), a.cfg.Now().Add(a.cfg.PushEvery))
	}
	return &verdict.Push{State: StatePushed, Where: where}
}

// Close waits for the pushes under way, no longer than ctx lasts, and begins no
// more.
func (a *Attester) Close(ctx context.Context) {
	q := &a.pushes
	q.mu.Lock()
	q.closed = true
	stop := q.stop
	q.mu.Unlock()
	if stop == nil {
		return
	}
	defer context.AfterFunc(ctx, stop)()
	q.work.Wait()
	stop()
}

// pushKey names what an attestation says, but for when: two that say the same
// within a while are one too many in the registry.
func pushKey(at *verdict.Attestation) [32]byte {
	body, err := json.Marshal([]any{at.Result, at.ResourceURI, at.Policy, at.VerifiedLevels, at.VerifierID, at.Key})
	if err != nil { // strings alone
		panic(err)
	}
	return sha256.Sum256(body)
}
