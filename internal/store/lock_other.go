//go:build !unix

package store

import (
	"errors"
	"runtime"
)

// dirLock is never made where files cannot be locked.
type dirLock struct{}

// lockDir refuses: two processes that write one store would each believe what
// the other has changed.
func lockDir(string) (*dirLock, error) {
	return nil, errors.New("the store cannot be opened for writing on " + runtime.GOOS + ": there is no lock to keep a second process out")
}

func (*dirLock) release() error { return nil }
