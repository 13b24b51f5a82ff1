package hygiene

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var (
	faceRow     = regexp.MustCompile(`(?m)^\| ([^|]+) \| (` + "`" + `[^|]+) \|$`)
	faceShownBy = regexp.MustCompile("`([a-z/]+): ([^`]+)`")
	testFunc    = regexp.MustCompile(`(?m)^func (Test\w+)\(`)
)

// TestFacesTable holds the section about faces of docs/testing.md against the tree: the
// gateway's eight points have a line each, and every test that is named is there.
func TestFacesTable(t *testing.T) {
	root := moduleRoot(t)
	page, err := os.ReadFile(filepath.Join(root, "docs", "testing.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(page), "\n## Faces\n")
	section, _, ends := strings.Cut(section, "\n## ")
	rows := faceRow.FindAllStringSubmatch(section, -1)
	if !found || !ends || len(rows) != strings.Count(section, "\n| ")-1 {
		t.Fatalf("docs/testing.md has a section of faces with %d lines that can be read", len(rows))
	}
	for n := range 8 {
		if point := strconv.Itoa(n+1) + ". "; n >= len(rows) || !strings.HasPrefix(rows[n][1], point) {
			t.Errorf("no line begins with %q", point)
		}
	}
	for _, row := range rows {
		named := faceShownBy.FindAllStringSubmatch(row[2], -1)
		if len(named) == 0 {
			t.Errorf("%s: names no test", row[1])
		}
		for _, group := range named {
			have := testsIn(t, filepath.Join(root, group[1]))
			for _, name := range strings.Split(group[2], ", ") {
				if !have[name] {
					t.Errorf("%s: %s has no test %s", row[1], group[1], name)
				}
			}
		}
	}
}

// testsIn are the names of the tests in a folder.
func testsIn(t *testing.T, dir string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no tests in %s: %v", dir, err)
	}
	names := map[string]bool{}
	for _, f := range files {
		body, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range testFunc.FindAllStringSubmatch(string(body), -1) {
			names[m[1]] = true
		}
	}
	return names
}
