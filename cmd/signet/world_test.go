package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/testkit"
	"github.com/signet-policy/signet/internal/testkit/eventually"
	"github.com/signet-policy/signet/internal/testkit/ocitest"
	"github.com/signet-policy/signet/internal/testkit/registrytest"
	"github.com/signet-policy/signet/internal/testkit/sigstack"
)

// world is one installation as its users see it: a folder with its configuration
// and data, a registry and a Sigstore of our own, and signet as processes.
type world struct {
	*testing.T
	dir      string
	env      []string // added to that of every process
	registry *registrytest.Server
	stack    *testkit.Stack
	token    string // an administrator's, where there is one
}

// newWorld writes a configuration: the stack's trust root, the registry, and more
// YAML. The processes ask nobody but the registry, unless extra says offline: false.
func newWorld(t *testing.T, extra string) *world {
	t.Helper()
	t.Parallel()
	w := &world{T: t, dir: t.TempDir(), registry: registrytest.New(t, registrytest.Options{}), stack: testkit.NewStack(t, sigstack.Options{})}
	w.file("root.json", w.stack.TrustedRootJSON())
	w.configure(extra)
	return w
}

// configure writes the configuration anew.
func (w *world) configure(extra string) {
	w.Helper()
	head := ""
	for _, line := range []string{"listen: 127.0.0.1:0", "offline: true", "trust_roots: [{name: test, path: root.json}]"} {
		if field, _, _ := strings.Cut(line, ":"); !strings.HasPrefix(extra, field+":") && !strings.Contains(extra, "\n"+field+":") {
			head += line + "\n"
		}
	}
	w.file("signet.yaml", fmt.Appendf(nil, "%sregistries: {%q: {insecure: true}}\n%s\n", head, w.registry.Host(), extra))
}

// file writes a file into the world's folder, and returns its path.
func (w *world) file(name string, body []byte) string {
	w.Helper()
	path := w.path(name)
	if err := os.WriteFile(path, body, 0o600); err != nil {
		w.Fatal(err)
	}
	return path
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

// raceEnv keeps programs that were built with the race detector, as tests are, from
// sleeping a second at their end.
const raceEnv = "GORACE=atexit_sleep_ms=0"

// process is signet in the world, not started yet.
func (w *world) process(args ...string) *exec.Cmd {
	w.Helper()
	program, err := exec.LookPath("signet") // as testscript.Main has put it there
	if err != nil {
		w.Fatal(err)
	}
	cmd := exec.CommandContext(w.Context(), program, args...)
	cmd.Dir = w.dir
	cmd.Env = slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, "SIGNET_") })
	cmd.Env = append(cmd.Env, "HOME="+w.dir, "XDG_DATA_HOME="+w.dir, "SIGNET_CONFIG="+w.path("signet.yaml"), "SIGNET_DATA_DIR="+w.path("data"))
	cmd.Env = append(append(cmd.Env, raceEnv), w.env...)
	return cmd
}

// run runs a command to its end.
func (w *world) run(args ...string) (code int, stdout, stderr string) {
	w.Helper()
	return w.finish(w.process(args...))
}

func (w *world) finish(cmd *exec.Cmd) (code int, stdout, stderr string) {
	w.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exited *exec.ExitError
	if err != nil && !errors.As(err, &exited) {
		w.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// do runs a command that must succeed, and returns what it prints.
func (w *world) do(args ...string) string {
	w.Helper()
	code, out, errs := w.run(args...)
	if code != exitAllow {
		w.Fatalf("signet %s: exit code %d\n%s%s", strings.Join(args, " "), code, out, errs)
	}
	return out
}

// fails runs a command that must end with this code and say this on stderr.
func (w *world) fails(code int, says string, args ...string) {
	w.Helper()
	got, out, errs := w.run(args...)
	if got != code || !strings.Contains(errs, says) {
		w.Errorf("signet %s: exit code %d, want %d and %q\n%s%s", strings.Join(args, " "), got, code, says, out, errs)
	}
}

// admin makes an administrator's token.
func (w *world) admin() {
	w.Helper()
	w.token = lastLine(w.do("token", "create", "--role", "admin", "--name", "first"))
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}

// daemon is a server in a process of its own.
type daemon struct {
	*client.Client        // with the administrator's token of the world
	address        string // of the main listener
	world          *world
	cmd            *exec.Cmd
	listening      chan string // the first address in the log
	done           chan struct{}
	mu             sync.Mutex
	log, printed   bytes.Buffer
}

// serve starts a server and waits until it listens.
func (w *world) serve(args ...string) *daemon {
	w.Helper()
	d := w.launch(args...)
	d.wait()
	return d
}

// launch starts a server.
func (w *world) launch(args ...string) *daemon {
	w.Helper()
	d := &daemon{world: w, done: make(chan struct{}), listening: make(chan string, 1), cmd: w.process(append([]string{"serve"}, args...)...)}
	d.cmd.Stdout = lockedWriter{&d.mu, &d.printed}
	stderr, err := d.cmd.StderrPipe()
	if err != nil {
		w.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		w.Fatal(err)
	}
	go d.read(stderr)
	w.Cleanup(func() {
		d.stop(syscall.SIGKILL)
		if strings.Contains(d.logged(), "DATA RACE") {
			w.Error("the server has a data race")
		}
		if w.Failed() {
			w.Logf("server at %s:\n%s", d.address, d.logged())
		}
	})
	return d
}

// wait waits until the server listens.
func (d *daemon) wait() {
	w := d.world
	w.Helper()
	select {
	case d.address = <-d.listening:
	case <-d.done:
		w.Fatalf("the server ended:\n%s", d.logged())
	case <-time.After(eventually.Patience):
		w.Fatalf("the server does not listen:\n%s", d.logged())
	}
	d.Client = d.as(w.token)
}

// refuses starts a server that must not start.
func (w *world) refuses(says string, args ...string) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), eventually.Patience)
	defer cancel()
	started := w.process(append([]string{"serve"}, args...)...)
	cmd := exec.CommandContext(ctx, started.Path, started.Args[1:]...)
	cmd.Env, cmd.Dir = started.Env, started.Dir
	code, out, errs := w.finish(cmd)
	if code <= 0 || !strings.Contains(errs, says) || strings.Contains(errs, "panic") {
		w.Errorf("signet serve: exit code %d, want a failure with %q\n%s%s", code, says, out, errs)
	}
}

type lockedWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func (d *daemon) read(stderr io.Reader) {
	defer close(d.done)
	lines := bufio.NewScanner(stderr)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		d.mu.Lock()
		d.log.Write(lines.Bytes())
		d.log.WriteByte('\n')
		d.mu.Unlock()
		var line struct{ Msg, Address string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "listening" {
			select {
			case d.listening <- line.Address:
			default: // of another listener
			}
		}
	}
	_ = d.cmd.Wait()
}

// stop signals the process and waits for its end.
func (d *daemon) stop(sig os.Signal) {
	_ = d.cmd.Process.Signal(sig)
	<-d.done
}

func (d *daemon) logged() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.log.String()
}

// out is what the server printed on stdout.
func (d *daemon) out() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.printed.String()
}

// said says whether the log has a line with all of these.
func (d *daemon) said(parts ...string) bool {
	for line := range strings.SplitSeq(d.logged(), "\n") {
		if !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(line, p) }) {
			return true
		}
	}
	return false
}

// as is a client with another token, which asks once.
func (d *daemon) as(token string) *client.Client {
	d.world.Helper()
	c, err := client.New(client.Config{BaseURL: d.address, Token: token, MaxRetries: -1})
	if err != nil {
		d.world.Fatal(err)
	}
	return c
}

// answer is what a request without the client's help is answered.
type answer struct {
	status int
	header http.Header
	body   string
}

// ask makes a request with h; the token is "" for none.
func (w *world) ask(h *http.Client, method, url, token, body string, header ...string) (answer, error) {
	w.Helper()
	req, err := http.NewRequestWithContext(w.Context(), method, url, strings.NewReader(body))
	if err != nil {
		w.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		if name == "Host" {
			req.Host = value
			continue
		}
		req.Header.Set(name, value)
	}
	res, err := h.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, string(got)}, err
}

// wants checks an answer's status and what its body says.
func (w *world) wants(what string, a answer, err error, status int, says string) {
	w.Helper()
	if err != nil || a.status != status || !strings.Contains(a.body, says) {
		w.Errorf("%s: status %d (%v), want %d and %q: %s", what, a.status, err, status, says, a.body)
	}
}

// image pushes an image, signed as req says, and returns its reference by digest.
func (w *world) image(repository, content string, req sigstack.SignRequest) string {
	w.Helper()
	return w.imageBy(w.stack, repository, content, req)
}

// imageBy is image under another Sigstore.
func (w *world) imageBy(stack *testkit.Stack, repository, content string, req sigstack.SignRequest) string {
	w.Helper()
	image := ocitest.Image(ocitest.ImageOptions{Content: content})
	w.registry.Push(repository, "", image)
	req.Image = image.Digest()
	w.registry.Attach(repository, image, stack.Sign(req))
	return w.registry.Host() + "/" + repository + "@" + image.Digest()
}

// keyless pushes an image that a workflow signed, and trusts the workflow.
func (w *world) keyless(repository string) (ref string, s client.Signer) {
	w.Helper()
	id := sigstack.Workflow{}.Identity()
	ref = w.image(repository, repository, sigstack.SignRequest{Identity: id, Log: sigstack.RekorV1()})
	return ref, client.Signer{Name: "release", Type: "keyless", Issuer: id.Issuer, Subject: id.URIs[0], Enabled: true}
}

// create registers a signer.
func (d *daemon) create(s client.Signer) client.Signer {
	d.world.Helper()
	made, err := d.CreateSigner(d.world.Context(), s)
	if err != nil {
		d.world.Fatal(err)
	}
	return made
}

// verdict asks c, once.
func (w *world) verdict(c *client.Client, image string) client.Verdict {
	w.Helper()
	v, err := c.Verify(w.Context(), client.VerdictRequest{Image: image})
	if err != nil {
		w.Errorf("asking for %s: %v", image, err)
	}
	return v
}

// decides asks d for a verdict that must be this.
func (d *daemon) decides(image string, want client.Decision) client.Verdict {
	d.world.Helper()
	v := d.world.verdict(d.Client, image)
	if v.Decision != want {
		d.world.Errorf("%s: %s, want %s: %+v", image, v.Decision, want, v.Reasons)
	}
	return v
}

// problem is the code of a problem, "" for any other error and for none.
func problem(err error) string {
	var p *client.Problem
	if errors.As(err, &p) {
		return p.Code
	}
	return ""
}

// under is the same world in a subtest.
func (w *world) under(t *testing.T) *world {
	other := *w
	other.T = t
	return &other
}

// newWorldLike is another installation with the registry and the Sigstore of w.
func newWorldLike(w *world, extra string) *world {
	w.Helper()
	other := *w
	other.dir, other.token = w.TempDir(), ""
	other.file("root.json", w.stack.TrustedRootJSON())
	other.configure(extra)
	return &other
}
