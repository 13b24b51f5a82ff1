package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/signet-policy/signet/client"
)

type bundlesCmd struct {
	List     bundlesListCmd     `cmd:"" help:"Show the policy bundles."`
	Show     bundlesShowCmd     `cmd:"" help:"Show a policy bundle, and how the last attempt to renew it went."`
	Put      bundlesPutCmd      `cmd:"" help:"Put the archive of a policy bundle into force, as a new one or as the next."`
	Remove   bundlesRemoveCmd   `cmd:"" help:"Remove a policy bundle that no policy names."`
	History  bundlesHistoryCmd  `cmd:"" help:"Show what a policy bundle was, newest first."`
	Rollback bundlesRollbackCmd `cmd:"" help:"Go back to an archive that was in force before."`
	Fetch    bundlesFetchCmd    `cmd:"" help:"Ask the source of a policy bundle of the configuration now."`
}

type bundleArg struct {
	Name string `arg:"" help:"Name of the bundle."`
}

type bundlesListCmd struct {
	remoteFlags
	outFlags
}

// Run lists the bundles by name.
func (c bundlesListCmd) Run(ctx context.Context, std streams) error {
	return c.ask(ctx, func(api *client.Client) error {
		all, err := collect(api.AllBundles(ctx))
		switch {
		case err != nil:
			return err
		case c.JSON:
			return printJSON(std.out, all)
		case len(all) == 0:
			fmt.Fprintln(std.err, "signet: there are no policy bundles; put one: signet bundles put ARCHIVE")
			return nil
		}
		rows := make([][]string, 0, len(all))
		for _, b := range all {
			state := "in force"
			switch {
			case b.Digest == "":
				state = "waiting"
			case b.LastAttempt != nil && b.LastAttempt.Error != "":
				state = b.LastAttempt.Outcome
			}
			rows = append(rows, []string{b.Name, strconv.FormatInt(b.Sequence, 10), b.Revision, state, listOr(b.Policies, "none"), orWord(b.Location, b.Source), b.Owner})
		}
		return printTable(std.out, []string{"NAME", "SEQUENCE", "REVISION", "STATE", "POLICIES", "FROM", "OWNER"}, rows)
	})
}

type bundlesShowCmd struct {
	bundleArg
	remoteFlags
	outFlags
}

// Run shows one bundle.
func (c bundlesShowCmd) Run(ctx context.Context, std streams) error {
	return c.ask(ctx, func(api *client.Client) error {
		b, err := bundleOfName(ctx, api, c.Name)
		switch {
		case err != nil:
			return err
		case c.JSON:
			return printJSON(std.out, b)
		}
		ids := sortedKeys(b.Keys)
		rows := [][]string{
			{"name", b.Name}, {"from", orWord(b.Location, b.Source)}, {"owner", orWord(b.Owner, "the installation")},
			{"sequence", fmt.Sprintf("%d (highest %d)", b.Sequence, b.HighestSequence)}, {"revision", b.Revision}, {"digest", orWord(b.Digest, "none yet")},
			{"activated", timeOr(b.ActivatedAt, "never")}, {"policies", listOr(b.Policies, "none")},
			{"keys", listOr(ids, "none: it need not be signed")}, {"scope", b.Scope}, {"signed by", orWord(b.SignedBy, "-")},
		}
		if a := b.LastAttempt; a != nil {
			rows = append(rows, []string{"last attempt", fmt.Sprintf("%s at %s", a.Outcome, timeOr(&a.At, ""))})
			if a.Error != "" {
				rows = append(rows, []string{"", a.Error})
			}
			if a.Flips != nil {
				rows = append(rows, []string{"flips", strings.Join(append([]string{strconv.Itoa(*a.Flips)}, a.Examples...), " ")})
			}
			for _, w := range a.Warnings {
				rows = append(rows, []string{"warning", w})
			}
		}
		return printTable(std.out, []string{"FIELD", "VALUE"}, rows)
	})
}

func bundleOfName(ctx context.Context, api *client.Client, name string) (client.Bundle, error) {
	b, err := api.Bundle(ctx, name)
	if client.IsNotFound(err) {
		return b, usage("there is no bundle %q; signet bundles list shows them", name)
	}
	return b, err
}

type bundlesPutCmd struct {
	File string `arg:"" help:"Archive of the bundle (.tar.gz), as signet policy build writes it." type:"path"`
	changeFlags
	Name  string            `help:"Name of the bundle (default: the file's, without its ending)." placeholder:"NAME"`
	Owner string            `help:"Team that answers for it; its tokens may change it." placeholder:"TEAM"`
	Key   map[string]string `help:"Public key (PEM file) by its id, of which one must have signed this archive and later ones (repeatable; administrators)." placeholder:"ID=FILE" mapsep:"none"`
	Scope string            `help:"Scope that the signatures must have, with --key (default signet)." placeholder:"SCOPE"`
	outFlags
}

// maxArchive bounds an archive that is sent; servers read no larger one.
const maxArchive = 16 << 20

// Run puts the archive into force.
func (c bundlesPutCmd) Run(ctx context.Context, std streams) error {
	archive, err := readCapped(c.File, maxArchive)
	if err != nil {
		return usage("bundles put: %w", err)
	}
	name := c.Name
	if name == "" {
		if name = archiveName(c.File); name == "" {
			return usage("give the bundle a --name")
		}
	}
	if c.Scope != "" && len(c.Key) == 0 {
		return usage("--scope goes with --key ID=FILE")
	}
	keys := map[string]string{}
	for id, path := range c.Key {
		pem, err := readCapped(path, maxKeyFile)
		if err != nil {
			return usage("--key %s: %w", id, err)
		}
		keys[id] = string(pem)
	}
	return c.ask(ctx, func(api *client.Client) error {
		word := "new"
		var version *int64
		before, err := api.Bundle(ctx, name)
		switch {
		case err == nil:
			version, word = &before.Version, "replaced"
		case !client.IsNotFound(err):
			return err
		}
		var after client.Bundle
		switch {
		case len(keys) > 0:
			after, err = api.PutBundleWith(ctx, name, c.Owner, archive, keys, c.Scope, version)
		default:
			after, err = api.PutBundle(ctx, name, c.Owner, archive, version)
		}
		switch {
		case client.IsStale(err):
			return usage("bundle %s was changed by somebody else just now; look at it and try again: signet bundles show %s", name, name)
		case err != nil:
			return prefixedProblem(c.File, err)
		case version != nil && after.Digest == before.Digest:
			word = "as it was"
		}
		if c.JSON {
			return printJSON(std.out, after)
		}
		fmt.Fprintf(std.err, "signet: bundle %s is %s; sequence %d, revision %s; policies that name it: %s\n",
			after.Name, word, after.Sequence, printable(orWord(after.Revision, "none"), false), listOr(after.Policies, "none"))
		return nil
	})
}

const maxKeyFile = 64 << 10

// archiveName makes a name of an archive's, without its ending.
func archiveName(path string) string {
	return fileName(strings.TrimSuffix(strings.TrimSuffix(path, ".gz"), ".tar") + ".x")
}

type bundlesRemoveCmd struct {
	bundleArg
	changeFlags
}

// Run removes the bundle.
func (c bundlesRemoveCmd) Run(ctx context.Context, std streams) error {
	return c.ask(ctx, func(api *client.Client) error {
		b, err := bundleOfName(ctx, api, c.Name)
		if err != nil {
			return err
		}
		if err := api.DeleteBundle(ctx, b.Name, b.Version); err != nil {
			return err
		}
		fmt.Fprintf(std.err, "signet: bundle %s is removed\n", b.Name)
		return nil
	})
}

type bundlesHistoryCmd struct {
	bundleArg
	remoteFlags
	outFlags
}

// Run shows what the bundle was.
func (c bundlesHistoryCmd) Run(ctx context.Context, std streams) error {
	return c.ask(ctx, func(api *client.Client) error {
		all, err := collect(api.AllBundleHistory(ctx, c.Name))
		switch {
		case client.IsNotFound(err):
			return usage("there was never a bundle %q; signet bundles list shows those that are", c.Name)
		case err != nil:
			return err
		case c.JSON:
			return printJSON(std.out, all)
		}
		rows := make([][]string, 0, len(all))
		for _, v := range all {
			rows = append(rows, []string{strconv.FormatInt(v.ActiveRevision, 10), timeOr(&v.At, ""), v.By, v.Change, strconv.FormatInt(v.Sequence, 10), v.Revision, orWord(v.SignedBy, "-"), v.Why})
		}
		return printTable(std.out, []string{"ACTIVE", "AT", "BY", "CHANGE", "SEQUENCE", "REVISION", "SIGNED BY", "WHY"}, rows)
	})
}

type bundlesRollbackCmd struct {
	bundleArg
	changeFlags
	To *int64 `help:"Sequence to go back to (default: the one before)." placeholder:"SEQUENCE"`
	outFlags
}

// Run goes back to an earlier archive.
func (c bundlesRollbackCmd) Run(ctx context.Context, std streams) error {
	return c.ask(ctx, func(api *client.Client) error {
		before, err := bundleOfName(ctx, api, c.Name)
		if err != nil {
			return err
		}
		after, err := api.RollbackBundle(ctx, c.Name, c.To)
		switch {
		case err != nil:
			return err
		case c.JSON:
			return printJSON(std.out, after)
		}
		fmt.Fprintf(std.err, "signet: bundle %s went back from sequence %d to %d; what has a sequence up to %d is not taken again\n",
			after.Name, before.Sequence, after.Sequence, after.HighestSequence)
		return nil
	})
}

type bundlesFetchCmd struct {
	bundleArg
	changeFlags
	outFlags
}

// Run makes the server ask the source.
func (c bundlesFetchCmd) Run(ctx context.Context, std streams) error {
	return c.ask(ctx, func(api *client.Client) error {
		before, err := bundleOfName(ctx, api, c.Name)
		if err != nil {
			return err
		}
		after, err := api.FetchBundle(ctx, c.Name)
		switch {
		case err != nil:
			return err
		case c.JSON:
			return printJSON(std.out, after)
		case before.Digest == after.Digest:
			fmt.Fprintf(std.err, "signet: bundle %s is as it was, sequence %d\n", after.Name, after.Sequence)
			return nil
		}
		fmt.Fprintf(std.err, "signet: bundle %s went from sequence %d to %d\n", after.Name, before.Sequence, after.Sequence)
		return nil
	})
}
