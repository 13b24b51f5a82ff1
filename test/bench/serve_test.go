package bench

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// server is a running `signet serve`.
type server struct {
	address string // host:port
	pid     int
	// ready is the time from starting the process to the first 200 of /readyz.
	ready time.Duration
	stop  func()
}

// startServer starts the built program on a data directory, and waits until it
// is ready.
func startServer(b *testing.B, signet, data string, flags ...string) *server {
	b.Helper()
	p := newProgram(b, signet, append([]string{"serve", "--offline", "--data-dir", data, "--listen", "127.0.0.1:0"}, flags...)...)
	cmd := exec.Command(p.path, p.args...)
	cmd.Env = p.env
	stderr, err := cmd.StderrPipe()
	if err != nil {
		b.Fatal(err)
	}
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	s := &server{pid: cmd.Process.Pid}
	ended := make(chan struct{})
	s.stop = func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-ended
	}
	b.Cleanup(s.stop)
	lines := bufio.NewScanner(stderr)
	var said []string
	for s.address == "" && lines.Scan() {
		said = append(said, lines.Text())
		var line struct{ Msg, Address string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "listening" {
			s.address = strings.TrimPrefix(line.Address, "http://")
		}
	}
	go func() {
		defer close(ended)
		for lines.Scan() { // so that it never waits for us to read its log
		}
		_ = cmd.Wait()
	}()
	if s.address == "" {
		b.Fatalf("signet serve does not listen:\n%s", strings.Join(said, "\n"))
	}
	for deadline := begun.Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		if res, err := http.Get("http://" + s.address + "/readyz"); err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				s.ready = time.Since(begun)
				return s
			}
		}
		if time.Now().After(deadline) {
			b.Fatal("signet serve is not ready after 30 s")
		}
	}
}

// createToken makes the data directory, and returns a token that may ask.
func createToken(b *testing.B, signet, data string) string {
	return createTokenOf(b, signet, data, "verifier")
}

// createTokenOf is createToken for another role.
func createTokenOf(b *testing.B, signet, data, role string) string {
	b.Helper()
	p := newProgram(b, signet, "token", "create", "--role", role, "--name", "bench-"+role, "--data-dir", data)
	cmd := exec.Command(p.path, p.args...)
	cmd.Env = p.env
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		b.Fatalf("signet token create: %v\n%s", err, stderr.String())
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}

// residentMB is the memory that a process has now, in MB (10^6 bytes).
func residentMB(pid int) (float64, error) { return statusMB(pid, "VmRSS:") }

// peakMB is the most that it ever had.
func peakMB(pid int) (float64, error) { return statusMB(pid, "VmHWM:") }

func statusMB(pid int, field string) (float64, error) {
	body, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(body)) {
		if kb, ok := strings.CutPrefix(line, field); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(kb), "kB")), 64)
			return n * 1024 / 1e6, err
		}
	}
	return 0, fmt.Errorf("no %s in the status of process %d", field, pid)
}

// cpuOf is the CPU time that a process has used, in the kernel's ticks of 10 ms.
func cpuOf(pid int) (time.Duration, error) {
	body, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name, in brackets, may hold anything; utime and stime are the 14th and
	// 15th fields (proc_pid_stat(5)), the name the second.
	_, rest, ok := bytes.Cut(body, []byte(") "))
	fields := strings.Fields(string(rest))
	if !ok || len(fields) < 13 {
		return 0, fmt.Errorf("the stat of process %d cannot be read", pid)
	}
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * (10 * time.Millisecond), nil
}

// starts is how many times the server is started.
const starts = 12

// BenchmarkServe starts servers on new data directories, which they make and
// migrate, and again on the same; and looks at the memory of one that idles.
func BenchmarkServe(b *testing.B) {
	signet := builtSignet(b)
	root, err := filepath.Abs(filepath.Join(samples, "trusted-root.json"))
	if err != nil {
		b.Fatal(err)
	}
	flags := []string{"--trusted-root", root, "--issuer", workflowIssuer, "--subject", workflow}
	b.Run("ready", func(b *testing.B) {
		var first, again []float64
		for b.Loop() {
			for range starts {
				data := filepath.Join(b.TempDir(), "data")
				for _, at := range []*[]float64{&first, &again} {
					s := startServer(b, signet, data, flags...)
					s.stop()
					*at = append(*at, s.ready.Seconds())
				}
			}
		}
		n := len(first)
		measured(b, rowReady, Median(first), "s", "the first start, which makes the store; %.2f s after that; medians of %d", Median(again), n)
	})
	b.Run("idle", func(b *testing.B) {
		var begun, settled []float64
		for b.Loop() {
			for range 3 {
				s := startServer(b, signet, filepath.Join(b.TempDir(), "data"), flags...)
				for _, after := range []struct {
					wait time.Duration
					at   *[]float64
				}{{0, &begun}, {5 * time.Second, &settled}} {
					time.Sleep(after.wait)
					mb, err := residentMB(s.pid)
					if err != nil {
						b.Skip("needs Linux: ", err)
					}
					*after.at = append(*after.at, mb)
				}
				s.stop()
			}
		}
		measured(b, rowIdle, Median(settled), "MB", "5 s after it was ready, %.0f MB when it was; median of %d", Median(begun), len(settled))
	})
}
