package api

import (
	"log/slog"
	"net/http"
	"time"
)

// What a connection may take of our time and memory. A body that drips is cut
// off by readTimeout, whatever the handler waits for.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 15 * time.Second
	idleTimeout       = 2 * time.Minute
	writeSlack        = 15 * time.Second
	maxHeaderBytes    = 32 << 10
)

// NewHTTPServer makes the server for h with every timeout set. The time to
// write covers reading, and for a [*Server] its RequestTimeout and its log is
// used for what net/http has to say.
func NewHTTPServer(addr string, h http.Handler) *http.Server {
	srv := &http.Server{
		Addr: addr, Handler: h,
		ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout,
		WriteTimeout: readTimeout + DefaultRequestTimeout + writeSlack,
		IdleTimeout:  idleTimeout, MaxHeaderBytes: maxHeaderBytes,
	}
	if s, ok := h.(*Server); ok {
		srv.WriteTimeout = readTimeout + s.cfg.RequestTimeout + writeSlack
		srv.ErrorLog = slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelWarn)
	}
	return srv
}
