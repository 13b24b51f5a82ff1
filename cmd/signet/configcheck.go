package main

import (
	"context"
	"fmt"
	"os"
	"sort"
	"strings"
)

type configCmd struct {
	Check configCheckCmd `cmd:"" help:"Read the configuration and the signing policy, and print the policy in its one canonical form."`
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
	sp, err := choosePolicy(f, policyFlags{}, nil)
	if err != nil {
		return err
	}
	roots, err := loadRoots(f, nil)
	if err != nil {
		return err
	}
	client, err := newRegistryClient(f, false)
	if err != nil {
		return err
	}
	client.Close()
	if _, err := loadPolicy(ctx, sp, f.Limits); err != nil {
		return &exit{code: exitUsage, err: err}
	}
	canonical, err := sp.Canonical()
	if err != nil {
		return err
	}
	if _, err := std.out.Write(canonical); err != nil {
		return err
	}
	from := "defaults"
	if f.Path != "" {
		from = f.Path
	}
	fmt.Fprintf(std.err, "signet: configuration is good (%s); trust roots: %s\n", from, stringsOf(roots))
	for _, name := range unknownVariables(os.Environ()) {
		fmt.Fprintf(std.err, "signet: warning: the variable %s is not one of ours and has no effect\n", name)
	}
	return nil
}

// knownVariables are those that the command line reads.
var knownVariables = map[string]bool{
	"SIGNET_CONFIG": true, "SIGNET_DATA_DIR": true, "SIGNET_LISTEN": true, "SIGNET_OFFLINE": true, "SIGNET_SECRET_FILE": true,
	"SIGNET_LOG_LEVEL": true, "SIGNET_LOG_FORMAT": true, "SIGNET_NETWORK_PROXY": true, "SIGNET_POLICY_FILE": true,
	"SIGNET_DECISION_MAX_AGE": true, "SIGNET_MAX_STALENESS": true, "SIGNET_ACTIVE_GRACE": true,
}

// unknownVariables lists SIGNET_* variables that nobody reads: most are
// misspelt. They are a warning and no error, because clusters set variables
// named after services.
func unknownVariables(environ []string) []string {
	var unknown []string
	for _, kv := range environ {
		name, _, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(name, "SIGNET_") && !knownVariables[name] {
			unknown = append(unknown, name)
		}
	}
	sort.Strings(unknown)
	return unknown
}
