// Package hygiene keeps out of the repository what must not be published or left behind: paths of one machine, hosts of package
// registries, notes of work not done, hosts put in the place of github.com, large files. To allow one, add it to the rule's
// exceptions with the reason.
package hygiene

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// maxFile is the size over which a file needs to be test data or an exception.
const maxFile = 1 << 20

// rule forbids something in the lines of some files.
type rule struct {
	name string
	// files tells the files that the rule looks at; nil: all.
	files func(name string) bool
	// hints are pieces of which a file must have one for the rule to read it line by line, which is slow.
	hints []string
	// finds returns what is wrong with the line, or "".
	finds func(name, line string) string
	// except has the files that may break the rule, with the reason.
	except map[string]string

	bad  []string // lines that the rule must find, so that it cannot quietly stop working
	good []string // lines that it must not find
}

func (r rule) hinted(content []byte) bool {
	return slices.ContainsFunc(r.hints, func(hint string) bool { return bytes.Contains(content, []byte(hint)) })
}

// join composes what this file may not contain either.
func join(parts ...string) string { return strings.Join(parts, "") }

func rules() []rule {
	return []rule{
		{
			name: "a path of one machine",
			// Real evidence in test data names the paths of the machines that made it.
			files: func(name string) bool { return !inTestdata(name) },
			hints: []string{join("/", "work"), join("/", "root")},
			finds: matching(join(`(?:^|[^\w.)}\]$-])(/`, `(?:work|root)(?:[^\w.-].*|$))`)),
			bad:   []string{join("cd /", "work/main"), join(`"/`, `root/.cache"`), join("at /", "work")},
			good:  []string{"/home/runner/work/x", "/workspace", "/root.json", "$HOME/root/x", "{dir}/root/x", "/works"},
		},
		{
			name: "a temporary path that others can guess",
			// A test may say such a path to see it refused; what it writes goes to t.TempDir().
			files: func(name string) bool { return !isTest(name) },
			hints: []string{join("/", "tmp")},
			finds: matching(join(`(?:^|[^\w.)}\]$-])(/`, `tmp/.*)`)),
			bad:   []string{join("/", "tmp/x.sock")},
			good:  []string{"{{.Dir}}/tmp/x", "$HOME/tmp/x", "/tmpl/x"},
		},
		{
			name:   "a folder beside the repository",
			hints:  []string{join("../", "shared")},
			finds:  matching(join(`\.\./`, `shared\b.*`)),
			except: map[string]string{".ci/run": "it tells the tests where the corpus is, on the machine where it is beside the repository"},
			bad:    []string{join("see ../", "shared/design.md")},
			good:   []string{"../sharedness", "shared/x"},
		},
		{
			name:  "a host of a package registry",
			hints: []string{join("golang", ".org"), join("npmjs", "."), join("yarnpkg", "."), join("debian", ".org")},
			finds: matching(
				join(`\b(?:proxy|sum|index)\.`, `golang\.org`), join(`\bregistry\.`, `(?:npmjs|yarnpkg)\.`), join(`\b(?:deb|security|snapshot)\.`, `debian\.org`)),
			bad:  []string{join("https://proxy.", "golang.org"), join("https://registry.", "npmjs.org/x"), join("http://deb.", "debian.org")},
			good: []string{"golang.org/x/mod", "registry.example.com", "npmjs.com"},
		},
		{
			name:  "work that is not done",
			files: func(name string) bool { return isSource(name) && !inTestdata(name) },
			hints: []string{join("TO", "DO"), join("FIX", "ME")},
			finds: matching(join(`\b(?:TO`, `DO|FIX`, `ME)\b.*`)),
			bad:   []string{join("// TO", "DO: later"), join("# FIX", "ME")},
			good:  []string{"todo", "mastodon"},
		},
		{
			name:  "another host in place of github.com",
			files: func(name string) bool { return !inTestdata(name) },
			hints: []string{"/slsa-framework/", "/actions/"},
			finds: otherHost,
			bad:   []string{join("https://git.", "example/slsa-framework/slsa-github-generator"), join(`x: "https://www.`, `github.com/actions/runner"`)},
			good:  []string{"https://github.com/slsa-framework/x", "https://github.com/actions/runner/github-hosted", "https://slsa.dev/provenance/v1", "https://example.com/actions"},
		},
	}
}

// matching finds what any of the patterns matches: their first group, or all of it.
func matching(patterns ...string) func(name, line string) string {
	var compiled []*regexp.Regexp
	for _, p := range patterns {
		compiled = append(compiled, regexp.MustCompile(p))
	}
	return func(_, line string) string {
		for _, re := range compiled {
			if m := re.FindStringSubmatch(line); m != nil {
				return m[len(m)-1]
			}
		}
		return ""
	}
}

var ofGitHub = regexp.MustCompile("https?://([^/\\s\"'`<>]+)/(?:slsa-framework|actions)/")

// otherHost finds a URL of a builder that lives on github.com under another host: a copying error that would have people trust
// somebody else. A test that means an attacker's host says so in the host's name.
func otherHost(name, line string) string {
	for _, m := range ofGitHub.FindAllStringSubmatch(line, -1) {
		host := strings.ReplaceAll(m[1], `\.`, ".") // in a regular expression
		if host == "github.com" || isTest(name) && strings.Contains(host, "evil") {
			continue
		}
		return m[0]
	}
	return ""
}

func inTestdata(name string) bool { return strings.Contains("/"+name, "/testdata/") }

func isTest(name string) bool {
	return inTestdata(name) || strings.HasPrefix(name, "test/") || strings.HasSuffix(name, "_test.go") || strings.HasSuffix(name, "_test.rego")
}

func isSource(name string) bool {
	switch path.Ext(name) {
	case ".go", ".rego", ".sh", ".js", ".ts", ".sql":
		return true
	}
	return name == "Makefile" || strings.HasPrefix(name, ".ci/")
}

func TestFiles(t *testing.T) {
	root := moduleRoot(t)
	files := tracked(t, root)
	if len(files) == 0 {
		t.Fatal("the repository has no files")
	}
	excused := map[string]bool{}
	for _, name := range files {
		content, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted, and not yet committed
		}
		if err != nil {
			t.Error(err)
			continue
		}
		if len(content) > maxFile && !inTestdata(name) {
			t.Errorf("%s: %d bytes; a file over %d is test data or does not belong here", name, len(content), maxFile)
		}
		for _, r := range rules() {
			if r.files != nil && !r.files(name) || !r.hinted(content) {
				continue
			}
			n := 0
			for line := range bytes.Lines(content) {
				n++
				found := r.finds(name, strings.TrimRight(string(line), "\r\n"))
				switch {
				case found == "":
				case r.except[name] != "":
					excused[r.name+name] = true
				default:
					t.Errorf("%s:%d: %s: %.80s", name, n, r.name, found)
				}
			}
		}
	}
	for _, r := range rules() {
		for name := range r.except {
			if !excused[r.name+name] {
				t.Errorf("%s does not need its exception from the rule %q any more", name, r.name)
			}
		}
	}
}

func TestRules(t *testing.T) {
	for _, r := range rules() {
		t.Run(r.name, func(t *testing.T) {
			for _, line := range r.bad {
				if !r.hinted([]byte(line)) || r.finds("docs/x.md", line) == "" {
					t.Errorf("does not find %q", line)
				}
			}
			for _, line := range r.good {
				if found := r.finds("docs/x.md", line); found != "" {
					t.Errorf("finds %q in %q", found, line)
				}
			}
		})
	}
	evil := join("https://github.com.", "evil.example/slsa-framework/x")
	if otherHost("internal/signers/signers_test.go", evil) != "" {
		t.Error("a test may not name an attacker's host")
	}
	if otherHost("docs/signers.md", evil) == "" {
		t.Error("a page may name an attacker's host")
	}
}

// tracked is every file that git tracks, or, in a copy without .git, every file.
func tracked(t *testing.T, root string) []string {
	t.Helper()
	if _, err := os.Stat(filepath.Join(root, ".git")); errors.Is(err, fs.ErrNotExist) {
		return walk(t, root)
	}
	cmd := exec.CommandContext(t.Context(), "git", "ls-files", "-z")
	cmd.Dir = root
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("git ls-files: %v: %s", err, stderr.String())
	}
	return strings.FieldsFunc(string(out), func(r rune) bool { return r == 0 })
}

func walk(t *testing.T, root string) []string {
	t.Helper()
	var files []string
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name == "bin":
			return fs.SkipDir // what make builds
		case d.Type().IsRegular():
			files = append(files, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func moduleRoot(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", "GOMOD").Output()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Dir(strings.TrimSpace(string(out)))
}
