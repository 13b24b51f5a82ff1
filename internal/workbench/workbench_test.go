package workbench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/policy"
	"github.com/signet-policy/signet/internal/signingpolicy"
)

const (
	rulesFile = "signing/rules/registries.rego"
	testsFile = "signing/rules/registries_test.rego"
)

// patient does its work however slow the machine is.
var patient = Bench{Time: 10 * time.Minute}

// begun is a new bundle, with changes.
func begun(t *testing.T, change map[string]string) map[string]string {
	t.Helper()
	files, err := patient.Begin()
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(files, change)
	return files
}

// A new bundle is in order: nothing is wrong, its tests pass, and it is built.
func TestBegin(t *testing.T) {
	b, files := patient, begun(t, nil)
	for name := range files {
		if strings.HasPrefix(name, "signing/lib/") {
			t.Errorf("%s is no file of the author's", name)
		}
	}
	checked, err := b.Check(t.Context(), files)
	if err != nil || len(checked.Problems) > 0 {
		t.Errorf("check: %+v, %v", checked, err)
	}
	tested, err := b.Test(t.Context(), files)
	if err != nil || !tested.OK || len(tested.Tests) < 5 || tested.Coverage != 100 {
		t.Errorf("test: %+v, %v", tested, err)
	}
	archive, err := b.Build(t.Context(), files, 7, "seven")
	if err != nil {
		t.Fatal(err)
	}
	info, err := policy.Inspect(archive)
	if err != nil || info.Sequence != 7 || info.Revision != "seven" || info.Library == "" {
		t.Errorf("built: %+v, %v", info, err)
	}
	// What it is built of comes back, but for what a bundle does not have.
	back, replaced, err := b.Unpack(archive, "")
	if err != nil || len(replaced) > 0 || back[rulesFile] != files[rulesFile] || back[paramsName] == "" || back[testsFile] != "" {
		t.Errorf("unpacked: %v, %v, replaced %v", slices.Sorted(maps.Keys(back)), err, replaced)
	}
	if checked, err := b.Check(t.Context(), back); err != nil || slices.ContainsFunc(checked.Problems, func(p client.PolicyProblem) bool { return p.Severity == "error" }) {
		t.Errorf("what was unpacked: %+v, %v", checked, err)
	}
	source, err := b.Source(files)
	if err != nil {
		t.Fatal(err)
	}
	if all, err := policy.Files(source); err != nil || all[testsFile] == nil || all["signing/verdict.rego"] == nil || all[".library"] == nil {
		t.Errorf("the folder: %v, %v", slices.Sorted(maps.Keys(all)), err)
	}
}

// A mistake is told with its line; a bundle that has one has no tests and is not built.
func TestMistakes(t *testing.T) {
	b := patient
	files := begun(t, nil)
	lines := strings.Count(files[rulesFile], "\n")
	files[rulesFile] += "\nbroken if input.subject.registry == nosuchthing\n"
	checked, err := b.Check(t.Context(), files)
	at := slices.IndexFunc(checked.Problems, func(p client.PolicyProblem) bool {
		return p.File == rulesFile && p.Line == lines+2 && p.Severity == "error" && strings.Contains(p.Message, "nosuchthing")
	})
	if err != nil || at < 0 {
		t.Errorf("check: %+v, %v", checked, err)
	}
	if tested, err := b.Test(t.Context(), files); err != nil || tested.OK || !strings.Contains(tested.Error, "nosuchthing") {
		t.Errorf("test: %+v, %v", tested, err)
	}
	if _, err := b.Build(t.Context(), files, 1, ""); !errors.Is(err, ErrUnfit) || !strings.Contains(err.Error(), rulesFile) {
		t.Errorf("build: %v", err)
	}
	if checked, err := b.Check(t.Context(), map[string]string{".manifest": "{"}); err != nil || len(checked.Problems) != 1 || checked.Problems[0].File != ".manifest" {
		t.Errorf("no manifest: %+v, %v", checked, err)
	}
	failing := begun(t, map[string]string{testsFile: strings.Replace(begun(t, nil)[testsFile], "registries.violation == set()", "registries.violation != set()", 1)})
	tested, err := b.Test(t.Context(), failing)
	if err != nil || tested.OK || !slices.ContainsFunc(tested.Tests, func(x client.PolicyTest) bool { return x.Outcome == "failed" && x.Line > 0 }) {
		t.Errorf("a test that fails: %+v, %v", tested, err)
	}
	if _, err := b.Build(t.Context(), failing, 1, ""); !errors.Is(err, ErrUnfit) || !strings.Contains(err.Error(), "did not pass") {
		t.Errorf("build: %v", err)
	}
}

// golden is one of the starter's inputs.
func golden(t *testing.T, files map[string]string, name string) []byte {
	t.Helper()
	var doc struct {
		Golden []struct {
			Name  string
			Input json.RawMessage
		}
	}
	if err := json.Unmarshal([]byte(files["signing/golden.json"]), &doc); err != nil {
		t.Fatal(err)
	}
	for _, g := range doc.Golden {
		if g.Name == name {
			return g.Input
		}
	}
	t.Fatalf("there is no input %q", name)
	return nil
}

// An input is answered, with the rules that held; parameters are those of a signing
// policy where one is given.
func TestEvaluate(t *testing.T) {
	b, files := patient, begun(t, nil)
	signed, elsewhere := golden(t, files, "signed by a trusted signer"), golden(t, files, "signed, from another registry")
	got, err := b.Evaluate(t.Context(), files, "", signed)
	if err != nil || got.Decision != client.Allow || got.Error != "" || !strings.Contains(string(got.Result), `"allow":true`) {
		t.Errorf("signed: %+v, %v", got, err)
	}
	got, err = b.Evaluate(t.Context(), files, "", elsewhere)
	if err != nil || got.Decision != client.Deny || !slices.ContainsFunc(got.Rules, func(r client.PolicyFired) bool {
		return r.Fired && r.File == rulesFile && r.Line > 0 && r.Rule == "signing.rules.registries.violation"
	}) {
		t.Errorf("from elsewhere: %+v, %v", got, err)
	}
	document := "signing_policy:\n  trusted_signers: [{type: registry}]\n  bundle: b\n  parameters: {registries: [evil.example]}\n"
	if got, err = b.Evaluate(t.Context(), files, document, elsewhere); err != nil || got.Decision != client.Allow {
		t.Errorf("with other parameters: %+v, %v", got, err)
	}
	if got, err = b.Evaluate(t.Context(), files, strings.Replace(document, "registries: [evil.example]", "registries: 7", 1), signed); err != nil || got.Decision != client.Deny || got.Error == "" || got.Result != nil {
		t.Errorf("with parameters that it does not take: %+v, %v", got, err)
	}
	for name, input := range map[string]string{"no document": `{"schema": 1}`, "no JSON": "x"} {
		if _, err := b.Evaluate(t.Context(), files, "", []byte(input)); !errors.Is(err, ErrInput) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := b.Evaluate(t.Context(), files, "nonsense: 1", signed); !errors.Is(err, ErrInput) || !errors.Is(err, signingpolicy.ErrInvalid) {
		t.Errorf("no signing policy: %v", err)
	}
}

// What takes too long, or too much memory, ends.
func TestBounds(t *testing.T) {
	many := "package signing.rules.many_test\n\n_xs := [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]\n\ntest_many if {\n\tcount(%s) > 0\n}\n"
	nine := strings.Repeat("some _ in _xs; ", 9) + "true"
	loop := begun(t, map[string]string{testsFile: fmt.Sprintf(many, "{1 | "+nine+"}")})
	start := time.Now()
	if _, err := (Bench{Time: 200 * time.Millisecond}).Test(t.Context(), loop); !errors.Is(err, ErrTooMuch) {
		t.Errorf("time: %v", err)
	}
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("it took %s to end", took)
	}
	large := begun(t, map[string]string{testsFile: fmt.Sprintf(many, "[1 | "+nine+"]")})
	if tested, err := (Bench{Time: 10 * time.Minute, Memory: 64 << 20}).Test(t.Context(), large); !errors.Is(err, ErrTooMuch) || !strings.Contains(err.Error(), "memory") {
		t.Errorf("memory: %v, %+v", err, tested)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := patient.Test(over, begun(t, nil)); err == nil || errors.Is(err, ErrTooMuch) {
		t.Errorf("a caller who has left: %v", err)
	}
}

// What is no draft is refused by name.
func TestValid(t *testing.T) {
	for want, files := range map[string]map[string]string{
		`"../a"`:                 {"../a": ""},
		`"/a"`:                   {"/a": ""},
		`"a b"`:                  {"a b": ""},
		"x is a file and":        {"x": "", "x/y": ""},
		"y is no text":           {"y": "\xff"},
		"z is no text":           {"z": "\x00"},
		"bytes":                  {"a": strings.Repeat("x", maxBytes)},
		"a place of":             nil,
		"signing/lib/extra.rego": nil,
	} {
		err := patient.Valid(files)
		if files == nil {
			mine := begun(t, map[string]string{"signing/lib/extra.rego": "package signing.lib\n"})
			_, err = patient.Check(t.Context(), mine)
		}
		if !errors.Is(err, ErrFiles) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if err := patient.Valid(begun(t, nil)); err != nil {
		t.Error(err)
	}
}
