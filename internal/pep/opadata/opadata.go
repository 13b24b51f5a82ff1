package opadata

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/pep"
	"github.com/signet-policy/signet/internal/strictjson"
	"github.com/signet-policy/signet/internal/verdict"
)

// Protocol is the face's name in the configuration of listeners.
const Protocol = "opa"

// DefaultDeadline bounds an answer: the gateway's engine gives up after a second.
const DefaultDeadline = 800 * time.Millisecond

// document is where verdicts always are.
const document = "signing/verdict"

// Bounds of a request body, in bytes and in depth: inputs are others' documents.
const (
	bodyLimit = 1 << 20
	bodyDepth = 64
)

// Config of the face. Core is needed.
type Config struct {
	Core *pep.Core
	// Mounts are more paths at which verdicts are documents, for clients whose path
	// is given ("mcpgateway").
	Mounts []string
	// Deadline of an answer; 0: [DefaultDeadline].
	Deadline time.Duration
	// Gateways are asked for inputs that are about a tool. Unmapped is what a tool gets
	// of whose server they know no image: [UnmappedAllow] or [UnmappedDeny]. Where one
	// of the two is absent, each tool is denied and told so.
	Gateways Gateways
	Unmapped string
	// Build is told where provenance is asked for.
	Build string
}

type face struct {
	cfg Config
	// documents are all paths at which there is a verdict, in segments.
	documents [][]string
}

// New makes the face. It errs when a mount is no path of a document.
func New(cfg Config) (pep.Face, error) {
	if cfg.Core == nil {
		return pep.Face{}, errors.New("opadata: Config.Core is missing")
	}
	if err := checkUnmapped(cfg); err != nil {
		return pep.Face{}, err
	}
	if cfg.Deadline <= 0 {
		cfg.Deadline = DefaultDeadline
	}
	f := &face{cfg: cfg, documents: [][]string{strings.Split(document, "/")}}
	for _, m := range cfg.Mounts {
		if err := CheckMount(m); err != nil {
			return pep.Face{}, err
		}
		f.documents = append(f.documents, strings.Split(m, "/"))
	}
	out := pep.Face{Protocol: Protocol}
	for _, path := range []string{"/v1/data", "/v1/data/*"} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			out.Routes = append(out.Routes, pep.Route{
				Method: method, Path: path, Body: method == http.MethodPost, Limit: bodyLimit, Deadline: cfg.Deadline,
				Serve: f.serve, Fail: f.fail,
			})
		}
	}
	out.Routes = append(out.Routes, pep.Route{
		Method: http.MethodGet, Path: "/health", Open: true, Deadline: healthTime, Serve: health,
		Fail: func(*pep.Request, pep.Failure) pep.Reply {
			return unhealthy(errors.New("unable to perform evaluation"))
		},
	})
	return out, nil
}

// CheckMount says what is wrong with a path of a document below data.
func CheckMount(mount string) error {
	if mount == "" {
		return errors.New("is empty; name a path like mcpgateway")
	}
	for segment := range strings.SplitSeq(mount, "/") {
		if segment == "" || strings.ContainsFunc(segment, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`%?#.*:[]"\`, r) }) {
			return fmt.Errorf("%q is not a path below data; write it like mcpgateway or team/images", mount)
		}
	}
	if mount == document || strings.HasPrefix(mount, document+"/") {
		return fmt.Errorf("%q is a document already", mount)
	}
	return nil
}

// place says which document a path names, and which member of it, "" for all of it.
// What is no document of ours is undefined.
func (f *face) place(path []string) (member string, defined bool) {
	if n := len(path); n > 0 && path[n-1] == "" { // a slash at the end, which OPA ignores too
		path = path[:n-1]
	}
	for _, d := range f.documents {
		switch {
		case slices.Equal(path, d):
			return "", true
		case len(path) == len(d)+1 && slices.Equal(path[:len(d)], d):
			return path[len(d)], true
		}
	}
	return "", false
}

// result is a verdict as a document.
type result struct {
	Allow bool `json:"allow"`
	// Deny is empty exactly when Allow is true.
	Deny     []string         `json:"deny"`
	Decision verdict.Decision `json:"decision"`
	Reasons  []verdict.Reason `json:"reasons"`
	Warnings []verdict.Reason `json:"warnings"`
	Image    string           `json:"image"`
	ID       string           `json:"id"`
	Digest   string           `json:"digest"`
	// Pinned is the reference to deploy.
	Pinned string `json:"pinned"`
	// Link is the page of the verdict.
	Link string `json:"link,omitempty"`
	// RetryAfter is in seconds, for unknown alone.
	RetryAfter int `json:"retry_after,omitempty"`
	// Ignored are the members of the input's context that no policy declares.
	Ignored []string `json:"ignored,omitempty"`
}

// response is what OPA answers, in its order.
type response struct {
	DecisionID string           `json:"decision_id"`
	Provenance *provenance      `json:"provenance,omitempty"`
	Metrics    map[string]int64 `json:"metrics,omitempty"`
	Result     any              `json:"result,omitempty"`
	Warning    *warning         `json:"warning,omitempty"`
}

type provenance struct {
	Version string `json:"version"`
}

type warning struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// serve answers one query.
func (f *face) serve(ctx context.Context, r *pep.Request) pep.Reply {
	raw, err := inputOf(r)
	if err != nil {
		return problem(http.StatusBadRequest, "invalid_parameter", err.Error())
	}
	member, defined := f.place(r.Rest)
	if !defined {
		return f.reply(r, response{DecisionID: r.ID, Warning: missing(r, raw)})
	}
	ans := f.decide(ctx, r, raw)
	if ans.failure != nil {
		reply := f.fail(r, *ans.failure)
		reply.RetryAfter = ans.failure.RetryAfter
		return reply
	}
	out := response{DecisionID: ans.result.ID, Warning: missing(r, raw)}
	if out.DecisionID == "" {
		out.DecisionID = r.ID
	}
	out.Result = ans.result.member(member)
	reply := f.reply(r, out)
	reply.Image, reply.Given = ans.image, ans.given
	return reply
}

// answer is what comes of one input.
type answer struct {
	result result
	given  []pep.Given
	// image that was asked about, for the log; "" for none.
	image string
	// failure is why there is no result, nil where there is one.
	failure *pep.Failure
}

func unknown() pep.Given { return pep.Given{Decision: verdict.Unknown, From: engine.FromMiss} }

// missing is OPA's warning for a body without input.
func missing(r *pep.Request, input json.RawMessage) *warning {
	if input != nil || r.HTTP.Method != http.MethodPost {
		return nil
	}
	return &warning{Code: "api_usage_warning", Message: "'input' key missing from the request"}
}

// inputOf is the input, nil where there is none.
func inputOf(r *pep.Request) (json.RawMessage, error) {
	if r.HTTP.Method != http.MethodPost {
		values := r.HTTP.URL.Query()["input"]
		switch len(values) {
		case 0:
			return nil, nil
		case 1:
			raw := json.RawMessage(values[0])
			if err := strictjson.Check(raw, bodyDepth); err != nil {
				return nil, fmt.Errorf("parameter contains malformed input document: %w", err)
			}
			return raw, nil
		}
		return nil, errors.New("parameter input is there several times; send it once")
	}
	if len(bytes.TrimSpace(r.Body)) == 0 {
		return nil, nil
	}
	var body struct {
		Input json.RawMessage `json:"input"`
	}
	if err := strictjson.DecodeKnown(r.Body, bodyDepth, &body); err != nil {
		return nil, fmt.Errorf("body contains malformed input document: %w", err)
	}
	return body.Input, nil
}

// decide never fails: what is no answer is no allow.
func (f *face) decide(ctx context.Context, r *pep.Request, raw json.RawMessage) answer {
	in, mistake := parseInput(raw)
	switch {
	case mistake != nil:
		return answer{result: refused(mistake)}
	case in.tool != nil:
		return f.tool(ctx, r, *in.tool)
	}
	q := pep.Question{
		Image: in.image, Platform: in.platform, AssessmentID: in.assessment, Principal: r.Principal, RequestID: r.ID,
	}
	var ignored []string
	if q.Context, ignored, mistake = f.cfg.Core.Context(r.State, in.image, in.action, in.context); mistake != nil {
		return answer{result: refused(mistake)}
	}
	ans := f.ask(ctx, r.State, q)
	if ans.image != "" {
		ans.result.Ignored = ignored
	}
	return ans
}

// ask decides on one image.
func (f *face) ask(ctx context.Context, st *engine.State, q pep.Question) answer {
	ans, err := f.cfg.Core.Answer(ctx, st, q)
	var mistake *pep.Mistake
	switch {
	case err == nil:
		return answer{result: resultOf(ans), given: []pep.Given{{Decision: ans.Verdict.Decision, From: ans.From}}, image: q.Image}
	case errors.As(err, &mistake):
		return answer{result: refused(mistake)}
	}
	// The caller went away: nobody reads it.
	return answer{result: resultOf(f.cfg.Core.Unknown(q.Image, pep.StillVerifying(q.Image))), image: q.Image}
}

func resultOf(ans pep.Answer) result {
	v := ans.Verdict
	res := result{
		Allow: ans.Allowed, Deny: []string{}, Decision: v.Decision, Reasons: v.Reasons, Warnings: v.Warnings,
		Image: v.Image, ID: v.ID, Digest: v.Digest, Pinned: v.Pinned, Link: ans.Link,
	}
	if res.Reasons == nil {
		res.Reasons = []verdict.Reason{}
	}
	if res.Warnings == nil {
		res.Warnings = []verdict.Reason{}
	}
	if !ans.Allowed {
		res.Deny, res.RetryAfter = ans.Messages(), ans.RetryAfter
	}
	return res
}

// refused is a question that cannot be asked so.
func refused(m *pep.Mistake) result {
	remediation := `Ask with {"input": {"image": "ghcr.io/org/app:v1"}}.`
	if m.Code == pep.OutOfScope {
		remediation = "Ask as a principal that may ask about this image; the operator makes one."
	}
	return denied(m.Code, m.Detail, remediation, "opa")
}

// denied is a deny without a verdict.
func denied(code, message, remediation, rule string) result {
	return result{
		Deny: []string{message}, Decision: verdict.Deny, Warnings: []verdict.Reason{},
		Reasons: []verdict.Reason{{Code: code, Message: message, Remediation: remediation, Rule: rule}},
	}
}

// member is a member of the document, nil for one that it does not have.
func (res result) member(name string) any {
	if name == "" {
		return res
	}
	if name == "allow" {
		return res.Allow
	}
	raw, err := json.Marshal(res)
	if err != nil {
		return nil
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) != nil || members[name] == nil {
		return nil
	}
	return members[name]
}

// reply encodes an answer as the query wants it.
func (f *face) reply(r *pep.Request, out response) pep.Reply {
	q := r.HTTP.URL.Query()
	if flag(q, "provenance") {
		out.Provenance = &provenance{Version: f.cfg.Build}
	}
	if flag(q, "metrics") || flag(q, "instrument") {
		out.Metrics = map[string]int64{"timer_server_handler_ns": max(time.Since(r.Begun).Nanoseconds(), 1)}
	}
	return encode(http.StatusOK, out, flag(q, "pretty"))
}

// flag is true for a parameter without value and for "true", as in OPA.
func flag(q url.Values, name string) bool {
	values, ok := q[name]
	return ok && (len(values) == 1 && values[0] == "" || slices.ContainsFunc(values, func(v string) bool { return strings.EqualFold(v, "true") }))
}

// fail says what kept the server from serving a query. When it was we who failed,
// the answer is unknown and denies.
func (f *face) fail(r *pep.Request, why pep.Failure) pep.Reply {
	if !why.Undecided() {
		return problem(why.Status, opaCode(why), why.Detail)
	}
	member, defined := f.place(r.Rest)
	if !defined {
		return f.reply(r, response{DecisionID: r.ID})
	}
	res := resultOf(f.cfg.Core.Unknown("", why.Reason()))
	reply := f.reply(r, response{DecisionID: r.ID, Result: res.member(member)})
	reply.Given = []pep.Given{unknown()}
	return reply
}

// opaCode is what OPA calls a failure where it has a name for it.
func opaCode(why pep.Failure) string {
	switch why.Status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return "unauthorized"
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType:
		return "invalid_parameter"
	case http.StatusNotFound:
		return "resource_not_found"
	}
	return why.Code
}

// problem is an error in OPA's shape, indented as OPA does.
func problem(status int, code, message string) pep.Reply {
	return encode(status, struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}{code, message}, true)
}

func encode(status int, v any, pretty bool) pep.Reply {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if pretty {
		enc.SetIndent("", "  ")
	}
	if err := enc.Encode(v); err != nil { // strings, numbers and JSON that was read always encode
		return pep.Reply{Status: http.StatusInternalServerError, ContentType: mediaJSON, Body: []byte(`{"code":"internal_error","message":"the answer could not be encoded"}` + "\n")}
	}
	return pep.Reply{Status: status, ContentType: mediaJSON, Body: buf.Bytes()}
}

const mediaJSON = "application/json"

// healthTime bounds looking whether we are well.
const healthTime = 2 * time.Second

// health is OPA's: whether a query could be answered; with ?bundles, or ?plugins,
// whether all is as it should be. OPA says nothing besides; MCP gateways read a status.
func health(ctx context.Context, r *pep.Request) pep.Reply {
	if st, err := r.Current(ctx); err != nil || st == nil {
		return unhealthy(errors.New("unable to perform evaluation"))
	}
	q := r.HTTP.URL.Query()
	if flag(q, "bundle") || flag(q, "bundles") || flag(q, "plugins") {
		if err := r.Ready(ctx); err != nil {
			return unhealthy(err)
		}
	}
	return encode(http.StatusOK, map[string]string{"status": "healthy"}, false)
}

func unhealthy(err error) pep.Reply {
	return encode(http.StatusInternalServerError, struct {
		Error string `json:"error"`
	}{err.Error()}, false)
}
