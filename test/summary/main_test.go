package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/signet-policy/signet/internal/testkit/require"
)

// The real go and opa, on a module of a few lines.

const (
	goodGo     = "package a\n\nfunc Double(n int) int { return 2 * n }\n"
	goodGoTest = `package a

import "testing"

func TestDouble(t *testing.T) {
	if Double(2) != 4 {
		t.Error("not doubled")
	}
}
`
	goodRego     = "package signing\n\nallow if input.signed\n"
	goodRegoTest = "package signing_test\n\nimport data.signing\n\ntest_signed if signing.allow with input as {\"signed\": true}\n"
	noNetwork    = `{"builtins": [
		{"name": "eq", "infix": "=", "decl": {"type": "function", "args": [{"type": "any"}, {"type": "any"}], "result": {"type": "boolean"}}},
		{"name": "equal", "infix": "==", "decl": {"type": "function", "args": [{"type": "any"}, {"type": "any"}], "result": {"type": "boolean"}}}
	], "allow_net": [], "features": ["rego_v1"]}`
)

func TestRun(t *testing.T) {
	opa := require.OPA(t)
	tests := []struct {
		name    string
		files   map[string]string // on top of a good module; an empty one is removed
		args    []string
		require string
		code    int
		printed []string // on stdout or stderr
	}{
		{
			name:    "all well",
			printed: []string{"ok    internal/a", "ok    rego/signing", "100.0 % of 1 statements", "\n2 passed, 0 failed, 0 skipped\n"},
		},
		{
			name:    "a Go test fails",
			files:   map[string]string{"internal/a/a.go": strings.Replace(goodGo, "2 * n", "n", 1)},
			code:    exitFailed,
			printed: []string{"FAIL  internal/a TestDouble", "not doubled", "\n1 passed, 1 failed, 0 skipped\n"},
		},
		{
			name:    "Go does not compile",
			files:   map[string]string{"internal/a/a_test.go": goodGoTest + "var _ = undefined\n"},
			code:    exitFailed,
			printed: []string{"FAIL  internal/a", "undefined: undefined", "\n1 passed, 1 failed, 0 skipped\n"},
		},
		{
			name:    "a panic",
			files:   map[string]string{"internal/a/a.go": strings.Replace(goodGo, "return 2 * n", `panic("boom")`, 1)},
			code:    exitFailed,
			printed: []string{"FAIL  internal/a TestDouble", "panic: boom"},
		},
		{
			name:    "a race",
			files:   map[string]string{"internal/a/a.go": "package a\n\nfunc Double(n int) int {\n\tdone := make(chan bool)\n\tgo func() { n += 0; close(done) }()\n\tn *= 2\n\t<-done\n\treturn n\n}\n"},
			code:    exitFailed,
			printed: []string{"DATA RACE"},
		},
		{
			name:    "too little covered",
			files:   map[string]string{"internal/a/more.go": "package a\n\nfunc Never() int { return 1 }\n"},
			code:    exitFailed,
			printed: []string{"the tests reach  50.0 % of 2 statements of internal/; at least 80 % is wanted"},
		},
		{
			name:    "no test at all",
			files:   map[string]string{"internal/a/a_test.go": ""},
			args:    []string{"-opa", ""},
			code:    exitFailed,
			printed: []string{"no test ran", "\n0 passed, 0 failed, 0 skipped\n"},
		},
		{
			name:    "a required part that nothing used",
			require: "corpus,opa",
			code:    exitFailed,
			printed: []string{"SIGNET_REQUIRE names corpus, and no test used it"},
		},
		{
			name:    "only one package: coverage is not judged",
			args:    []string{"-only", "./internal/a", "-opa", "", "--", "-count=1"},
			files:   map[string]string{"internal/a/more.go": "package a\n\nfunc Never() int { return 1 }\n"},
			printed: []string{"\n1 passed, 0 failed, 0 skipped\n"},
		},
		{
			name:    "a Rego test fails",
			files:   map[string]string{"rego/signing/a_test.rego": strings.Replace(goodRegoTest, "true", "false", 1)},
			code:    exitFailed,
			printed: []string{"FAIL  rego/signing", "signing_test.test_signed", "\n1 passed, 1 failed, 0 skipped\n"},
		},
		{
			name:    "Rego does not compile",
			files:   map[string]string{"rego/signing/a.rego": goodRego + "nonsense\n"},
			code:    exitFailed,
			printed: []string{"FAIL  rego/signing", "\n1 passed, 1 failed, 0 skipped\n"},
		},
		{
			name:    "Rego that asks the network",
			files:   map[string]string{"rego/signing/a.rego": goodRego + "\nallow if http.send({\"method\": \"get\", \"url\": \"http://localhost\"})\n"},
			code:    exitFailed,
			printed: []string{"FAIL  rego/signing", "undefined function http.send"},
		},
		{
			name:    "a rule that no Rego test reaches",
			files:   map[string]string{"rego/signing/a.rego": goodRego + "\nallow if input.waved_through == 1\n"},
			code:    exitFailed,
			printed: []string{"rego/signing/a.rego:5: no Rego test evaluates this"},
		},
		{
			name:    "a Rego test that is still to be written",
			files:   map[string]string{"rego/signing/a_test.rego": goodRegoTest + "\ntodo_test_more if signing.allow\n"},
			code:    exitFailed,
			printed: []string{"signing_test.todo_test_more was skipped without a reason"},
		},
		{
			name:    "no Rego test",
			files:   map[string]string{"rego/signing/a_test.rego": ""},
			code:    exitFailed,
			printed: []string{"FAIL  rego/signing"},
		},
		{name: "usage: a flag that there is not", args: []string{"-nonsense"}, code: exitUsage},
		{name: "usage: packages after --", args: []string{"--", "./..."}, code: exitUsage},
		{name: "usage: a part that there is not", require: "corpse", code: exitUsage},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			files := map[string]string{
				"go.mod":                   "module example.com/m\n\ngo 1.26\n",
				"internal/a/a.go":          goodGo,
				"internal/a/a_test.go":     goodGoTest,
				"rego/signing/a.rego":      goodRego,
				"rego/signing/a_test.rego": goodRegoTest,
				"rego/capabilities.json":   noNetwork,
			}
			for name, text := range tt.files {
				files[name] = text
			}
			for name, text := range files {
				if text != "" {
					write(t, filepath.Join(dir, name), text)
				}
			}
			t.Chdir(dir)
			t.Setenv("GOWORK", "off")
			t.Setenv("GOFLAGS", "")
			t.Setenv(require.Variable, tt.require)

			t.Setenv("GORACE", "atexit_sleep_ms=0")

			var stdout, stderr strings.Builder
			args := append([]string{"-opa", opa}, tt.args...)
			if code := run(t.Context(), args, &stdout, &stderr); code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			out := stdout.String() + stderr.String()
			for _, text := range tt.printed {
				if !strings.Contains(out, text) {
					t.Errorf("output does not have %q", text)
				}
			}
			if t.Failed() {
				t.Logf("output:\n%s", out)
			}
		})
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
