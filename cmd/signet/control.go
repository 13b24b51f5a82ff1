package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/signet-policy/signet/internal/store"
)

// The control socket: the commands of the data directory's owner reach the
// server that holds the store. Who can open the socket owns the files, and
// could as well stop the server and change the store, so it asks for no token.
const controlSocket = "control.sock"

// maxSocketPath is what a Unix socket's address holds (108 bytes with the final
// zero on Linux, less elsewhere).
const maxSocketPath = 100

// serveControl listens in dir until ctx ends.
func serveControl(ctx context.Context, dir string, admin administration, log *slog.Logger) (stop func(), err error) {
	path, done, err := socketPath(dir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			done()
		}
	}()
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) { // left by a server that was killed; we hold the lock
		return nil, err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		_ = listener.Close()
		return nil, err
	}
	srv := &http.Server{Handler: controlHandler(admin), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second}
	go func() {
		if err := srv.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Error("control socket", "error", err)
		}
	}()
	return func() { _ = srv.Close(); done() }, nil
}

// socketPath keeps within what a socket's address holds. A long path is named
// through the open directory, which the caller closes when the socket is no
// longer of use.
func socketPath(dir string) (path string, done func(), err error) {
	path = filepath.Join(dir, controlSocket)
	if len(path) <= maxSocketPath {
		return path, func() {}, nil
	}
	d, err := os.Open(dir) //nolint:gosec // the data directory
	if err != nil {
		return "", nil, err
	}
	done = func() { _ = d.Close() }
	short := fmt.Sprintf("/proc/self/fd/%d", d.Fd())
	if _, err := os.Stat(short); err != nil {
		done()
		return "", nil, fmt.Errorf("control socket: the data directory's path is too long for a socket (%d bytes, at most %d); use a shorter one",
			len(path), maxSocketPath)
	}
	return filepath.Join(short, controlSocket), done, nil
}

// controlHandler is the server's side.
func controlHandler(admin administration) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /tokens", func(w http.ResponseWriter, r *http.Request) {
		var req tokenRequest
		answer(w, decodeControl(r, &req), func() (any, error) { return admin.CreateToken(r.Context(), req) })
	})
	mux.HandleFunc("GET /signers", func(w http.ResponseWriter, r *http.Request) {
		answer(w, nil, func() (any, error) { return admin.Signers(r.Context()) })
	})
	mux.HandleFunc("POST /signers", func(w http.ResponseWriter, r *http.Request) {
		var row store.SignerRow
		answer(w, decodeControl(r, &row), func() (any, error) { return admin.AddSigner(r.Context(), row) })
	})
	mux.HandleFunc("DELETE /signers/{name}", func(w http.ResponseWriter, r *http.Request) {
		answer(w, nil, func() (any, error) { return nil, admin.RemoveSigner(r.Context(), r.PathValue("name")) })
	})
	return mux
}

func decodeControl(r *http.Request, into any) error {
	dec := json.NewDecoder(io.LimitReader(r.Body, 1<<20))
	dec.DisallowUnknownFields()
	return dec.Decode(into)
}

// controlError carries an exit code over the socket.
type controlError struct {
	Message string `json:"message"`
	Code    int    `json:"code"`
}

func answer(w http.ResponseWriter, decoded error, do func() (any, error)) {
	var result any
	err := decoded
	if err == nil {
		result, err = do()
	}
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		ce := controlError{Message: err.Error(), Code: exitFailure}
		var e *exit
		if errors.As(err, &e) {
			ce.Code = e.code
		}
		w.WriteHeader(http.StatusUnprocessableEntity)
		result = ce
	}
	_ = json.NewEncoder(w).Encode(result) // the other side sees a short body
}

// controlClient is the command's side.
type controlClient struct {
	http *http.Client
	done func()
}

// dialControl reaches the server that holds dir.
func dialControl(ctx context.Context, dir string, held *store.InUseError) (administration, error) {
	path, done, err := socketPath(dir)
	if err != nil {
		return nil, err
	}
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "unix", path)
	if err != nil {
		done()
		return nil, fmt.Errorf("%w (its control socket does not answer: %w)", held, err)
	}
	_ = conn.Close()
	return &controlClient{done: done, http: &http.Client{
		Timeout: 30 * time.Second,
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}},
	}}, nil
}

func (c *controlClient) call(ctx context.Context, method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://signet"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		var ce controlError
		if err := json.NewDecoder(res.Body).Decode(&ce); err != nil {
			return fmt.Errorf("the server answered %s", res.Status)
		}
		return &exit{code: ce.Code, err: errors.New(ce.Message)}
	}
	if out == nil {
		return nil
	}
	return json.NewDecoder(res.Body).Decode(out)
}

func (c *controlClient) CreateToken(ctx context.Context, req tokenRequest) (string, error) {
	var plain string
	err := c.call(ctx, http.MethodPost, "/tokens", req, &plain)
	return plain, err
}

func (c *controlClient) Signers(ctx context.Context) ([]store.SignerRow, error) {
	var rows []store.SignerRow
	err := c.call(ctx, http.MethodGet, "/signers", nil, &rows)
	return rows, err
}

func (c *controlClient) AddSigner(ctx context.Context, row store.SignerRow) (store.SignerRow, error) {
	var added store.SignerRow
	err := c.call(ctx, http.MethodPost, "/signers", row, &added)
	return added, err
}

func (c *controlClient) RemoveSigner(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodDelete, "/signers/"+url.PathEscape(name), nil, nil)
}

func (c *controlClient) Close() error {
	c.http.CloseIdleConnections()
	c.done()
	return nil
}
