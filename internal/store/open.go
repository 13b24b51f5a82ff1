package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/zstd"
	_ "modernc.org/sqlite" // the driver

	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/verdict"
)

// FileName is the database in the data directory; SQLite keeps two more files
// beside it.
const FileName = "signet.db"

// lockName is the file whose lock the writing process holds.
const lockName = "signet.lock"

// Config says which store to open, and how.
type Config struct {
	// URL names a PostgreSQL database ("postgres://user@host/db?sslmode=…"), which
	// several processes may share. "" is SQLite in DataDir.
	URL string
	// Migrate brings a PostgreSQL database of an older version up to date when it
	// is opened for writing; else that is [ErrOlderSchema]. SQLite is always
	// migrated.
	Migrate bool
	// DataDir holds the SQLite store. It is made where it is missing, for the
	// owner alone.
	DataDir string
	// ReadOnly opens an existing store without taking the directory's lock, while
	// another process may be writing. Otherwise the lock is taken, and the store
	// is made and migrated: who may write is who holds the lock, so that what it
	// keeps in memory of active is never behind. PostgreSQL has no such lock.
	ReadOnly bool
	// SecretFile holds the installation's secret (see auth.ParseSecret); "" keeps
	// a random one in the store.
	SecretFile string
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// Store is safe for concurrent use. Close it.
type Store struct {
	cfg   Config
	lock  *dirLock
	read  *db
	write *db // nil when open for reading
	// actives is for reading active of a shared store, which each request waits for,
	// so that it waits for nothing else; nil otherwise.
	actives *db

	changing chan struct{} // see lockChanges
	// current is active while it is known for sure: nil after a commit of which
	// the outcome is not known, and always nil when open for reading, or shared.
	current atomic.Pointer[verdict.Active]

	fileSecret auth.Secret // where SecretFile is configured
	records    recorder
	pruned     prunedUpTo
	enc        *zstd.Encoder
	dec        *zstd.Decoder
}

// Shared says that other processes may write to the store as well, so that
// [Store.Active] is read from the database each time.
func (s *Store) Shared() bool { return s.cfg.URL != "" }

// Exists says whether dir holds a store. It is cheap: nothing is opened.
func Exists(dir string) bool {
	st, err := os.Stat(filepath.Join(dir, FileName))
	return err == nil && st.Mode().IsRegular()
}

// Open opens the store that cfg names. Errors: [InUseError] when another process
// writes to the data directory, [ErrNewerSchema], [ErrUnavailable]; when opened
// for reading also [ErrNoStore] and [ErrOlderSchema], which is one of PostgreSQL's
// without [Config.Migrate] too.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	return open(ctx, cfg, schemaOf(cfg))
}

func open(ctx context.Context, cfg Config, schema fs.FS) (_ *Store, err error) {
	s, err := prepare(cfg)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = s.Close() // the first error is the one to report
		}
	}()
	if cfg.ReadOnly {
		if err := s.openReaders(); err != nil {
			return nil, err
		}
		if err := s.checkReadable(ctx, schema); err != nil {
			return nil, err
		}
		return s, nil
	}
	if err := s.openWriter(); err != nil {
		return nil, err
	}
	if s.Shared() && !cfg.Migrate {
		err = checkSchema(ctx, s.write, schema)
	} else {
		err = migrate(ctx, s.write, schema)
	}
	if err != nil {
		return nil, err
	}
	if err := s.settle(ctx); err != nil {
		return nil, err
	}
	s.records.start(s)
	if s.Shared() {
		s.read = s.write
		return s, nil
	}
	if _, err := s.reload(ctx); err != nil {
		return nil, err
	}
	if err := s.openReaders(); err != nil {
		return nil, err
	}
	return s, nil
}

// prepare checks cfg and makes a Store that has no database yet.
func prepare(cfg Config) (*Store, error) {
	if cfg.URL == "" {
		if cfg.DataDir == "" {
			return nil, fmt.Errorf("opening the store: %w: DataDir is empty", ErrInvalid)
		}
		dir, err := filepath.Abs(cfg.DataDir)
		if err != nil {
			return nil, fmt.Errorf("opening the store: %w", err)
		}
		cfg.DataDir = dir
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Store{cfg: cfg, changing: make(chan struct{}, 1)}
	if cfg.SecretFile != "" {
		var err error
		if s.fileSecret, err = secretFromFile(cfg.SecretFile); err != nil {
			return nil, err
		}
	}
	if err := s.openCodec(); err != nil {
		return nil, err
	}
	return s, nil
}

// checkReadable says whether there is a store, and one that this binary reads.
func (s *Store) checkReadable(ctx context.Context, schema fs.FS) error {
	if s.Shared() {
		switch have, err := schemaVersion(ctx, s.read); {
		case err != nil:
			return err
		case have == 0:
			return fmt.Errorf("%w in the database: signet migrate up makes one", ErrNoStore)
		}
	}
	return checkSchema(ctx, s.read, schema)
}

// openWriter opens the database for writing, on SQLite under the lock of its
// directory. The schema may be any.
func (s *Store) openWriter() (err error) {
	if s.Shared() {
		if s.write, err = openPostgres(s.cfg, maxConnections); err != nil {
			return err
		}
		s.actives, err = openPostgres(s.cfg, activeConnections)
		return err
	}
	if err := os.MkdirAll(s.cfg.DataDir, 0o700); err != nil {
		return fmt.Errorf("making the data directory: %w", err)
	}
	lock, err := lockDir(s.cfg.DataDir)
	if err != nil {
		return err
	}
	s.lock = lock
	path := s.path()
	if err := makePrivate(path); err != nil {
		return err
	}
	write, err := sql.Open("sqlite", dsn(path, "rw",
		"_txlock", "immediate",
		"_journal_mode", "WAL",
		// What was acknowledged must outlive a power cut: a signer disabled just
		// before it is not trusted again after it.
		"_synchronous", "FULL",
		"_pragma", "journal_size_limit(67108864)",
	))
	if err != nil {
		return wrap("opening the store", err)
	}
	write.SetMaxOpenConns(1)
	write.SetMaxIdleConns(1)
	s.write = &db{DB: write}
	return nil
}

func (s *Store) openReaders() (err error) {
	if s.Shared() {
		s.read, err = openPostgres(s.cfg, maxConnections)
		return err
	}
	if !Exists(s.cfg.DataDir) {
		return fmt.Errorf("%w in %s: signet serve, or signet token create, makes one", ErrNoStore, s.cfg.DataDir)
	}
	read, err := sql.Open("sqlite", dsn(s.path(), "ro", "_query_only", "1"))
	if err != nil {
		return wrap("opening the store", err)
	}
	n := max(4, runtime.GOMAXPROCS(0))
	read.SetMaxOpenConns(n)
	read.SetMaxIdleConns(n)
	s.read = &db{DB: read}
	return nil
}

// Close waits for verdicts that are being recorded, and closes the store.
func (s *Store) Close() error {
	s.records.stop()
	var errs []error
	// Readers first: who closes last writes the log back into the file, and a
	// reader cannot.
	if s.read != nil && s.read != s.write {
		errs = append(errs, s.read.Close())
	}
	if s.actives != nil {
		errs = append(errs, s.actives.Close())
	}
	if s.write != nil {
		errs = append(errs, s.write.Close())
	}
	if s.lock != nil {
		errs = append(errs, s.lock.release())
		s.lock = nil
	}
	s.closeCodec()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("closing the store: %w", err)
	}
	return nil
}

func (s *Store) path() string { return filepath.Join(s.cfg.DataDir, FileName) }

// now is in whole microseconds, UTC, as the store keeps times.
func (s *Store) now() time.Time { return s.cfg.Now().UTC().Truncate(time.Microsecond) }

// makePrivate makes the file where it is missing, for the owner alone, and takes
// other people's rights away where it is not. SQLite gives its other files the
// mode of this one.
func makePrivate(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // the operator names the data directory
	switch {
	case err == nil:
		return f.Close()
	case !errors.Is(err, fs.ErrExist):
		return fmt.Errorf("making the store: %w", err)
	}
	st, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("opening the store: %w", err)
	}
	if !st.Mode().IsRegular() {
		return fmt.Errorf("opening the store: %s is not a regular file", path)
	}
	if st.Mode().Perm()&0o077 == 0 {
		return nil
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return fmt.Errorf("opening the store: its file can be read by others, and this cannot be changed: %w", err)
	}
	return nil
}

// dsn names the file as a URI, which alone lets SQLite see the mode, with what
// every connection has: foreign keys, a wait for locks, and none of the old
// leniencies of SQL.
func dsn(path, mode string, pairs ...string) string {
	q := url.Values{
		"mode":          {mode},
		"_busy_timeout": {"5000"},
		"_foreign_keys": {"1"},
		"_defensive":    {"1"},
		"_dqs":          {"0"},
		"_pragma":       {"trusted_schema(0)"},
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		q.Add(pairs[i], pairs[i+1])
	}
	u := url.URL{Scheme: "file", Path: filepath.ToSlash(path), RawQuery: q.Encode()}
	return u.String()
}
