package main

import (
	"context"
	"fmt"
	"time"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/config"
)

type policiesExceptCmd struct {
	policyArg
	changeFlags
	Image   []string `help:"Pattern of image names that it is for, such as ghcr.io/org/**; can be repeated." placeholder:"PATTERN"`
	Code    []string `help:"Code of the violations that it waives; can be repeated." placeholder:"CODE"`
	Reason  string   `help:"Why; it stands in verdicts." placeholder:"TEXT"`
	Owner   string   `help:"Who answers for it." placeholder:"WHO"`
	Expires string   `help:"When it ends: a time (RFC 3339), or how long from now, for example 30d." placeholder:"TIME"`
	Remove  int      `help:"Take out the exception at this place instead, counted from 1." placeholder:"PLACE"`
	outFlags
}

// Run adds an exception to the policy as it is now, or takes one out, or lists those
// that there are.
func (c policiesExceptCmd) Run(ctx context.Context, std streams) error {
	adds := len(c.Image) > 0 || len(c.Code) > 0 || c.Reason != "" || c.Owner != "" || c.Expires != ""
	if adds && c.Remove != 0 {
		return usage("--remove takes an exception out; leave out what describes a new one")
	}
	e := client.NewException{Images: c.Image, Codes: c.Code, Reason: c.Reason, Owner: c.Owner}
	if adds {
		var err error
		if e.ExpiresAt, err = endOf("--expires", c.Expires); err != nil {
			return err
		}
	}
	return c.ask(ctx, func(api *client.Client) error {
		p, err := policyNamed(ctx, api, c.Name)
		if err != nil {
			return err
		}
		word := ""
		switch {
		case adds:
			p, err = api.AddException(ctx, p.Name, e, p.Version)
			word = "has a new exception"
		case c.Remove != 0:
			p, err = api.RemoveException(ctx, p.Name, c.Remove, p.Version)
			word = "has an exception less"
		}
		switch {
		case client.IsStale(err):
			return usage("policy %s was changed by somebody else just now; look at it and try again: signet policies show %s", c.Name, c.Name)
		case err != nil:
			return err
		case c.JSON:
			return printJSON(std.out, p.Exceptions)
		}
		rows := make([][]string, 0, len(p.Exceptions))
		for _, e := range p.Exceptions {
			ends := timeOr(&e.ExpiresAt, "")
			if !e.ExpiresAt.After(time.Now()) {
				ends += " (ended)"
			}
			rows = append(rows, []string{e.Name, listOr(e.Images, ""), listOr(e.Codes, ""), ends, e.Owner, e.Reason})
		}
		if len(rows) > 0 {
			if err := printTable(std.out, []string{"NAME", "IMAGES", "CODES", "ENDS", "OWNER", "REASON"}, rows); err != nil {
				return err
			}
		}
		if word == "" {
			word = "has no exceptions"
			if len(rows) > 0 {
				return nil
			}
		}
		fmt.Fprintf(std.err, "signet: policy %s %s\n", p.Name, word)
		return nil
	})
}

// endOf reads a time, or how long it is until then.
func endOf(flag, value string) (time.Time, error) {
	if value == "" {
		return time.Time{}, usage("%s is missing; an exception ends: write a time such as 2027-01-31T00:00:00Z, or how long it lasts, such as 30d", flag)
	}
	if at, err := time.Parse(time.RFC3339, value); err == nil {
		return at.UTC(), nil
	}
	lasts, err := config.ParseDuration(value)
	if err != nil || lasts <= 0 {
		return time.Time{}, usage("%s: %q is neither a time nor how long it lasts; write it as 2027-01-31T00:00:00Z or 30d", flag, value)
	}
	return time.Now().UTC().Add(lasts).Truncate(time.Second), nil
}

type policiesShadowCmd struct {
	policyArg
	remoteFlags
	Limit int `help:"How many disagreements to show." default:"50"`
	outFlags
}

// Run tells how a policy in shadow compares since it was last changed.
func (c policiesShadowCmd) Run(ctx context.Context, std streams) error {
	return c.ask(ctx, func(api *client.Client) error {
		report, err := api.Shadow(ctx, c.Name, c.Limit, "")
		switch {
		case client.IsNotFound(err):
			return usage("there is no policy %q; signet policies list shows them", c.Name)
		case err != nil:
			return err
		case c.JSON:
			return printJSON(std.out, report)
		}
		n := report.Counts
		fmt.Fprintf(std.out, "compared with %s since %s: %d agree, %d would allow, %d would deny, %d would not know\n",
			printable(orWord(report.ShadowOf, "the whole verdict"), false), report.Since.UTC().Format(time.RFC3339), n.Agree, n.WouldAllow, n.WouldDeny, n.WouldNotKnow)
		if len(report.Items) == 0 {
			return nil
		}
		rows := make([][]string, 0, len(report.Items))
		for _, v := range report.Items {
			why := ""
			if len(v.Reasons) > 0 {
				why = v.Reasons[0].Code
			}
			rows = append(rows, []string{timeOr(&v.At, ""), string(v.ComparedWith), string(v.Decision), v.Image, why, v.VerdictID})
		}
		return printTable(std.out, []string{"AT", "DECIDED", "SHADOW", "IMAGE", "REASON", "VERDICT"}, rows)
	})
}
