package main

import (
	"context"
	"fmt"

	"github.com/signet-policy/signet/client"
)

type gatewaysCmd struct {
	List   gatewaysListCmd   `cmd:"" help:"Show which image stands behind which gateway."`
	Put    gatewaysPutCmd    `cmd:"" help:"Say which image stands behind a gateway."`
	Remove gatewaysRemoveCmd `cmd:"" help:"Forget what stands behind a gateway."`
}

type gatewaysListCmd struct {
	remoteFlags
	Limit int `help:"Show this many at most; 0 shows all." default:"50" placeholder:"N"`
	outFlags
}

// Run lists them.
func (c gatewaysListCmd) Run(ctx context.Context, std streams) error {
	return c.ask(ctx, func(api *client.Client) error {
		list, err := first(c.Limit, api.AllGateways(ctx))
		switch {
		case err != nil:
			return err
		case c.JSON:
			return printJSON(std.out, list)
		case len(list) == 0:
			fmt.Fprintln(std.err, "signet: no image is known behind any gateway; signet gateways put NAME --gateway-id ID --image IMAGE@DIGEST")
			return nil
		}
		rows := make([][]string, 0, len(list))
		for _, g := range list {
			rows = append(rows, []string{g.Name, toldBy(g), g.Image, lastOf(g), g.Source, g.UpdatedBy, timeOr(&g.UpdatedAt, ""), g.Note})
		}
		return printTable(std.out, []string{"NAME", "GATEWAY", "IMAGE", "LAST", "SOURCE", "BY", "AT", "NOTE"}, rows)
	})
}

func toldBy(g client.Gateway) string {
	switch {
	case g.GatewayID != "":
		return "id " + g.GatewayID
	case g.URL != "":
		return "url " + g.URL
	}
	return "tag " + g.Tag
}

// lastOf is what was last decided on the image behind a gateway.
func lastOf(g client.Gateway) string {
	switch v := g.LastVerdict; {
	case v == nil:
		return "-"
	case v.Allowed && v.Decision != client.Allow:
		return string(v.Decision) + ", let pass"
	default:
		return string(v.Decision)
	}
}

type gatewaysPutCmd struct {
	Name string `arg:"" help:"Name of the entry in Signet."`
	changeFlags
	GatewayID string `name:"gateway-id" help:"The gateway's id, which nobody chooses." placeholder:"ID"`
	URL       string `name:"url" help:"Its address, as whoever registered it wrote it." placeholder:"URL"`
	Tag       string `help:"One of its tags, as whoever registered it wrote it." placeholder:"TAG"`
	Image     string `required:"" help:"What runs there, with its digest." placeholder:"NAME@DIGEST"`
	Note      string `help:"For people." placeholder:"TEXT"`
	outFlags
}

// Run says it, whether it is new or not.
func (c gatewaysPutCmd) Run(ctx context.Context, std streams) error {
	return c.ask(ctx, func(api *client.Client) error {
		var version *int64
		switch old, err := api.Gateway(ctx, c.Name); {
		case err == nil:
			version = &old.Version
		case !client.IsNotFound(err):
			return err
		}
		g, err := api.PutGateway(ctx, c.Name, client.PutGateway{GatewayID: c.GatewayID, URL: c.URL, Tag: c.Tag, Image: c.Image, Note: c.Note}, version)
		switch {
		case err != nil:
			return err
		case c.JSON:
			return printJSON(std.out, g)
		}
		fmt.Fprintf(std.err, "signet: behind the gateway %s (%s) stands %s\n", g.Name, toldBy(g), g.Image)
		return nil
	})
}

type gatewaysRemoveCmd struct {
	Name string `arg:"" help:"Name of the entry in Signet."`
	changeFlags
}

// Run forgets it.
func (c gatewaysRemoveCmd) Run(ctx context.Context, std streams) error {
	return c.ask(ctx, func(api *client.Client) error {
		old, err := api.Gateway(ctx, c.Name)
		if err != nil {
			return err
		}
		if err := api.DeleteGateway(ctx, c.Name, old.Version); err != nil {
			return err
		}
		fmt.Fprintf(std.err, "signet: what stands behind the gateway %s (%s) is forgotten\n", c.Name, toldBy(old))
		return nil
	})
}
