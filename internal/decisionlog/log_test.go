package decisionlog

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/testkit/eventually"
)

// verdictBody is a verdict as the engine encodes it, with a line break at its end.
func verdictBody(n int) []byte {
	return fmt.Appendf(nil, `{"id":"01JZ%022d","decision":"allow","allowed":true,"image":"a/b:v1","policies":[{"name":"default","revision":"7"},{"name":"more","revision":""}]}`+"\n", n)
}

func decided(n int) Decision {
	return Decision{
		At: time.Date(2026, 11, 25, 12, 0, 0, n, time.UTC), Took: 1234, Body: verdictBody(n), Cache: "memory", Image: "a/b:v1",
		Context: map[string]string{"env": "prod"}, Roles: []string{"verifier"}, Principal: "ci", RequestID: "r-1",
	}
}

func newLog(t *testing.T, cfg Config) *Log {
	t.Helper()
	if cfg.Labels == nil {
		cfg.Labels = map[string]string{"id": "i-1", "app": "signet"}
	}
	l, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 100*time.Millisecond)
		defer cancel()
		_ = l.Close(ctx)
	})
	return l
}

func closeLog(t *testing.T, l *Log) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := l.Close(ctx); err != nil {
		t.Fatal(err)
	}
}

// linesOf reads a file of lines; each must be JSON.
func linesOf(t *testing.T, path string) []map[string]any {
	t.Helper()
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out []map[string]any
	for s := bufio.NewScanner(bytes.NewReader(body)); s.Scan(); {
		var v map[string]any
		if err := json.Unmarshal(s.Bytes(), &v); err != nil {
			t.Fatalf("%s: %q: %v", path, s.Text(), err)
		}
		out = append(out, v)
	}
	return out
}

func ids(lines []map[string]any) []string {
	var out []string
	for _, l := range lines {
		out = append(out, fmt.Sprint(l["decision_id"]))
	}
	return out
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "decisions.jsonl")
	l := newLog(t, Config{File: &FileConfig{Path: path}})
	d := decided(1)
	d.Platform, d.BatchID, d.Image = "linux/arm64", "b-1", "a/\"b\u2028\n\x7f"
	l.Decided(d)
	l.Event(Event{ID: "01FLIP", Type: "flip", At: d.At, Input: json.RawMessage(`{"image":"a/b:v1"}`), Result: json.RawMessage("{\n\"from\":\"allow\"}"), By: "watch"})
	closeLog(t, l)
	l.Decided(decided(2)) // too late, and counted
	if n := l.Dropped(DroppedBuffer); n != 1 {
		t.Errorf("%d dropped, want 1", n)
	}
	got := linesOf(t, path)
	line := map[string]any{"type": "openpolicyagent.org/decision_logs", "level": "info", "msg": "Decision Log", "time": "2026-11-25T12:00:00Z"}
	labels := map[string]any{"id": "i-1", "app": "signet"}
	var result any
	if err := json.Unmarshal(d.Body, &result); err != nil {
		t.Fatal(err)
	}
	want := []map[string]any{
		{
			"labels": labels, "decision_id": "01JZ0000000000000000000001", "batch_decision_id": "b-1",
			"bundles": map[string]any{"default": map[string]any{"revision": "7"}, "more": map[string]any{}},
			"path":    "signing/verdict", "requested_by": "ci", "timestamp": "2026-11-25T12:00:00.000000001Z", "req_id": 1.0,
			"input":   map[string]any{"image": "a/\"b\u2028\n\x7f", "platform": "linux/arm64", "context": map[string]any{"env": "prod"}, "roles": []any{"verifier"}},
			"result":  result,
			"metrics": map[string]any{"counter_server_query_cache_hit": 1.0, "timer_server_handler_ns": 1234.0},
			"custom":  map[string]any{"cache": "memory", "request_id": "r-1"},
		},
		{
			"labels": labels, "decision_id": "01FLIP", "path": "signing/events/flip", "requested_by": "watch",
			"timestamp": "2026-11-25T12:00:00.000000001Z", "req_id": 2.0, "input": map[string]any{"image": "a/b:v1"},
			"result": map[string]any{"from": "allow"}, "custom": map[string]any{"event": "flip"},
		},
	}
	for _, w := range want {
		for k, v := range line {
			w[k] = v
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, error %v; want 0600", info.Mode(), err)
	}
}

func TestRotation(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "decisions.jsonl")
	for _, other := range []string{"decisions.jsonl.old", "decisions.jsonl.20260101T000000.000000000Z.gz"} { // nobody's to remove
		if err := os.WriteFile(filepath.Join(dir, other), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l := newLog(t, Config{File: &FileConfig{Path: path, MaxSize: 1500, MaxFiles: 2}})
	for i := range 8 { // two lines fit
		l.Decided(decided(i))
		eventually.Holds(t, "written", func() bool {
			body, _ := os.ReadFile(path)
			return bytes.Contains(body, verdictBody(i)[:34])
		})
	}
	closeLog(t, l)
	entries, err := filepath.Glob(filepath.Join(dir, "decisions.jsonl*"))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, name := range entries[1:] { // sorted by age, but for the current one
		if !strings.HasSuffix(name, "old") && !strings.HasSuffix(name, "gz") {
			all = append(all, ids(linesOf(t, name))...)
		}
	}
	all = append(all, ids(linesOf(t, path))...)
	var want []string
	for i := 2; i < 8; i++ {
		want = append(want, fmt.Sprintf("01JZ%022d", i))
	}
	if diff := cmp.Diff(want, all); diff != "" || len(entries) != 5 {
		t.Errorf("files %q; ids in them (-want +got):\n%s", entries, diff)
	}
}

// The age is that of the first line, also when the process is new.
func TestRotationByAge(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "decisions.jsonl")
	old := (&event{labels: json.RawMessage(`{}`), at: time.Now().Add(-2 * time.Hour)}).appendLine(nil)
	if err := os.WriteFile(path, old, 0o600); err != nil {
		t.Fatal(err)
	}
	young := newLog(t, Config{File: &FileConfig{Path: path, MaxAge: 3 * time.Hour}})
	young.Decided(decided(1))
	closeLog(t, young)
	if n := len(linesOf(t, path)); n != 2 {
		t.Fatalf("%d lines in the file, want 2: it is not that old", n)
	}
	newLog(t, Config{File: &FileConfig{Path: path, MaxAge: time.Hour}}) // without any event
	eventually.Holds(t, "rotated", func() bool {
		entries, err := os.ReadDir(dir)
		return err == nil && len(entries) == 2
	})
}

// A program that rotates logs moves the file, and says so.
func TestReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "decisions.jsonl")
	l := newLog(t, Config{File: &FileConfig{Path: path}})
	l.Decided(decided(1))
	eventually.Holds(t, "written", func() bool { info, err := os.Stat(path); return err == nil && info.Size() > 0 })
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	l.Decided(decided(2))
	closeLog(t, l)
	if n, m := len(linesOf(t, path+".1")), len(linesOf(t, path)); n != 1 || m != 1 {
		t.Errorf("%d and %d lines, want 1 and 1", n, m)
	}
}

// Half a line, from a disk that was full or a crash, spoils no other.
func TestTornLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "decisions.jsonl")
	if err := os.WriteFile(path, []byte(`{"half`), 0o600); err != nil {
		t.Fatal(err)
	}
	l := newLog(t, Config{File: &FileConfig{Path: path}})
	l.Decided(decided(1))
	closeLog(t, l)
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Split(string(body), "\n"); len(lines) != 3 || lines[0] != `{"half` || !json.Valid([]byte(lines[1])) {
		t.Errorf("the file holds %q", body)
	}
}

// A full disk is counted and shown, and stops nothing.
func TestFullDisk(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("needs /dev/full")
	}
	l := newLog(t, Config{File: &FileConfig{Path: "/dev/full"}})
	for i := range 3 {
		l.Decided(decided(i))
	}
	eventually.Holds(t, "counted", func() bool { return l.Dropped(DroppedFile) == 3 })
	if err := l.Healthy(); err == nil || !strings.Contains(err.Error(), "no space left") || !strings.Contains(err.Error(), "3 events were dropped") {
		t.Errorf("healthy: %v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	dir := t.TempDir()
	for name, cfg := range map[string]Config{
		"nowhere":          {},
		"a directory":      {File: &FileConfig{Path: dir}},
		"a missing folder": {File: &FileConfig{Path: filepath.Join(dir, "no", "x")}},
		"no URL":           {HTTP: &HTTPConfig{URL: "logs"}},
		"delays":           {HTTP: &HTTPConfig{URL: "http://x", MinDelay: 2, MaxDelay: 1}},
	} {
		if l, err := New(cfg); err == nil {
			_ = l.Close(t.Context())
			t.Errorf("%s: no error", name)
		}
	}
}

// Whoever decides never waits: what comes too fast pushes out the oldest.
func TestBuffer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "decisions.jsonl")
	held, release := make(chan struct{}, 1), make(chan struct{})
	one := itemOverhead + int64(len(verdictBody(0))+len("a/b:v1")+len("envprod"))
	l := newLog(t, Config{
		File: &FileConfig{Path: path}, BufferBytes: 3 * one, MaskTime: time.Minute,
		Mask: func(context.Context, map[string]any) (Masking, error) {
			select {
			case held <- struct{}{}:
			default:
			}
			<-release
			return Masking{}, nil
		},
	})
	l.Decided(decided(0))
	<-held // the writer has the first, which counts
	for i := 1; i <= 5; i++ {
		l.Decided(decided(i))
	}
	if n := l.Dropped(DroppedBuffer); n != 3 {
		t.Errorf("%d dropped, want 3", n)
	}
	large := decided(9)
	large.Body = make([]byte, 4*one)
	l.Decided(large) // fits in no case, and takes those that wait with it
	close(release)
	l.Decided(decided(6))
	closeLog(t, l)
	got := ids(linesOf(t, path))
	if want := []string{decidedID(0), decidedID(6)}; !slices.Equal(got, want) {
		t.Errorf("ids %q, want %q", got, want)
	}
	if n := l.Dropped(DroppedBuffer); n != 6 {
		t.Errorf("%d dropped, want 6", n)
	}
}

func decidedID(n int) string { return verdictID(verdictBody(n)) }

func TestMaskOfLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "decisions.jsonl")
	l := newLog(t, Config{File: &FileConfig{Path: path}, Mask: func(_ context.Context, ev map[string]any) (Masking, error) {
		switch ev["decision_id"] {
		case decidedID(1):
			return Masking{Drop: true}, nil
		case decidedID(2):
			return Masking{}, errors.New("out of order")
		}
		return Masking{Rules: []any{"/input/context"}}, nil
	}})
	for i := range 3 {
		l.Decided(decided(i))
	}
	closeLog(t, l)
	got := linesOf(t, path)
	if len(got) != 2 || fmt.Sprint(got[0]["erased"]) != "[/input/context]" || got[1]["input"] != nil || got[1]["result"] != nil {
		t.Errorf("lines %v", got)
	}
	if l.MaskFailures() != 1 || l.Healthy() == nil {
		t.Errorf("%d failures, healthy: %v", l.MaskFailures(), l.Healthy())
	}
}

// endpoint takes chunks as OPA's services do.
type endpoint struct {
	*httptest.Server
	mu     sync.Mutex
	events []map[string]any
	sizes  []int
	paths  []string
	tokens []string
	fail   []int // statuses of the next answers
	hang   chan struct{}
}

func newEndpoint(t *testing.T) *endpoint {
	t.Helper()
	e := &endpoint{}
	e.Server = httptest.NewServer(http.HandlerFunc(e.serve))
	t.Cleanup(e.Close)
	return e
}

func (e *endpoint) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	e.mu.Lock()
	defer e.mu.Unlock()
	if err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Encoding") != "gzip" || r.Header.Get("Content-Type") != "application/json" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	e.paths, e.tokens = append(e.paths, r.URL.Path), append(e.tokens, r.Header.Get("Authorization"))
	if hang := e.hang; hang != nil {
		e.mu.Unlock()
		select {
		case <-hang:
		case <-r.Context().Done():
		}
		e.mu.Lock()
	}
	if len(e.fail) > 0 {
		status := e.fail[0]
		e.fail = e.fail[1:]
		switch status {
		case http.StatusTooManyRequests:
			w.Header().Set("Retry-After", "1")
		case http.StatusTemporaryRedirect:
			w.Header().Set("Location", "/elsewhere")
		}
		w.WriteHeader(status)
		return
	}
	gz, err := gzip.NewReader(bytes.NewReader(body))
	if err == nil {
		var events []map[string]any
		if err = json.NewDecoder(gz).Decode(&events); err == nil {
			e.events, e.sizes = append(e.events, events...), append(e.sizes, len(body))
			return
		}
	}
	w.WriteHeader(http.StatusBadRequest)
}

func (e *endpoint) ids() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return ids(e.events)
}

func TestUpload(t *testing.T) {
	e := newEndpoint(t)
	e.fail = []int{http.StatusInternalServerError, http.StatusTooManyRequests, http.StatusTemporaryRedirect, http.StatusBadGateway}
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l := newLog(t, Config{HTTP: &HTTPConfig{
		URL: e.URL + "/base/", PartitionName: "eu", TokenFile: token, MinDelay: 10 * time.Millisecond, MaxDelay: 20 * time.Millisecond, UploadSizeLimit: 1000,
	}})
	var want []string
	for i := range 200 {
		l.Decided(decided(i))
		want = append(want, decidedID(i))
	}
	eventually.Holds(t, "all sent", func() bool { return len(e.ids()) == len(want) })
	got := e.ids()
	slices.Sort(got) // a chunk that failed goes to the end
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ids (-want +got):\n%s", diff)
	}
	if n := slices.Max(e.sizes); n > 1000 {
		t.Errorf("a chunk has %d bytes, more than the limit", n)
	}
	if e.paths[0] != "/base/logs/eu" || slices.Contains(e.paths, "/elsewhere") || e.tokens[0] != "Bearer secret" {
		t.Errorf("paths %q, tokens %q", e.paths, e.tokens)
	}
	if _, ok := e.events[0]["type"]; ok {
		t.Error("what goes over HTTP is an EventV1, which has no type")
	}
	eventually.Holds(t, "healthy", func() bool { return l.Healthy() == nil })
}

// An endpoint that is slow or away holds up nobody: the oldest chunks are dropped,
// and counted.
func TestUploadAway(t *testing.T) {
	e := newEndpoint(t)
	e.hang = make(chan struct{})
	path := filepath.Join(t.TempDir(), "decisions.jsonl")
	l := newLog(t, Config{File: &FileConfig{Path: path}, HTTP: &HTTPConfig{
		URL: e.URL, MinDelay: time.Millisecond, MaxDelay: 10 * time.Millisecond, Timeout: 50 * time.Millisecond, UploadSizeLimit: 400, BufferSizeLimit: 2000,
	}})
	for i := range 500 {
		l.Decided(decided(i))
	}
	eventually.Holds(t, "dropped", func() bool { return l.Dropped(DroppedUpload) > 0 })
	eventually.Holds(t, "shown", func() bool {
		err := l.Healthy()
		return err != nil && strings.Contains(err.Error(), "http: ") && strings.Contains(err.Error(), DroppedUpload)
	})
	eventually.Holds(t, "in the file", func() bool {
		body, _ := os.ReadFile(path)
		return bytes.Count(body, []byte{'\n'}) == 500
	})
	e.mu.Lock()
	close(e.hang)
	e.hang = nil
	e.mu.Unlock()
	eventually.Holds(t, "the rest is sent", func() bool { return int64(len(e.ids()))+l.Dropped(DroppedUpload) >= 500 })
}

// The end of a server sends what waits, and waits no longer than it may.
func TestClose(t *testing.T) {
	e := newEndpoint(t)
	e.fail = []int{http.StatusBadGateway}
	l := newLog(t, Config{HTTP: &HTTPConfig{URL: e.URL, Resource: "/decisions", MinDelay: time.Hour, MaxDelay: time.Hour}})
	l.Decided(decided(1))
	closeLog(t, l)
	if got := e.ids(); len(got) != 1 || e.paths[0] != "/decisions" {
		t.Errorf("ids %q, paths %q", got, e.paths)
	}

	e.hang = make(chan struct{})
	defer close(e.hang)
	l = newLog(t, Config{HTTP: &HTTPConfig{URL: e.URL, MinDelay: time.Hour, MaxDelay: time.Hour}})
	l.Decided(decided(1))
	l.Decided(decided(2))
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if err := l.Close(ctx); err == nil || !strings.Contains(err.Error(), "2 events were not sent") {
		t.Errorf("close: %v", err)
	}
}

func TestRateAndSize(t *testing.T) {
	e := newEndpoint(t)
	l := newLog(t, Config{HTTP: &HTTPConfig{URL: e.URL, MinDelay: time.Hour, MaxDelay: time.Hour, MaxDecisionsPerSecond: 0.001, UploadSizeLimit: 1000}})
	large := decided(1)
	r := rand.New(rand.NewPCG(1, 1))
	noise := make([]byte, 4000)
	for i := range noise {
		noise[i] = byte('a' + r.IntN(26))
	}
	large.Image = string(noise)
	for _, d := range []Decision{large, decided(2), decided(3)} {
		l.Decided(d)
	}
	closeLog(t, l)
	if l.Dropped(DroppedRate) != 2 || l.Dropped(DroppedSize) != 1 || len(e.ids()) != 0 {
		t.Errorf("%d by rate, %d by size, %d sent; want 2, 1, 0", l.Dropped(DroppedRate), l.Dropped(DroppedSize), len(e.ids()))
	}
}

// However events differ, none is lost in a chunk, and no chunk is too large.
func TestChunker(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	c := newChunker(2000)
	var got, want int
	count := func(full []chunk, tooLarge int, err error) {
		if err != nil {
			t.Fatal(err)
		}
		got += tooLarge
		for _, ch := range full {
			got += ch.events
			if len(ch.body) > 2000 {
				t.Fatalf("a chunk of %d bytes", len(ch.body))
			}
		}
	}
	for range 2000 {
		n := r.IntN(1500) + 1
		b := make([]byte, n)
		for i := range b {
			b[i] = 'x'
			if want%3 == 0 {
				b[i] = byte('a' + r.IntN(26))
			}
		}
		want++
		count(c.add([]byte(`"` + string(b) + `"`)))
	}
	count(c.flush())
	if got != want {
		t.Errorf("%d events came out, %d went in", got, want)
	}
}

func BenchmarkDecided(b *testing.B) {
	l, err := New(Config{File: &FileConfig{Path: filepath.Join(b.TempDir(), "d")}, Labels: map[string]string{"id": "x"}, BufferBytes: 1 << 20})
	if err != nil {
		b.Fatal(err)
	}
	d := decided(1)
	d.Body = append(d.Body[:len(d.Body)-2], `,"filler":"`+strings.Repeat("x", 1500)+"\"}\n"...)
	b.ReportAllocs()
	for b.Loop() {
		l.Decided(d)
	}
	b.ReportMetric(float64(l.Dropped(DroppedBuffer))/float64(b.N), "dropped/op")
	_ = l.Close(b.Context())
}

// BenchmarkWrite is what the writer needs for one event.
func BenchmarkWrite(b *testing.B) {
	l, err := New(Config{File: &FileConfig{Path: filepath.Join(b.TempDir(), "d"), MaxSize: 64 << 20, MaxFiles: 1}, Labels: map[string]string{"id": "x"}})
	if err != nil {
		b.Fatal(err)
	}
	d := decided(1)
	d.Body = append(d.Body[:len(d.Body)-2], `,"filler":"`+strings.Repeat("x", 1500)+"\"}\n"...)
	batch := make([]item, 256)
	for i := range batch {
		batch[i] = item{decision: d}
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%len(batch) == 0 {
			l.write(batch)
		}
	}
	_ = l.Close(b.Context())
}
