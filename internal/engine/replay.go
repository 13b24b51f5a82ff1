package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/verdict"
)

// Kept is what a verdict was decided on, as it was kept.
type Kept struct {
	Basis Basis
	Facts facts.Facts
}

// Replayed is a verdict that was decided again.
type Replayed struct {
	Verdict *verdict.Verdict
	// Frames, by policy, give with the facts the documents that were read.
	Frames map[string]facts.Frame
}

// Replay decides again on what was kept, under any state and at any time, by the
// same way as [Engine.Decide]. It asks nobody, and records, caches and counts
// nothing. An error wraps [ErrInvalid] where the question itself is one that the
// state does not take, or is the end of ctx.
func (e *Engine) Replay(ctx context.Context, st *State, k Kept, at time.Time) (r Replayed, err error) {
	defer func() {
		if p := recover(); p != nil {
			r, err = Replayed{}, fmt.Errorf("panic while deciding again: %v", p)
		}
	}()
	for key, value := range k.Basis.Context {
		if err := declared(st.named(k.Basis.Asked.Name()), key, value); err != nil {
			return Replayed{}, err
		}
	}
	d := judge(ctx, e.cfg.Build, st, &k.Basis, k.Facts, at.UTC().Truncate(time.Microsecond))
	if err := ctx.Err(); err != nil {
		return Replayed{}, err
	}
	return Replayed{Verdict: d.verdict, Frames: d.frames}, nil
}

// Reproduce gives the bytes of a verdict again: st is what was in force then, id
// and at are the verdict's. Under the build that answered they are the bytes that
// were answered, unless time had a part: a policy that did not answer within its
// limit.
func (e *Engine) Reproduce(ctx context.Context, st *State, k Kept, id string, at time.Time) ([]byte, error) {
	r, err := e.Replay(ctx, st, k, at)
	if err != nil {
		return nil, err
	}
	r.Verdict.ID = id
	return encode(r.Verdict)
}
