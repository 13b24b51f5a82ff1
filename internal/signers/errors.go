package signers

import "errors"

var (
	// ErrInvalid wraps what is wrong with a signer; the message names the field.
	ErrInvalid = errors.New("invalid signer")
	// ErrUnsupported wraps a signer type that this version does not enforce.
	ErrUnsupported = errors.New("not supported by this version")
)
