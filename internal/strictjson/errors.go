package strictjson

import (
	"errors"
	"fmt"
)

// What can be wrong with a document. Errors returned by this package wrap one
// of these, or come from encoding/json (a value of the wrong type).
var (
	ErrSyntax       = errors.New("not valid JSON")
	ErrDepth        = errors.New("nested too deeply")
	ErrDuplicateKey = errors.New("duplicate key")
	ErrKeyCase      = errors.New("key differs from a known one in case only")
	ErrUnknownField = errors.New("unknown field")
	ErrUTF8         = errors.New("not valid UTF-8")
	ErrNUL          = errors.New("NUL character in a string")
	ErrNumber       = errors.New("number out of range")
	ErrTrailing     = errors.New("trailing bytes after the JSON value")
)

// Error says what is wrong and where.
type Error struct {
	// Err is one of the errors above.
	Err error
	// Path leads to the value, for example "subject[2].digest"; "" is the
	// document itself.
	Path string
	// Line counts from 1; Offset is in bytes from 0.
	Line, Offset int
	// Detail adds what was found, and may be empty.
	Detail string
}

func (e *Error) Error() string {
	msg := e.Err.Error()
	if e.Detail != "" {
		msg += ": " + e.Detail
	}
	if e.Path != "" {
		msg += " in " + e.Path
	}
	return fmt.Sprintf("%s (line %d, byte %d)", msg, e.Line, e.Offset)
}

// Unwrap gives the kind of error.
func (e *Error) Unwrap() error { return e.Err }
