package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/pep"
)

// Requests are verdicts that are asked for now and fetched later. Errors wrap
// [ErrNotFound], [ErrUnavailable] or [ErrBusy].
type Requests interface {
	// Add keeps a question that was checked, and has it worked on.
	Add(ctx context.Context, q pep.Question) (client.VerdictRequestStatus, error)
	// Get tells how it stands with one, and who asked.
	Get(ctx context.Context, id string) (s client.VerdictRequestStatus, principal string, err error)
}

// retryLater is how long to wait before asking how it stands, in seconds.
const retryLater = 2

// prefersLater says whether the caller would rather fetch the answer later (RFC 7240,
// section 4.1). What else is preferred is ignored, as that RFC wants it.
func prefersLater(h http.Header) bool {
	for _, line := range h["Prefer"] {
		for one := range strings.SplitSeq(line, ",") {
			name, _, _ := strings.Cut(one, ";")
			if strings.EqualFold(strings.TrimSpace(name), "respond-async") {
				return true
			}
		}
	}
	return false
}

// later takes a question whose answer is fetched later, where the caller wants that
// and it can be done; ok is false where it is to be answered now.
func (s *Server) later(ctx context.Context, c *call, q pep.Question) (out reply, ok bool, err error) {
	if s.cfg.Requests == nil || !prefersLater(c.echo.Request().Header) {
		return reply{}, false, nil
	}
	if err := s.core.Check(c.state, q); err != nil {
		return reply{}, true, err
	}
	c.image = q.Image
	got, err := s.cfg.Requests.Add(ctx, q)
	if err != nil {
		return reply{}, true, fmt.Errorf("keeping a request: %w", err)
	}
	out, err = jsonOf(http.StatusAccepted, got, nil)
	out.location, out.retryAfter, out.preference = v1+"/verdict-requests/"+got.ID, retryLater, "respond-async"
	return out, true, err
}

// getVerdictRequest tells who asked, and who may read verdicts, how it stands.
func (s *Server) getVerdictRequest(ctx context.Context, c *call) (reply, error) {
	id := c.echo.Param("id")
	missing := &problem{code: codeNotFound, field: "id", detail: "No request for a verdict has the id " + shown(id) + ". Answers are kept for seven days; verdicts are at /api/v1/verdicts."}
	if !isID(id) {
		return reply{}, missing
	}
	got, by, err := s.cfg.Requests.Get(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return reply{}, missing
	}
	if err != nil {
		return reply{}, fmt.Errorf("reading a request: %w", err)
	}
	if !c.principal.May(auth.Read) && by != c.principal.Name || !s.sees(c.principal, got.Image) {
		return reply{}, missing
	}
	if got.VerdictID != "" {
		got.Verdict = s.linked(got.Verdict)
	}
	out, err := jsonOf(http.StatusOK, got, nil)
	if got.State == client.RequestWaiting {
		out.retryAfter = retryLater
	}
	return out, err
}
