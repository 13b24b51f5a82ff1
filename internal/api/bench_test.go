package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/verdict"
)

// The aim: a verdict from memory over HTTP, authenticated, at 0.80 or more of
// the requests/s of a bare Echo handler that decodes the same body and returns
// the same bytes. BenchmarkHitRatio says it in one number; the InProcess pair
// leaves net/http out, for the profile.

const benchBody = `{"image":"registry.example/org/server:v1","platform":"linux/amd64","context":{"environment":"production"}}`

// hitHandler is a server as in production: log at info, metrics, request ids.
func hitHandler(b *testing.B) (http.Handler, string, []byte) {
	hit := answer(b, verdict.Allow, true, engine.FromMemory)
	bed := newBedAt(b, time.Now(), func(c *Config) {
		c.Log, c.Now = slog.New(slog.NewJSONHandler(&bytes.Buffer{}, nil)), nil
	})
	bed.decider.decide = func(context.Context, *engine.State, engine.Request) (engine.Answer, error) { return hit, nil }
	return bed, bed.tokens["verifier"], hit.Body
}

func bareHandler(b *testing.B) http.Handler {
	body := answer(b, verdict.Allow, true, engine.FromMemory).Body
	e := echo.New()
	e.POST("/api/v1/verdicts", func(c echo.Context) error {
		var req verdictRequest
		if err := json.NewDecoder(c.Request().Body).Decode(&req); err != nil {
			return err
		}
		return c.Blob(http.StatusOK, mediaJSON, body)
	})
	return e
}

func BenchmarkVerdictHit(b *testing.B) {
	h, token, want := hitHandler(b)
	overHTTP(b, h, token, want)
}

func BenchmarkBareEcho(b *testing.B) {
	_, token, want := hitHandler(b)
	overHTTP(b, bareHandler(b), token, want)
}

func BenchmarkVerdictHitInProcess(b *testing.B) {
	h, token, _ := hitHandler(b)
	inProcess(b, h, token)
}

func BenchmarkBareEchoInProcess(b *testing.B) {
	_, token, _ := hitHandler(b)
	inProcess(b, bareHandler(b), token)
}

func benchRequest(token string) []byte {
	return fmt.Appendf(nil, "POST /api/v1/verdicts HTTP/1.1\r\nHost: signet\r\nUser-Agent: bench\r\nAuthorization: Bearer %s\r\n"+
		"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", token, len(benchBody), benchBody)
}

// BenchmarkHitRatio lets the two take turns, so that what else the machine does
// hits both, and reports the median of the turns: the number that counts.
func BenchmarkHitRatio(b *testing.B) {
	h, token, want := hitHandler(b)
	hit, bare := newLoad(b, h, token, want), newLoad(b, bareHandler(b), token, want)
	const turn = 4000
	hit.send(b, turn)
	bare.send(b, turn)
	var ratios []float64
	for b.Loop() {
		h1, b1 := hit.send(b, turn), bare.send(b, turn)
		b2, h2 := bare.send(b, turn), hit.send(b, turn)
		ratios = append(ratios, float64(b1+b2)/float64(h1+h2))
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], "hit/bare")
}

func overHTTP(b *testing.B, h http.Handler, token string, want []byte) {
	l := newLoad(b, h, token, want)
	b.ResetTimer()
	took := l.send(b, b.N)
	b.ReportMetric(float64(b.N)/took.Seconds(), "requests/s")
}

// load is a server and 32 connections to it over loopback that are kept open.
// The client writes fixed bytes and reads with as little work as it can,
// because it shares the machine with the server.
type load struct {
	request, want []byte
	conns         []net.Conn
	readers       []*bufio.Reader
}

const connections = 32

func newLoad(b *testing.B, h http.Handler, token string, want []byte) *load {
	srv := httptest.NewUnstartedServer(h)
	srv.Config = NewHTTPServer("", h)
	srv.Start()
	b.Cleanup(srv.Close)
	l := &load{request: benchRequest(token), want: want}
	var dialer net.Dialer
	for range connections {
		conn, err := dialer.DialContext(b.Context(), "tcp", srv.Listener.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = conn.Close() })
		l.conns, l.readers = append(l.conns, conn), append(l.readers, bufio.NewReader(conn))
	}
	return l
}

// send sends n requests over all connections and checks every answer.
func (l *load) send(b *testing.B, n int) time.Duration {
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
					b.Errorf("got %s", got)
					return
				}
			}
		})
	}
	done.Wait()
	return time.Since(begun)
}

// exchange reads one response: its head line by line, then its body, whole or
// in chunks.
func exchange(conn net.Conn, in *bufio.Reader, raw, body []byte) error {
	if _, err := conn.Write(raw); err != nil {
		return err
	}
	chunked := false
	for first := true; ; first = false {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		if first && !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")) {
			return fmt.Errorf("answered %s", line)
		}
		if bytes.HasPrefix(line, []byte("Transfer-Encoding: chunked")) {
			chunked = true
		}
		if len(line) == 2 {
			break
		}
	}
	if !chunked {
		_, err := io.ReadFull(in, body)
		return err
	}
	for got := 0; ; {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		var size int
		for _, c := range bytes.TrimSpace(line) {
			size = size<<4 + hexDigit(c)
		}
		if _, err := io.ReadFull(in, body[got:got+size]); err != nil {
			return err
		}
		got += size
		if _, err := in.Discard(2); err != nil || size == 0 {
			return err
		}
	}
}

func hexDigit(c byte) int {
	if c >= 'a' {
		return int(c-'a') + 10
	}
	return int(c - '0')
}

func inProcess(b *testing.B, h http.Handler, token string) {
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(benchRequest(token))))
	if err != nil {
		b.Fatal(err)
	}
	body := bytes.NewReader(nil)
	r.RemoteAddr = "192.0.2.1:4711" // as every request over TCP has one
	w := &capture{header: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		body.Reset([]byte(benchBody))
		r.Body = io.NopCloser(body)
		clear(w.header)
		w.body.Reset()
		h.ServeHTTP(w, r.WithContext(b.Context()))
		if w.status != http.StatusOK {
			b.Fatalf("status %d: %s", w.status, w.body.Bytes())
		}
	}
}
