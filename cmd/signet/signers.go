package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
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

type signersUpdateCmd struct {
	signerArg
	changeFlags
	previewFlags
	Rename        *string           `help:"New name." placeholder:"NAME"`
	Issuer        *string           `help:"OIDC issuer of a keyless signer." placeholder:"URL"`
	Subject       *string           `help:"Exact identity of a keyless signer." placeholder:"ID" xor:"subject"`
	SubjectRegex  *string           `help:"Regular expression for the whole identity." placeholder:"RE" xor:"subject"`
	Claim         map[string]string `help:"What a claim must be; NAME= takes the constraint away (repeatable)." placeholder:"NAME=VALUE" mapsep:"none"`
	TrustRootName []string          `help:"Trust root that may vouch for the identity, instead of those before (repeatable)." placeholder:"NAME" sep:"none"`
	Key           []string          `help:"PEM public key, instead of those before (repeatable)." placeholder:"PEM" sep:"none" type:"path"`
	KMS           *string           `name:"kms" help:"Key in a key management service." placeholder:"REF"`
	AutoRotate    *bool             `help:"Take a new key there without asking, or not." negatable:""`
	Image         []string          `help:"Glob of images it is trusted for, instead of those before (repeatable)." placeholder:"GLOB" sep:"none"`
	NotBefore     string            `help:"Trust it from this time on (RFC 3339)." placeholder:"TIME"`
	ExpiresAt     string            `help:"Trust it until this time (RFC 3339)." placeholder:"TIME"`
	SignedFrom    string            `help:"Count signatures made from this time on (RFC 3339)." placeholder:"TIME"`
	SignedUntil   string            `help:"Count signatures made until this time (RFC 3339)." placeholder:"TIME"`
	Owner         *string           `help:"Team that answers for it." placeholder:"TEAM"`
	Note          *string           `help:"Why it is trusted." placeholder:"TEXT"`
	Clear         []string          `help:"Take away what is said of claims, trust-roots, images, not-before, expires-at, signed-from, signed-until, owner or note (repeatable)." placeholder:"FIELD" enum:"claims,trust-roots,images,not-before,expires-at,signed-from,signed-until,owner,note" sep:"none"`
	outFlags
}

// Run changes what the flags say, and nothing else.
func (c signersUpdateCmd) Run(ctx context.Context, std streams) error {
	patch, err := c.patch()
	if err != nil {
		return err
	}
	if len(patch) == 0 {
		return usage("there is nothing to change; give a flag, as --expires-at 2027-01-31T00:00:00Z or --clear images")
	}
	body, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	return c.ask(ctx, func(api *client.Client) error {
		if err := c.before(ctx, std, api, client.Operation{Op: client.OpPutSigner, Name: c.Name, Signer: body}); err != nil {
			return err
		}
		return patchSigner(ctx, std, api, c.Name, patch, c.JSON)
	})
}

// patch is a JSON merge patch (RFC 7396).
func (c signersUpdateCmd) patch() (map[string]any, error) {
	patch := map[string]any{}
	for _, field := range c.Clear {
		patch[strings.ReplaceAll(field, "-", "_")] = nil
	}
	for field, value := range map[string]*string{
		"name": c.Rename, "issuer": c.Issuer, "subject": c.Subject, "subject_regex": c.SubjectRegex, "kms_key_ref": c.KMS, "owner": c.Owner, "note": c.Note,
	} {
		if value != nil {
			patch[field] = *value
		}
	}
	switch { // one of them says who it is
	case c.Subject != nil:
		patch["subject_regex"] = nil
	case c.SubjectRegex != nil:
		patch["subject"] = nil
	}
	if len(c.Claim) > 0 {
		claims := map[string]any{}
		for name, value := range c.Claim {
			if claims[name] = value; value == "" {
				claims[name] = nil
			}
		}
		patch["claims"] = claims
	}
	if len(c.TrustRootName) > 0 {
		patch["trust_roots"] = c.TrustRootName
	}
	if len(c.Image) > 0 {
		patch["images"] = c.Image
	}
	if c.AutoRotate != nil {
		patch["auto_rotate"] = *c.AutoRotate
	}
	if len(c.Key) > 0 {
		pem, err := readPEM(c.Key)
		if err != nil {
			return nil, err
		}
		patch["public_key"] = pem
	}
	for _, t := range []struct{ field, flag, value string }{
		{"not_before", "--not-before", c.NotBefore},
		{"expires_at", "--expires-at", c.ExpiresAt},
		{"signed_from", "--signed-from", c.SignedFrom},
		{"signed_until", "--signed-until", c.SignedUntil},
	} {
		at, err := timeFlag(t.flag, t.value)
		if err != nil {
			return nil, err
		}
		if at != nil {
			patch[t.field] = at
		}
	}
	return patch, nil
}

// patchSigner changes the signer as it is now.
func patchSigner(ctx context.Context, std streams, api *client.Client, name string, patch map[string]any, asJSON bool) error {
	s, err := signerNamed(ctx, api, name)
	if err != nil {
		return err
	}
	after, err := api.UpdateSigner(ctx, s.ID, s.Version, patch)
	switch {
	case client.IsStale(err):
		return usage("signer %s was changed by somebody else just now; look at it and try again: signet signers show %s", s.Name, s.Name)
	case err != nil:
		return err
	case asJSON:
		return printJSON(std.out, after)
	case after.Version == s.Version:
		fmt.Fprintf(std.err, "signet: %s is as it was\n", after.Name)
	default:
		fmt.Fprintf(std.err, "signet: %s is changed, and %s\n", after.Name, spoken(after.State))
	}
	return nil
}

type signersEnableCmd struct {
	signerArg
	changeFlags
}

// Run enables the signer.
func (c signersEnableCmd) Run(ctx context.Context, std streams) error {
	return c.ask(ctx, func(api *client.Client) error {
		return patchSigner(ctx, std, api, c.Name, map[string]any{"enabled": true}, false)
	})
}

type signersDisableCmd struct {
	signerArg
	changeFlags
	previewFlags
}

// Run disables the signer; verdicts that were given because of it are not repeated.
func (c signersDisableCmd) Run(ctx context.Context, std streams) error {
	return c.ask(ctx, func(api *client.Client) error {
		if err := c.before(ctx, std, api, client.Operation{Op: client.OpDisableSigner, Name: c.Name}); err != nil {
			return err
		}
		return patchSigner(ctx, std, api, c.Name, map[string]any{"enabled": false}, false)
	})
}

type signersRemoveCmd struct {
	signerArg
	changeFlags
	previewFlags
}

// Run removes the signer; verdicts that were given because of it are not repeated.
func (c signersRemoveCmd) Run(ctx context.Context, std streams) error {
	return c.ask(ctx, func(api *client.Client) error {
		s, err := signerNamed(ctx, api, c.Name)
		if err != nil {
			return err
		}
		if err := c.before(ctx, std, api, client.Operation{Op: client.OpDeleteSigner, Name: s.ID}); err != nil {
			return err
		}
		if err := api.DeleteSigner(ctx, s.ID, s.Version); err != nil {
			return err
		}
		fmt.Fprintf(std.err, "signet: %s is no longer trusted\n", s.Name)
		return nil
	})
}

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

type signersCompromiseCmd struct {
	signerArg
	remoteFlags
	previewFlags
	Since string `required:"" help:"Last moment at which its signatures still count (RFC 3339)." placeholder:"TIME"`
	Why   string `required:"" help:"What happened, for the audit log." placeholder:"TEXT"`
	outFlags
}

// Run ends the trust and shows what was allowed because of it.
func (c signersCompromiseCmd) Run(ctx context.Context, std streams) error {
	since, err := timeFlag("--since", c.Since)
	if err != nil {
		return err
	}
	if since == nil {
		return usage("--since: give the last moment at which its signatures still count, as 2027-01-31T00:00:00Z")
	}
	return c.ask(ctx, func(api *client.Client) error {
		s, err := signerNamed(ctx, api, c.Name)
		if err != nil {
			return err
		}
		if err := c.before(ctx, std, api, client.Operation{Op: client.OpCompromiseSigner, Name: s.ID, Since: since}); err != nil {
			return err
		}
		done, err := api.CompromiseSigner(ctx, s.ID, client.Compromise{Since: *since, Why: c.Why})
		switch {
		case err != nil:
			return err
		case c.JSON:
			return printJSON(std.out, done)
		}
		more := ""
		if done.More {
			more = ", and more"
		}
		fmt.Fprintf(std.err, "signet: signatures by %s count until %s; digests that were allowed because of later ones: %d%s\n",
			done.Signer.Name, timeOr(done.Signer.SignedUntil, ""), len(done.Affected), more)
		if len(done.Affected) == 0 {
			return nil
		}
		return printSignerVerdicts(std, done.Affected)
	})
}

func printSignerVerdicts(std streams, list []client.SignerVerdict) error {
	rows := make([][]string, 0, len(list))
	for _, v := range list {
		rows = append(rows, []string{timeOr(&v.At, ""), v.Image, v.Digest, timeOr(v.SignedAt, "unknown"), fmt.Sprint(v.Verdicts), v.VerdictID})
	}
	return printTable(std.out, []string{"LAST ALLOWED", "IMAGE", "DIGEST", "SIGNED", "VERDICTS", "LAST VERDICT"}, rows)
}

type signersAcceptKeyCmd struct {
	signerArg
	changeFlags
	Fingerprint  string `help:"Fingerprint of the key that is to be accepted." placeholder:"HEX"`
	DropPrevious bool   `help:"End the trust in the keys before; else what they signed still counts."`
	outFlags
}

// Run accepts the key that waits, when it is the one that was looked at.
func (c signersAcceptKeyCmd) Run(ctx context.Context, std streams) error {
	return c.ask(ctx, func(api *client.Client) error {
		s, err := signerNamed(ctx, api, c.Name)
		switch {
		case err != nil:
			return err
		case c.Fingerprint == "" && (s.KMS == nil || s.KMS.Pending == nil):
			return usage("no key of %s waits to be accepted; signet signers refresh-key %s looks for one", s.Name, s.Name)
		case c.Fingerprint == "":
			return usage("the key that waits is %s; when that is yours, accept it: signet signers accept-key %s --fingerprint %s",
				s.KMS.Pending.Fingerprint, s.Name, s.KMS.Pending.Fingerprint)
		}
		after, err := api.AcceptKey(ctx, s.ID, client.AcceptKey{Fingerprint: c.Fingerprint, DropPrevious: c.DropPrevious})
		switch {
		case err != nil:
			return err
		case c.JSON:
			return printJSON(std.out, after)
		}
		fmt.Fprintf(std.err, "signet: %s is trusted by the key %s\n", after.Name, strings.Join(after.Fingerprints, ", "))
		return nil
	})
}

type signersRefreshKeyCmd struct {
	signerArg
	changeFlags
	outFlags
}

// Run reads the key now and tells how it stands.
func (c signersRefreshKeyCmd) Run(ctx context.Context, std streams) error {
	return c.ask(ctx, func(api *client.Client) error {
		s, err := signerNamed(ctx, api, c.Name)
		if err != nil {
			return err
		}
		s, err = api.RefreshKey(ctx, s.ID)
		switch {
		case err != nil:
			return err
		case c.JSON:
			return printJSON(std.out, s)
		case s.KMS != nil && s.KMS.Error != "":
			return fmt.Errorf("signer %s: the last key stays in use: %s", s.Name, s.KMS.Error)
		case s.KMS != nil && s.KMS.Pending != nil:
			fmt.Fprintf(std.err, "signet: the service has a new key, which waits to be accepted: signet signers accept-key %s --fingerprint %s\n",
				s.Name, s.KMS.Pending.Fingerprint)
		default:
			fmt.Fprintf(std.err, "signet: the key of %s is current\n", s.Name)
		}
		return nil
	})
}

type signersVerdictsCmd struct {
	signerArg
	remoteFlags
	Limit int `help:"Show this many at most; 0 shows all." default:"50" placeholder:"N"`
	outFlags
}

// Run lists digests that were allowed because of the signer, the latest first.
func (c signersVerdictsCmd) Run(ctx context.Context, std streams) error {
	return c.ask(ctx, func(api *client.Client) error {
		s, err := signerNamed(ctx, api, c.Name)
		if err != nil {
			return err
		}
		list, err := first(c.Limit, api.AllSignerVerdicts(ctx, s.ID))
		switch {
		case err != nil:
			return err
		case c.JSON:
			return printJSON(std.out, list)
		case len(list) == 0:
			fmt.Fprintf(std.err, "signet: nothing was allowed because of %s\n", s.Name)
			return nil
		}
		return printSignerVerdicts(std, list)
	})
}
