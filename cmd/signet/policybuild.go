package main

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"strings"

	"github.com/signet-policy/signet/internal/distribution"
	"github.com/signet-policy/signet/internal/kms"
	"github.com/signet-policy/signet/internal/policy"
)

// signingFlags say whether and how a bundle is signed.
type signingFlags struct {
	SigningKey string `help:"Sign with this private key: a PEM file, or a key in a KMS (awskms://, azurekms://, gcpkms://, hashivault://)." placeholder:"KEY"`
	KeyID      string `help:"Id by which the signature names the key (default: the key's SHA-256 fingerprint)." placeholder:"ID"`
	Scope      string `help:"Scope of the signature, which servers compare." default:"signet" placeholder:"SCOPE"`
}

// signing reads the key; nil where nothing is to be signed.
func (f signingFlags) signing(ctx context.Context) (*policy.Signing, error) {
	if f.SigningKey == "" {
		if f.KeyID != "" {
			return nil, usage("--key-id names the key of --signing-key, which is not given")
		}
		return nil, nil //nolint:nilnil // not signed, as asked
	}
	key, err := signingKey(ctx, f.SigningKey)
	if err != nil {
		return nil, usage("--signing-key: %w", err)
	}
	return &policy.Signing{Key: key, KeyID: f.KeyID, Scope: f.Scope}, nil
}

func signingKey(ctx context.Context, name string) (crypto.Signer, error) {
	if strings.Contains(name, "://") {
		r, err := kms.New(kms.Config{AllowAnyHost: true})
		if err != nil {
			return nil, err
		}
		return r.Signer(ctx, name)
	}
	body, err := readCapped(name, maxKeyBytes)
	if err != nil {
		return nil, err
	}
	key, err := policy.ParsePrivateKey(body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return key, nil
}

const (
	maxKeyBytes = 64 << 10
	// maxArchiveBytes is what a bundle may have.
	maxArchiveBytes = distribution.DefaultMaxBytes
)

type policyBuildCmd struct {
	bundleFlags
	Output          string  `short:"o" help:"Archive to write." default:"bundle.tar.gz" placeholder:"FILE" type:"path"`
	Revision        string  `help:"Name of this release, for people (default: the manifest's, else one made from the contents)." placeholder:"NAME"`
	Sequence        int64   `help:"Number of this release, which must rise with every one (default: the manifest's)." placeholder:"N"`
	MinimumCoverage float64 `help:"Least share of the rules' lines that the tests must reach, in percent." placeholder:"PERCENT"`
	signingFlags
	outFlags
}

// Run checks, tests and packs; exit code 1 when the bundle is not fit to be published.
func (c policyBuildCmd) Run(ctx context.Context, std streams) error {
	switch {
	case c.Sequence < 0:
		return usage("--sequence: %d is below 1", c.Sequence)
	case c.MinimumCoverage < 0 || c.MinimumCoverage > 100:
		return usage("--minimum-coverage: %g is no percentage", c.MinimumCoverage)
	}
	src, err := c.source()
	if err != nil {
		return err
	}
	signing, err := c.signing(ctx)
	if err != nil {
		return err
	}
	archive, info, err := policy.Build(ctx, policy.BuildOptions{
		Bundle: src.Bundle, Params: src.Params, Revision: c.Revision, Sequence: c.Sequence, MinimumCoverage: c.MinimumCoverage, Signing: signing,
		// What is printed here is not the answer, so that --json stays JSON.
		Checked: func(problems []policy.Problem) {
			printProblems(std.err, append(problems, libraryProblems(c.Bundle)...))
		},
		Ran: func(t policy.Tested) { printTests(std.err, t) },
	})
	switch {
	case errors.Is(err, policy.ErrUnfit):
		return &exit{code: exitDeny, err: err}
	case errors.Is(err, policy.ErrKey):
		return usage("--signing-key: %w", err)
	case err != nil:
		return policyError(err)
	}
	if err := writeOutput(std, c.Output, archive); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(std.out, info)
	}
	printInfo(std, info, nil)
	return nil
}

type policyInspectCmd struct {
	File            string   `arg:"" help:"Archive of a policy bundle (.tar.gz)." type:"path"`
	VerificationKey []string `help:"Public key in PEM whose signature is wanted, as [ID=]FILE (repeatable). Without an ID it may have the one that the signature names." placeholder:"[ID=]FILE" sep:"none"`
	Scope           string   `help:"Scope that the signature must have." default:"signet" placeholder:"SCOPE"`
	outFlags
}

// Run prints what is in an archive; exit code 1 when a signature was wanted that is
// not there or does not count.
func (c policyInspectCmd) Run(_ context.Context, std streams) error {
	archive, err := readCapped(c.File, maxArchiveBytes)
	if err != nil {
		return &exit{code: exitUsage, err: err}
	}
	info, inspected := policy.Inspect(archive)
	keys, err := c.keys(info.Signature)
	if err != nil {
		return err
	}
	var signed *policy.Signed
	var refused error
	if len(keys.Keys) > 0 {
		s, err := policy.VerifyArchive(archive, keys)
		switch {
		case errors.Is(err, policy.ErrUnsigned), errors.Is(err, policy.ErrSignature):
			refused = &exit{code: exitDeny, err: err}
		case errors.Is(err, policy.ErrKey):
			return usage("--verification-key: %w", err)
		case err != nil:
			return policyError(err)
		default:
			signed = &s
		}
	}
	if inspected != nil {
		// That the signature does not count comes first, where that is why.
		if refused != nil {
			return refused
		}
		return policyError(inspected)
	}
	if c.JSON {
		err = printJSON(std.out, struct {
			policy.Info
			Verified *policy.Signed `json:"verified"`
		}{info, signed})
	} else {
		printInfo(std, info, signed)
		for _, f := range info.Files {
			fmt.Fprintf(std.out, "%9d  %s\n", f.Size, printable(f.Name, false))
		}
	}
	return errors.Join(err, refused)
}

// keys reads the public keys; claimed is what the signature says of itself.
func (c policyInspectCmd) keys(claimed *policy.Claimed) (policy.VerificationKeys, error) {
	keys := policy.VerificationKeys{Keys: map[string]string{}, Scope: c.Scope}
	for _, arg := range c.VerificationKey {
		id, path, named := strings.Cut(arg, "=")
		if !named {
			id, path = arg, arg
			if claimed != nil && claimed.KeyID != "" {
				id = claimed.KeyID
			}
		}
		body, err := readCapped(path, maxKeyBytes)
		if err != nil {
			return keys, usage("--verification-key: %w", err)
		}
		if _, twice := keys.Keys[id]; twice || id == "" {
			return keys, usage("--verification-key: %q is given twice, or empty", id)
		}
		keys.Keys[id] = string(body)
	}
	return keys, nil
}

// printInfo prints what an archive holds, and who signed it.
func printInfo(std streams, info policy.Info, signed *policy.Signed) {
	fmt.Fprintf(std.out, "revision  %s\nsequence  %d\npolicy    %s\narchive   %s\n", printable(info.Revision, false), info.Sequence, info.Digest, info.ArchiveDigest)
	fmt.Fprintf(std.out, "roots     %s\ngolden    %d inputs\n", printable(strings.Join(info.Roots, " "), false), len(info.Golden))
	switch s := info.Signature; {
	case signed != nil:
		fmt.Fprintf(std.out, "signed    by %s (%s, scope %s), verified\n", printable(signed.KeyID, false), signed.Algorithm, printable(signed.Scope, false))
	case s != nil:
		fmt.Fprintf(std.out, "signed    by %s (%s, scope %s), as it says itself; not verified\n", printable(s.KeyID, false), printable(s.Algorithm, false), printable(s.Scope, false))
	default:
		fmt.Fprintln(std.out, "signed    no")
	}
}

// repositoryFlags say how a repository is reached.
type repositoryFlags struct {
	InsecureRegistry bool     `help:"Speak plain HTTP to the registry, wherever it is; not needed for loopback."`
	CAFile           []string `help:"PEM certificates to trust beside the system's (repeatable)." placeholder:"FILE" sep:"none" type:"path"`
	Proxy            string   `help:"HTTP proxy for the registry; the environment's are ignored." placeholder:"URL"`
}

type policyPushCmd struct {
	Reference string `arg:"" help:"Where to push it: oci://HOST/REPOSITORY:TAG."`
	File      string `arg:"" help:"Archive of a policy bundle, as signet policy build writes it." type:"path"`
	repositoryFlags
	outFlags
}

// Run pushes an archive, with the credentials of docker's configuration.
func (c policyPushCmd) Run(ctx context.Context, std streams) error {
	archive, err := readCapped(c.File, maxArchiveBytes)
	if err != nil {
		return &exit{code: exitUsage, err: err}
	}
	info, err := policy.Inspect(archive)
	if err != nil {
		return policyError(err)
	}
	if info.Signature == nil {
		fmt.Fprintln(std.err, "signet: the bundle is not signed; servers take nothing over a network that is not")
	}
	pushed, err := distribution.Push(ctx, distribution.Config{
		URL: c.Reference, AllowHTTP: c.InsecureRegistry, CAFiles: c.CAFile, ProxyURL: c.Proxy, UserAgent: "signet/" + version,
	}, archive, info.Revision)
	switch {
	case errors.Is(err, distribution.ErrConfig):
		return &exit{code: exitUsage, err: err}
	case err != nil:
		return err
	}
	if c.JSON {
		return printJSON(std.out, pushed)
	}
	fmt.Fprintf(std.out, "%s@%s\n", printable(pushed.Reference, false), pushed.Digest)
	return nil
}
