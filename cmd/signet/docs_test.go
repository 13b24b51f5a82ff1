package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/signet-policy/signet/internal/testkit/freeport"
	"github.com/signet-policy/signet/internal/testkit/registrytest"
)

// TestDocs runs the console blocks of README.md and docs/*.md, at the top of the
// tree, and compares what they print. In a block, "$ " begins a command, "> " goes
// on with it, "…" stands for anything, "[exit N]" is the exit code where it is not
// 0. A command that ends with "&" runs until the page is done. The addresses of
// docsWorld stand for a registry with the demo's images, and a free one.
func TestDocs(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, file := range append(files, filepath.Join(root, "README.md")) {
		blocks := consoleBlocks(t, file)
		if len(blocks) == 0 {
			continue
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			work := newDocsFolder(t, root)
			world := docsWorld(t, root)
			env := map[string]string{}
			for _, b := range blocks {
				for _, c := range b {
					ran++
					runDocs(t, work, env, c.in(world))
				}
			}
		})
	}
	if ran < 5 {
		t.Errorf("%d commands in the documents were run; are there no console blocks any more?", ran)
	}
}

// newDocsFolder is a folder in which the tree's own folders can be named and
// files can be made.
func newDocsFolder(t *testing.T, root string) string {
	work := t.TempDir()
	for _, name := range []string{"bundles", "rego", "docs", "test"} {
		if err := os.Symlink(filepath.Join(root, name), filepath.Join(work, name)); err != nil {
			t.Fatal(err)
		}
	}
	return work
}

// docsWorld puts real addresses in the place of those that the pages name:
// 127.0.0.1:5000, a registry that has images of the demo, and 127.0.0.1:8090, where
// a server listens.
func docsWorld(t *testing.T, root string) *strings.Replacer {
	t.Helper()
	registry := registrytest.New(t, registrytest.Options{})
	for repo, layout := range map[string]string{"acme/app": "keyless", "acme/legacy": "key"} {
		registry.PushLayout(filepath.Join(root, "bundles", "demo", layout), repo)
	}
	addr, err := freeport.Address()
	if err != nil {
		t.Fatal(err)
	}
	return strings.NewReplacer("127.0.0.1:5000", registry.Host(), "127.0.0.1:8090", addr)
}

// docsCommand is one command with what it should print.
type docsCommand struct {
	file, command string
	line          int
	want          []string
	exit          string
}

func (c docsCommand) in(world *strings.Replacer) docsCommand {
	c.command = world.Replace(c.command)
	c.want = slices.Clone(c.want)
	for i := range c.want {
		c.want[i] = world.Replace(c.want[i])
	}
	return c
}

func consoleBlocks(t *testing.T, file string) [][]docsCommand {
	t.Helper()
	body, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var blocks [][]docsCommand
	in := false
	for i, line := range strings.Split(string(body), "\n") {
		switch {
		case strings.HasPrefix(line, "```console"):
			in, blocks = true, append(blocks, nil)
		case strings.HasPrefix(line, "```"):
			in = false
		case !in:
		case strings.HasPrefix(line, "$ "):
			last := len(blocks) - 1
			blocks[last] = append(blocks[last], docsCommand{file: filepath.Base(file), command: line[2:], line: i + 1, exit: "0"})
		default:
			block := blocks[len(blocks)-1]
			if len(block) == 0 {
				t.Fatalf("%s:%d: output before a command", file, i+1)
			}
			c := &block[len(block)-1]
			if more, ok := strings.CutPrefix(line, "> "); ok && len(c.want) == 0 {
				c.command += "\n" + more
				continue
			}
			if m := exitLine.FindStringSubmatch(line); m != nil {
				c.exit = m[1]
			} else {
				c.want = append(c.want, line)
			}
		}
	}
	return blocks
}

var (
	exitLine   = regexp.MustCompile(`^\[exit (\d+)\]$`)
	exportLine = regexp.MustCompile(`^export (\w+)=(\S+)$`)
)

func runDocs(t *testing.T, work string, env map[string]string, c docsCommand) {
	t.Helper()
	if m := exportLine.FindStringSubmatch(c.command); m != nil {
		env[m[1]] = m[2]
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), docsTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", c.command)
	cmd.Dir = work
	cmd.WaitDelay = time.Second
	background := strings.HasSuffix(c.command, "&")
	if background {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		t.Cleanup(func() { stopGroup(cmd.Process) })
	}
	// A server of the pages asks loopback alone, and would fetch no bundles offline.
	cmd.Env = append(os.Environ(), fmt.Sprintf("SIGNET_OFFLINE=%t", !background), "HOME="+work, "XDG_DATA_HOME="+filepath.Join(work, "xdg"), raceEnv)
	for k, v := range env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	_ = cmd.Run() // the exit code is compared below
	where := fmt.Sprintf("%s:%d: %s", c.file, c.line, c.command)
	if got := fmt.Sprint(cmd.ProcessState.ExitCode()); got != c.exit {
		t.Errorf("%s\nexit code %s, want %s\n%s%s", where, got, c.exit, out.String(), errOut.String())
	}
	if want := strings.Join(c.want, "\n"); want != "" && !pattern(want).MatchString(out.String()) {
		t.Errorf("%s\nprints\n%s\nand the document says\n%s\n%s", where, out.String(), want, errOut.String())
	}
}

// docsTime bounds each command of the pages.
const docsTime = 2 * time.Minute

// stopGroup ends what a command has left running, and waits for it.
func stopGroup(p *os.Process) {
	if p == nil || syscall.Kill(-p.Pid, syscall.SIGTERM) != nil {
		return
	}
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if syscall.Kill(-p.Pid, 0) != nil {
			return
		}
	}
	_ = syscall.Kill(-p.Pid, syscall.SIGKILL)
}

// pattern makes "…" stand for anything.
func pattern(want string) *regexp.Regexp {
	parts := strings.Split(want, "…")
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	return regexp.MustCompile(`(?s)` + strings.Join(parts, `.*`))
}
