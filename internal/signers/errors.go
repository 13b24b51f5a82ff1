package signers

import "errors"

// ErrInvalid is what every [FieldError] is, and wraps what is wrong with a list
// of signers.
var ErrInvalid = errors.New("invalid signer")

// FieldError is one mistake in a signer: an [ErrInvalid] that names the field
// and says what would be right.
type FieldError struct {
	// Field is "name", "type", "issuer", "subject", "subject_regex", "claims" or
	// "claims.<name>", "trust_roots", "key", "kms_key_ref", "auto_rotate",
	// "images", "not_before", "expires_at", "signed_from", "signed_until", "owner"
	// or "note".
	Field string
	// Problem continues the field's name to a sentence: "is missing; …".
	Problem string
}

// Error is "invalid signer: field: problem".
func (e FieldError) Error() string { return ErrInvalid.Error() + ": " + e.Field + ": " + e.Problem }

// Is says that e is an [ErrInvalid].
func (e FieldError) Is(target error) bool { return target == ErrInvalid }

// FieldErrors gives every mistake in err, in order, however it was joined or
// wrapped; none when err is of another kind.
func FieldErrors(err error) []FieldError {
	switch e := err.(type) { //nolint:errorlint // walks the whole tree itself, where As finds the first only
	case nil:
		return nil
	case FieldError:
		return []FieldError{e}
	case interface{ Unwrap() []error }:
		var all []FieldError
		for _, one := range e.Unwrap() {
			all = append(all, FieldErrors(one)...)
		}
		return all
	default:
		return FieldErrors(errors.Unwrap(err))
	}
}
