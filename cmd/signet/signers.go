package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/signet-policy/signet/client"
)

type signersCmd struct {
	Add        signersAddCmd        `cmd:"" help:"Trust an identity or a key."`
	List       signersListCmd       `cmd:"" help:"Show the registered signers."`
	Show       signersShowCmd       `cmd:"" help:"Show one signer with all that is known of it."`
	Update     signersUpdateCmd     `cmd:"" help:"Change what is said of a signer."`
	Enable     signersEnableCmd     `cmd:"" help:"Trust a signer again that was disabled."`
	Disable    signersDisableCmd    `cmd:"" help:"No longer trust a signer, but keep it."`
	Remove     signersRemoveCmd     `cmd:"" help:"No longer trust a signer, and forget it."`
	Import     signersImportCmd     `cmd:"" help:"Trust the trusted_signers of a signing_policy file: all of them, or none."`
	Export     signersExportCmd     `cmd:"" help:"Print all signers as YAML that import takes."`
	Compromise signersCompromiseCmd `cmd:"" help:"End the trust in what a signer signed after a moment, and show what was allowed because of it."`
	AcceptKey  signersAcceptKeyCmd  `cmd:"" help:"Put the rotated key of a kms signer into use."`
	ReadKey    signersReadKeyCmd    `cmd:"" help:"Show the key that a KMS reference names, before it is trusted."`
	RefreshKey signersRefreshKeyCmd `cmd:"" help:"Read the key of a kms signer from its service now."`
	Verdicts   signersVerdictsCmd   `cmd:"" help:"Show which digests were allowed because of a signer."`
}

type signersAddCmd struct {
	changeFlags
	Name          string            `help:"Name of the signer (default: made of the identity)." placeholder:"NAME"`
	Issuer        string            `help:"OIDC issuer of a keyless signer." placeholder:"URL"`
	Subject       string            `help:"Exact identity of a keyless signer." placeholder:"ID" xor:"subject"`
	SubjectRegex  string            `help:"Regular expression for the whole identity." placeholder:"RE" xor:"subject"`
	Claim         map[string]string `help:"What a claim of the certificate must be, as source_repository_ref=refs/heads/main; * and ** stand for anything (repeatable)." placeholder:"NAME=VALUE" mapsep:"none"`
	TrustRootName []string          `help:"Trust root that may vouch for the identity (repeatable; default: any)." placeholder:"NAME" sep:"none"`
	Key           []string          `help:"PEM public key (repeatable: any of them counts for this one signer)." placeholder:"PEM" sep:"none" type:"path"`
	KMS           string            `name:"kms" help:"Key in a key management service: awskms://, azurekms://, gcpkms:// or hashivault://." placeholder:"REF"`
	AutoRotate    bool              `help:"Take a new key there without asking."`
	Image         []string          `help:"Trust it for images that match this glob only (repeatable)." placeholder:"GLOB" sep:"none"`
	NotBefore     string            `help:"Trust it from this time on (RFC 3339)." placeholder:"TIME"`
	ExpiresAt     string            `help:"Trust it until this time (RFC 3339)." placeholder:"TIME"`
	SignedFrom    string            `help:"Count signatures that were verifiably made from this time on (RFC 3339)." placeholder:"TIME"`
	SignedUntil   string            `help:"Count signatures that were verifiably made until this time (RFC 3339)." placeholder:"TIME"`
	Owner         string            `help:"Team that answers for it; its tokens may change it." placeholder:"TEAM"`
	Note          string            `help:"Why it is trusted." placeholder:"TEXT"`
	Disabled      bool              `help:"Register it without trusting it yet."`
	outFlags
}

// Run adds the signer and names it.
func (c signersAddCmd) Run(ctx context.Context, std streams) error {
	s, err := c.signer()
	if err != nil {
		return err
	}
	return c.ask(ctx, func(api *client.Client) error {
		added, err := api.CreateSigner(ctx, s)
		switch {
		case err != nil:
			return err
		case c.JSON:
			return printJSON(std.out, added)
		}
		fmt.Fprintln(std.out, added.Name)
		return nil
	})
}

func (c signersAddCmd) signer() (client.Signer, error) {
	s := client.Signer{
		Name: c.Name, Issuer: c.Issuer, Subject: c.Subject, SubjectRegex: c.SubjectRegex, Claims: c.Claim, TrustRoots: c.TrustRootName,
		KMSKeyRef: c.KMS, AutoRotate: c.AutoRotate, Images: c.Image, Enabled: !c.Disabled, Owner: c.Owner, Note: c.Note,
	}
	keyless := c.Issuer != "" || c.Subject != "" || c.SubjectRegex != ""
	var err error
	switch {
	case count(keyless, len(c.Key) > 0, c.KMS != "") > 1:
		return s, usage("give --key, --kms, or --issuer with --subject; a signer is one of them")
	case len(c.Key) > 0:
		s.Type = "public_key"
		if s.PublicKey, err = readPEM(c.Key); err != nil {
			return s, err
		}
	case c.KMS != "":
		s.Type = "kms"
	default:
		if err := (policyFlags{Issuer: c.Issuer, Subject: c.Subject, SubjectRegex: c.SubjectRegex}).check(); err != nil {
			return s, err
		}
		if c.Issuer == "" {
			return s, usage("give --issuer with --subject (or --subject-regex), --key, or --kms")
		}
		s.Type = "keyless"
	}
	for _, t := range []struct {
		flag, value string
		to          **time.Time
	}{
		{"--not-before", c.NotBefore, &s.NotBefore},
		{"--expires-at", c.ExpiresAt, &s.ExpiresAt},
		{"--signed-from", c.SignedFrom, &s.SignedFrom},
		{"--signed-until", c.SignedUntil, &s.SignedUntil},
	} {
		if *t.to, err = timeFlag(t.flag, t.value); err != nil {
			return s, err
		}
	}
	if s.Name == "" {
		s.Name = suggestName(s)
	}
	return s, nil
}

func count(all ...bool) int {
	n := 0
	for _, one := range all {
		if one {
			n++
		}
	}
	return n
}

// readPEM joins public keys from files.
func readPEM(paths []string) (string, error) {
	var pem strings.Builder
	for _, path := range paths {
		body, err := os.ReadFile(path) //nolint:gosec // the caller names the file
		if err != nil {
			return "", usage("--key: %w", err)
		}
		pem.Write(body)
		pem.WriteByte('\n')
	}
	return pem.String(), nil
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

// notInName is compiled when it is needed: starting costs every command.
var notInName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`[^A-Za-z0-9._-]+`) })

// nameFrom makes what a name may be of text, "" when nothing is left.
func nameFrom(text string) string {
	name := strings.Trim(notInName().ReplaceAllString(text, "-"), "-._")
	if len(name) > 60 {
		name = strings.Trim(name[:60], "-._")
	}
	return name
}

// suggestName makes a name that says who it is, with enough of a digest that two
// identities never get the same one.
func suggestName(s client.Signer) string {
	who, kind := s.Subject, "exact"
	switch {
	case s.Type == "public_key":
		who, kind = "key", ""
	case s.Type == "kms":
		_, who, _ = strings.Cut(s.KMSKeyRef, "://")
		kind = ""
	case s.SubjectRegex != "":
		who, kind = s.SubjectRegex, "regex"
	}
	who = orWord(nameFrom(strings.TrimPrefix(strings.TrimPrefix(who, "https://"), "github.com/")), "signer")
	sum := sha256.Sum256([]byte(s.Issuer + "\n" + kind + "\n" + s.Subject + s.SubjectRegex + "\n" + s.PublicKey + s.KMSKeyRef))
	return who + "-" + hex.EncodeToString(sum[:4])
}

type signersListCmd struct {
	remoteFlags
	Query string `help:"Only those that have this in their name, identity or note." placeholder:"TEXT"`
	Type  string `help:"Only keyless, public_key or kms." placeholder:"TYPE"`
	State string `help:"Only those that are in_force, disabled, not_yet or expired." placeholder:"STATE"`
	Owner string `help:"Only those of this team." placeholder:"TEAM"`
	outFlags
}

// Run lists the signers by name.
func (c signersListCmd) Run(ctx context.Context, std streams) error {
	return c.ask(ctx, func(api *client.Client) error {
		all, err := collect(api.AllSigners(ctx, client.SignerFilter{Query: c.Query, Type: c.Type, State: c.State, Owner: c.Owner}))
		switch {
		case err != nil:
			return err
		case c.JSON:
			return printJSON(std.out, all)
		case len(all) == 0 && c.Query+c.Type+c.State+c.Owner != "":
			fmt.Fprintln(std.err, "signet: no signer is like that")
			return nil
		case len(all) == 0:
			fmt.Fprintln(std.err, "signet: no signers are registered; add one: signet signers add --issuer URL --subject ID")
			return nil
		}
		slices.SortFunc(all, func(a, b client.Signer) int { return strings.Compare(a.Name, b.Name) })
		rows := make([][]string, 0, len(all))
		for _, s := range all {
			state := spoken(s.State)
			if s.KMS != nil && s.KMS.Pending != nil {
				state += ", a new key waits"
			}
			rows = append(rows, []string{s.Name, s.Type, whoIs(s), listOr(s.Images, "all"), state, timeOr(s.ExpiresAt, "never"), s.Owner})
		}
		return printTable(std.out, []string{"NAME", "TYPE", "WHO", "IMAGES", "STATE", "EXPIRES", "OWNER"}, rows)
	})
}

// whoIs names an identity or keys.
func whoIs(s client.Signer) string {
	switch {
	case s.Type == "kms":
		return s.KMSKeyRef
	case s.Type == "public_key":
		return strings.Join(s.Fingerprints, " ")
	case s.SubjectRegex != "":
		return s.Issuer + " /" + s.SubjectRegex + "/"
	}
	return s.Issuer + " " + s.Subject
}

// signerNamed finds a signer by its name or its id.
func signerNamed(ctx context.Context, api *client.Client, name string) (client.Signer, error) {
	if isULID(name) {
		if s, err := api.Signer(ctx, name); !client.IsNotFound(err) {
			return s, err
		}
	}
	for s, err := range api.AllSigners(ctx, client.SignerFilter{Query: name}) {
		if err != nil || s.Name == name {
			return s, err
		}
	}
	return client.Signer{}, usage("there is no signer %q; signet signers list shows them", name)
}

// isULID says whether text could be an id, which has 26 characters of Crockford's
// base 32.
func isULID(text string) bool {
	return len(text) == 26 && strings.Trim(text, "0123456789ABCDEFGHJKMNPQRSTVWXYZ") == ""
}

// signerArg names the signer that a command is about.
type signerArg struct {
	Name string `arg:"" help:"Name or id of the signer."`
}

type signersShowCmd struct {
	signerArg
	remoteFlags
	outFlags
}

// Run shows the signer.
func (c signersShowCmd) Run(ctx context.Context, std streams) error {
	return c.ask(ctx, func(api *client.Client) error {
		s, err := signerNamed(ctx, api, c.Name)
		switch {
		case err != nil:
			return err
		case c.JSON:
			return printJSON(std.out, s)
		}
		return printSigner(std, s)
	})
}

func printSigner(std streams, s client.Signer) error {
	claims := make([]string, 0, len(s.Claims))
	for _, name := range sortedKeys(s.Claims) {
		claims = append(claims, name+"="+s.Claims[name])
	}
	roots, keys := "", ""
	switch s.Type {
	case "keyless":
		roots = listOr(s.TrustRoots, "any")
	default:
		keys = strings.Join(s.Fingerprints, " ")
	}
	pairs := []string{
		"name", s.Name, "id", s.ID, "type", s.Type, "state", spoken(s.State),
		"issuer", s.Issuer, "subject", s.Subject, "subject regex", s.SubjectRegex, "claims", strings.Join(claims, " "), "trust roots", roots,
		"kms key", s.KMSKeyRef, "keys", keys,
		"images", listOr(s.Images, "all"), "not before", timeOr(s.NotBefore, ""), "expires", timeOr(s.ExpiresAt, "never"),
		"signed from", timeOr(s.SignedFrom, ""), "signed until", timeOr(s.SignedUntil, ""), "owner", s.Owner, "note", s.Note,
	}
	if s.Type == "kms" {
		pairs = append(pairs, "auto rotate", fmt.Sprint(s.AutoRotate))
	}
	if k := s.KMS; k != nil {
		pairs = append(pairs, "key read", timeOr(k.CheckedAt, "never"), "key error", k.Error)
		if k.Pending != nil {
			pairs = append(pairs, "key waiting", k.Pending.Fingerprint+", seen "+timeOr(&k.Pending.SeenAt, ""))
		}
	}
	pairs = append(pairs, "created", byAt(s.CreatedBy, s.CreatedAt), "updated", byAt(s.UpdatedBy, s.UpdatedAt), "version", fmt.Sprint(s.Version))
	return printDetails(std.out, pairs...)
}

func byAt(who string, at *time.Time) string {
	if at == nil {
		return who
	}
	return timeOr(at, "") + " by " + orWord(who, "nobody")
}
