package engine

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/signet-policy/signet/internal/verdict"
)

type fakeDecisions struct {
	mu  sync.Mutex
	all []Decided
}

func (f *fakeDecisions) Decided(d Decided) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = append(f.all, d)
}

// Every verdict that is given is told, hits and unknowns too, with the bytes that
// were answered; what is no verdict is not.
func TestDecisionsAreTold(t *testing.T) {
	w := newWorld(t)
	told := &fakeDecisions{}
	w.engine.cfg.Decisions = told
	_, miss := w.ask(Request{Principal: "ci", RequestID: "r-1", BatchID: "b-1"})
	_, hit := w.ask(Request{Principal: "gateway"})
	_, own := w.ask(Request{AssessmentID: "a-1"})
	w.recorder.err = errors.New("the disk is full")
	_, unknown := w.ask(Request{Refresh: true})
	if _, err := w.engine.Decide(t.Context(), w.state, Request{Image: "not an image"}); err == nil {
		t.Error("a bad request was answered")
	}
	answers := []Answer{miss, hit, own, unknown}
	if len(told.all) != len(answers) {
		t.Fatalf("%d were told, want %d", len(told.all), len(answers))
	}
	for i, want := range answers {
		got := told.all[i]
		if string(got.Answer.Body) != string(want.Body) || got.Answer.From != want.From || got.Request.Image == "" || got.At.IsZero() || got.Took < 0 {
			t.Errorf("%d: told %+v", i, got)
		}
	}
	first := told.all[0].Request
	if first.Principal != "ci" || first.RequestID != "r-1" || first.BatchID != "b-1" {
		t.Errorf("told %+v", first)
	}
	if unknown.Decision != verdict.Unknown || !strings.Contains(string(told.all[3].Answer.Body), `"unknown"`) {
		t.Errorf("the last is %s", unknown.Decision)
	}
	if !slices.Equal([]string{miss.From, hit.From, own.From}, []string{FromMiss, FromMemory, FromMemory}) {
		t.Errorf("from %s, %s, %s", miss.From, hit.From, own.From)
	}
}
