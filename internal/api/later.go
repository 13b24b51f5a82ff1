package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/pep"
	"github.com/signet-policy/signet/internal/verdict"
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

// preferences are those of RFC 7240 that count for a verdict.
type preferences struct {
	// later: the caller would rather fetch the answer than wait for it (section 4.1).
	later bool
	// wait is how long it would wait (section 4.3), 0 where it does not say.
	wait time.Duration
}

// longestWait keeps a number of seconds from being more than a duration can hold. No
// request takes as long.
const longestWait = 24 * 60 * 60

// preferred reads the headers Prefer. What is not known or cannot be read is ignored,
// and of what is there twice the first counts, as that RFC wants it (section 2).
func preferred(h http.Header) preferences {
	var p preferences
	waits := false
	for _, line := range h["Prefer"] {
		for one := range strings.SplitSeq(line, ",") {
			one, _, _ = strings.Cut(one, ";")
			name, value, _ := strings.Cut(one, "=")
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "respond-async":
				p.later = true
			case "wait":
				seconds, err := strconv.ParseUint(strings.Trim(strings.TrimSpace(value), `"`), 10, 64)
				if err == nil && !waits {
					p.wait = time.Duration(min(seconds, longestWait)) * time.Second
				}
				waits = true
			}
		}
	}
	return p
}

// applied is the header that says what was done of them; waited: their time was the
// one that counted.
func (p preferences) applied(later, waited bool) string {
	var list []string
	if later {
		list = append(list, "respond-async")
	}
	if waited {
		list = append(list, "wait="+strconv.Itoa(int(p.wait.Seconds())))
	}
	return strings.Join(list, ", ")
}

// asPreferred answers a question within the time that the caller would wait. What is
// not decided then is kept, where the caller would rather fetch it later and it can be
// kept (keeps); kept says that the answer is about that. Who would fetch it and names
// no time waits for nothing.
func (s *Server) asPreferred(ctx context.Context, c *call, q pep.Question, keeps bool, now func(context.Context) (reply, verdict.Decision, error)) (out reply, d verdict.Decision, kept bool, err error) {
	p := preferred(c.echo.Request().Header)
	p.later = p.later && keeps && s.cfg.Requests != nil
	if p.later && p.wait == 0 {
		if err := s.core.Check(c.state, q); err != nil {
			return reply{}, "", true, err
		}
		out, err := s.keep(ctx, c, q, p.applied(true, false))
		return out, "", true, err
	}
	if p.wait == 0 {
		out, d, err := now(ctx)
		return out, d, false, err
	}
	most := s.timeout(c.route)
	if p.later {
		most -= most / 10 // which leaves time to keep it
	}
	waited := p.wait <= most
	short := pep.NewPatience(ctx, min(p.wait, most))
	defer short.End()
	out, d, err = now(short)
	undecided := err == nil && out.status == http.StatusServiceUnavailable || errors.Is(err, context.DeadlineExceeded)
	if p.later && undecided {
		out, err := s.keep(ctx, c, q, p.applied(true, waited))
		return out, "", true, err
	}
	out.preference = p.applied(false, waited)
	return out, d, false, err
}

// keep takes a question whose answer is fetched later.
func (s *Server) keep(ctx context.Context, c *call, q pep.Question, applied string) (reply, error) {
	c.image = q.Image
	got, err := s.cfg.Requests.Add(ctx, q)
	if err != nil {
		return reply{}, fmt.Errorf("keeping a request: %w", err)
	}
	out, err := jsonOf(http.StatusAccepted, got, nil)
	out.location, out.retryAfter, out.preference = v1+"/verdict-requests/"+got.ID, retryLater, applied
	return out, err
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
