package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/report"
	"github.com/signet-policy/signet/internal/verdict"
)

type verifyCmd struct {
	Images []string `arg:"" optional:"" name:"image" help:"Image references, oci-layout:PATH[:TAG|@DIGEST], or with --bundle one FILE or DIGEST."`
	File   []string `short:"f" help:"Verify each image of a file: a list, a Compose file, Kubernetes YAML or JSON, what Helm prints; - is what is piped in, a folder each such file in it (repeatable)." placeholder:"FILE" sep:"none"`
	commonFlags
	sourceFlags
	imageFlags
	policyFlags
	JSON  bool   `name:"json" help:"Print the verdict as JSON, one line per image."`
	JUnit string `name:"junit" help:"Write a JUnit report; - prints it in place of the verdicts." placeholder:"FILE"`
	SARIF string `name:"sarif" help:"Write a SARIF report; - prints it in place of the verdicts." placeholder:"FILE"`
	attestFlags
	Strict   bool          `help:"Let the exit code follow the decision, audit mode or not."`
	Parallel int           `help:"How many images are verified at once." default:"8"`
	Deadline time.Duration `help:"How long one image may take; after that its verdict is unknown." default:"60s"`

	DecisionLog string `help:"Append the verdicts to a file, in the format of OPA's decision log; decision_log.mask and labels of the configuration count." placeholder:"FILE" type:"path"`
}

func (c verifyCmd) check() error {
	prints := 0
	for _, printed := range []bool{c.JSON, c.JUnit == "-", c.SARIF == "-"} {
		if printed {
			prints++
		}
	}
	switch {
	case len(c.Images) == 0 && len(c.File) == 0:
		return usage("give images, or -f with a file that names some")
	case len(c.File) > 0 && c.Bundle != "":
		return usage("--bundle verifies one artifact at a time; leave -f out")
	case c.Bundle != "" && len(c.Images) != 1:
		return usage("--bundle verifies one artifact at a time")
	case prints > 1:
		return usage("give one of --json, --junit - and --sarif -; the others may name files")
	case c.Parallel < 1 || c.Parallel > 64:
		return usage("--parallel: %d is not a number from 1 to 64", c.Parallel)
	case c.Deadline <= 0:
		return usage("--deadline: %s is not longer than 0; give a time such as 60s", c.Deadline)
	}
	return nil
}

// Run answers for each image; the exit code is the worst of them, or that of a failure
// where all may run and one was not attested as the flags ask.
func (c verifyCmd) Run(ctx context.Context, std streams) error {
	if err := c.check(); err != nil {
		return err
	}
	asked, err := readUses(c.Images, c.File)
	if err != nil {
		return err
	}
	rt, err := newSession(ctx, std, c.commonFlags, c.sourceFlags, c.imageFlags, c.policyFlags, asked.images)
	if err != nil {
		return err
	}
	defer rt.close()
	if err := asked.check(rt.images); err != nil {
		return err
	}
	given, err := c.given(rt.file.Limits.BundleBytes)
	if err != nil {
		return err
	}
	attester, err := c.attester(ctx, rt, asked.images)
	if err != nil {
		return err
	}
	defer attester.close()
	written := func() error { return nil }
	if c.DecisionLog != "" {
		log, err := newLogOnce(ctx, rt.file, c.DecisionLog)
		if err != nil {
			return err
		}
		written = log.close
		rt.decided = log.log.Decided
	}
	code, err := c.all(ctx, std, rt, attester, asked, given)
	if err := errors.Join(err, written()); err != nil { // who wants them logged has no use for one that is not
		return err
	}
	if code != exitAllow {
		return &exit{code: code}
	}
	return nil
}

// examined is one image, when it was verified.
type examined struct {
	engine.Examination
	took time.Duration
	err  error
}

// all verifies several at once, and tells of each in the order in which they were given.
func (c verifyCmd) all(ctx context.Context, std streams, rt *session, attester attesting, asked uses, given [][]byte) (int, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make([]chan examined, len(asked.images))
	slots := make(chan struct{}, c.Parallel)
	for i := range done {
		done[i] = make(chan examined, 1)
	}
	go func() {
		for i, image := range asked.images {
			slots <- struct{}{}
			go func() {
				defer func() { <-slots }()
				done[i] <- c.one(ctx, rt, image, given)
			}()
		}
	}()
	bar := newProgressBar(std.err)
	out := newVerifyOutput(c, std)
	var cases []report.Case
	worst, attested := exitAllow, true
	for i := range asked.images {
		bar.show(int64(i), int64(len(asked.images)), "%d of %d images", i, len(asked.images))
		x := <-done[i]
		bar.clear()
		places := asked.places[i]
		if x.err != nil {
			return 0, places[0].prefix(x.err)
		}
		ok, err := attester.attest(ctx, std, rt.state, &x.Examination)
		if err != nil {
			return 0, err
		}
		attested = attested && ok
		if err := out.verdict(x.Examination, places); err != nil {
			return 0, err
		}
		worst = max(worst, c.exitCode(std, x.Verdict))
		for _, at := range places {
			cases = append(cases, report.Case{File: at.file, Line: at.Line, Where: at.inWords(), Verdict: x.Verdict, Seconds: x.took.Seconds()})
		}
	}
	if worst == exitAllow && !attested { // the verdict counts for more
		worst = exitFailure
	}
	return worst, out.end(asked.inOrder(cases))
}

func (c verifyCmd) one(ctx context.Context, rt *session, image string, given [][]byte) examined {
	ctx, cancel := context.WithTimeout(ctx, c.Deadline)
	defer cancel()
	req := engine.Request{Image: image, Platform: c.Platform, EvidenceOnly: c.EvidenceOnly, Evidence: given, Principal: "command line"}
	begun := time.Now()
	x, err := rt.engine.Examine(ctx, rt.state, req)
	took := time.Since(begun)
	switch {
	case errors.Is(err, engine.ErrInvalid):
		return examined{err: &exit{code: exitUsage, err: err}}
	case err != nil:
		return examined{err: err}
	}
	if rt.decided != nil {
		rt.decided(decisionOf(engine.Decided{
			Request: req, Answer: engine.Answer{Body: x.Body, From: engine.FromMiss}, At: time.Now(), Took: took,
		}))
	}
	return examined{Examination: x, took: took}
}

// exitCode follows allowed: what an enforcement point would do. With --strict
// it follows the decision.
func (c verifyCmd) exitCode(std streams, v *verdict.Verdict) int {
	switch (report.Case{Verdict: v}).Outcome(c.Strict) {
	case report.Passed:
		return exitAllow
	case report.Noted:
		fmt.Fprintf(std.err, "signet: warning: %s: the decision is %s; no enforcing policy blocks it (--strict makes this fail)\n",
			printable(v.Image, false), v.Decision)
		return exitAllow
	case report.Failed:
		return exitDeny
	}
	return exitUnknown
}

type factsCmd struct {
	Image string `arg:"" help:"Image reference, oci-layout:PATH[:TAG|@DIGEST], or with --bundle a FILE or DIGEST."`
	commonFlags
	sourceFlags
	imageFlags
	policyFlags
	ShowUnmatched bool `help:"Print strangers' predicates too; the document is then no fixture."`
}

// Run prints the input document whatever was rejected; exit 2 when the search
// for evidence was not complete.
func (c factsCmd) Run(ctx context.Context, std streams) error {
	rt, err := newSession(ctx, std, c.commonFlags, c.sourceFlags, c.imageFlags, c.policyFlags, []string{c.Image})
	if err != nil {
		return err
	}
	defer rt.close()
	p, err := rt.speaks(c.Image)
	if err != nil {
		return err
	}
	given, err := c.given(rt.file.Limits.BundleBytes)
	if err != nil {
		return err
	}
	in, err := rt.engine.Facts(ctx, rt.state, p, engine.Request{
		Image: c.Image, Platform: c.Platform, EvidenceOnly: c.EvidenceOnly, Evidence: given,
	}, c.ShowUnmatched)
	switch {
	case errors.Is(err, engine.ErrInvalid):
		return &exit{code: exitUsage, err: err}
	case err != nil:
		return err
	}
	enc := json.NewEncoder(std.out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(in); err != nil {
		return err
	}
	if p.Signers.Len() == 0 && !c.ShowUnmatched {
		fmt.Fprintln(std.err, "signet: no trusted signers are given, so predicates are withheld (--show-unmatched prints them)")
		for _, s := range in.Signatures {
			fmt.Fprintf(std.err, "signet: signed by %s\n", printable(s.Principal, false))
		}
		for _, a := range in.Attestations {
			fmt.Fprintf(std.err, "signet: %s attested by %s\n", printable(a.PredicateType, false), printable(a.Principal, false))
		}
	}
	for _, p := range in.Search.Problems {
		fmt.Fprintf(std.err, "signet: %s: %s\n", printable(p.Where, false), printable(p.Message, false))
	}
	if !in.Search.Complete {
		return &exit{code: exitUnknown}
	}
	return nil
}
