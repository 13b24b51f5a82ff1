package storetest

import (
	"errors"
	"testing" //nolint:depguard // as in storetest.go
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/store"
	"github.com/signet-policy/signet/internal/verdict"
)

// A request for a verdict is kept as it is, worked on by one at a time, and answered once.
func testVerdictRequests(t *testing.T, f *fixture) {
	ctx, s := t.Context(), f.Store
	at := f.clock.Now().UTC().Truncate(time.Microsecond)
	claim := func(holder string, now time.Time) []store.VerdictRequest {
		t.Helper()
		mine, err := s.ClaimVerdictRequests(ctx, holder, now, now.Add(time.Minute), 10)
		if err != nil {
			t.Fatal(err)
		}
		return mine
	}
	r := store.VerdictRequest{
		ID: "01JZ5X3F8Q0000000000000001", Principal: "ci", Role: "verifier", TokenID: "token-1", Images: []string{"ghcr.io/acme/**"}, ImageRef: "ghcr.io/acme/app:v1", ImageName: "ghcr.io/acme/app",
		Platform: "linux/amd64", Context: map[string]string{"stage": "production"}, Refresh: true, AssessmentID: "a-1", Labels: map[string]string{"run": "7"}, CreatedAt: at, NextAt: at,
	}
	if err := s.AddVerdictRequest(ctx, r, "one", at.Add(time.Minute), 2); err != nil {
		t.Fatal(err)
	}
	bare := store.VerdictRequest{ID: "01JZ5X3F8Q0000000000000002", Principal: "ci", Role: "verifier", ImageRef: "nginx", CreatedAt: at, NextAt: at, Images: []string{}, Context: map[string]string{}, Labels: map[string]string{}}
	if err := s.AddVerdictRequest(ctx, bare, "one", at, 2); err != nil {
		t.Fatal(err)
	}
	if err := s.AddVerdictRequest(ctx, store.VerdictRequest{ID: "3", Principal: "ci", ImageRef: "nginx", CreatedAt: at}, "one", at, 2); !errors.Is(err, store.ErrConflict) {
		t.Errorf("a third of two: %v", err)
	}
	if err := s.AddVerdictRequest(ctx, store.VerdictRequest{ID: "4"}, "one", at, 2); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("one without a question: %v", err)
	}
	got, err := s.VerdictRequest(ctx, r.ID)
	if d := cmp.Diff(r, got); d != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	if _, err := s.VerdictRequest(ctx, "none"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("one that is not there: %v", err)
	}

	// What one works on no other has, until the claim ends.
	if d := cmp.Diff([]store.VerdictRequest{bare}, claim("two", at)); d != "" {
		t.Errorf("what is free (-want +got):\n%s", d)
	}
	if list := claim("three", at); len(list) != 0 {
		t.Errorf("what is claimed is claimed again: %v", list)
	}
	late := at.Add(2 * time.Minute)
	if list := claim("three", late); len(list) != 2 {
		t.Errorf("claims that ended: %v", list)
	}

	// It is given back to be tried later, by who has it alone.
	r.Attempts, r.NextAt, r.Message = 1, late.Add(time.Second), "The registry is down."
	for _, holder := range []string{"one", "three"} {
		if err := s.DeferVerdictRequest(ctx, r, holder); err != nil {
			t.Fatal(err)
		}
	}
	if list := claim("two", late); len(list) != 0 {
		t.Errorf("before its time: %v", list)
	}
	if d := cmp.Diff([]store.VerdictRequest{r}, claim("two", r.NextAt)); d != "" {
		t.Errorf("at its time (-want +got):\n%s", d)
	}

	// The answer, with its event or not at all.
	done := r
	done.Done, done.Decision, done.VerdictID, done.Verdict, done.FinishedAt, done.Message = true, verdict.Allow, "v", []byte(`{"id":"v"}`), &late, ""
	if _, err := s.FinishVerdictRequest(ctx, done, "one", []store.NewEvent{flip(at, "chat")}); !errors.Is(err, store.ErrConflict) {
		t.Errorf("finished by who has it no more: %v", err)
	}
	if waits, err := s.Deliveries(ctx); err != nil || waits["chat"] != 0 {
		t.Errorf("told all the same: %v, %v", waits, err)
	}
	told, err := s.FinishVerdictRequest(ctx, done, "two", []store.NewEvent{flip(at, "chat")})
	if err != nil || len(told) != 1 {
		t.Fatalf("told %v, %v", told, err)
	}
	got, err = s.VerdictRequest(ctx, r.ID)
	if d := cmp.Diff(done, got); d != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	if waits, err := s.Deliveries(ctx); err != nil || waits["chat"] != 1 {
		t.Errorf("deliveries %v, %v", waits, err)
	}
	if _, err := s.FinishVerdictRequest(ctx, done, "two", nil); !errors.Is(err, store.ErrConflict) {
		t.Errorf("finished twice: %v", err)
	}

	// A process that is the only one takes up what the last one left.
	if err := s.FreeVerdictRequests(ctx); err != nil {
		t.Fatal(err)
	}
	if list := claim("new", late); len(list) != 1 || list[0].ID != bare.ID {
		t.Errorf("freed: %v", list)
	}
	for _, tt := range []struct {
		end  time.Time
		want error
	}{{late, nil}, {late.Add(time.Second), store.ErrNotFound}} {
		if more, err := s.PruneVerdictRequests(ctx, tt.end); more || err != nil {
			t.Errorf("there are more: %t, %v", more, err)
		}
		if _, err := s.VerdictRequest(ctx, done.ID); !errors.Is(err, tt.want) {
			t.Errorf("%s after it was done: %v", tt.end.Sub(late), err)
		}
	}
}
