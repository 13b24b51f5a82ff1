package api

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/verdict"
)

// loadSpec reads openapi.json once for all tests: it is large.
var loadSpec = sync.OnceValues(func() (validator.Validator, error) {
	doc, err := libopenapi.NewDocument(openAPI)
	if err != nil {
		return nil, err
	}
	v, errs := validator.NewValidator(doc)
	if len(errs) > 0 {
		return nil, errs[0]
	}
	return v, nil
})

func spec(t testing.TB) validator.Validator {
	t.Helper()
	v, err := loadSpec()
	if err != nil {
		t.Fatalf("openapi.json: %v", err)
	}
	return v
}

// do sends r and holds the answer against what every answer must be, and
// against openapi.json.
func (b *bed) do(t testing.TB, r *http.Request) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	h := w.Result().Header
	for name, want := range map[string]string{
		"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff",
		"Content-Security-Policy": pageOrPolicy(r),
	} {
		if got := h.Values(name); len(got) != 1 || got[0] != want {
			t.Errorf("%s %s: header %s is %q, want %q", r.Method, r.URL, name, got, want)
		}
	}
	if h.Get("X-Request-ID") == "" {
		t.Errorf("%s %s: no X-Request-ID", r.Method, r.URL)
	}
	if w.Code >= 400 && h.Get("Content-Type") == mediaProblem {
		checkProblem(t, w)
	}
	if b.describes(r) {
		conforms(t, r, w)
	}
	return w
}

func pageOrPolicy(r *http.Request) string {
	if r.URL.Path == "/docs" || r.URL.Path == "/docs/style.css" {
		if slices.Contains([]string{http.MethodGet, http.MethodHead}, r.Method) {
			return valuePagePolicy[0]
		}
	}
	return valuePolicy[0]
}

// describes says whether openapi.json has an operation for the request. A HEAD
// or OPTIONS, an unknown path or a wrong method is of none: its problem is
// checked by checkProblem alone.
func (b *bed) describes(r *http.Request) bool {
	for _, rt := range b.routes(nil) {
		if rt.method == r.Method && pathOf(rt).MatchString(r.URL.EscapedPath()) {
			return true
		}
	}
	return false
}

func pathOf(rt *route) *regexp.Regexp {
	return regexp.MustCompile("^" + regexp.MustCompile(`:\w+`).ReplaceAllString(regexp.QuoteMeta(rt.path), "[^/]+") + "$")
}

// conforms holds one answer against openapi.json.
func conforms(t testing.TB, r *http.Request, w *httptest.ResponseRecorder) {
	t.Helper()
	res := w.Result()
	defer res.Body.Close()
	if ok, errs := spec(t).ValidateHttpResponse(r, res); !ok {
		for _, e := range errs {
			t.Errorf("%s %s: answer %d is not as openapi.json has it: %s", r.Method, r.URL, w.Code, e)
			for _, s := range e.SchemaValidationErrors {
				t.Errorf("  %s: %s", s.FieldPath, s.Reason)
			}
		}
	}
}

// problemOf reads a problem; the zero value for anything else.
func problemOf(w *httptest.ResponseRecorder) problemBody {
	var p problemBody
	if w.Result().Header.Get("Content-Type") == mediaProblem {
		_ = json.Unmarshal(w.Body.Bytes(), &p)
	}
	return p
}

// read decodes a good answer.
func read(t testing.TB, w *httptest.ResponseRecorder, v any) {
	t.Helper()
	if err := json.Unmarshal(w.Body.Bytes(), v); err != nil || w.Code != http.StatusOK {
		t.Fatalf("status %d, %v: %s", w.Code, err, w.Body)
	}
}

func checkProblem(t testing.TB, w *httptest.ResponseRecorder) {
	t.Helper()
	p := problemOf(w)
	id := w.Result().Header.Get("X-Request-ID")
	k, known := kinds[p.Code]
	switch {
	case !known:
		t.Errorf("code %q is not in the table", p.Code)
	case p.Status != w.Code || k.status != w.Code:
		t.Errorf("code %s: the HTTP status is %d, the problem says %d, the table %d", p.Code, w.Code, p.Status, k.status)
	case p.Title != k.title || p.Type != problemTypes+string(p.Code):
		t.Errorf("code %s: title %q, type %q", p.Code, p.Title, p.Type)
	case p.Request != id || p.Instance != instance(id):
		t.Errorf("code %s: request_id %q and instance %q do not name request %q", p.Code, p.Request, p.Instance, id)
	}
	if p.Detail == "" || !strings.ContainsAny(p.Detail[len(p.Detail)-1:], ".?") {
		t.Errorf("code %s: the detail is no sentence: %q", p.Code, p.Detail)
	}
}

func TestOpenAPIIsValid(t *testing.T) {
	if ok, errs := spec(t).ValidateDocument(); !ok {
		for _, e := range errs {
			t.Errorf("%s", e)
			for _, s := range e.SchemaValidationErrors {
				t.Errorf("  %s: %s", s.FieldPath, s.Reason)
			}
		}
	}
}

// document is the part of openapi.json that the tests look into.
type document struct {
	Paths      map[string]map[string]json.RawMessage `json:"paths"`
	Components struct {
		Schemas map[string]schema `json:"schemas"`
	} `json:"components"`
}

type schema struct {
	Ref        string            `json:"$ref"`
	Properties map[string]schema `json:"properties"`
	Required   []string          `json:"required"`
	Items      *schema           `json:"items"`
	OneOf      []schema          `json:"oneOf"`
	Enum       []string          `json:"enum"`
}

func parseSpec(t *testing.T) document {
	t.Helper()
	var doc document
	if err := json.Unmarshal(openAPI, &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestOpenAPIHasEveryRoute(t *testing.T) {
	var want, got []string
	for _, rt := range newBed(t, nil).routes(nil) {
		want = append(want, rt.method+" "+regexp.MustCompile(`:(\w+)`).ReplaceAllString(rt.path, "{$1}"))
	}
	for path, operations := range parseSpec(t).Paths {
		for method := range operations {
			if method != "parameters" {
				got = append(got, strings.ToUpper(method)+" "+path)
			}
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("routes (-) and openapi.json (+) differ:\n%s", d)
	}
}

func TestOpenAPIHasEveryProblemCode(t *testing.T) {
	var want []string
	for _, c := range slices.Sorted(maps.Keys(kinds)) {
		want = append(want, string(c))
	}
	if d := cmp.Diff(want, parseSpec(t).Components.Schemas["ProblemCode"].Enum); d != "" {
		t.Errorf("codes (-) and openapi.json (+) differ:\n%s", d)
	}
}

// A problem's type leads to a heading of the documentation.
func TestEveryProblemCodeIsDocumented(t *testing.T) {
	docs, err := os.ReadFile("../../docs/integrators.md")
	if err != nil {
		t.Fatal(err)
	}
	for c, k := range kinds {
		if !strings.Contains(string(docs), "\n### "+string(c)+"\n") {
			t.Errorf("docs/integrators.md has no heading ### %s (%d %s)", c, k.status, k.title)
		}
	}
}

// Callers read reason codes: each that the engine can give stands in the table.
func TestEveryReasonCodeIsDocumented(t *testing.T) {
	docs, err := os.ReadFile("../../docs/integrators.md")
	if err != nil {
		t.Fatal(err)
	}
	constant := regexp.MustCompile(`(?m)^\s+(?:Reason|Code)\w+\s+= "(\w+)"`)
	for _, file := range []string{"../engine/errors.go", "../evidence/evidence.go"} {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		found := constant.FindAllSubmatch(source, -1)
		if len(found) < 10 {
			t.Errorf("%s: %d codes were found; does this test still read it?", file, len(found))
		}
		for _, m := range found {
			if !strings.Contains(string(docs), "\n| `"+string(m[1])+"` |") {
				t.Errorf("docs/integrators.md does not explain the reason %s of %s", m[1], file)
			}
		}
	}
}

// linkedVerdict is a verdict as it is given: with its page.
type linkedVerdict struct {
	verdict.Verdict
	Link string `json:"link,omitempty"`
}

// The Go types and their schemas name the same fields, so that neither can
// change alone.
func TestOpenAPIDescribesTheTypes(t *testing.T) {
	doc := parseSpec(t)
	for name, typ := range map[string]reflect.Type{
		"VerdictRequest": reflect.TypeFor[verdictRequest](),
		"Verdict":        reflect.TypeFor[linkedVerdict](),
		"Problem":        reflect.TypeFor[problemBody](),
		"Readiness":      reflect.TypeFor[readyBody](),
		"Input":          reflect.TypeFor[facts.Input](),

		"VerdictBatch":       reflect.TypeFor[client.VerdictBatch](),
		"VerdictBatchAnswer": reflect.TypeFor[client.VerdictBatchAnswer](),
		"VerificationPage":   reflect.TypeFor[client.Page[client.Verification]](),
		"UsePage":            reflect.TypeFor[client.Page[client.Use]](),
		"Whoami":             reflect.TypeFor[client.Whoami](),
		"SignerPage":         reflect.TypeFor[client.Page[client.Signer]](),
		"Compromise":         reflect.TypeFor[client.Compromise](),
		"Compromised":        reflect.TypeFor[client.Compromised](),
		"SignerVerdictPage":  reflect.TypeFor[client.Page[client.SignerVerdict]](),
		"AcceptKey":          reflect.TypeFor[client.AcceptKey](),
		"Imported":           reflect.TypeFor[client.Imported](),
		"TokenPage":          reflect.TypeFor[client.Page[client.Token]](),
		"NewToken":           reflect.TypeFor[client.NewToken](),
		"Setup":              reflect.TypeFor[setupRequest](),
		"PolicyPage":         reflect.TypeFor[client.Page[client.Policy]](),
		"NewException":       reflect.TypeFor[client.NewException](),
		"ShadowReport":       reflect.TypeFor[client.ShadowReport](),
		"PolicyHistory":      reflect.TypeFor[client.Page[client.PolicyVersion]](),
		"PolicyDiff":         reflect.TypeFor[client.PolicyDiff](),
		"PolicyWithBundle":   reflect.TypeFor[policyPutRequest](),
		"BundlePage":         reflect.TypeFor[client.Page[client.Bundle]](),
		"BundleHistory":      reflect.TypeFor[client.Page[client.BundleVersion]](),
		"PreviewRequest":     reflect.TypeFor[client.PreviewRequest](),
		"Preview":            reflect.TypeFor[client.Preview](),
		"PreviewLine":        reflect.TypeFor[client.PreviewLine](),
		"DraftPage":          reflect.TypeFor[client.Page[client.DraftSummary]](),
		"Draft":              reflect.TypeFor[client.Draft](),
		"PutDraft":           reflect.TypeFor[client.PutDraft](),
		"PolicyFiles":        reflect.TypeFor[client.PolicyFiles](),
		"PolicyChecked":      reflect.TypeFor[client.PolicyChecked](),
		"PolicyTested":       reflect.TypeFor[client.PolicyTested](),
		"EvaluatePolicy":     reflect.TypeFor[client.EvaluatePolicy](),
		"PolicyEvaluated":    reflect.TypeFor[client.PolicyEvaluated](),
		"BuildPolicy":        reflect.TypeFor[client.BuildPolicy](),
		"TrustRootPage":      reflect.TypeFor[client.Page[client.TrustRoot]](),
		"PutTrustRoot":       reflect.TypeFor[client.PutTrustRoot](),
		"TrustImportRequest": reflect.TypeFor[trustImportRequest](),
		"TrustImport":        reflect.TypeFor[client.TrustImport](),
		"AuditPage":          reflect.TypeFor[client.Page[client.AuditEntry]](),
		"VerifyAudit":        reflect.TypeFor[verifyAuditRequest](),
		"EventPage":          reflect.TypeFor[client.Page[client.Event]](),
		"WatchedImagePage":   reflect.TypeFor[client.Page[client.WatchedImage]](),
		"NewWatch":           reflect.TypeFor[client.NewWatch](),
		"WebhookKey":         reflect.TypeFor[client.WebhookKey](),

		"VerdictRequestStatus":      reflect.TypeFor[client.VerdictRequestStatus](),
		"Assessment":                reflect.TypeFor[client.Assessment](),
		"ImageSigningRequest":       reflect.TypeFor[imageSigningRequest](),
		"ImageSigningVerdict":       reflect.TypeFor[imageSigningVerdict](),
		"ImageSigningVerification":  reflect.TypeFor[imageSigningVerification](),
		"ImageSigningSigner":        reflect.TypeFor[pluginSigner](),
		"ImageSigningSignerRequest": reflect.TypeFor[newPluginSigner](),
	} {
		doc.describes(t, name, schema{Ref: "#/components/schemas/" + name}, typ)
	}
}

func (doc document) describes(t *testing.T, at string, s schema, typ reflect.Type) {
	t.Helper()
	for _, one := range s.OneOf {
		if one.Ref != "" {
			s = one
		}
	}
	if name, ok := strings.CutPrefix(s.Ref, "#/components/schemas/"); ok {
		s = doc.Components.Schemas[name]
	}
	for typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	switch {
	case typ == reflect.TypeFor[[]byte](): // base64 in JSON
		if s.Items != nil {
			t.Errorf("%s is text in JSON and a list in openapi.json", at)
		}
		return
	case typ.Kind() == reflect.Slice && typ != reflect.TypeFor[json.RawMessage]():
		if s.Items == nil {
			t.Errorf("%s is a list in Go and has no items in openapi.json", at)
			return
		}
		doc.describes(t, at+"[]", *s.Items, typ.Elem())
		return
	case typ.Kind() != reflect.Struct || reflect.PointerTo(typ).Implements(reflect.TypeFor[json.Unmarshaler]()):
		return
	}
	fields := map[string]reflect.Type{}
	var required []string
	collectFields(typ, fields, &required)
	if d := cmp.Diff(slices.Sorted(maps.Keys(fields)), slices.Sorted(maps.Keys(s.Properties))); d != "" {
		t.Errorf("%s: fields in Go (-) and properties in openapi.json (+) differ:\n%s", at, d)
	}
	if !strings.HasSuffix(at, "Request") && at != "VerifyAudit" { // a request's fields have no omitempty, and only image is needed
		slices.Sort(required)
		slices.Sort(s.Required)
		if d := cmp.Diff(required, s.Required); d != "" {
			t.Errorf("%s: what Go always writes (-) and openapi.json requires (+) differ:\n%s", at, d)
		}
	}
	for name, typ := range fields {
		doc.describes(t, at+"."+name, s.Properties[name], typ)
	}
}

func collectFields(typ reflect.Type, fields map[string]reflect.Type, required *[]string) {
	for f := range typ.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			collectFields(f.Type, fields, required)
			continue
		case !strings.Contains(options, "omitempty"):
			*required = append(*required, name)
		}
		fields[name] = f.Type
	}
}

func TestOpenAPIIsServed(t *testing.T) {
	b := newBed(t, nil)
	for _, role := range []string{"viewer", "verifier", "author", "admin"} {
		w := b.do(t, b.request(t, role, http.MethodGet, "/openapi.json", ""))
		got, err := io.ReadAll(w.Body)
		if err != nil || w.Code != http.StatusOK || string(got) != string(openAPI) {
			t.Errorf("%s: status %d, error %v, and the same bytes: %t", role, w.Code, err, string(got) == string(openAPI))
		}
	}
}
