package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

var (
	// ErrUnavailable says that the database could not do it: locked, full,
	// unreadable or gone. Nothing was written, unless it was the commit that failed;
	// the caller may ask again.
	ErrUnavailable = errors.New("the store is unavailable")
	// ErrNotFound says that there is no such row.
	ErrNotFound = errors.New("not found")
	// ErrConflict says that the row changed meanwhile, or that another one has
	// its name.
	ErrConflict = errors.New("conflict")
	// ErrInvalid wraps what the caller can mend; the message names the field.
	ErrInvalid = errors.New("invalid")
	// ErrCorrupt says that something stored does not hash to its digest, or
	// cannot be decoded. It is not used.
	ErrCorrupt = errors.New("the store holds damaged data")
	// ErrReadOnly says that the store was opened for reading.
	ErrReadOnly = errors.New("the store is open for reading only")
	// ErrNoStore says that the data directory, or the database, holds no store.
	ErrNoStore = errors.New("there is no store")
	// ErrNewerSchema says that a newer Signet has written this store.
	ErrNewerSchema = errors.New("the store was written by a newer version of signet")
	// ErrOlderSchema says that the store must be migrated before it is read.
	ErrOlderSchema = errors.New("the store was written by an older version of signet")
	// ErrInUse says that another process has the data directory open for
	// writing. The error is an [InUseError].
	ErrInUse = errors.New("the data directory is in use")
)

// InUseError names the process that has the data directory open for writing.
type InUseError struct {
	Dir string
	// PID is 0 where it is not known.
	PID int
}

// Error says which process it is and what to do.
func (e *InUseError) Error() string {
	who := "another process"
	if e.PID > 0 {
		who = fmt.Sprintf("process %d", e.PID)
	}
	return fmt.Sprintf("data directory %s is in use by %s: stop it, or ask it through its API", e.Dir, who)
}

// Is makes it an [ErrInUse].
func (e *InUseError) Is(target error) bool { return target == ErrInUse }

// wrap gives an error of the database its place among ours. The end of the
// caller's context stays what it is.
func wrap(op string, err error) error {
	var db *sqlite.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrUnavailable), errors.Is(err, ErrNotFound), errors.Is(err, ErrConflict),
		errors.Is(err, ErrInvalid), errors.Is(err, ErrCorrupt), errors.Is(err, ErrReadOnly):
		return fmt.Errorf("%s: %w", op, err)
	case ofPostgres(err) != nil:
		return fmt.Errorf("%s: %w: %w", op, ofPostgres(err), err)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: %w", op, err)
	case errors.Is(err, sql.ErrNoRows):
		return fmt.Errorf("%s: %w", op, ErrNotFound)
	case errors.As(err, &db) && db.Code()&0xff == sqlite3.SQLITE_CONSTRAINT:
		return fmt.Errorf("%s: %w: %w", op, ErrConflict, err)
	default:
		return fmt.Errorf("%s: %w: %w", op, ErrUnavailable, err)
	}
}
