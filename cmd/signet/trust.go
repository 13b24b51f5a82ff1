package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/signet-policy/signet/client"
)

type trustCmd struct {
	List      trustListCmd      `cmd:"" help:"Show the trust roots in the order in which they are tried."`
	Show      trustShowCmd      `cmd:"" help:"Show one trust root."`
	Add       trustAddCmd       `cmd:"" help:"Trust a Sigstore instance: by its trusted_root.json, or by its TUF repository."`
	Refresh   trustRefreshCmd   `cmd:"" help:"Read a trust root from its TUF repository now."`
	Remove    trustRemoveCmd    `cmd:"" help:"No longer trust a Sigstore instance."`
	Export    trustExportCmd    `cmd:"" help:"Write trust roots, TUF metadata, policies and signers as one signed file."`
	ExportKey trustExportKeyCmd `cmd:"" help:"Print the public key that checks what export signs."`
	Import    trustImportCmd    `cmd:"" help:"Take what export wrote elsewhere."`
}

type trustListCmd struct {
	remoteFlags
	outFlags
}

// Run lists the roots, the one that is tried first on top.
func (c trustListCmd) Run(ctx context.Context, std streams) error {
	return c.ask(ctx, func(api *client.Client) error {
		all, err := collect(api.AllTrustRoots(ctx))
		switch {
		case err != nil:
			return err
		case c.JSON:
			return printJSON(std.out, all)
		case len(all) == 0:
			fmt.Fprintln(std.err, "signet: there are no trust roots; add one: signet trust add FILE")
			return nil
		}
		rows := make([][]string, 0, len(all))
		for _, r := range all {
			rows = append(rows, []string{r.Name, r.Kind, r.Source, listOr(requirements(r.Requires), "nothing"), listOr(r.Images, "all"), refreshed(r)})
		}
		return printTable(std.out, []string{"NAME", "KIND", "SOURCE", "REQUIRES", "IMAGES", "REFRESHED"}, rows)
	})
}

func requirements(r client.Requires) []string {
	var all []string
	for _, one := range []struct {
		name string
		set  bool
	}{{"log", r.Log}, {"sct", r.SCT}, {"timestamp", r.Timestamp}} {
		if one.set {
			all = append(all, one.name)
		}
	}
	return all
}

// refreshed tells how current a root is known to be.
func refreshed(r client.TrustRoot) string {
	at := timeOr(r.RefreshedAt, "never")
	if r.Error != "" {
		at += "; " + r.Error
	}
	return at
}

type rootArg struct {
	Name string `arg:"" help:"Name of the trust root."`
}

type trustShowCmd struct {
	rootArg
	remoteFlags
	outFlags
}

// Run shows the root; as JSON with the whole trusted_root.json.
func (c trustShowCmd) Run(ctx context.Context, std streams) error {
	return c.ask(ctx, func(api *client.Client) error {
		r, err := rootNamed(ctx, api, c.Name)
		switch {
		case err != nil:
			return err
		case c.JSON:
			return printJSON(std.out, r)
		}
		return printRoot(std, r)
	})
}

func printRoot(std streams, r client.TrustRoot) error {
	in := r.Contains
	return printDetails(std.out,
		"name", r.Name, "source", r.Source, "kind", r.Kind, "position", fmt.Sprint(r.Position), "digest", r.Digest,
		"requires", listOr(requirements(r.Requires), "nothing"), "images", listOr(r.Images, "all"),
		"contains", fmt.Sprintf("%d certificate authorities, %d transparency logs, %d CT logs, %d timestamp authorities",
			in.CertificateAuthorities, in.TransparencyLogs, in.CTLogs, in.TimestampAuthorities),
		"newest since", timeOr(in.NewestSince, ""), "ends next", timeOr(in.NextEnd, "never"), "TUF", r.TUFURL, "target", r.Target, "refreshed", refreshed(r),
		"updated", byAt(r.UpdatedBy, &r.UpdatedAt), "version", fmt.Sprint(r.Version),
	)
}

func rootNamed(ctx context.Context, api *client.Client, name string) (client.TrustRoot, error) {
	r, err := api.TrustRoot(ctx, name)
	if client.IsNotFound(err) {
		return r, usage("there is no trust root %q; signet trust list shows them", name)
	}
	return r, err
}

type trustAddCmd struct {
	File string `arg:"" optional:"" help:"trusted_root.json of the instance."`
	changeFlags
	Name       string   `help:"Name of the trust root (default: the file's without its ending, or the repository's host)." placeholder:"NAME"`
	TUF        string   `name:"tuf" help:"URL of a TUF repository that the root is refreshed from, instead of FILE." placeholder:"URL"`
	Root       string   `help:"First root.json of that repository, which came on a way that is trusted." placeholder:"FILE" type:"path"`
	Target     string   `help:"Path of the target there (default trusted_root.json)." placeholder:"PATH"`
	Requires   []string `help:"Proof that a certificate's signature must have: log, sct, timestamp, or none (repeatable; default: what the root has)." placeholder:"PROOF" enum:"log,sct,timestamp,none" sep:"none"`
	Image      []string `help:"Only for images that match this glob (repeatable)." placeholder:"GLOB" sep:"none"`
	Position   *int     `help:"Place in the order in which roots are tried (default: the last)." placeholder:"N"`
	Replace    bool     `help:"Replace the root of that name."`
	AllowOlder bool     `help:"Replace it though the new one is older."`
	outFlags
}

// Run adds the root, or replaces one.
func (c trustAddCmd) Run(ctx context.Context, std streams) error {
	put, name, err := c.put()
	if err != nil {
		return err
	}
	return c.ask(ctx, func(api *client.Client) error {
		var version *int64
		if c.Replace {
			before, err := rootNamed(ctx, api, name)
			if err != nil {
				return err
			}
			version = &before.Version
		}
		r, err := api.PutTrustRoot(ctx, name, put, version)
		switch {
		case client.IsStale(err) && !c.Replace:
			return usage("there is a trust root %s; give another --name, or --replace it", name)
		case err != nil:
			return err
		case c.JSON:
			return printJSON(std.out, r)
		}
		return printRoot(std, r)
	})
}

func (c trustAddCmd) put() (client.PutTrustRoot, string, error) {
	put := client.PutTrustRoot{TUFURL: c.TUF, Target: c.Target, Images: c.Image, Position: c.Position, AllowOlder: c.AllowOlder}
	name := c.Name
	switch {
	case (c.File == "") == (c.TUF == ""):
		return put, "", usage("give a trusted_root.json, or --tuf URL with --root root.json")
	case c.TUF != "" && c.Root == "":
		return put, "", usage("--tuf needs --root: the first root.json says whose signatures count in that repository")
	case c.TUF == "" && (c.Root != "" || c.Target != ""):
		return put, "", usage("--root and --target go with --tuf URL")
	case c.TUF != "":
		u, err := url.Parse(c.TUF)
		if err != nil || u.Host == "" {
			return put, "", usage("--tuf: %q is not a URL; write it as https://tuf.example.com", c.TUF)
		}
		name = orWord(name, nameFrom(u.Hostname()))
		if put.TUFRoot, err = readJSONFile("--root", c.Root); err != nil {
			return put, "", err
		}
	default:
		var err error
		name = orWord(name, fileName(c.File))
		if put.TrustedRoot, err = readJSONFile("trust add", c.File); err != nil {
			return put, "", err
		}
	}
	if name == "" {
		return put, "", usage("give the trust root a --name")
	}
	if len(c.Requires) > 0 {
		if len(c.Requires) > 1 && slices.Contains(c.Requires, "none") {
			return put, "", usage("--requires none goes with no other")
		}
		put.Requires = &client.Requires{
			Log: slices.Contains(c.Requires, "log"), SCT: slices.Contains(c.Requires, "sct"), Timestamp: slices.Contains(c.Requires, "timestamp"),
		}
	}
	return put, name, nil
}

func readJSONFile(what, path string) (json.RawMessage, error) {
	body, err := readInput(what, path)
	if err == nil && !json.Valid(body) {
		err = usage("%s: %s is not JSON", what, path)
	}
	return body, err
}

type trustRefreshCmd struct {
	rootArg
	changeFlags
	outFlags
}

// Run refreshes the root and tells how current it is.
func (c trustRefreshCmd) Run(ctx context.Context, std streams) error {
	return c.ask(ctx, func(api *client.Client) error {
		r, err := api.RefreshTrustRoot(ctx, c.Name)
		switch {
		case err != nil:
			return err
		case c.JSON:
			return printJSON(std.out, r)
		case r.Error != "":
			return fmt.Errorf("trust root %s: what is there stays in use: %s", r.Name, r.Error)
		}
		fmt.Fprintf(std.err, "signet: trust root %s is current as of %s\n", r.Name, timeOr(r.RefreshedAt, "no time"))
		return nil
	})
}

type trustRemoveCmd struct {
	rootArg
	changeFlags
}

// Run removes the root; what it vouched for is no longer proven.
func (c trustRemoveCmd) Run(ctx context.Context, std streams) error {
	return c.ask(ctx, func(api *client.Client) error {
		r, err := rootNamed(ctx, api, c.Name)
		if err != nil {
			return err
		}
		if err := api.DeleteTrustRoot(ctx, r.Name, r.Version); err != nil {
			return err
		}
		fmt.Fprintf(std.err, "signet: %s is no longer trusted\n", r.Name)
		return nil
	})
}

type trustExportCmd struct {
	remoteFlags
	Out string `help:"Write to this file instead of stdout." placeholder:"FILE" type:"path"`
}

// Run writes the archive.
func (c trustExportCmd) Run(ctx context.Context, std streams) error {
	return c.ask(ctx, func(api *client.Client) error {
		body, err := api.ExportTrust(ctx)
		if err != nil {
			return err
		}
		return writeOutput(std, c.Out, body)
	})
}

type trustExportKeyCmd struct {
	remoteFlags
	Out string `help:"Write to this file instead of stdout." placeholder:"FILE" type:"path"`
}

// Run prints the key, which is to be carried on another way than the archive.
func (c trustExportKeyCmd) Run(ctx context.Context, std streams) error {
	return c.ask(ctx, func(api *client.Client) error {
		pem, err := api.ExportKey(ctx)
		if err != nil {
			return err
		}
		return writeOutput(std, c.Out, []byte(pem))
	})
}

type trustImportCmd struct {
	File string `arg:"" help:"What signet trust export wrote."`
	changeFlags
	Key    string `required:"" help:"Public key that must have signed it, from signet trust export-key there." placeholder:"PEM" type:"path"`
	DryRun bool   `help:"Only tell what would be changed."`
	outFlags
}

// Run imports the archive: all of it, or nothing.
func (c trustImportCmd) Run(ctx context.Context, std streams) error {
	archive, err := readJSONFile("trust import", c.File)
	if err != nil {
		return err
	}
	pem, err := readSecretFile("--key", c.Key)
	if err != nil {
		return err
	}
	return c.ask(ctx, func(api *client.Client) error {
		done, err := api.ImportTrust(ctx, archive, pem+"\n", c.DryRun)
		switch {
		case err != nil:
			return prefixedProblem(c.File, err)
		case c.JSON:
			return printJSON(std.out, done)
		}
		would := ""
		if done.DryRun {
			would = "would be "
		}
		fmt.Fprintf(std.err, "signet: an archive of %s, signed by the key %s\n", timeOr(&done.MadeAt, ""), done.Key)
		return printDetails(std.out,
			"trust roots "+would+"imported", strings.Join(done.TrustRoots, " "),
			"policies "+would+"imported", strings.Join(done.Policies, " "),
			"bundles "+would+"imported", strings.Join(done.Bundles, " "),
			"signers "+would+"created", strings.Join(done.Signers.Created, " "),
			"signers "+would+"updated", strings.Join(done.Signers.Updated, " "),
			"signers unchanged", strings.Join(done.Signers.Unchanged, " "),
		)
	})
}
