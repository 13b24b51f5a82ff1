package main

import (
	"context"
	"fmt"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/config"
)

type tokenCmd struct {
	Create tokenCreateCmd `cmd:"" help:"Make an API token and print it, once, as the last line."`
	List   tokenListCmd   `cmd:"" help:"Show the API tokens."`
	Revoke tokenRevokeCmd `cmd:"" help:"Revoke an API token."`
}

type tokenCreateCmd struct {
	changeFlags
	Role    string   `required:"" help:"viewer reads, verifier asks, author = both + policy, admin = all." placeholder:"ROLE"`
	Name    string   `required:"" help:"What the token is for." placeholder:"NAME"`
	Expires string   `help:"How long it lives, for example 30d (default 90d)." placeholder:"DURATION"`
	Team    string   `help:"Team that it belongs to: it changes only what is its team's." placeholder:"TEAM"`
	Image   []string `help:"Only for images that match this glob (repeatable)." placeholder:"GLOB" sep:"none"`
	Source  []string `help:"Only from this network, as 10.0.0.0/8 (repeatable)." placeholder:"CIDR" sep:"none"`
	outFlags
}

// Run prints the token alone as the last line of stdout.
func (c tokenCreateCmd) Run(ctx context.Context, std streams) error {
	role, err := auth.ParseRole(c.Role)
	if err != nil {
		return usage("--role: %w", err)
	}
	if c.Expires != "" {
		if ttl, err := config.ParseDuration(c.Expires); err != nil || ttl <= 0 {
			return usage("--expires: %q is not a duration; write it as 12h or 30d", c.Expires)
		}
	}
	return c.ask(ctx, func(api *client.Client) error {
		made, err := api.CreateToken(ctx, client.NewToken{
			Name: c.Name, Role: string(role), Team: c.Team, Images: c.Image, Sources: c.Source, ExpiresIn: c.Expires,
		})
		switch {
		case err != nil:
			return err
		case c.JSON:
			return printJSON(std.out, made)
		}
		printNewToken(std, made)
		return nil
	})
}

func printNewToken(std streams, made client.Token) {
	fmt.Fprintf(std.err, "signet: a token for %s; it is shown this once\n", made.Role)
	fmt.Fprintln(std.out, made.Plain)
}

type tokenListCmd struct {
	remoteFlags
	outFlags
}

// Run lists the tokens, never their secrets.
func (c tokenListCmd) Run(ctx context.Context, std streams) error {
	return c.ask(ctx, func(api *client.Client) error {
		all, err := collect(api.AllTokens(ctx))
		switch {
		case err != nil:
			return err
		case c.JSON:
			return printJSON(std.out, all)
		case len(all) == 0:
			fmt.Fprintln(std.err, "signet: there are no tokens; make one: signet token create --role admin --name first")
			return nil
		}
		rows := make([][]string, 0, len(all))
		for _, t := range all {
			rows = append(rows, []string{
				t.ID, t.Name, t.Role, orWord(t.Team, "all"), listOr(t.Images, "all"), listOr(t.Sources, "all"),
				t.State, timeOr(&t.ExpiresAt, ""), timeOr(t.LastUsedAt, "never"),
			})
		}
		return printTable(std.out, []string{"ID", "NAME", "ROLE", "TEAM", "IMAGES", "SOURCES", "STATE", "EXPIRES", "LAST USED"}, rows)
	})
}

type tokenRevokeCmd struct {
	Token string `arg:"" help:"Id of the token, or its name where only one valid token has it."`
	changeFlags
}

// Run revokes the token; the next request with it is refused.
func (c tokenRevokeCmd) Run(ctx context.Context, std streams) error {
	return c.ask(ctx, func(api *client.Client) error {
		t, err := tokenNamed(ctx, api, c.Token)
		if err != nil {
			return err
		}
		if err := api.RevokeToken(ctx, t.ID); err != nil {
			return err
		}
		fmt.Fprintf(std.err, "signet: token %s (%s) is revoked\n", t.ID, t.Name)
		return nil
	})
}

// tokenNamed finds a token by its id, or by a name that only one valid token has.
func tokenNamed(ctx context.Context, api *client.Client, name string) (client.Token, error) {
	all, err := collect(api.AllTokens(ctx))
	if err != nil {
		return client.Token{}, err
	}
	var named []client.Token
	for _, t := range all {
		switch {
		case t.ID == name:
			return t, nil
		case t.Name == name && t.State == "valid":
			named = append(named, t)
		}
	}
	switch len(named) {
	case 0:
		return client.Token{}, usage("there is no valid token %q; signet token list shows them", name)
	case 1:
		return named[0], nil
	}
	ids := make([]string, 0, len(named))
	for _, t := range named {
		ids = append(ids, t.ID)
	}
	return client.Token{}, usage("%d tokens have the name %s; give the id of one: %s", len(named), name, listOr(ids, ""))
}
