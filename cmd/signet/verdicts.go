package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/config"
)

type verdictsCmd struct {
	List verdictsListCmd `cmd:"" help:"Show verdicts of the past, the latest first."`
	Show verdictsShowCmd `cmd:"" help:"Show one verdict of the past."`

	Reproduce verdictsReproduceCmd `cmd:"" help:"Decide a verdict of the past again, and show where it comes out otherwise."`
	At        verdictsAtCmd        `cmd:"" help:"Show what was, and what would have been, answered about an image at a time."`
}

type verdictsListCmd struct {
	remoteFlags
	Image        string `help:"Only of this reference, as it was asked for." placeholder:"IMAGE"`
	Name         string `help:"Only of images of this name, without tag and digest." placeholder:"NAME"`
	Digest       string `help:"Only of this digest." placeholder:"DIGEST"`
	Decision     string `help:"Only allow, deny or unknown." placeholder:"DECISION"`
	Signer       string `help:"Only those that the signer of this name counted for, whether it is still there or not." placeholder:"NAME"`
	Identity     string `help:"Only those that this identity signed." placeholder:"ID"`
	AssessmentID string `help:"Only those of this assessment." placeholder:"ID"`
	ReasonCode   string `help:"Only those whose first reason has this code, like unsigned." placeholder:"CODE"`
	Since        string `help:"Only from this time on (RFC 3339, or how long ago: 24h, 7d)." placeholder:"TIME"`
	Until        string `help:"Only before this time (RFC 3339, or how long ago)." placeholder:"TIME"`
	Limit        int    `help:"Show this many at most; 0 shows all." default:"50" placeholder:"N"`
	outFlags
}

// Run lists the verdicts.
func (c verdictsListCmd) Run(ctx context.Context, std streams) error {
	now := time.Now()
	since, err := momentFlag("--since", c.Since, now)
	if err != nil {
		return err
	}
	until, err := momentFlag("--until", c.Until, now)
	if err != nil {
		return err
	}
	return c.ask(ctx, func(api *client.Client) error {
		f := client.VerdictFilter{
			Image: c.Image, Name: c.Name, Digest: c.Digest, Decision: client.Decision(c.Decision), Identity: c.Identity,
			Signer: c.Signer, AssessmentID: c.AssessmentID, ReasonCode: c.ReasonCode, Since: since, Until: until, Limit: min(c.Limit, 500),
		}
		list, err := first(c.Limit, api.AllVerdicts(ctx, f))
		switch {
		case err != nil:
			return err
		case c.JSON:
			return printJSON(std.out, list)
		case len(list) == 0:
			fmt.Fprintln(std.err, "signet: there are no such verdicts")
			return nil
		}
		rows := make([][]string, 0, len(list))
		for _, v := range list {
			rows = append(rows, []string{timeOr(&v.CreatedAt, ""), v.Decision, v.ImageRef, v.SignerIdentity, v.Principal, v.ID})
		}
		return printTable(std.out, []string{"AT", "DECISION", "IMAGE", "SIGNED BY", "ASKED BY", "ID"}, rows)
	})
}

// momentFlag reads a time, or how long before now it was.
func momentFlag(name, value string, now time.Time) (time.Time, error) {
	if value == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, value); err == nil {
		return t, nil
	}
	ago, err := config.ParseDuration(value)
	if err != nil {
		return time.Time{}, usage("%s: %q is not a time; write it as 2027-01-31T00:00:00Z, or how long ago: 24h or 7d", name, value)
	}
	return now.Add(-ago), nil
}

type verdictsShowCmd struct {
	ID string `arg:"" help:"Id of the verdict."`
	remoteFlags
	Input  bool   `help:"Print the document that the policy read." xor:"what"`
	Policy string `help:"The policy that is meant, where several decided." placeholder:"NAME"`
	Uses   bool   `help:"Show how often it was given again." xor:"what"`
	outFlags
}

// Run shows the verdict as it was answered then.
func (c verdictsShowCmd) Run(ctx context.Context, std streams) error {
	return c.ask(ctx, func(api *client.Client) error {
		switch {
		case c.Input:
			in, err := api.VerdictInput(ctx, c.ID, c.Policy)
			if err != nil {
				return err
			}
			return printJSON(std.out, in)
		case c.Uses:
			uses, err := api.VerdictUses(ctx, c.ID)
			if err != nil {
				return err
			}
			return printUses(std, uses, c.JSON)
		}
		v, err := api.Verdict(ctx, c.ID)
		switch {
		case err != nil:
			return err
		case c.JSON:
			return printJSON(std.out, v.Raw)
		}
		return printPastVerdict(std, v)
	})
}

type verdictsReproduceCmd struct {
	ID string `arg:"" help:"Id of the verdict."`
	remoteFlags
	outFlags
}

// Run exits with 1 where the verdict comes out otherwise.
func (c verdictsReproduceCmd) Run(ctx context.Context, std streams) error {
	return c.ask(ctx, func(api *client.Client) error {
		r, err := api.ReproduceVerdict(ctx, c.ID)
		if err != nil {
			return err
		}
		if c.JSON {
			if err := printJSON(std.out, r); err != nil {
				return err
			}
		} else if err := printReproduction(std, r); err != nil {
			return err
		}
		if !r.Same {
			return &exit{code: exitDeny}
		}
		return nil
	})
}

func printReproduction(std streams, r client.Reproduction) error {
	if r.Same {
		fmt.Fprintf(std.out, "verdict %s comes out the same, to the byte\n", r.ID)
		return nil
	}
	fmt.Fprintf(std.out, "verdict %s comes out otherwise", r.ID)
	if r.Build != r.RecordedBuild {
		fmt.Fprintf(std.out, "; it was given by %s, and this is %s", printable(r.RecordedBuild, false), printable(r.Build, false))
	}
	fmt.Fprintln(std.out)
	rows := make([][]string, 0, len(r.Differences))
	for _, d := range r.Differences {
		rows = append(rows, []string{d.Path, orWord(string(d.Recorded), "-"), orWord(string(d.Reproduced), "-")})
	}
	return printTable(std.out, []string{"AT", "RECORDED", "REPRODUCED"}, rows)
}

type verdictsAtCmd struct {
	Image string `arg:"" help:"Image, as it was asked for."`
	remoteFlags
	Time string `required:"" help:"The time (RFC 3339, or how long ago: 24h, 7d)." placeholder:"TIME"`
	outFlags
}

// Run shows both answers.
func (c verdictsAtCmd) Run(ctx context.Context, std streams) error {
	at, err := momentFlag("--time", c.Time, time.Now())
	if err != nil {
		return err
	}
	return c.ask(ctx, func(api *client.Client) error {
		v, err := api.VerdictAt(ctx, c.Image, at)
		if client.IsNotFound(err) {
			return usage("no verdict about %s is kept; give the image as it was asked for: signet verdicts list", c.Image)
		}
		switch {
		case err != nil:
			return err
		case c.JSON:
			return printJSON(std.out, v)
		}
		return printVerdictAt(std, v)
	})
}

func printVerdictAt(std streams, v client.PastVerdict) error {
	show := func(raw json.RawMessage) (client.Verdict, error) {
		var verdict client.Verdict
		err := json.Unmarshal(raw, &verdict)
		return verdict, err
	}
	fmt.Fprintf(std.out, "%s at %s, under revision %d\n", printable(v.Image, false), v.At.Format(time.RFC3339), v.Active.Revision)
	if v.AnsweredAt == nil {
		fmt.Fprintln(std.out, "was answered:             nothing yet")
	} else {
		was, err := show(v.Answered)
		if err != nil {
			return err
		}
		fmt.Fprintf(std.out, "was answered:             %s, at %s (%s)\n", was.Decision, v.AnsweredAt.Format(time.RFC3339), was.ID)
	}
	would, err := show(v.Would)
	if err != nil {
		return err
	}
	fmt.Fprintf(std.out, "would have been answered: %s\n", would.Decision)
	for _, r := range would.Reasons {
		fmt.Fprintf(std.out, "  %s: %s\n", printable(r.Code, false), printable(r.Message, false))
	}
	when := "known at that time"
	if v.Facts.Later {
		when = "which became known only later"
	}
	fmt.Fprintf(std.out, "on the facts of verdict %s, %s\n", v.Facts.Verdict, when)
	return nil
}

func printUses(std streams, uses []client.Use, asJSON bool) error {
	if asJSON {
		return printJSON(std.out, append([]client.Use{}, uses...))
	}
	rows := make([][]string, 0, len(uses))
	for _, u := range uses {
		rows = append(rows, []string{timeOr(&u.Minute, ""), u.Principal, fmt.Sprint(u.Count)})
	}
	return printTable(std.out, []string{"MINUTE", "ASKED BY", "TIMES"}, rows)
}

func printPastVerdict(std streams, v client.Verdict) error {
	p := newPrinter(std.out)
	p.line("%s  %s", strings.ToUpper(string(v.Decision)), v.Image)
	if v.Decision != client.Allow && v.Allowed {
		p.line("  (not blocked: no enforcing policy says so)")
	}
	for i, r := range append(slices.Clone(v.Reasons), v.Warnings...) {
		kind := "Reason"
		if i >= len(v.Reasons) {
			kind = "Warning"
		}
		p.line("\n%s: %s", kind, r.Message)
		if r.Remediation != "" {
			p.line("  to mend   %s", r.Remediation)
		}
	}
	p.line("")
	return printDetails(std.out,
		"id", v.ID, "decided", timeOr(&v.EvaluatedAt, ""), "digest", v.Digest, "pinned", v.Pinned,
		"signed by", v.Signature.Signer, "issuer", v.Signature.Issuer, "signed at", timeOr(v.Signature.SignedAt, ""),
		"facts", v.FactsDigest, "revision", fmt.Sprint(v.Active.Revision), "build", v.Build,
	)
}
