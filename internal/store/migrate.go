package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/signet-policy/signet/migrations"
)

// schemaOf are the migrations for the database that cfg names.
func schemaOf(cfg Config) fs.FS {
	if cfg.URL != "" {
		return migrations.PostgreSQL()
	}
	return migrations.SQLite()
}

// migrate brings the schema to the newest version of this binary. On PostgreSQL
// one process at a time does, under a lock of the database.
func migrate(ctx context.Context, d *db, schema fs.FS) error {
	want, err := newest(schema)
	if err != nil {
		return err
	}
	have, err := schemaVersion(ctx, d)
	if err != nil {
		return err
	}
	if have == want {
		return nil
	}
	if have > want {
		return newer(have, want)
	}
	dialect := goose.DialectSQLite3
	options := []goose.ProviderOption{goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger())}
	if d.postgres {
		dialect = goose.DialectPostgres
		// Asked for each second, for a minute.
		locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 60))
		if err != nil {
			return fmt.Errorf("reading the migrations: %w", err)
		}
		options = append(options, goose.WithSessionLocker(locker))
	}
	p, err := goose.NewProvider(dialect, d.DB, schema, options...)
	if err != nil {
		return fmt.Errorf("reading the migrations: %w", err)
	}
	if _, err := p.Up(ctx); err != nil {
		return wrap("migrating the store", err)
	}
	return nil
}

// checkSchema says whether this binary can use the store as it is.
func checkSchema(ctx context.Context, d *db, schema fs.FS) error {
	want, err := newest(schema)
	if err != nil {
		return err
	}
	have, err := schemaVersion(ctx, d)
	switch {
	case err != nil:
		return err
	case have > want:
		return newer(have, want)
	case have < want:
		return fmt.Errorf("%w (schema %d, this one uses %d): run signet migrate up", ErrOlderSchema, have, want)
	}
	return nil
}

func newer(have, want int64) error {
	return fmt.Errorf("%w (schema %d, this one knows up to %d): use that version, or restore a backup made before the upgrade", ErrNewerSchema, have, want)
}

// schemaVersion is 0 for an empty database.
func schemaVersion(ctx context.Context, d dialectQuerier) (int64, error) {
	const op = "reading the schema's version"
	query := `SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?`
	if d.isPostgres() {
		query = `SELECT count(to_regclass(?))`
	}
	var tables, version int64
	if err := d.QueryRowContext(ctx, query, goose.DefaultTablename).Scan(&tables); err != nil {
		return 0, wrap(op, err)
	}
	if tables == 0 {
		return 0, nil
	}
	err := d.QueryRowContext(ctx, `SELECT coalesce(max(version_id), 0) FROM `+goose.DefaultTablename).Scan(&version)
	return version, wrap(op, err)
}

// newest is the highest number of a migration.
func newest(schema fs.FS) (int64, error) {
	list, err := numbered(schema)
	if err != nil {
		return 0, err
	}
	return list[len(list)-1].number, nil
}

type migration struct {
	number int64
	name   string
}

// numbered are the migrations, of which there is at least one, in order.
func numbered(schema fs.FS) ([]migration, error) {
	names, err := fs.Glob(schema, "*.sql")
	if err != nil {
		return nil, fmt.Errorf("reading the migrations: %w", err)
	}
	var list []migration
	for _, name := range names {
		number, _, _ := strings.Cut(name, "_")
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil || n <= 0 {
			return nil, fmt.Errorf("reading the migrations: %s does not begin with a number", name)
		}
		list = append(list, migration{n, strings.TrimSuffix(path.Base(name), ".sql")})
	}
	if len(list) == 0 {
		return nil, errors.New("reading the migrations: there are none")
	}
	slices.SortFunc(list, func(a, b migration) int { return int(a.number - b.number) })
	return list, nil
}

// Migrate brings the store that cfg names to the newest schema of this binary,
// and makes it where it is missing. It returns the numbers of the schema before
// and after. Errors: those of [Open].
func Migrate(ctx context.Context, cfg Config) (from, to int64, err error) {
	schema := schemaOf(cfg)
	if to, err = newest(schema); err != nil {
		return 0, 0, err
	}
	cfg.ReadOnly = false
	s, err := prepare(cfg)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := s.openWriter(); err != nil {
		return 0, 0, err
	}
	if from, err = schemaVersion(ctx, s.write); err != nil {
		return 0, 0, err
	}
	if err := migrate(ctx, s.write, schema); err != nil {
		return from, from, err
	}
	return from, to, nil
}

// SchemaStatus tells the number of the store's schema, the newest one of this
// binary, and the names of the migrations between them. Nothing is changed.
// [ErrNoStore], beside all migrations, where the data directory has no store.
func SchemaStatus(ctx context.Context, cfg Config) (have, want int64, pending []string, err error) {
	list, err := numbered(schemaOf(cfg))
	if err != nil {
		return 0, 0, nil, err
	}
	want = list[len(list)-1].number
	cfg.ReadOnly = true
	s, err := prepare(cfg)
	if err != nil {
		return 0, want, nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	err = s.openReaders()
	if err == nil {
		have, err = schemaVersion(ctx, s.read)
	}
	if err != nil && !errors.Is(err, ErrNoStore) {
		return 0, want, nil, err
	}
	for _, m := range list {
		if m.number > have {
			pending = append(pending, m.name)
		}
	}
	return have, want, pending, err
}
