package administration

import "github.com/signet-policy/signet/internal/store"

// Errors of the store as a [Service] passes them on, so that a face need not
// know the store.
var (
	// ErrUnavailable says that the store could not do it now; nothing was written.
	ErrUnavailable = store.ErrUnavailable
	// ErrCorrupt says that something stored is not what it was.
	ErrCorrupt = store.ErrCorrupt
)
