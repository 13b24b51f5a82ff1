package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/signet-policy/signet/client"
)

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
