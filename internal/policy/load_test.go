package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/signet-policy/signet/bundles"
	"github.com/signet-policy/signet/rego"
)

const goodManifest = `{"revision":"r1","roots":["signing"],"metadata":{"signet":{"sequence":4,"context":{"env":["prod","staging"]}}}}`

// denies is a policy with a body that a test adds to; by itself it denies.
const denies = `package signing

default verdict := {
	"allow": false, "violations": [], "warnings": [], "satisfied_by": [], "slsa": {"level": 0, "builder": null},
}
`

func bundle(files map[string]string) fstest.MapFS {
	out := fstest.MapFS{".manifest": {Data: []byte(goodManifest)}}
	for name, body := range files {
		out[name] = &fstest.MapFile{Data: []byte(body)}
	}
	return out
}

func policyOf(body string) fstest.MapFS {
	return bundle(map[string]string{"signing/verdict.rego": denies + body})
}

func TestLoadBundle(t *testing.T) {
	dir := policyOf("")
	dir["signing/verdict_test.rego"] = &fstest.MapFile{Data: []byte("package signing_test\n\ntest_x if http.send({})\n")}
	dir["signing/lists/data.json"] = &fstest.MapFile{Data: []byte(`{"blocked":["a"]}`)}
	dir["README.md"] = &fstest.MapFile{Data: []byte("about")}
	s := mustLoad(t, Source{Name: "mine", Bundle: dir})
	if s.Name() != "mine" || s.Revision() != "r1" || s.Sequence() != 4 || s.Monotone() {
		t.Errorf("name %q, revision %q, sequence %d, monotone %v", s.Name(), s.Revision(), s.Sequence(), s.Monotone())
	}
	if diff := cmp.Diff(map[string][]string{"env": {"prod", "staging"}}, s.Context()); diff != "" {
		t.Errorf("context (-want +got):\n%s", diff)
	}
}

func TestLoadDefault(t *testing.T) {
	s := mustLoad(t, Source{Name: "default"})
	if !s.Monotone() || s.Revision() == "" || s.Sequence() < 1 {
		t.Errorf("monotone %v, revision %q, sequence %d", s.Monotone(), s.Revision(), s.Sequence())
	}
	if !strings.HasPrefix(s.Digest(), "sha256:") || !strings.HasPrefix(s.ParamsDigest(), "sha256:") {
		t.Errorf("digests %q and %q", s.Digest(), s.ParamsDigest())
	}
}

func TestDigests(t *testing.T) {
	base := func() fstest.MapFS {
		b := policyOf("")
		b["signing/lists/data.json"] = &fstest.MapFile{Data: []byte(`{"a":1}`)}
		return b
	}
	want := mustLoad(t, Source{Bundle: base()})
	changes := map[string]func(b fstest.MapFS){
		"module": func(b fstest.MapFS) { b["signing/verdict.rego"].Data = append(b["signing/verdict.rego"].Data, '\n') },
		"module name": func(b fstest.MapFS) {
			b["signing/v.rego"] = b["signing/verdict.rego"]
			delete(b, "signing/verdict.rego")
		},
		"manifest": func(b fstest.MapFS) { b[".manifest"].Data = []byte(strings.Replace(goodManifest, "r1", "r2", 1)) },
		"data":     func(b fstest.MapFS) { b["signing/lists/data.json"].Data = []byte(`{"a":2}`) },
		"schema":   func(b fstest.MapFS) { b["schemas/params.json"] = &fstest.MapFile{Data: rego.ParamsSchema} },
	}
	for name, change := range changes {
		b := base()
		change(b)
		if got := mustLoad(t, Source{Bundle: b}); got.Digest() == want.Digest() {
			t.Errorf("another %s has the same digest", name)
		}
	}
	if got := mustLoad(t, Source{Bundle: base()}); got.Digest() != want.Digest() {
		t.Error("the same bundle has another digest")
	}
	reordered := `{"threshold":1, "registered_signers":true,"trusted_sources":null,"verify_transparency_log":true,"require_signature":true}`
	if got := mustLoad(t, Source{Params: json.RawMessage(reordered)}); got.ParamsDigest() != want.ParamsDigest() {
		t.Error("the same parameters in another order have another digest")
	}
	other := strings.Replace(defaultParams, `"threshold":1`, `"threshold":2`, 1)
	if got := mustLoad(t, Source{Params: json.RawMessage(other)}); got.ParamsDigest() == want.ParamsDigest() {
		t.Error("another threshold has the same digest")
	}
}

func TestLoadRefusesBundles(t *testing.T) {
	without := func(name string, b fstest.MapFS) fstest.MapFS { delete(b, name); return b }
	manifest := func(body string) fstest.MapFS {
		b := policyOf("")
		b[".manifest"] = &fstest.MapFile{Data: []byte(body)}
		return b
	}
	many := policyOf("")
	for i := range maxBundleFiles {
		many[fmt.Sprintf("signing/m%d.rego", i)] = &fstest.MapFile{Data: []byte("package signing.m")}
	}
	with := func(name, body string) fstest.MapFS {
		b := policyOf("")
		b[name] = &fstest.MapFile{Data: []byte(body)}
		return b
	}
	tests := []struct {
		name   string
		bundle fs.FS
		want   string
	}{
		{"no manifest", without(".manifest", policyOf("")), "has no .manifest"},
		{"manifest not JSON", manifest("{"), ".manifest: unexpected EOF"},
		{"manifest with more behind", manifest(goodManifest + "{}"), "something after the document"},
		{"no roots", manifest(`{"revision":"r"}`), "roots: is missing"},
		{"all of data", manifest(`{"roots":[""]}`), `roots: "" is not "signing"`},
		{"root params", manifest(`{"roots":["signing","params"]}`), "data.params in particular is mounted by Signet"},
		{"root beside ours", manifest(`{"roots":["signing_evil"]}`), "is not \"signing\" or below it"},
		{"old Rego", manifest(`{"roots":["signing"],"rego_version":0}`), "rego_version: 0 is not supported"},
		{"wasm", manifest(`{"roots":["signing"],"wasm":[]}`), `unknown field "wasm"`},
		{"threat 14: unknown metadata", manifest(`{"roots":["signing"],"metadata":{"signet":{"monoton":true}}}`), `unknown field "monoton"`},
		{"context without values", manifest(`{"roots":["signing"],"metadata":{"signet":{"context":{"env":[]}}}}`), `"env" has no values`},
		{"no modules", without("signing/verdict.rego", policyOf("")), "has no Rego modules"},
		{"empty module", with("signing/empty.rego", ""), "empty"},
		{"does not parse", with("signing/x.rego", "package signing.x\n\nallow {"), "x.rego"},
		{"no entrypoint", bundle(map[string]string{"signing/x.rego": "package signing.x\n\ny := 1\n"}), "has no rule data.signing.verdict"},
		{"package outside", with("signing/x.rego", "package other\n\nx := 1\n"), "package other lies outside the roots"},
		{"package params", with("signing/x.rego", "package params\n\nthreshold := 0\n"), "package params lies outside the roots"},
		{"package of a like name", with("signing/x.rego", "package signing_evil\n\nx := 1\n"), "lies outside the roots"},
		{"data at the top", with("data.json", `{"params":{"threshold":0}}`), "data.json: lies outside the roots"},
		{"data for params", with("params/data.json", `{"threshold":0}`), "params/data.json: lies outside the roots"},
		{"data not an object", with("signing/data.json", `[]`), "signing/data.json"},
		{"data with more behind", with("signing/data.json", `{} {}`), "something after the document"},
		{"data as YAML", with("signing/data.yaml", `a: 1`), "write its content as data.json"},
		{"data where a rule is", with("signing/data.json", `{"verdict":{}}`), "verdict"},
		{"threat 38: too many files", many, "has more than 1000 files"},
		{"threat 39: too large", with("signing/data.json", strings.Repeat(" ", maxBundleBytes)), "is larger than"},
		{"schema that is none", with("schemas/params.json", `{"type":7}`), "schemas/params.json"},
		{"schema that is not JSON", with("schemas/params.json", `{`), "schemas/params.json"},
		{"schema that is a list", with("schemas/params.json", `[]`), "schemas/params.json"},
		{"schema with a key twice", with("schemas/params.json", `{"type":"object","type":"array"}`), "schemas/params.json"},
		{"schema of another draft", with("schemas/params.json", `{"$schema":"https://json-schema.org/draft/2020-12/schema"}`), "write draft 7"},
		{"schema that refers elsewhere below", with("schemas/params.json", `{"anyOf":[{"properties":{"threshold":{"$ref":"http://127.0.0.1:1/x"}}}]}`), "a schema must stand alone"},
		{"schema that refers to nothing", with("schemas/params.json", `{"$ref":"#/definitions/x"}`), "schemas/params.json"},
		{"schema that refers elsewhere", with("schemas/params.json", `{"$ref":"file:///etc/passwd"}`), "a schema must stand alone"},
		{"type error against the input", policyOf("\nverdict := {} if input.signaturs[0].id == 1\n"), "undefined ref: input.signaturs"},
		{"not strict", policyOf("\nimport data.signing.unused\n"), "unused"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Load(t.Context(), Source{Name: "x", Bundle: tt.bundle, Params: json.RawMessage(defaultParams)})
			if !errors.Is(err, ErrLoad) {
				t.Fatalf("Load = %v, want ErrLoad", err)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Load = %v, want it to say %q", err, tt.want)
			}
		})
	}
}

func TestLoadRefusesDataTwice(t *testing.T) {
	b := policyOf("")
	b["signing/data.json"] = &fstest.MapFile{Data: []byte(`{"lists":{"a":1}}`)}
	b["signing/lists/data.json"] = &fstest.MapFile{Data: []byte(`{"a":2}`)}
	if _, err := Load(t.Context(), Source{Bundle: b, Params: json.RawMessage(defaultParams)}); err == nil || !strings.Contains(err.Error(), "another data.json") {
		t.Errorf("Load = %v, want it to name the second data.json", err)
	}
	b["signing/data.json"] = &fstest.MapFile{Data: []byte(`{"lists":7}`)}
	if _, err := Load(t.Context(), Source{Bundle: b, Params: json.RawMessage(defaultParams)}); err == nil || !strings.Contains(err.Error(), "is no object") {
		t.Errorf("Load = %v, want it to say that lists is no object", err)
	}
}

// Threat 47: a policy that would see the network, the clock, randomness or this
// process is refused at load.
func TestThreat47Builtins(t *testing.T) {
	calls := map[string]string{
		"http.send":            `http.send({"method": "get", "url": "http://127.0.0.1"}).status_code == 200`,
		"opa.runtime":          `opa.runtime().env`,
		"net.lookup_ip_addr":   `net.lookup_ip_addr("localhost")`,
		"net.cidr_contains":    `net.cidr_contains("10.0.0.0/8", "10.0.0.1")`,
		"time.now_ns":          `time.now_ns() > 0`,
		"rand.intn":            `rand.intn("x", 2) == 0`,
		"uuid.rfc4122":         `uuid.rfc4122("x") != ""`,
		"x509 with the clock":  `crypto.x509.parse_and_verify_certificates("x")[0]`,
		"x509 with options":    `crypto.x509.parse_and_verify_certificates_with_options("x", {})[0]`,
		"aws.sign_req":         `providers.aws.sign_req({}, {}, 0)`,
		"rego.parse_module":    `rego.parse_module("x", "package x")`,
		"trace":                `trace("x")`,
		"io.jwt.decode_verify": `io.jwt.decode_verify("x", {})[0]`,
		"json.match_schema":    `json.match_schema({}, {"$ref": "http://127.0.0.1/"})[0]`,
		"print":                ``,
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			body := "\nx if " + call + "\n"
			if call == "" { // the counter-check: what is allowed loads
				body = "\nx if {\n\tprint(1)\n\tlower(\"A\") == \"a\"\n}\n"
			}
			_, err := Load(t.Context(), Source{Bundle: policyOf(body), Params: json.RawMessage(defaultParams)})
			if call == "" {
				if err != nil {
					t.Errorf("Load = %v", err)
				}
				return
			}
			if !errors.Is(err, ErrLoad) || !strings.Contains(err.Error(), "undefined function") {
				t.Errorf("Load = %v, want the function to be undefined", err)
			}
		})
	}
}

// Threat 47: a schema in METADATA with a remote reference is refused, and
// nothing is fetched (CVE-2022-36085 and the absent allow_net).
func TestThreat47RemoteSchema(t *testing.T) {
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		_, _ = w.Write([]byte(`{"type":"object"}`))
	}))
	defer server.Close()
	annotated := func(schema string) fstest.MapFS {
		return policyOf(fmt.Sprintf("\n# METADATA\n# schemas:\n#   - input: %s\nx if input.signatures\n", schema))
	}
	_, err := Load(t.Context(), Source{Bundle: annotated(`{"$ref": "` + server.URL + `/s.json"}`), Params: json.RawMessage(defaultParams)})
	if !errors.Is(err, ErrLoad) {
		t.Errorf("Load = %v, want ErrLoad", err)
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("the schema's server was asked %d times", n)
	}
	for _, schema := range []string{"schema.input", `{"type": "object", "properties": {"signatures": {"type": "array"}}}`} {
		if _, err := Load(t.Context(), Source{Bundle: annotated(schema), Params: json.RawMessage(defaultParams)}); err != nil {
			t.Errorf("with %s: %v", schema, err)
		}
	}
}

// Threat 59: a bundle is asked about an image without any evidence before it is
// used, and must not allow it, nor fail over it.
func TestThreat59NoEvidence(t *testing.T) {
	tests := []struct{ name, body, want string }{
		{"allows everything", `verdict := {"allow": true, "violations": [], "warnings": [], "satisfied_by": [{"requirement": "x", "exception": "y"}], "slsa": {"level": 0, "builder": null}}`, "allows an image without any evidence"},
		{"deny if", `
bad if some s in input.signatures
verdict := {"allow": true, "violations": [], "warnings": [], "satisfied_by": [{"requirement": "x", "exception": "y"}], "slsa": {"level": 0, "builder": null}} if not bad`, "allows an image without any evidence"},
		{"undefined", `verdict := {"allow": false} if input.signatures[0].id`, "is undefined"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := bundle(map[string]string{"signing/verdict.rego": "package signing\n" + tt.body + "\n"})
			_, err := Load(t.Context(), Source{Bundle: b, Params: json.RawMessage(defaultParams)})
			if !errors.Is(err, ErrLoad) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Load = %v, want it to say %q", err, tt.want)
			}
		})
	}
}

func TestLoadRefusesParams(t *testing.T) {
	tests := []struct{ name, params, want string }{
		{"none", "", "are missing"},
		{"not JSON", "{", "params"},
		{"null", "null", "params"},
		{"twice", strings.Replace(defaultParams, `{`, `{"threshold":2,`, 1), "threshold"},
		{"empty", "{}", "threshold is required"},
		{"threat 22: threshold 0", strings.Replace(defaultParams, `"threshold":1`, `"threshold":0`, 1), "threshold"},
		{"threat 22: threshold negative", strings.Replace(defaultParams, `"threshold":1`, `"threshold":-1`, 1), "threshold"},
		{"threshold no integer", strings.Replace(defaultParams, `"threshold":1`, `"threshold":1.5`, 1), "threshold"},
		{"threat 14: unknown", strings.Replace(defaultParams, `{`, `{"treshold":1,`, 1), "treshold"},
		{"no sources", strings.Replace(defaultParams, `null`, `[]`, 1), "trusted_sources"},
		{"string for a boolean", strings.Replace(defaultParams, `"require_signature":true`, `"require_signature":"true"`, 1), "require_signature"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Load(t.Context(), Source{Params: json.RawMessage(tt.params)})
			if !errors.Is(err, ErrLoad) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Load = %v, want it to name %q", err, tt.want)
			}
		})
	}
}

func TestBundleWithItsOwnParameters(t *testing.T) {
	b := policyOf("")
	b["schemas/params.json"] = &fstest.MapFile{Data: []byte(`{"type":"object","required":["colour"],"additionalProperties":false,"properties":{"colour":{"enum":["red"]}}}`)}
	if _, err := Load(t.Context(), Source{Bundle: b, Params: json.RawMessage(`{"colour":"red"}`)}); err != nil {
		t.Errorf("its own parameters: %v", err)
	}
	if _, err := Load(t.Context(), Source{Bundle: b, Params: json.RawMessage(defaultParams)}); err == nil {
		t.Error("the default policy's parameters are accepted")
	}
}

// defaultAsBundle is the embedded policy as a directory, which goes through all
// of the compiler's checks.
func defaultAsBundle(t *testing.T) fs.FS {
	t.Helper()
	out := fstest.MapFS{".manifest": {Data: bundles.DefaultManifest}, "schemas/params.json": {Data: rego.ParamsSchema}}
	err := fs.WalkDir(rego.Modules, "signing", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := fs.ReadFile(rego.Modules, name)
		out[name] = &fstest.MapFile{Data: body}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Compiled with every stage of the compiler, the embedded policy is the same to
// the letter.
func TestDispensableStagesChangeNothing(t *testing.T) {
	c, caps, err := embeddedSources()
	if err != nil {
		t.Fatal(err)
	}
	text := func(compiler *ast.Compiler) map[string]string {
		modules, err := parse(c, caps)
		if err != nil {
			t.Fatal(err)
		}
		if compiler.Compile(modules); compiler.Failed() {
			t.Fatal(compiler.Errors)
		}
		out := map[string]string{}
		for name, m := range compiler.Modules {
			out[name] = m.String()
		}
		return out
	}
	whole := text(ast.NewCompiler().WithCapabilities(caps))
	if len(whole) != len(c.modules) {
		t.Errorf("%d modules, not %d", len(whole), len(c.modules))
	}
	if diff := cmp.Diff(whole, text(ast.NewCompiler().WithCapabilities(caps).WithSkipStages(dispensable...))); diff != "" {
		t.Errorf("another policy (-all stages +without the dispensable):\n%s", diff)
	}
	// The comparison sees what a stage does.
	if cmp.Equal(whole, text(ast.NewCompiler().WithCapabilities(caps).WithSkipStages(append([]ast.StageID{ast.StageRewriteExprTerms}, dispensable...)...))) {
		t.Error("a stage that rewrites was left out and nothing differs")
	}
}

func TestEmbeddedPolicyIsTheBundleItCouldBe(t *testing.T) {
	full := mustLoad(t, Source{Bundle: defaultAsBundle(t)})
	embedded := mustLoad(t, Source{})
	if full.Digest() != embedded.Digest() {
		t.Errorf("digest %s, as a bundle %s", embedded.Digest(), full.Digest())
	}
	if !maps.EqualFunc(full.Context(), embedded.Context(), func(a, b []string) bool { return cmp.Equal(a, b) }) || full.Revision() != embedded.Revision() {
		t.Error("the manifests differ")
	}
}

// What is compiled once for all parameters knows none of them: sets that are made and
// asked side by side, as each change of a policy does, answer by their own.
func TestParametersAreApart(t *testing.T) {
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			signers := 1 + i%2
			for range 5 {
				params := strings.Replace(defaultParams, `"threshold":1`, fmt.Sprintf(`"threshold":%d`, signers), 1)
				s, err := Load(t.Context(), Source{Name: "default", Params: json.RawMessage(params)})
				if err != nil {
					t.Error(err)
					return
				}
				if r, err := s.Evaluate(t.Context(), signedInput()); err != nil || r.Allow != (signers == 1) { // one has signed
					t.Errorf("signers that are needed: %d; allowed: %v, %v", signers, r.Allow, err)
				}
			}
		})
	}
	all.Wait()
}
