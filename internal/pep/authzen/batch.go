package authzen

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/signet-policy/signet/internal/pep"
	"github.com/signet-policy/signet/internal/strictjson"
)

// sideBySide bounds how much of the machine one batch takes.
const sideBySide = 8

// evaluations answers several (section 7), in order and under one deadline. Without a
// list it is an evaluation alone.
func (f *face) evaluations(ctx context.Context, r *pep.Request) pep.Reply {
	req, m := parse(r.Body)
	if m != nil {
		return badRequest(m)
	}
	semantic, m := req.semantic()
	if m != nil {
		return badRequest(m)
	}
	items, m := req.items()
	switch {
	case m != nil:
		return badRequest(m)
	case len(items) == 0:
		return f.alone(ctx, r, req.evaluation)
	}
	if why := r.Admit(len(items) - 1); why != nil { // the request itself was the first
		reply := f.fail(r, *why)
		reply.RetryAfter = why.RetryAfter
		return reply
	}
	list := f.all(ctx, r, req.evaluation, items, semantic)
	reply := encode(http.StatusOK, struct {
		Evaluations []outcome `json:"evaluations"`
	}{list})
	for _, out := range list {
		if out.given != nil {
			reply.Given = append(reply.Given, *out.given)
		}
	}
	return reply
}

// all decides the items side by side, up to the one that ends the batch: what comes
// behind it is not begun, and not answered.
func (f *face) all(ctx context.Context, r *pep.Request, defaults evaluation, items []json.RawMessage, semantic string) []outcome {
	list := make([]outcome, len(items))
	ends := func(o outcome) bool {
		return semantic == denyOnFirstDeny && !o.Decision || semantic == permitOnFirstAllow && o.Decision
	}
	var next atomic.Int64
	var last atomic.Int64 // the first item that ends the batch, so far
	last.Store(int64(len(items) - 1))
	var done sync.WaitGroup
	for range min(sideBySide, len(items)) {
		done.Go(func() {
			for i := next.Add(1) - 1; i <= last.Load(); i = next.Add(1) - 1 {
				list[i] = f.item(ctx, r, defaults, items[i])
				if ends(list[i]) {
					lower(&last, i)
				}
			}
		})
	}
	done.Wait()
	return list[:last.Load()+1]
}

// lower makes n i, unless it is less already.
func lower(n *atomic.Int64, i int64) {
	for was := n.Load(); i < was; was = n.Load() {
		if n.CompareAndSwap(was, i) {
			return
		}
	}
}

// item decides one of several; a panic of ours is unknown.
func (f *face) item(ctx context.Context, r *pep.Request, defaults evaluation, raw json.RawMessage) (out outcome) {
	defer func() {
		if p := recover(); p != nil {
			f.cfg.Core.Panicked(ctx, r.ID, p)
			out = outcomeOf(f.cfg.Core.Unknown("", pep.Internal()))
		}
	}()
	var e evaluation
	if _, m := entity(raw, "evaluations[]"); m != nil {
		return refused(m)
	}
	if err := strictjson.DecodeKnown(raw, bodyDepth, &e); err != nil {
		return refused(&pep.Mistake{Code: pep.InvalidField, Detail: "The evaluation cannot be read: " + err.Error() + "."})
	}
	return f.decide(ctx, r, e.over(defaults), r.ID)
}
