// Package migrations holds the schemas of the store, for goose. A file is never
// changed once released: what comes later is a new file with the next number.
package migrations

import (
	"embed"
	"io/fs"
)

//go:embed sqlite/*.sql
var sqlite embed.FS

// SQLite gives the migrations for SQLite, at the root of the file system.
func SQLite() fs.FS {
	sub, err := fs.Sub(sqlite, "sqlite")
	if err != nil {
		panic(err) // the name is a constant and the directory is embedded
	}
	return sub
}
