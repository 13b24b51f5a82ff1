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
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/zstd"
	_ "modernc.org/sqlite" // the driver

	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/verdict"
	"github.com/signet-policy/signet/migrations"
)

// FileName is the database in the data directory; SQLite keeps two more files
// beside it.
const FileName = "signet.db"

// lockName is the file whose lock the writing process holds.
const lockName = "signet.lock"

// Config says which store to open, and how.
type Config struct {
	// DataDir holds the store. It is made where it is missing, for the owner
	// alone.
	DataDir string
	// ReadOnly opens an existing store without taking the directory's lock, while
	// another process may be writing. Otherwise the lock is taken, and the store
	// is made and migrated: who may write is who holds the lock, so that what it
	// keeps in memory of active is never behind.
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
	read  *sql.DB
	write *sql.DB // nil when open for reading

	// changing is held over each write transaction and the change of current
	// that follows it.
	changing sync.Mutex
	// current is active while it is known for sure: nil after a commit of which
	// the outcome is not known, and always nil when open for reading.
	current atomic.Pointer[verdict.Active]

	secret  auth.Secret
	records recorder
	enc     *zstd.Encoder
	dec     *zstd.Decoder
}

// Exists says whether dir holds a store. It is cheap: nothing is opened.
func Exists(dir string) bool {
	st, err := os.Stat(filepath.Join(dir, FileName))
	return err == nil && st.Mode().IsRegular()
}

// Open opens the store in cfg.DataDir. Errors: [InUseError] when another process
// writes there, [ErrNewerSchema], [ErrUnavailable]; when opened for reading also
// [ErrNoStore] and [ErrOlderSchema].
func Open(ctx context.Context, cfg Config) (*Store, error) {
	return open(ctx, cfg, migrations.SQLite())
}

func open(ctx context.Context, cfg Config, schema fs.FS) (_ *Store, err error) {
	if cfg.DataDir == "" {
		return nil, fmt.Errorf("opening the store: %w: DataDir is empty", ErrInvalid)
	}
	dir, err := filepath.Abs(cfg.DataDir)
	if err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	cfg.DataDir = dir
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Store{cfg: cfg}
	defer func() {
		if err != nil {
			_ = s.Close() // the first error is the one to report
		}
	}()
	if err := s.openCodec(); err != nil {
		return nil, err
	}
	if cfg.ReadOnly {
		err = s.openForReading(ctx, schema)
	} else {
		err = s.openForWriting(ctx, schema)
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Store) openForReading(ctx context.Context, schema fs.FS) error {
	if !Exists(s.cfg.DataDir) {
		return fmt.Errorf("%w in %s: signet serve, or signet token create, makes one", ErrNoStore, s.cfg.DataDir)
	}
	if err := s.openReaders(); err != nil {
		return err
	}
	return checkSchema(ctx, s.read, schema)
}

func (s *Store) openForWriting(ctx context.Context, schema fs.FS) error {
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
	s.write, err = sql.Open("sqlite", dsn(path, "rw",
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
	s.write.SetMaxOpenConns(1)
	s.write.SetMaxIdleConns(1)
	if err := migrate(ctx, s.write, schema); err != nil {
		return err
	}
	if err := s.loadSecret(ctx); err != nil {
		return err
	}
	if _, err := s.reload(ctx); err != nil {
		return err
	}
	s.records.start(s)
	return s.openReaders()
}

func (s *Store) openReaders() (err error) {
	s.read, err = sql.Open("sqlite", dsn(s.path(), "ro", "_query_only", "1"))
	if err != nil {
		return wrap("opening the store", err)
	}
	n := max(4, runtime.GOMAXPROCS(0))
	s.read.SetMaxOpenConns(n)
	s.read.SetMaxIdleConns(n)
	return nil
}

// Close waits for verdicts that are being recorded, and closes the store.
func (s *Store) Close() error {
	s.records.stop()
	var errs []error
	// Readers first: who closes last writes the log back into the file, and a
	// reader cannot.
	if s.read != nil {
		errs = append(errs, s.read.Close())
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
