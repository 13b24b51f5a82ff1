package policy

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/rego"
)

// library is a bundle with the library and no rules yet.
func library(t *testing.T) fstest.MapFS {
	t.Helper()
	dir := fstest.MapFS{".manifest": file(goodManifest), "schemas/params.json": {Data: rego.ParamsSchema}, "params/params.json": file(defaultParams)}
	err := fs.WalkDir(rego.Modules, "signing", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(name, "_test.rego") && !strings.Contains(name, "/fixture/") {
			return err
		}
		body, err := rego.Modules.ReadFile(name)
		dir[name] = &fstest.MapFile{Data: body}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

const metadata = `
# METADATA
# title: T
# description: D
# custom:
#   code: mine
#   severity: high
#   remediation: R
`

const head = `violation contains {"code": "mine", "message": "m", "remediation": "r"} if {` + "\n"

// ruleOf is a bundle with one rule whose violation has this body.
func ruleOf(t *testing.T, body string) fstest.MapFS {
	t.Helper()
	return ruleFile(t, "import data.signing.lib\n"+metadata+head+body+"\n}\n\n_image := lib.image\n")
}

func ruleFile(t *testing.T, text string) fstest.MapFS {
	t.Helper()
	dir := library(t)
	dir["signing/rules/mine.rego"] = file("package signing.rules.mine\n\n" + text)
	dir["signing/rules/mine_test.rego"] = file("package signing.rules.mine_test\n\ntest_x if true\n")
	dir[goldenName] = file(goldens(t, false, "unsigned"))
	return dir
}

// goldens is a file with one input without evidence.
func goldens(t *testing.T, allow bool, codes ...string) string {
	t.Helper()
	in, err := json.Marshal(emptyInput())
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(map[string]any{"golden": []golden{{Name: "nothing", Params: json.RawMessage(defaultParams), Input: in, Allow: allow, Codes: codes}}})
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func sourceOf(dir fs.FS) Source {
	return Source{Name: "mine", Bundle: dir, Params: json.RawMessage(defaultParams)}
}

func TestCheck(t *testing.T) {
	with := func(name, body string) fstest.MapFS {
		dir := ruleOf(t, "\tnot _image")
		if body == "" {
			delete(dir, name)
		} else {
			dir[name] = file(body)
		}
		return dir
	}
	const at = "signing/rules/mine.rego"
	tests := []struct {
		name   string
		bundle fstest.MapFS
		want   []string // file:line severity code
		says   string   // of the first one, or what to write instead
	}{
		{"nothing", ruleOf(t, "\tnot _image"), nil, ""},
		{"threat 47: the clock", ruleOf(t, "\ttime.now_ns() > 0"), []string{at + ":13 error builtin_not_allowed"}, "input.evaluated_at"},
		{"threat 47: the network", ruleOf(t, "\tnot http.send({\"url\": _image}).ok"), []string{at + ":13 error builtin_not_allowed"}, "data.params"},
		{"threat 47: in a comprehension", ruleOf(t, "\tcount([x | x := rand.intn(\"x\", 2)]) == 0"), []string{at + ":13 error builtin_not_allowed"}, "no chance"},
		{"threat 47: in a test", with("signing/rules/mine_test.rego", "package signing.rules.mine_test\n\ntest_x if opa.runtime()\n"), []string{"signing/rules/mine_test.rego:3 error builtin_not_allowed"}, "where they run"},
		{"threat 47: a schema from elsewhere", ruleFile(t, "# METADATA\n# schemas:\n#   - input: {\"$ref\": \"http://127.0.0.1:1/s.json\"}\n_x if input.signatures\n"+metadata+head+"\tnot _x\n}\n"),
			[]string{at + ":3 error remote_schema", at + ":6 error rego_type_error"}, "schema.input"},
		{"threat 37: deny if found", ruleOf(t, "\tsome a in input.attestations\n\ta.predicate_type == _image"), []string{at + ":13 warning deny_if_found"}, "not _passed"},
		{"threat 37: through a helper", ruleFile(t, "_bad contains s.id if some s in input.signatures\n"+metadata+head+"\tsome id in _bad\n\tid != \"\"\n}\n"), []string{at + ":13 warning deny_if_found"}, "input.signatures"},
		{"threat 37: through a function", ruleFile(t, "_bad(x) if input.rejections[_].id == x\n"+metadata+head+"\t_bad(\"x\")\n}\n"), []string{at + ":13 warning deny_if_found"}, "input.rejections"},
		{"threat 37: through the library", ruleOf(t, "\tsome _, found in lib.base.facts({\"allowed\": []})\n\tcount(found) > 1"), []string{at + ":13 warning deny_if_found"}, "input.attestations"},
		{"threat 37: in a monotone policy", func() fstest.MapFS {
			dir := ruleOf(t, "\tsome a in input.attestations\n\ta.id != _image")
			dir[".manifest"] = file(`{"roots":["signing"],"metadata":{"signet":{"monotone":true}}}`)
			return dir
		}(), []string{at + ":13 error deny_if_found"}, "monotone"},
		{"nobody there is no deny if found", ruleFile(t, "_good contains s.id if some s in input.signatures\n"+metadata+head+"\tcount(_good) == 0\n\tnot \"x\" in _good\n}\n"), nil, ""},
		{"threat 59: a claim that may be missing", ruleOf(t, "\tinput.signatures[0].signer.claims.ref != _image"), []string{at + ":13 warning deny_if_found", at + ":13 error fact_missing"}, "not _passed"},
		{"threat 59: in the words", ruleFile(t, strings.Replace(metadata+head, `"m"`, `input.request.context.env`, 1)+"\tnot input.search.complete\n}\n"), []string{at + ":11 error fact_missing"}, "object.get"},
		{"threat 59: with a default", ruleOf(t, "\tobject.get(input.request.context, \"env\", \"test\") == _image"), nil, ""},
		{"trap 2: a parameter that nobody knows", ruleOf(t, "\tdata.params.colour != _image"), []string{at + ":13 error parameter_unknown"}, "required list"},
		{"trap 2: through the library", ruleOf(t, "\tlib.params.colour != _image"), []string{at + ":13 error parameter_unknown"}, "colour"},
		{"trap 2: a parameter that may be missing", func() fstest.MapFS {
			dir := ruleOf(t, "\tdata.params.colour != _image")
			dir["schemas/params.json"] = file(strings.Replace(string(rego.ParamsSchema), `"properties": {`, `"properties": {"colour": {"type": "string"},`, 1))
			return dir
		}(), []string{at + ":13 error parameter_optional"}, `Add "colour" to the required list`},
		{"a parameter that is required", ruleOf(t, "\tdata.params.threshold < 0"), nil, ""},
		{"times as text", ruleOf(t, "\tinput.evaluated_at > \"2026\""), []string{at + ":13 error time_as_text"}, "time.parse_rfc3339_ns"},
		{"identities in part", ruleFile(t, "_org if {\n\tsome s in input.signatures\n\tstartswith(s.signer.subject, \"https://github.com/org\")\n}\n"+metadata+head+"\tnot _org\n}\n"), []string{at + ":5 warning identity_as_text"}, "trusted_signers"},
		{"a rule that nothing collects", ruleFile(t, "violations contains \"x\" if true\n"), []string{at + ":1 error not_collected"}, "violation, which denies"},
		{"a rule in no package of its own", with("signing/rules/mine.rego", "package signing.rules\n\nviolation contains \"x\" if true\n"), []string{at + ":1 error not_collected"}, "package signing.rules.NAME"},
		{"a rule too deep", with("signing/rules/mine.rego", "package signing.rules.a.b\n\nviolation contains \"x\" if true\n"), []string{at + ":1 error not_collected"}, "package signing.rules.NAME"},
		{"a package of the library", with("signing/rules/mine.rego", "package signing.lib\n\nsourced(_) if true\n"), []string{at + ":1 error library"}, "signing.rules.NAME"},
		{"the entrypoint's package", with("signing/rules/mine.rego", "package signing\n\nallow if true\n"), []string{at + ":1 error library"}, "can allow"},
		{"no set", ruleFile(t, "violation if input.search.complete\n"), []string{at + ":3 error rule_malformed"}, "violation contains"},
		{"no METADATA", ruleFile(t, head+"\tnot input.search.complete\n}\n"), []string{at + ":3 error metadata"}, "# METADATA"},
		{"METADATA that lacks something", ruleFile(t, "# METADATA\n# title: T\n"+head+"\tnot input.search.complete\n}\n"), []string{at + ":5 error metadata"}, "custom.code"},
		{"another code than METADATA's", ruleFile(t, strings.Replace(metadata, "mine", "yours", 1)+head+"\tnot input.search.complete\n}\n"), []string{at + ":11 error metadata"}, "yours"},
		{"a code twice", ruleFile(t, metadata+head+"\tnot input.search.complete\n}\n"+metadata+head+"\tnot input.search.items\n}\n"), []string{at + ":22 error metadata"}, "is taken"},
		{"no test", with("signing/rules/mine_test.rego", ""), []string{at + ":0 warning no_test"}, "mine_test.rego"},
		{"no golden inputs", with(goldenName, ""), []string{goldenName + ":0 warning no_golden"}, "without any evidence"},
		{"a golden input that is not so", with(goldenName, goldens(t, true)), []string{goldenName + ":0 error golden"}, "promised is true"},
		{"syntax", ruleOf(t, "\tnot ("), []string{at + ":14 error syntax"}, "Rego v1"},
		{"a field that is none", ruleOf(t, "\tnot input.search.complet"), []string{at + ":13 error rego_type_error"}, "schemas/input.json"},
		{"an import that is not used", ruleFile(t, "import data.signing.lib\n"+metadata+head+"\tnot input.search.complete\n}\n"), []string{at + ":3 error rego_compile_error"}, "unused"},
		{"a package of somebody else", with("signing/rules/mine.rego", "package other\n"), []string{at + ":0 error not_loadable"}, "outside the roots"},
		{"no entrypoint", with("signing/verdict.rego", ""), []string{"signing/verdict.rego:0 error no_entrypoint"}, "vendor"},
		{"threat 59: allows without evidence", with("signing/verdict.rego", "package signing\n\n"+strings.TrimPrefix(strings.Replace(denies, `"allow": false`, `"allow": true`, 1), "package signing\n\n")),
			[]string{"signing/verdict.rego:0 error no_evidence"}, "image without any evidence"},
		{"parameters that do not fit", func() fstest.MapFS {
			dir := ruleOf(t, "\tnot _image")
			dir["schemas/params.json"] = file(`{"type": "object", "required": ["colour"]}`)
			return dir
		}(), []string{"params/params.json:0 error params"}, "colour"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			problems, err := Check(t.Context(), sourceOf(tt.bundle))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			says := ""
			for _, p := range problems {
				got = append(got, fmt.Sprintf("%s:%d %s %s", p.File, p.Line, p.Severity, p.Code))
				says += p.Message + "\n" + p.Instead + "\n"
				if p.Message == "" || p.Instead == "" {
					t.Errorf("%+v does not say what is wrong, or what to write", p)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s%s", diff, says)
			}
			if !strings.Contains(says, tt.says) {
				t.Errorf("says %q, want %q in it", says, tt.says)
			}
		})
	}
}

func TestCheckWantsABundle(t *testing.T) {
	if _, err := Check(t.Context(), sourceOf(fstest.MapFS{})); !errors.Is(err, ErrLoad) {
		t.Errorf("Check = %v", err)
	}
}

func TestExplain(t *testing.T) {
	dir := ruleOf(t, "\tsome s in input.signatures\n\ts.format == _image")
	dir["signing/rules/mine.rego"] = file(strings.Replace(string(dir["signing/rules/mine.rego"].Data), "s.format == _image", "s.format != _image", 1))
	s := mustLoad(t, sourceOf(dir))
	body, err := json.Marshal(signedInput())
	if err != nil {
		t.Fatal(err)
	}
	d, err := ParseDocument(t.Context(), body, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	result, fired, err := s.Explain(t.Context(), d)
	if err != nil || result.Allow {
		t.Fatalf("%+v, %v", result, err)
	}
	byRule := map[string][]Fired{}
	for _, f := range fired {
		byRule[f.Rule] = append(byRule[f.Rule], f)
	}
	want := []Fired{{Rule: "signing.rules.mine.violation", File: "signing/rules/mine.rego", Line: 12, Fired: true, Facts: []string{"sha256:01"}}}
	if diff := cmp.Diff(want, byRule["signing.rules.mine.violation"]); diff != "" {
		t.Errorf("the rule (-want +got):\n%s", diff)
	}
	for _, f := range byRule["signing.lib.unmet.violation"] {
		if f.Fired {
			t.Errorf("%+v: the requirement is met", f)
		}
	}
	if len(byRule["signing.lib.unmet.violation"]) != 10 {
		t.Errorf("%d rules of unmet", len(byRule["signing.lib.unmet.violation"]))
	}
}

func TestParseDocument(t *testing.T) {
	good, err := json.Marshal(signedInput())
	if err != nil {
		t.Fatal(err)
	}
	d, err := ParseDocument(t.Context(), good, int64(len(good)))
	if err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(*signedInput(), d.in); diff != "" {
		t.Errorf("(-written +read):\n%s", diff)
	}
	for name, tt := range map[string]struct{ body, want string }{
		"empty":           {``, "not valid JSON"},
		"a field more":    {strings.Replace(string(good), `{`, `{"more":1,`, 1), "unknown field"},
		"a field twice":   {strings.Replace(string(good), `{`, `{"schema":"signet/input/v1",`, 1), "duplicate key"},
		"a list less":     {strings.Replace(string(good), `"rejections":[],`, ``, 1), "rejections"},
		"another schema":  {strings.Replace(string(good), "signet/input/v1", "signet/input/v1+unmatched", 1), "schema"},
		"something after": {string(good) + "{}", "trailing"},
	} {
		if _, err := ParseDocument(t.Context(), []byte(tt.body), 1<<20); !errors.Is(err, ErrDocument) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	if _, err := ParseDocument(t.Context(), good, int64(len(good))-1); !errors.Is(err, ErrInputTooLarge) {
		t.Errorf("too large: %v", err)
	}
}

func TestGolden(t *testing.T) {
	signed, err := json.Marshal(signedInput())
	if err != nil {
		t.Fatal(err)
	}
	one := func(change func(g map[string]any)) string {
		g := map[string]any{"name": "signed", "input": json.RawMessage(signed), "allow": true, "codes": []string{}}
		change(g)
		body, err := json.Marshal(map[string]any{"golden": []any{g}})
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	for _, tt := range []struct{ name, body, want string }{
		{"denied as promised", goldens(t, false, "unsigned"), ""},
		{"denied for another reason", goldens(t, false, "threshold_not_met"), "promised is false"},
		{"allowed, promised", goldens(t, true), "promised is true"},
		{"none without evidence", one(func(map[string]any) {}), "none of the inputs is without evidence"},
		{"own parameters", one(func(g map[string]any) {
			g["params"] = json.RawMessage(strings.Replace(defaultParams, `"threshold":1`, `"threshold":2`, 1))
		}), "threshold_not_met"},
		{"parameters that do not fit", one(func(g map[string]any) { g["params"] = map[string]any{} }), "params: do not match"},
		{"no name", one(func(g map[string]any) { g["name"] = "" }), "name: is missing"},
		{"no input", one(func(g map[string]any) { g["input"] = map[string]any{} }), "is no document"},
		{"a field that nobody reads", one(func(g map[string]any) { g["allowed"] = true }), "unknown field"},
		{"empty", `{"golden":[]}`, "has no inputs"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := library(t)
			dir[goldenName] = file(tt.body)
			_, err := Load(t.Context(), sourceOf(dir))
			if tt.want == "" && err != nil || tt.want != "" && (!errors.Is(err, ErrLoad) || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("Load = %v, want %q", err, tt.want)
			}
		})
	}
}

func TestRunTests(t *testing.T) {
	dir := ruleFile(t, "_ok if input.search.complete\n\n_never if input.search.items == 7\n"+metadata+head+"\tnot _ok\n}\n")
	dir["fixtures/seen/input.json"] = file(`{"search": {"complete": true}}`)
	dir["fixtures/seen/seen_test.rego"] = file("package fixtures.seen_test\n\ntest_seen if {\n\tprint(\"looking\")\n\tcount(data.signing.rules.mine.violation) == 0 with input as data.fixtures.seen\n}\n")
	dir["signing/rules/mine_test.rego"] = file(`package signing.rules.mine_test

test_fails if {
	true
	count(data.signing.rules.mine.violation) == 3 with input as {}
}

test_garbage if not time.parse_rfc3339_ns("x")

todo_test_later if false

test_params if data.params.threshold == 1
`)
	got, err := RunTests(t.Context(), sourceOf(dir))
	if err != nil {
		t.Fatal(err)
	}
	for i := range got.Tests {
		got.Tests[i].Seconds = 0
	}
	want := []Test{
		{Package: "fixtures.seen_test", Name: "test_seen", File: "fixtures/seen/seen_test.rego", Line: 3, Outcome: Passed, Output: "looking\n"},
		{Package: "signing.rules.mine_test", Name: "test_fails", File: "signing/rules/mine_test.rego", Line: 3, Outcome: Failed, Message: "line 5 did not hold: count(data.signing.rules.mine.violation) == 3 with input as {}"},
		{Package: "signing.rules.mine_test", Name: "test_garbage", File: "signing/rules/mine_test.rego", Line: 8, Outcome: Errored, Message: "error"},
		{Package: "signing.rules.mine_test", Name: "todo_test_later", File: "signing/rules/mine_test.rego", Line: 10, Outcome: Skipped},
		{Package: "signing.rules.mine_test", Name: "test_params", File: "signing/rules/mine_test.rego", Line: 12, Outcome: Passed},
	}
	if len(got.Tests) == len(want) && strings.Contains(got.Tests[2].Message, "time.parse_rfc3339_ns") {
		got.Tests[2].Message = "error"
	}
	if diff := cmp.Diff(want, got.Tests); diff != "" {
		t.Errorf("tests (-want +got):\n%s", diff)
	}
	if got.OK() {
		t.Error("OK, and two tests did not pass")
	}
	if diff := cmp.Diff([]Uncovered{{"signing/rules/mine.rego", 5}}, got.Uncovered); diff != "" || got.Coverage >= 100 || got.Coverage <= 0 {
		t.Errorf("coverage %v, uncovered (-want +got):\n%s", got.Coverage, diff)
	}
}

func TestRunTestsRefuses(t *testing.T) {
	change := func(name, body string) fstest.MapFS {
		dir := ruleOf(t, "\tnot _image")
		dir[name] = file(body)
		return dir
	}
	many := ruleOf(t, "\tnot _image")
	for i := range maxBundleFiles {
		many[fmt.Sprintf("fixtures/f%d/input.json", i)] = file("{}")
	}
	for _, tt := range []struct {
		name   string
		bundle fstest.MapFS
		want   string
	}{
		{"no bundle", fstest.MapFS{}, "has no .manifest"},
		{"no tests", library(t), "has no tests"},
		{"a rule that does not parse", change("signing/rules/x.rego", "package"), "x.rego"},
		{"a test that does not compile", change("signing/rules/x_test.rego", "package signing.rules.x_test\n\ntest_x if http.send({})\n"), "http.send"},
		{"a fixture that is none", change("fixtures/x/input.json", "[]"), "fixtures/x/input.json"},
		{"a schema that is none", change("schemas/params.json", "{"), "schemas/params.json"},
		{"too many fixtures", many, "more than 1000 tests and fixtures"},
		{"two files that say the same", func() fstest.MapFS {
			dir := change("fixtures/x/a.json", `{"a": 1}`)
			dir["fixtures/x/b.json"] = file(`{"a": 1}`)
			return dir
		}(), "given by another file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := RunTests(t.Context(), sourceOf(tt.bundle)); !errors.Is(err, ErrLoad) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("RunTests = %v, want %q", err, tt.want)
			}
		})
	}
}

func TestDataAtTheTop(t *testing.T) {
	dir := policyOf("")
	dir["data.json"] = file(`{"signing": {"lists": {"a": 1}}}`)
	if _, err := Load(t.Context(), sourceOf(dir)); err != nil {
		t.Error(err)
	}
	dir["data.json"] = file(`{"signing": {}, "params": {}}`)
	if _, err := Load(t.Context(), sourceOf(dir)); err == nil || !strings.Contains(err.Error(), "outside the roots") {
		t.Errorf("Load = %v", err)
	}
}

type entry struct {
	name, body string
	kind       byte
	size       int64
}

func pack(t *testing.T, entries ...entry) string {
	t.Helper()
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	w := tar.NewWriter(z)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Typeflag: e.kind, Size: int64(len(e.body)), Mode: 0o644}
		if e.kind == 0 {
			h.Typeflag = tar.TypeReg
		}
		if e.kind == tar.TypeSymlink {
			h.Linkname, h.Size = e.body, 0
		}
		if e.size > 0 {
			h.Size = e.size
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			_, _ = w.Write([]byte(e.body))
		}
	}
	_ = w.Flush()
	_ = z.Close()
	name := filepath.Join(t.TempDir(), "bundle.tar.gz")
	if err := os.WriteFile(name, buf.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestOpen(t *testing.T) {
	packed := pack(t, entry{name: "/signing/", kind: tar.TypeDir}, entry{name: "/.manifest", body: goodManifest}, entry{name: "/signing/verdict.rego", body: denies},
		entry{name: "/data.json", body: "{}"}, entry{name: "./params/params.json", body: defaultParams})
	dir, err := Open(packed)
	if err != nil {
		t.Fatal(err)
	}
	params, err := Params(dir)
	if err != nil || string(params) != defaultParams {
		t.Errorf("params %s, %v", params, err)
	}
	got := mustLoad(t, Source{Bundle: dir, Params: params})
	folder := t.TempDir()
	if err := os.CopyFS(folder, dir); err != nil {
		t.Fatal(err)
	}
	dir, err = Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	if want := mustLoad(t, Source{Bundle: dir, Params: params}); got.Digest() != want.Digest() {
		t.Errorf("digests: packed %s, folder %s", got.Digest(), want.Digest())
	}
	if _, err := Params(policyOf("")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no parameters: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	var many []entry
	for i := range maxBundleFiles + 1 {
		many = append(many, entry{name: fmt.Sprint("f", i)})
	}
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, file, want string }{
		{"not there", filepath.Join(t.TempDir(), "x"), "no such file"},
		{"something else", text, "neither a directory nor a .tar.gz"},
		{"a link", pack(t, entry{name: "x", kind: tar.TypeSymlink, body: "/etc/passwd"}), "not a regular file"},
		{"a way out", pack(t, entry{name: "../x", body: "x"}), "no path within a bundle"},
		{"a way out, hidden", pack(t, entry{name: "a/../../x", body: "x"}), "no path within a bundle"},
		{"twice", pack(t, entry{name: "x", body: "1"}, entry{name: "/x", body: "2"}), "has x twice"},
		{"threat 38: too many files", pack(t, many...), "more than 1000 files"},
		{"threat 39: too large", pack(t, entry{name: "x", size: maxBundleBytes + 1}), "is larger than"},
		{"cut short", pack(t, entry{name: "x", body: "1", size: 4000}), "EOF"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Open(tt.file); !errors.Is(err, ErrLoad) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Open = %v, want %q", err, tt.want)
			}
		})
	}
}
