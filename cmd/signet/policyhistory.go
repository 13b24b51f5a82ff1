package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/signet-policy/signet/client"
)

type policyHistoryCmd struct {
	policyArg
	remoteFlags
	outFlags
}

// Run shows what the policy was, its bundle included.
func (c policyHistoryCmd) Run(ctx context.Context, std streams) error {
	return c.ask(ctx, func(api *client.Client) error {
		all, err := collect(api.AllPolicyHistory(ctx, c.Name))
		switch {
		case client.IsNotFound(err):
			return usage("there was never a policy %q; signet policies list shows those that are", c.Name)
		case err != nil:
			return err
		case c.JSON:
			return printJSON(std.out, all)
		}
		rows := make([][]string, 0, len(all))
		for _, v := range all {
			bundle := "-"
			if v.Bundle != "" {
				bundle = fmt.Sprintf("%s %d %s", v.Bundle, v.BundleSequence, v.BundleRevision)
			}
			rows = append(rows, []string{strconv.FormatInt(v.ActiveRevision, 10), timeOr(&v.At, ""), v.By, v.Change, strconv.FormatInt(v.Version, 10), bundle, v.Why})
		}
		return printTable(std.out, []string{"ACTIVE", "AT", "BY", "CHANGE", "VERSION", "BUNDLE", "WHY"}, rows)
	})
}

type policyDiffCmd struct {
	policyArg
	remoteFlags
	From int64 `help:"Active revision to compare, as signet policy history shows it (default: the one before --to)." placeholder:"REVISION"`
	To   int64 `help:"Active revision to compare with (default: now)." placeholder:"REVISION"`
	outFlags
}

// Run prints what differs; exit code 1 when something does.
func (c policyDiffCmd) Run(ctx context.Context, std streams) error {
	var differs bool
	err := c.ask(ctx, func(api *client.Client) error {
		d, err := api.DiffPolicy(ctx, c.Name, c.From, c.To)
		if err != nil {
			return err
		}
		differs = d.Document != "" || d.Bundle != ""
		if c.JSON {
			return printJSON(std.out, d)
		}
		fmt.Fprint(std.out, printable(d.Document, true), printable(d.Bundle, true))
		if !differs {
			fmt.Fprintf(std.err, "signet: policy %s is the same under the active revisions %d and %d\n", c.Name, d.From, d.To)
		}
		return nil
	})
	if err == nil && differs {
		return &exit{code: exitDeny}
	}
	return err
}

type policyRollbackCmd struct {
	policyArg
	changeFlags
	To *int64 `help:"Active revision to go back to, as signet policy history shows it (default: before the last change)." placeholder:"REVISION"`
	outFlags
}

// Run goes back to what the policy was, its bundle included, over the one of that name
// as it is now, or to one that was removed.
func (c policyRollbackCmd) Run(ctx context.Context, std streams) error {
	return c.ask(ctx, func(api *client.Client) error {
		before, err := api.Policy(ctx, c.Name) // of version 0 where it was removed
		if err != nil && !client.IsNotFound(err) {
			return err
		}
		after, err := api.RollbackPolicy(ctx, c.Name, c.To, &before.Version)
		switch {
		case client.IsStale(err):
			return usage("policy %s was changed by somebody else just now; look at it and try again: signet policies show %s", c.Name, c.Name)
		case err != nil:
			return err
		case c.JSON:
			return printJSON(std.out, after)
		case before.Version == 0:
			fmt.Fprintf(std.err, "signet: policy %s is back; mode %s\n", after.Name, after.Mode)
			return nil
		}
		fmt.Fprintf(std.err, "signet: policy %s went back; signet policy diff %s shows what changed\n", after.Name, after.Name)
		return nil
	})
}
