package storetest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing" //nolint:depguard // for tests: the program does not import it

	"github.com/signet-policy/signet/internal/store"
)

// Fresh is a data directory of the test's own, with a store that has its schema and
// was never opened: the secret and the rest are made when it is. Its migrations, of
// which each waits for the disk, take longer than most tests do; so they run once,
// and what they made is copied.
func Fresh(t testing.TB) string {
	t.Helper()
	body, err := migrated()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, store.FileName), body, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// migrated is the file of such a store.
var migrated = sync.OnceValues(func() (body []byte, err error) {
	dir, err := os.MkdirTemp("", "signet-fresh-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if _, _, err := store.Migrate(context.Background(), store.Config{DataDir: dir}); err != nil {
		return nil, err
	}
	// What is in a log beside the file would be missing in a copy.
	if log, err := os.Stat(filepath.Join(dir, store.FileName+"-wal")); err == nil && log.Size() > 0 {
		return nil, fmt.Errorf("a store that is closed has %d bytes beside its file", log.Size())
	}
	return os.ReadFile(filepath.Join(dir, store.FileName)) //nolint:gosec // a folder that was made above
})
