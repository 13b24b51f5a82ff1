package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/signet-policy/signet/client"
)

type auditCmd struct {
	List   auditListCmd   `cmd:"" help:"Show who changed what, the latest change first."`
	Head   auditHeadCmd   `cmd:"" help:"Print the end of the audit log as SEQ:HASH, to be kept elsewhere."`
	Verify auditVerifyCmd `cmd:"" help:"Check that no entry of the audit log was changed or taken out."`
}

type auditListCmd struct {
	remoteFlags
	Object string `help:"Only changes of this object, as the list names it." placeholder:"OBJECT"`
	Name   string `help:"Only changes of what has, or had, this name." placeholder:"NAME"`
	Actor  string `help:"Only changes by this principal." placeholder:"NAME"`
	Action string `help:"Only what was done so, or begins so, like signer.disable or signer." placeholder:"ACTION"`
	Since  string `help:"Only from this time on (RFC 3339, or how long ago: 24h, 7d)." placeholder:"TIME"`
	Until  string `help:"Only before this time (RFC 3339, or how long ago)." placeholder:"TIME"`
	Before int64  `help:"Only entries before this number." placeholder:"SEQ"`
	Limit  int    `help:"Show this many at most; 0 shows all." default:"50" placeholder:"N"`
	outFlags
}

// Run lists the entries; as JSON with what was before and after.
func (c auditListCmd) Run(ctx context.Context, std streams) error {
	now := time.Now()
	since, err := momentFlag("--since", c.Since, now)
	if err != nil {
		return err
	}
	until, err := momentFlag("--until", c.Until, now)
	if err != nil {
		return err
	}
	f := client.AuditFilter{
		Object: c.Object, Name: c.Name, Actor: c.Actor, Action: c.Action, Since: since, Until: until, Before: c.Before, Limit: min(c.Limit, 500),
	}
	return c.ask(ctx, func(api *client.Client) error {
		list, err := first(c.Limit, api.AllAudit(ctx, f))
		switch {
		case err != nil:
			return err
		case c.JSON:
			return printJSON(std.out, list)
		}
		rows := make([][]string, 0, len(list))
		for _, e := range list {
			rows = append(rows, []string{strconv.FormatInt(e.Seq, 10), timeOr(&e.At, ""), e.Actor, e.From, e.Action, e.Object, e.Why})
		}
		return printTable(std.out, []string{"SEQ", "AT", "WHO", "FROM", "ACTION", "OBJECT", "WHY"}, rows)
	})
}

type auditHeadCmd struct {
	remoteFlags
	outFlags
}

// Run prints the head.
func (c auditHeadCmd) Run(ctx context.Context, std streams) error {
	return c.ask(ctx, func(api *client.Client) error {
		head, err := api.AuditHead(ctx)
		switch {
		case err != nil:
			return err
		case c.JSON:
			return printJSON(std.out, head)
		}
		fmt.Fprintln(std.out, headText(head))
		return nil
	})
}

func headText(h client.AuditHead) string { return fmt.Sprintf("%d:%s", h.Seq, h.Hash) }

type auditVerifyCmd struct {
	remoteFlags
	Known string `help:"A head that was printed before, which the log must go on from." placeholder:"SEQ:HASH"`
	outFlags
}

// Run checks the chain and prints its head.
func (c auditVerifyCmd) Run(ctx context.Context, std streams) error {
	known, err := parseHead(c.Known)
	if err != nil {
		return err
	}
	return c.ask(ctx, func(api *client.Client) error {
		head, err := api.VerifyAudit(ctx, known)
		var p *client.Problem
		switch {
		case errors.As(err, &p) && !client.IsInvalid(err) && !client.IsUnauthorized(err) && !client.IsForbidden(err):
			return &exit{code: exitFailure, err: err} // no mistake of the caller's: the log is not whole
		case err != nil:
			return err
		case c.JSON:
			return printJSON(std.out, head)
		}
		fmt.Fprintf(std.err, "signet: the audit log is whole: %d entries\n", head.Seq)
		fmt.Fprintln(std.out, headText(head))
		return nil
	})
}

// parseHead reads SEQ:HASH as head prints it; "" is none.
func parseHead(text string) (client.AuditHead, error) {
	if text == "" {
		return client.AuditHead{}, nil
	}
	number, hash, ok := strings.Cut(text, ":")
	seq, err := strconv.ParseInt(number, 10, 64)
	if !ok || err != nil || seq < 1 || hash == "" {
		return client.AuditHead{}, usage("--known: %q is not a head; write it as signet audit head printed it: SEQ:HASH", text)
	}
	return client.AuditHead{Seq: seq, Hash: hash}, nil
}
