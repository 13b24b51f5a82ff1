// Package report writes what was decided about many images in the formats that CI
// systems read: JUnit's XML and SARIF 2.1.0. A [Case] is one place that asks for an
// image, with the verdict on it.
package report

import (
	"github.com/signet-policy/signet/internal/verdict"
)

// Case is one place that asks for an image.
type Case struct {
	// File as it was named, with slashes, and the line in it from 1; "" and 0 for an
	// image that stood in no file.
	File string
	Line int
	// Where within the file, in words, "" for none.
	Where   string
	Verdict *verdict.Verdict
	// Seconds that the verdict took.
	Seconds float64
}

// Outcome of a case.
type Outcome int

// Outcomes, the best first.
const (
	// Passed is an image that may run.
	Passed Outcome = iota
	// Noted is one that may run, although a policy in audit mode objects.
	Noted
	// Failed is one that is denied.
	Failed
	// Errored is one of which it could not be found out: it must not run either.
	Errored
)

// Outcome follows what an enforcement point would do; strict follows the decision,
// audit mode or not.
func (c Case) Outcome(strict bool) Outcome {
	v := c.Verdict
	switch {
	case v.Allowed && v.Decision == verdict.Allow:
		return Passed
	case v.Allowed && !strict:
		return Noted
	case v.Decision == verdict.Deny:
		return Failed
	}
	return Errored
}

// reasons are why a case did not pass; never none.
func (c Case) reasons() []verdict.Reason {
	if len(c.Verdict.Reasons) > 0 {
		return c.Verdict.Reasons
	}
	return []verdict.Reason{{Code: string(c.Verdict.Decision), Message: "The decision is " + string(c.Verdict.Decision) + "."}}
}
