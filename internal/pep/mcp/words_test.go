package mcp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/client"
)

var update = flag.Bool("update", false, "write testdata/exchanges")

// decider answers by image, and notes what it was asked.
type decider struct {
	asked   []Question
	answers map[string]func(ctx context.Context) (Answer, error)
}

func (d *decider) Decide(ctx context.Context, q Question) (Answer, error) {
	d.asked = append(d.asked, q)
	if f := d.answers[q.Image]; f != nil {
		return f(ctx)
	}
	return Answer{}, errors.New("nobody thought of " + q.Image)
}

func says(v client.Verdict) func(context.Context) (Answer, error) {
	return func(context.Context) (Answer, error) { return Answer{v}, nil }
}

const digest = "sha256:c589041ed960f3988478454edde973526a3f7dad833e0482ee42e6f3e7cdf678"

func allow(image string) client.Verdict {
	return client.Verdict{
		ID: "01JZ0000000000000000000001", Decision: client.Allow, Allowed: true, Image: image, Digest: digest, Pinned: "ghcr.io/org/app@" + digest,
		Signature: client.SignatureInfo{Found: true, Valid: true, Signer: "builder@example.com"}, TransparencyLog: client.LogInfo{Verified: true},
	}
}

func deny(image string) client.Verdict {
	return client.Verdict{
		ID: "01JZ0000000000000000000002", Decision: client.Deny, Image: image, Digest: digest,
		Reasons: []client.Reason{{Code: "unsigned", Message: "Image " + image + " is not signed. Signature required.", Remediation: "Sign it."}},
	}
}

func unknown(image string) client.Verdict {
	return client.Verdict{
		ID: "01JZ0000000000000000000003", Decision: client.Unknown, Image: image, RetryAfter: 7,
		Reasons: []client.Reason{{Code: "registry_unavailable", Message: "The registry did not answer.", Remediation: "Ask again."}},
	}
}

// gateways are images by the gateway's id.
type gateways map[string][]string

func (g gateways) Images(_ context.Context, of Gateway) ([]string, error) {
	if of.ID == "broken" {
		return nil, errors.New("the store is away")
	}
	return g[of.ID], nil
}

func newDecider() *decider {
	image := "ghcr.io/org/app"
	return &decider{answers: map[string]func(context.Context) (Answer, error){
		image + ":v1":            says(allow(image + ":v1")),
		image + ":unsigned":      says(deny(image + ":unsigned")),
		image + ":down":          says(unknown(image + ":down")),
		image + "@" + digest:     says(allow(image + "@" + digest)),
		image + "-old@" + digest: says(deny(image + "-old@" + digest)),
		image + ":audited":       says(client.Verdict{ID: "01JZ0000000000000000000004", Decision: client.Deny, Allowed: true, Image: image, Warnings: []client.Reason{{Code: "unsigned"}}}),
		image + ":contradicts":   says(client.Verdict{Decision: "maybe", Allowed: true}),
		image + ":zero":          says(client.Verdict{}),
		image + ":panics":        func(context.Context) (Answer, error) { panic("oh") },
		image + ":mistaken": func(context.Context) (Answer, error) {
			return Answer{}, fmt.Errorf("%w: The image is not right.", ErrImage) //nolint:revive // words for people
		},
		image + ":forbidden": func(context.Context) (Answer, error) {
			return Answer{}, fmt.Errorf("%w: The platform is not right.", ErrMistake) //nolint:revive // words for people
		},
		image + ":slow":                func(ctx context.Context) (Answer, error) { <-ctx.Done(); return Answer{}, ctx.Err() },
		"ghcr.io/org/app:v1@" + digest: says(allow(image)),
	}}
}

func newServer(t *testing.T, edit func(*Config)) *Server {
	t.Helper()
	cfg := Config{
		Version: "1.2.3", ExternalURL: "https://signet.example.com", Gateways: gateways{"good": {"ghcr.io/org/app@" + digest}, "bad": {"ghcr.io/org/app@" + digest, "ghcr.io/org/app-old@" + digest}},
		Plugins: []Plugin{{Name: DefaultPlugin, Mode: Enforce, Priority: 12, Hooks: []string{"assessment_post_container_scan"}, Unmapped: UnmappedDeny, Context: map[string]string{"plugin": DefaultPlugin}}},
	}
	if edit != nil {
		edit(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The exchanges of a gateway, byte for byte: each file has what is sent and what
// comes back, with the status, for every version of the protocol.
func TestExchanges(t *testing.T) {
	for _, version := range versions() {
		t.Run(version, func(t *testing.T) {
			files, err := filepath.Glob("testdata/exchanges/*.txt")
			if err != nil || len(files) < 9 {
				t.Fatalf("%d exchanges, %v", len(files), err)
			}
			s := newServer(t, nil)
			for _, file := range files {
				raw, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				parts := strings.Split(strings.ReplaceAll(string(raw), "VERSION", version), "\n--\n")
				if len(parts) != 2 {
					t.Fatalf("%s: has %d parts; one is sent, one comes back, with -- between", file, len(parts))
				}
				status, body := s.Handle(t.Context(), newDecider(), []byte(parts[0]))
				got := fmt.Sprintf("%d\n%s", status, body)
				if *update && version == versions()[0] {
					kept := strings.ReplaceAll(parts[0]+"\n--\n"+got+"\n", version, "VERSION")
					if err := os.WriteFile(file, []byte(kept), 0o600); err != nil {
						t.Fatal(err)
					}
					continue
				}
				if diff := cmp.Diff(strings.TrimRight(parts[1], "\n"), strings.TrimRight(got, "\n")); diff != "" {
					t.Errorf("%s (-want +got):\n%s\n%s", file, diff, got)
				}
			}
		})
	}
}

// hook asks and reads the reply.
func hook(t *testing.T, s *Server, d Decider, name, payload, context string) Reply {
	t.Helper()
	message := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"invoke_hook","arguments":{"hook_type":%q,"plugin_name":%q,"payload":%s,"context":%s}}}`, name, DefaultPlugin, payload, context)
	status, body := s.Handle(t.Context(), d, []byte(message))
	var answer struct {
		Result toolResult      `json:"result"`
		Error  json.RawMessage `json:"error"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || status != http.StatusOK || answer.Error != nil || len(answer.Result.Content) != 1 || answer.Result.IsError {
		t.Fatalf("status %d, %v: %s", status, err, body)
	}
	var r Reply
	if err := json.Unmarshal([]byte(answer.Result.Content[0].Text), &r); err != nil {
		t.Fatal(err)
	}
	if (r.Result == nil) == (r.Error == nil) {
		t.Fatalf("a reply is a result or an error: %s", body)
	}
	shaped(t, []byte(answer.Result.Content[0].Text))
	return r
}

// shaped holds a reply against what the gateway's models want of it: no context, which
// would take the place of the gateway's own; metadata that is no null; a violation, and
// an error, with all that they need.
func shaped(t *testing.T, reply []byte) {
	t.Helper()
	var top map[string]json.RawMessage
	if err := json.Unmarshal(reply, &top); err != nil {
		t.Fatal(err)
	}
	raw := map[string]map[string]json.RawMessage{}
	for _, key := range []string{"result", "error"} {
		var of map[string]json.RawMessage
		if body, there := top[key]; there {
			if err := json.Unmarshal(body, &of); err != nil || of == nil {
				t.Fatalf("%s is no object: %s", key, reply)
			}
			raw[key] = of
		}
	}
	if _, there := top["context"]; there {
		t.Errorf("a context is sent: %s", reply)
	}
	if result, ok := raw["result"]; ok {
		if !bytes.HasPrefix(result["metadata"], []byte("{")) || result["continue_processing"] == nil {
			t.Errorf("the result lacks metadata or continue_processing: %s", reply)
		}
		if result["violation"] != nil {
			var v struct {
				Reason, Description, Code string
				HTTPStatusCode            int `json:"http_status_code"`
			}
			if err := json.Unmarshal(result["violation"], &v); err != nil || v.Reason == "" || v.Description == "" || v.Code == "" || v.HTTPStatusCode != http.StatusForbidden {
				t.Errorf("the violation lacks something, %v: %s", err, reply)
			}
		}
	}
	if e, ok := raw["error"]; ok && (len(e["message"]) < len(`"x"`) || e["plugin_name"] == nil) {
		t.Errorf("the error lacks something: %s", reply)
	}
}

// said is a reply in short: pass, skip, CODE of a violation, or error CODE.
func said(r Reply) string {
	switch {
	case r.Error != nil:
		return "error " + r.Error.Code
	case r.Result.Violation != nil && !r.Result.Continue:
		return r.Result.Violation.Code
	case r.Result.Violation != nil:
		return "a violation that goes on"
	case !r.Result.Continue:
		return "stops without a violation"
	case r.Result.Metadata.ImageSigning == nil:
		return "a silent pass"
	case r.Result.Metadata.ImageSigning.Skipped != "":
		return "skip"
	case r.Result.Metadata.ImageSigning.WouldRefuse:
		return "pass, would refuse " + string(r.Result.Metadata.ImageSigning.Verdict)
	}
	return "pass"
}

const noContext = `{"state":{},"global_context":{"request_id":"r","state":{},"metadata":{}},"metadata":{}}`

func behind(gateway string) string {
	return `{"state":{},"global_context":{"request_id":"r","metadata":{"gateway":` + gateway + `,"tool":{"name":"t"}}},"metadata":{}}`
}

// Whatever a hook brings, unknown and unusable never pass in silence.
func TestHooks(t *testing.T) {
	const scan, app = "assessment_post_container_scan", "ghcr.io/org/app"
	tests := []struct {
		name, hook, payload, context string
		enforce, permissive          string
	}{
		{"allowed", scan, `{"image_ref":"` + app + `:v1"}`, noContext, "pass", "pass"},
		{"digest is null", scan, `{"image_ref":"` + app + `:v1","image_digest":null,"assessment_id":"a"}`, noContext, "pass", "pass"},
		{"with its digest", scan, `{"image_ref":"` + app + `:v1","image_digest":"` + digest + `"}`, noContext, "pass", "pass"},
		{"by another name", scan, `{"container_image":"` + app + `","digest":"` + digest + `"}`, noContext, "pass", "pass"},
		{"the same twice", scan, `{"image":"` + app + `:v1","image_reference":"` + app + `:v1"}`, noContext, "pass", "pass"},
		{"of a deployment", "runtime_pre_deploy", `{"name":"x","source":{"type":"docker","image":"` + app + `:v1"}}`, noContext, "pass", "pass"},
		{"a hook that nobody knows", "vendor_hook", `{"image":"` + app + `:unsigned"}`, noContext, "IMAGE_SIGNING", "pass, would refuse deny"},
		{"denied", scan, `{"image_ref":"` + app + `:unsigned"}`, noContext, "IMAGE_SIGNING", "pass, would refuse deny"},
		{"unknown", scan, `{"image_ref":"` + app + `:down"}`, noContext, "error IMAGE_SIGNING_UNAVAILABLE", "pass, would refuse unknown"},
		{"too late", scan, `{"image_ref":"` + app + `:slow"}`, noContext, "error IMAGE_SIGNING_UNAVAILABLE", "pass, would refuse unknown"},
		{"an error", scan, `{"image_ref":"nobody/knows:this"}`, noContext, "error IMAGE_SIGNING_UNAVAILABLE", "pass, would refuse unknown"},
		{"a panic", scan, `{"image_ref":"` + app + `:panics"}`, noContext, "error IMAGE_SIGNING_UNAVAILABLE", "error IMAGE_SIGNING_UNAVAILABLE"},
		{"an answer that is none", scan, `{"image_ref":"` + app + `:contradicts"}`, noContext, "error IMAGE_SIGNING_UNAVAILABLE", "pass, would refuse maybe"},
		{"an empty answer", scan, `{"image_ref":"` + app + `:zero"}`, noContext, "error IMAGE_SIGNING_UNAVAILABLE", "pass, would refuse "},
		{"audited", scan, `{"image_ref":"` + app + `:audited"}`, noContext, "pass", "pass"},
		{"a bad reference", scan, `{"image_ref":"` + app + `:mistaken"}`, noContext, "error IMAGE_MISSING", "error IMAGE_MISSING"},
		{"a bad question", scan, `{"image_ref":"` + app + `:forbidden"}`, noContext, "error IMAGE_SIGNING_INVALID", "error IMAGE_SIGNING_INVALID"},
		{"no image", scan, `{}`, noContext, "error IMAGE_MISSING", "error IMAGE_MISSING"},
		{"no image in a registration", "server_pre_register", `{"name":"x"}`, noContext, "error IMAGE_MISSING", "error IMAGE_MISSING"},
		{"an empty image", scan, `{"image_ref":""}`, noContext, "error IMAGE_MISSING", "error IMAGE_MISSING"},
		{"an image that is a number", scan, `{"image_ref":7}`, noContext, "error IMAGE_MISSING", "error IMAGE_MISSING"},
		{"a digest alone", scan, `{"image_digest":"` + digest + `"}`, noContext, "error IMAGE_MISSING", "error IMAGE_MISSING"},
		{"an odd digest", scan, `{"image_ref":"a/b","image_digest":"md5:x"}`, noContext, "error IMAGE_MISSING", "error IMAGE_MISSING"},
		{"two digests", scan, `{"image_ref":"a/b@sha256:00","image_digest":"` + digest + `"}`, noContext, "error IMAGE_MISSING", "error IMAGE_MISSING"},
		{"two images", scan, `{"image_ref":"` + app + `:v1","image":"` + app + `:unsigned"}`, noContext, "error IMAGE_MISSING", "error IMAGE_MISSING"},
		{"a key twice", scan, `{"image_ref":"` + app + `:unsigned","image_ref":"` + app + `:v1"}`, noContext, "error IMAGE_SIGNING_INVALID", "error IMAGE_SIGNING_INVALID"},
		{"another case is another key", scan, `{"IMAGE_REF":"` + app + `:v1"}`, noContext, "error IMAGE_MISSING", "error IMAGE_MISSING"},
		{"no object", scan, `[]`, noContext, "error IMAGE_SIGNING_INVALID", "error IMAGE_SIGNING_INVALID"},
		{"a prompt", "prompt_pre_fetch", `{"prompt_id":"p","args":{}}`, noContext, "skip", "skip"},
		{"an HTTP request", "http_pre_request", `{"path":"/x","headers":{"authorization":"Bearer x"}}`, noContext, "skip", "skip"},

		{"a tool of a good gateway", HookToolPreInvoke, `{"name":"t","args":{}}`, behind(`{"id":"good","url":"https://x","tags":[{"id":"a"},"b"]}`), "pass", "pass"},
		{"a tool of a bad gateway", HookToolPreInvoke, `{"name":"t","args":{}}`, behind(`{"id":"bad"}`), "IMAGE_SIGNING", "pass, would refuse deny"},
		{"a payload's image is not asked", HookToolPreInvoke, `{"image_ref":"` + app + `:v1"}`, behind(`{"id":"bad"}`), "IMAGE_SIGNING", "pass, would refuse deny"},
		{"an unmapped gateway", HookToolPreInvoke, `{"name":"t","args":{}}`, behind(`{"id":"other"}`), "IMAGE_SIGNING", "pass, would refuse deny"},
		{"no gateway", HookToolPreInvoke, `{"name":"t","args":{}}`, noContext, "IMAGE_SIGNING", "pass, would refuse deny"},
		{"the look-up fails", HookToolPreInvoke, `{"name":"t","args":{}}`, behind(`{"id":"broken"}`), "error IMAGE_SIGNING_UNAVAILABLE", "pass, would refuse unknown"},
		{"a gateway that is none", HookToolPreInvoke, `{"name":"t","args":{}}`, behind(`7`), "error IMAGE_SIGNING_INVALID", "error IMAGE_SIGNING_INVALID"},
		{"no context", HookToolPreInvoke, `{"name":"t","args":{}}`, `null`, "error IMAGE_SIGNING_INVALID", "error IMAGE_SIGNING_INVALID"},
		{"two gateways", HookToolPreInvoke, `{}`, `{"global_context":{"metadata":{"tool":{"gateway_id":"bad"},"gateway":{"id":"good"}}}}`, "error IMAGE_SIGNING_INVALID", "error IMAGE_SIGNING_INVALID"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for mode, want := range map[Mode]string{Enforce: tt.enforce, Permissive: tt.permissive, Disabled: "skip"} {
				s := newServer(t, func(c *Config) { c.Plugins[0].Mode, c.Deadline = mode, 20*time.Millisecond })
				d := newDecider()
				if got := said(hook(t, s, d, tt.hook, tt.payload, tt.context)); got != want {
					t.Errorf("%s: %q, want %q", mode, got, want)
				}
				if mode == Disabled && len(d.asked) > 0 {
					t.Errorf("disabled, it asked %+v", d.asked)
				}
				for _, q := range d.asked {
					if q.Context["plugin"] != DefaultPlugin {
						t.Errorf("%s: asked without its plugin: %+v", mode, q)
					}
				}
			}
		})
	}
}

// What is asked names the digest that the payload has, and the assessment.
func TestQuestion(t *testing.T) {
	d := newDecider()
	hook(t, newServer(t, nil), d, "assessment_post_container_scan", `{"image_ref":"ghcr.io/org/app:v1","image_digest":"`+digest+`","assessment_id":"550e","platform":"linux/arm64"}`, noContext)
	want := []Question{{Image: "ghcr.io/org/app:v1@" + digest, Platform: "linux/arm64", AssessmentID: "550e", Context: map[string]string{"plugin": DefaultPlugin}}}
	if diff := cmp.Diff(want, d.asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
}

// A gateway without an image follows unmapped, which must be said.
func TestUnmapped(t *testing.T) {
	for unmapped, want := range map[string]string{UnmappedAllow: "skip", UnmappedDeny: "IMAGE_SIGNING", "": "error IMAGE_SIGNING_NOT_CONFIGURED"} {
		s := newServer(t, func(c *Config) { c.Plugins[0].Unmapped = unmapped })
		if got := said(hook(t, s, newDecider(), HookToolPreInvoke, `{"name":"t"}`, behind(`{"id":"nobody"}`))); got != want {
			t.Errorf("unmapped %q: %q, want %q", unmapped, got, want)
		}
	}
	_, err := New(Config{Version: "1", Plugins: []Plugin{{Name: "x", Mode: Enforce, Hooks: []string{HookToolPreInvoke}}}})
	if err == nil || !strings.Contains(err.Error(), "unmapped") {
		t.Errorf("tool_pre_invoke without unmapped: %v", err)
	}
}

// Messages that are wrong as such are errors of the protocol, and pass nothing.
func TestMalformed(t *testing.T) {
	s := newServer(t, nil)
	for message, want := range map[string]string{
		``: "400 -32700", `{`: "400 -32700", `7`: "400 -32600", `[]`: "400 -32600", `{"jsonrpc":"1.0","id":1,"method":"ping"}`: "400 -32600",
		`{"jsonrpc":"2.0","id":null,"method":"ping"}`: "400 -32600", `{"jsonrpc":"2.0","id":1}`: "400 -32600", `{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}`: "400 -32600",
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":[]}`:                                                               "200 -32602",
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"nope"}}`:                                                  "200 -32602",
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_plugin_config","arguments":{}}}`:                      "200 -32602",
		`{"jsonrpc":"2.0","id":1,"method":"resources/list"}`:                                                                       "200 -32601",
		`{"jsonrpc":"2.0","id":1,"method":"ping"}`:                                                                                 "200 0",
		`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`:                                            "202 0",
		`{"jsonrpc":"2.0","id":1,"result":{}}`:                                                                                     "202 0",
		`[{"jsonrpc":"2.0","method":"notifications/initialized"}]`:                                                                 "202 0",
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"invoke_hook","arguments":{"hook_type":"assessment_x"}}}`:  "200 0",
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"invoke_hook","arguments":{"plugin_name":"Other"}}}`:       "200 0",
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_plugin_config","arguments":{"name":"x","name":"y"}}}`: "200 -32602",
	} {
		status, body := s.Handle(t.Context(), newDecider(), []byte(message))
		var r response
		_ = json.Unmarshal(body, &r)
		code := 0
		if r.Error != nil {
			code = r.Error.Code
		}
		if got := fmt.Sprintf("%d %d", status, code); got != want {
			t.Errorf("%s: %s, want %s (%s)", message, got, want, body)
		}
		if bytes.Contains(body, []byte(`continue_processing\":true`)) {
			t.Errorf("%s: passes: %s", message, body)
		}
	}
	status, body := s.Handle(t.Context(), newDecider(), []byte(`[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","id":2,"method":"ping"}]`))
	if want := `[{"jsonrpc":"2.0","id":1,"result":{}},{"jsonrpc":"2.0","id":2,"result":{}}]`; status != 200 || string(body) != want {
		t.Errorf("a batch: %d %s", status, body)
	}
}

func FuzzHandle(f *testing.F) {
	files, _ := filepath.Glob("testdata/exchanges/*.txt")
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		message, _, _ := strings.Cut(string(raw), "\n--\n")
		f.Add([]byte(message))
	}
	s, err := New(Config{Version: "1", Plugins: []Plugin{{Name: DefaultPlugin, Mode: Enforce, Unmapped: UnmappedDeny}}})
	if err != nil {
		f.Fatal(err)
	}
	never := &decider{}
	f.Fuzz(func(t *testing.T, message []byte) {
		_, body := s.Handle(t.Context(), never, message)
		if body != nil && !json.Valid(body) {
			t.Errorf("answers %q", body)
		}
		if bytes.Contains(body, []byte(`verdict\":\"allow`)) {
			t.Errorf("allows though nobody said so: %s", body)
		}
	})
}
