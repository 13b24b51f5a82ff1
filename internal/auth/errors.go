package auth

import "errors"

// Errors of [Tokens.Authenticate]. None of them tells a caller without the
// secret whether a token id exists: revoked, expired and the wrong source are said
// only to who holds the secret.
var (
	// ErrMissing says that no token was presented.
	ErrMissing = errors.New("no token was presented")
	// ErrMalformed says that what was presented is not a Signet API token: wrong
	// prefix, length, alphabet or checksum.
	ErrMalformed = errors.New("not a Signet API token (sgn_<id>_<secret>); is it complete?")
	// ErrUnknown says that no token with this id and secret is known.
	ErrUnknown = errors.New("the token is not known here")
	// ErrRevoked says that the token was revoked.
	ErrRevoked = errors.New("the token was revoked")
	// ErrExpired says that the token has expired.
	ErrExpired = errors.New("the token has expired")
	// ErrSource says that the token may not be presented from where it came: it is
	// bound to other networks.
	ErrSource = errors.New("the token may not be used from this address")
)
