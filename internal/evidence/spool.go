package evidence

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
)

// SpooledFrom is the size, in bytes, from which a piece of evidence is kept in a
// temporary file and not in memory.
const SpooledFrom = 1 << 20

// Spool is a piece of evidence in a temporary file. The file has no name where the
// system allows that, so that nobody can change it after it was hashed, and it is
// gone with the process, or when the Spool is not used any more.
type Spool struct {
	file *os.File
	size int64
	sum  [sha256.Size]byte
	// failed is the first error of reading it again.
	failed atomic.Pointer[error]
}

// ErrSpool says that there is no room for a temporary file.
var ErrSpool = errors.New("a large piece of evidence needs a temporary file")

// ErrSpoolRead says that a temporary file could not be read: it says nothing of what
// is in it.
var ErrSpoolRead = errors.New("a large piece of evidence cannot be read again")

// NewSpool copies r to a temporary file (in TMPDIR), at most limit bytes of it; what
// is longer is left unread, and Size is then limit+1.
func NewSpool(r io.Reader, limit int64) (*Spool, error) {
	f, err := os.CreateTemp("", "signet-evidence-")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSpool, err)
	}
	// Where an open file cannot be removed it stays until it is removed by whoever
	// cleans up temporary files.
	_ = os.Remove(f.Name())
	s, h := &Spool{file: f}, sha256.New()
	if s.size, err = io.Copy(io.MultiWriter(onDisk{f}, h), io.LimitReader(r, limit+1)); err != nil {
		s.Close()
		return nil, err
	}
	h.Sum(s.sum[:0])
	return s, nil
}

// onDisk marks the errors of writing, which are not those of reading.
type onDisk struct{ f *os.File }

// Write implements io.Writer.
func (d onDisk) Write(p []byte) (int, error) {
	n, err := d.f.Write(p)
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrSpool, err)
	}
	return n, err
}

// Size is in bytes.
func (s *Spool) Size() int64 { return s.size }

// SHA256 is the digest in lower-case hex.
func (s *Spool) SHA256() string { return hex.EncodeToString(s.sum[:]) }

// Open reads it from the beginning. Any number of readers may read at one time.
func (s *Spool) Open() io.Reader { return s.OpenAt(0) }

// OpenAt reads it from a place, in bytes from 0.
func (s *Spool) OpenAt(from int64) io.Reader {
	return io.NewSectionReader(noting{s}, from, s.size-from)
}

// noting notes that the file could not be read, or ended early: most who read look
// for what is in it, and take an error for a mistake of whoever wrote that.
type noting struct{ *Spool }

// ReadAt implements io.ReaderAt.
func (s noting) ReadAt(p []byte, off int64) (int, error) {
	n, err := s.file.ReadAt(p, off)
	if err != nil {
		wrapped := fmt.Errorf("%w: %w", ErrSpoolRead, err)
		s.failed.CompareAndSwap(nil, &wrapped)
	}
	return n, err
}

// Unread is why a part of it could not be read, nil where all could that was asked for.
func (s *Spool) Unread() error {
	if err := s.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// Close gives the file back; without it the garbage collector does.
func (s *Spool) Close() { _ = s.file.Close() }

// Size is the number of bytes, wherever they are.
func (e *Item) Size() int64 {
	if e.Large != nil {
		return e.Large.Size()
	}
	return int64(len(e.Bytes))
}

// Unread is [Spool.Unread] of an item in a file.
func (e *Item) Unread() error {
	if e.Large != nil {
		return e.Large.Unread()
	}
	return nil
}

// Identity is [Identify] of the item's bytes, wherever they are.
func (e *Item) Identity() string {
	if e.Large != nil {
		return identify(e.Kind, e.Large.sum, e.Annotations)
	}
	return Identify(e.Kind, e.Bytes, e.Annotations)
}
