package typescript

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/signet-policy/signet/internal/testkit/registrytest"
	"github.com/signet-policy/signet/internal/testkit/require"
)

// TestClient builds the client from its lock file, wants its types to be those of the
// OpenAPI document, and runs its tests against a server.
func TestClient(t *testing.T) {
	require.Node(t)
	source := filepath.Join("..", "..", "client", "typescript")
	// A copy beside the document, so that nothing is left in the repository.
	dir := filepath.Join(t.TempDir(), "client", "typescript")
	for _, name := range []string{"package.json", "package-lock.json", "tsconfig.json", "src/index.ts", "src/schema.d.ts", "test/client.test.ts"} {
		copyFile(t, filepath.Join(source, name), filepath.Join(dir, name))
	}
	copyFile(t, filepath.Join("..", "..", "internal", "api", "openapi.json"), filepath.Join(dir, "..", "..", "internal", "api", "openapi.json"))
	run(t, dir, nil, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	run(t, dir, nil, "npm", "run", "generate")
	run(t, dir, nil, "npm", "run", "build")
	committed, made := read(t, filepath.Join(source, "src", "schema.d.ts")), read(t, filepath.Join(dir, "src", "schema.d.ts"))
	if !bytes.Equal(committed, made) {
		t.Error("client/typescript/src/schema.d.ts is not what the OpenAPI document gives; run npm ci && npm run generate in client/typescript, and commit it")
	}

	s := start(t)
	out := run(t, dir, s.env, "node", "--test", "--test-reporter=tap", "dist/test/client.test.js")
	if !strings.Contains(out, "# fail 0") || strings.Contains(out, "# pass 0") {
		t.Errorf("the tests did not run:\n%s", out)
	}
	t.Log(out)
}

// server is a real one, with what the tests of the client are told about it.
type server struct{ env []string }

func start(t *testing.T) server {
	signet := filepath.Join(t.TempDir(), "signet")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", signet, "../../cmd/signet")
	build.Env = append(os.Environ(), "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building signet: %v\n%s", err, out)
	}
	samples, err := filepath.Abs(filepath.Join("..", "testdata", "samples"))
	if err != nil {
		t.Fatal(err)
	}
	registry := registrytest.New(t, registrytest.Options{})
	registry.PushLayout(filepath.Join(samples, "layouts", "key-r2"), "org/good")
	registry.PushLayout(filepath.Join(samples, "layouts", "unsigned"), "org/server")
	data := t.TempDir()
	policy := filepath.Join(samples, "..", "..", "..", "docs", "examples", "ci", "policy.yaml")
	created := run(t, ".", nil, signet, "token", "create", "--data-dir", data, "--role", "admin", "--name", "typescript")
	lines := strings.Fields(created)
	token := lines[len(lines)-1]

	cmd := exec.CommandContext(t.Context(), signet, "serve", "--offline", "--data-dir", data, "--listen", "127.0.0.1:0",
		"--trusted-root", filepath.Join(samples, "trusted-root.json"), "--insecure-registry", registry.Host(), "--policy", policy)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Wait() }) // the context of the test has ended then
	log := bufio.NewScanner(stderr)
	var said []string
	address := ""
	for address == "" && log.Scan() {
		said = append(said, log.Text())
		var line struct{ Msg, Address string }
		if json.Unmarshal(log.Bytes(), &line) == nil && line.Msg == "listening" {
			address = "http://" + strings.TrimPrefix(line.Address, "http://")
		}
	}
	if address == "" {
		t.Fatalf("the server did not start:\n%s", strings.Join(said, "\n"))
	}
	go func() { _, _ = io.Copy(io.Discard, stderr) }()
	return server{env: []string{
		"SIGNET_URL=" + address, "SIGNET_TOKEN=" + token,
		"IMAGE_SIGNED=" + registry.Image("org/good", "v1"), "IMAGE_UNSIGNED=" + registry.Image("org/server", "v1"),
		"IMAGE_UNREACHABLE=" + registry.Image("org/absent", "v1"),
	}}
}

func run(t *testing.T, dir string, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s", filepath.Base(name), strings.Join(args, " "), err, &out)
	}
	return out.String()
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(to), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, read(t, from), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	body, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return body
}
