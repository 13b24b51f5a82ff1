package replicas

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/testkit"
	"github.com/signet-policy/signet/internal/testkit/ocitest"
	"github.com/signet-policy/signet/internal/testkit/pgtest"
	"github.com/signet-policy/signet/internal/testkit/redistest"
	"github.com/signet-policy/signet/internal/testkit/registrytest"
	"github.com/signet-policy/signet/internal/testkit/sigstack"
)

var signet string // the program, built once

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "signet-replicas-")
	if err != nil {
		panic(err)
	}
	signet = filepath.Join(dir, "signet")
	build := exec.Command("go", "build", "-o", signet, "../../cmd/signet")
	build.Env = append(os.Environ(), "GOFLAGS=") // the servers are fast ones, whatever the tests are
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building signet: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// world is a database behind a door that can be shut, a Redis of our own, a
// registry with one signed image, and servers.
type world struct {
	*testing.T
	door     *door
	redis    *redistest.Server
	registry *registrytest.Server
	stack    *testkit.Stack
	image    string
	identity *sigstack.Identity
	config   string
	database string // its URL, through the door
	token    string // an administrator's
	servers  []*server
}

const repository = "acme/app"

// newWorld starts n servers. extra is more configuration, as YAML.
func newWorld(t *testing.T, n int, extra string) *world {
	t.Helper()
	w := &world{T: t, redis: redistest.Start(t, redistest.Options{})}
	direct := pgtest.Database(t)
	w.door, w.database = newDoor(t, direct)

	w.stack = testkit.NewStack(t, sigstack.Options{})
	w.registry = registrytest.New(t, registrytest.Options{})
	w.identity = sigstack.Workflow{}.Identity()
	w.image = w.signed(w.stack, t.Name(), sigstack.SignRequest{Identity: w.identity, Log: sigstack.RekorV1()})

	dir := t.TempDir()
	write(t, filepath.Join(dir, "root.json"), w.stack.TrustedRootJSON())
	write(t, filepath.Join(dir, "database"), []byte(w.database))
	w.config = filepath.Join(dir, "signet.yaml")
	if !strings.Contains(extra, "offline:") {
		extra += "\noffline: true"
	}
	write(t, w.config, fmt.Appendf(nil, `
listen: 127.0.0.1:0
database: {url_file: database}
cache: {decision_max_age: 1h, redis: {url: %q, prefix: %q, timeout: 2s}}
trust_roots: [{name: test, path: root.json}]
registries: {%q: {insecure: true}}
%s
`, w.redis.URL(), "replicas:", w.registry.Host(), extra))
	out := w.command("token", "create", "--role", "admin", "--name", "first")
	w.token = out[strings.LastIndexByte(strings.TrimSpace(out), '\n')+1:]
	w.token = strings.TrimSpace(w.token)
	for range n {
		w.start()
	}
	return w
}

// signed pushes an image that is signed as req says, and returns its reference.
func (w *world) signed(stack *testkit.Stack, content string, req sigstack.SignRequest) string {
	w.Helper()
	image := ocitest.Image(ocitest.ImageOptions{Content: content})
	req.Image = image.Digest()
	w.registry.Push(repository, "", image)
	w.registry.Attach(repository, image, stack.Sign(req))
	return w.registry.Host() + "/" + repository + "@" + image.Digest()
}

func write(t *testing.T, path string, body []byte) {
	t.Helper()
	if err := os.WriteFile(path, body, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (w *world) env() []string {
	return append(os.Environ(), "SIGNET_CONFIG="+w.config, "SIGNET_DATA_DIR="+w.TempDir())
}

// command runs signet on the database.
func (w *world) command(args ...string) string {
	w.Helper()
	cmd := exec.CommandContext(w.Context(), signet, args...)
	cmd.Env = w.env()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		w.Fatalf("signet %s: %v\n%s%s", strings.Join(args, " "), err, out, stderr.Bytes())
	}
	return string(out)
}

// server is one process.
type server struct {
	*client.Client
	address string
	cmd     *exec.Cmd
	done    chan struct{}
	mu      sync.Mutex
	log     bytes.Buffer
}

// start starts one more server and waits until it listens.
func (w *world) start() *server {
	w.Helper()
	s := &server{done: make(chan struct{})}
	s.cmd = exec.Command(signet, "serve")
	s.cmd.Env = w.env()
	stderr, err := s.cmd.StderrPipe()
	if err != nil {
		w.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		w.Fatal(err)
	}
	listening := make(chan string, 1)
	go s.read(stderr, listening)
	w.Cleanup(func() {
		s.stop(syscall.SIGKILL)
		if w.Failed() {
			w.Logf("server at %s:\n%s", s.address, s.tail())
		}
	})
	select {
	case s.address = <-listening:
	case <-s.done:
		w.Fatalf("the server ended:\n%s", s.tail())
	case <-time.After(time.Minute):
		w.Fatalf("the server does not listen:\n%s", s.tail())
	}
	s.Client = w.as(s, w.token)
	w.servers = append(w.servers, s)
	return s
}

// as is a client of s with another token, which asks once.
func (w *world) as(s *server, token string) *client.Client {
	w.Helper()
	c, err := client.New(client.Config{BaseURL: s.address, Token: token, MaxRetries: -1})
	if err != nil {
		w.Fatal(err)
	}
	return c
}

func (s *server) read(stderr io.Reader, listening chan<- string) {
	defer close(s.done)
	lines := bufio.NewScanner(stderr)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		s.mu.Lock()
		s.log.Write(lines.Bytes())
		s.log.WriteByte('\n')
		s.mu.Unlock()
		var line struct{ Msg, Address string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "listening" {
			listening <- line.Address
		}
	}
	_ = s.cmd.Wait()
}

func (s *server) tail() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.log.Bytes()
	return string(b[max(0, len(b)-4000):])
}

// said says whether the log has a line with all of these.
func (s *server) said(parts ...string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for line := range strings.SplitSeq(s.log.String(), "\n") {
		all := true
		for _, p := range parts {
			all = all && strings.Contains(line, p)
		}
		if all {
			return true
		}
	}
	return false
}

// ended says whether the process has ended.
func (s *server) ended() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// stop signals the process and waits for its end.
func (s *server) stop(sig os.Signal) {
	_ = s.cmd.Process.Signal(sig)
	<-s.done
}

// signer trusts the image's identity.
func (w *world) signer() client.Signer {
	w.Helper()
	s, err := w.servers[0].CreateSigner(w.Context(), client.Signer{
		Name: "release", Type: "keyless", Issuer: w.identity.Issuer, Subject: w.identity.URIs[0], Enabled: true,
	})
	if err != nil {
		w.Fatal(err)
	}
	return s
}

// decision asks s about the world's image, once.
func (w *world) decision(s *server) client.Decision {
	w.Helper()
	return w.decisionOn(s, w.image)
}

func (w *world) decisionOn(s *server, image string) client.Decision {
	v, err := s.Verify(w.Context(), client.VerdictRequest{Image: image})
	if err != nil {
		w.Errorf("asking %s: %v", s.address, err)
		return ""
	}
	return v.Decision
}

// door is a TCP proxy that can be shut: connections are cut, new ones refused.
type door struct {
	to       string
	listener net.Listener
	mu       sync.Mutex
	shut     bool
	open     map[net.Conn]bool
}

// newDoor returns the URL that leads through it.
func newDoor(t *testing.T, target string) (*door, string) {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	d := &door{to: u.Host, open: map[net.Conn]bool{}}
	if u.Port() == "" {
		d.to = net.JoinHostPort(u.Hostname(), "5432")
	}
	if d.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := d.listener.Accept()
			if err != nil {
				return
			}
			go d.pass(c)
		}
	}()
	t.Cleanup(func() { _ = d.listener.Close(); d.Shut(); <-done })
	u.Host = d.listener.Addr().String()
	return d, u.String()
}

func (d *door) enter(c net.Conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.shut {
		_ = c.Close()
		return false
	}
	d.open[c] = true
	return true
}

func (d *door) pass(c net.Conn) {
	if !d.enter(c) {
		return
	}
	up, err := net.DialTimeout("tcp", d.to, 5*time.Second)
	if err != nil {
		_ = c.Close()
		return
	}
	if !d.enter(up) {
		_ = c.Close()
		return
	}
	go func() { _, _ = io.Copy(up, c); _ = up.Close() }()
	_, _ = io.Copy(c, up)
	_ = c.Close()
	d.mu.Lock()
	delete(d.open, c)
	delete(d.open, up)
	d.mu.Unlock()
}

// Shut cuts all connections and refuses new ones.
func (d *door) Shut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shut = true
	for c := range d.open {
		_ = c.Close()
	}
	d.open = map[net.Conn]bool{}
}

// Open lets connections through again.
func (d *door) Open() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shut = false
}

// post asks s for a verdict without the client's help.
func (w *world) post(s *server) (status int, header http.Header, body []byte) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), 40*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.address+"/api/v1/verdicts", strings.NewReader(fmt.Sprintf(`{"image":%q}`, w.image)))
	if err != nil {
		w.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.token)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		w.Fatal(err)
	}
	defer res.Body.Close()
	body, err = io.ReadAll(res.Body)
	if err != nil {
		w.Fatal(err)
	}
	return res.StatusCode, res.Header, body
}
