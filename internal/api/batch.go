package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strconv"
	"sync"

	"github.com/signet-policy/signet/client"
)

const (
	mostItems = 100
	// sideBySide bounds how much of the machine one batch takes.
	sideBySide = 8

	batchExample = `{"items": [{"image": "ghcr.io/org/app:v1"}]}`
)

// batchRequest is the body of POST /api/v1/verdicts/batch. Its items are read
// one by one, so that one that is wrong spoils no other.
type batchRequest struct {
	Items []json.RawMessage `json:"items"`
}

// postBatch answers each item as it would be answered alone, all under the one
// state that was read for the batch.
func (s *Server) postBatch(ctx context.Context, c *call, req *batchRequest) (reply, error) {
	switch n := len(req.Items); {
	case n == 0:
		return reply{}, &problem{code: codeMissingField, field: "items", detail: `The field "items" is missing or empty. Send 1 to 100 requests in it, for example ` + batchExample + "."}
	case n > mostItems:
		return reply{}, &problem{code: codeInvalidField, field: "items", detail: "The field \"items\" has " + strconv.Itoa(n) + " items; 100 are the most."}
	}
	// The request itself was the first. More than a whole bucket counts as a whole
	// one, or it could never be asked.
	if err := s.admit(c, min(len(req.Items), s.cfg.RateLimit.Burst)-1); err != nil {
		return reply{}, err
	}
	c.batch = c.id
	answer := client.VerdictBatchAnswer{Items: make([]client.VerdictBatchItem, len(req.Items))}
	var done sync.WaitGroup
	room := make(chan struct{}, sideBySide)
	for i, item := range req.Items {
		room <- struct{}{}
		done.Go(func() {
			defer func() { <-room }()
			answer.Items[i] = s.batchItem(ctx, c, item)
		})
	}
	done.Wait()
	if err := ctx.Err(); errors.Is(err, context.Canceled) {
		return reply{}, err // nobody is there to read it
	}
	return jsonOf(http.StatusOK, answer, nil)
}

// batchItem is what the item would have been answered alone.
func (s *Server) batchItem(ctx context.Context, c *call, item []byte) (out client.VerdictBatchItem) {
	failed := func(err error) client.VerdictBatchItem {
		p := asProblem(err)
		s.metrics.problem(p)
		if p.code == codeInternal {
			s.cfg.Log.ErrorContext(ctx, "batch item failed", "request_id", c.id, "error", err)
		}
		return client.VerdictBatchItem{Status: p.status(), Problem: p.body(c.id, true), RetryAfter: p.retryAfter}
	}
	defer func() {
		if v := recover(); v != nil {
			s.metrics.panics.Inc()
			s.cfg.Log.ErrorContext(ctx, "panic while answering", "request_id", c.id, "route", c.route.path,
				"panic", fmt.Sprint(v), "stack", string(debug.Stack()))
			out = failed(fmt.Errorf("%w: %v", errPanic, v))
		}
	}()
	req := &verdictRequest{}
	if !req.plain(item) {
		req = &verdictRequest{}
		if p := decode(item, req, verdictExample); p != nil {
			return failed(p)
		}
	}
	r, _, err := s.decide(ctx, c, req)
	if err != nil {
		return failed(err)
	}
	return client.VerdictBatchItem{Status: r.status, Verdict: r.body, RetryAfter: r.retryAfter}
}
