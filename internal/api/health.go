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
	Checks []CheckOutcome `json:"checks,omitempty"`
}

// CheckOutcome is what came of a check.
type CheckOutcome struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	// Optional says that the process is ready without it.
	Optional bool   `json:"optional,omitempty"`
	Error    string `json:"error,omitempty"`
}

// readiness remembers the last outcome of the checks.
type readiness struct {
	mu       sync.Mutex
	at       time.Time
	outcomes []CheckOutcome
}

func getHealth(context.Context, *call) (reply, error) {
	return reply{status: http.StatusOK, contentType: mediaJSON, body: []byte(`{"status":"ok"}` + "\n")}, nil
}

// getHealthy is [getHealth] as MCP gateways ask for it.
func getHealthy(context.Context, *call) (reply, error) {
	return reply{status: http.StatusOK, contentType: mediaJSON, body: []byte(`{"status":"healthy"}` + "\n")}, nil
}

// getReady tells whether a request would be answered: what is in force can be
// read, and every check passes. A token that is good shows the details; one
// that is not shows none, and fails no probe.
func (s *Server) getReady(ctx context.Context, c *call) (reply, error) {
	st, err := s.current(ctx)
	if errors.Is(err, context.Canceled) {
		return reply{}, err
	}
	outcomes := append([]CheckOutcome{outcome(checkState, false, err)}, s.checked(ctx)...)
	body := readyBody{Status: "ready"}
	status := http.StatusOK
	for _, o := range outcomes {
		if !o.OK && !o.Optional {
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
	c.state = st
	token, err := s.credential(c)
	if err != nil {
		return false
	}
	return s.authenticate(c, token) == nil
}

// checked runs the checks side by side, or repeats what they said just now. It
// does not use the caller's context, so that one who leaves fails no check for
// others.
func (s *Server) checked(ctx context.Context) []CheckOutcome {
	s.ready.mu.Lock()
	defer s.ready.mu.Unlock()
	now := s.cfg.Now()
	if !s.ready.at.IsZero() && now.Sub(s.ready.at) < checkAge && !now.Before(s.ready.at) {
		return s.ready.outcomes
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), checkTimeout)
	defer cancel()
	outcomes := make([]CheckOutcome, len(s.cfg.Checks))
	var done sync.WaitGroup
	for i, check := range s.cfg.Checks {
		done.Go(func() { outcomes[i] = outcome(check.Name, check.Optional, runCheck(ctx, check.Run)) })
	}
	var more []CheckOutcome
	if s.cfg.MoreChecks != nil {
		done.Go(func() { more = s.moreChecks(ctx) })
	}
	done.Wait()
	outcomes = append(outcomes, more...)
	s.ready.at, s.ready.outcomes = s.cfg.Now(), outcomes
	for _, o := range outcomes {
		if !o.OK {
			s.cfg.Log.WarnContext(ctx, "check failed", "check", o.Name, "error", o.Error)
		}
	}
	return outcomes
}

// moreChecks is one failed check when they cannot be had.
func (s *Server) moreChecks(ctx context.Context) []CheckOutcome {
	got := make(chan []CheckOutcome, 1)
	err := runCheck(ctx, func(ctx context.Context) error {
		got <- s.cfg.MoreChecks(ctx)
		return nil
	})
	if err != nil {
		return []CheckOutcome{outcome("more", true, err)}
	}
	return <-got
}

// runCheck waits no longer than ctx, even for a check that does not listen.
func runCheck(ctx context.Context, run func(context.Context) error) error {
	done := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				done <- fmt.Errorf("%w: %v", errPanic, p)
			}
		}()
		done <- run(ctx)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("no answer within %s", checkTimeout)
	}
}

func outcome(name string, optional bool, err error) CheckOutcome {
	o := CheckOutcome{Name: name, OK: err == nil, Optional: optional}
	if err != nil {
		o.Error = err.Error()
	}
	return o
}
