//go:build unix

package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// dirLock is the lock of a data directory. The kernel lets go of it when the
// process ends, however it ends.
type dirLock struct{ f *os.File }

// lockDir takes the lock, or returns an [InUseError].
func lockDir(dir string) (*dirLock, error) {
	path := filepath.Join(dir, lockName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // the operator names the data directory
	if err != nil {
		return nil, fmt.Errorf("locking the data directory: %w", err)
	}
	if err := flock(f); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, &InUseError{Dir: dir, PID: readPID(path)}
		}
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	l := &dirLock{f: f}
	if err := l.write(strconv.Itoa(os.Getpid()) + "\n"); err != nil {
		_ = l.release()
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	return l, nil
}

func flock(f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// release empties the file and lets go. The file stays: removing it would let
// two processes lock two files of the same name.
func (l *dirLock) release() error {
	return errors.Join(l.write(""), l.f.Close())
}

func (l *dirLock) write(s string) error {
	if err := l.f.Truncate(0); err != nil {
		return err
	}
	_, err := l.f.WriteAt([]byte(s), 0)
	return err
}

// readPID is for the message only.
func readPID(path string) int {
	b, err := os.ReadFile(path) //nolint:gosec // see lockDir
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0
	}
	return pid
}
