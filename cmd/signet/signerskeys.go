package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/signet-policy/signet/client"
)

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

type signersReadKeyCmd struct {
	Ref string `arg:"" help:"awskms://, azurekms://, gcpkms:// or hashivault://." placeholder:"REF"`
	remoteFlags
	outFlags
}

// Run reads the key as `signet signers add --kms` would, and keeps nothing.
func (c signersReadKeyCmd) Run(ctx context.Context, std streams) error {
	return c.ask(ctx, func(api *client.Client) error {
		key, err := api.ReadKey(ctx, client.ReadKey{KMSKeyRef: c.Ref})
		switch {
		case err != nil:
			return err
		case c.JSON:
			return printJSON(std.out, key)
		}
		fmt.Fprint(std.out, key.PublicKey)
		for _, f := range key.Fingerprints {
			fmt.Fprintf(std.err, "signet: its fingerprint is %s\n", f)
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
