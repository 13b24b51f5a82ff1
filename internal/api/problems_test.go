package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/engine"
)

// told is what a caller reads of a problem.
type told struct {
	Status int
	Code   code
	Field  string
	Detail string
}

func toldBy(b *bed, t *testing.T, r *http.Request) told {
	t.Helper()
	w := b.do(t, r)
	p := problemOf(w)
	return told{w.Code, p.Code, p.Field, p.Detail}
}

// Bodies that are wrong, each with what its sender is told. The deciders of
// these tests are never asked.
func TestBodyProblems(t *testing.T) {
	tests := []struct {
		name, body string
		want       told
	}{
		{"empty", " ", told{400, codeInvalidJSON, "", `The body is empty. Send a JSON object, for example {"image": "ghcr.io/org/app:v1"}.`}},
		{"not JSON", `image=nginx`, told{400, codeInvalidJSON, "", `The body cannot be read: not valid JSON: unexpected character 'i' (line 1, byte 0).`}},
		{"cut short", `{"image":"nginx"`, told{400, codeInvalidJSON, "", `The body cannot be read: not valid JSON: a comma or } should follow the value (line 1, byte 16).`}},
		{"a comma at the end", "{\"image\":\"nginx\",\n}", told{400, codeInvalidJSON, "", `The body cannot be read: not valid JSON: a key in quotes should be here (line 2, byte 18).`}},
		{"trailing bytes", `{"image":"nginx"} {}`, told{400, codeInvalidJSON, "", `The body cannot be read: trailing bytes after the JSON value (line 1, byte 18).`}},
		{"not UTF-8", "{\"image\":\"ngin\xff\"}", told{400, codeInvalidJSON, "", `The body cannot be read: not valid UTF-8 (line 1, byte 14).`}},
		{"NUL", `{"image":"ngin\u0000x"}`, told{400, codeInvalidJSON, "image", `The body cannot be read: NUL character in a string in image (line 1, byte 14).`}},
		{"deep", `{"context":` + strings.Repeat("[", 20) + strings.Repeat("]", 20) + `}`, told{400, codeInvalidJSON, "context" + strings.Repeat("[0]", 15), ""}},
		{"an array", `["nginx"]`, told{400, codeInvalidJSON, "", `The body should be a JSON object, not an array. For example {"image": "ghcr.io/org/app:v1"}.`}},
		{"a string", `"nginx"`, told{400, codeInvalidJSON, "", `The body should be a JSON object, not a string. For example {"image": "ghcr.io/org/app:v1"}.`}},
		{"a number", `1`, told{400, codeInvalidJSON, "", `The body should be a JSON object, not a number. For example {"image": "ghcr.io/org/app:v1"}.`}},
		{"true", `true`, told{400, codeInvalidJSON, "", `The body should be a JSON object, not true or false. For example {"image": "ghcr.io/org/app:v1"}.`}},
		{"null", `null`, told{400, codeMissingField, "image", `The field "image" is missing. Name the image to decide on, for example ghcr.io/org/app:v1.`}},
		{"no image", `{}`, told{400, codeMissingField, "image", `The field "image" is missing. Name the image to decide on, for example ghcr.io/org/app:v1.`}},
		{"an empty image", `{"image":""}`, told{400, codeMissingField, "image", `The field "image" is missing. Name the image to decide on, for example ghcr.io/org/app:v1.`}},
		{"image is a number", `{"image":5}`, told{400, codeInvalidField, "image", `The field "image" should be a string, not a number.`}},
		{"image is a list", `{"image":["nginx"]}`, told{400, codeInvalidField, "image", `The field "image" should be a string, not an array.`}},
		{"refresh is a string", `{"image":"nginx","refresh":"yes"}`, told{400, codeInvalidField, "refresh", `The field "refresh" should be true or false, not a string.`}},
		{"context is a list", `{"image":"nginx","context":["a"]}`, told{400, codeInvalidField, "context", `The field "context" should be an object of strings, not an array.`}},
		{"a context value is a number", `{"image":"nginx","context":{"stage":1.5}}`, told{400, codeInvalidField, "context", `Every value in the field "context" should be a string; one is a number.`}},
		{"unknown", "{\"image\":\"nginx\",\n\"imgae\":1}", told{400, codeUnknownField, "imgae", `The field "imgae" is not known (line 2, byte 18). Known fields are image, platform, context, refresh, evidence, assessment_id, labels, attest.`}},
		{"unknown and hostile", `{"<script>\n":1}`, told{400, codeUnknownField, "<script>\n", `The field "<script>\n" is not known (line 1, byte 1). Known fields are image, platform, context, refresh, evidence, assessment_id, labels, attest.`}},
		{"another case", `{"Image":"nginx"}`, told{400, codeUnknownField, "Image", `"Image" should be "image" (line 1, byte 1): names of fields are written in exactly this case.`}},
		{"twice", `{"image":"nginx","image":"alpine"}`, told{400, codeDuplicateField, "image", `The field "image" is there twice (line 1, byte 17). Which one is meant? Send it once.`}},
		{"twice inside", `{"image":"nginx","context":{"a":"1","a":"2"}}`, told{400, codeDuplicateField, "context.a", `The field "context.a" is there twice (line 1, byte 36). Which one is meant? Send it once.`}},
		{"twice, once escaped", `{"image":"nginx","im\u0061ge":"alpine"}`, told{400, codeDuplicateField, "image", `The field "image" is there twice (line 1, byte 17). Which one is meant? Send it once.`}},
		{"assessment_id is long", `{"image":"nginx","assessment_id":"` + strings.Repeat("a", 201) + `"}`, told{400, codeInvalidField, "assessment_id", `The field "assessment_id" has more than 200 bytes. It is a name of yours, for finding the verdict again.`}},
		{"assessment_id with a control character", `{"image":"nginx","assessment_id":"a\u0007"}`, told{400, codeInvalidField, "assessment_id", `The field "assessment_id" has characters that cannot be printed.`}},
		{"assessment_id is a number", `{"image":"nginx","assessment_id":7}`, told{400, codeInvalidField, "assessment_id", `The field "assessment_id" should be a string, not a number.`}},
		{"too many labels", `{"image":"nginx","labels":{` + manyLabels(17) + `}}`, told{400, codeInvalidField, "labels", `The field "labels" has 17 labels; 16 are the most.`}},
		{"a label without name", `{"image":"nginx","labels":{"":"x"}}`, told{400, codeInvalidField, "labels", `The field "labels" has a label without a name.`}},
		{"a label with a long name", `{"image":"nginx","labels":{"` + strings.Repeat("a", 64) + `":"x"}}`, told{400, codeInvalidField, "labels." + strings.Repeat("a", 64), `The label "` + strings.Repeat("a", 64) + `" should have a name of 63 bytes at most, all of them printable.`}},
		{"a label with a long value", `{"image":"nginx","labels":{"a":"` + strings.Repeat("x", 257) + `"}}`, told{400, codeInvalidField, "labels.a", `The label "a" should have a value of 256 bytes at most, all of them printable.`}},
		{"a label that is a number", `{"image":"nginx","labels":{"a":1}}`, told{400, codeInvalidField, "labels", `Every value in the field "labels" should be a string; one is a number.`}},
		{"attest without a key", `{"image":"nginx","attest":true}`, told{409, codeNoAttester, "attest", noAttester("").detail}},
		{"attest is a string", `{"image":"nginx","attest":"yes"}`, told{400, codeInvalidField, "attest", `The field "attest" should be true or false, not a string.`}},
		{"evidence is an object", `{"image":"nginx","evidence":{}}`, told{400, codeInvalidField, "evidence", `The field "evidence" should be a list, not an object.`}},
		{"labels in the context are a key like others", `{"image":5,"context":{"labels":"x"}}`, told{400, codeInvalidField, "image", `The field "image" should be a string, not a number.`}},
		{"platform", `{"image":"nginx","platform":"linux"}`, notPlatform("linux")},
		{"platform with a space", `{"image":"nginx","platform":"linux/amd64 "}`, notPlatform("linux/amd64 ")},
		{"platform in upper case", `{"image":"nginx","platform":"Linux/amd64"}`, notPlatform("Linux/amd64")},
		{"platform with nothing between", `{"image":"nginx","platform":"linux//v8"}`, notPlatform("linux//v8")},
		{"platform of four parts", `{"image":"nginx","platform":"linux/arm/v7/x"}`, notPlatform("linux/arm/v7/x")},
		{"long platform", `{"image":"nginx","platform":"linux/` + strings.Repeat("a", 60) + `"}`, notPlatform("linux/" + strings.Repeat("a", 60))},
		{"image with a space", `{"image":"ng inx"}`, told{400, codeInvalidField, "image", `The image "ng inx" has a space or a character that no reference has. Write it like ghcr.io/org/app:v1.`}},
		{"image with a scheme", `{"image":"https://ghcr.io/org/app"}`, told{400, codeInvalidField, "image", `The image "https://ghcr.io/org/app" has a scheme. Write it without, like ghcr.io/org/app:v1.`}},
		{"layout", `{"image":"oci-layout:./app"}`, told{400, codeInvalidField, "image", `The image "oci-layout:./app" names a file. Over HTTP only images in registries can be named, for example ghcr.io/org/app:v1; ` + "`signet verify`" + ` on the machine itself reads files.`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := neverAsked(t)
			got := toldBy(b, t, b.request(t, "verifier", http.MethodPost, verdictsPath, tt.body))
			if tt.want.Detail == "" {
				got.Detail = ""
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func manyLabels(n int) string {
	labels := make([]string, n)
	for i := range labels {
		labels[i] = fmt.Sprintf(`"label-%d":"x"`, i)
	}
	return strings.Join(labels, ",")
}

func notPlatform(p string) told {
	return told{400, codeInvalidField, "platform", `The platform "` + p + `" is not os/architecture or os/architecture/variant, like linux/amd64 or linux/arm64/v8.`}
}

func neverAsked(t *testing.T) *bed {
	b := newBed(t, nil)
	b.decider.decide = func(_ context.Context, _ *engine.State, req engine.Request) (engine.Answer, error) {
		t.Errorf("the engine was asked: %+v", req)
		return engine.Answer{}, nil
	}
	return b
}

func TestMediaProblems(t *testing.T) {
	const want = "Send the header Content-Type: application/json"
	tests := []struct {
		name   string
		header http.Header
		field  string
		detail string
	}{
		{"none", http.Header{}, "header.Content-Type", want + "; there is none."},
		{"a form", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, "header.Content-Type", want + `, not "application/x-www-form-urlencoded".`},
		{"text", http.Header{"Content-Type": {"text/json"}}, "header.Content-Type", want + `, not "text/json".`},
		{"nonsense", http.Header{"Content-Type": {"application/json;;"}}, "header.Content-Type", want + `, not "application/json;;".`},
		{"another charset", http.Header{"Content-Type": {"application/json; charset=latin1"}}, "header.Content-Type", want + " with no parameter but charset=utf-8, which it has anyway."},
		{"twice", http.Header{"Content-Type": {"application/json", "text/plain"}}, "header.Content-Type", want + ", once; it is there several times."},
		{"compressed", http.Header{"Content-Type": {"application/json"}, "Content-Encoding": {"gzip"}}, "header.Content-Encoding", "Send the body without Content-Encoding: compressed bodies are not read."},
		{"plain", http.Header{"Content-Type": {"application/json"}}, "", ""},
		{"charset", http.Header{"Content-Type": {"Application/JSON; charset=UTF-8"}}, "", ""},
		{"identity", http.Header{"Content-Type": {"application/json"}, "Content-Encoding": {"identity"}}, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBed(t, nil)
			r := b.request(t, "verifier", http.MethodPost, verdictsPath, `{"image":"nginx"}`)
			r.Header.Del("Content-Type")
			for k, v := range tt.header {
				r.Header[k] = v
			}
			wanted := told{Status: 200}
			if tt.detail != "" {
				wanted = told{415, codeUnsupportedMedia, tt.field, tt.detail}
			}
			if d := cmp.Diff(wanted, toldBy(b, t, r)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// endless never ends; reading more of it than the limit fails the test.
type endless struct {
	t    *testing.T
	left int
}

func (e *endless) Read(p []byte) (int, error) {
	if e.left -= len(p); e.left < 0 {
		e.t.Error("more was read than the limit and a buffer")
		return 0, io.EOF
	}
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

func TestBodyLimit(t *testing.T) {
	// With evidence a body may be as long as other large ones, and no longer.
	b := newBed(t, func(c *Config) { c.BodyLimit, c.LargeBodyLimit = 100, 100 })
	fits := `{"image":"nginx"}`
	fits += strings.Repeat(" ", 100-len(fits))
	if got := toldBy(b, t, b.request(t, "verifier", http.MethodPost, verdictsPath, fits)); got.Status != 200 {
		t.Errorf("a body of the limit: %+v", got)
	}
	want := told{413, codeBodyTooLarge, "", "The body may have 100 bytes at most."}
	if d := cmp.Diff(want, toldBy(b, t, b.request(t, "verifier", http.MethodPost, verdictsPath, fits+" "))); d != "" {
		t.Errorf("one byte more (-want +got):\n%s", d)
	}
	r := b.request(t, "verifier", http.MethodPost, verdictsPath, fits)
	r.Body, r.ContentLength = io.NopCloser(&endless{t: t, left: 1000}), -1
	if d := cmp.Diff(want, toldBy(b, t, r)); d != "" {
		t.Errorf("a body without length (-want +got):\n%s", d)
	}
	r = b.request(t, "verifier", http.MethodPost, verdictsPath, fits)
	r.Body, r.ContentLength = io.NopCloser(&endless{t: t, left: 0}), 101
	if d := cmp.Diff(want, toldBy(b, t, r)); d != "" {
		t.Errorf("a body that says it is too long, which is not read at all (-want +got):\n%s", d)
	}
}

type broken struct{}

func (broken) Read(p []byte) (int, error) { return copy(p, `{"image":`), os.ErrDeadlineExceeded }

func TestBodyThatBreaks(t *testing.T) {
	b := neverAsked(t)
	r := b.request(t, "verifier", http.MethodPost, verdictsPath, "x")
	r.Body, r.ContentLength = io.NopCloser(broken{}), -1
	want := told{400, codeBodyUnreadable, "", "The body ended before all of it had come, or came too slowly. Send it again."}
	if d := cmp.Diff(want, toldBy(b, t, r)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestTokens(t *testing.T) {
	b := newBed(t, nil)
	foreign, _, err := auth.NewToken(auth.NewTokenRequest{Name: "foreign", Role: auth.Admin, CreatedBy: "test"}, b.now)
	if err != nil {
		t.Fatal(err)
	}
	admin := b.tokens["admin"]
	swapped := admin[:len("sgn_")] + b.tokens["viewer"][len("sgn_"):len("sgn_")+16] + admin[len("sgn_")+16:]
	tests := []struct {
		name      string
		header    []string
		code      code
		challenge string
	}{
		{"none", nil, codeTokenMissing, `Bearer realm="signet"`},
		{"empty", []string{""}, codeTokenMissing, `Bearer realm="signet"`},
		{"another scheme", []string{"Basic " + admin}, codeTokenMissing, `Bearer realm="signet"`},
		{"no scheme", []string{admin}, codeTokenMissing, `Bearer realm="signet"`},
		{"no token", []string{"Bearer "}, codeTokenMissing, `Bearer realm="signet"`},
		{"cut short", []string{"Bearer " + admin[:60]}, codeTokenMalformed, `Bearer realm="signet", error="invalid_token"`},
		{"two spaces", []string{"Bearer  " + admin}, codeTokenMalformed, `Bearer realm="signet", error="invalid_token"`},
		{"of another service", []string{"Bearer ghp_0123456789"}, codeTokenMalformed, `Bearer realm="signet", error="invalid_token"`},
		{"two headers", []string{"Bearer " + admin, "Bearer " + admin}, codeTokenMalformed, `Bearer realm="signet", error="invalid_token"`},
		{"with another's id", []string{"Bearer " + swapped}, codeTokenMalformed, `Bearer realm="signet", error="invalid_token"`},
		{"of another installation", []string{"Bearer " + foreign}, codeTokenUnknown, `Bearer realm="signet", error="invalid_token"`},
		{"revoked", []string{"Bearer " + b.tokens["revoked"]}, codeTokenRevoked, `Bearer realm="signet", error="invalid_token"`},
		{"expired", []string{"Bearer " + b.tokens["expired"]}, codeTokenExpired, `Bearer realm="signet", error="invalid_token"`},
	}
	attempt := 0
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, path := range []string{
				"GET /metrics", "GET /openapi.json", "POST " + verdictsPath, "GET " + verdictsPath + "/" + testID, "GET " + verdictsPath + "/" + testID + "/input",
				"GET /", "GET /nowhere", "DELETE /metrics", "OPTIONS /metrics", "OPTIONS " + verdictsPath, "HEAD /metrics", "GET /healthz/", "GET //healthz", "GET /api/v1/verdicts/../../../healthz",
			} {
				method, path, _ := strings.Cut(path, " ")
				body := ""
				if method == http.MethodPost {
					body = `{"image":"nginx"}`
				}
				r := b.request(t, "", method, path, body)
				attempt++
				r.RemoteAddr = fmt.Sprintf("198.51.%d.%d:4711", attempt/200, attempt%200) // none is one too many
				if tt.header != nil {
					r.Header["Authorization"] = tt.header
				}
				w := b.do(t, r)
				got := []string{fmt.Sprint(w.Code), string(problemOf(w).Code), w.Result().Header.Get("WWW-Authenticate"), w.Result().Header.Get("Allow")}
				if d := cmp.Diff([]string{"401", string(tt.code), tt.challenge, ""}, got); d != "" {
					t.Errorf("%s %s: status, code, challenge and Allow (-want +got):\n%s", method, path, d)
				}
				if len(tt.header) > 0 && len(tt.header[0]) > 10 && strings.Contains(w.Body.String(), tt.header[0][8:]) {
					t.Errorf("%s %s: the answer has the token in it: %s", method, path, w.Body)
				}
			}
		})
	}
	r := b.request(t, "", http.MethodPost, verdictsPath, `{"image":"nginx"}`)
	r.Header.Set("Authorization", "bearer "+b.tokens["verifier"])
	if w := b.do(t, r); w.Code != 200 {
		t.Errorf("the scheme in lower case: status %d; RFC 9110 gives it no case", w.Code)
	}
}

func TestRoles(t *testing.T) {
	const asks, reads, all = "verifier author admin", "viewer author admin", "viewer verifier author admin"
	b := newBed(t, nil)
	stored := answer(t, "allow", true, engine.FromMiss).Body
	b.verdicts.verdict = func(context.Context, string) ([]byte, error) { return stored, nil }
	for _, tt := range []struct{ method, path, may string }{
		{"POST", verdictsPath, asks},
		{"GET", verdictsPath + "/" + testID, reads},
		{"GET", "/metrics", reads},
		{"GET", "/openapi.json", all},
		{"OPTIONS", verdictsPath, all},
	} {
		for _, role := range strings.Fields(all) {
			body := ""
			if tt.method == http.MethodPost {
				body = `{"image":"nginx"}`
			}
			w := b.do(t, b.request(t, role, tt.method, tt.path, body))
			if strings.Contains(tt.may, role) {
				if w.Code >= 300 {
					t.Errorf("%s %s as %s: status %d %s", tt.method, tt.path, role, w.Code, w.Body)
				}
				continue
			}
			p := problemOf(w)
			needed := strings.Join(strings.Fields(tt.may), ", ")
			needed = needed[:strings.LastIndex(needed, ", ")] + " or " + needed[strings.LastIndex(needed, ", ")+2:]
			want := "This needs a token with the role " + needed + `; the token "` + role + `-token" has the role ` + role + "."
			if w.Code != 403 || p.Code != codeRoleMissing || p.Detail != want || fmt.Sprint(p.Roles) != "["+tt.may+"]" {
				t.Errorf("%s %s as %s: status %d, problem %+v; want the detail %s", tt.method, tt.path, role, w.Code, p, want)
			}
		}
	}
}

// A role is missing whatever the body is, and a body is not looked at before.
func TestRoleComesBeforeBody(t *testing.T) {
	b := neverAsked(t)
	if got := toldBy(b, t, b.request(t, "viewer", http.MethodPost, verdictsPath, `{"nonsense`)); got.Code != codeRoleMissing {
		t.Errorf("got %+v, want role_missing", got)
	}
}

func TestRoutesThatAreNot(t *testing.T) {
	b := newBed(t, nil)
	for _, tt := range []struct {
		method, path string
		want         told
		allow        string
	}{
		{"GET", "/", told{404, codeRouteNotFound, "", `Nothing is at the path "/". What there is stands in /openapi.json.`}, ""},
		{"GET", "/api/v2/verdicts", told{404, codeRouteNotFound, "", `Nothing is at the path "/api/v2/verdicts". What there is stands in /openapi.json.`}, ""},
		{"GET", "/healthz/", told{404, codeRouteNotFound, "", `Nothing is at the path "/healthz/". What there is stands in /openapi.json.`}, ""},
		{"GET", "/%0d%0aX-Evil:%20yes", told{404, codeRouteNotFound, "", `Nothing is at the path "/\r\nX-Evil: yes". What there is stands in /openapi.json.`}, ""},
		{"PUT", verdictsPath, told{405, codeMethodNotAllowed, "", `The path "/api/v1/verdicts" takes GET, HEAD, OPTIONS or POST, not "PUT".`}, "GET, HEAD, OPTIONS, POST"},
		{"DELETE", verdictsPath + "/" + testID, told{405, codeMethodNotAllowed, "", `The path "/api/v1/verdicts/` + testID + `" takes GET, HEAD or OPTIONS, not "DELETE".`}, "GET, HEAD, OPTIONS"},
		{"BREW", "/metrics", told{405, codeMethodNotAllowed, "", `The path "/metrics" takes GET, HEAD or OPTIONS, not "BREW".`}, "GET, HEAD, OPTIONS"},
		{"POST", "/healthz", told{405, codeMethodNotAllowed, "", `The path "/healthz" takes GET, HEAD or OPTIONS, not "POST".`}, "GET, HEAD, OPTIONS"},
	} {
		w := b.do(t, b.request(t, "viewer", tt.method, tt.path, ""))
		p := problemOf(w)
		if d := cmp.Diff(tt.want, told{w.Code, p.Code, p.Field, p.Detail}); d != "" {
			t.Errorf("%s %s (-want +got):\n%s", tt.method, tt.path, d)
		}
		if got := w.Result().Header.Values("Allow"); strings.Join(got, "|") != tt.allow {
			t.Errorf("%s %s: Allow is %q, want %q", tt.method, tt.path, got, tt.allow)
		}
	}
}

func TestQueries(t *testing.T) {
	b := newBed(t, nil)
	for path, want := range map[string]told{
		"/metrics?name=x":                               {400, codeUnknownField, "query.name", `The query parameter "name" is not known. This path takes none.`},
		verdictsPath + "/" + testID + "?a=1":            {400, codeUnknownField, "query.a", `The query parameter "a" is not known. This path takes none.`},
		verdictsPath + "/" + testID + "/input?Policy=1": {400, codeUnknownField, "query.Policy", `The query parameter "Policy" is not known. This path takes policy.`},
		"/openapi.json?a;b":                             {400, codeInvalidField, "query", "The query cannot be read; is a % or & in it not escaped?"},
	} {
		if d := cmp.Diff(want, toldBy(b, t, b.request(t, "viewer", http.MethodGet, path, ""))); d != "" {
			t.Errorf("%s (-want +got):\n%s", path, d)
		}
	}
	if w := b.do(t, b.request(t, "", http.MethodGet, "/healthz?now=1", "")); w.Code != 200 {
		t.Errorf("a probe's own parameter: status %d", w.Code)
	}
}

// The state is read once for every request, and not at all for one without a
// token; when it cannot be read, nothing is answered.
func TestState(t *testing.T) {
	b := neverAsked(t)
	reads := 0
	for _, tt := range []struct {
		name string
		st   *engine.State
		err  error
	}{
		{"the store is away", nil, fmt.Errorf("%w: connection refused", engine.ErrState)},
		{"an error nobody knows", nil, errors.New("connection refused")},
		{"a state and an error", b.state, errors.New("connection refused")},
		{"no state", nil, nil},
		{"too late", nil, context.DeadlineExceeded},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b.decider.current = func(context.Context) (*engine.State, error) {
				reads++
				return tt.st, tt.err
			}
			for _, path := range []string{"POST " + verdictsPath, "GET " + verdictsPath + "/" + testID, "GET /metrics", "GET /nowhere", "PUT /metrics"} {
				method, path, _ := strings.Cut(path, " ")
				body := ""
				if method == http.MethodPost {
					body = `{"image":"nginx"}`
				}
				reads = 0
				w := b.do(t, b.request(t, "admin", method, path, body))
				p := problemOf(w)
				if w.Code != 503 || p.Code != codeStoreUnavailable || w.Result().Header.Get("Retry-After") != "5" || p.Retry != 5 || reads != 1 {
					t.Errorf("%s %s: status %d, problem %+v, %d reads", method, path, w.Code, p, reads)
				}
				if (p.Decision == "unknown") != (method == http.MethodPost) {
					t.Errorf("%s %s: decision %q", method, path, p.Decision)
				}
				if strings.Contains(w.Body.String(), "refused") {
					t.Errorf("the cause is told to the caller: %s", w.Body)
				}
			}
			reads = 0
			if w := b.do(t, b.request(t, "", http.MethodGet, "/metrics", "")); w.Code != 401 || reads != 0 {
				t.Errorf("without a token: status %d, %d reads", w.Code, reads)
			}
		})
	}
}

// A token that is revoked while its holder is slow to send the body is refused:
// the state is read when the body has come.
func TestStateIsReadAfterTheBody(t *testing.T) {
	b := neverAsked(t)
	none, err := auth.NewTokens(nil)
	if err != nil {
		t.Fatal(err)
	}
	r := b.request(t, "verifier", http.MethodPost, verdictsPath, "x")
	body := strings.NewReader(`{"image":"nginx"}`)
	r.Body = io.NopCloser(readerFunc(func(p []byte) (int, error) {
		b.state = &engine.State{Tokens: none}
		return body.Read(p)
	}))
	r.ContentLength = -1
	if w := b.do(t, r); problemOf(w).Code != codeTokenUnknown {
		t.Errorf("status %d %s, want 401 token_unknown", w.Code, w.Body)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestRequestIDs(t *testing.T) {
	b := newBed(t, nil)
	for _, tt := range []struct {
		name string
		sent []string
		kept bool
	}{
		{"none", nil, false},
		{"plain", []string{"abc-123_./~"}, true},
		{"longest", []string{strings.Repeat("a", 128)}, true},
		{"too long", []string{strings.Repeat("a", 129)}, false},
		{"empty", []string{""}, false},
		{"space", []string{"a b"}, false},
		{"newline", []string{"a\nb"}, false},
		{"not ASCII", []string{"ä"}, false},
		{"delete", []string{"a\x7f"}, false},
		{"two", []string{"a", "b"}, false},
		{"needs escaping in a URI", []string{`a"b%<>`}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := b.request(t, "viewer", http.MethodGet, "/nowhere", "")
			if tt.sent != nil {
				r.Header["X-Request-Id"] = tt.sent
			}
			w := b.do(t, r)
			got := w.Result().Header.Values("X-Request-ID")
			switch {
			case len(got) != 1 || !saneID(got[0]):
				t.Errorf("the id is %q", got)
			case tt.kept != (len(tt.sent) == 1 && got[0] == tt.sent[0]):
				t.Errorf("sent %q, got %q; kept should be %t", tt.sent, got, tt.kept)
			}
		})
	}
	one := recorded(b, b.request(t, "", http.MethodGet, "/healthz", "")).Result().Header.Get("X-Request-ID")
	two := recorded(b, b.request(t, "", http.MethodGet, "/healthz", "")).Result().Header.Get("X-Request-ID")
	if one == two || len(one) != 32 {
		t.Errorf("made ids are %q and %q", one, two)
	}
}

// What the checks above lean on must itself be able to fail.
func TestSpecRefusesWrongAnswers(t *testing.T) {
	b := newBed(t, nil)
	good := answer(t, "allow", true, engine.FromMiss).Body
	for name, tt := range map[string]struct {
		status int
		media  string
		body   []byte
		ok     bool
	}{
		"a verdict":           {200, mediaJSON, good, true},
		"no allowed":          {200, mediaJSON, bytes.Replace(good, []byte(`"allowed":true,`), nil, 1), false},
		"another decision":    {200, mediaJSON, bytes.Replace(good, []byte(`"decision":"allow"`), []byte(`"decision":"maybe"`), 1), false},
		"a problem":           {400, mediaProblem, (&problem{code: codeInvalidJSON, detail: "x"}).body("r", true), true},
		"an unknown code":     {400, mediaProblem, (&problem{code: "odd", detail: "x"}).body("r", true), false},
		"a status not listed": {418, mediaProblem, (&problem{code: codeInvalidJSON, detail: "x"}).body("r", true), false},
		"another media type":  {200, "text/html", good, false},
	} {
		r := b.request(t, "verifier", http.MethodPost, verdictsPath, `{"image":"nginx"}`)
		res := &http.Response{StatusCode: tt.status, Header: http.Header{"Content-Type": {tt.media}, "X-Request-Id": {"r"}}, Body: io.NopCloser(bytes.NewReader(tt.body)), Request: r}
		if ok, errs := spec(t).ValidateHttpResponse(r, res); ok != tt.ok {
			t.Errorf("%s: accepted is %t, want %t: %v", name, ok, tt.ok, errs)
		}
		_ = res.Body.Close()
	}
}
