package main

import (
	"context"
	"fmt"
	"time"

	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/config"
)

type tokenCmd struct {
	Create tokenCreateCmd `cmd:"" help:"Make an API token and print it, once, as the last line."`
}

type tokenCreateCmd struct {
	commonFlags
	Role    string `required:"" help:"viewer reads, verifier asks, author = both + policy, admin = all." placeholder:"ROLE"`
	Name    string `required:"" help:"What the token is for." placeholder:"NAME"`
	Expires string `help:"How long it lives, for example 30d (default 90d)." placeholder:"DURATION"`
}

// Run prints the token alone as the last line of stdout.
func (c tokenCreateCmd) Run(ctx context.Context, std streams) error {
	role, err := auth.ParseRole(c.Role)
	if err != nil {
		return usage("--role: %w", err)
	}
	ttl := time.Duration(0)
	if c.Expires != "" {
		if ttl, err = config.ParseDuration(c.Expires); err != nil || ttl <= 0 {
			return usage("--expires: %q is not a duration; write it as 12h or 30d", c.Expires)
		}
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
	plain, err := admin.CreateToken(ctx, tokenRequest{Name: c.Name, Role: role, TTL: ttl})
	if err != nil {
		return err
	}
	fmt.Fprintf(std.err, "signet: a token for %s; it is shown this once\n", role)
	fmt.Fprintln(std.out, plain)
	return nil
}
