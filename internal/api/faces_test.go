package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/pep"
	"github.com/signet-policy/signet/internal/pep/authzen"
	"github.com/signet-policy/signet/internal/pep/opadata"
	"github.com/signet-policy/signet/internal/verdict"
)

const externalURL = "https://signet.example.com"

// newFaceBed is a bed with all faces, whose deadlines are short; edit changes the data
// API's.
func newFaceBed(t *testing.T, deadline time.Duration, edit ...func(*opadata.Config)) *bed {
	t.Helper()
	return newBed(t, func(cfg *Config) {
		core, err := pep.New(pep.Config{Decider: cfg.Decider, ImageName: cfg.ImageName, ExternalURL: externalURL, Build: "test", Now: cfg.Now})
		if err != nil {
			t.Fatal(err)
		}
		data := opadata.Config{Core: core, Mounts: []string{"mcpgateway"}, Deadline: deadline, Build: "test"}
		for _, e := range edit {
			e(&data)
		}
		opa, err := opadata.New(data)
		if err != nil {
			t.Fatal(err)
		}
		zen, err := authzen.New(authzen.Config{Core: core, ExternalURL: externalURL, Deadline: deadline})
		if err != nil {
			t.Fatal(err)
		}
		cfg.Faces, cfg.ExternalURL, cfg.VerdictTimeout = []pep.Face{opa, zen}, externalURL, deadline
	})
}

// post asks as the verifier.
func (b *bed) post(t *testing.T, path, body string) (int, http.Header, string) {
	t.Helper()
	w := recorded(b, b.request(t, "verifier", http.MethodPost, path, body))
	return w.Code, w.Result().Header, w.Body.String()
}

// zenBody asks AuthZEN about the image of these tests.
func zenBody(action, image string) string {
	return fmt.Sprintf(`{"subject":{"type":"user","id":"alice"},"action":{"name":%q},"resource":{"type":"container_image","id":%q}}`, action, image)
}

// said is what one face says of an image.
type said struct {
	Status int
	// Pass is whether whoever reads the face as its protocol wants it lets the image in.
	Pass bool
	// Decision as the face names it, "" where it does not; Retry says that it asks to
	// come again.
	Decision string
	Retry    bool
	// Why says that there is a reason, where the face has room for one.
	Why bool
}

// faces read every face as its callers do.
func (b *bed) faces(t *testing.T) map[string]said {
	t.Helper()
	out := map[string]said{}
	ask := func(name, path, body string, read func(map[string]json.RawMessage, *said)) {
		status, h, text := b.post(t, path, body)
		var members map[string]json.RawMessage
		if err := json.Unmarshal([]byte(text), &members); err != nil {
			t.Errorf("%s: %d %s", name, status, text)
		}
		s := said{Status: status, Retry: h.Get("Retry-After") != ""}
		read(members, &s)
		s.Pass = s.Pass && status == http.StatusOK
		out[name] = s
	}
	is := func(raw json.RawMessage, want string) bool { return string(raw) == want }
	text := func(raw json.RawMessage) (s string) { _ = json.Unmarshal(raw, &s); return s }
	inner := func(raw json.RawMessage) (m map[string]json.RawMessage) { _ = json.Unmarshal(raw, &m); return m }
	zen := func(m map[string]json.RawMessage, s *said) {
		c := inner(m["context"])
		s.Pass, s.Decision, s.Why = is(m["decision"], "true"), text(c["decision"]), text(c["reason"]) != ""
	}
	ask("rest", v1+"/verdicts", `{"image":"`+testImage+`"}`, func(m map[string]json.RawMessage, s *said) {
		s.Pass, s.Decision = is(m["allowed"], "true"), text(m["decision"])
		s.Why = len(m["reasons"]) > 2 || m["detail"] != nil
	})
	ask("plugin", imageSigning+"/verify", `{"image_ref":"`+testImage+`"}`, func(m map[string]json.RawMessage, s *said) {
		s.Pass, s.Decision = is(m["blocked"], "false"), text(m["decision"])
		s.Why = text(m["reason"]) != "" || m["detail"] != nil
	})
	opa := `{"input":{"image":"` + testImage + `"}}`
	for name, path := range map[string]string{"opa": "/v1/data/signing/verdict", "mount": "/v1/data/mcpgateway"} {
		ask(name, path, opa, func(m map[string]json.RawMessage, s *said) {
			r := inner(m["result"])
			s.Pass, s.Decision, s.Why = is(r["allow"], "true") && is(r["deny"], "[]"), text(r["decision"]), len(r["deny"]) > 4
			if m["decision_id"] == nil || text(m["decision_id"]) == "" {
				t.Errorf("%s: no decision_id", name)
			}
		})
	}
	ask("opa allow", "/v1/data/signing/verdict/allow", opa, func(m map[string]json.RawMessage, s *said) { s.Pass = is(m["result"], "true") })
	ask("authzen", "/access/v1/evaluation", zenBody("deploy", testImage), zen)
	ask("authzen batch", "/access/v1/evaluations", `{"subject":{"type":"user","id":"alice"},"action":{"name":"deploy"},"evaluations":[{"resource":{"type":"oci_image","id":"`+testImage+`"}}]}`, func(m map[string]json.RawMessage, s *said) {
		var list []map[string]json.RawMessage
		if json.Unmarshal(m["evaluations"], &list) == nil && len(list) == 1 {
			zen(list[0], s)
		} else {
			zen(m, s)
		}
	})
	return out
}

// Every face says allow, deny and unknown as its table has it, and no trouble of ours
// is a silent pass.
func TestFacesSayWhatIsDecided(t *testing.T) {
	decides := func(d verdict.Decision, allowed bool) func(*testing.T, *bed) {
		return func(t *testing.T, b *bed) {
			b.decider.decide = func(context.Context, *engine.State, engine.Request) (engine.Answer, error) {
				return answer(t, d, allowed, engine.FromMiss), nil
			}
		}
	}
	fails := func(decide func(context.Context, *engine.State, engine.Request) (engine.Answer, error)) func(*testing.T, *bed) {
		return func(_ *testing.T, b *bed) { b.decider.decide = decide }
	}
	undecided := map[string]said{
		"rest": {503, false, "unknown", true, true}, "plugin": {503, false, "unknown", true, true},
		"opa": {200, false, "unknown", false, true}, "mount": {200, false, "unknown", false, true}, "opa allow": {200, false, "", false, false},
		"authzen": {503, false, "unknown", true, true}, "authzen batch": {200, false, "unknown", false, true},
	}
	// REST tells that we failed by a problem, which asks nobody to come again.
	failed := map[string]said{}
	for name, s := range undecided {
		if name == "rest" || name == "plugin" {
			s.Status, s.Retry = 500, false
		}
		failed[name] = s
	}
	inTime := map[string]said{}
	for name, s := range undecided {
		inTime[name] = s
	}
	away := map[string]said{}
	for name, s := range undecided {
		if name == "authzen batch" {
			s.Status, s.Retry = 503, true
		}
		away[name] = s
	}
	for _, tt := range []struct {
		name  string
		setup func(*testing.T, *bed)
		want  map[string]said
	}{
		{"allow", decides(verdict.Allow, true), map[string]said{
			"rest": {200, true, "allow", false, false}, "plugin": {200, true, "allow", false, false},
			"opa": {200, true, "allow", false, false}, "mount": {200, true, "allow", false, false}, "opa allow": {200, true, "", false, false},
			"authzen": {200, true, "allow", false, false}, "authzen batch": {200, true, "allow", false, false},
		}},
		{"deny", decides(verdict.Deny, false), map[string]said{
			"rest": {200, false, "deny", false, true}, "plugin": {200, false, "deny", false, true},
			"opa": {200, false, "deny", false, true}, "mount": {200, false, "deny", false, true}, "opa allow": {200, false, "", false, false},
			"authzen": {200, false, "deny", false, true}, "authzen batch": {200, false, "deny", false, true},
		}},
		{"denied by an audit policy", decides(verdict.Deny, true), map[string]said{
			"rest": {200, true, "deny", false, true}, "plugin": {200, true, "deny", false, true},
			"opa": {200, true, "deny", false, false}, "mount": {200, true, "deny", false, false}, "opa allow": {200, true, "", false, false},
			"authzen": {200, true, "deny", false, true}, "authzen batch": {200, true, "deny", false, true},
		}},
		{"unknown", decides(verdict.Unknown, false), undecided},
		{"the end of the time", fails(func(ctx context.Context, _ *engine.State, _ engine.Request) (engine.Answer, error) {
			<-ctx.Done()
			return engine.Answer{}, ctx.Err()
		}), inTime},
		{"an error that nobody knows", fails(func(context.Context, *engine.State, engine.Request) (engine.Answer, error) {
			return engine.Answer{}, errors.New("boom")
		}), failed},
		{"a panic", fails(func(context.Context, *engine.State, engine.Request) (engine.Answer, error) { panic("boom") }), failed},
		{"no body", fails(func(context.Context, *engine.State, engine.Request) (engine.Answer, error) {
			return engine.Answer{Decision: verdict.Allow, Allowed: true}, nil
		}), failed},
		{"allowed without a decision", fails(func(context.Context, *engine.State, engine.Request) (engine.Answer, error) {
			return engine.Answer{Body: []byte(`{"decision":"allow","allowed":true}`), Allowed: true}, nil
		}), failed},
		{"what is in force cannot be read", func(_ *testing.T, b *bed) {
			b.decider.current = func(context.Context) (*engine.State, error) { return nil, engine.ErrState }
		}, away},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newFaceBed(t, 50*time.Millisecond)
			tt.setup(t, b)
			if d := cmp.Diff(tt.want, b.faces(t)); d != "" {
				t.Errorf("want (-), said (+):\n%s", d)
			}
		})
	}
}

// A body that says more than the engine's own words is not believed, wherever it is read.
func TestFacesHoldTheBodyAgainstTheAnswer(t *testing.T) {
	b := newFaceBed(t, time.Second)
	b.decider.decide = func(context.Context, *engine.State, engine.Request) (engine.Answer, error) {
		a := answer(t, verdict.Allow, true, engine.FromMiss)
		a.Decision, a.Allowed = verdict.Deny, false
		return a, nil
	}
	for name, s := range b.faces(t) {
		if name != "rest" && name != "plugin" && (s.Pass || s.Decision == "allow") { // those pass the engine's bytes on
			t.Errorf("%s: %+v", name, s)
		}
	}
}

// What is recorded has a page, and the page is no part of what is kept.
func TestLinks(t *testing.T) {
	b := newFaceBed(t, time.Second)
	given := answer(t, verdict.Deny, false, engine.FromMemory)
	given.Recorded = true
	b.decider.decide = func(context.Context, *engine.State, engine.Request) (engine.Answer, error) { return given, nil }
	b.verdicts.verdict = func(context.Context, string) ([]byte, error) { return given.Body, nil }
	link := externalURL + "/admin/security/signing/results/" + testID
	answers := map[string]string{}
	for name, ask := range map[string][2]string{
		"rest": {v1 + "/verdicts", `{"image":"` + testImage + `"}`}, "batch": {v1 + "/verdicts/batch", `{"items":[{"image":"` + testImage + `"}]}`},
		"plugin": {imageSigning + "/verify", `{"image_ref":"` + testImage + `"}`}, "opa": {"/v1/data/signing/verdict", `{"input":{"image":"` + testImage + `"}}`},
		"authzen": {"/access/v1/evaluation", zenBody("deploy", testImage)},
	} {
		_, _, answers[name] = b.post(t, ask[0], ask[1])
	}
	answers["read again"] = recorded(b, b.request(t, "viewer", http.MethodGet, v1+"/verdicts/"+testID, "")).Body.String()
	for name, body := range answers {
		if !strings.Contains(body, `"link":"`+link+`"`) {
			t.Errorf("%s has no link: %s", name, body)
		}
	}
	if answers["rest"] != answers["read again"] {
		t.Errorf("the verdict reads otherwise when it is read again:\n%s\n%s", answers["rest"], answers["read again"])
	}
	if strings.Contains(string(given.Body), "link") {
		t.Error("what is kept has the link")
	}
	given.Recorded = false
	if _, _, body := b.post(t, v1+"/verdicts", `{"image":"`+testImage+`"}`); strings.Contains(body, "link") {
		t.Errorf("what cannot be read again has a link: %s", body)
	}
}

// Callers of a listener have its protocols, and health.
func TestProtocolsOfAListener(t *testing.T) {
	b := newFaceBed(t, time.Second)
	paths := map[string]string{"/api/v1/whoami": "rest", "/v1/data/signing/verdict": "opa", "/health": "", "/.well-known/authzen-configuration": "authzen", "/healthz": "", "/readyz": ""}
	for _, speaks := range [][]string{{"rest"}, {"opa"}, {"authzen"}, {"opa", "authzen"}} {
		for path, protocol := range paths {
			ctx := WithPrincipal(WithProtocols(t.Context(), speaks), auth.Principal{Name: "gateway", Role: auth.Verifier})
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, path, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			want := http.StatusNotFound
			if protocol == "" || strings.Contains(strings.Join(speaks, " "), protocol) {
				want = http.StatusOK
			}
			if w := recorded(b, r); w.Code != want {
				t.Errorf("a listener for %v: %s is %d, want %d: %s", speaks, path, w.Code, want, w.Body)
			}
		}
	}
}

// What is no image, no JSON, or not for this caller is told in the protocol's words.
func TestOPAInputs(t *testing.T) {
	digest := "sha256:" + strings.Repeat("b", 64)
	for _, tt := range []struct {
		name, body string
		status     int
		// image is what was asked about, "" for nothing; says stands in the answer.
		image, says string
	}{
		{"our own spelling", `{"input":{"image":"` + testImage + `"}}`, 200, testImage, `"allow":true`},
		{"with its digest", `{"input":{"image_ref":"` + testImage + `","image_digest":"` + digest + `"}}`, 200, testImage + "@" + digest, `"allow":true`},
		{"null is absent", `{"input":{"image_ref":"` + testImage + `","image_digest":null}}`, 200, testImage, `"allow":true`},
		{"a resource", `{"input":{"resource":{"type":"oci_image","id":"` + testImage + `"}}}`, 200, testImage, `"allow":true`},
		{"a resource, and a digest beside it", `{"input":{"digest":"` + digest + `","resource":{"type":"oci_image","id":"` + testImage + `"}}}`, 200, testImage + "@" + digest, `"allow":true`},
		{"a hook's payload", `{"input":{"kind":"tool","payload":{"container_image":"` + testImage + `"},"mode":"input"}}`, 200, testImage, `"allow":true`},
		{"the same twice", `{"input":{"image":"` + testImage + `","image_ref":"` + testImage + `"}}`, 200, testImage, `"allow":true`},
		{"two images", `{"input":{"image":"` + testImage + `","resource":{"type":"oci_image","id":"registry.example/other:v1"}}}`, 200, "", "two images"},
		{"two spellings that differ", `{"input":{"image":"` + testImage + `","image_ref":"registry.example/other:v1"}}`, 200, "", "differ"},
		{"two digests", `{"input":{"image":"` + testImage + "@" + digest + `","digest":"sha256:` + strings.Repeat("a", 64) + `"}}`, 200, "", "Which one is meant?"},
		{"another resource", `{"input":{"resource":{"type":"account","id":"` + testImage + `"}}}`, 200, "", "names no image"},
		{"a tool whose id is an image", `{"input":{"resource":{"type":"tool","id":"` + testImage + `"}}}`, 200, "", "about a tool"},
		{"no input", `{}`, 200, "", `"warning":{"code":"api_usage_warning","message":"'input' key missing from the request"}`},
		{"nothing", ``, 200, "", "names no image"},
		{"an image that is none", `{"input":{"image":["x"]}}`, 200, "", `The field \"input.image\" should be a string.`},
		{"a file", `{"input":{"image":"/etc/passwd"}}`, 200, "", "names a file"},
		{"a list", `[1]`, 400, "", `"code": "invalid_parameter"`},
		{"half of it", `{"input":`, 400, "", `"code": "invalid_parameter"`},
		{"the image twice", `{"input":{"image":"` + testImage + `","image":"registry.example/other:v1"}}`, 400, "", "duplicate"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newFaceBed(t, time.Second)
			asked := ""
			b.decider.decide = func(_ context.Context, _ *engine.State, req engine.Request) (engine.Answer, error) {
				asked = req.Image
				return answer(t, verdict.Allow, true, engine.FromMemory), nil
			}
			status, _, body := b.post(t, "/v1/data/signing/verdict", tt.body)
			if status != tt.status || asked != tt.image || !strings.Contains(body, tt.says) {
				t.Errorf("status %d, asked about %q: %s", status, asked, body)
			}
			if tt.image == "" && status == http.StatusOK && (!strings.Contains(body, `"allow":false`) || strings.Contains(body, `"deny":[]`)) {
				t.Errorf("not denied: %s", body)
			}
			if tt.body == "" || status != http.StatusOK { // GET has no body to be wrong
				return
			}
			var sent struct{ Input json.RawMessage }
			if err := json.Unmarshal([]byte(tt.body), &sent); err != nil || sent.Input == nil {
				return
			}
			asked = ""
			w := recorded(b, b.request(t, "verifier", http.MethodGet, "/v1/data/signing/verdict?input="+url.QueryEscape(string(sent.Input)), ""))
			if w.Code != status || asked != tt.image || !strings.Contains(w.Body.String(), tt.says) {
				t.Errorf("by GET: status %d, asked about %q: %s", w.Code, asked, w.Body)
			}
		})
	}
}

func TestOPADocuments(t *testing.T) {
	b := newFaceBed(t, time.Second)
	b.decider.decide = func(context.Context, *engine.State, engine.Request) (engine.Answer, error) {
		return answer(t, verdict.Deny, false, engine.FromMemory), nil
	}
	const input = `{"input":{"image":"` + testImage + `"}}`
	message := `"Image ` + testImage + ` is not signed. Signature required."`
	for path, want := range map[string]string{
		"signing/verdict/allow":          `{"decision_id":"` + testID + `","result":false}`,
		"signing/verdict/allow/":         `{"decision_id":"` + testID + `","result":false}`,
		"signing/verdict/deny":           `{"decision_id":"` + testID + `","result":[` + message + `]}`,
		"mcpgateway/deny":                `{"decision_id":"` + testID + `","result":[` + message + `]}`,
		"mcpgateway/decision?provenance": `{"decision_id":"` + testID + `","provenance":{"version":"test"},"result":"deny"}`,
		"signing/verdict/nothing":        `{"decision_id":"` + testID + `"}`,
		"signing":                        `{"decision_id":"REQUEST"}`,
		"other/allow":                    `{"decision_id":"REQUEST"}`,
		"signing%2Fverdict":              `{"decision_id":"REQUEST"}`,
		"":                               `{"decision_id":"REQUEST"}`,
	} {
		status, h, body := b.post(t, "/v1/data/"+path, input)
		want = strings.ReplaceAll(want, "REQUEST", h.Get("X-Request-ID"))
		if strings.TrimSpace(body) != want || status != http.StatusOK || h.Get("Content-Type") != mediaJSON {
			t.Errorf("%s: %d %s, want %s", path, status, body, want)
		}
	}
	if _, _, body := b.post(t, "/v1/data/signing/verdict?pretty", input); !strings.HasPrefix(body, "{\n  \"decision_id\"") {
		t.Errorf("pretty: %s", body)
	}
	if _, _, body := b.post(t, "/v1/data/signing/verdict/allow?metrics", input); !strings.Contains(body, `"metrics":{"timer_server_handler_ns":`) {
		t.Errorf("metrics: %s", body)
	}
	if w := recorded(b, b.request(t, "", http.MethodPost, "/v1/data/signing/verdict", input)); w.Code != 401 || !strings.Contains(w.Body.String(), `"code": "unauthorized"`) {
		t.Errorf("without a token: %d %s", w.Code, w.Body)
	}
	if w := recorded(b, b.request(t, "viewer", http.MethodPost, "/v1/data/signing/verdict", input)); w.Code != 403 {
		t.Errorf("a viewer: %d %s", w.Code, w.Body)
	}
	b.decider.current = func(context.Context) (*engine.State, error) { return nil, engine.ErrState }
	if w := recorded(b, b.request(t, "", http.MethodGet, "/health", "")); w.Code != 500 || strings.TrimSpace(w.Body.String()) != `{"error":"unable to perform evaluation"}` {
		t.Errorf("health: %d %s", w.Code, w.Body)
	}
}

// mapping has images by a server's id, URL or tag, as the administration keeps them.
type mapping map[string][]string

func (m mapping) GatewayImages(_ context.Context, id, url string, tags []string) ([]string, error) {
	for _, key := range append([]string{id, url}, tags...) {
		if key == "away" {
			return nil, errors.New("the store is away")
		}
		if images := m[key]; key != "" && images != nil {
			return images, nil
		}
	}
	return nil, nil
}

// The gateway's policy engine, pointed at us instead of OPA: its request, and what it
// reads of the reply (allow and deny of result; nothing is a deny). A tool is allowed
// by the images behind its server, and nothing that its caller sends changes which.
func TestGatewaysPolicyEngine(t *testing.T) {
	at := func(image string) string { return image + "@sha256:" + strings.Repeat("b", 64) }
	good, bad, late := at("registry.example/org/good"), at("registry.example/org/bad"), at("registry.example/org/late")
	gateways := mapping{
		"srv-1": {good}, "srv-2": {bad}, "srv-3": {good, bad}, "srv-4": {late, bad}, "srv-5": {"registry.example/org/panics"},
		"https://tools.example.com": {good}, "prod": {good, late},
	}
	request := func(action, resource string) string {
		return `{"input":{"subject":{"email":"admin@example.com","roles":["developer"],"team_id":"t1","mfa_verified":true,"clearance_level":2},"action":"` + action + `","resource":` + resource +
			`,"context":{"ip":"10.0.0.7","timestamp":"2026-08-01T12:00:00+00:00","user_agent":"python-httpx/0.28.1","session_id":"s-1","tool_args":{"image":"registry.example/org/good:v1"}}}}`
	}
	tool := func(server string) string {
		return request("tools.invoke.deploy", `{"type":"tool","id":"deploy","server":`+server+`,"classification_level":1,"args_keys":["image"]}`)
	}
	of := func(gateway string) string {
		return request("tools.invoke.deploy", `{"type":"tool","id":"deploy","server":"srv-9","gateway":`+gateway+`}`)
	}
	for _, tt := range []struct {
		name, body, unmapped string
		// allow and decision are of the reply, says stands in deny, or for an allow in the reply.
		allow    bool
		decision string
		says     string
		asked    []string
	}{
		{"an image that is allowed", tool(`"srv-1"`), "deny", true, "allow", `"deny":[]`, []string{good}},
		{"one that is denied", tool(`"srv-2"`), "deny", false, "deny", "is not signed", []string{bad}},
		{"all must be allowed", tool(`"srv-3"`), "allow", false, "deny", "is not signed", []string{good, bad}},
		{"one is not known", tool(`"srv-4"`), "allow", false, "unknown", "Something", []string{late, bad}},
		{"a panic", tool(`"srv-5"`), "allow", false, "unknown", "went wrong", []string{"registry.example/org/panics"}},
		{"the look-up fails", tool(`"away"`), "allow", false, "unknown", "could not be read", nil},
		{"not mapped", tool(`"srv-9"`), "deny", false, "deny", `The server \"srv-9\" has no image in Signet`, nil},
		{"not mapped, and that may be", tool(`"srv-9"`), "allow", true, "allow", `"code":"gateway_not_mapped"`, nil},
		{"no server", tool(`null`), "deny", false, "deny", "names no server", nil},
		{"no server, and that may be", tool(`null`), "allow", true, "allow", "names no server", nil},
		{"nobody said what then", tool(`"srv-9"`), "", false, "deny", "nobody has said", nil},
		{"nobody said, and it is mapped", tool(`"srv-1"`), "", false, "deny", "nobody has said", nil},
		{"a server that is no string", tool(`7`), "allow", false, "deny", `\"input.resource.server\" should be a string`, nil},
		{"by the gateway's id", of(`{"id":"srv-1"}`), "deny", true, "allow", `"deny":[]`, []string{good}},
		{"by its URL", of(`{"url":"https://tools.example.com","tags":null}`), "deny", true, "allow", `"deny":[]`, []string{good}},
		{"by its tags", of(`{"tags":["x",{"id":"prod","label":"Prod"}]}`), "deny", false, "unknown", "Something", []string{good, late}},
		{"a gateway that is none", of(`"x"`), "allow", false, "deny", "should be an object", nil},
		{"tags that are none", of(`{"tags":"x"}`), "allow", false, "deny", "should be a list", nil},
		{"a tag that is none", of(`{"tags":[7]}`), "allow", false, "deny", "neither a string nor an object", nil},
		{"too many tags", of(`{"tags":[` + strings.Repeat(`"a",`, 64) + `"b"]}`), "allow", false, "deny", "64 are the most", nil},
		{"a resource", request("resources.fetch", `{"type":"resource","id":"file:///x","server":"srv-1"}`), "allow", false, "deny", "names no image", nil},
		{"a resource whose members say that it is a tool", request("resources.fetch", `{"type":"tool","id":"deploy","server":"srv-1"}`), "allow", false, "deny", "names no image", nil},
		{"a resource whose members say that it is an image", request("resources.fetch", `{"type":"oci_image","id":"`+good+`","server":"srv-1"}`), "allow", false, "deny", "names no image", nil},
		{"something else", request("prompts.get", `{"type":"prompt","id":"p","server":"srv-1"}`), "allow", false, "deny", "names no image", nil},
		{"an image as well", `{"input":{"image":"` + bad + `","resource":{"type":"tool","server":"srv-1"}}}`, "allow", false, "deny", "is not signed", []string{bad}},
		{"a digest as well", `{"input":{"digest":"sha256:00","resource":{"type":"tool","server":"srv-1"}}}`, "allow", false, "deny", "names no image", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newFaceBed(t, time.Second, func(cfg *opadata.Config) { cfg.Gateways, cfg.Unmapped = gateways, tt.unmapped })
			b.state.Policies = []engine.Policy{{Applies: func(string) bool { return true }, Set: declaring{}}}
			var asked []string
			b.decider.decide = func(_ context.Context, _ *engine.State, req engine.Request) (engine.Answer, error) {
				asked = append(asked, req.Image)
				if len(req.Context) > 0 {
					t.Errorf("a policy is given %v", req.Context)
				}
				switch {
				case strings.Contains(req.Image, "panics"):
					panic("boom")
				case req.Image == late:
					return engine.Answer{}, errors.New("boom")
				case req.Image == bad:
					return answer(t, verdict.Deny, false, engine.FromMiss), nil
				}
				return answer(t, verdict.Allow, true, engine.FromMiss), nil
			}
			status, _, body := b.post(t, "/v1/data/mcpgateway", tt.body)
			var got struct {
				Result struct {
					Allow    bool
					Deny     []string
					Decision string
				}
			}
			if err := json.Unmarshal([]byte(body), &got); err != nil || status != http.StatusOK {
				t.Fatal(status, err, body)
			}
			r := got.Result
			if r.Allow != tt.allow || r.Decision != tt.decision || (len(r.Deny) == 0) != tt.allow || !strings.Contains(body, tt.says) {
				t.Errorf("want allow %t, %s, %q: %s", tt.allow, tt.decision, tt.says, body)
			}
			if d := cmp.Diff(tt.asked, asked); d != "" {
				t.Errorf("asked about (-want +got):\n%s", d)
			}
			want := fmt.Sprintf(`"result":%t`, tt.allow)
			if _, _, body := b.post(t, "/v1/data/signing/verdict/allow", tt.body); !strings.Contains(body, want) {
				t.Errorf("/allow: %s", body)
			}
		})
	}

	// Byte for byte, where nothing is configured: the members that the engine reads.
	b := newFaceBed(t, time.Second)
	w := recorded(b, b.request(t, "verifier", http.MethodPost, "/v1/data/mcpgateway", tool(`"srv-1"`)))
	const message = "The input asks about a tool, and nobody has said what a tool gets whose gateway has no image in Signet."
	want := `{"decision_id":"` + w.Result().Header.Get("X-Request-ID") + `","result":{"allow":false,"deny":["` + message + `"],"decision":"deny",` +
		`"reasons":[{"code":"unmapped_not_configured","message":"` + message + `","remediation":"The operator writes mcp.unmapped: deny, or allow, into the configuration.","rule":"gateways"}],` +
		`"warnings":[],"image":"","id":"","digest":"","pinned":""}}` + "\n"
	if w.Code != http.StatusOK || w.Body.String() != want {
		t.Errorf("%d %s\nwant %s", w.Code, w.Body, want)
	}
	if w := recorded(b, b.request(t, "", http.MethodGet, "/health", "")); w.Code != http.StatusOK {
		t.Errorf("health: %d", w.Code)
	}
	// Several images count as several questions.
	b = newFaceBed(t, time.Second, func(cfg *opadata.Config) { cfg.Gateways, cfg.Unmapped = gateways, "allow" })
	b.limits = newBuckets[string](RateLimit{PerSecond: 0.001, Burst: 2}, 10)
	b.cfg.RateLimit = RateLimit{PerSecond: 0.001, Burst: 2}
	if status, _, body := b.post(t, "/v1/data/mcpgateway", tool(`"srv-3"`)); status != http.StatusOK {
		t.Errorf("as many as the limit allows at once: %d %s", status, body)
	}
	if status, h, body := b.post(t, "/v1/data/mcpgateway", tool(`"srv-1"`)); status != http.StatusTooManyRequests || h.Get("Retry-After") == "" || !strings.Contains(body, `"code": "rate_limited"`) {
		t.Errorf("above the limit: %d %s", status, body)
	}
	// Who may ask about some images only is asked about no others, whatever is mapped.
	ctx := WithPrincipal(t.Context(), auth.Principal{Name: "web", Role: auth.Verifier, Images: []string{"registry.example/web/**"}})
	b = newFaceBed(t, time.Second, func(cfg *opadata.Config) { cfg.Gateways, cfg.Unmapped = gateways, "allow" })
	w = recorded(b, b.request(t, "", http.MethodPost, "/v1/data/mcpgateway", tool(`"srv-1"`)).WithContext(ctx))
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"allow":false`) || !strings.Contains(w.Body.String(), "may ask about registry.example/web/** only") {
		t.Errorf("another team's: %d %s", w.Code, w.Body)
	}
	if _, err := opadata.New(opadata.Config{Core: &pep.Core{}, Unmapped: "maybe"}); err == nil {
		t.Error("unmapped may be anything")
	}
}

// declaring is a policy that declares the context key action.
type declaring struct{ engine.PolicySet }

func (declaring) Context() map[string][]string {
	return map[string][]string{"action": {"deploy", "run"}, "stage": {"production"}}
}

// AuthZEN, request by request.
func TestAuthZEN(t *testing.T) {
	resource := `"resource":{"type":"container_image","id":"` + testImage + `"}`
	for _, tt := range []struct {
		name, path, body string
		status           int
		says             string
		// context that the policy is given, for what is asked.
		context map[string]string
	}{
		{"a decision", "", zenBody("deploy", testImage), 200, `{"decision":true,"context":{"decision":"allow"`, map[string]string{"action": "deploy"}},
		{"fields that nobody knows", "", `{"subject":{"type":"user","id":"a","properties":{"x":1}},"action":{"name":"run","properties":{}},` + resource + `,"context":{"time":"now","stage":"production"},"more":[1]}`, 200, `"ignored":["context.time"]`, map[string]string{"action": "run", "stage": "production"}},
		{"an action that the policy does not know", "", zenBody("delete", testImage), 200, `{"decision":false,"context":{"decision":"deny","reason":"The action \"delete\" is none that`, nil},
		{"another type", "", `{"subject":{"type":"user","id":"a"},"action":{"name":"x"},"resource":{"type":"account","id":"1"}}`, 200, `"code":"resource_type"`, nil},
		{"no subject", "", `{"action":{"name":"x"},` + resource + `}`, 400, `The field "subject" is missing.`, nil},
		{"no subject type", "", `{"subject":{"id":"a"},"action":{"name":"x"},` + resource + `}`, 400, `"subject.type"`, nil},
		{"no subject id", "", `{"subject":{"type":"user"},"action":{"name":"x"},` + resource + `}`, 400, `"subject.id"`, nil},
		{"no action", "", `{"subject":{"type":"user","id":"a"},` + resource + `}`, 400, `"action"`, nil},
		{"no action name", "", `{"subject":{"type":"user","id":"a"},"action":{},` + resource + `}`, 400, `"action.name"`, nil},
		{"no resource", "", `{"subject":{"type":"user","id":"a"},"action":{"name":"x"}}`, 400, `"resource"`, nil},
		{"no resource id", "", `{"subject":{"type":"user","id":"a"},"action":{"name":"x"},"resource":{"type":"container_image"}}`, 400, `"resource.id"`, nil},
		{"a number as a name", "", `{"subject":{"type":"user","id":7},"action":{"name":"x"},` + resource + `}`, 400, `"subject.id" should be a string`, nil},
		{"a context that is none", "", `{"subject":{"type":"user","id":"a"},"action":{"name":"run"},` + resource + `,"context":"x"}`, 400, `"context" should be an object`, nil},
		{"an image that is none", "", zenBody("deploy", "/etc/passwd"), 400, "names a file", nil},
		{"no JSON", "", `{`, 400, "cannot be read", nil},
		{"a batch", "s", `{"subject":{"type":"user","id":"a"},"action":{"name":"deploy"},"evaluations":[{` + resource + `},{"action":{"name":"delete"},` + resource + `},{}]}`, 200, `"error":{"status":400,"message":"The field \"resource\" is missing."}`, map[string]string{"action": "deploy"}},
		{"a batch without a list", "s", zenBody("deploy", testImage), 200, `{"decision":true`, map[string]string{"action": "deploy"}},
		{"a batch with an empty list", "s", strings.TrimSuffix(zenBody("deploy", testImage), "}") + `,"evaluations":[]}`, 200, `{"decision":true`, map[string]string{"action": "deploy"}},
		{"an item that is none", "s", `{"subject":{"type":"user","id":"a"},"action":{"name":"deploy"},` + resource + `,"evaluations":[1]}`, 200, `"status":400`, nil},
		{"another semantic", "s", `{"options":{"evaluations_semantic":"any"},"evaluations":[{}]}`, 400, "evaluations_semantic", nil},
		{"too many", "s", `{"evaluations":[` + strings.Repeat(`{},`, 100) + `{}]}`, 400, "100 are the most", nil},
		{"no list", "s", `{"evaluations":{}}`, 400, "should be a list", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newFaceBed(t, time.Second)
			b.state.Policies = []engine.Policy{{Applies: func(string) bool { return true }, Set: declaring{}}}
			var given map[string]string
			b.decider.decide = func(_ context.Context, _ *engine.State, req engine.Request) (engine.Answer, error) {
				for k, v := range req.Context {
					if k == "action" && v != "deploy" && v != "run" {
						return engine.Answer{}, fmt.Errorf("%w: context.action: no", engine.ErrInvalid)
					}
				}
				given = req.Context
				return answer(t, verdict.Allow, true, engine.FromMemory), nil
			}
			r := b.request(t, "verifier", http.MethodPost, "/access/v1/evaluation"+tt.path, tt.body)
			r.Header.Set("X-Request-ID", "bfe9eb29-ab87")
			w := recorded(b, r)
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.says) {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			if id := w.Result().Header["X-Request-Id"]; len(id) != 1 || id[0] != "bfe9eb29-ab87" {
				t.Errorf("X-Request-ID %q", id)
			}
			if d := cmp.Diff(tt.context, given); d != "" {
				t.Errorf("context (-want +given):\n%s", d)
			}
		})
	}
}

// The items of a batch keep their order, and end where the semantic says.
func TestAuthZENSemantics(t *testing.T) {
	items := func(images string) string {
		var list []string
		for _, c := range images {
			list = append(list, fmt.Sprintf(`{"resource":{"type":"oci_image","id":"registry.example/%c:v1"}}`, c))
		}
		return strings.Join(list, ",")
	}
	for _, tt := range []struct{ semantic, images, want string }{
		{"execute_all", "adaud", "true false true false false"},
		{"", "aada", "true true false true"},
		{"deny_on_first_deny", "aadaa", "true true false"},
		{"deny_on_first_deny", "aua", "true false"},
		{"deny_on_first_deny", "aaaaaaaaaaaa", strings.TrimSpace(strings.Repeat("true ", 12))},
		{"permit_on_first_permit", "dudad", "false false false true"},
		{"permit_on_first_permit", "dd", "false false"},
	} {
		b := newFaceBed(t, 10*time.Second)
		b.decider.decide = func(_ context.Context, _ *engine.State, req engine.Request) (engine.Answer, error) {
			d := map[byte]verdict.Decision{'a': verdict.Allow, 'd': verdict.Deny, 'u': verdict.Unknown}[strings.TrimPrefix(req.Image, "registry.example/")[0]]
			return answer(t, d, d == verdict.Allow, engine.FromMiss), nil
		}
		options := ""
		if tt.semantic != "" {
			options = `"options":{"evaluations_semantic":"` + tt.semantic + `"},`
		}
		status, _, body := b.post(t, "/access/v1/evaluations", `{`+options+`"subject":{"type":"user","id":"a"},"action":{"name":"x"},"evaluations":[`+items(tt.images)+`]}`)
		var got struct{ Evaluations []struct{ Decision bool } }
		if err := json.Unmarshal([]byte(body), &got); err != nil || status != http.StatusOK {
			t.Fatal(status, err, body)
		}
		var said []string
		for _, e := range got.Evaluations {
			said = append(said, fmt.Sprint(e.Decision))
		}
		if s := strings.Join(said, " "); s != tt.want {
			t.Errorf("%s of %s: %s, want %s", tt.semantic, tt.images, s, tt.want)
		}
	}
}

// Where the decision point is comes from the configuration, whatever the caller says.
func TestAuthZENMetadata(t *testing.T) {
	b := newFaceBed(t, time.Second)
	r := b.request(t, "viewer", http.MethodGet, "/.well-known/authzen-configuration", "")
	r.Host = "evil.example.com"
	r.Header.Set("X-Forwarded-Host", "evil.example.com")
	w := recorded(b, r)
	want := `{"policy_decision_point":"` + externalURL + `","access_evaluation_endpoint":"` + externalURL + `/access/v1/evaluation","access_evaluations_endpoint":"` + externalURL + `/access/v1/evaluations"}` + "\n"
	if w.Code != http.StatusOK || w.Body.String() != want {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	core, err := pep.New(pep.Config{Decider: b.decider, Build: "test"})
	if err != nil {
		t.Fatal(err)
	}
	face, err := authzen.New(authzen.Config{Core: core})
	if err != nil {
		t.Fatal(err)
	}
	b = newBed(t, func(cfg *Config) { cfg.Faces = []pep.Face{face} })
	if w := recorded(b, b.request(t, "viewer", http.MethodGet, "/.well-known/authzen-configuration", "")); w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "external_url") {
		t.Errorf("without one: %d %s", w.Code, w.Body)
	}
}

// A batch counts as many times as it has items, and is told so in the protocol's words.
func TestFacesAreLimited(t *testing.T) {
	b := newFaceBed(t, time.Second)
	b.limits = newBuckets[string](RateLimit{PerSecond: 0.001, Burst: 3}, 10)
	b.cfg.RateLimit = RateLimit{PerSecond: 0.001, Burst: 3}
	batch := `{"subject":{"type":"user","id":"a"},"action":{"name":"x"},"resource":{"type":"oci_image","id":"` + testImage + `"},"evaluations":[{},{},{},{},{}]}`
	if status, _, body := b.post(t, "/access/v1/evaluations", batch); status != http.StatusOK { // it could never be asked else
		t.Errorf("more than a whole bucket, with a full one: %d %s", status, body)
	}
	if status, h, body := b.post(t, "/access/v1/evaluation", zenBody("x", testImage)); status != http.StatusTooManyRequests || h.Get("Retry-After") == "" || strings.HasPrefix(body, "{") {
		t.Errorf("above it: %d %v %s", status, h, body)
	}
	if status, h, body := b.post(t, "/v1/data/signing/verdict", `{"input":{"image":"`+testImage+`"}}`); status != http.StatusTooManyRequests || h.Get("Retry-After") == "" || !strings.Contains(body, `"code": "rate_limited"`) {
		t.Errorf("above it: %d %s", status, body)
	}
}

// Who may ask about some images only is told so, and is asked about no others.
func TestFacesKeepToTheScope(t *testing.T) {
	b := newFaceBed(t, time.Second)
	b.decider.decide = func(context.Context, *engine.State, engine.Request) (engine.Answer, error) {
		t.Error("it was asked")
		return answer(t, verdict.Allow, true, engine.FromMemory), nil
	}
	ask := func(path, body string) (int, string) {
		ctx := WithPrincipal(t.Context(), auth.Principal{Name: "web", Role: auth.Verifier, Images: []string{"registry.example/web/**"}})
		r := b.request(t, "", http.MethodPost, path, body).WithContext(ctx)
		w := recorded(b, r)
		return w.Code, w.Body.String()
	}
	if status, body := ask("/v1/data/signing/verdict/allow", `{"input":{"image":"`+testImage+`"}}`); status != 200 || !strings.Contains(body, `"result":false`) {
		t.Errorf("%d %s", status, body)
	}
	if status, body := ask("/access/v1/evaluation", zenBody("x", testImage)); status != 403 || !strings.Contains(body, "may ask about registry.example/web/** only") {
		t.Errorf("%d %s", status, body)
	}
	if status, body := ask("/access/v1/evaluations", `{"subject":{"type":"user","id":"a"},"action":{"name":"x"},"evaluations":[{"resource":{"type":"oci_image","id":"`+testImage+`"}}]}`); status != 200 || !strings.Contains(body, `"decision":false`) || !strings.Contains(body, `"status":403`) {
		t.Errorf("%d %s", status, body)
	}
}
