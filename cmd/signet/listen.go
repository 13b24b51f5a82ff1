package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/signet-policy/signet/internal/api"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/config"
	"github.com/signet-policy/signet/internal/glob"
	"github.com/signet-policy/signet/internal/tlsfiles"
)

// face is one address that the server answers on.
type face struct {
	server   *http.Server
	listener net.Listener
	tls      bool
	// remove is a socket's file, "" for an address of the network.
	remove string
}

// url is how a person reaches it.
func (f face) url() string {
	if f.remove != "" {
		return "unix:" + f.remove
	}
	scheme := "http"
	if f.tls {
		scheme = "https"
	}
	return (&url.URL{Scheme: scheme, Host: f.listener.Addr().String()}).String()
}

// mainFace is the address in listen, where a token says who asks.
func mainFace(ctx context.Context, f config.File, handler http.Handler, log *slog.Logger) (face, error) {
	main, err := openFace(ctx, f, config.Listener{Address: f.Listen, Authentication: config.AuthToken, TLS: f.TLS}, handler, log)
	var busy *net.OpError
	if errors.As(err, &busy) {
		err = fmt.Errorf("%w; choose another address with --listen", err)
	}
	return main, err
}

// openFaces opens all addresses of the configuration, the main one first. When
// one cannot be opened, none is.
func openFaces(ctx context.Context, f config.File, handler http.Handler, log *slog.Logger) (faces []face, err error) {
	defer func() {
		if err != nil {
			closeFaces(faces)
		}
	}()
	first, err := mainFace(ctx, f, handler, log)
	if err != nil {
		return nil, err
	}
	faces = append(faces, first)
	for i, l := range f.Listeners {
		more, err := openFace(ctx, f, l, handler, log)
		if err != nil {
			return faces, fmt.Errorf("listeners[%d]: %w", i, err)
		}
		faces = append(faces, more)
		health, err := healthFace(ctx, l, more, handler, log)
		if err != nil {
			return faces, fmt.Errorf("listeners[%d]: %w", i, err)
		}
		faces = append(faces, health...)
	}
	return faces, nil
}

func closeFaces(faces []face) {
	for _, f := range faces {
		_ = f.server.Close()
		_ = f.listener.Close()
		f.removeSocket()
	}
}

func (f face) removeSocket() {
	if f.remove != "" {
		_ = os.Remove(f.remove)
	}
}

func openFace(ctx context.Context, f config.File, l config.Listener, handler http.Handler, log *slog.Logger) (face, error) {
	if l.Authentication == config.AuthNone {
		handler = onlyLoopbackHosts(handler)
	}
	if len(l.Protocols) > 0 {
		handler = onlyProtocols(l.Protocols, handler)
	}
	out := face{server: api.NewHTTPServer(l.Address, handler), remove: l.SocketPath()}
	out.server.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelWarn)
	if l.Principal != nil {
		p, err := listenerPrincipal(*l.Principal)
		if err != nil {
			return face{}, fmt.Errorf("principal: %w", err)
		}
		out.server.BaseContext = func(net.Listener) context.Context {
			return api.WithPrincipal(context.WithoutCancel(ctx), p)
		}
	}
	if l.TLS.On() {
		files, err := tlsfiles.Load(tlsfiles.Config{
			CertFile: f.Relative(l.TLS.CertFile), KeyFile: f.Relative(l.TLS.KeyFile), ClientCAFile: f.Relative(l.TLS.ClientCAFile),
			ClientNames: l.ClientNames, Log: log,
		})
		if err != nil {
			return face{}, fmt.Errorf("tls: %w", err)
		}
		out.tls, out.server.TLSConfig = true, files.Config()
	}
	var err error
	if out.remove != "" {
		out.listener, err = listenSocket(ctx, out.remove)
	} else {
		out.listener, err = listen(ctx, l.Address)
	}
	return out, err
}

// serve answers until the server is shut down.
func (f face) serve() error {
	var err error
	if f.tls {
		err = f.server.ServeTLS(f.listener, "", "")
	} else {
		err = f.server.Serve(f.listener)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("%s: %w", f.url(), err)
}

func listen(ctx context.Context, addr string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return l, nil
}

// listenSocket listens on a Unix socket that its owner and group can open. A
// file that is there is removed if it is a socket nobody answers on.
func listenSocket(ctx context.Context, path string) (net.Listener, error) {
	if st, err := os.Lstat(path); err == nil {
		if st.Mode()&os.ModeSocket == 0 {
			return nil, fmt.Errorf("listen: %s is there and is not a socket", path)
		}
		dialer := net.Dialer{Timeout: time.Second}
		if conn, err := dialer.DialContext(ctx, "unix", path); err == nil {
			_ = conn.Close()
			return nil, fmt.Errorf("listen: another process answers on %s", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("listen: %w", err)
		}
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if err := os.Chmod(path, 0o660); err != nil { //nolint:gosec // its group are the callers
		_ = l.Close()
		return nil, fmt.Errorf("listen: %w", err)
	}
	return l, nil
}

func listenerPrincipal(p config.Principal) (auth.Principal, error) {
	role, err := auth.ParseRole(p.Role)
	if err != nil {
		return auth.Principal{}, err
	}
	if _, err := glob.NewScope(p.Images); err != nil {
		return auth.Principal{}, err
	}
	return auth.Principal{Name: p.Name, Role: role, Team: p.Team, Images: p.Images}, nil
}

// onlyProtocols leaves a listener the paths of its protocols.
func onlyProtocols(names []string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(api.WithProtocols(r.Context(), names)))
	})
}

// onlyLoopbackHosts is for addresses without authentication: a page in a browser
// on this machine may reach them under a name of its own (DNS rebinding), and
// then says that name as Host.
func onlyLoopbackHosts(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		if !config.IsLoopback(host) || r.Header.Get("Origin") != "" {
			http.Error(w, "This address answers programs on this machine only: as localhost, and not to pages of other origins.", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// healthOffset is how far above its own port a plugin server with TLS says in clear
// text whether it is well: what starts it has no certificate to ask with.
const healthOffset = 1000

// healthFace is that address, for a listener that wants it.
func healthFace(ctx context.Context, l config.Listener, of face, handler http.Handler, log *slog.Logger) ([]face, error) {
	at, ok := of.listener.Addr().(*net.TCPAddr)
	if !ok || !of.tls || !slices.Contains(l.Protocols, "mcp") {
		return nil, nil
	}
	if at.Port+healthOffset > 65535 {
		return nil, fmt.Errorf("address: port %d leaves no port for /health in clear text, %d above it; choose a lower one", at.Port, healthOffset)
	}
	host, _, err := net.SplitHostPort(l.Address)
	if err != nil {
		return nil, err
	}
	address := net.JoinHostPort(host, strconv.Itoa(at.Port+healthOffset))
	out := face{server: api.NewHTTPServer(address, onlyHealth(handler))}
	out.server.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelWarn)
	if out.listener, err = listen(ctx, address); err != nil {
		return nil, fmt.Errorf("%w (for /health in clear text, %d above the port of mcp)", err, healthOffset)
	}
	return []face{out}, nil
}

// addPluginsServer adds the listener of PLUGINS_SERVER_*, as an MCP gateway's
// manifests start a plugin server.
func addPluginsServer(f *config.File) error {
	l, asked, err := config.PluginsServer(os.Getenv)
	if err != nil {
		return &exit{code: exitUsage, err: err}
	}
	if !asked {
		return nil
	}
	for _, path := range []*string{&l.TLS.CertFile, &l.TLS.KeyFile, &l.TLS.ClientCAFile} {
		if *path != "" {
			if *path, err = filepath.Abs(*path); err != nil {
				return err
			}
		}
	}
	f.Listeners = append(f.Listeners, l)
	return nil
}
