package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/verdict"
)

const (
	// checkState is the name of the check that reads what is in force.
	checkState = "state"
	// checkTimeout bounds all checks together; checkAge is how long their
	// outcome stands, because anybody may ask.
	checkTimeout = 2 * time.Second
	checkAge     = time.Second
)

// readyBody is what /readyz answers; all but Status only to who has a token.
type readyBody struct {
	// Status is "ready", "not_ready" or "draining".
	Status string          `json:"status"`
	Build  string          `json:"build,omitempty"`
	Active *verdict.Active `json:"active,omitempty"`
	// Note says that the state could not be confirmed (active.grace).
	Note   string         `json:"note,omitempty"`
	Checks []checkOutcome `json:"checks,omitempty"`
}

type checkOutcome struct {
	Name  string `json:"name"`
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
}

// readiness remembers the last outcome of the checks.
type readiness struct {
	mu       sync.Mutex
	at       time.Time
	outcomes []checkOutcome
}

func getHealth(context.Context, *call) (reply, error) {
	return reply{status: http.StatusOK, contentType: mediaJSON, body: []byte(`{"status":"ok"}` + "\n")}, nil
}

// getReady tells whether a request would be answered: what is in force can be
// read, and every check passes. A token that is good shows the details; one
// that is not shows none, and fails no probe.
func (s *Server) getReady(ctx context.Context, c *call) (reply, error) {
	st, err := s.current(ctx)
	if errors.Is(err, context.Canceled) {
		return reply{}, err
	}
	outcomes := append([]checkOutcome{outcome(checkState, err)}, s.checked(ctx)...)
	body := readyBody{Status: "ready"}
	status := http.StatusOK
	for _, o := range outcomes {
		if !o.OK {
			body.Status, status = "not_ready", http.StatusServiceUnavailable
		}
	}
	if s.draining.Load() {
		body.Status, status = "draining", http.StatusServiceUnavailable
	}
	if s.shows(st, c) {
		body.Build, body.Active, body.Note, body.Checks = s.cfg.Build, &st.Active, st.GraceNote, outcomes
	}
	out, err := encode(body)
	if err != nil {
		return reply{}, fmt.Errorf("encoding readiness: %w", err)
	}
	return reply{status: status, contentType: mediaJSON, body: out}, nil
}

// shows says whether the caller may see details. Without a state there is
// nobody to tell who the caller is.
func (s *Server) shows(st *engine.State, c *call) bool {
	if st == nil {
		return false
	}
	token, err := bearer(c.echo.Request().Header)
	if err != nil {
		return false
	}
	c.principal, err = st.Tokens.Authenticate(token, c.begun)
	return err == nil
}

// checked runs the checks side by side, or repeats what they said just now. It
// does not use the caller's context, so that one who leaves fails no check for
// others.
func (s *Server) checked(ctx context.Context) []checkOutcome {
	s.ready.mu.Lock()
	defer s.ready.mu.Unlock()
	now := s.cfg.Now()
	if !s.ready.at.IsZero() && now.Sub(s.ready.at) < checkAge && !now.Before(s.ready.at) {
		return s.ready.outcomes
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), checkTimeout)
	defer cancel()
	outcomes := make([]checkOutcome, len(s.cfg.Checks))
	var done sync.WaitGroup
	for i, check := range s.cfg.Checks {
		done.Go(func() { outcomes[i] = outcome(check.Name, runCheck(ctx, check)) })
	}
	done.Wait()
	s.ready.at, s.ready.outcomes = s.cfg.Now(), outcomes
	for _, o := range outcomes {
		if !o.OK {
			s.cfg.Log.WarnContext(ctx, "check failed", "check", o.Name, "error", o.Error)
		}
	}
	return outcomes
}

// runCheck waits no longer than ctx, even for a check that does not listen.
func runCheck(ctx context.Context, check Check) error {
	done := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				done <- fmt.Errorf("%w: %v", errPanic, p)
			}
		}()
		done <- check.Run(ctx)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("no answer within %s", checkTimeout)
	}
}

func outcome(name string, err error) checkOutcome {
	o := checkOutcome{Name: name, OK: err == nil}
	if err != nil {
		o.Error = err.Error()
	}
	return o
}
