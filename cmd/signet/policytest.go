package main

import (
	"context"
	"fmt"
	"io"

	"github.com/signet-policy/signet/internal/policy"
	"github.com/signet-policy/signet/internal/report"
)

type policyTestCmd struct {
	bundleFlags
	Format          string  `help:"How to print the outcome: ${enum}." enum:"text,json,junit" default:"text"`
	MinimumCoverage float64 `help:"Fail when the tests evaluate less of the rules than this, in percent." placeholder:"PCT"`
}

// Run runs the tests; exit code 1 when one of them did not pass, or they cover too
// little.
func (c policyTestCmd) Run(ctx context.Context, std streams) error {
	if !(c.MinimumCoverage >= 0 && c.MinimumCoverage <= 100) {
		return usage("--minimum-coverage: %v is not a percentage, 0 to 100", c.MinimumCoverage)
	}
	src, err := c.source()
	if err != nil {
		return err
	}
	tested, err := policy.RunTests(ctx, src)
	if err != nil {
		return policyError(err)
	}
	tested.MinimumCoverage = c.MinimumCoverage
	switch c.Format {
	case "json":
		err = printJSON(std.out, tested)
	case "junit":
		err = junitOf(tested).Write(std.out)
	default:
		printTests(std.out, tested)
	}
	if err != nil {
		return err
	}
	if !tested.OK() || !tested.Covered() {
		return &exit{code: exitDeny}
	}
	return nil
}

// printTests prints what did not pass, what no test reached, and the counts.
func printTests(w io.Writer, tested policy.Tested) {
	counts := map[string]int{}
	for _, t := range tested.Tests {
		counts[t.Outcome]++
		if t.Outcome == policy.Passed {
			continue
		}
		fmt.Fprintf(w, "%s:%d: %s: %s.%s", printable(t.File, false), t.Line, t.Outcome, printable(t.Package, false), printable(t.Name, false))
		if t.Message != "" {
			fmt.Fprintf(w, "\n    %s", printable(t.Message, true))
		}
		fmt.Fprintln(w)
		if t.Output != "" {
			fmt.Fprintf(w, "    printed: %s\n", printable(t.Output, true))
		}
	}
	for _, u := range tested.Uncovered {
		fmt.Fprintf(w, "%s:%d: no test evaluates this\n", printable(u.File, false), u.Line)
	}
	fmt.Fprintf(w, "%d passed, %d failed, %d skipped; coverage of the rules %.1f %%\n",
		counts[policy.Passed], counts[policy.Failed]+counts[policy.Errored], counts[policy.Skipped], tested.Coverage)
	if !tested.Covered() {
		fmt.Fprintln(w, tooLittle(tested))
	}
}

func tooLittle(tested policy.Tested) string {
	return fmt.Sprintf("coverage of the rules is %.1f %%, and must be at least %g %%", tested.Coverage, tested.MinimumCoverage)
}

// junitOf is a report with one suite for each file of tests.
func junitOf(tested policy.Tested) report.JUnit {
	var out report.JUnit
	took := 0.0
	for _, t := range tested.Tests {
		if n := len(out.Suites); n == 0 || out.Suites[n-1].Name != t.File {
			out.Suites, took = append(out.Suites, report.JUnitSuite{Name: t.File}), 0
		}
		s := &out.Suites[len(out.Suites)-1]
		c := report.JUnitCase{Class: t.Package, Name: t.Name, File: t.File, Line: t.Line, Time: report.JUnitSeconds(t.Seconds), Output: t.Output}
		switch t.Outcome {
		case policy.Failed:
			c.Failure = &report.JUnitMessage{Message: t.Message}
		case policy.Errored:
			c.Error = &report.JUnitMessage{Message: t.Message}
		case policy.Skipped:
			c.Skipped = &struct{}{}
		}
		took += t.Seconds
		s.Time = report.JUnitSeconds(took)
		s.Add(c)
	}
	if tested.MinimumCoverage > 0 {
		c := report.JUnitCase{Class: "coverage", Name: "minimum", Time: report.JUnitSeconds(0)}
		if !tested.Covered() {
			c.Failure = &report.JUnitMessage{Message: tooLittle(tested)}
		}
		s := report.JUnitSuite{Name: "coverage", Time: report.JUnitSeconds(0)}
		s.Add(c)
		out.Suites = append(out.Suites, s)
	}
	return out
}
