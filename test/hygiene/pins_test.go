package hygiene

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/mod/modfile"
)

// TestOPAIsTheSame keeps the opa that tests and checks the rules at the version that evaluates them.
func TestOPAIsTheSame(t *testing.T) {
	const opa = "github.com/open-policy-agent/opa"
	root := moduleRoot(t)
	engine := required(t, filepath.Join(root, "go.mod"), opa)
	tool := required(t, filepath.Join(root, "tools", "opa", "go.mod"), opa)
	if engine != tool {
		t.Errorf("go.mod has opa %s and tools/opa/go.mod %s; they must be the same", engine, tool)
	}
}

// TestToolsArePinned wants of every tool's module one tool, which tools/build.sh builds, and the digests of what it is built from.
func TestToolsArePinned(t *testing.T) {
	mods, err := filepath.Glob(filepath.Join(moduleRoot(t), "tools", "*", "go.mod"))
	if err != nil || len(mods) == 0 {
		t.Fatalf("no modules in tools: %v", err)
	}
	for _, name := range mods {
		if tools := parse(t, name).Tool; len(tools) != 1 {
			t.Errorf("%s has %d tool lines, want 1", name, len(tools))
		}
		if info, err := os.Stat(filepath.Join(filepath.Dir(name), "go.sum")); err != nil || info.Size() == 0 {
			t.Errorf("%s has no go.sum: %v", name, err)
		}
	}
}

func required(t *testing.T, file, module string) string {
	t.Helper()
	for _, r := range parse(t, file).Require {
		if r.Mod.Path == module {
			return r.Mod.Version
		}
	}
	t.Fatalf("%s does not require %s", file, module)
	return ""
}

func parse(t *testing.T, name string) *modfile.File {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	mod, err := modfile.Parse(name, content, nil)
	if err != nil {
		t.Fatal(err)
	}
	return mod
}
