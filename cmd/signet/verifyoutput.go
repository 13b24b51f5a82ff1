package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/report"
)

// verifyOutput tells of verdicts, in the form that was asked for.
type verifyOutput struct {
	verifyCmd
	std streams
	// many says that they are from files: those that may run are told in a line, each with
	// the places that ask for it.
	many     bool
	shown    int
	full     bool // the last one that was shown
	outcomes [report.Errored + 1]int
	places   int
}

func newVerifyOutput(c verifyCmd, std streams) *verifyOutput {
	return &verifyOutput{verifyCmd: c, std: std, many: len(c.File) > 0}
}

// verdict tells of one image, and of the places that ask for it.
func (o *verifyOutput) verdict(x engine.Examination, places []place) error {
	outcome := (report.Case{Verdict: x.Verdict}).Outcome(o.Strict)
	o.outcomes[outcome]++
	o.places += len(places)
	switch {
	case o.JSON:
		_, err := o.std.out.Write(x.Body)
		return err
	case o.JUnit == "-" || o.SARIF == "-":
		return nil
	}
	p := newPrinter(o.std.out)
	brief := o.many && outcome == report.Passed
	if o.shown > 0 && (!brief || o.full) {
		fmt.Fprintln(o.std.out)
	}
	o.shown, o.full = o.shown+1, !brief
	if brief {
		d := decisionWords[x.Verdict.Decision]
		fmt.Fprintf(o.std.out, "%s  %s\n", p.paint(d.color, d.word), printable(x.Verdict.Image, false))
	} else {
		p.verdict(x)
	}
	if !o.many {
		return nil
	}
	if !brief {
		p.line("\nAsked for by")
	}
	for _, at := range places {
		p.line("  %s", at.String())
	}
	return nil
}

// end writes the reports and the sum.
func (o *verifyOutput) end(cases []report.Case) error {
	if o.many && !o.JSON && o.JUnit != "-" && o.SARIF != "-" {
		n := o.outcomes
		if o.full {
			fmt.Fprintln(o.std.out)
		}
		fmt.Fprintf(o.std.out, "%s: %d may run, %d denied, %d unknown\n",
			countedImages(n[report.Passed]+n[report.Noted]+n[report.Failed]+n[report.Errored], o.places), n[report.Passed]+n[report.Noted], n[report.Failed], n[report.Errored])
	}
	if o.JUnit != "" {
		var b bytes.Buffer
		if err := report.JUnitOf(cases, o.Strict).Write(&b); err != nil {
			return err
		}
		if err := o.write("--junit", o.JUnit, b.Bytes()); err != nil {
			return err
		}
	}
	if o.SARIF != "" {
		dir, err := os.Getwd()
		if err != nil {
			return err
		}
		var b bytes.Buffer
		if err := report.SARIF(&b, cases, o.Strict, build(), filepath.ToSlash(dir)); err != nil {
			return err
		}
		return o.write("--sarif", o.SARIF, b.Bytes())
	}
	return nil
}

func (o *verifyOutput) write(flag, name string, body []byte) error {
	if name == "-" {
		_, err := o.std.out.Write(body)
		return err
	}
	if err := os.WriteFile(name, body, 0o644); err != nil { //nolint:gosec // a report for others to read
		return usage("%s: %w", flag, err)
	}
	return nil
}

func countedImages(images, places int) string {
	s := fmt.Sprintf("%d images", images)
	if images == 1 {
		s = "1 image"
	}
	if places != images {
		s += fmt.Sprintf(" in %d places", places)
	}
	return s
}
