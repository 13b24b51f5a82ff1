package distribution

import "errors"

// What may go wrong. Errors name the place without its query, which may hold a
// token, and repeat nothing of what a server wrote.
var (
	// ErrNotModified says that the place has what the Validator names.
	ErrNotModified = errors.New("not modified")
	// ErrConfig: the configuration is of no use; the text names the field.
	ErrConfig = errors.New("bundle source")
	// ErrUnavailable: no answer, too late an answer, or one that asks to come later.
	ErrUnavailable = errors.New("not available")
	// ErrDenied: the server wants other credentials.
	ErrDenied = errors.New("access denied")
	// ErrNotFound: there is nothing at that place.
	ErrNotFound = errors.New("not found")
	// ErrInvalid: what is there is no bundle, is too large or not what its digest
	// says, or the way there leads where it must not.
	ErrInvalid = errors.New("not a bundle")
)
