package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/verdict"
)

type verifyCmd struct {
	Images []string `arg:"" name:"image" help:"Image references, oci-layout:PATH[:TAG|@DIGEST], or with --bundle one FILE or DIGEST."`
	commonFlags
	sourceFlags
	imageFlags
	policyFlags
	JSON   bool `name:"json" help:"Print the verdict as JSON, one line per image."`
	Strict bool `help:"Let the exit code follow the decision, audit mode or not."`

	DecisionLog string `help:"Append the verdicts to a file, in the format of OPA's decision log; decision_log.mask and labels of the configuration count." placeholder:"FILE" type:"path"`
}

// Run answers for each image; the exit code is the worst of them.
func (c verifyCmd) Run(ctx context.Context, std streams) error {
	rt, err := newSession(ctx, std, c.commonFlags, c.sourceFlags, c.imageFlags, c.policyFlags, c.Images)
	if err != nil {
		return err
	}
	defer rt.close()
	given, err := c.given(rt.file.Limits.BundleBytes)
	if err != nil {
		return err
	}
	written := func() error { return nil }
	if c.DecisionLog != "" {
		log, err := newLogOnce(ctx, rt.file, c.DecisionLog)
		if err != nil {
			return err
		}
		written = log.close
		rt.decided = log.log.Decided
	}
	worst := exitAllow
	for i, image := range c.Images {
		code, err := c.one(ctx, std, rt, image, given, i)
		if err != nil {
			return errors.Join(err, written())
		}
		worst = max(worst, code)
	}
	if err := written(); err != nil { // who wants them logged has no use for one that is not
		return err
	}
	if worst != exitAllow {
		return &exit{code: worst}
	}
	return nil
}

func (c verifyCmd) one(ctx context.Context, std streams, rt *session, image string, given [][]byte, nth int) (int, error) {
	req := engine.Request{Image: image, Platform: c.Platform, EvidenceOnly: c.EvidenceOnly, Evidence: given, Principal: "command line"}
	begun := time.Now()
	x, err := rt.engine.Examine(ctx, rt.state, req)
	switch {
	case errors.Is(err, engine.ErrInvalid):
		return 0, &exit{code: exitUsage, err: err}
	case err != nil:
		return 0, err
	}
	if rt.decided != nil {
		rt.decided(decisionOf(engine.Decided{
			Request: req, Answer: engine.Answer{Body: x.Body, From: engine.FromMiss}, At: time.Now(), Took: time.Since(begun),
		}))
	}
	if c.JSON {
		if _, err := std.out.Write(x.Body); err != nil {
			return 0, err
		}
	} else {
		if nth > 0 {
			fmt.Fprintln(std.out)
		}
		newPrinter(std.out).verdict(x)
	}
	return c.exitCode(std, x.Verdict), nil
}

// exitCode follows allowed: what an enforcement point would do. With --strict
// it follows the decision.
func (c verifyCmd) exitCode(std streams, v *verdict.Verdict) int {
	code := exitUnknown
	switch v.Decision {
	case verdict.Allow:
		code = exitAllow
	case verdict.Deny:
		code = exitDeny
	}
	if v.Allowed && code != exitAllow && !c.Strict {
		fmt.Fprintf(std.err, "signet: warning: %s: the decision is %s; no enforcing policy blocks it (--strict makes this fail)\n",
			printable(v.Image, false), v.Decision)
		return exitAllow
	}
	return code
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
