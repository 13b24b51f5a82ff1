package main

import (
	"context"
	"fmt"

	"github.com/signet-policy/signet/client"
)

type signersImportCmd struct {
	File string `arg:"" help:"signing_policy as YAML or JSON with trusted_signers; - reads what is piped in."`
	changeFlags
	DryRun  bool `help:"Only tell what would be changed."`
	Replace bool `help:"Update signers whose name is taken; without it that is an error."`
	outFlags
}

// Run imports the file and tells what became of each signer.
func (c signersImportCmd) Run(ctx context.Context, std streams) error {
	body, err := readInput("signers import", c.File)
	if err != nil {
		return err
	}
	return c.ask(ctx, func(api *client.Client) error {
		done, err := api.ImportSigners(ctx, body, client.ImportOptions{DryRun: c.DryRun, Replace: c.Replace})
		switch {
		case err != nil:
			return prefixedProblem(c.File, err)
		case c.JSON:
			return printJSON(std.out, done)
		}
		printImported(std, done)
		return nil
	})
}

// prefixedProblem puts a file's name before each mistake that was found in it.
func prefixedProblem(path string, err error) error {
	if client.IsInvalid(err) {
		return &exit{code: exitUsage, err: prefixed(path, err)}
	}
	return err
}

func printImported(std streams, done client.Imported) {
	for _, part := range []struct {
		word  string
		names []string
	}{{"created", done.Created}, {"updated", done.Updated}, {"unchanged", done.Unchanged}} {
		for _, name := range part.names {
			fmt.Fprintf(std.out, "%-9s  %s\n", part.word, printable(name, false))
		}
	}
	would := ""
	if done.DryRun {
		would = "; nothing was changed (--dry-run)"
	}
	fmt.Fprintf(std.err, "signet: %d created, %d updated, %d unchanged%s\n", len(done.Created), len(done.Updated), len(done.Unchanged), would)
}

type signersExportCmd struct {
	remoteFlags
	Out string `help:"Write to this file instead of stdout." placeholder:"FILE" type:"path"`
}

// Run prints the signers as YAML.
func (c signersExportCmd) Run(ctx context.Context, std streams) error {
	return c.ask(ctx, func(api *client.Client) error {
		body, err := api.ExportSigners(ctx)
		if err != nil {
			return err
		}
		return writeOutput(std, c.Out, body)
	})
}
