package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/store"
)

// remoteFlags say which Signet is administered: the server at --server, else
// the one that holds the data directory, else the store itself. All three are
// asked through the same API.
type remoteFlags struct {
	commonFlags
	serverFlags
	TokenFile string `help:"File that holds the API token for --server (default: the variable SIGNET_TOKEN)." placeholder:"FILE" type:"path"`
}

// serverFlags say where a server is.
type serverFlags struct {
	Server string `help:"URL of a Signet server to ask instead of the data directory; wants a token." placeholder:"URL" env:"SIGNET_SERVER"`
	CAFile string `name:"ca-file" help:"PEM certificates to trust for --server, beside the system's." placeholder:"FILE" type:"path"`
}

// changeFlags are those of commands that change what is in force.
type changeFlags struct {
	remoteFlags
	Why string `help:"Why, for the audit log." placeholder:"TEXT"`
}

// outFlags choose how a command answers.
type outFlags struct {
	JSON bool `name:"json" help:"Print it as JSON."`
}

// ask connects, lets do ask, and puts what the server refused into words.
func (r remoteFlags) ask(ctx context.Context, do func(c *client.Client) error) error {
	c, done, err := r.connect(ctx)
	if err != nil {
		return err
	}
	defer done()
	return apiError(do(c))
}

// ask is that of remoteFlags, with the reason on all that changes something.
func (r changeFlags) ask(ctx context.Context, do func(c *client.Client) error) error {
	return r.remoteFlags.ask(ctx, func(c *client.Client) error { return do(c.WithWhy(r.Why)) })
}

// connect reaches the API; the caller calls done when it has asked all.
func (r remoteFlags) connect(ctx context.Context) (c *client.Client, done func(), err error) {
	if r.Server != "" {
		token, err := r.token()
		if err != nil {
			return nil, nil, err
		}
		c, err := r.dial(token)
		return c, func() {}, err
	}
	if r.TokenFile != "" || r.CAFile != "" {
		return nil, nil, usage("--token-file and --ca-file are for a server; give --server URL too")
	}
	f, err := r.load(sourceFlags{})
	if err != nil {
		return nil, nil, err
	}
	transport, done, err := localTransport(ctx, f.DataDir, func() (http.Handler, func(), error) { return localAPI(ctx, f) })
	if err != nil {
		return nil, nil, err
	}
	if c, err = newLocalClient(transport); err != nil {
		done()
		return nil, nil, err
	}
	return c, done, nil
}

// newLocalClient makes a client of the API on this machine, whose address is of
// no matter to transport.
func newLocalClient(transport http.RoundTripper) (*client.Client, error) {
	return client.New(client.Config{
		BaseURL: "http://localhost", HTTPClient: &http.Client{Transport: transport, Timeout: localTime}, UserAgent: userAgent(), MaxRetries: -1,
	})
}

// localTime bounds one request to this machine: an import of many signers takes
// seconds.
const localTime = 5 * time.Minute

// localTransport carries requests to the API in this process, or through the
// control socket to the server that holds the data directory.
func localTransport(ctx context.Context, dir string, open func() (http.Handler, func(), error)) (http.RoundTripper, func(), error) {
	handler, done, err := open()
	var held *store.InUseError
	switch {
	case errors.As(err, &held):
		return dialControl(ctx, dir, held)
	case err != nil:
		return nil, nil, err
	}
	return inProcess{handler}, done, nil
}

// dial makes a client of --server with a token, "" for none.
func (r serverFlags) dial(token string) (*client.Client, error) {
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: 10 * time.Second, ForceAttemptHTTP2: true}
	if r.CAFile != "" {
		pem, err := os.ReadFile(r.CAFile)
		if err != nil {
			return nil, usage("--ca-file: %w", err)
		}
		pool, err := x509.SystemCertPool()
		if err != nil {
			return nil, fmt.Errorf("the system's certificates: %w", err)
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, usage("--ca-file %s: there is no PEM certificate in it", r.CAFile)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	c, err := client.New(client.Config{
		BaseURL: r.Server, Token: token, HTTPClient: &http.Client{Transport: transport, Timeout: localTime}, UserAgent: userAgent(), MaxRetries: 2,
	})
	if err != nil {
		return nil, usage("--server: %s", strings.TrimPrefix(err.Error(), client.ErrConfig.Error()+": BaseURL: "))
	}
	return c, nil
}

func userAgent() string { return "signet/" + version }

// token is never a flag: the machine's other users see command lines.
func (r remoteFlags) token() (string, error) {
	if r.TokenFile != "" {
		return readSecretFile("--token-file", r.TokenFile)
	}
	if token := strings.TrimSpace(os.Getenv("SIGNET_TOKEN")); token != "" {
		return token, nil
	}
	return "", usage("--server wants a token: set SIGNET_TOKEN, or give --token-file FILE")
}

func readSecretFile(flag, path string) (string, error) {
	body, err := os.ReadFile(path) //nolint:gosec // the caller names the file
	if err != nil {
		return "", usage("%s: %w", flag, err)
	}
	secret := strings.TrimSpace(string(body))
	if secret == "" {
		return "", usage("%s: %s is empty", flag, path)
	}
	return secret, nil
}

// apiError gives an error of the client the exit code that it has on the command
// line: what the caller can mend is usage, all else a failure.
func apiError(err error) error {
	var p *client.Problem
	var coded *exit
	switch {
	case err == nil, errors.As(err, &coded):
		return err
	case errors.Is(err, client.ErrRequest):
		return &exit{code: exitUsage, err: errors.New(strings.TrimPrefix(err.Error(), client.ErrRequest.Error()+": "))}
	case errors.As(err, &p) && p.Status < http.StatusInternalServerError && p.Status != http.StatusTooManyRequests:
		return &exit{code: exitUsage, err: err}
	case errors.As(err, &p):
		return err
	}
	return fmt.Errorf("asking the server: %w", err)
}

// inProcess hands requests to a handler, without a network.
type inProcess struct{ handler http.Handler }

// RoundTrip answers as a server on a Unix socket would: with no address of the
// caller.
func (t inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	in := r.Clone(r.Context())
	in.RequestURI, in.RemoteAddr, in.Host = r.URL.RequestURI(), "@", r.URL.Host
	if in.Body == nil {
		in.Body = http.NoBody
	}
	if strings.Contains(in.Header.Get("Accept"), "ndjson") {
		return t.stream(in), nil
	}
	defer func() { _ = in.Body.Close() }()
	out := &written{header: http.Header{}}
	t.handler.ServeHTTP(out, in)
	out.WriteHeader(http.StatusOK) // unless it has one
	return &http.Response{
		Status: http.StatusText(out.status), StatusCode: out.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: out.sent, Body: io.NopCloser(&out.body), ContentLength: int64(out.body.Len()), Request: r,
	}, nil
}

// stream answers while the handler still writes. A caller that leaves closes the
// body, which the handler sees as a write that fails.
func (t inProcess) stream(in *http.Request) *http.Response {
	reader, writer := io.Pipe()
	out := &streamed{header: http.Header{}, body: writer, begun: make(chan struct{})}
	go func() {
		defer func() { _ = in.Body.Close() }()
		t.handler.ServeHTTP(out, in)
		out.WriteHeader(http.StatusOK) // unless it has one
		_ = writer.Close()
	}()
	<-out.begun
	return &http.Response{
		Status: http.StatusText(out.status), StatusCode: out.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: out.sent, Body: reader, ContentLength: -1, Request: in,
	}
}

// streamed hands over what a handler writes as it comes.
type streamed struct {
	header, sent http.Header
	status       int
	body         *io.PipeWriter
	begun        chan struct{}
}

func (w *streamed) Header() http.Header { return w.header }

func (w *streamed) WriteHeader(status int) {
	if w.status == 0 {
		w.status, w.sent = status, w.header.Clone()
		close(w.begun)
	}
}

func (w *streamed) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(p)
}

// Flush does nothing: nothing is held back.
func (w *streamed) Flush() {}

// written keeps what a handler writes.
type written struct {
	header, sent http.Header
	status       int
	body         bytes.Buffer
}

func (w *written) Header() http.Header { return w.header }

func (w *written) WriteHeader(status int) {
	if w.status == 0 {
		w.status, w.sent = status, w.header.Clone()
	}
}

func (w *written) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(p)
}
