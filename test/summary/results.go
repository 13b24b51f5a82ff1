package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/signet-policy/signet/internal/testkit/require"
)

// results is what all the tests came to.
type results struct {
	passed   int
	failed   []string          // names
	skipped  []skip            //
	used     map[string]bool   // parts that a test got
	problems []string          // what else makes the run fail
	coverage []packageCoverage // of internal/, sorted by package
	total    packageCoverage   // of internal/
	minimum  float64           // percent; 0: not judged
}

// skip is one skipped test.
type skip struct {
	test   string // package and name
	reason string // what the test said
}

func newResults() *results { return &results{used: map[string]bool{}} }

func (r *results) problem(format string, args ...any) {
	r.problems = append(r.problems, fmt.Sprintf(format, args...))
}

// check adds the problems that only show when everything ran.
func (r *results) check(required []string) {
	if r.passed+len(r.failed) == 0 {
		r.problem("no test ran")
	}
	lacking := map[string]bool{}
	for _, s := range r.skipped {
		if s.reason == "" {
			r.problem("%s was skipped without a reason", s.test)
		}
		if part := require.PartOf(s.reason); slices.Contains(required, part) {
			lacking[part] = true
			r.problem("%s was skipped, and %s names %s", s.test, require.Variable, part)
		}
	}
	for _, part := range required {
		if !r.used[part] && !lacking[part] {
			r.problem("%s names %s, and no test used it", require.Variable, part)
		}
	}
	if r.minimum > 0 && r.total.percent() < r.minimum {
		r.problem("the tests reach %s of internal/; at least %.0f %% is wanted", r.total, r.minimum)
	}
}

func (r *results) good() bool { return len(r.failed) == 0 && len(r.problems) == 0 }

func (r *results) print(w io.Writer) {
	if len(r.coverage) > 0 {
		fmt.Fprintf(w, "\nCoverage of internal/, without test support and generated files:\n")
		for _, c := range r.coverage {
			fmt.Fprintf(w, "  %-40s %s\n", c.name, c)
		}
		fmt.Fprintf(w, "  %-40s %s\n", "total", r.total)
	}
	if len(r.skipped) > 0 {
		fmt.Fprintf(w, "\nSkipped:\n")
		byReason := map[string][]string{}
		for _, s := range r.skipped {
			byReason[s.reason] = append(byReason[s.reason], s.test)
		}
		for _, reason := range slices.Sorted(maps.Keys(byReason)) {
			if reason == "" {
				fmt.Fprintf(w, "  (no reason given)\n")
			} else {
				fmt.Fprintf(w, "  %s\n", strings.ReplaceAll(reason, "\n", "\n  "))
			}
			for _, test := range byReason[reason] {
				fmt.Fprintf(w, "      %s\n", test)
			}
		}
	}
	if len(r.failed) > 0 {
		fmt.Fprintf(w, "\nFailed:\n")
		for _, name := range r.failed {
			fmt.Fprintf(w, "  %s\n", name)
		}
	}
	if len(r.problems) > 0 {
		fmt.Fprintf(w, "\nNot good enough:\n")
		for _, p := range r.problems {
			fmt.Fprintf(w, "  %s\n", p)
		}
	}
	fmt.Fprintf(w, "\n%d passed, %d failed, %d skipped\n", r.passed, len(r.failed), len(r.skipped))
}
