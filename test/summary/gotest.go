package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/signet-policy/signet/internal/testkit/require"
)

// runGo runs go test with the race detector and reads its coverage.
func runGo(ctx context.Context, cfg config, res *results, stdout, stderr io.Writer) {
	module, err := output(ctx, "go", "list", "-m")
	if err != nil {
		res.problem("%v", err)
		return
	}
	// A package that hangs is told, and one that is slow on a slow machine is not.
	args := []string{"test", "-json", "-timeout=40m"}
	if _, ok, _ := require.Find("race"); ok {
		args = append(args, "-race")
		res.used["race"] = true
	} else {
		res.skipped = append(res.skipped, skip{test: "the race detector", reason: require.SkipReason("race")})
	}
	if cfg.minimum > 0 {
		if err := os.MkdirAll(filepath.Dir(cfg.profile), 0o750); err != nil {
			res.problem("%v", err)
			return
		}
		args = append(args, "-covermode=atomic", "-coverpkg=./internal/...", "-coverprofile="+cfg.profile)
	}
	args = append(args, cfg.extra...)
	args = append(args, strings.Fields(cfg.packages)...)

	c := newCollector(module, stdout, res)
	cmd := command(ctx, "go", args...)
	cmd.Stderr = stderr
	events, err := cmd.StdoutPipe()
	if err != nil {
		res.problem("%v", err)
		return
	}
	if err := cmd.Start(); err != nil {
		res.problem("%v", err)
		return
	}
	readErr := c.read(events)
	waitErr := cmd.Wait()
	c.finish()
	switch {
	case readErr != nil:
		res.problem("%v", readErr)
	case waitErr != nil && len(res.failed) == 0:
		res.problem("go test: %v, though it reported no failure", waitErr)
	}
	if cfg.minimum > 0 {
		readCoverage(cfg, module, res)
	}
}

func readCoverage(cfg config, module string, res *results) {
	f, err := os.Open(cfg.profile)
	if err != nil {
		res.problem("no coverage: %v", err)
		return
	}
	defer func() { _ = f.Close() }() // only read
	blocks, err := readProfile(f)
	if err != nil {
		res.problem("%s: %v", cfg.profile, err)
		return
	}
	res.minimum = cfg.minimum
	res.coverage, res.total, err = coverageOf(blocks, module, os.DirFS("."))
	if err != nil {
		res.problem("%s: %v", cfg.profile, err)
	}
}

// command is a program that is interrupted, not killed, when ctx ends, so that go test can stop what it started.
func command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// output is what the program prints, without the last newline.
func output(ctx context.Context, name string, args ...string) (string, error) {
	cmd := command(ctx, name, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", filepath.Base(name), strings.Join(args, " "), err, stderr.String())
	}
	return strings.TrimRight(string(out), "\n"), nil
}
