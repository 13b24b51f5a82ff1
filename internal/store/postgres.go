package store

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

const (
	// connectTimeout bounds how long a new connection is waited for.
	connectTimeout = 2 * time.Second
	// maxConnections is how many a process has, so that a few replicas stay below
	// what a server allows by default.
	maxConnections = 16
	// activeConnections are apart, for [Store.Active] alone.
	activeConnections = 2
)

// openPostgres opens a pool of at most so many connections; it connects when it is
// used.
func openPostgres(cfg Config, most int) (*db, error) {
	c, err := pgx.ParseConfig(cfg.URL)
	if err != nil { // its message has no password
		return nil, fmt.Errorf("opening the store: %w: URL: %w", ErrInvalid, err)
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = connectTimeout
	}
	// A server that went without a word is noticed, while we wait for it too.
	dialer := &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3}}
	c.DialFunc = dialer.DialContext
	for name, value := range map[string]string{
		"application_name": "signet",
		// No statement of ours takes long; those that may say so, see [tx.patient].
		"statement_timeout": "10s",
		// A page of a list is planned for what it asks for: one decision is rare and
		// another is not.
		"plan_cache_mode": "force_custom_plan",
		// A process that hangs in a change lets the others go on.
		"idle_in_transaction_session_timeout": "30s",
		// Whoever disappears in a change does as well.
		"tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3",
	} {
		if _, set := c.RuntimeParams[name]; !set {
			c.RuntimeParams[name] = value
		}
	}
	if cfg.ReadOnly {
		c.RuntimeParams["default_transaction_read_only"] = "on"
	} else if c.ValidateConnect == nil {
		// A URL may name several servers, and what it names may have become a standby
		// that does not know yet what was acknowledged elsewhere.
		c.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	pool := stdlib.OpenDB(*c)
	pool.SetMaxOpenConns(most)
	pool.SetMaxIdleConns(most)
	pool.SetConnMaxIdleTime(5 * time.Minute)
	pool.SetConnMaxLifetime(time.Hour)
	return &db{DB: pool, dialect: dialect{postgres: true}}, nil
}

// patient lets the statements of a transaction take as long as they need.
func (t *tx) patient(ctx context.Context) error {
	if !t.postgres {
		return nil
	}
	for _, name := range []string{"statement_timeout", "idle_in_transaction_session_timeout"} {
		if _, err := t.ExecContext(ctx, `SET LOCAL `+name+` = 0`); err != nil {
			return err
		}
	}
	return nil
}

// ofPostgres is the sentinel for an error of PostgreSQL, nil for another's.
// https://www.postgresql.org/docs/current/errcodes-appendix.html
func ofPostgres(err error) error {
	var connect *pgconn.ConnectError
	if errors.As(err, &connect) && !errors.Is(err, context.Canceled) {
		return ErrUnavailable // its own time limit is none of the caller's
	}
	var pg *pgconn.PgError
	switch {
	case !errors.As(err, &pg):
		return nil
	case strings.HasPrefix(pg.Code, "23"): // integrity constraint violation
		return ErrConflict
	case strings.HasPrefix(pg.Code, "22"): // data exception
		return ErrInvalid
	default:
		return ErrUnavailable
	}
}

// again says that a transaction failed through another one that was under way,
// and may be tried again.
func again(err error) bool {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return false
	}
	switch pg.Code {
	case "40001", "40P01": // serialization failure, deadlock
		return true
	case "23503": // facts that were there were removed meanwhile
		return true
	default:
		return false
	}
}
