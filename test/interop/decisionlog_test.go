package interop

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/decisionlog"
	"github.com/signet-policy/signet/internal/policy"
	"github.com/signet-policy/signet/internal/testkit/eventually"
	"github.com/signet-policy/signet/internal/testkit/freeport"
	"github.com/signet-policy/signet/internal/testkit/require"
)

// logService keeps the events that are sent to it.
type logService struct {
	*httptest.Server
	mu     sync.Mutex
	events []map[string]any
	errs   []string
}

func newLogService(t *testing.T) *logService {
	t.Helper()
	s := &logService{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var events []map[string]any
		gz, err := gzip.NewReader(r.Body)
		if err == nil {
			err = json.NewDecoder(gz).Decode(&events)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if err != nil || r.URL.Path != "/logs/eu" || r.Method != http.MethodPost {
			s.errs = append(s.errs, fmt.Sprintf("%s %s: %v", r.Method, r.URL, err))
		}
		s.events = append(s.events, events...)
	}))
	t.Cleanup(s.Close)
	return s
}

// first waits for an event.
func (s *logService) first(t *testing.T) map[string]any {
	t.Helper()
	var first map[string]any
	eventually.Holds(t, "an event came", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.errs) > 0 {
			t.Fatalf("requests that are not right: %q", s.errs)
		}
		if len(s.events) > 0 {
			first = s.events[0]
		}
		return first != nil
	})
	return first
}

// syncBuffer is written by a process and read by the test.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// opaLogs asks a real OPA server one question, under these masks, and returns what it
// sends to a service and what it writes to its console.
func opaLogs(t *testing.T, mask, input, result string) (sent, line map[string]any) {
	t.Helper()
	opa := require.OPA(t)
	service := newLogService(t)
	dir := t.TempDir()
	write := func(name, body string) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("bundle/.manifest", `{"revision":"7","roots":["signing","system/log"]}`)
	write("bundle/signing.rego", "package signing\n\nverdict := "+result+"\n")
	write("bundle/mask.rego", mask)
	write("opa.json", `{"labels":{"app":"signet"},"services":{"logs":{"url":"`+service.URL+`"}},"decision_logs":{"service":"logs","partition_name":"eu","console":true,`+
		`"reporting":{"min_delay_seconds":1,"max_delay_seconds":1}}}`)
	addr, err := freeport.Address()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, opa, "run", "--server", "--disable-telemetry", "--addr", addr, "--config-file", filepath.Join(dir, "opa.json"), "-b", filepath.Join(dir, "bundle"))
	var console syncBuffer
	cmd.Stdout, cmd.Stderr = &console, &console
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); _ = cmd.Wait() })
	body := `{"input":` + input + `}`
	if !eventually.Comes(20*time.Millisecond, func() bool {
		res, err := http.Post("http://"+addr+"/v1/data/signing/verdict", "application/json", strings.NewReader(body))
		if err != nil {
			return false
		}
		defer func() { _ = res.Body.Close() }()
		_, _ = io.Copy(io.Discard, res.Body)
		return res.StatusCode == http.StatusOK
	}) {
		t.Fatalf("opa does not answer:\n%s", console.String())
	}
	sent = service.first(t)
	for text := range strings.Lines(console.String()) {
		var v map[string]any
		if json.Unmarshal([]byte(text), &v) == nil && v["msg"] == "Decision Log" {
			return sent, v
		}
	}
	t.Fatalf("no decision on the console:\n%s", console.String())
	return nil, nil
}

// signetLogs writes the same decision as a server does.
func signetLogs(t *testing.T, mask, image string, asked map[string]string, body []byte) (sent, line map[string]any) {
	t.Helper()
	service := newLogService(t)
	path := filepath.Join(t.TempDir(), "decisions.jsonl")
	m, err := policy.LoadLogMask(t.Context(), "mask.rego", []byte(mask), 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	l, err := decisionlog.New(decisionlog.Config{
		Labels: map[string]string{"id": "x", "version": "1", "app": "signet"},
		File:   &decisionlog.FileConfig{Path: path},
		HTTP:   &decisionlog.HTTPConfig{URL: service.URL, PartitionName: "eu", MinDelay: time.Second, MaxDelay: time.Second},
		Mask: func(ctx context.Context, event map[string]any) (decisionlog.Masking, error) {
			drop, rules, err := m.Evaluate(ctx, event)
			return decisionlog.Masking{Drop: drop, Rules: rules}, err
		},
		MaskTime: 10 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	l.Decided(decisionlog.Decision{
		At: time.Now(), Took: time.Millisecond, Body: body, Cache: "miss", Image: image, Context: asked,
		Roles: []string{"verifier"}, Principal: "ci", RequestID: "r",
	})
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := l.Healthy(); err != nil {
		t.Error(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &line); err != nil {
		t.Fatal(err)
	}
	return service.first(t), line
}

// TestDecisionLogIsOPAs asks a real OPA and Signet the same, under the same masks:
// the events have the same fields, of the same kinds, and the masks did the same.
func TestDecisionLogIsOPAs(t *testing.T) {
	const image = "ghcr.io/org/app:v1"
	input := `{"image":"` + image + `","context":{"a b":"1","env":"prod","team":"secret"},"roles":["verifier"]}`
	body := `{"id":"01JZ0000000000000000000001","decision":"deny","allowed":false,"image":"` + image + `","policies":[{"name":"default","revision":"7"}],` +
		`"reasons":[{"code":"a","message":"m"},{"code":"b","message":"n"}],"big":12345678901234567890}`
	for name, rules := range map[string]string{
		"nothing": `mask contains "/input/nothing"`,
		"removed": `mask contains "/input/context/team"
mask contains "/input/roles/0"
mask contains "/result/reasons/1/message"
mask contains "/input/context/a b"
mask contains "/result/reasons/9"`,
		"changed": `mask contains {"op": "upsert", "path": "/input/context/team", "value": "**"}
mask contains {"op": "upsert", "path": "/result/new/deep", "value": {"n": 1}}
mask contains {"op": "upsert", "path": "/result/reasons/0", "value": null}
mask contains {"op": "upsert", "path": "/result/reasons/2/code", "value": "x"}
mask contains {"op": "upsert", "path": "/input/image/below", "value": "x"}
mask contains {"op": "remove", "path": "/input/roles"}`,
		"all of it": `mask contains "/input" if input.input.context.env == "prod"
mask contains {"op": "upsert", "path": "/result", "value": {"allowed": input.result.allowed}}`,
		"complete": `mask := ["/input/image"] if input.path == "signing/verdict"
drop if input.path == "health"`,
		"undefined": `mask := ["/input"] if input.path == "other"`,
		"escaped":   `mask contains "/input/context/a%20b"`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mask := "package system.log\n\n" + rules + "\n"
			opaSent, opaLine := opaLogs(t, mask, input, body)
			sent, line := signetLogs(t, mask, image, map[string]string{"a b": "1", "env": "prod", "team": "secret"}, []byte(body))
			for what, pair := range map[string][2]map[string]any{"sent": {opaSent, sent}, "line": {opaLine, line}} {
				theirs, ours := pair[0], pair[1]
				for _, field := range []string{"input", "result", "erased", "masked", "path"} {
					if diff := cmp.Diff(theirs[field], ours[field]); diff != "" {
						t.Errorf("%s, %s (-OPA +Signet):\n%s", what, field, diff)
					}
				}
				// OPA has a field for what programs that embed it add.
				delete(ours, "custom")
				if diff := cmp.Diff(kinds(theirs), kinds(ours)); diff != "" {
					t.Errorf("%s: fields and their kinds (-OPA +Signet):\n%s", what, diff)
				}
				if diff := cmp.Diff(slices.Sorted(maps.Keys(theirs["labels"].(map[string]any))), slices.Sorted(maps.Keys(ours["labels"].(map[string]any)))); diff != "" {
					t.Errorf("%s: labels (-OPA +Signet):\n%s", what, diff)
				}
				for metric := range ours["metrics"].(map[string]any) {
					if _, ok := theirs["metrics"].(map[string]any)[metric]; !ok {
						t.Errorf("%s: OPA has no metric %s", what, metric)
					}
				}
				for _, b := range ours["bundles"].(map[string]any) {
					if diff := cmp.Diff(map[string]any{"revision": "7"}, b); diff != "" {
						t.Errorf("%s: bundle (-want +got):\n%s", what, diff)
					}
				}
				for _, v := range []map[string]any{theirs, ours} {
					if _, err := time.Parse(time.RFC3339Nano, v["timestamp"].(string)); err != nil {
						t.Errorf("%s: %v", what, err)
					}
				}
			}
			if line["type"] != opaLine["type"] || line["level"] != opaLine["level"] {
				t.Errorf("type %v and level %v, OPA has %v and %v", line["type"], line["level"], opaLine["type"], opaLine["level"])
			}
		})
	}
}

// kinds are the kinds of a document's fields.
func kinds(doc map[string]any) map[string]string {
	out := map[string]string{}
	for k, v := range doc {
		out[k] = fmt.Sprintf("%T", v)
	}
	return out
}
