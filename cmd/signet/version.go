package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"runtime"
	"sync"
)

// version and commit are set by the Makefile; commit only when the tree was
// clean: -ldflags "-X main.version=1.2.3 -X main.commit=<hex>".
var (
	version = "dev"
	commit  = ""
)

type versionCmd struct{}

func (versionCmd) Run(_ context.Context, std streams) error {
	fmt.Fprintf(std.out, "signet %s (%s, %s/%s)\n", build(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return nil
}

// build names this binary in verdicts and cache keys: results of different
// builds never mix. A build that does not know its commit is named by its
// executable's size and time, which costs nothing to read at start.
var build = sync.OnceValue(func() string {
	if len(commit) >= 12 {
		return version + "+" + commit[:12]
	}
	path, err := os.Executable()
	if err != nil {
		return version + "+unknown"
	}
	info, err := os.Stat(path)
	if err != nil {
		return version + "+unknown"
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %d", path, info.Size(), info.ModTime().UnixNano()))
	return version + "+exe-" + hex.EncodeToString(sum[:6])
})
