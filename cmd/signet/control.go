package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"time"

	"github.com/signet-policy/signet/internal/api"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/store"
)

// The control socket: the commands of the data directory's owner reach the
// server that holds the store. Who can open the socket owns the files, and
// could as well stop the server and change the store, so it asks for no token.
const controlSocket = "control.sock"

// maxSocketPath is what a Unix socket's address holds (108 bytes with the final
// zero on Linux, less elsewhere).
const maxSocketPath = 100

// controlStopTime is what a command under way may take when the server stops.
const controlStopTime = 5 * time.Second

// serveControl serves the API in dir, to whoever can open the socket, as the
// owner of the data directory.
func serveControl(ctx context.Context, dir string, handler http.Handler, log *slog.Logger) (stop func(), err error) {
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
	srv := api.NewHTTPServer(path, asOwner(handler))
	go func() {
		if err := srv.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Error("control socket", "error", err)
		}
	}()
	return func() {
		defer done()
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), controlStopTime)
		defer cancel()
		if srv.Shutdown(stopping) != nil {
			_ = srv.Close()
		}
	}, nil
}

// commandLinePrincipal is who runs a command on the store itself: whoever can
// do that may do everything.
func commandLinePrincipal() auth.Principal {
	name := fmt.Sprintf("uid %d", os.Getuid())
	if u, err := user.Current(); err == nil && u.Username != "" {
		name = u.Username
	}
	return auth.Principal{Name: "cli:" + name, Role: auth.Admin}
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

// dialControl reaches the server that holds dir; the caller calls done when it
// has asked all.
func dialControl(ctx context.Context, dir string, held *store.InUseError) (transport http.RoundTripper, done func(), err error) {
	path, forget, err := socketPath(dir)
	if err != nil {
		return nil, nil, err
	}
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "unix", path)
	if err != nil {
		forget()
		return nil, nil, fmt.Errorf("%w (its control socket does not answer: %w)", held, err)
	}
	_ = conn.Close()
	t := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}
	return t, func() { t.CloseIdleConnections(); forget() }, nil
}
