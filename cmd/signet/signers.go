package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/signet-policy/signet/internal/store"
)

type signersCmd struct {
	Add    signersAddCmd    `cmd:"" help:"Trust an identity or a key."`
	List   signersListCmd   `cmd:"" help:"Show the registered signers."`
	Remove signersRemoveCmd `cmd:"" help:"No longer trust a signer."`
}

type signersAddCmd struct {
	commonFlags
	Name         string   `help:"Name of the signer (default: made of the identity)." placeholder:"NAME"`
	Issuer       string   `help:"OIDC issuer of a keyless signer." placeholder:"URL"`
	Subject      string   `help:"Exact identity of a keyless signer." placeholder:"ID" xor:"subject"`
	SubjectRegex string   `help:"Regular expression for the whole identity." placeholder:"RE" xor:"subject"`
	Key          []string `help:"PEM public key (repeatable: any of them counts for this one signer)." placeholder:"PEM" sep:"none" type:"path"`
	Image        []string `help:"Trust it for images that match this glob only (repeatable)." placeholder:"GLOB" sep:"none"`
	NotBefore    string   `help:"Trust it from this time on (RFC 3339)." placeholder:"TIME"`
	ExpiresAt    string   `help:"Trust it until this time (RFC 3339)." placeholder:"TIME"`
	Owner        string   `help:"Who answers for it." placeholder:"TEAM"`
	Note         string   `help:"Why it is trusted." placeholder:"TEXT"`
}

// Run adds the signer and names it.
func (c signersAddCmd) Run(ctx context.Context, std streams) error {
	row, err := c.row()
	if err != nil {
		return err
	}
	f, err := c.load(sourceFlags{})
	if err != nil {
		return err
	}
	admin, err := openAdministration(ctx, f.DataDir, f.SecretFile)
	if err != nil {
		return err
	}
	defer func() { _ = admin.Close() }()
	added, err := admin.AddSigner(ctx, row)
	if err != nil {
		return err
	}
	fmt.Fprintln(std.out, added.Name)
	return nil
}

func (c signersAddCmd) row() (store.SignerRow, error) {
	row := store.SignerRow{
		Name: c.Name, Issuer: c.Issuer, Images: c.Image, Enabled: true, Owner: c.Owner, Note: c.Note,
	}
	switch {
	case len(c.Key) > 0 && (c.Issuer != "" || c.Subject != "" || c.SubjectRegex != ""):
		return row, usage("give --key, or --issuer with --subject; a signer is one of them")
	case len(c.Key) > 0:
		row.Type = "public_key"
		var pem strings.Builder
		for _, path := range c.Key {
			body, err := os.ReadFile(path) //nolint:gosec // the caller names the file
			if err != nil {
				return row, usage("--key: %w", err)
			}
			pem.Write(body)
			pem.WriteByte('\n')
		}
		row.PublicKey = pem.String()
	default:
		if err := (policyFlags{Issuer: c.Issuer, Subject: c.Subject, SubjectRegex: c.SubjectRegex}).check(); err != nil {
			return row, err
		}
		if c.Issuer == "" {
			return row, usage("give --issuer with --subject (or --subject-regex), or --key")
		}
		row.Type, row.SubjectKind, row.SubjectPattern = "keyless", "exact", c.Subject
		if c.SubjectRegex != "" {
			row.SubjectKind, row.SubjectPattern = "regex", c.SubjectRegex
		}
	}
	var err error
	if row.NotBefore, err = timeFlag("--not-before", c.NotBefore); err != nil {
		return row, err
	}
	if row.ExpiresAt, err = timeFlag("--expires-at", c.ExpiresAt); err != nil {
		return row, err
	}
	if row.Name == "" {
		row.Name = suggestName(row)
	}
	return row, nil
}

func timeFlag(name, value string) (*time.Time, error) {
	if value == "" {
		return nil, nil //nolint:nilnil // absent is no error
	}
	t, err := time.Parse(time.RFC3339, value)
	if err != nil {
		return nil, usage("%s: %q is not a time; write it as 2027-01-31T00:00:00Z", name, value)
	}
	t = t.UTC()
	return &t, nil
}

var notInName = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

// suggestName makes a name that says who it is, with enough of a digest that two
// identities never get the same one.
func suggestName(r store.SignerRow) string {
	who := r.SubjectPattern
	if r.Type == "public_key" {
		who = "key"
	}
	who = strings.TrimPrefix(strings.TrimPrefix(who, "https://"), "github.com/")
	who = strings.Trim(notInName.ReplaceAllString(who, "-"), "-._")
	if len(who) > 60 {
		who = strings.Trim(who[:60], "-._")
	}
	if who == "" {
		who = "signer"
	}
	sum := sha256.Sum256([]byte(r.Issuer + "\n" + r.SubjectKind + "\n" + r.SubjectPattern + "\n" + r.PublicKey))
	return who + "-" + hex.EncodeToString(sum[:4])
}

type signersListCmd struct {
	commonFlags
	JSON bool `name:"json" help:"Print them as JSON."`
}

// Run lists the signers by name.
func (c signersListCmd) Run(ctx context.Context, std streams) error {
	f, err := c.load(sourceFlags{})
	if err != nil {
		return err
	}
	rows := []store.SignerRow{}
	if store.Exists(f.DataDir) {
		st, err := store.Open(ctx, store.Config{DataDir: f.DataDir, ReadOnly: true})
		if err != nil {
			return err
		}
		defer func() { _ = st.Close() }()
		if rows, err = st.Signers(ctx); err != nil {
			return err
		}
	}
	if c.JSON {
		enc := json.NewEncoder(std.out)
		enc.SetIndent("", "  ")
		return enc.Encode(rows)
	}
	if len(rows) == 0 {
		fmt.Fprintln(std.err, "signet: no signers are registered; add one: signet signers add --issuer URL --subject ID")
		return nil
	}
	tw := tabwriter.NewWriter(std.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(tw, "NAME\tTYPE\tWHO\tIMAGES\tEXPIRES")
	for _, r := range rows {
		who := r.Issuer + " " + r.SubjectPattern
		if r.SubjectKind == "regex" {
			who = r.Issuer + " /" + r.SubjectPattern + "/"
		}
		if r.Type == "public_key" {
			who = strings.Join(r.Fingerprints, " ")
		}
		images, expires := "all", "never"
		if len(r.Images) > 0 {
			images = strings.Join(r.Images, " ")
		}
		if r.ExpiresAt != nil {
			expires = r.ExpiresAt.Format(time.RFC3339)
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\n", r.Name, r.Type, printable(who, false), printable(images, false), expires)
	}
	return tw.Flush()
}

type signersRemoveCmd struct {
	Name string `arg:"" help:"Name of the signer."`
	commonFlags
}

// Run removes the signer; verdicts that were given because of it are not repeated.
func (c signersRemoveCmd) Run(ctx context.Context, std streams) error {
	f, err := c.load(sourceFlags{})
	if err != nil {
		return err
	}
	admin, err := openAdministration(ctx, f.DataDir, f.SecretFile)
	if err != nil {
		return err
	}
	defer func() { _ = admin.Close() }()
	if err := admin.RemoveSigner(ctx, c.Name); err != nil {
		return err
	}
	fmt.Fprintf(std.err, "signet: %s is no longer trusted\n", c.Name)
	return nil
}
