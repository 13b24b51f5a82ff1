// Package redistest runs Redis servers that belong to one test: plain, with TLS,
// with an ACL, behind sentinels, or as a cluster. The test may kill, hang, flush and
// restart them, which it must never do to the server that it is given.
//
//	srv := redistest.Start(t, redistest.Options{})
//	srv.Kill()
//	srv.Restart()
//
// Tests get here through [require.Redis]: where there is no Redis part, they skip.
package redistest

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/signet-policy/signet/internal/testkit/freeport"
	"github.com/signet-policy/signet/internal/testkit/require"
)

// patience bounds every wait for something that a machine does in a moment.
const patience = 60 * time.Second

// Options of a server.
type Options struct {
	// Lines are added to its configuration file: "user app on >secret ~* +@all".
	Lines []string
	// TLS serves TLS instead of plain connections, and wants a client certificate
	// that the same authority signed.
	TLS *Certificates
	// sentinel runs the same program as a sentinel.
	sentinel bool
}

// Server is one process. It is killed when the test ends.
type Server struct {
	// Addr is host:port on the loopback address.
	Addr string
	// Dir is its working folder, with redis.conf, log and dump.rdb.
	Dir string

	t       testing.TB
	options Options
	process *exec.Cmd
	exited  chan struct{}
}

// Start runs a server and waits until it answers.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	require.Redis(t)
	s := &Server{t: t, options: o, Dir: t.TempDir()}
	t.Cleanup(s.Kill)
	// Another process may take a free port before the server does.
	for range 5 {
		port := freePort(t)
		s.Addr = net.JoinHostPort("127.0.0.1", port)
		s.configure(port)
		if s.run() {
			return s
		}
	}
	t.Fatalf("redis-server does not start: %s", s.log())
	return nil
}

// URL is the server's address as a redis:// or rediss:// URL.
func (s *Server) URL() string {
	if s.options.TLS != nil {
		return "rediss://" + s.Addr
	}
	return "redis://" + s.Addr
}

// Kill ends the process as a crash does (SIGKILL): nothing is saved.
func (s *Server) Kill() {
	if s.process == nil {
		return
	}
	s.signal(syscall.SIGKILL)
	<-s.exited
	s.process = nil
}

// Pause stops the process (SIGSTOP): connections stay open, and nothing answers.
func (s *Server) Pause() { s.signal(syscall.SIGSTOP) }

// Resume lets a paused process go on.
func (s *Server) Resume() { s.signal(syscall.SIGCONT) }

// Restart runs a killed server again, at the same address and with what its
// snapshot (dump.rdb) holds.
func (s *Server) Restart() {
	s.t.Helper()
	s.Kill()
	if !s.run() {
		s.t.Fatalf("redis-server does not start again: %s", s.log())
	}
}

// Do runs one command through redis-cli and returns what it prints.
func (s *Server) Do(args ...string) string {
	s.t.Helper()
	out, err := s.cli(args...)
	if err != nil {
		s.t.Fatalf("redis-cli %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(out)
}

// Snapshot saves the data (SAVE) and returns a copy of the snapshot, for
// [Server.Restore].
func (s *Server) Snapshot() []byte {
	s.t.Helper()
	s.Do("save")
	b, err := os.ReadFile(filepath.Join(s.Dir, "dump.rdb"))
	if err != nil {
		s.t.Fatal(err)
	}
	return b
}

// Restore kills the server and starts it with an older snapshot.
func (s *Server) Restore(snapshot []byte) {
	s.t.Helper()
	s.Kill()
	if err := os.WriteFile(filepath.Join(s.Dir, "dump.rdb"), snapshot, 0o600); err != nil {
		s.t.Fatal(err)
	}
	s.Restart()
}

func (s *Server) configure(port string) {
	s.t.Helper()
	lines := []string{"bind 127.0.0.1", "dir " + s.Dir, "logfile log"}
	if !s.options.sentinel {
		// Saved only when asked to, so that a test knows what the snapshot holds.
		lines = append(lines, `save ""`, "appendonly no")
	}
	if c := s.options.TLS; c != nil {
		lines = append(lines, "port 0", "tls-port "+port, "tls-ca-cert-file "+c.CAFile, "tls-cert-file "+c.ServerCert, "tls-key-file "+c.ServerKey)
	} else {
		lines = append(lines, "port "+port)
	}
	lines = append(lines, s.options.Lines...)
	if err := os.WriteFile(filepath.Join(s.Dir, "redis.conf"), []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// run starts the process; false when it ended before it answered.
func (s *Server) run() bool {
	s.t.Helper()
	args := []string{filepath.Join(s.Dir, "redis.conf")}
	if s.options.sentinel {
		args = append(args, "--sentinel")
	}
	// Kill ends it, also when the test's context has ended.
	s.process = exec.Command(program(s.t, "redis-server"), args...)
	if err := s.process.Start(); err != nil {
		s.t.Fatal(err)
	}
	exited, process := make(chan struct{}), s.process
	s.exited = exited
	go func() {
		defer close(exited)
		_ = process.Wait()
	}()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		select {
		case <-exited:
			s.process = nil
			return false
		default:
		}
		// An error reply is an answer too; LOADING is one that comes too early.
		out, err := s.cli("ping")
		if answered := err == nil || strings.Contains(out, "NOAUTH"); answered && !strings.Contains(out, "LOADING") {
			return true
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.t.Fatalf("redis-server at %s does not answer: %s", s.Addr, s.log())
	return false
}

func (s *Server) cli(args ...string) (string, error) {
	host, port, _ := net.SplitHostPort(s.Addr)
	all := []string{"-h", host, "-p", port, "-e"}
	if c := s.options.TLS; c != nil {
		all = append(all, "--tls", "--cacert", c.CAFile, "--cert", c.ClientCert, "--key", c.ClientKey)
	}
	return cli(s.t, append(all, args...)...)
}

func cli(t testing.TB, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(program(t, "redis-cli"), args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

func (s *Server) signal(sig syscall.Signal) {
	if s.process == nil {
		return
	}
	if err := s.process.Process.Signal(sig); err != nil {
		s.t.Logf("signal %v to redis-server: %v", sig, err)
	}
}

// log is the end of the server's log.
func (s *Server) log() string {
	b, err := os.ReadFile(filepath.Join(s.Dir, "log"))
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-2000):])
}

// program finds a program of Redis. Where the part is there, so must they be: a
// silent skip would hide that nothing was tested.
func program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("the redis part needs %s in PATH beside the server that SIGNET_TEST_REDIS names: %v", name, err)
	}
	return path
}

func freePort(t testing.TB) string {
	t.Helper()
	port, err := freeport.Port()
	if err != nil {
		t.Fatal(err)
	}
	return strconv.Itoa(port)
}

// Replicated is a master with one replica, watched by sentinels.
type Replicated struct {
	// Name is what the sentinels call the master.
	Name string
	// Sentinels are their addresses.
	Sentinels       []string
	Master, Replica *Server
}

// StartSentinel runs a master, a replica and one sentinel that makes the replica
// the master half a second after the master has gone.
func StartSentinel(t testing.TB) *Replicated {
	t.Helper()
	r := &Replicated{Name: "signet", Master: Start(t, Options{Lines: []string{"repl-diskless-sync-delay 0"}})}
	host, port, _ := net.SplitHostPort(r.Master.Addr)
	r.Replica = Start(t, Options{Lines: []string{"replicaof " + host + " " + port}})
	until(t, "the replica follows", func() bool {
		return strings.Contains(r.Replica.Do("info", "replication"), "master_link_status:up")
	})
	sentinel := Start(t, Options{sentinel: true, Lines: []string{
		"sentinel monitor " + r.Name + " " + host + " " + port + " 1",
		"sentinel down-after-milliseconds " + r.Name + " 2000",
		"sentinel failover-timeout " + r.Name + " 5000",
	}})
	r.Sentinels = []string{sentinel.Addr}
	until(t, "the sentinel knows the replica", func() bool {
		return strings.Contains(sentinel.Do("sentinel", "replicas", r.Name), r.Replica.Addr)
	})
	return r
}

// StartCluster runs a cluster of three masters, with these lines in the
// configuration of each.
func StartCluster(t testing.TB, lines ...string) []*Server {
	t.Helper()
	var nodes []*Server
	args := []string{"--cluster", "create"}
	for range 3 {
		// By default the bus is at the port plus 10000, which may be no port at all.
		node := Start(t, Options{Lines: append([]string{"cluster-enabled yes", "cluster-config-file nodes.conf", "cluster-port " + freePort(t)}, lines...)})
		nodes, args = append(nodes, node), append(args, node.Addr)
	}
	if out, err := cli(t, append(args, "--cluster-yes")...); err != nil {
		t.Fatalf("creating a cluster: %v: %s", err, out)
	}
	for _, node := range nodes {
		until(t, "the cluster is whole", func() bool { return strings.Contains(node.Do("cluster", "info"), "cluster_state:ok") })
	}
	return nodes
}

func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatal("waited in vain until " + what)
}

// Database is the URL of the given server ([require.Redis]) and a prefix that is
// this test's alone. Its keys are removed at the end.
func Database(t testing.TB) (url, prefix string) {
	t.Helper()
	url = require.Redis(t)
	prefix = fmt.Sprintf("signet-test-%d-%s:", os.Getpid(), strconv.FormatInt(time.Now().UnixNano(), 36))
	t.Cleanup(func() {
		out, err := cli(t, "-u", url, "--scan", "--pattern", prefix+"*")
		if err != nil {
			t.Errorf("looking for the keys of the test: %v: %s", err, out)
			return
		}
		if names := strings.Fields(out); len(names) > 0 {
			if out, err := cli(t, append([]string{"-u", url, "del"}, names...)...); err != nil {
				t.Errorf("removing the keys of the test: %v: %s", err, out)
			}
		}
	})
	return url, prefix
}
