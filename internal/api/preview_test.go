package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/administration"
)

type fakePreviews struct {
	asked []client.PreviewRequest
	err   error
	run   PreviewRun
}

func (f *fakePreviews) Prepare(_ context.Context, _ administration.Caller, req client.PreviewRequest) (PreviewRun, error) {
	f.asked = append(f.asked, req)
	if f.run == nil {
		f.run = func(_ context.Context, emit func(client.PreviewLine) error) (client.Preview, error) {
			return aPreview(), errors.Join(emit(client.PreviewLine{Type: client.LineProgress, Progress: &client.PreviewProgress{Done: 1, Total: 2}}),
				emit(client.PreviewLine{Type: client.LineFlip, Flip: &aPreview().Flips[0]}))
		}
	}
	return f.run, f.err
}

func aPreview() client.Preview {
	reason := client.PreviewReason{Policy: "default", Code: "unsigned", Message: "Image a is not signed."}
	return client.Preview{
		PreviewSummary: client.PreviewSummary{Complete: true, Since: testNow.Add(-time.Hour), At: testNow, Exact: true, AllowToDeny: client.PreviewCount{Questions: 1, Verdicts: 2}},
		Reasons:        []client.NotReplayable{{Reason: "no_basis", Message: "m", Questions: 1, Verdicts: 1, Images: []string{"b"}, VerdictID: "v"}},
		Groups:         []client.PreviewGroup{{Direction: client.AllowToDeny, PreviewReason: reason, Questions: 1, Verdicts: 2, Images: []string{"a"}, VerdictID: "v"}},
		Flips: []client.Flip{{
			Image: "a", Digest: "sha256:a", Before: client.Allow, After: client.Deny, Direction: client.AllowToDeny,
			Reasons: []client.PreviewReason{reason}, VerdictID: "v", LastAsked: testNow, Verdicts: 2, Uses: 3,
		}},
	}
}

const aPreviewBody = `{"operations":[{"op":"disable_signer","name":"release"}],"since":"7d","image":"ghcr.io/acme/**","max_flips":0}`

func TestPreview(t *testing.T) {
	b := newBed(t, nil)
	for role, want := range map[string]int{"viewer": 403, "verifier": 403, "author": 200, "admin": 200} {
		if w := b.do(t, b.request(t, role, http.MethodPost, v1+"/policies/preview", aPreviewBody)); w.Code != want {
			t.Errorf("%s: status %d, want %d: %s", role, w.Code, want, w.Body)
		}
	}
	zero := int64(0)
	want := client.PreviewRequest{Operations: []client.Operation{{Op: "disable_signer", Name: "release"}}, Since: "7d", Image: "ghcr.io/acme/**", MaxFlips: &zero}
	if d := cmp.Diff([]client.PreviewRequest{want, want}, b.previews.asked); d != "" {
		t.Errorf("asked (-want +got)\n%s", d)
	}
	var got client.Preview
	read(t, b.do(t, b.request(t, "author", http.MethodPost, v1+"/policies/preview", aPreviewBody)), &got)
	if d := cmp.Diff(aPreview(), got); d != "" {
		t.Errorf("answer (-want +got)\n%s", d)
	}

	b.previews.err = administration.FieldErrors{{Field: "operations[0].name", Problem: "is missing"}}
	w := b.do(t, b.request(t, "author", http.MethodPost, v1+"/policies/preview", aPreviewBody))
	if p := problemOf(w); w.Code != 422 || p.Field != "operations[0].name" {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
}

// With Accept: application/x-ndjson a preview comes line by line, on a connection
// whose time to write is shorter than it takes.
func TestPreviewLines(t *testing.T) {
	b := newBed(t, nil)
	srv := httptest.NewUnstartedServer(b.Server)
	srv.Config.ReadTimeout, srv.Config.WriteTimeout = 2*time.Second, 2*time.Second
	srv.Start()
	defer srv.Close()
	first := make(chan struct{})
	b.previews.run = func(_ context.Context, emit func(client.PreviewLine) error) (client.Preview, error) {
		err := emit(client.PreviewLine{Type: client.LineProgress, Progress: &client.PreviewProgress{Total: 2}})
		<-first
		time.Sleep(2500 * time.Millisecond) // longer than the deadlines of the connection
		return aPreview(), errors.Join(err, emit(client.PreviewLine{Type: client.LineFlip, Flip: &aPreview().Flips[0]}))
	}
	api, err := client.New(client.Config{BaseURL: srv.URL, Token: b.tokens["author"]})
	if err != nil {
		t.Fatal(err)
	}
	var types []string
	var last client.PreviewLine
	for l, err := range api.PreviewLines(t.Context(), client.PreviewRequest{}) {
		if err != nil {
			t.Fatal(err)
		}
		if types == nil {
			close(first) // so the first line came before the last was there
		}
		types, last = append(types, l.Type), l
	}
	if got := strings.Join(types, " "); got != "progress flip group not_replayable summary" {
		t.Errorf("lines: %s", got)
	}
	if d := cmp.Diff(aPreview().PreviewSummary, *last.Summary); d != "" {
		t.Errorf("summary (-want +got)\n%s", d)
	}
}

// What goes wrong after the first line is the last one.
func TestPreviewBreaksOff(t *testing.T) {
	b := newBed(t, nil)
	for name, run := range map[string]PreviewRun{
		"an error": func(context.Context, func(client.PreviewLine) error) (client.Preview, error) {
			return client.Preview{}, ErrUnavailable
		},
		"a panic": func(context.Context, func(client.PreviewLine) error) (client.Preview, error) { panic("oh") },
	} {
		b.previews.run = run
		r := b.request(t, "author", http.MethodPost, v1+"/policies/preview", aPreviewBody)
		r.Header.Set("Accept", mediaNDJSON)
		w := httptest.NewRecorder()
		b.ServeHTTP(w, r)
		var l client.PreviewLine
		lines := bufio.NewScanner(w.Body)
		for lines.Scan() {
			if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
				t.Fatal(err)
			}
		}
		if w.Code != 200 || l.Type != client.LineError || l.Error == "" || strings.Contains(l.Error, "oh") {
			t.Errorf("%s: status %d, last line %+v", name, w.Code, l)
		}
	}
}

// One preview at a time for each principal, two for each server; all of them end
// when their callers leave.
func TestPreviewsAreBounded(t *testing.T) {
	b := newBed(t, func(cfg *Config) { cfg.PreviewTime = time.Hour })
	begun := make(chan struct{})
	b.previews.run = func(ctx context.Context, _ func(client.PreviewLine) error) (client.Preview, error) {
		begun <- struct{}{}
		<-ctx.Done()
		return client.Preview{}, ctx.Err()
	}
	leave := map[string]context.CancelFunc{}
	left := make(chan struct{}, 2)
	for _, role := range []string{"author", "admin"} {
		ctx, cancel := context.WithCancel(t.Context())
		leave[role] = cancel
		r := b.request(t, role, http.MethodPost, v1+"/policies/preview", aPreviewBody).WithContext(ctx)
		go func() {
			b.ServeHTTP(httptest.NewRecorder(), r)
			left <- struct{}{}
		}()
		<-begun
	}
	w := b.do(t, b.request(t, "author", http.MethodPost, v1+"/policies/preview", aPreviewBody))
	if p := problemOf(w); p.Code != codeRateLimited || w.Result().Header.Get("Retry-After") == "" {
		t.Errorf("a second one of the author: %d %s", w.Code, w.Body)
	}
	if _, refused := b.Server.previews.begin("somebody else"); refused == nil || refused.code != codeBusy || refused.retryAfter == 0 {
		t.Errorf("a third one: %v", refused)
	}
	leave["author"]()
	<-left
	b.previews.run = nil
	if w := b.do(t, b.request(t, "author", http.MethodPost, v1+"/policies/preview", aPreviewBody)); w.Code != http.StatusOK {
		t.Errorf("after it ended: %d %s", w.Code, w.Body)
	}
	leave["admin"]()
	<-left
}

// A preview that took all its time is an answer, and one that is not complete.
func TestPreviewTime(t *testing.T) {
	b := newBed(t, func(cfg *Config) { cfg.PreviewTime = time.Millisecond })
	b.previews.run = func(ctx context.Context, _ func(client.PreviewLine) error) (client.Preview, error) {
		<-ctx.Done()
		p := aPreview()
		p.Complete, p.Why = false, ctx.Err().Error()
		return p, nil
	}
	var got client.Preview
	read(t, b.do(t, b.request(t, "author", http.MethodPost, v1+"/policies/preview", aPreviewBody)), &got)
	if got.Complete || got.Why == "" {
		t.Errorf("%+v", got)
	}
}

// Trying a change decides nothing again, so it neither waits for a preview nor keeps one
// waiting.
func TestOnlyCheckIsNoPreview(t *testing.T) {
	b := newBed(t, nil)
	for _, principal := range []string{"author", "admin"} {
		if _, refused := b.Server.previews.begin(principal); refused != nil {
			t.Fatal(refused)
		}
	}
	if w := b.do(t, b.request(t, "author", http.MethodPost, v1+"/policies/preview", `{"only_check": true}`)); w.Code != http.StatusOK {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if d := cmp.Diff([]client.PreviewRequest{{OnlyCheck: true}}, b.previews.asked); d != "" {
		t.Error(d)
	}
}
