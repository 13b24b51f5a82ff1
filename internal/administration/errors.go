package administration

import (
	"errors"
	"fmt"
	"strings"

	"github.com/signet-policy/signet/internal/store"
)

// Errors of a [Service]. What wraps them has a message of its own, which says to
// a person what is wrong and what to do.
var (
	// ErrNotFound says that there is no such thing.
	ErrNotFound = errors.New("not found")
	// ErrStale says that the version which was to be changed is not the current
	// one.
	ErrStale = errors.New("changed meanwhile")
	// ErrConflict says that it does not fit with what is there: a name that is
	// taken, something that is referenced, or managed by the configuration.
	ErrConflict = errors.New("conflict")
	// ErrForbidden says that the caller may not do this. Why is one of [ErrRole],
	// [ErrNotYours] and [ErrOutOfScope], which wrap it.
	ErrForbidden = errors.New("forbidden")

	// ErrRole says that the caller's role is not enough.
	ErrRole = fmt.Errorf("%w: role", ErrForbidden)
	// ErrNotYours says that it belongs to another team, or to the whole
	// installation.
	ErrNotYours = fmt.Errorf("%w: team", ErrForbidden)
	// ErrOutOfScope says that it reaches beyond the images that the caller is
	// bound to.
	ErrOutOfScope = fmt.Errorf("%w: images", ErrForbidden)
)

// refusal is one of the errors above with a message of its own.
type refusal struct {
	kind error
	text string
}

func (r *refusal) Error() string { return r.text }
func (r *refusal) Unwrap() error { return r.kind }

func refuse(kind error, format string, args ...any) error {
	return &refusal{kind: kind, text: fmt.Sprintf(format, args...)}
}

// FieldError is one mistake of an input.
type FieldError struct {
	// Field is as the input spells it, for example "claims.build_trigger"; "" is
	// the whole.
	Field string
	// Problem says what is wrong, and what would be right.
	Problem string
}

func (e FieldError) Error() string {
	if e.Field == "" {
		return e.Problem
	}
	return e.Field + ": " + e.Problem
}

// FieldErrors are all mistakes of one input. It is never empty as an error.
type FieldErrors []FieldError

func (e FieldErrors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

func (e *FieldErrors) add(field, format string, args ...any) {
	*e = append(*e, FieldError{Field: field, Problem: fmt.Sprintf(format, args...)})
}

// err is e as an error, nil where there is no mistake.
func (e FieldErrors) err() error {
	if len(e) == 0 {
		return nil
	}
	return e
}

// fieldError is a single mistake as an error.
func fieldError(field, format string, args ...any) error {
	var e FieldErrors
	e.add(field, format, args...)
	return e
}

// missing gives the store's not-found a message about what was asked for, and
// leaves every other error alone.
func missing(err error, format string, args ...any) error {
	if errors.Is(err, store.ErrNotFound) {
		return refuse(ErrNotFound, format, args...)
	}
	return err
}
