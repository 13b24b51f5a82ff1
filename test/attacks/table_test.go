package attacks

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var (
	tableRow  = regexp.MustCompile(`(?m)^\| (\d+) \|[^|]*\|([^|]*)\|([^|]*)\|$`)
	shownBy   = regexp.MustCompile("`([a-z]+): ([^`]+)`")
	testsHere = regexp.MustCompile(`(?m)^func (Test\w+)\(`)
)

// TestThreatTable holds docs/testing.md against the tree: every threat from 1 to 46
// and from 52 to 58 has its line, every test that it names is there, and where none is named the
// line says what is left.
func TestThreatTable(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../../docs/testing.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(doc), "\n## Threats\n")
	table, _, ends := strings.Cut(table, "\n## ")
	if !found || !ends {
		t.Fatal("docs/testing.md has no section of threats")
	}
	tests := map[string]map[string]bool{}
	seen := map[int]int{}
	for _, row := range tableRow.FindAllStringSubmatch(table, -1) {
		n, err := strconv.Atoi(row[1])
		if err != nil {
			t.Fatal(err)
		}
		seen[n]++
		named := shownBy.FindAllStringSubmatch(row[2], -1)
		if len(named) == 0 && strings.TrimSpace(row[3]) == "" {
			t.Errorf("threat %d: neither a test nor what is left", n)
		}
		for _, group := range named {
			have, ok := tests[group[1]]
			if !ok {
				have = testsOf(t, group[1])
				tests[group[1]] = have
			}
			for _, name := range strings.Split(group[2], ", ") {
				if !have[name] {
					t.Errorf("threat %d: %s has no test %s", n, group[1], name)
				}
			}
		}
	}
	for n := 1; n <= 58; n++ {
		if seen[n] != 1 && (n <= 46 || n >= 52) {
			t.Errorf("threat %d has %d lines", n, seen[n])
		}
	}
}

// testsOf are the names of the tests in a folder.
func testsOf(t *testing.T, folder string) map[string]bool {
	t.Helper()
	dir := filepath.Join("..", "..", "internal", folder)
	switch folder {
	case "attacks":
		dir = "."
	case "replicas":
		dir = filepath.Join("..", "replicas")
	}
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
		for _, m := range testsHere.FindAllStringSubmatch(string(body), -1) {
			names[m[1]] = true
		}
	}
	return names
}
