package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/signet-policy/signet/internal/config"
	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/pep"
	"github.com/signet-policy/signet/internal/pluginfile"
)

const asksForAVerdict = `{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"invoke_hook","arguments":{"hook_type":"assessment_post_container_scan",` +
	`"plugin_name":"ImageSigningPlugin","payload":{"image_ref":"ghcr.io/org/app:v1"},"context":{"global_context":{"request_id":"1"}}}}}`

// unreached is an engine that nobody reaches.
type unreached struct{}

func (unreached) Current(context.Context) (*engine.State, error) { return nil, errors.New("away") }

func (unreached) Decide(context.Context, *engine.State, engine.Request) (engine.Answer, error) {
	return engine.Answer{}, errors.New("away")
}

// A gateway passes over what HTTP says, so that whatever keeps a question from being
// answered is said in its own words; who it is that asks is HTTP's alone.
func TestMCPFaceSaysWhatItCannot(t *testing.T) {
	core, err := pep.New(pep.Config{Decider: unreached{}, ImageName: func(s string) (string, error) { return s, nil }, Build: "test", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	file := config.File{}
	file.Deadlines.MCP = config.Duration(time.Second)
	server, err := newMCP(file, pluginfile.File{}, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	route := asFace(server, core).Routes[0]
	request := func(body string, left int) *pep.Request {
		return &pep.Request{
			HTTP: httptest.NewRequestWithContext(t.Context(), http.MethodPost, mcpPath, http.NoBody), Body: []byte(body),
			Admit: func(n int) *pep.Failure {
				if left -= n; left < 0 {
					return &pep.Failure{Status: http.StatusTooManyRequests, Code: "rate_limited", Detail: "Too many requests."}
				}
				return nil
			},
		}
	}
	one := fmt.Sprintf(asksForAVerdict, 1)
	for status, want := range map[int]int{
		http.StatusServiceUnavailable: http.StatusOK, http.StatusInternalServerError: http.StatusOK, http.StatusTooManyRequests: http.StatusOK,
		http.StatusUnauthorized: http.StatusUnauthorized, http.StatusForbidden: http.StatusForbidden,
	} {
		got := route.Fail(request(one, 1), pep.Failure{Status: status, Code: "some_code", Detail: "Why."})
		if got.Status != want || want == http.StatusOK && !strings.Contains(string(got.Body), "IMAGE_SIGNING_UNAVAILABLE") {
			t.Errorf("%d: answered %d %s", status, got.Status, got.Body)
		}
	}
	// A batch asks for as much as its messages would alone.
	batch := "[" + one + "," + fmt.Sprintf(asksForAVerdict, 2) + "," + fmt.Sprintf(asksForAVerdict, 3) + "]"
	got := route.Serve(t.Context(), request(batch, 1))
	if n := strings.Count(string(got.Body), "IMAGE_SIGNING_UNAVAILABLE"); got.Status != http.StatusOK || n != 3 {
		t.Errorf("%d answers say that they cannot tell: %d %s", n, got.Status, got.Body)
	}
	if len(got.Given) != 2 {
		t.Errorf("%d verdicts were given, want the first and one more", len(got.Given))
	}
}
