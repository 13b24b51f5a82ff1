package api

import "errors"

// What [Verdicts], [Past] and [Requests] wrap so that the caller is told the right thing; any other
// error becomes 500 internal_error, and its text stays in the log.
var (
	// ErrNotFound says that nothing is stored under an id.
	ErrNotFound = errors.New("not found")
	// ErrNotReproducible says that what a verdict was decided on, or what was in
	// force then, is not at hand. Its text is shown to the caller.
	ErrNotReproducible = errors.New("cannot be decided again")
	// ErrCursor says that a cursor is none that [Verdicts] gave.
	ErrCursor = errors.New("not a cursor")
	// ErrUnavailable says that the store cannot be read now, and that asking
	// again may help.
	ErrUnavailable = errors.New("the store cannot be read")
	// ErrBusy says that no more is taken on now.
	ErrBusy = errors.New("too much waits already")
)

// errPanic is the cause that is logged for a handler that panicked.
var errPanic = errors.New("panic")
