package trust

import "errors"

var (
	// ErrInvalid says that bytes are not a trust root that we can use.
	ErrInvalid = errors.New("not a usable trust root")
	// ErrRequires says that a root cannot give the proofs that are required
	// of it, or has no source of time at all.
	ErrRequires = errors.New("the trust root cannot give the proofs required of it")

	// ErrOlder says that a root is older than the one in use, see [Older].
	ErrOlder = errors.New("the trust root is older than the one in use")

	// ErrRollback says that a TUF repository offered something older than what
	// was seen before (TUF specification 5.3 to 5.6).
	ErrRollback = errors.New("the TUF repository offers an older version than the one already seen")
	// ErrExpired says that a TUF repository's metadata are past their expiry.
	ErrExpired = errors.New("the TUF repository's metadata have expired")
	// ErrUnreachable says that a TUF repository could not be read at all.
	ErrUnreachable = errors.New("the TUF repository cannot be reached")
	// ErrUntrusted says that a TUF repository's metadata or targets are not
	// signed or hashed as its root demands.
	ErrUntrusted = errors.New("the TUF repository's metadata cannot be trusted")
)
