package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/signet-policy/signet/bundles/demo"
	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/admin"
	"github.com/signet-policy/signet/internal/administration"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/config"
	"github.com/signet-policy/signet/internal/signingpolicy"
	"github.com/signet-policy/signet/internal/store"
	"github.com/signet-policy/signet/internal/trust"
)

// demoRegistryAddress is tried first, so that the names of the images stay the
// same from one demo to the next.
const demoRegistryAddress = "127.0.0.1:8091"

// demo serves the sample images. Everything is local: the registry, the trust
// root, the store, which goes at exit.
func (c serveCmd) demo(ctx context.Context, std streams, f config.File) error {
	if c.Policy != "" || c.Issuer != "" || len(c.Key) > 0 || len(c.TrustedRoot) > 0 || c.Config != "" {
		return usage("--demo brings its own policy, signers and trust root; leave out --config, --policy, --issuer, --key and --trusted-root")
	}
	dir, err := os.MkdirTemp("", "signet-demo-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	images, err := demo.Images()
	if err != nil {
		return err
	}
	host, stopRegistry, err := serveDemoRegistry(ctx, images)
	if err != nil {
		return err
	}
	defer stopRegistry()

	listenAddress := f.Listen
	f = config.Default()
	f.DataDir, f.Offline, f.Listen = dir, true, listenAddress
	f.Registries = map[string]config.Registry{host: {Insecure: true}}
	body, err := demo.TrustedRoot()
	if err != nil {
		return err
	}
	root, err := trust.Parse("demo", body, nil)
	if err != nil {
		return err
	}
	srv, err := newServer(ctx, std, serverParts{
		file: f, policy: signingpolicy.Default(), source: sourceEmbedded, quiet: true,
		roots: func(context.Context, *store.Store) ([]administration.RootSeed, error) {
			return []administration.RootSeed{{Root: root}}, nil
		},
	})
	if err != nil {
		return err
	}
	defer srv.close()
	token, err := furnishDemo(ctx, srv)
	if err != nil {
		return err
	}
	first, err := mainFace(ctx, f, srv.handler, srv.log)
	if err != nil && c.Listen == "" { // the default address is taken: any other does for a demo
		f.Listen = "127.0.0.1:0"
		first, err = mainFace(ctx, f, srv.handler, srv.log)
	}
	if err != nil {
		return err
	}
	srv.faces = []face{first}
	printDemo(std, first.url(), token, host, images)
	return srv.run(ctx)
}

// serveDemoRegistry listens on loopback.
func serveDemoRegistry(ctx context.Context, images []demo.Image) (host string, stop func(), err error) {
	handler, err := newDemoRegistry(images)
	if err != nil {
		return "", nil, err
	}
	var listener net.Listener
	if listener, err = listen(ctx, demoRegistryAddress); err != nil {
		if listener, err = listen(ctx, "127.0.0.1:0"); err != nil {
			return "", nil, err
		}
	}
	srv := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = srv.Serve(listener) }() // ends with Close
	return listener.Addr().String(), func() { _ = srv.Close() }, nil
}

// furnishDemo registers the samples' signers and makes an admin token.
func furnishDemo(ctx context.Context, srv *server) (token string, err error) {
	caller := administration.Caller{Principal: auth.Principal{Name: "demo", Role: auth.Admin}, From: "demo"}
	pem, err := demo.SignerKey()
	if err != nil {
		return "", err
	}
	for _, s := range []client.Signer{
		{Name: "acme-release", Type: "keyless", Issuer: demo.Issuer, Subject: demo.Subject, Enabled: true, Note: "acme's release workflow"},
		{Name: "acme-key", Type: "public_key", PublicKey: string(pem), Enabled: true, Note: "acme's signing key"},
	} {
		if _, err := srv.admin.CreateSigner(ctx, caller, s); err != nil {
			return "", err
		}
	}
	made, err := srv.admin.CreateToken(ctx, caller, client.NewToken{Name: "demo", Role: string(auth.Admin), ExpiresIn: "24h"})
	return made.Plain, err
}

// printDemo says what there is, and how to ask: each curl line is complete.
func printDemo(std streams, address, token, host string, images []demo.Image) {
	var b strings.Builder
	fmt.Fprintf(&b, "Signet demo, offline; everything goes at exit (Ctrl-C).\n\n")
	fmt.Fprintf(&b, "  address      %s\n  page         %s%s\n  admin token  %s   (shown this once)\n  registry     %s\n\n", address, address, admin.Root, token, host)
	curl := func(what, image string) {
		fmt.Fprintf(&b, "# %s\ncurl -sS -X POST -H 'Authorization: Bearer %s' -H 'Content-Type: application/json' -d '{\"image\":\"%s\"}' %s/api/v1/verdicts\n\n",
			what, token, image, address)
	}
	for _, img := range images[:min(5, len(images))] {
		curl(img.Description, host+"/"+img.Repository+":"+img.Tag)
	}
	curl("its registry is down, so nobody knows", host+"/"+unreachableRepository+":v1")
	for _, img := range images[min(5, len(images)):] {
		curl(img.Description, host+"/"+img.Repository+":"+img.Tag)
	}
	fmt.Fprintf(&b, "Ready.\n")
	fmt.Fprint(std.out, b.String())
}
