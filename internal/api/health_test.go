package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/engine"
)

func readyOf(t *testing.T, b *bed, as string) (int, readyBody) {
	t.Helper()
	w := b.do(t, b.request(t, as, http.MethodGet, "/readyz", ""))
	var got readyBody
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	return w.Code, got
}

func TestHealth(t *testing.T) {
	b := newBed(t, nil)
	b.decider.current = func(context.Context) (*engine.State, error) {
		t.Error("the state was read")
		return nil, nil
	}
	w := b.do(t, b.request(t, "", http.MethodGet, "/healthz", ""))
	if w.Code != 200 || w.Body.String() != "{\"status\":\"ok\"}\n" {
		t.Errorf("status %d, body %s", w.Code, w.Body)
	}
}

func TestReady(t *testing.T) {
	fails := func(context.Context) error { return errors.New("no route to the cache") }
	works := func(context.Context) error { return nil }
	panics := func(context.Context) error { panic("out of order") }
	tests := []struct {
		name   string
		checks []Check
		state  error
		as     string
		status int
		want   readyBody
	}{
		{"ready", []Check{{Name: "cache", Run: works}}, nil, "", 200, readyBody{Status: "ready"}},
		{"a token that is not good shows nothing", []Check{{Name: "cache", Run: works}}, nil, "expired", 200, readyBody{Status: "ready"}},
		{"a check fails", []Check{{Name: "cache", Run: fails}}, nil, "", 503, readyBody{Status: "not_ready"}},
		{"a check panics", []Check{{Name: "cache", Run: panics}}, nil, "", 503, readyBody{Status: "not_ready"}},
		{"no state", []Check{{Name: "cache", Run: works}}, engine.ErrState, "", 503, readyBody{Status: "not_ready"}},
		{"no state, so no token is known", []Check{{Name: "cache", Run: works}}, engine.ErrState, "admin", 503, readyBody{Status: "not_ready"}},
		{"details", []Check{{Name: "cache", Run: works}}, nil, "verifier", 200, readyBody{
			Status: "ready", Build: "test", Checks: []CheckOutcome{{Name: "state", OK: true}, {Name: "cache", OK: true}},
		}},
		{"details of what fails", []Check{{Name: "a", Run: works}, {Name: "b", Run: fails}, {Name: "c", Run: panics}}, nil, "viewer", 503, readyBody{
			Status: "not_ready", Build: "test", Checks: []CheckOutcome{
				{Name: "state", OK: true}, {Name: "a", OK: true}, {Name: "b", Error: "no route to the cache"}, {Name: "c", Error: "panic: out of order"},
			},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBed(t, func(c *Config) { c.Checks = tt.checks })
			if tt.state != nil {
				b.decider.current = func(context.Context) (*engine.State, error) { return nil, tt.state }
			}
			if tt.want.Build != "" {
				tt.want.Active = &b.state.Active
			}
			status, got := readyOf(t, b, tt.as)
			if d := cmp.Diff(tt.want, got); d != "" || status != tt.status {
				t.Errorf("status %d, want %d (-want +got):\n%s", status, tt.status, d)
			}
		})
	}
}

// What is optional is shown, and takes no server out of rotation.
func TestOptionalChecks(t *testing.T) {
	fails := func(context.Context) error { return errors.New("no route") }
	more := func(context.Context) []CheckOutcome {
		return []CheckOutcome{{Name: "kms.release", Optional: true, Error: "sealed"}, {Name: "kms.web", Optional: true, OK: true}}
	}
	for _, tt := range []struct {
		name   string
		change func(*Config)
		status int
		want   []CheckOutcome
	}{
		{"an optional check fails", func(c *Config) { c.Checks = []Check{{Name: "redis", Run: fails, Optional: true}} }, 200, []CheckOutcome{
			{Name: "state", OK: true}, {Name: "redis", Optional: true, Error: "no route"},
		}},
		{"so does another", func(c *Config) {
			c.Checks = []Check{{Name: "redis", Run: fails, Optional: true}, {Name: "store", Run: fails}}
		}, 503, []CheckOutcome{
			{Name: "state", OK: true}, {Name: "redis", Optional: true, Error: "no route"}, {Name: "store", Error: "no route"},
		}},
		{"checks that come and go", func(c *Config) { c.MoreChecks = more }, 200, append([]CheckOutcome{{Name: "state", OK: true}}, more(t.Context())...)},
		{"one of them that is needed", func(c *Config) {
			c.MoreChecks = func(context.Context) []CheckOutcome { return []CheckOutcome{{Name: "x", Error: "gone"}} }
		}, 503, []CheckOutcome{{Name: "state", OK: true}, {Name: "x", Error: "gone"}}},
		{"they cannot be had", func(c *Config) { c.MoreChecks = func(context.Context) []CheckOutcome { panic("out of order") } }, 200, []CheckOutcome{
			{Name: "state", OK: true}, {Name: "more", Optional: true, Error: "panic: out of order"},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBed(t, tt.change)
			status, got := readyOf(t, b, "viewer")
			if d := cmp.Diff(tt.want, got.Checks); d != "" || status != tt.status {
				t.Errorf("status %d, want %d (-want +got):\n%s", status, tt.status, d)
			}
		})
	}
}

func TestReadySaysWhenTheStateIsOld(t *testing.T) {
	b := newBed(t, nil)
	b.state.GraceNote = "The store is away."
	if status, got := readyOf(t, b, "viewer"); status != 200 || got.Note != "The store is away." {
		t.Errorf("status %d, %+v", status, got)
	}
	if _, got := readyOf(t, b, ""); got.Note != "" {
		t.Errorf("without a token: %+v", got)
	}
}

func TestDrain(t *testing.T) {
	b := newBed(t, nil)
	b.Drain()
	if status, got := readyOf(t, b, ""); status != 503 || got.Status != "draining" {
		t.Errorf("status %d, %+v", status, got)
	}
	if w := b.do(t, b.request(t, "verifier", http.MethodPost, verdictsPath, `{"image":"nginx"}`)); w.Code != 200 {
		t.Errorf("requests under way: status %d", w.Code)
	}
	if w := b.do(t, b.request(t, "", http.MethodGet, "/healthz", "")); w.Code != 200 {
		t.Errorf("/healthz: status %d", w.Code)
	}
}

// Anybody may ask; what the checks cost is bounded.
func TestChecksRunOnceASecond(t *testing.T) {
	var runs atomic.Int32
	b := newBed(t, func(c *Config) {
		c.Checks = []Check{{Name: "cache", Run: func(context.Context) error {
			runs.Add(1)
			return nil
		}}}
	})
	for range 5 {
		readyOf(t, b, "")
	}
	if runs.Load() != 1 {
		t.Errorf("%d runs within a second, want 1", runs.Load())
	}
	b.now = b.now.Add(time.Second)
	readyOf(t, b, "")
	if runs.Load() != 2 {
		t.Errorf("%d runs after a second, want 2", runs.Load())
	}
	b.now = b.now.Add(-time.Hour) // a clock that is set back must not freeze the outcome
	readyOf(t, b, "")
	if runs.Load() != 3 {
		t.Errorf("%d runs after the clock was set back, want 3", runs.Load())
	}
}

// A check that does not listen to its context holds nobody up, and the caller's
// leaving fails no check.
func TestCheckThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		check := Check{Name: "cache", Run: func(context.Context) error {
			<-release
			return nil
		}}
		ctx, cancel := context.WithTimeout(t.Context(), checkTimeout)
		defer cancel()
		begun := time.Now()
		if err := runCheck(ctx, check.Run); err == nil || err.Error() != "no answer within 2s" {
			t.Errorf("got %v", err)
		}
		if took := time.Since(begun); took != checkTimeout {
			t.Errorf("took %s", took)
		}
	})
	b := newBed(t, func(c *Config) {
		c.Checks = []Check{{Name: "cache", Run: func(ctx context.Context) error { return ctx.Err() }}}
	})
	ctx, leave := context.WithCancel(t.Context())
	leave()
	recorded(b, b.request(t, "", http.MethodGet, "/readyz", "").WithContext(ctx))
	if status, got := readyOf(t, b, ""); status != 200 {
		t.Errorf("after a caller who left: status %d, %+v", status, got)
	}
}
