package policy

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/open-policy-agent/opa/v1/ast"
)

func TestMatchSchema(t *testing.T) {
	const schema = `{
		"$schema": "http://json-schema.org/draft-07/schema#",
		"type": "object", "required": ["n"], "additionalProperties": false,
		"properties": {"n": {"$ref": "#/definitions/positive"}, "$ref": {"type": "array"}, "name": {"pattern": "^[a-z]+$"}},
		"definitions": {"positive": {"type": "integer", "minimum": 1}}
	}`
	if err := checkSchema([]byte(schema)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, document, want string }{
		{"matches", `{"n": 1, "$ref": [], "name": "abc"}`, ""},
		{"by reference", `{"n": 0}`, "n: Must be greater than or equal to 1"},
		{"missing", `{}`, "n is required"},
		{"unknown", `{"n": 1, "m": 1}`, "Additional property m is not allowed"},
		{"pattern", `{"n": 1, "name": "A"}`, "name"},
		{"several", `{"n": 0, "m": 1}`, "; "},
		{"another type", `[]`, "Invalid type"},
		{"no document", ``, "schemas/params.json"},
	} {
		err := matchSchema(t.Context(), "schemas/params.json", []byte(tt.document), []byte(schema))
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

// Threat 47, for the schema of the parameters: nothing is fetched for it, even
// where checkSchema would not have refused it before.
func TestThreat47NoReferenceIsFetched(t *testing.T) {
	var asked atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		_, _ = w.Write([]byte(`{}`))
	}))
	t.Cleanup(srv.Close)
	schema := []byte(`{"$ref": "` + srv.URL + `"}`)
	if err := matchSchema(t.Context(), "schemas/params.json", []byte(`{}`), schema); err == nil {
		t.Error("a schema elsewhere was taken for one that matches")
	}
	if err := checkSchema(schema); err == nil {
		t.Error("a reference to another host is accepted")
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("the schema's server was asked %d times", n)
	}
}

// Whatever is not a clear yes is a no.
func TestReadOutcome(t *testing.T) {
	for _, tt := range []struct {
		outcome string
		matches bool
	}{
		{`[true, []]`, true},
		{`[false, []]`, false},
		{`[true, [{"error": "x"}]]`, false},
		{`[true]`, false},
		{`["true", []]`, false},
		{`[]`, false},
		{`true`, false},
		{`null`, false},
	} {
		if err := readOutcome("schemas/params.json", ast.MustParseTerm(tt.outcome)); (err == nil) != tt.matches {
			t.Errorf("%s: %v", tt.outcome, err)
		}
	}
	if readOutcome("schemas/params.json", nil) == nil {
		t.Error("no outcome matches")
	}
}

func TestLoadNamesTheParameters(t *testing.T) {
	bundle := fstest.MapFS{
		".manifest":            {Data: []byte(`{"roots": ["signing"]}`)},
		"signing/verdict.rego": {Data: []byte("package signing\n\nverdict := {\"allow\": false, \"violations\": [], \"warnings\": [], \"satisfied_by\": [], \"slsa\": {\"level\": 0, \"builder\": null}}\n")},
		"schemas/params.json": {Data: []byte(`{"type": "object", "required": ["owner"], "additionalProperties": false,
			"properties": {"owner": {"type": "string"}, "limits": {"type": "array", "items": {"type": "object", "properties": {"days": {"maximum": 7}}}}}}`)},
	}
	_, err := Load(t.Context(), Source{Bundle: bundle, Params: []byte(`{"limits": [{"days": 9}], "more": 1}`)})
	var bad *ParamsError
	if !errors.As(err, &bad) || !errors.Is(err, ErrLoad) {
		t.Fatalf("error %v", err)
	}
	got := map[string]string{}
	for _, p := range bad.Problems {
		got[p.Path] = p.Problem
	}
	want := map[string]string{"": "owner is required", "more": "Additional property more is not allowed", "limits.0.days": "Must be less than or equal to 7"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
