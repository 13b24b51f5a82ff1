package bench

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"

	"github.com/signet-policy/signet/internal/api"
	"github.com/signet-policy/signet/internal/testkit/registrytest"
)

// This test binary runs again as a child for what must not be counted as the
// work of the process that measures: the registry, and the handler that is the
// floor under verdicts from memory. A child ends when its stdin does, so none
// outlives its parent.

// childVariable is set in the environment of a child.
const childVariable = "SIGNET_BENCH_CHILD"

// order is what a child is to do, one JSON document on its stdin.
type order struct {
	// Registry serves these layouts, by repository.
	Registry map[string]string `json:"registry,omitempty"`
	// Answer is what a bare Echo handler answers with.
	Answer []byte `json:"answer,omitempty"`
}

// startChild starts a child, and returns it with the address that it serves.
func startChild(b *testing.B, o order) (address string, process *os.Process) {
	b.Helper()
	exe, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childVariable+"=1")
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	})
	if err := json.NewEncoder(stdin).Encode(o); err != nil {
		b.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		b.Fatalf("the child said no address: %v", err)
	}
	return strings.TrimSpace(line), cmd.Process
}

// child is the other side of startChild; it returns the exit code.
func child() int {
	in := json.NewDecoder(os.Stdin)
	var o order
	if err := in.Decode(&o); err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
		return 1
	}
	if o.Registry == nil {
		return serveBare(o.Answer)
	}
	// testing.Benchmark lends the registry of the test kit a testing.TB.
	result := testing.Benchmark(func(b *testing.B) {
		s := registrytest.New(b, registrytest.Options{})
		for repo, layout := range o.Registry {
			s.PushLayout(layout, repo)
		}
		fmt.Println(s.Host())
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	})
	fmt.Fprintln(os.Stderr, "child: the registry failed:", result)
	return 1
}

// serveBare is the floor: Echo, the same body decoded, the same bytes returned,
// in a server with the same time limits.
func serveBare(answer []byte) int {
	e := echo.New()
	e.POST("/api/v1/verdicts", func(c echo.Context) error {
		var req struct {
			Image    string            `json:"image"`
			Platform string            `json:"platform"`
			Context  map[string]string `json:"context"`
			Refresh  bool              `json:"refresh"`
		}
		if err := json.NewDecoder(c.Request().Body).Decode(&req); err != nil {
			return err
		}
		return c.Blob(http.StatusOK, "application/json", answer)
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
		return 1
	}
	fmt.Println(l.Addr())
	srv := api.NewHTTPServer(l.Addr().String(), e)
	go func() { _ = srv.Serve(l) }()
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

// registryOf serves samples in a child and returns the registry's host.
func registryOf(b *testing.B, names ...string) string {
	b.Helper()
	layouts := map[string]string{}
	for _, name := range names {
		layouts["bench/"+name] = filepath.Join(samples, "layouts", name)
	}
	host, _ := startChild(b, order{Registry: layouts})
	return host
}
