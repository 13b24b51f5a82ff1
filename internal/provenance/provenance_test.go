package provenance

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/strictjson"
)

const commit = "3b1f8a6e5d4c2b1a09f8e7d6c5b4a39281706f5e"

func digest(alg string) map[string]string { return map[string]string{alg: commit} }

func TestParse(t *testing.T) {
	git := func(uri, alg string) facts.Material { return facts.Material{URI: uri, Digest: digest(alg)} }
	none := facts.Source{Digest: map[string]string{}}
	for _, tt := range []struct {
		name, predicateType, predicate string
		want                           facts.Provenance
	}{
		{
			"v0.1, source by the recipe", TypeV01,
			`{"builder":{"id":"https://ci.example/b"},"recipe":{"type":"https://example.com/Makefile","definedInMaterial":1,"entryPoint":"all","arguments":{"a": 1}},
			  "metadata":{"buildInvocationId":"7"},"materials":[{"uri":"pkg:deb/x"},{"uri":"git+https://github.com/acme/app@refs/tags/v1","digest":{"sha1":"` + commit + `"}}]}`,
			facts.Provenance{
				SLSAVersion: "v0.1", BuilderID: "https://ci.example/b", BuildType: "https://example.com/Makefile", InvocationID: "7", Parameters: json.RawMessage(`{"a":1}`),
				Source:    facts.Source{URI: "https://github.com/acme/app", Ref: "refs/tags/v1", Digest: digest("sha1")},
				Materials: []facts.Material{{URI: "pkg:deb/x", Digest: map[string]string{}}, git("git+https://github.com/acme/app@refs/tags/v1", "sha1")},
			},
		},
		{
			"v0.1, a recipe in no material", TypeV01,
			`{"builder":{"id":"b"},"recipe":{"type":"t","definedInMaterial":-1},"materials":[{"uri":"git+https://github.com/acme/app"}]}`,
			facts.Provenance{
				SLSAVersion: "v0.1", BuilderID: "b", BuildType: "t", Parameters: json.RawMessage("null"), Source: none,
				Materials: []facts.Material{{URI: "git+https://github.com/acme/app", Digest: map[string]string{}}},
			},
		},
		{
			"v0.2, in-toto's spelling", TypeV02,
			`{"builder":{"id":"b"},"buildType":"t","invocation":{"configSource":{"uri":"git+https://github.com/acme/app@refs/heads/main","digest":{"sha1":"` + commit + `"},"entryPoint":"x"},"parameters":{}},
			  "metadata":{"buildInvocationID":"8-1"}}`,
			facts.Provenance{
				SLSAVersion: "v0.2", BuilderID: "b", BuildType: "t", InvocationID: "8-1", Parameters: json.RawMessage("{}"), Materials: []facts.Material{},
				Source: facts.Source{URI: "https://github.com/acme/app", Ref: "refs/heads/main", Digest: digest("sha1")},
			},
		},
		{
			"v0.2, Tekton names its pipeline in configSource and the source in the materials", TypeV02,
			`{"builder":{"id":"https://tekton.dev/chains/v2"},"buildType":"tekton.dev/v1/PipelineRun","invocation":{"configSource":{"uri":"git+https://github.com/acme/pipelines"}},
			  "materials":[{"uri":"oci://gcr.io/git-init","digest":{"sha256":"00"}},{"uri":"git+https://github.com/acme/app.git","digest":{"sha1":"` + commit + `"}}]}`,
			facts.Provenance{
				SLSAVersion: "v0.2", BuilderID: "https://tekton.dev/chains/v2", BuildType: "tekton.dev/v1/PipelineRun", Parameters: json.RawMessage("null"),
				Source:    facts.Source{URI: "https://github.com/acme/app.git", Digest: digest("sha1")},
				Materials: []facts.Material{{URI: "oci://gcr.io/git-init", Digest: map[string]string{"sha256": "00"}}, git("git+https://github.com/acme/app.git", "sha1")},
			},
		},
		{
			"v0.2, BuildKit", TypeV02,
			`{"builder":{"id":""},"buildType":"https://mobyproject.org/buildkit@v1","invocation":{"configSource":{"uri":"https://github.com/acme/app.git#refs/tags/v1:docker","digest":{"sha1":"` + commit + `"}}},"buildConfig":{"llbDefinition":[]}}`,
			facts.Provenance{
				SLSAVersion: "v0.2", BuildType: "https://mobyproject.org/buildkit@v1", Parameters: json.RawMessage("null"), Materials: []facts.Material{},
				Source: facts.Source{URI: "https://github.com/acme/app.git", Ref: "refs/tags/v1", Digest: digest("sha1")},
			},
		},
		{
			"v1, GitHub workflow: the commit is that of the same repository and ref", TypeV1,
			v1(typeGitHubWorkflow, `{"workflow":{"repository":"https://github.com/acme/app","ref":"refs/tags/v2","path":".github/workflows/r.yml"}}`,
				`[{"uri":"git+https://github.com/acme/other@refs/tags/v2","digest":{"gitCommit":"00"}},{"uri":"git+https://github.com/acme/app@refs/tags/v1","digest":{"gitCommit":"11"}},
				  {"uri":"git+https://github.com/acme/app@refs/tags/v2","digest":{"gitCommit":"`+commit+`"}}]`),
			facts.Provenance{
				SLSAVersion: "v1", BuilderID: "b", BuildType: typeGitHubWorkflow, InvocationID: "9",
				Parameters: json.RawMessage(`{"workflow":{"repository":"https://github.com/acme/app","ref":"refs/tags/v2","path":".github/workflows/r.yml"}}`),
				Source:     facts.Source{URI: "https://github.com/acme/app", Ref: "refs/tags/v2", Digest: digest("gitCommit")},
				Materials: []facts.Material{
					{URI: "git+https://github.com/acme/other@refs/tags/v2", Digest: map[string]string{"gitCommit": "00"}},
					{URI: "git+https://github.com/acme/app@refs/tags/v1", Digest: map[string]string{"gitCommit": "11"}},
					git("git+https://github.com/acme/app@refs/tags/v2", "gitCommit"),
				},
			},
		},
		{
			"v1, container-based builder", TypeV1,
			v1(typeContainerBased, `{"source":{"uri":"git+https://github.com/acme/app@refs/tags/v2","digest":{"sha1":"`+commit+`"}}}`, `[]`),
			facts.Provenance{
				SLSAVersion: "v1", BuilderID: "b", BuildType: typeContainerBased, InvocationID: "9",
				Parameters: json.RawMessage(`{"source":{"uri":"git+https://github.com/acme/app@refs/tags/v2","digest":{"sha1":"` + commit + `"}}}`),
				Source:     facts.Source{URI: "https://github.com/acme/app", Ref: "refs/tags/v2", Digest: digest("sha1")}, Materials: []facts.Material{},
			},
		},
		{
			"v1, delegator", TypeV1, v1(typeDelegator+"generic@v0", `{}`, `[{"uri":"git+https://github.com/acme/app@refs/tags/v2","digest":{"gitCommit":"`+commit+`"}}]`),
			facts.Provenance{
				SLSAVersion: "v1", BuilderID: "b", BuildType: typeDelegator + "generic@v0", InvocationID: "9", Parameters: json.RawMessage(`{}`),
				Source:    facts.Source{URI: "https://github.com/acme/app", Ref: "refs/tags/v2", Digest: digest("gitCommit")},
				Materials: []facts.Material{git("git+https://github.com/acme/app@refs/tags/v2", "gitCommit")},
			},
		},
		{
			"v1, Tekton: the input, not the pipeline", TypeV1,
			v1(typeTektonV1, `{}`, `[{"name":"pipeline","uri":"git+https://github.com/acme/pipelines","digest":{"sha1":"00"}},{"name":"inputs/result","uri":"git+https://github.com/acme/app.git","digest":{"sha1":"`+commit+`"}}]`),
			facts.Provenance{
				SLSAVersion: "v1", BuilderID: "b", BuildType: typeTektonV1, InvocationID: "9", Parameters: json.RawMessage(`{}`),
				Source:    facts.Source{URI: "https://github.com/acme/app.git", Digest: digest("sha1")},
				Materials: []facts.Material{{URI: "git+https://github.com/acme/pipelines", Digest: map[string]string{"sha1": "00"}}, git("git+https://github.com/acme/app.git", "sha1")},
			},
		},
		{
			"v1, Tekton with two sources names none", TypeV1,
			v1(typeTektonV1, `{}`, `[{"name":"inputs/result","uri":"git+https://github.com/acme/a"},{"name":"inputs/result","uri":"git+https://github.com/acme/b"}]`),
			facts.Provenance{
				SLSAVersion: "v1", BuilderID: "b", BuildType: typeTektonV1, InvocationID: "9", Parameters: json.RawMessage(`{}`), Source: none,
				Materials: []facts.Material{{URI: "git+https://github.com/acme/a", Digest: map[string]string{}}, {URI: "git+https://github.com/acme/b", Digest: map[string]string{}}},
			},
		},
		{
			"v1, Cloud Build", TypeV1,
			v1(typeCloudBuild, `{"buildConfigSource":{"path":"cloudbuild.yaml","ref":"refs/heads/main","repository":"git+https://github.com/acme/app"}}`, `[{"uri":"git+https://github.com/acme/app","digest":{"gitCommit":"`+commit+`"}}]`),
			facts.Provenance{
				SLSAVersion: "v1", BuilderID: "b", BuildType: typeCloudBuild, InvocationID: "9",
				Parameters: json.RawMessage(`{"buildConfigSource":{"path":"cloudbuild.yaml","ref":"refs/heads/main","repository":"git+https://github.com/acme/app"}}`),
				Source:     facts.Source{URI: "https://github.com/acme/app", Ref: "refs/heads/main", Digest: digest("gitCommit")},
				Materials:  []facts.Material{git("git+https://github.com/acme/app", "gitCommit")},
			},
		},
		{
			"v1, GitLab", TypeV1,
			v1(typeGitLab+"v17.0.0/PROVENANCE.md", `{"entryPoint":"build","source":"https://gitlab.com/acme/app"}`, `[{"uri":"https://gitlab.com/acme/app","digest":{"sha256":"`+commit+`"}}]`),
			facts.Provenance{
				SLSAVersion: "v1", BuilderID: "b", BuildType: typeGitLab + "v17.0.0/PROVENANCE.md", InvocationID: "9", Parameters: json.RawMessage(`{"entryPoint":"build","source":"https://gitlab.com/acme/app"}`),
				Source:    facts.Source{URI: "https://gitlab.com/acme/app", Digest: digest("sha256")},
				Materials: []facts.Material{git("https://gitlab.com/acme/app", "sha256")},
			},
		},
		{
			"v1, a build type that nobody knows says nothing of its source", TypeV1,
			v1("https://example.com/build", `{"workflow":{"repository":"https://github.com/acme/app"}}`, `[{"uri":"git+https://github.com/acme/app"}]`),
			facts.Provenance{
				SLSAVersion: "v1", BuilderID: "b", BuildType: "https://example.com/build", InvocationID: "9", Parameters: json.RawMessage(`{"workflow":{"repository":"https://github.com/acme/app"}}`), Source: none,
				Materials: []facts.Material{{URI: "git+https://github.com/acme/app", Digest: map[string]string{}}},
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Parse(tt.predicateType, []byte(tt.predicate))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func v1(buildType, parameters, deps string) string {
	return fmt.Sprintf(`{"buildDefinition":{"buildType":%q,"externalParameters":%s,"internalParameters":{},"resolvedDependencies":%s},
	  "runDetails":{"builder":{"id":"b","version":{"x":"1"}},"metadata":{"invocationID":"9"},"byproducts":[]}}`, buildType, parameters, deps)
}

// Other predicate types are none of ours, SLSA's own ones with other versions too.
func TestNoProvenance(t *testing.T) {
	for _, predicateType := range []string{
		"", "https://spdx.dev/Document", "https://slsa.dev/provenance/v1.1", "https://slsa.dev/provenance/v1-rc1", "https://slsa.dev/provenance/V1",
		"https://slsa.dev/verification_summary/v1", TypeV1 + "/",
	} {
		if p, err := Parse(predicateType, []byte(`{"builder":{"id":"b"}}`)); p != nil || err != nil {
			t.Errorf("%q: %+v, %v", predicateType, p, err)
		}
	}
}

func TestRefused(t *testing.T) {
	for _, tt := range []struct {
		name, predicateType, predicate string
		want                           error // nil: any
		says                           string
	}{
		{"nothing", TypeV1, ``, nil, "empty"},
		{"null", TypeV02, ` null `, nil, "empty"},
		{"no object", TypeV02, `[]`, nil, "the document is of type array and should be an object"},
		{"duplicate builder", TypeV02, `{"builder":{"id":"a","id":"b"}}`, strictjson.ErrDuplicateKey, "builder"},
		{"key case", TypeV1, `{"runDetails":{"Builder":{"id":"a"}}}`, strictjson.ErrKeyCase, "builder"},
		{"key case of an identifier", TypeV02, `{"metadata":{"buildinvocationid":"a"}}`, strictjson.ErrKeyCase, ""},
		{"key case below the parameters", TypeV1, v1(typeGitHubWorkflow, `{"Workflow":{}}`, `[]`), strictjson.ErrKeyCase, "externalParameters"},
		{"two identifiers", TypeV02, `{"metadata":{"buildInvocationId":"a","buildInvocationID":"b"}}`, nil, `"a" and "b"`},
		{"builder is a string", TypeV02, `{"builder":"a"}`, nil, "builder is of type string and should be an object"},
		{"workflow is a string", TypeV1, v1(typeGitHubWorkflow, `{"workflow":"x"}`, `[]`), nil, typeGitHubWorkflow},
		{"digest is a number", TypeV02, `{"materials":[{"uri":"x","digest":{"sha1":1}}]}`, nil, "digest is of type number and should be a string"},
		{"trailing bytes", TypeV01, `{} {}`, strictjson.ErrTrailing, ""},
		{"deep", TypeV02, `{"invocation":{"parameters":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `}}`, strictjson.ErrDepth, ""},
		{"large", TypeV02, `{"invocation":{"parameters":{"a":"` + strings.Repeat("a", MaxBytes) + `"}}}`, ErrTooLarge, "more than 1048576"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := Parse(tt.predicateType, []byte(tt.predicate))
			if err == nil || p != nil {
				t.Fatalf("%+v, %v", p, err)
			}
			if tt.want != nil && !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v, want %v with %q", err, tt.want, tt.says)
			}
		})
	}
}

// What does not go into the shape may be large.
func TestLargePredicate(t *testing.T) {
	p, err := Parse(TypeV02, []byte(`{"builder":{"id":"b"},"buildConfig":"`+strings.Repeat("a", 4*MaxBytes)+`"}`))
	if err != nil || p.BuilderID != "b" {
		t.Fatalf("%+v, %v", p, err)
	}
}

func TestLocated(t *testing.T) {
	for uri, want := range map[string]facts.Source{
		"git+https://github.com/acme/app@refs/heads/a@b":     {URI: "https://github.com/acme/app", Ref: "refs/heads/a@b"},
		"git+ssh://git@github.com/acme/app.git@refs/tags/v1": {URI: "ssh://git@github.com/acme/app.git", Ref: "refs/tags/v1"},
		"git+ssh://git@github.com":                           {URI: "ssh://git@github.com"},
		"https://github.com/acme/app@refs/heads/main":        {URI: "https://github.com/acme/app@refs/heads/main"},
		"git+https://github.com/acme/app":                    {URI: "https://github.com/acme/app"},
		"pkg:docker/alpine@3":                                {URI: "pkg:docker/alpine@3"},
		"":                                                   {},
	} {
		if diff := cmp.Diff(want, located(resource{URI: uri})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", uri, diff)
		}
	}
}

// FuzzParse: no panic, and what was read is the same after it was stored.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		`{"builder":{"id":"b"},"buildType":"t","invocation":{"configSource":{"uri":"git+https://h/o/r@refs/heads/m","digest":{"sha1":"00"}},"parameters":{"a":1e3}},"materials":[{"uri":"u"}]}`,
		`{"builder":{"id":"b"},"recipe":{"type":"t","definedInMaterial":0,"arguments":null},"materials":[{"uri":"git+https://h/o/r"}]}`,
		v1(typeGitHubWorkflow, `{"workflow":{"repository":"https://h/o/r","ref":"refs/tags/v1"}}`, `[{"uri":"git+https://h/o/r@refs/tags/v1","digest":{"gitCommit":"00"}}]`),
		v1(typeTektonV1, `{}`, `[{"name":"inputs/result","uri":"git+https://h"}]`), v1(typeDelegator+"x", `{}`, `[]`), v1(typeBuildKitV1, `{"configSource":{"uri":"a#b:c"}}`, `null`),
	} {
		for i := range byte(4) {
			f.Add(i, []byte(s))
		}
	}
	f.Fuzz(func(t *testing.T, version byte, predicate []byte) {
		p, err := Parse([]string{TypeV01, TypeV02, TypeV1, "other"}[version%4], predicate)
		if err != nil || p == nil {
			if p != nil {
				t.Fatalf("%+v with %v", p, err)
			}
			return
		}
		if p.Materials == nil || p.Source.Digest == nil || p.Parameters == nil {
			t.Fatalf("a part is missing: %+v", p)
		}
		body, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var again facts.Provenance
		if err := json.Unmarshal(body, &again); err != nil {
			t.Fatal(err)
		}
		first, err := facts.Canonical(p)
		if err != nil {
			t.Fatal(err)
		}
		second, err := facts.Canonical(again)
		if err != nil || string(first) != string(second) {
			t.Fatalf("%v\n%s\n%s", err, first, second)
		}
	})
}
