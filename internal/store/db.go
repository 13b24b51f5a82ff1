package store

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// dialect is what the two databases write differently. The zero value is
// SQLite.
type dialect struct{ postgres bool }

// bind gives a statement's arguments, which are written ?, the names that
// PostgreSQL has for them. No statement of ours has a ? that is not an argument.
func (d dialect) bind(query string) string {
	if !d.postgres {
		return query
	}
	var b strings.Builder
	b.Grow(len(query) + 64)
	for n := 1; ; n++ {
		before, after, found := strings.Cut(query, "?")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		b.WriteByte('$')
		b.WriteString(strconv.Itoa(n))
		query = after
	}
}

// lookedFor are the arguments of a query with texts as both databases keep them,
// see [printable]: else PostgreSQL fails where SQLite finds nothing. What is
// written is not made to fit, but refused.
func lookedFor(args []any) []any {
	for i, a := range args {
		if text, ok := a.(string); ok {
			args[i] = printable(text)
		}
	}
	return args
}

// forUpdate ends a query whose row is locked until the transaction ends. On
// SQLite there is only one writer.
func (d dialect) forUpdate() string {
	if d.postgres {
		return " FOR UPDATE"
	}
	return ""
}

// forKeyShare ends a query whose row is not to be removed until the transaction
// ends.
func (d dialect) forKeyShare() string {
	if d.postgres {
		return " FOR KEY SHARE"
	}
	return ""
}

func (d dialect) isPostgres() bool { return d.postgres }

// querier is a *db or a *tx.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// dialectQuerier is a querier that knows its database.
type dialectQuerier interface {
	querier
	isPostgres() bool
}

// db is a database that understands our statements.
type db struct {
	*sql.DB
	dialect
}

func (d *db) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	return d.DB.ExecContext(ctx, d.bind(query), args...)
}

func (d *db) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return d.DB.QueryContext(ctx, d.bind(query), lookedFor(args)...)
}

func (d *db) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	return d.DB.QueryRowContext(ctx, d.bind(query), lookedFor(args)...)
}

// begin begins a transaction that writes. What another one has committed is seen
// by its next statement.
func (d *db) begin(ctx context.Context) (*tx, error) {
	return d.beginTx(ctx, nil)
}

func (d *db) beginTx(ctx context.Context, opts *sql.TxOptions) (*tx, error) {
	var t *sql.Tx
	err := d.retried(ctx, func() (err error) {
		t, err = d.BeginTx(ctx, opts)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &tx{t, d.dialect}, nil
}

// retried repeats what has no effect while it fails on connections that ended
// while nobody used them, of which there are at most as many as the pool holds. A
// server that cannot be connected to is not asked again.
func (d *db) retried(ctx context.Context, do func() error) error {
	err := do()
	for range d.Stats().MaxOpenConnections {
		var connect *pgconn.ConnectError
		if err == nil || !d.postgres || ctx.Err() != nil || errors.As(err, &connect) {
			break
		}
		err = do()
	}
	return err
}

// view begins a transaction that reads: all of it sees one state.
func (d *db) view(ctx context.Context) (*tx, error) {
	opts := &sql.TxOptions{ReadOnly: true}
	if d.postgres { // SQLite knows no other
		opts.Isolation = sql.LevelRepeatableRead
	}
	return d.beginTx(ctx, opts)
}

// tx is a transaction of a db.
type tx struct {
	*sql.Tx
	dialect
}

func (t *tx) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	return t.Tx.ExecContext(ctx, t.bind(query), args...)
}

func (t *tx) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return t.Tx.QueryContext(ctx, t.bind(query), lookedFor(args)...)
}

func (t *tx) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	return t.Tx.QueryRowContext(ctx, t.bind(query), lookedFor(args)...)
}
