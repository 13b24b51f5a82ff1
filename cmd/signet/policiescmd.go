package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/signet-policy/signet/client"
)

type policiesCmd struct {
	List   policiesListCmd   `cmd:"" help:"Show the signing policies in force."`
	Show   policiesShowCmd   `cmd:"" help:"Print a signing policy in its one form."`
	Put    policiesPutCmd    `cmd:"" help:"Put a signing policy into force, or replace it."`
	Except policiesExceptCmd `cmd:"" help:"Excuse images from a signing policy until a time, take that back, or show what is excused."`
	Shadow policiesShadowCmd `cmd:"" help:"Compare a signing policy of mode shadow with what was decided."`
	Remove policiesRemoveCmd `cmd:"" help:"Take a signing policy out of force."`
}

type policiesListCmd struct {
	remoteFlags
	outFlags
}

// Run lists the policies by name.
func (c policiesListCmd) Run(ctx context.Context, std streams) error {
	return c.ask(ctx, func(api *client.Client) error {
		all, err := collect(api.AllPolicies(ctx))
		switch {
		case err != nil:
			return err
		case c.JSON:
			return printJSON(std.out, all)
		case len(all) == 0:
			fmt.Fprintln(std.err, "signet: there are no signing policies; put one: signet policies put FILE")
			return nil
		}
		rows := make([][]string, 0, len(all))
		for _, p := range all {
			rows = append(rows, []string{p.Name, p.Mode, listOr(p.Images, "all"), p.Source, p.Owner, timeOr(&p.UpdatedAt, ""), p.UpdatedBy})
		}
		return printTable(std.out, []string{"NAME", "MODE", "IMAGES", "SOURCE", "OWNER", "UPDATED", "BY"}, rows)
	})
}

type policyArg struct {
	Name string `arg:"" help:"Name of the policy."`
}

type policiesShowCmd struct {
	policyArg
	remoteFlags
	outFlags
}

// Run prints the policy as YAML that put takes.
func (c policiesShowCmd) Run(ctx context.Context, std streams) error {
	return c.ask(ctx, func(api *client.Client) error {
		p, err := policyNamed(ctx, api, c.Name)
		switch {
		case err != nil:
			return err
		case c.JSON:
			return printJSON(std.out, p)
		}
		fmt.Fprint(std.out, printable(p.SigningPolicy, true))
		return nil
	})
}

func policyNamed(ctx context.Context, api *client.Client, name string) (client.Policy, error) {
	p, err := api.Policy(ctx, name)
	if client.IsNotFound(err) {
		return p, usage("there is no policy %q; signet policies list shows them", name)
	}
	return p, err
}

type policiesPutCmd struct {
	File string `arg:"" help:"signing_policy as YAML or JSON; - reads what is piped in."`
	changeFlags
	previewFlags
	Name   string `help:"Name of the policy (default: the file's, without its ending)." placeholder:"NAME"`
	Owner  string `help:"Team that answers for it; its tokens may change it." placeholder:"TEAM"`
	Bundle string `help:"Archive of its policy bundle (.tar.gz), which comes into force with it: as the bundle that it names, or one of its own name." placeholder:"ARCHIVE" type:"path"`
	outFlags
}

// Run puts the policy into force: over the one of that name as it is now, or as
// a new one.
func (c policiesPutCmd) Run(ctx context.Context, std streams) error {
	if isBundle(c.File) {
		return usage("policies put: %s is a policy bundle; give a signing_policy as YAML or JSON, and the bundle with --bundle", c.File)
	}
	body, err := readInput("policies put", c.File)
	if err != nil {
		return err
	}
	name := c.Name
	if name == "" {
		if name = fileName(c.File); name == "" {
			return usage("give the policy a --name")
		}
	}
	var archive []byte
	if c.Bundle != "" {
		if archive, err = readCapped(c.Bundle, maxArchive); err != nil {
			return usage("--bundle: %w", err)
		}
	}
	return c.ask(ctx, func(api *client.Client) error {
		owner, word := c.Owner, "new"
		var version *int64
		old, err := api.Policy(ctx, name)
		switch {
		case err == nil:
			version, owner, word = &old.Version, orWord(owner, old.Owner), "replaced"
		case !client.IsNotFound(err):
			return err
		}
		if err := c.before(ctx, std, api, client.Operation{Op: client.OpPutPolicy, Name: name, Owner: owner, SigningPolicy: string(body), Archive: archive}); err != nil {
			return err
		}
		put := func() (client.Policy, error) { return api.PutPolicy(ctx, name, owner, body, version) }
		if archive != nil {
			put = func() (client.Policy, error) { return api.PutPolicyWith(ctx, name, owner, body, archive, version) }
		}
		after, err := put()
		switch {
		case client.IsStale(err):
			return usage("policy %s was changed by somebody else just now; look at it and try again: signet policies show %s", name, name)
		case err != nil:
			return prefixedProblem(c.File, err)
		case c.JSON:
			return printJSON(std.out, after)
		case version != nil && after.Version == *version:
			word = "as it was"
		}
		if archive != nil {
			word += ", with its bundle " + after.Bundle
		}
		fmt.Fprintf(std.err, "signet: policy %s is %s; mode %s\n", after.Name, word, after.Mode)
		return nil
	})
}

// fileName makes a name of a file's, without its ending; "" when that gives none.
func fileName(path string) string {
	base := filepath.Base(path)
	return nameFrom(strings.TrimSuffix(base, filepath.Ext(base)))
}

type policiesRemoveCmd struct {
	policyArg
	changeFlags
	previewFlags
}

// Run takes the policy out of force.
func (c policiesRemoveCmd) Run(ctx context.Context, std streams) error {
	return c.ask(ctx, func(api *client.Client) error {
		p, err := policyNamed(ctx, api, c.Name)
		if err != nil {
			return err
		}
		if err := c.before(ctx, std, api, client.Operation{Op: client.OpDeletePolicy, Name: p.Name}); err != nil {
			return err
		}
		if err := api.DeletePolicy(ctx, p.Name, p.Version); err != nil {
			return err
		}
		fmt.Fprintf(std.err, "signet: policy %s is no longer in force\n", p.Name)
		return nil
	})
}
