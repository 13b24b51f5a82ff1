package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"github.com/signet-policy/signet/internal/verdict"
)

// The elements of a JUnit report that its readers agree on
// (https://github.com/testmoapp/junitxml).
type (
	// JUnit is the whole report.
	JUnit struct {
		XMLName xml.Name     `xml:"testsuites"`
		Suites  []JUnitSuite `xml:"testsuite"`
	}
	// JUnitSuite is a group of cases, with how many there are of which outcome.
	JUnitSuite struct {
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Errors   int         `xml:"errors,attr"`
		Skipped  int         `xml:"skipped,attr"`
		Time     string      `xml:"time,attr"` // seconds
		Cases    []JUnitCase `xml:"testcase"`
	}
	// JUnitCase is one case; at most one of Failure, Error and Skipped is there.
	JUnitCase struct {
		Class   string        `xml:"classname,attr"`
		Name    string        `xml:"name,attr"`
		File    string        `xml:"file,attr"`
		Line    int           `xml:"line,attr"`
		Time    string        `xml:"time,attr"` // seconds
		Failure *JUnitMessage `xml:"failure"`
		Error   *JUnitMessage `xml:"error"`
		Skipped *struct{}     `xml:"skipped"`
		Output  string        `xml:"system-out,omitempty"`
	}
	// JUnitMessage says why a case did not pass.
	JUnitMessage struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr,omitempty"`
		Text    string `xml:",chardata"`
	}
)

// Add counts a case into a suite.
func (s *JUnitSuite) Add(c JUnitCase) {
	s.Tests++
	switch {
	case c.Failure != nil:
		s.Failures++
	case c.Error != nil:
		s.Errors++
	case c.Skipped != nil:
		s.Skipped++
	}
	s.Cases = append(s.Cases, c)
}

// Write writes the report. Errors are those of w.
func (r JUnit) Write(w io.Writer) error {
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(r); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// JUnitSeconds writes a number of seconds as JUnit has it.
func JUnitSeconds(s float64) string { return fmt.Sprintf("%.6f", s) }

// JUnitOf makes a report with a suite for each file: a denied image is a failure, one of
// which it could not be found out an error, and what audit policies object to is output
// of a case that passed.
func JUnitOf(cases []Case, strict bool) JUnit {
	var out JUnit
	took := 0.0
	for _, c := range cases {
		name := c.File
		if name == "" {
			name = "images"
		}
		if n := len(out.Suites); n == 0 || out.Suites[n-1].Name != name {
			out.Suites, took = append(out.Suites, JUnitSuite{Name: name}), 0
		}
		s := &out.Suites[len(out.Suites)-1]
		j := JUnitCase{Class: c.Where, Name: c.Verdict.Image, File: c.File, Line: c.Line, Time: JUnitSeconds(c.Seconds)}
		if j.Class == "" {
			j.Class = name
		}
		reasons := c.reasons()
		message := &JUnitMessage{Message: reasons[0].Message, Type: reasons[0].Code, Text: explained(reasons)}
		switch c.Outcome(strict) {
		case Failed:
			j.Failure = message
		case Errored:
			j.Error = message
		case Noted:
			j.Output = "Not blocked, because no enforcing policy says so.\n" + message.Text
		}
		took += c.Seconds
		s.Time = JUnitSeconds(took)
		s.Add(j)
	}
	return out
}

// explained is every reason with what mends it, as text.
func explained(reasons []verdict.Reason) string {
	var b strings.Builder
	for _, r := range reasons {
		fmt.Fprintf(&b, "%s (%s)\n", r.Message, r.Code)
		if r.Nearest != nil {
			fmt.Fprintf(&b, "  nearest: %s\n", r.Nearest.Why)
		}
		if r.Remediation != "" {
			fmt.Fprintf(&b, "  to mend: %s\n", r.Remediation)
		}
	}
	return b.String()
}
