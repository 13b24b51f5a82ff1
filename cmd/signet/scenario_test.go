package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/signet-policy/signet/internal/testkit/eventually"
	"github.com/signet-policy/signet/internal/testkit/freeport"
	"github.com/signet-policy/signet/internal/testkit/registrytest"
)

// TestMain makes this test binary the signet command of the worlds.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"signet": main})
}

// TestScenarios runs test/scenarios: what users do, as text that reads like a
// manual. A scenario has SAMPLES (images signed by cosign), DATA (a data
// directory), ADDR (a free loopback address), and the commands below.
func TestScenarios(t *testing.T) {
	samples, err := filepath.Abs("../../test/testdata/samples")
	if err != nil {
		t.Fatal(err)
	}
	docs, err := filepath.Abs("../../docs")
	if err != nil {
		t.Fatal(err)
	}
	// The program as users have it. This test binary, with the race detector and counters of
	// coverage, takes four times as long; the worlds of other tests here are of it.
	programs := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", programs, ".")
	build.Env = append(os.Environ(), "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building signet: %v\n%s", err, out)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "../../test/scenarios",
		RequireExplicitExec: false,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			addr, err := freeport.Address()
			if err != nil {
				return err
			}
			env.Setenv("PATH", programs+string(filepath.ListSeparator)+env.Getenv("PATH"))
			env.Setenv("SAMPLES", samples)
			env.Setenv("DOCS", docs)
			env.Setenv("DATA", filepath.Join(env.WorkDir, "data"))
			env.Setenv("ADDR", addr)
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("SIGNET_OFFLINE", "true") // no test asks anybody outside of this machine
			env.Setenv("XDG_DATA_HOME", filepath.Join(env.WorkDir, "xdg"))
			env.Values[serverKey{}] = registrytest.New(env.T().(testing.TB), registrytest.Options{})
			env.Setenv("REGISTRY", env.Values[serverKey{}].(*registrytest.Server).Host())
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exitcode": cmdExitCode, "push": cmdPush, "break": cmdBreak, "ready": cmdReady, "http": cmdHTTP, "lastline": cmdLastLine,
			"key": cmdKey, "eventually": cmdEventually, "build": cmdBuild, "attest": cmdAttest,
		},
	})
}

type serverKey struct{}

func server4(ts *testscript.TestScript) *registrytest.Server {
	s, ok := ts.Value(serverKey{}).(*registrytest.Server)
	if !ok {
		ts.Fatalf("no registry")
	}
	return s
}

// push LAYOUT REPO: puts every manifest and blob of an OCI layout into the registry.
func cmdPush(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: push LAYOUT REPO")
	}
	server4(ts).PushLayout(ts.MkAbs(args[0]), args[1])
}

// break PATH STATUS: the registry answers requests whose path holds PATH so; break - mends it.
func cmdBreak(ts *testscript.TestScript, neg bool, args []string) {
	s := server4(ts)
	if len(args) == 1 && args[0] == "-" {
		s.Behave()
		return
	}
	if neg || len(args) != 2 {
		ts.Fatalf("usage: break PATH STATUS, or break -")
	}
	code, err := strconv.Atoi(args[1])
	ts.Check(err)
	s.On(registrytest.Path(http.MethodGet, args[0]), registrytest.RetryAfter(code, 7))
}

// ready ADDR: waits until the server is.
func cmdReady(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: ready ADDR")
	}
	var last string
	if !eventually.Comes(20*time.Millisecond, func() bool {
		res, err := http.Get("http://" + args[0] + "/readyz")
		if err != nil {
			last = err.Error()
			return false
		}
		last = res.Status
		return res.Body.Close() == nil && res.StatusCode == http.StatusOK
	}) {
		ts.Fatalf("%s is not ready: %s", args[0], last)
	}
}

// inBraces is a file's name in a URL, which stands for what the file holds.
var inBraces = regexp.MustCompile(`\{\w+\}`)

// http [-token FILE] [-H 'NAME: VALUE'] [-show HEADER] STATUS METHOD URL [BODY | @FILE]: stdout is the answer's body.
func cmdHTTP(ts *testscript.TestScript, neg bool, args []string) {
	header := http.Header{}
	var show []string
	for len(args) > 2 && strings.HasPrefix(args[0], "-") {
		switch args[0] {
		case "-token":
			header.Set("Authorization", "Bearer "+strings.TrimSpace(ts.ReadFile(args[1])))
		case "-H":
			name, value, _ := strings.Cut(args[1], ":")
			header.Add(name, strings.TrimSpace(value))
		case "-show":
			show = append(show, args[1])
		default:
			ts.Fatalf("http: unknown flag %s", args[0])
		}
		args = args[2:]
	}
	if neg || len(args) < 3 || len(args) > 4 {
		ts.Fatalf("usage: http [flags] STATUS METHOD URL [BODY]")
	}
	var body io.Reader
	if len(args) == 4 {
		text, file := strings.CutPrefix(args[3], "@")
		if file {
			text = ts.ReadFile(text)
		}
		body = strings.NewReader(text)
		if header.Get("Content-Type") == "" {
			header.Set("Content-Type", "application/json")
		}
	}
	url := inBraces.ReplaceAllStringFunc(args[2], func(name string) string {
		return strings.TrimSpace(ts.ReadFile(strings.Trim(name, "{}")))
	})
	req, err := http.NewRequest(args[1], url, body)
	ts.Check(err)
	req.Header = header
	res, err := http.DefaultClient.Do(req)
	ts.Check(err)
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	ts.Check(err)
	for _, h := range show {
		fmt.Fprintf(ts.Stdout(), "%s: %s\n", h, res.Header.Get(h))
	}
	_, err = ts.Stdout().Write(got)
	ts.Check(err)
	if strconv.Itoa(res.StatusCode) != args[0] {
		ts.Fatalf("%s %s: %s, want %s\n%s", args[1], args[2], res.Status, args[0], got)
	}
}

// lastline FILE OUT: keeps the last line of a file.
func cmdLastLine(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: lastline FILE OUT")
	}
	lines := bytes.Split(bytes.TrimRight([]byte(ts.ReadFile(args[0])), "\n"), []byte("\n"))
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), lines[len(lines)-1], 0o600))
}

// key NAME: makes a private key NAME.pem, and its public key NAME.pub.
func cmdKey(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: key NAME")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	ts.Check(err)
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	ts.Check(err)
	for name, block := range map[string]*pem.Block{".pem": {Type: "PRIVATE KEY", Bytes: private}, ".pub": {Type: "PUBLIC KEY", Bytes: public}} {
		ts.Check(os.WriteFile(ts.MkAbs(args[0]+name), pem.EncodeToMemory(block), 0o600))
	}
}

// eventually PATTERN COMMAND ARGS…: runs a command again and again until what it
// prints matches; eventually PATTERN http TOKENFILE URL reads an address so.
func cmdEventually(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: eventually PATTERN COMMAND ARGS")
	}
	want := regexp.MustCompile("(?m)" + args[0])
	var got string
	if !eventually.Comes(200*time.Millisecond, func() bool {
		if args[1] == "http" && len(args) == 4 {
			url := inBraces.ReplaceAllStringFunc(args[3], func(name string) string {
				return strings.TrimSpace(ts.ReadFile(strings.Trim(name, "{}")))
			})
			got = bodyOf(ts, strings.TrimSpace(ts.ReadFile(args[2])), url)
		} else {
			_ = ts.Exec(args[1], args[2:]...) // what it prints is judged
			got = ts.ReadFile("stdout")
		}
		return want.MatchString(got)
	}) {
		ts.Fatalf("%s does not come:\n%s\n%s", args[0], got, ts.ReadFile("stderr"))
	}
}

// bodyOf is what an address answers now, whatever its status; "" where nobody does.
func bodyOf(ts *testscript.TestScript, token, url string) string {
	req, err := http.NewRequest(http.MethodGet, url, http.NoBody)
	ts.Check(err)
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return ""
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	ts.Check(err)
	return string(body)
}

// exitcode N COMMAND ARGS…: runs a command that must end with this code.
func cmdExitCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exitcode N COMMAND ARGS")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	var exited *exec.ExitError
	switch {
	case errors.As(err, &exited):
		code = exited.ExitCode()
	case err != nil:
		ts.Fatalf("%v", err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}
