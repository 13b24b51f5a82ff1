package hygiene

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/signet-policy/signet/internal/testkit/require"
)

// TestActions checks what GitHub would run: our workflows, with the action that they use, and the ones that others copy.
func TestActions(t *testing.T) {
	root := moduleRoot(t)
	actionlint := require.Actionlint(t)
	// Within one repository, so that the action that a workflow uses is found and its inputs are checked.
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, ".github"), os.DirFS(filepath.Join(root, ".github"))); err != nil {
		t.Fatal(err)
	}
	copies, err := filepath.Glob(filepath.Join(root, "docs", "examples", "ci", "github-*.yml"))
	if err != nil || len(copies) == 0 {
		t.Fatalf("found %d examples: %v", len(copies), err)
	}
	for _, file := range copies {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, ".github", "workflows", filepath.Base(file)), body, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.CommandContext(t.Context(), "git", "init", "--quiet", dir).CombinedOutput(); err != nil {
		t.Fatalf("git: %v\n%s", err, out)
	}
	cmd := exec.CommandContext(t.Context(), actionlint, "-no-color", "-oneline")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("actionlint: %v\n%s", err, out)
	}
	// That the check finds something is part of what is checked.
	wrong := "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - uses: ./.github/actions/verify\n        with: {file: a.yaml}\n"
	if err := os.WriteFile(filepath.Join(dir, ".github", "workflows", "wrong.yml"), []byte(wrong), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd = exec.CommandContext(t.Context(), actionlint, "-no-color", "-oneline")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err == nil {
		t.Errorf("an input that the action does not have passes:\n%s", out)
	}
}
