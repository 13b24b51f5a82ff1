//go:build unix

package registry

import (
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/testkit/eventually"
	"github.com/signet-policy/signet/internal/testkit/ocitest"
)

// A pipe in place of a blob is not waited for.
func TestLayoutPipe(t *testing.T) {
	img := image()
	dir := t.TempDir()
	l := &ocitest.Layout{}
	l.Add(img, "v1")
	l.Add(bundle(img, "pipe"), "")
	l.Add(bundle(img, "good"), "")
	must(t, l.Write(dir))
	path := blobPath(dir, facts.Digest([]byte("pipe")))
	must(t, os.Remove(path))
	must(t, syscall.Mkfifo(path, 0o600))
	done := make(chan []string, 1)
	go func() {
		_, found := find(t, layouts(t), evidence.Query{Image: LayoutPrefix + dir + ":v1"})
		done <- summary(found.Items)
	}()
	select {
	case got := <-done:
		slices.Sort(got)
		if diff := cmp.Diff([]string{"bundle broken not_found", "bundle good"}, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	case <-time.After(eventually.Patience):
		t.Fatal("it waits for the pipe")
	}
}
