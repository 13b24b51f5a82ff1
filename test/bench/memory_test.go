package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/signet-policy/signet/internal/testkit/pgtest"
)

const (
	connections = 32
	// turn is the number of requests that one side answers before the other's turn.
	turn   = 4000
	rounds = 12
)

// BenchmarkVerdictFromMemory asks a `signet serve` for one verdict over and over,
// with a token, as in production: store, barrier, tokens, metrics, logs. The floor
// is a bare Echo handler that decodes the same body and answers with the same
// bytes. Each is a process of its own; the client is this one, and does as little
// as it can, because all three share the machine.
func BenchmarkVerdictFromMemory(b *testing.B) {
	verdictFromMemory(b, rowMemory, filepath.Join(b.TempDir(), "data"))
}

// BenchmarkVerdictFromMemoryLogged does the same with a decision log: a line of some
// 2 KB for every answer, and not one of them dropped.
func BenchmarkVerdictFromMemoryLogged(b *testing.B) {
	data := filepath.Join(b.TempDir(), "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(data, "signet.yaml"), []byte("decision_log: {file: {path: decisions.jsonl, max_files: 1}}\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	signet := builtSignet(b)
	s := verdictFromMemory(b, rowDecisions, data)
	s.token = createTokenOf(b, signet, data, "viewer")
	for name, want := range map[string]bool{"signet_decision_log_events_total": true, `signet_decision_log_dropped_total{reason="buffer_size_limit_bytes_exceeded"}`: false} {
		if got := s.metric(b, name); (got != "0") != want {
			b.Errorf("%s is %s", name, got)
		}
	}
}

// BenchmarkVerdictFromMemoryOnPostgres does the same with the store in PostgreSQL,
// where every answer waits for a barrier read of the active row, because any other
// server may have changed it.
func BenchmarkVerdictFromMemoryOnPostgres(b *testing.B) {
	data := filepath.Join(b.TempDir(), "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		b.Fatal(err)
	}
	body := fmt.Appendf(nil, "database: {url: %q}\n", pgtest.Database(b))
	if err := os.WriteFile(filepath.Join(data, "signet.yaml"), body, 0o600); err != nil {
		b.Fatal(err)
	}
	verdictFromMemory(b, rowPostgres, data)
}

func verdictFromMemory(b *testing.B, row Row, data string) *asked {
	signet := builtSignet(b)
	root, err := filepath.Abs(filepath.Join(samples, "trusted-root.json"))
	if err != nil {
		b.Fatal(err)
	}
	const sample = "keyless-gha"
	host := registryOf(b, sample)
	token := createToken(b, signet, data)
	s := startServer(b, signet, data, "--trusted-root", root, "--issuer", workflowIssuer, "--subject", workflow, "--insecure-registry", host)

	// Asked by digest, the answer is good for a minute; by tag, for ten seconds.
	body := fmt.Sprintf(`{"image":"%s/bench/%s@%s"}`, host, sample, digestOf(b, sample))
	answer := warm(b, s.address, token, body)
	bare, bareProcess := startChild(b, order{Answer: answer})

	hits, floor := newLoad(b, s.address, token, body), newLoad(b, bare, token, body)
	floor.want = answer
	both := func(n int) (hit, base time.Duration) {
		hits.want = warm(b, s.address, token, body)
		return hits.send(b, n), floor.send(b, n)
	}
	both(turn)
	ours, theirs := mustCPU(b, s.pid), mustCPU(b, bareProcess.Pid)
	var ratios, hit, base []float64
	for b.Loop() {
		for range rounds {
			h1, b1 := both(turn)
			b2 := floor.send(b, turn)
			h2 := hits.send(b, turn)
			ratios = append(ratios, float64(b1+b2)/float64(h1+h2))
			hit = append(hit, 2*turn/(h1+h2).Seconds())
			base = append(base, 2*turn/(b1+b2).Seconds())
		}
	}
	n := time.Duration(2 * turn * len(ratios))
	ours, theirs = (mustCPU(b, s.pid)-ours)/n, (mustCPU(b, bareProcess.Pid)-theirs)/n
	b.ReportMetric(float64(ours)/float64(theirs), "hit/bare-cpu")
	measured(b, row, Median(ratios), "hit/bare", "%.0f of %.0f requests/s over %d connections; server CPU %.1f µs of %.1f µs a request; medians of %d turns",
		Median(hit), Median(base), connections, float64(ours)/1000, float64(theirs)/1000, len(ratios))
	return &asked{address: s.address, token: token}
}

// asked is the server that was measured.
type asked struct{ address, token string }

// metric is a value at /metrics, "" where there is none of that name.
func (s *asked) metric(b *testing.B, name string) string {
	b.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://"+s.address+"/metrics", nil)
	if err != nil {
		b.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(body)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	b.Errorf("no %s at /metrics: %s", name, res.Status)
	return ""
}

func mustCPU(b *testing.B, pid int) time.Duration {
	b.Helper()
	cpu, err := cpuOf(pid)
	if err != nil {
		b.Skip("needs Linux: ", err)
	}
	return cpu
}

// warm has the verdict computed anew, and returns the answer that comes from
// memory from then on.
func warm(b *testing.B, address, token, body string) []byte {
	b.Helper()
	ask := func(body, from string) []byte {
		req, err := http.NewRequest(http.MethodPost, "http://"+address+"/api/v1/verdicts", strings.NewReader(body))
		if err != nil {
			b.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Content-Type", "application/json")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			b.Fatal(err)
		}
		defer res.Body.Close()
		answer, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != http.StatusOK || res.Header.Get("Signet-Cache") != from || !bytes.Contains(answer, []byte(`"decision":"allow"`)) {
			b.Fatalf("want an allow from %s; got status %d, Signet-Cache %q, error %v: %s", from, res.StatusCode, res.Header.Get("Signet-Cache"), err, answer)
		}
		return answer
	}
	ask(strings.TrimSuffix(body, "}")+`,"refresh":true}`, "miss")
	return ask(body, "memory")
}

// load is connections to one server, kept open.
type load struct {
	request, want []byte
	conns         []net.Conn
	readers       []*bufio.Reader
}

func newLoad(b *testing.B, address, token, body string) *load {
	b.Helper()
	l := &load{request: fmt.Appendf(nil, "POST /api/v1/verdicts HTTP/1.1\r\nHost: signet\r\nUser-Agent: bench\r\nAuthorization: Bearer %s\r\n"+
		"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", token, len(body), body)}
	for range connections {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = conn.Close() })
		l.conns, l.readers = append(l.conns, conn), append(l.readers, bufio.NewReader(conn))
	}
	return l
}

// send sends n requests over all connections and checks every answer: a verdict
// that was computed anew would have another id.
func (l *load) send(b *testing.B, n int) time.Duration {
	b.Helper()
	var left atomic.Int64
	left.Store(int64(n))
	var done sync.WaitGroup
	begun := time.Now()
	for i := range l.conns {
		done.Go(func() {
			got := make([]byte, len(l.want))
			for left.Add(-1) >= 0 {
				if err := exchange(l.conns[i], l.readers[i], l.request, got); err != nil {
					b.Error(err)
					return
				}
				if !bytes.Equal(got, l.want) {
					b.Errorf("another answer: %s", got)
					return
				}
			}
		})
	}
	done.Wait()
	took := time.Since(begun)
	if b.Failed() {
		b.FailNow()
	}
	return took
}

// exchange sends a request and reads its response: status 200, and a body of
// exactly the wanted length.
func exchange(conn net.Conn, in *bufio.Reader, request, body []byte) error {
	if _, err := conn.Write(request); err != nil {
		return err
	}
	length := -1
	for first := true; ; first = false {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		if first && !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")) {
			return fmt.Errorf("answered %s", line)
		}
		if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return err
			}
		}
		if len(line) == 2 {
			break
		}
	}
	switch length {
	case len(body):
		_, err := io.ReadFull(in, body)
		return err
	case -1: // net/http writes no length for a body that is larger than its buffer
		return readChunks(in, body)
	}
	return fmt.Errorf("a body of %d bytes, not %d", length, len(body))
}

// readChunks reads a chunked body (RFC 9112, section 7.1).
func readChunks(in *bufio.Reader, body []byte) error {
	for got := 0; ; {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		size, err := strconv.ParseInt(string(bytes.TrimSpace(line)), 16, 32)
		if err != nil || got+int(size) > len(body) || size == 0 && got != len(body) {
			return fmt.Errorf("a chunk of %s after %d of %d bytes: %w", bytes.TrimSpace(line), got, len(body), err)
		}
		if _, err := io.ReadFull(in, body[got:got+int(size)]); err != nil {
			return err
		}
		got += int(size)
		if _, err := in.Discard(2); err != nil || size == 0 {
			return err
		}
	}
}
