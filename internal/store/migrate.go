package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/pressly/goose/v3"
)

// migrate brings the schema to the newest version of this binary.
func migrate(ctx context.Context, db *sql.DB, schema fs.FS) error {
	want, err := newest(schema)
	if err != nil {
		return err
	}
	have, err := schemaVersion(ctx, db)
	if err != nil {
		return err
	}
	if have == want {
		return nil
	}
	if have > want {
		return newer(have, want)
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, schema,
		goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return fmt.Errorf("reading the migrations: %w", err)
	}
	if _, err := p.Up(ctx); err != nil {
		return wrap("migrating the store", err)
	}
	return nil
}

// checkSchema says whether this binary can read the store as it is.
func checkSchema(ctx context.Context, db *sql.DB, schema fs.FS) error {
	want, err := newest(schema)
	if err != nil {
		return err
	}
	have, err := schemaVersion(ctx, db)
	switch {
	case err != nil:
		return err
	case have > want:
		return newer(have, want)
	case have < want:
		return fmt.Errorf("%w (schema %d, this one reads %d): start the server once, or create a token, to migrate it", ErrOlderSchema, have, want)
	}
	return nil
}

func newer(have, want int64) error {
	return fmt.Errorf("%w (schema %d, this one knows up to %d): use that version, or restore a backup made before the upgrade", ErrNewerSchema, have, want)
}

// schemaVersion is 0 for an empty file.
func schemaVersion(ctx context.Context, db *sql.DB) (int64, error) {
	var tables, version int64
	err := db.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?`, goose.DefaultTablename).Scan(&tables)
	if err != nil {
		return 0, wrap("reading the schema's version", err)
	}
	if tables == 0 {
		return 0, nil
	}
	err = db.QueryRowContext(ctx, `SELECT coalesce(max(version_id), 0) FROM goose_db_version`).Scan(&version)
	return version, wrap("reading the schema's version", err)
}

// newest is the highest number of a migration, from the names of the files.
func newest(schema fs.FS) (int64, error) {
	names, err := fs.Glob(schema, "*.sql")
	if err != nil {
		return 0, fmt.Errorf("reading the migrations: %w", err)
	}
	var highest int64
	for _, name := range names {
		number, _, _ := strings.Cut(name, "_")
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("reading the migrations: %s does not begin with a number", name)
		}
		highest = max(highest, n)
	}
	if highest == 0 {
		return 0, errors.New("reading the migrations: there are none")
	}
	return highest, nil
}
