package registry

import (
	"errors"
	"fmt"

	"github.com/signet-policy/signet/internal/evidence"
)

// ErrReference is behind every error about the spelling of a reference.
var ErrReference = errors.New("invalid image reference")

// errAbsent says that the registry has no such manifest, tag or blob.
var errAbsent = errors.New("not found")

// errUnsupported says that the registry has no such endpoint.
var errUnsupported = errors.New("not supported by the registry")

// brokenError is a failure that a retry will not mend and that concerns one
// manifest or blob alone; code is a rejection code of package facts.
type brokenError struct {
	code    string
	message string
}

func (e *brokenError) Error() string { return e.message }

func broken(code, format string, args ...any) error {
	return &brokenError{code, fmt.Sprintf(format, args...)}
}

func problem(code, where, format string, args ...any) *evidence.Problem {
	return &evidence.Problem{Code: code, Where: where, Message: fmt.Sprintf(format, args...)}
}
