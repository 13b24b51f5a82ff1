package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// regoResult is one test in the output of `opa test --format json`.
type regoResult struct {
	Package string          `json:"package"`
	Name    string          `json:"name"`
	Fail    bool            `json:"fail"`
	Skip    bool            `json:"skip"`
	Error   json.RawMessage `json:"error"`
}

// regoCoverage is the output of `opa test --coverage --format json`.
type regoCoverage struct {
	Files map[string]struct {
		Covered    []regoRange `json:"covered"`
		NotCovered []regoRange `json:"not_covered"`
	} `json:"files"`
}

type regoRange struct {
	Start struct {
		Row int `json:"row"`
	} `json:"start"`
}

// runRego runs the tests beside the rules, with the builtins that the rules may use and no network, and wants every rule reached.
func runRego(ctx context.Context, cfg config, res *results, stdout, stderr io.Writer) {
	res.used["opa"] = true
	opa := func(args ...string) ([]byte, error) {
		cmd := command(ctx, cfg.opa, append([]string{"test", "--capabilities", cfg.capabilities}, args...)...)
		cmd.Stderr = stderr
		return cmd.Output()
	}
	// opa exits 2 when tests fail or are skipped; what counts is whether it says which.
	out, err := opa("--format", "json", "--fail-on-empty", cfg.rego)
	var tests []regoResult
	if jsonErr := json.Unmarshal(out, &tests); jsonErr != nil || len(tests) == 0 {
		res.failed = append(res.failed, cfg.rego)
		fmt.Fprintf(stdout, "FAIL  %s\n%s", cfg.rego, indent(fmt.Sprintf("opa test: %v\n%s", err, out)))
		return
	}
	if failed := res.addRego(tests); failed > 0 {
		// Once more in words, for the reader.
		details, _ := opa("--verbose", "--var-values", cfg.rego) // fails again, as it should
		fmt.Fprintf(stdout, "FAIL  %-44s %5d of %d tests failed\n%s", cfg.rego, failed, len(tests), indent(string(details)))
		return
	}
	fmt.Fprintf(stdout, "ok    %-44s %5d tests\n", cfg.rego, len(tests))
	out, err = opa("--format", "json", "--coverage", cfg.rego)
	if err != nil {
		res.problem("opa test --coverage: %v", err)
		return
	}
	var coverage regoCoverage
	if err := json.Unmarshal(out, &coverage); err != nil {
		res.problem("opa test --coverage: %v", err)
		return
	}
	res.checkRegoCoverage(coverage)
}

// addRego counts the tests and returns how many failed.
func (r *results) addRego(tests []regoResult) int {
	failed := 0
	for _, t := range tests {
		name := strings.TrimPrefix(t.Package, "data.") + "." + t.Name
		switch {
		case t.Fail || len(t.Error) > 0:
			failed++
			r.failed = append(r.failed, name)
		case t.Skip:
			// opa gives no reason; a test whose name begins with todo_ is one that somebody has still to write.
			r.skipped = append(r.skipped, skip{test: name})
		default:
			r.passed++
		}
	}
	return failed
}

// checkRegoCoverage adds a problem for every line of a rule that no test evaluated. Lines of the tests themselves do not count.
func (r *results) checkRegoCoverage(c regoCoverage) {
	rules := 0
	for _, file := range slices.Sorted(maps.Keys(c.Files)) {
		if strings.HasSuffix(file, "_test.rego") {
			continue
		}
		rules += len(c.Files[file].Covered)
		last := 0
		for _, uncovered := range c.Files[file].NotCovered {
			if row := uncovered.Start.Row; row != last {
				r.problem("%s:%d: no Rego test evaluates this", file, row)
				last = row
			}
		}
	}
	if rules == 0 {
		r.problem("the Rego tests evaluate no rule")
	}
}
