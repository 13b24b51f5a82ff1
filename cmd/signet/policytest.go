package main

import (
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"time"

	"github.com/signet-policy/signet/internal/policy"
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
		err = printJUnit(std.out, tested)
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

// The elements of a JUnit report that its readers agree on.
type (
	junitSuites struct {
		XMLName xml.Name     `xml:"testsuites"`
		Suites  []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Errors   int         `xml:"errors,attr"`
		Skipped  int         `xml:"skipped,attr"`
		Time     string      `xml:"time,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Class   string        `xml:"classname,attr"`
		Name    string        `xml:"name,attr"`
		File    string        `xml:"file,attr"`
		Line    int           `xml:"line,attr"`
		Time    string        `xml:"time,attr"`
		Failure *junitMessage `xml:"failure"`
		Error   *junitMessage `xml:"error"`
		Skipped *struct{}     `xml:"skipped"`
		Output  string        `xml:"system-out,omitempty"`
	}
	junitMessage struct {
		Message string `xml:"message,attr"`
	}
)

// printJUnit prints one suite for each file of tests.
func printJUnit(w io.Writer, tested policy.Tested) error {
	var out junitSuites
	var took time.Duration
	for _, t := range tested.Tests {
		if n := len(out.Suites); n == 0 || out.Suites[n-1].Name != t.File {
			out.Suites, took = append(out.Suites, junitSuite{Name: t.File}), 0
		}
		s := &out.Suites[len(out.Suites)-1]
		c := junitCase{Class: t.Package, Name: t.Name, File: t.File, Line: t.Line, Time: fmt.Sprintf("%.6f", t.Seconds), Output: t.Output}
		s.Tests++
		switch t.Outcome {
		case policy.Failed:
			s.Failures++
			c.Failure = &junitMessage{t.Message}
		case policy.Errored:
			s.Errors++
			c.Error = &junitMessage{t.Message}
		case policy.Skipped:
			s.Skipped++
			c.Skipped = &struct{}{}
		}
		took += time.Duration(t.Seconds * float64(time.Second))
		s.Time = fmt.Sprintf("%.6f", took.Seconds())
		s.Cases = append(s.Cases, c)
	}
	if tested.MinimumCoverage > 0 {
		s := junitSuite{Name: "coverage", Tests: 1, Time: "0.000000", Cases: []junitCase{{Class: "coverage", Name: "minimum", Time: "0.000000"}}}
		if !tested.Covered() {
			s.Failures, s.Cases[0].Failure = 1, &junitMessage{tooLittle(tested)}
		}
		out.Suites = append(out.Suites, s)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(out); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}
