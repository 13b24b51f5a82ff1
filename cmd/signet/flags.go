package main

import (
	"crypto"
	"fmt"
	"os"
	"strings"

	"github.com/signet-policy/signet/internal/config"
	"github.com/signet-policy/signet/internal/signers"
)

// commonFlags say where configuration and data are.
type commonFlags struct {
	Config  string `help:"Configuration file (default: signet.yaml in the data directory, if there)." placeholder:"FILE" env:"SIGNET_CONFIG" type:"path"`
	DataDir string `help:"Directory of the store: signers, tokens, verdicts." placeholder:"DIR" env:"SIGNET_DATA_DIR" type:"path"`
}

// sourceFlags say where evidence and trust come from.
type sourceFlags struct {
	TrustedRoot      []string `help:"trusted_root.json of a Sigstore instance; replaces all configured and embedded roots (repeatable)." placeholder:"FILE" sep:"none" type:"path"`
	Key              []string `help:"PEM public key to try on every item (repeatable)." placeholder:"PEM" sep:"none" type:"path"`
	Offline          bool     `help:"Open no connection but to the image's registry."`
	InsecureRegistry []string `help:"Speak plain HTTP to exactly this registry, and allow private addresses for it (repeatable)." placeholder:"HOST[:PORT]" sep:"none"`
}

// imageFlags say what is looked at.
type imageFlags struct {
	EvidenceOnly bool     `help:"Gather evidence about a digest whose manifest cannot be fetched."`
	Platform     string   `help:"Platform of an index that is asked for." placeholder:"OS/ARCH[/VARIANT]"`
	Bundle       string   `help:"Verify FILE or DIGEST by this Sigstore bundle instead of an image." placeholder:"BUNDLE" type:"path"`
	Evidence     []string `help:"Sigstore bundle that counts beside what is found for an image (repeatable)." placeholder:"BUNDLE" sep:"none" type:"path"`
	As           string   `help:"Name that policies see for an OCI layout or a file." placeholder:"NAME"`
}

// given reads the bundles of --evidence, each of limit bytes at most.
func (f imageFlags) given(limit int64) ([][]byte, error) {
	if f.Bundle != "" && len(f.Evidence) > 0 {
		return nil, usage("--evidence is for images; an artifact has the bundle of --bundle")
	}
	var all [][]byte
	for _, path := range f.Evidence {
		body, err := readCapped(path, limit)
		if err != nil {
			return nil, usage("--evidence: %w", err)
		}
		all = append(all, body)
	}
	return all, nil
}

// policyFlags say what is wanted of the evidence.
type policyFlags struct {
	Policy       string `help:"signing_policy as YAML or JSON, or a policy bundle: its folder, or a .tar.gz of one." placeholder:"FILE" type:"path"`
	Params       string `help:"Parameters of that bundle as JSON (default: params/params.json in its folder)." placeholder:"FILE" type:"path"`
	Issuer       string `help:"OIDC issuer of a trusted keyless signer (one-off policy)." placeholder:"URL"`
	Subject      string `help:"Exact identity of that signer." placeholder:"ID" xor:"subject"`
	SubjectRegex string `help:"Regular expression for the whole identity of that signer." placeholder:"RE" xor:"subject"`
}

func (p policyFlags) check() error {
	hasSubject := p.Subject != "" || p.SubjectRegex != ""
	switch {
	case p.Issuer != "" && !hasSubject:
		return usage("--issuer needs --subject or --subject-regex: an issuer signs for everybody who has an account there")
	case p.Issuer == "" && hasSubject:
		return usage("--subject and --subject-regex need --issuer: any issuer could vouch for that subject")
	case p.Params != "" && !isBundle(p.Policy):
		return usage("--params goes with --policy and a policy bundle; a signing_policy has its parameters in itself")
	case p.Policy != "" && p.Issuer != "" && !isBundle(p.Policy):
		return usage("give --policy or --issuer with --subject, not both: write the signer into the policy")
	}
	return nil
}

// readKeys reads PEM public keys from files.
func readKeys(paths []string) ([]signers.Key, error) {
	var keys []signers.Key
	for _, path := range paths {
		body, err := os.ReadFile(path) //nolint:gosec // the caller names the file
		if err != nil {
			return nil, usage("--key: %w", err)
		}
		ks, err := signers.ParseKeys(string(body))
		if err != nil {
			return nil, usage("--key %s: %w", path, err)
		}
		keys = append(keys, ks...)
	}
	return keys, nil
}

func publicKeys(keys []signers.Key) []crypto.PublicKey {
	out := make([]crypto.PublicKey, 0, len(keys))
	for _, k := range keys {
		out = append(out, k.PublicKey)
	}
	return out
}

// load reads the configuration and applies the flags over it.
func (c commonFlags) load(src sourceFlags) (config.File, error) {
	f, err := config.Load(c.Config, c.DataDir, os.Getenv)
	if err != nil {
		return config.File{}, &exit{code: exitUsage, err: err}
	}
	f.Offline = f.Offline || src.Offline
	for _, host := range src.InsecureRegistry {
		if host == "" || strings.ContainsAny(host, "/ @") {
			return config.File{}, usage("--insecure-registry %q: give HOST or HOST:PORT, without scheme or path", host)
		}
		if f.Registries == nil {
			f.Registries = map[string]config.Registry{}
		}
		r := f.Registries[strings.ToLower(host)]
		r.Insecure, r.CAFile = true, ""
		f.Registries[strings.ToLower(host)] = r
	}
	return f, nil
}

// wrapUsage makes err a usage error unless it carries a code already.
func wrapUsage(what string, err error) error {
	return &exit{code: exitUsage, err: fmt.Errorf("%s: %w", what, err)}
}
