package main

import (
	"bufio"
	"context"
	"io"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Each sample is there, and what vouches for it beside it.
func TestSamples(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	read, write := io.Pipe()
	go func() {
		err := run(ctx, write, "127.0.0.1:0", filepath.Join("..", "..", "..", "..", "bundles", "demo"))
		_ = write.CloseWithError(err) // so that nobody waits for what is not written any more
		ended <- err
	}()
	lines := bufio.NewScanner(read)
	var images []string
	for lines.Scan() && lines.Text() != "Ready." {
		images = append(images, lines.Text())
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	if len(images) != len(samples) {
		t.Errorf("%q", images)
	}
	for _, image := range images {
		ref, err := name.ParseReference(image)
		if err != nil {
			t.Fatal(err)
		}
		found, err := remote.Get(ref)
		if err != nil {
			t.Fatal(err)
		}
		index, err := remote.Referrers(ref.Context().Digest(found.Digest.String()))
		if err != nil {
			t.Fatal(err)
		}
		if list, err := index.IndexManifest(); err != nil || len(list.Manifests) == 0 {
			t.Errorf("%s: nothing refers to it (%v)", image, err)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
