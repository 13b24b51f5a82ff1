package require

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Variable is the environment variable that names, separated by commas, the parts that must be there: a test that lacks one of
// them fails instead of being skipped.
const Variable = "SIGNET_REQUIRE"

// Attribute is the key of the test attribute ([testing.TB.Attr]) under which a test that got a part leaves its name. The
// summary of `make test` reads it: a required part that no test used is as bad as one that was not there.
const Attribute = "signet.part"

// part is one thing that tests need and a machine may lack.
type part struct {
	name string
	// mend says what the reader of a skip does to have the test run.
	mend string
	// find returns where the part is: a folder, a program or a URL, as the function that is named after the part says.
	// errAbsent means that this machine has none; any other error that it was set and is wrong, which is never skipped.
	find func() (string, error)
}

var errAbsent = errors.New("absent")

// The names of the parts, as SIGNET_REQUIRE spells them.
const (
	partActionlint = "actionlint"
	partChromium   = "chromium"
	partCorpus     = "corpus"
	partCosign     = "cosign"
	partNode       = "node"
	partOPA        = "opa"
	partPostgres   = "postgres"
	partPython     = "python"
	partRace       = "race"
	partRedis      = "redis"
	partRegal      = "regal"
	partSLSA       = "slsa-verifier"
)

func parts() []part {
	return []part{
		{partActionlint, "run `make tools`, or set SIGNET_ACTIONLINT to its path", func() (string, error) {
			return program("SIGNET_ACTIONLINT", func() (string, error) { return builtTool("actionlint") })
		}},
		{partChromium, "install Chromium, or set SIGNET_CHROMIUM to its path", func() (string, error) {
			return program("SIGNET_CHROMIUM", func() (string, error) { return inPath("chromium", "chromium-browser", "google-chrome") })
		}},
		{partCorpus, "set SIGNET_CORPUS to its folder", corpus},
		{partCosign, "run `make tools`, or set SIGNET_COSIGN to its path", func() (string, error) {
			return program("SIGNET_COSIGN", func() (string, error) { return builtTool("cosign") })
		}},
		{partNode, "install Node.js 20 or newer with npm", func() (string, error) {
			if _, err := inPath("npm"); err != nil {
				return "", err
			}
			return inPath("node")
		}},
		{partOPA, "run `make tools`, or set SIGNET_OPA to its path", func() (string, error) {
			return program("SIGNET_OPA", func() (string, error) { return builtTool("opa") })
		}},
		{partPostgres, "set SIGNET_TEST_POSTGRES to the URL of a server where tests may create databases", func() (string, error) {
			return setting("SIGNET_TEST_POSTGRES")
		}},
		{partPython, "install Python 3.8 or newer as python3", func() (string, error) { return inPath("python3") }},
		{partRace, "install a C compiler: the race detector needs one", func() (string, error) { return inPath("cc", "gcc", "clang") }},
		{partRedis, "set SIGNET_TEST_REDIS to the URL of a server where tests may write under a prefix of their own", func() (string, error) {
			return setting("SIGNET_TEST_REDIS")
		}},
		{partRegal, "run `make tools`, or set SIGNET_REGAL to its path", func() (string, error) {
			return program("SIGNET_REGAL", func() (string, error) { return builtTool("regal") })
		}},
		{partSLSA, "run `make tools`, or set SIGNET_SLSA_VERIFIER to its path", func() (string, error) {
			return program("SIGNET_SLSA_VERIFIER", func() (string, error) { return builtTool("slsa-verifier") })
		}},
	}
}

// Names returns the name of every part that SIGNET_REQUIRE may name, sorted.
func Names() []string {
	var names []string
	for _, p := range parts() {
		names = append(names, p.name)
	}
	return names
}

// Parse splits the value of SIGNET_REQUIRE. A name that no part has is an error: a misspelt requirement would require nothing.
func Parse(list string) ([]string, error) {
	var names []string
	for name := range strings.SplitSeq(list, ",") {
		name = strings.TrimSpace(name)
		switch {
		case name == "":
		case !slices.Contains(Names(), name):
			return nil, fmt.Errorf("%s names %q, which is no part; the parts are %s", Variable, name, strings.Join(Names(), ", "))
		case !slices.Contains(names, name):
			names = append(names, name)
		}
	}
	return names, nil
}

// SkipReason is what a test that lacks the named part says when it is skipped: `needs corpus: set SIGNET_CORPUS …`.
// [PartOf] reads it back.
func SkipReason(name string) string {
	for _, p := range parts() {
		if p.name == name {
			return fmt.Sprintf("needs %s: %s", p.name, p.mend)
		}
	}
	return fmt.Sprintf("needs %s", name)
}

// PartOf returns the name of the part that a skip's reason says is lacking, or "" when the reason names none.
func PartOf(reason string) string {
	rest, ok := strings.CutPrefix(strings.TrimSpace(reason), "needs ")
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(rest, ":")
	if !slices.Contains(Names(), name) {
		return ""
	}
	return name
}

// setting is the value of an environment variable, or errAbsent.
func setting(variable string) (string, error) {
	if v := os.Getenv(variable); v != "" {
		return v, nil
	}
	return "", errAbsent
}

// program is the program that the variable names, or else what find finds.
func program(variable string, find func() (string, error)) (string, error) {
	set, err := setting(variable)
	if err != nil {
		return find()
	}
	path, err := exec.LookPath(set)
	if err != nil {
		return "", fmt.Errorf("%s: %w", variable, err)
	}
	return path, nil
}

// inPath is the first of the named programs that PATH has.
func inPath(names ...string) (string, error) {
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errAbsent
}

// corpus is the folder of SIGNET_CORPUS; its cases.json must be there.
func corpus() (string, error) {
	dir, err := setting("SIGNET_CORPUS")
	if err != nil {
		return "", err
	}
	if !filepath.IsAbs(dir) {
		// Tests run in the folder of their package, so a relative path would be another folder for each.
		return "", fmt.Errorf("SIGNET_CORPUS is %q; it must be an absolute path", dir)
	}
	if _, err := os.Stat(filepath.Join(dir, "cases.json")); err != nil {
		return "", fmt.Errorf("SIGNET_CORPUS: %w", err)
	}
	return dir, nil
}
