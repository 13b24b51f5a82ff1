package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/verdict"
)

type fakeUses struct {
	mu  sync.Mutex
	ids []string
}

func (u *fakeUses) Add(id, principal string, _ time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.ids = append(u.ids, id+" "+principal)
}

func TestHitIsCounted(t *testing.T) {
	w := newWorld(t)
	uses := &fakeUses{}
	w.engine.cfg.Uses = uses
	v, _ := w.ask(Request{Principal: "gateway"})
	w.ask(Request{Principal: "gateway"})
	w.ask(Request{Principal: "ci"})
	if diff := cmp.Diff([]string{v.ID + " gateway", v.ID + " ci"}, uses.ids); diff != "" {
		t.Errorf("uses (-want +got):\n%s", diff)
	}
}

func TestAssessmentHasItsOwnRow(t *testing.T) {
	w := newWorld(t)
	first, _ := w.ask(Request{AssessmentID: "a-1", Labels: map[string]string{"stage": "scan"}})
	if got := w.recorder.records[0]; got.AssessmentID != "a-1" || got.Labels["stage"] != "scan" {
		t.Errorf("recorded %q %v", got.AssessmentID, got.Labels)
	}
	again, a := w.ask(Request{AssessmentID: "a-2", Principal: "gateway"})
	if a.From != FromMemory || again.ID == first.ID {
		t.Fatalf("answered %s from %s, the first was %s", again.ID, a.From, first.ID)
	}
	if len(w.recorder.repeats) != 1 {
		t.Fatalf("%d repeats", len(w.recorder.repeats))
	}
	r := w.recorder.repeats[0]
	if r.Original != first.ID || r.ID != again.ID || r.AssessmentID != "a-2" || r.Principal != "gateway" || string(r.Body) != string(a.Body) {
		t.Errorf("repeat %+v", r)
	}
	again.ID = first.ID
	if diff := cmp.Diff(first, again); diff != "" {
		t.Errorf("the repeat says something else (-first +again):\n%s", diff)
	}
	// What is cached is still the first, whoever asks next.
	if third, _ := w.ask(Request{}); third.ID != first.ID {
		t.Errorf("the cache now holds %s", third.ID)
	}
}

func TestForgottenVerdictIsComputedAgain(t *testing.T) {
	w := newWorld(t)
	first, _ := w.ask(Request{})
	w.recorder.repeatErr = fmt.Errorf("pruned: %w", ErrForgotten)
	again, a := w.ask(Request{AssessmentID: "a-1"})
	if a.From != FromMiss || again.ID == first.ID || len(w.recorder.records) != 2 || w.recorder.records[1].AssessmentID != "a-1" {
		t.Errorf("answered %s from %s, %d records", again.ID, a.From, len(w.recorder.records))
	}
}

// An assessment that cannot be recorded gets no verdict, hit or not.
func TestAssessmentThatCannotBeRecorded(t *testing.T) {
	w := newWorld(t)
	w.ask(Request{})
	w.recorder.repeatErr = errors.New("disk full")
	v, a := w.ask(Request{AssessmentID: "a-1"})
	if a.Decision != verdict.Unknown || a.RetryAfter == 0 || v.Reasons[0].Code != ReasonStoreUnavailable {
		t.Errorf("%s: %s", a.Decision, a.Body)
	}
}

// With the store away and the last known state accepted, verdicts are given and
// recorded later; without that, or with too many waiting, they are not given.
func TestRecordingUnderGrace(t *testing.T) {
	for _, tt := range []struct {
		name, grace string
		full        bool
		want        verdict.Decision
	}{
		{"accepted", "store down", false, verdict.Allow},
		{"accepted, but too many wait", "store down", true, verdict.Unknown},
		{"not accepted", "", false, verdict.Unknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.recorder.err, w.recorder.full = errors.New("connection refused"), tt.full
			w.state.GraceNote = tt.grace
			v, _ := w.ask(Request{})
			if v.Decision != tt.want {
				t.Errorf("decision %s, want %s", v.Decision, tt.want)
			}
			if got := len(w.recorder.deferred) == 1; got != (tt.want == verdict.Allow) {
				t.Errorf("%d verdicts wait to be recorded", len(w.recorder.deferred))
			}
		})
	}
}

// An assessment under the last known state gets a verdict of its own, which waits
// to be recorded, whether the answer is in the cache or work is under way for it.
func TestAssessmentsUnderGrace(t *testing.T) {
	w := newWorld(t)
	w.state.GraceNote = "store down"
	w.recorder.err, w.recorder.repeatErr = errors.New("connection refused"), errors.New("connection refused")
	first, _ := w.ask(Request{})
	hit, a := w.ask(Request{AssessmentID: "a-1"})
	if a.Decision != verdict.Allow || hit.ID == first.ID || len(w.recorder.deferred) != 2 || w.recorder.deferred[1].AssessmentID != "a-1" {
		t.Errorf("from the cache: %s, %d wait", a.Body, len(w.recorder.deferred))
	}

	w = newWorld(t)
	w.state.GraceNote = "store down"
	w.recorder.err, w.recorder.repeatErr = errors.New("connection refused"), fmt.Errorf("not written yet: %w", ErrForgotten)
	const callers = 20
	ids := make(chan string, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			v, a := w.ask(Request{AssessmentID: fmt.Sprint(i)})
			if a.Decision != verdict.Allow {
				t.Errorf("caller %d: %s", i, a.Body)
			}
			ids <- v.ID
		})
	}
	wg.Wait()
	close(ids)
	waiting := map[string]string{}
	for _, r := range w.recorder.deferred {
		waiting[r.Verdict.ID] = r.AssessmentID
	}
	assessments := map[string]bool{}
	for id := range ids {
		if a, ok := waiting[id]; !ok || assessments[a] {
			t.Errorf("verdict %s was given and does not wait to be recorded for its own assessment", id)
		} else {
			assessments[a] = true
		}
	}
}

// A thousand requests for one cold image, with and without assessments, cost one
// verification; each assessment has a row, and the first caller's leaving hurts
// nobody.
func TestThousandColdRequests(t *testing.T) { // threat 57
	const callers = 1000
	w := newWorld(t)
	uses := &fakeUses{}
	w.engine.cfg.Uses = uses
	gate := make(chan struct{})
	w.source.gate = gate
	var allowed, assessed atomic.Int64
	var done sync.WaitGroup
	leaving, leave := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() {
		_, err := w.engine.Decide(leaving, w.state, Request{Image: image, Principal: "first"})
		first <- err
	}()
	for { // until its search is under way
		w.source.mu.Lock()
		n := w.source.resolves
		w.source.mu.Unlock()
		if n == 1 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	started := make(chan struct{}, callers)
	for i := range callers {
		done.Go(func() {
			req := Request{Image: image, Principal: "p"}
			if i%10 == 0 {
				req.AssessmentID = fmt.Sprint("a-", i)
			}
			started <- struct{}{}
			a, err := w.engine.Decide(t.Context(), w.state, req)
			if err != nil {
				t.Error(err)
				return
			}
			if a.Allowed {
				allowed.Add(1)
			}
			if req.AssessmentID != "" {
				assessed.Add(1)
			}
		})
	}
	for range callers {
		<-started
	}
	leave()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("the caller who left got %v", err)
	}
	close(gate)
	done.Wait()
	if allowed.Load() != callers {
		t.Errorf("%d of %d allowed", allowed.Load(), callers)
	}
	if w.source.resolves != 1 || w.source.collects != 1 || len(w.recorder.records) != 1 || w.policy.calls.Load() != 1 {
		t.Errorf("%d resolves, %d searches, %d verdicts, %d evaluations; want one each", w.source.resolves, w.source.collects, len(w.recorder.records), w.policy.calls.Load())
	}
	if len(w.recorder.repeats) != int(assessed.Load()) || assessed.Load() != callers/10 {
		t.Errorf("%d rows for %d assessments", len(w.recorder.repeats), assessed.Load())
	}
	if len(uses.ids) != callers-callers/10 {
		t.Errorf("%d uses, want %d", len(uses.ids), callers-callers/10)
	}
}

func TestVerdictID(t *testing.T) {
	const id = "01JZ5X3F8Q7RZ2M4T6V8X0Y1A3"
	for body, want := range map[string]string{
		`{"id":"` + id + `","decision":"deny"}`: id,
		`{"id":"` + id + `"`:                    id,
		`{"id":"` + id[1:] + `","a":1}`:         "",
		`{"id": "` + id + `","decision":"x"}`:   "",
		`{"decision":"deny"}`:                   "",
		"":                                      "",
	} {
		if got := verdictID([]byte(body)); got != want {
			t.Errorf("verdictID(%s) = %q, want %q", body, got, want)
		}
	}
	body := []byte(`{"id":"` + id + `","decision":"deny"}`)
	out := renamed(body, strings.Repeat("7", idLength))
	if string(out) != `{"id":"`+strings.Repeat("7", idLength)+`","decision":"deny"}` || verdictID(body) != id {
		t.Errorf("renamed to %s, the old one is %s", out, body)
	}
}

// Processes that are configured differently share nothing that is cached.
func TestSettingsKeepCachesApart(t *testing.T) {
	w := newWorld(t)
	w.ask(Request{})
	w.engine.cfg.Settings = "sha256:other"
	if _, a := w.ask(Request{}); a.From != FromMiss || w.source.resolves != 2 || w.source.collects != 2 {
		t.Errorf("answered from %s, %d resolves, %d searches", a.From, w.source.resolves, w.source.collects)
	}
}
