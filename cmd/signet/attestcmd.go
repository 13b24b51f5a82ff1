package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/attest"
	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/verdict"
)

// attestFlags are those of a command that attests what it decides.
type attestFlags struct {
	Attest       bool   `help:"Sign the verdict as a SLSA verification summary, with the key of the configuration (attest) or of --attest-key."`
	AttestKey    string `help:"Private key to attest with: a PEM file, or a key in a KMS (awskms://, azurekms://, gcpkms://, hashivault://)." placeholder:"KEY"`
	VerifierID   string `name:"verifier-id" help:"URI that the summary gives as its verifier's." placeholder:"URI"`
	AttestPush   bool   `help:"Put the summary beside its image in the registry, too."`
	AttestOutput string `help:"File to write the summary to, as a Sigstore bundle." placeholder:"FILE" type:"path"`
	AttestDSSE   bool   `name:"attest-dsse" help:"Write the bare DSSE envelope instead of the bundle."`
}

// attesting is an attester for one command; the zero value attests nothing.
type attesting struct {
	attester *attest.Attester
	flags    attestFlags
	done     func()
}

func (a attesting) close() {
	if a.done != nil {
		a.done()
	}
}

// attester reads the key, where something is to be attested: by the flags, or by a
// policy where the configuration has a key.
func (c attestFlags) attester(ctx context.Context, rt *session, images []string) (attesting, error) {
	f := rt.file
	if !c.Attest {
		for _, flag := range []struct {
			name  string
			given bool
		}{
			{"--attest-key", c.AttestKey != ""}, {"--verifier-id", c.VerifierID != ""}, {"--attest-push", c.AttestPush},
			{"--attest-output", c.AttestOutput != ""}, {"--attest-dsse", c.AttestDSSE},
		} {
			if flag.given {
				return attesting{}, usage("%s goes with --attest", flag.name)
			}
		}
		if !rt.state.Attests || !f.Attest.On() {
			return attesting{}, nil
		}
	}
	switch {
	case c.AttestOutput != "" && len(images) != 1:
		return attesting{}, usage("--attest-output is for one image at a time")
	case c.AttestDSSE && c.AttestOutput == "":
		return attesting{}, usage("--attest-dsse goes with --attest-output")
	}
	f.Attest.VerifierID = cmp.Or(c.VerifierID, f.Attest.VerifierID)
	if c.AttestKey != "" {
		f.Attest.KeyFile, f.Attest.KeyRef = c.AttestKey, ""
		if strings.Contains(c.AttestKey, "://") {
			f.Attest.KeyFile, f.Attest.KeyRef = "", c.AttestKey
		}
		f.Path = "" // the file is named from where the command runs
	}
	f.Attest.Push = c.AttestPush || f.Attest.Push && !c.Attest
	switch {
	case f.Attest.VerifierID == "":
		return attesting{}, usage("--attest: there is no verifier_id; give --verifier-id, such as https://example.com/signet, or write attest into the configuration")
	case f.Attest.KeyFile == "" && f.Attest.KeyRef == "":
		return attesting{}, usage("--attest: there is no key; give --attest-key, or write attest into the configuration")
	}
	a, done, err := newAttester(ctx, f, attesterParts{ownsMachine: true})
	if err != nil {
		return attesting{}, err
	}
	return attesting{attester: a, flags: c, done: done}, nil
}

// attest gives an examined verdict its attestation, where one is asked for. What is
// missing is told on stderr, as the verdict itself may be told in a line or not at all;
// ok is false where it was asked for by a flag.
func (a attesting) attest(ctx context.Context, std streams, st *engine.State, x *engine.Examination) (ok bool, err error) {
	if a.attester == nil {
		return true, nil
	}
	wanted := a.flags.Attest || slices.ContainsFunc(x.Verdict.Policies, func(p verdict.PolicyVerdict) bool {
		return slices.ContainsFunc(st.Policies, func(of engine.Policy) bool { return of.Name == p.Name && of.Attest })
	})
	if !wanted {
		return true, nil
	}
	v := x.Verdict
	v.Attestation = a.attester.Attest(ctx, v)
	a.attester.Push(ctx, v, v.Attestation, true)
	missing := a.missing(v.Attestation)
	if missing != "" {
		fmt.Fprintf(std.err, "signet: %s: %s\n", printable(v.Image, false), printable(missing, false))
	}
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return false, err
	}
	x.Body = body.Bytes()
	return missing == "" || !a.flags.Attest, a.output(std, v.Attestation)
}

// missing is what an attestation lacks, "" for nothing. That a verdict is none to be
// attested is no failure of what a policy asks for, but one of what a flag does.
func (a attesting) missing(at *verdict.Attestation) string {
	switch {
	case at.Reason != nil && (a.flags.Attest || at.Reason.Code == attest.CodeNotSigned):
		return "not attested: " + at.Reason.Message
	case at.Push != nil && at.Push.State == attest.StateFailed:
		return "the attestation was not pushed: " + at.Push.Problem
	}
	return ""
}

// output writes the attestation to the file that is asked for.
func (a attesting) output(std streams, at *verdict.Attestation) error {
	if a.flags.AttestOutput == "" {
		return nil
	}
	out := []byte(at.Bundle)
	if len(out) == 0 { // a file of an earlier run must not be taken for this one's
		if err := os.Remove(a.flags.AttestOutput); err != nil && !os.IsNotExist(err) {
			return err
		}
		return nil
	}
	if a.flags.AttestDSSE {
		var err error
		if out, err = attest.FromBundle(out); err != nil {
			return err
		}
	}
	return writeOutput(std, a.flags.AttestOutput, append(out, '\n'))
}

func (p printer) attestation(a *verdict.Attestation) {
	if a == nil {
		return
	}
	if a.Reason != nil {
		p.reason("Not attested", *a.Reason)
		return
	}
	p.line("\nAttested %s (%s)", a.Result, strings.Join(a.VerifiedLevels, ", "))
	p.line("  verifier    %s", a.VerifierID)
	p.line("  resource    %s", a.ResourceURI)
	p.line("  policy      %s %s", a.Policy.URI, a.Policy.Digest)
	p.line("  key         %s", a.Key)
	if a.Push != nil {
		p.line("  registry    %s", strings.TrimSpace(a.Push.State+" "+cmp.Or(a.Push.Where, a.Push.Problem)))
	}
}

type attestCmd struct {
	PublicKey attestPublicKeyCmd `cmd:"" name:"public-key" help:"Print the public key that verdicts are attested with."`
	Show      attestShowCmd      `cmd:"" help:"Print the attestation of a verdict of the past."`
}

type attestPublicKeyCmd struct {
	remoteFlags
	outFlags
}

// Run prints the key of the server, or of the configuration.
func (c attestPublicKeyCmd) Run(ctx context.Context, std streams) error {
	who, err := c.attester(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(std.out, who)
	}
	fmt.Fprint(std.out, who.PublicKey)
	fmt.Fprintf(std.err, "signet: the key %s of the verifier %s; signatures are over %s\n", who.Key, printable(who.VerifierID, false), cmp.Or(who.Hash, "the message itself (Ed25519)"))
	return nil
}

func (c attestPublicKeyCmd) attester(ctx context.Context) (who client.Attester, err error) {
	if c.Server != "" {
		err = c.ask(ctx, func(api *client.Client) error {
			who, err = api.Attester(ctx)
			return err
		})
		return who, err
	}
	f, err := c.load(sourceFlags{})
	if err != nil {
		return who, err
	}
	if !f.Attest.On() {
		return who, usage("there is no attest in the configuration; write verifier_id and key_file, or ask a server (--server)")
	}
	push := f.Attest.Push
	f.Attest.Push = false // nothing is to be written, so no credentials are read
	a, done, err := newAttester(ctx, f, attesterParts{ownsMachine: true})
	if err != nil {
		return who, err
	}
	defer done()
	return client.Attester{VerifierID: a.VerifierID(), PublicKey: a.PublicKey(), Key: a.Fingerprint(), Hash: a.Hash(), Push: push}, nil
}

type attestShowCmd struct {
	ID string `arg:"" help:"Id of the verdict."`
	remoteFlags
	Format string `help:"bundle (Sigstore) or dsse (the bare envelope)." default:"bundle" enum:"bundle,dsse"`
	Output string `short:"o" help:"File to write to (default: stdout)." placeholder:"FILE" type:"path"`
}

// Run prints the attestation of a verdict.
func (c attestShowCmd) Run(ctx context.Context, std streams) error {
	return c.ask(ctx, func(api *client.Client) error {
		body, err := api.Attestation(ctx, c.ID, c.Format)
		if err != nil {
			return err
		}
		return writeOutput(std, c.Output, append(body, '\n'))
	})
}
