package builders

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/signet-policy/signet/internal/strictjson"
	"github.com/signet-policy/signet/rego"
)

func embedded(t testing.TB) []Profile {
	t.Helper()
	profiles, err := Embedded()
	if err != nil {
		t.Fatal(err)
	}
	return profiles
}

// The builders of the design, each with the highest level it may prove, and
// whether our tests have real evidence of it.
func TestEmbedded(t *testing.T) {
	type is struct {
		level    int
		unproven bool
	}
	want := map[string]is{
		"slsa-github-generator-container":       {3, false},
		"slsa-github-generator-generic":         {3, true},
		"slsa-github-generator-container-based": {3, false},
		"slsa-github-generator-byob":            {3, true},
		"npm-github-actions":                    {2, false},
		"github-reusable-workflow":              {3, false},
		"github-workflow":                       {2, false},
		"gitlab-ci":                             {2, true},
		"tekton-chains":                         {2, false},
		"google-cloud-build":                    {3, true},
		"buildkit":                              {1, true},
	}
	profiles := embedded(t)
	for _, p := range profiles {
		if have := (is{p.Level, p.Unproven}); have != want[p.Name] {
			t.Errorf("%s: %+v, want %+v", p.Name, have, want[p.Name])
		}
	}
	if len(profiles) != len(want) {
		t.Errorf("%d profiles, want %d", len(profiles), len(want))
	}
}

// base is a small valid file, edited by the tests below.
const base = `{"profiles":[{
	"name":"x","title":"X","unproven":true,"level":3,"claim":{"url":"https://x.test","text":"X is good."},
	"signer":{"kind":"certificate","vouched_by":"issuer","issuers":["https://i.test"],"trust_roots":["pgi"],"workflows":["https://x.test/o/r/w.yml"],"repository":"any"},
	"predicate":{"build_types":[],"builder_ids":["{build_signer_uri}"]},
	"builder":"certificate","source":true,"pinned":["tag"],"runner":"hosted","refused_triggers":[]}]}`

// What Parse refuses, and whether the JSON Schema alone can say it.
func TestParseRefuses(t *testing.T) {
	schema := schemaOf(t)
	if _, err := Parse([]byte(base)); err != nil {
		t.Fatal(err)
	}
	if err := validate(t, schema, []byte(base)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, from, to, says string
		schema               bool
	}{
		{"unknown field", `"title"`, `"tittle":"","title"`, "tittle", true},
		{"unknown field below", `"kind"`, `"issuer":"","kind"`, "issuer", true},
		{"key case", `"level"`, `"Level"`, "level", true},
		{"duplicate field", `"level":3`, `"level":3,"level":2`, "duplicate", false},
		{"no level", `"level":3,`, ``, "level", true},
		{"level 4", `"level":3`, `"level":4`, "level", true},
		{"name", `"name":"x"`, `"name":"X y"`, "name", true},
		{"no claim", `"text":"X is good."`, `"text":""`, "claim", true},
		{"claim without https", `https://x.test",`, `http://x.test",`, "claim", true},
		{"kind", `"kind":"certificate"`, `"kind":"person"`, "signer.kind", true},
		{"vouched by", `"vouched_by":"issuer"`, `"vouched_by":"anybody"`, "vouched_by", true},
		{"builder", `"builder":"certificate"`, `"builder":"x"`, "builder", true},
		{"pinned", `["tag"]`, `["branch"]`, "pinned", true},
		{"empty entry", `"issuers":["https://i.test"]`, `"issuers":[""]`, "empty", true},
		{"no issuer", `"issuers":["https://i.test"]`, `"issuers":[]`, "issuers", false},
		{"no trust root", `"trust_roots":["pgi"]`, `"trust_roots":[]`, "trust_roots", false},
		{"trust roots are not said", `"trust_roots":["pgi"],`, ``, "trust_roots", true},
		{"no runner", `"runner":"hosted"`, `"runner":""`, "runner", false},
		{"source unchecked", `"source":true`, `"source":false`, "source", false},
		{"level 3 at a branch", `"pinned":["tag"]`, `"pinned":[]`, "pinned", false},
		{"level 3 by the user's workflow", `"workflows":["https://x.test/o/r/w.yml"]`, `"workflows":[]`, "level 3", false},
		{"any builder", `["{build_signer_uri}"]`, `[]`, "builder_ids", false},
		{"placeholder", `{build_signer_uri}`, `{signer}`, "placeholder", false},
		{"workflow with a ref", `w.yml`, `w.yml@refs/tags/v1`, "without @ref", false},
		{"nobody vouches, and claims of a certificate", `"vouched_by":"issuer"`, `"vouched_by":"nobody"`, "vouched_by issuer alone", false},
		{"no profile", base, `{"profiles":[]}`, "none", true},
		{"twice", "}]}", `},` + base[len(`{"profiles":[`):], "twice", false},
		{"trailing", `}]}`, `}]} {}`, "trailing", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			body := strings.Replace(base, tt.from, tt.to, 1)
			if body == base {
				t.Fatal("nothing was edited")
			}
			_, err := Parse([]byte(body))
			if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v, want %q", err, tt.says)
			}
			if tt.schema {
				if err := validate(t, schema, []byte(body)); err == nil {
					t.Error("the JSON Schema allows it")
				}
			}
		})
	}
}

func TestEmbeddedFitsItsSchema(t *testing.T) {
	if err := validate(t, schemaOf(t), rego.Builders); err != nil {
		t.Error(err)
	}
}

// The schema's fields are the Go type's: each says the same.
func TestSchemaKnowsEveryField(t *testing.T) {
	body, err := json.Marshal(map[string]any{"profiles": embedded(t)})
	if err != nil {
		t.Fatal(err)
	}
	if err := validate(t, schemaOf(t), body); err != nil {
		t.Error(err)
	}
}

func schemaOf(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(rego.BuildersSchema))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("builders.json", doc); err != nil {
		t.Fatal(err)
	}
	return c.MustCompile("builders.json")
}

func validate(t *testing.T, schema *jsonschema.Schema, body []byte) error {
	t.Helper()
	if err := strictjson.Check(body, maxDepth); err != nil {
		return err
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return err
	}
	return schema.Validate(doc)
}
