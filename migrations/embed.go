// Package migrations holds the schemas of the store, for goose. A file is never
// changed once released: what comes later is a new file with the next number,
// for both databases, so that their newest numbers agree.
package migrations

import (
	"embed"
	"io/fs"
)

//go:embed sqlite/*.sql
var sqlite embed.FS

//go:embed postgres/*.sql
var postgres embed.FS

// SQLite gives the migrations for SQLite, at the root of the file system.
func SQLite() fs.FS { return sub(sqlite, "sqlite") }

// PostgreSQL gives the migrations for PostgreSQL, at the root of the file system.
func PostgreSQL() fs.FS { return sub(postgres, "postgres") }

func sub(f fs.FS, name string) fs.FS {
	s, err := fs.Sub(f, name)
	if err != nil {
		panic(err) // the name is a constant and the directory is embedded
	}
	return s
}
