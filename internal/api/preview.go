package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/administration"
)

// Previews tell what a change would do to the verdicts of the past.
type Previews interface {
	// Prepare checks what is asked for, with the caller's rights, and makes ready for
	// it. Its errors are those of package administration.
	Prepare(ctx context.Context, by administration.Caller, req client.PreviewRequest) (PreviewRun, error)
}

// PreviewRun looks at the verdicts, and tells emit of progress and flips while it
// does. Passing its deadline is no error: what was found until then is not
// complete.
type PreviewRun func(ctx context.Context, emit func(client.PreviewLine) error) (client.Preview, error)

const (
	previewExample = `{"operations": [{"op": "disable_signer", "name": "release"}], "since": "30d"}`
	mediaNDJSON    = "application/x-ndjson"

	// DefaultPreviewTime bounds a preview, which would else keep the machine busy for
	// as long as there are verdicts.
	DefaultPreviewTime = 4 * time.Minute
	// mostPreviews is how many a server makes at a time.
	mostPreviews = 2
	retryPreview = 10 * time.Second
	// previewWrite bounds one write: who does not read is let go.
	previewWrite = 30 * time.Second
)

// previews are those under way, by principal.
type previews struct {
	mu sync.Mutex
	by map[string]bool
}

func (p *previews) begin(principal string) (end func(), refused *problem) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.by[principal]:
		return nil, rateLimited("A preview of yours is under way; one at a time is made for each principal.", retryPreview)
	case len(p.by) >= mostPreviews:
		return nil, &problem{code: codeBusy, detail: "As many previews are under way as this server makes at a time. Ask again in a moment.", retryAfter: int(retryPreview.Seconds())}
	}
	p.by[principal] = true
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.by, principal)
	}, nil
}

// postPreview answers with the whole preview, or line by line as it is found. It
// has more time than other requests, and ends when the caller leaves.
func (s *Server) postPreview(ctx context.Context, c *call, by administration.Caller, req *client.PreviewRequest) (reply, error) {
	end := func() {}
	if !req.OnlyCheck {
		var refused *problem
		if end, refused = s.previews.begin(c.principal.Name); refused != nil {
			return reply{}, refused
		}
	}
	ending := end
	defer func() {
		if ending != nil {
			ending()
		}
	}()
	r := c.echo.Request()
	rc := http.NewResponseController(c.echo.Response())
	// The request was read, and the answer may take longer than others; where there
	// are no deadlines there is nothing to move.
	_ = rc.SetReadDeadline(time.Time{})
	_ = rc.SetWriteDeadline(time.Now().Add(s.cfg.PreviewTime + previewWrite))
	run, err := s.cfg.Previews.Prepare(ctx, by, *req)
	if err != nil {
		return reply{}, err
	}
	if !strings.Contains(r.Header.Get("Accept"), mediaNDJSON) {
		ctx, cancel := context.WithTimeout(r.Context(), s.cfg.PreviewTime)
		defer cancel()
		out, err := run(ctx, func(client.PreviewLine) error { return nil })
		return jsonOf(http.StatusOK, out, err)
	}
	ending = nil
	id := c.id
	return reply{status: http.StatusOK, contentType: mediaNDJSON, stream: func(w http.ResponseWriter) {
		defer end()
		s.streamPreview(r.Context(), w, id, run)
	}}, nil
}

// streamPreview writes lines. The status is sent by then, so that what goes wrong
// is the last line.
func (s *Server) streamPreview(ctx context.Context, w http.ResponseWriter, id string, run PreviewRun) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.PreviewTime)
	defer cancel()
	rc := http.NewResponseController(w)
	write := func(l client.PreviewLine) error {
		body, err := json.Marshal(l)
		if err != nil {
			return err
		}
		_ = rc.SetWriteDeadline(time.Now().Add(previewWrite))
		if _, err := w.Write(append(body, '\n')); err != nil {
			return err
		}
		if err := rc.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return err
		}
		return nil
	}
	defer func() {
		if v := recover(); v != nil {
			s.metrics.panics.Inc()
			s.cfg.Log.ErrorContext(ctx, "panic while previewing", "request_id", id, "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
			_ = write(client.PreviewLine{Type: client.LineError, Error: "something went wrong inside Signet; the operator finds the cause under the request id " + id})
		}
	}()
	out, err := run(ctx, write)
	if err != nil {
		if ctx.Err() != nil { // the caller is gone
			return
		}
		s.cfg.Log.ErrorContext(ctx, "preview broke off", "request_id", id, "error", err.Error())
		p := asProblem(err)
		_ = write(client.PreviewLine{Type: client.LineError, Error: string(p.code) + ": " + p.detail})
		return
	}
	for i := range out.Groups {
		if write(client.PreviewLine{Type: client.LineGroup, Group: &out.Groups[i]}) != nil {
			return
		}
	}
	for i := range out.Reasons {
		if write(client.PreviewLine{Type: client.LineSkipped, Skipped: &out.Reasons[i]}) != nil {
			return
		}
	}
	_ = write(client.PreviewLine{Type: client.LineSummary, Summary: &out.PreviewSummary})
}
