package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/administration"
	"github.com/signet-policy/signet/internal/facts"
)

// fakeBench notes what it is asked, and fails with err where there is one.
type fakeBench struct {
	asked []string
	err   error
	// hold, where it is set, is waited for.
	hold chan struct{}
}

func (f *fakeBench) note(call string, args ...any) error {
	for _, a := range args {
		if body, ok := a.([]byte); ok {
			a = strings.TrimSpace(string(body))
		}
		call += fmt.Sprintf(" %v", a)
	}
	f.asked = append(f.asked, call)
	if f.hold != nil {
		<-f.hold
	}
	return f.err
}

func (f *fakeBench) Begin() (map[string]string, error) {
	return map[string]string{".manifest": "begun"}, f.note("Begin")
}

func (f *fakeBench) Unpack(archive []byte, document string) (map[string]string, []string, error) {
	return map[string]string{".manifest": "unpacked"}, []string{"signing/lib/a.rego"}, f.note("Unpack", archive, document)
}

func (f *fakeBench) Valid(files map[string]string) error {
	if _, bad := files["../a"]; bad {
		return fmt.Errorf(`%w: "../a" is no name of a file`, ErrFiles)
	}
	return nil
}

func (f *fakeBench) Check(_ context.Context, files map[string]string) (client.PolicyChecked, error) {
	return client.PolicyChecked{Problems: []client.PolicyProblem{{File: "a", Line: 3, Code: "parse", Severity: "error", Message: "m", Instead: "i"}}}, f.note("Check", files)
}

func (f *fakeBench) Test(_ context.Context, files map[string]string) (client.PolicyTested, error) {
	return client.PolicyTested{
		OK: true, Coverage: 50, Tests: []client.PolicyTest{{Package: "p", Name: "test_a", File: "a_test.rego", Line: 1, Outcome: "passed", Seconds: 0.1}},
		Uncovered: []client.PolicyUncovered{{File: "a", Line: 2}},
	}, f.note("Test", files)
}

func (f *fakeBench) Evaluate(_ context.Context, files map[string]string, document string, input []byte) (client.PolicyEvaluated, error) {
	return client.PolicyEvaluated{
		Decision: client.Deny, Result: json.RawMessage(`{"allow":false}`),
		Rules: []client.PolicyFired{{Rule: "signing.rules.a.violation", File: "a", Line: 2, Fired: true, Facts: []string{"sha256:1"}}},
	}, f.note("Evaluate", files, document, input)
}

func (f *fakeBench) Build(_ context.Context, files map[string]string, sequence int64, revision string) ([]byte, error) {
	return []byte("archive"), f.note("Build", files, sequence, revision)
}

func (f *fakeBench) Source(files map[string]string) ([]byte, error) {
	return []byte("folder"), f.note("Source", files)
}

// What is asked of the workbench is asked for authors only, and nothing of it is kept.
func TestWorkbench(t *testing.T) {
	for path, tt := range map[string]struct{ body, asked, want string }{
		"check":    {`{"files":{"a":"b"}}`, "Check map[a:b]", `"line":3`},
		"test":     {`{"files":{"a":"b"}}`, "Test map[a:b]", `"coverage":50`},
		"evaluate": {`{"files":{"a":"b"},"input":{"x":1},"signing_policy":"mode: audit"}`, `Evaluate map[a:b] mode: audit {"x":1}`, `"fired":true`},
		"build":    {`{"files":{"a":"b"},"sequence":4,"revision":"r"}`, "Build map[a:b] 4 r", "archive"},
	} {
		b := newBed(t, nil)
		for role, want := range map[string]int{"viewer": 403, "verifier": 403, "author": 200, "admin": 200} {
			b.bench.asked = nil
			w := b.do(t, b.request(t, role, http.MethodPost, v1+"/drafts/"+path, tt.body))
			if w.Code != want {
				t.Errorf("%s as %s: status %d, want %d: %s", path, role, w.Code, want, w.Body)
			}
			if want == 200 && (strings.Join(b.bench.asked, "; ") != tt.asked || !strings.Contains(w.Body.String(), tt.want)) {
				t.Errorf("%s: asked %q, answer %s", path, b.bench.asked, w.Body)
			}
		}
		if b.admin.asked != nil {
			t.Errorf("%s: administration was asked: %q", path, b.admin.asked)
		}
	}
	b := newBed(t, nil)
	if w := b.do(t, b.request(t, "author", http.MethodPost, v1+"/drafts/build", `{"files":{"a":"b"},"source":true}`)); w.Body.String() != "folder" {
		t.Errorf("the folder: %d %s", w.Code, w.Body)
	}
}

// The input of a kept verdict is what the policy read; whose image the caller may
// not see is not there.
func TestEvaluateVerdict(t *testing.T) {
	b := newBed(t, nil)
	body := `{"files":{"a":"b"},"verdict":"` + testID + `"}`
	post := func(body string) (int, problemBody) {
		w := b.do(t, b.request(t, "author", http.MethodPost, v1+"/drafts/evaluate", body))
		return w.Code, problemOf(w)
	}
	if status, p := post(body); status != 404 || p.Field != "verdict" {
		t.Errorf("no such verdict: %d %+v", status, p)
	}
	b.verdicts.verdict = func(context.Context, string) ([]byte, error) { return []byte(`{"image":"ghcr.io/org/app:v1"}`), nil }
	frames := map[string]facts.Frame{"one": {}, "two": {}}
	b.verdicts.basis = func(context.Context, string) (facts.Facts, map[string]facts.Frame, error) {
		return facts.Facts{}, frames, nil
	}
	if status, p := post(body); status != 400 || p.Field != "policy" || p.Code != codePolicyNeeded {
		t.Errorf("several policies: %d %+v", status, p)
	}
	if status, p := post(`{"files":{"a":"b"},"verdict":"` + testID + `","policy":"one"}`); status != 200 || len(b.bench.asked) != 1 || !strings.Contains(b.bench.asked[0], `"schema":"signet/input/v1"`) {
		t.Errorf("%d %+v, asked %q", status, p, b.bench.asked)
	}
	for field, body := range map[string]string{
		"verdict": `{"files":{"a":"b"},"verdict":"x"}`,
		"input":   `{"files":{"a":"b"},"verdict":"` + testID + `","input":{}}`,
		"files":   `{"verdict":"` + testID + `","policy":"one"}`,
	} {
		if status, p := post(body); status < 400 || p.Field != field {
			t.Errorf("%s: %d %+v", body, status, p)
		}
	}
	if _, p := post(`{"files":{"a":"b"}}`); p.Field != "verdict" {
		t.Errorf("nothing to look at: %+v", p)
	}
}

// What the workbench refuses is the author's to mend, and says so.
func TestWorkbenchRefuses(t *testing.T) {
	b := newBed(t, nil)
	for _, tt := range []struct {
		err   error
		field string
		want  string
	}{
		{fmt.Errorf("%w: a test failed", ErrUnfit), "files", "A test failed."},
		{fmt.Errorf("%w time: more than 20s", ErrTooMuch), "files", "Took too much time: more than 20s."},
		{fmt.Errorf("%w: x is missing", ErrInput), "input", "X is missing."},
		{fmt.Errorf("%w: no text", ErrFiles), "files", "No text."},
	} {
		b.bench.err = tt.err
		w := b.do(t, b.request(t, "author", http.MethodPost, v1+"/drafts/build", `{"files":{"a":"b"}}`))
		p := problemOf(w)
		if w.Code != 422 || p.Field != tt.field || len(p.Errors) != 1 || p.Errors[0].Detail != tt.want {
			t.Errorf("%v: %d %+v", tt.err, w.Code, p)
		}
	}
	b.bench.err = nil
	for _, path := range []string{"check", "test", "evaluate", "build"} {
		w := b.do(t, b.request(t, "author", http.MethodPost, v1+"/drafts/"+path, `{"files":{"../a":"b"},"input":{}}`))
		if path == "build" {
			w = b.do(t, b.request(t, "author", http.MethodPost, v1+"/drafts/"+path, `{"files":{"../a":"b"}}`))
		}
		if w.Code < 400 {
			t.Errorf("%s: status %d: %s", path, w.Code, w.Body)
		}
	}
	if w := b.do(t, b.request(t, "author", http.MethodPut, v1+"/drafts/a", `{"files":{"../a":"b"}}`)); w.Code != 422 || b.admin.asked != nil {
		t.Errorf("keeping what is no draft: %d, asked %q", w.Code, b.admin.asked)
	}
	if w := b.do(t, b.request(t, "author", http.MethodPost, v1+"/drafts/build", `{"files":{"a":"b"},"sequence":-1}`)); w.Code != 422 {
		t.Errorf("a negative sequence: %d", w.Code)
	}
}

// Few bundles are looked at at a time; who asks more often than that is told.
func TestWorkbenchPlaces(t *testing.T) {
	b := newBed(t, nil)
	b.bench.hold = make(chan struct{})
	w := newWork()
	var ends []func()
	for range mostWork {
		end, err := w.begin(t.Context(), "jane")
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, end)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.begin(over, "joe"); asProblem(err).code != codeBusy {
		t.Errorf("no place: %v", err)
	}
	waiting := make(chan error, mostWaiting)
	for range mostWaiting - mostWork {
		go func() {
			end, err := w.begin(t.Context(), "jane")
			if err == nil {
				end()
			}
			waiting <- err
		}()
	}
	for full := false; !full; {
		w.mu.Lock()
		full = w.by["jane"] == mostWaiting
		w.mu.Unlock()
	}
	if _, err := w.begin(t.Context(), "jane"); asProblem(err).code != codeRateLimited {
		t.Errorf("too many: %v", err)
	}
	for _, end := range ends {
		end()
	}
	for range mostWaiting - mostWork {
		if err := <-waiting; err != nil {
			t.Errorf("waited, and %v", err)
		}
	}
	if len(w.by) != 0 || len(w.places) != 0 {
		t.Errorf("left: %v, %d places", w.by, len(w.places))
	}
}

// A draft that is not kept is what its bundle, or a new one, begins with.
func TestDraftBegins(t *testing.T) {
	b := newBed(t, func(cfg *Config) { cfg.Administration = &undrafted{fakeAdministration: &fakeAdministration{}} })
	get := func(path string) (client.Draft, int) {
		t.Helper()
		w := b.do(t, b.request(t, "author", http.MethodGet, v1+"/drafts/"+path, ""))
		var d client.Draft
		_ = json.Unmarshal(w.Body.Bytes(), &d)
		if w.Code == 200 && w.Header().Get("Etag") != "" {
			t.Errorf("%s: ETag %s", path, w.Header().Get("Etag"))
		}
		return d, w.Code
	}
	d, status := get("acme")
	want := client.Draft{Name: "acme", Owner: "web", Files: map[string]string{".manifest": "unpacked"}, Base: aBundle("acme").Digest, Replaced: []string{"signing/lib/a.rego"}}
	if diff := cmp.Diff(want, d); status != 200 || diff != "" {
		t.Errorf("of a bundle: %d (-want +got)\n%s", status, diff)
	}
	if _, status := get("none"); status != 404 {
		t.Errorf("of no bundle: %d", status)
	}
	d, status = get("none?begin=true")
	want = client.Draft{Name: "none", Owner: "web", Files: map[string]string{".manifest": "begun"}, Replaced: []string{}}
	if diff := cmp.Diff(want, d); status != 200 || diff != "" {
		t.Errorf("a new one: %d (-want +got)\n%s", status, diff)
	}
	b.bench.err = fmt.Errorf("%w: x is no text", ErrFiles)
	if _, status := get("acme"); status != 422 {
		t.Errorf("an archive that is none: %d", status)
	}
}

// undrafted has a bundle acme, and no drafts.
type undrafted struct{ *fakeAdministration }

func (undrafted) Draft(context.Context, administration.Caller, string) (client.Draft, error) {
	return client.Draft{}, fmt.Errorf("%w: no draft", administration.ErrNotFound)
}

func (f undrafted) Bundle(ctx context.Context, by administration.Caller, name string) (client.Bundle, error) {
	if name != "acme" {
		return client.Bundle{}, fmt.Errorf("%w: no bundle", administration.ErrNotFound)
	}
	return f.fakeAdministration.Bundle(ctx, by, name)
}
