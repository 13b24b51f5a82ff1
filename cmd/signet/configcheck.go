package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sort"
	"strings"

	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/config"
	"github.com/signet-policy/signet/internal/signingpolicy"
	"github.com/signet-policy/signet/internal/tlsfiles"
	"github.com/signet-policy/signet/internal/verdict"
)

type configCmd struct {
	Check configCheckCmd `cmd:"" help:"Read the configuration and the signing policy, and print the policy in its one canonical form."`
	Docs  configDocsCmd  `cmd:"" help:"Print what every field of the configuration file means."`
}

type configCheckCmd struct {
	File string `arg:"" optional:"" help:"Configuration file, or a file that holds only a signing_policy." type:"path"`
	commonFlags
}

// Run checks everything that a server would refuse at start, and prints the
// signing policy as Signet understands it.
func (c configCheckCmd) Run(ctx context.Context, std streams) error {
	if c.File != "" {
		c.Config = c.File
	}
	f, err := c.load(sourceFlags{})
	if err != nil {
		return err
	}
	sp, _, err := choosePolicy(f, policyFlags{}, nil)
	if err != nil {
		return err
	}
	at := f.Path
	if f.PolicyFile != "" {
		at = f.Relative(f.PolicyFile)
	}
	if err := exceptionsFit(at, f, sp); err != nil {
		return err
	}
	roots, err := checkRoots(ctx, f)
	if err != nil {
		return err
	}
	client, err := newRegistryClient(f, false)
	if err != nil {
		return err
	}
	plugins, err := checkPlugins(f, client)
	client.Close()
	if err != nil {
		return err
	}
	if err := checkFiles(ctx, f); err != nil {
		return err
	}
	if err := checkBundles(ctx, f, sp); err != nil {
		return &exit{code: exitUsage, err: err}
	}
	canonical, err := sp.Canonical()
	if err != nil {
		return err
	}
	if _, err := std.out.Write(canonical); err != nil {
		return err
	}
	for _, p := range plugins {
		if canonical, err = p.Canonical(); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(std.out, "---\n%s", canonical); err != nil {
			return err
		}
	}
	if sp.Mode == verdict.Shadow {
		fmt.Fprintf(std.err, "signet: warning: policy %s is in mode shadow, which decides nothing: without another policy every verdict is unknown\n", sp.Name)
	}
	from := "defaults"
	if f.Path != "" {
		from = f.Path
	}
	fmt.Fprintf(std.err, "signet: configuration is good (%s); trust roots: %s\n", from, strings.Join(roots, ", "))
	for _, name := range unknownVariables(os.Environ()) {
		fmt.Fprintf(std.err, "signet: warning: the variable %s is not one of ours and has no effect\n", name)
	}
	return nil
}

// checkBundles reads the bundles that are on this machine, and compiles the policy
// with the one that it names. One that comes over a network, or by the API, is tried
// by the server.
func checkBundles(ctx context.Context, f config.File, sp *signingpolicy.Policy) error {
	if _, err := bundleSeeds(f); err != nil {
		return err
	}
	if _, err := bundleSources(f); err != nil {
		return err
	}
	for _, name := range sortedKeys(f.Bundles) {
		if f.Bundles[name].Network() {
			continue
		}
		bundle, err := localBundle(f, name)
		if err != nil {
			return fmt.Errorf("bundles.%s: %w", name, err)
		}
		if sp.Bundle == name {
			if _, err := compilePolicy(ctx, sp, bundle, f.Limits); err != nil {
				return err
			}
		}
	}
	if sp.Bundle != "" {
		return nil
	}
	_, err := compilePolicy(ctx, sp, nil, f.Limits)
	return err
}

// checkRoots reads the roots that are here; one from a TUF repository is fetched
// when a server starts, and only its first root.json is read.
func checkRoots(ctx context.Context, f config.File) (names []string, err error) {
	here := f
	here.TrustRoots = nil
	for i, r := range f.TrustRoots {
		names = append(names, r.Name)
		if r.TUF == "" {
			here.TrustRoots = append(here.TrustRoots, r)
		} else if _, err := os.Stat(f.Relative(r.TUFRoot)); err != nil {
			return nil, usage("trust_roots[%d] %s: tuf_root: %w", i, r.Name, err)
		}
	}
	if len(f.TrustRoots) > 0 && len(here.TrustRoots) == 0 {
		return names, nil
	}
	seeds, err := seedRoots(ctx, here, nil, nil)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		names = append(names, seeds[0].Root.Name())
	}
	return names, nil
}

// checkFiles reads what the addresses and the shared cache need.
func checkFiles(ctx context.Context, f config.File) error {
	listeners := append([]config.Listener{{TLS: f.TLS}}, f.Listeners...)
	for i, l := range listeners {
		if !l.TLS.On() {
			continue
		}
		_, err := tlsfiles.Load(tlsfiles.Config{
			CertFile: f.Relative(l.TLS.CertFile), KeyFile: f.Relative(l.TLS.KeyFile), ClientCAFile: f.Relative(l.TLS.ClientCAFile),
		})
		if err != nil {
			at := "tls"
			if i > 0 {
				at = fmt.Sprintf("listeners[%d].tls", i-1)
			}
			return wrapUsage(at, err)
		}
	}
	secret, err := auth.NewSecret() // any will do: nothing is asked of the cache
	if err != nil {
		return err
	}
	c, err := newCache(f, secret, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	c.Close()
	if err := checkDecisionLog(ctx, f); err != nil {
		return err
	}
	if _, err := newHooks(f, nil); err != nil {
		return err
	}
	for _, list := range f.Watch.Images {
		for _, image := range list.Images {
			if _, err := referenceName(image); err != nil {
				return wrapUsage("watch.images", err)
			}
		}
	}
	_, err = storeConfig(f)
	return err
}

type configDocsCmd struct{}

// Run prints the reference, as Markdown.
func (configDocsCmd) Run(_ context.Context, std streams) error {
	_, err := io.WriteString(std.out, config.Reference())
	return err
}

// knownVariables are those that the configuration and the command line read.
func knownVariables() map[string]bool {
	known := map[string]bool{"SIGNET_CONFIG": true, "SIGNET_SERVER": true, "SIGNET_TOKEN": true, "SIGNET_SETUP_TOKEN": true}
	for _, name := range config.Variables() {
		known[name] = true
	}
	return known
}

// unknownVariables lists SIGNET_* variables that nobody reads: most are
// misspelt. They are a warning and no error, because clusters set variables
// named after services.
func unknownVariables(environ []string) []string {
	var unknown []string
	known := knownVariables()
	for _, kv := range environ {
		name, _, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(name, "SIGNET_") && !known[name] {
			unknown = append(unknown, name)
		}
	}
	sort.Strings(unknown)
	return unknown
}
