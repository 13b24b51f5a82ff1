// Package pgtest gives tests PostgreSQL databases of their own.
package pgtest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"fmt"
	"net/url"
	"sync"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver

	"github.com/signet-policy/signet/internal/testkit/require"
)

// Database makes an empty database on the server of the tests, and drops it when
// the test ends. It returns its URL, by which commits do not wait for the disk:
// tests do not cut the power.
func Database(t testing.TB) string {
	t.Helper()
	server := require.Postgres(t)
	name := random(t)
	exec(t, server, "CREATE DATABASE "+name)
	t.Cleanup(func() { exec(t, server, "DROP DATABASE "+name+" WITH (FORCE)") })
	return urlOf(t, server, name)
}

// Schema makes an empty schema in a database that [Database] made, which takes
// less time than a database. It returns a URL by which it is the only one.
func Schema(t testing.TB, database string) string {
	t.Helper()
	name := random(t)
	exec(t, database, "CREATE SCHEMA "+name)
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	return with(u, "search_path", name)
}

// shared is the database of [Shared].
var shared struct {
	sync.Mutex
	server, name, url string
}

// Shared makes an empty schema in one database for all tests of a program. The
// program's TestMain ends with [DropShared].
func Shared(t testing.TB) string {
	t.Helper()
	server := require.Postgres(t)
	shared.Lock()
	defer shared.Unlock()
	if shared.url == "" {
		name := random(t)
		exec(t, server, "CREATE DATABASE "+name)
		shared.server, shared.name, shared.url = server, name, urlOf(t, server, name)
	}
	return Schema(t, shared.url)
}

// DropShared drops the database of [Shared], if there is one.
func DropShared() error {
	shared.Lock()
	defer shared.Unlock()
	if shared.url == "" {
		return nil
	}
	db, err := sql.Open("pgx", shared.server)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	if _, err := db.ExecContext(context.Background(), "DROP DATABASE "+shared.name+" WITH (FORCE)"); err != nil {
		return fmt.Errorf("dropping the tests' database: %w", err)
	}
	shared.url = ""
	return nil
}

// urlOf is the URL of a database of a server, by which commits do not wait for the
// disk: tests do not cut the power.
func urlOf(t testing.TB, server, name string) string {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatalf("SIGNET_TEST_POSTGRES: want a URL: %v", err)
	}
	u.Path = "/" + name
	return with(u, "synchronous_commit", "off")
}

// with sets a parameter of each connection.
func with(u *url.URL, name, value string) string {
	q := u.Query()
	q.Set(name, value)
	u.RawQuery = q.Encode()
	return u.String()
}

func random(t testing.TB) string {
	t.Helper()
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		t.Fatal(err)
	}
	return "signet_test_" + hex.EncodeToString(b[:])
}

func exec(t testing.TB, server, statement string) {
	t.Helper()
	db, err := sql.Open("pgx", server)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	// Not the test's context, which has ended when its database is dropped.
	if _, err := db.ExecContext(context.WithoutCancel(t.Context()), statement); err != nil {
		t.Fatal(err)
	}
}
