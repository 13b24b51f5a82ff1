package require

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// recorder is a test that only writes down what became of it.
type recorder struct {
	testing.TB
	outcome string // "", or skip or fatal with the message
	parts   []string
}

func (r *recorder) Helper()                        {}
func (r *recorder) Attr(key, value string)         { r.parts = append(r.parts, key+"="+value) }
func (r *recorder) Skip(args ...any)               { r.end("skip: " + fmt.Sprint(args...)) }
func (r *recorder) Fatal(args ...any)              { r.end("fatal: " + fmt.Sprint(args...)) }
func (r *recorder) Fatalf(format string, a ...any) { r.end("fatal: " + fmt.Sprintf(format, a...)) }
func (r *recorder) end(outcome string)             { r.outcome = outcome; runtime.Goexit() }
func (r *recorder) run(f func(testing.TB) string) (got string) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		got = f(r)
	}()
	<-done
	return got
}

func TestParts(t *testing.T) {
	corpusDir := t.TempDir()
	write(t, filepath.Join(corpusDir, "cases.json"), "[]", 0o600)
	empty := t.TempDir()
	bin := t.TempDir()
	program := filepath.Join(bin, "chromium")
	write(t, program, "#!/bin/sh\n", 0o700)

	tests := []struct {
		name    string
		part    func(testing.TB) string
		env     map[string]string
		want    string // what the function returns
		outcome string // beginning
		used    string // the attribute
	}{
		{name: "corpus", part: Corpus, env: map[string]string{"SIGNET_CORPUS": corpusDir}, want: corpusDir, used: "corpus"},
		{name: "no corpus", part: Corpus, outcome: "skip: needs corpus: set SIGNET_CORPUS"},
		{name: "corpus is required", part: Corpus, env: map[string]string{Variable: "redis,corpus"}, outcome: "fatal: needs corpus: set SIGNET_CORPUS"},
		{name: "another part is required", part: Corpus, env: map[string]string{Variable: "redis"}, outcome: "skip: needs corpus"},
		{name: "corpus without cases is wrong, not absent", part: Corpus, env: map[string]string{"SIGNET_CORPUS": empty}, outcome: "fatal: SIGNET_CORPUS: "},
		{name: "relative corpus", part: Corpus, env: map[string]string{"SIGNET_CORPUS": "corpus"}, outcome: `fatal: SIGNET_CORPUS is "corpus"; it must be an absolute path`},
		{name: "misspelt requirement", part: Corpus, env: map[string]string{"SIGNET_CORPUS": corpusDir, Variable: "corpse"}, outcome: `fatal: SIGNET_REQUIRE names "corpse"`},
		{name: "postgres", part: Postgres, env: map[string]string{"SIGNET_TEST_POSTGRES": "postgres://x"}, want: "postgres://x", used: "postgres"},
		{name: "no postgres", part: Postgres, outcome: "skip: needs postgres: set SIGNET_TEST_POSTGRES"},
		{name: "postgres is required", part: Postgres, env: map[string]string{Variable: "postgres"}, outcome: "fatal: needs postgres"},
		{name: "redis", part: Redis, env: map[string]string{"SIGNET_TEST_REDIS": "redis://x"}, want: "redis://x", used: "redis"},
		{name: "redis is required", part: Redis, env: map[string]string{Variable: " redis "}, outcome: "fatal: needs redis"},
		{name: "chromium by variable", part: Chromium, env: map[string]string{"SIGNET_CHROMIUM": program}, want: program, used: "chromium"},
		{name: "chromium in PATH", part: Chromium, env: map[string]string{"PATH": bin}, want: program, used: "chromium"},
		{name: "no chromium", part: Chromium, env: map[string]string{"PATH": empty}, outcome: "skip: needs chromium"},
		{name: "chromium that is not there is wrong, not absent", part: Chromium, env: map[string]string{"SIGNET_CHROMIUM": filepath.Join(empty, "x")}, outcome: "fatal: SIGNET_CHROMIUM: "},
		{name: "cosign by variable", part: Cosign, env: map[string]string{"SIGNET_COSIGN": program}, want: program, used: "cosign"},
		{name: "cosign not built", part: Cosign, env: map[string]string{"XDG_CACHE_HOME": empty}, outcome: "skip: needs cosign: run `make tools`"},
		{name: "cosign is required", part: Cosign, env: map[string]string{"XDG_CACHE_HOME": empty, Variable: "cosign"}, outcome: "fatal: needs cosign"},
		{name: "opa by variable", part: OPA, env: map[string]string{"SIGNET_OPA": program}, want: program, used: "opa"},
		{name: "regal by variable", part: Regal, env: map[string]string{"SIGNET_REGAL": program}, want: program, used: "regal"},
		{name: "regal not built", part: Regal, env: map[string]string{"XDG_CACHE_HOME": empty}, outcome: "skip: needs regal: run `make tools`"},
		{name: "slsa-verifier by variable", part: SLSAVerifier, env: map[string]string{"SIGNET_SLSA_VERIFIER": program}, want: program, used: "slsa-verifier"},
		{name: "opa not built", part: OPA, env: map[string]string{"XDG_CACHE_HOME": empty}, outcome: "skip: needs opa: run `make tools`"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, v := range os.Environ() {
				if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "SIGNET_") {
					t.Setenv(name, "")
				}
			}
			for name, value := range tt.env {
				t.Setenv(name, value)
			}
			r := &recorder{}
			if got := r.run(tt.part); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if !strings.HasPrefix(r.outcome, tt.outcome) || tt.outcome == "" && r.outcome != "" {
				t.Errorf("outcome %q, want %q", r.outcome, tt.outcome)
			}
			var used []string
			if tt.used != "" {
				used = []string{Attribute + "=" + tt.used}
			}
			if diff := cmp.Diff(used, r.parts); diff != "" {
				t.Errorf("attributes (-want +got):\n%s", diff)
			}
		})
	}
}

// TestBuiltTool asks tools/build.sh for what is there; it never builds one.
func TestBuiltTool(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	if _, err := builtTool("cosign"); !errors.Is(err, errAbsent) {
		t.Errorf("error %v, want %v", err, errAbsent)
	}
	if _, err := builtTool("hammer"); err == nil || !strings.Contains(err.Error(), "no tool named 'hammer'") {
		t.Errorf("error %v, want one that says that there is no such tool", err)
	}
	t.Chdir(t.TempDir())
	if _, err := builtTool("cosign"); err == nil || !strings.Contains(err.Error(), "tools/build.sh") {
		t.Errorf("error %v, want one that names what is missing", err)
	}
}

func TestFindRefusesUnknownPart(t *testing.T) {
	if where, ok, err := Find("corpse"); ok || err == nil {
		t.Errorf("Find = %q, %v, %v; want an error", where, ok, err)
	}
}

func TestParse(t *testing.T) {
	tests := []struct {
		list string
		want []string
		err  string
	}{
		{list: ""},
		{list: "corpus", want: []string{"corpus"}},
		{list: " redis , corpus,,redis", want: []string{"redis", "corpus"}},
		{list: "corpus,Redis", err: `"Redis", which is no part; the parts are actionlint, chromium, corpus, cosign, node, opa, postgres, python, race, redis, regal, slsa-verifier`},
	}
	for _, tt := range tests {
		got, err := Parse(tt.list)
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("Parse(%q) (-want +got):\n%s", tt.list, diff)
		}
		if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("Parse(%q): error %v, want %q", tt.list, err, tt.err)
		}
	}
}

// What a test says when it is skipped is what the summary reads back.
func TestPartOfReadsSkipReason(t *testing.T) {
	for _, name := range Names() {
		if got := PartOf(SkipReason(name)); got != name {
			t.Errorf("PartOf(%q) = %q", SkipReason(name), got)
		}
	}
	for _, reason := range []string{"", "corpus", "needs Linux", "needs corpses: x", "it needs corpus: x"} {
		if got := PartOf(reason); got != "" {
			t.Errorf("PartOf(%q) = %q", reason, got)
		}
	}
}

func write(t *testing.T, name, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}
