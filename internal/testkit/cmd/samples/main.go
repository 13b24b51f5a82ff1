// Command samples is a registry with two of the demo's images under the names that the
// examples in docs/ use. What is pushed to it is gone when it ends.
//
//	go run ./internal/testkit/cmd/samples [address]
//
// It listens on 127.0.0.1:5000 unless given, and is started at the top of the tree.
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/signet-policy/signet/internal/testkit/ocitest"
)

// samples are images of bundles/demo by the repositories that docs/ names.
var samples = map[string]string{"acme/app": "keyless", "acme/legacy": "key"}

func main() {
	address := "127.0.0.1:5000"
	if len(os.Args) > 1 {
		address = os.Args[1]
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Stdout, address, filepath.Join("bundles", "demo"))
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "samples:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, out io.Writer, address, dir string) error {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	srv := &http.Server{
		Handler:           registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0))),
		ReadHeaderTimeout: 5 * time.Second,
	}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(listener) }()
	defer func() { _ = srv.Close() }()
	host := listener.Addr().String()
	for repository, layout := range samples {
		if err := push(ctx, host, repository, filepath.Join(dir, layout)); err != nil {
			return fmt.Errorf("%s: %w", layout, err)
		}
		fmt.Fprintf(out, "%s/%s:v1\n", host, repository)
	}
	fmt.Fprintln(out, "Ready.")
	select {
	case <-ctx.Done():
		return nil
	case err := <-ended:
		return err
	}
}

// push puts everything of an OCI layout into a repository.
func push(ctx context.Context, host, repository, dir string) error {
	layout, err := ocitest.ReadLayout(dir)
	if err != nil {
		return err
	}
	base := "http://" + host + "/v2/" + repository
	for digest, content := range layout.Blobs {
		if err := send(ctx, http.MethodPost, base+"/blobs/uploads/?digest="+digest, "application/octet-stream", content); err != nil {
			return err
		}
	}
	for _, e := range layout.Entries {
		reference := e.Tag
		if reference == "" {
			reference = e.Digest
		}
		if err := send(ctx, http.MethodPut, base+"/manifests/"+reference, e.MediaType, layout.Blobs[e.Digest]); err != nil {
			return err
		}
	}
	return nil
}

func send(ctx context.Context, method, url, mediaType string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", mediaType)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusCreated {
		return fmt.Errorf("%s %s: %s", method, url, res.Status)
	}
	return nil
}
