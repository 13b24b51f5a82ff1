package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/signet-policy/signet/client"
)

type setupCmd struct {
	serverFlags
	Name           string `help:"Name of the administrator's token." default:"admin" placeholder:"NAME"`
	SetupTokenFile string `help:"File that holds the setup token (default: the variable SIGNET_SETUP_TOKEN)." placeholder:"FILE" type:"path"`
}

// Run turns the setup token of a first start into an administrator's token, and
// prints that alone as the last line of stdout.
func (c setupCmd) Run(ctx context.Context, std streams) error {
	if c.Server == "" {
		return usage("setup is for a server elsewhere: give --server URL; on the server's machine signet token create needs no setup token")
	}
	token := strings.TrimSpace(os.Getenv("SIGNET_SETUP_TOKEN"))
	if c.SetupTokenFile != "" {
		var err error
		if token, err = readSecretFile("--setup-token-file", c.SetupTokenFile); err != nil {
			return err
		}
	}
	if token == "" {
		return usage("set SIGNET_SETUP_TOKEN to the setup token that the server printed at its first start, or give --setup-token-file FILE")
	}
	api, err := c.dial("")
	if err != nil {
		return err
	}
	made, err := api.Setup(ctx, token, c.Name)
	if err != nil {
		return apiError(err)
	}
	printNewToken(std, made)
	return nil
}

type secretCmd struct {
	Rotate secretRotateCmd `cmd:"" help:"Replace the secret that keys are derived from; what is cached under the old one counts no more."`
}

type secretRotateCmd struct {
	changeFlags
}

// Run rotates the secret.
func (c secretRotateCmd) Run(ctx context.Context, std streams) error {
	return c.ask(ctx, func(api *client.Client) error {
		if err := api.RotateSecret(ctx); err != nil {
			return err
		}
		fmt.Fprintln(std.err, "signet: the secret is replaced")
		return nil
	})
}

type whoamiCmd struct {
	remoteFlags
	outFlags
}

// Run tells who the server takes the caller for.
func (c whoamiCmd) Run(ctx context.Context, std streams) error {
	return c.ask(ctx, func(api *client.Client) error {
		who, err := api.Whoami(ctx)
		switch {
		case err != nil:
			return err
		case c.JSON:
			return printJSON(std.out, who)
		}
		return printDetails(std.out,
			"name", who.Name, "role", who.Role, "team", orWord(who.Team, "all"), "images", listOr(who.Images, "all"),
			"token", who.TokenID, "expires", timeOr(who.ExpiresAt, "never"),
		)
	})
}
