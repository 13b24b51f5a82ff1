package decisionlog

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// FileConfig says where lines go. Each process needs a file of its own.
type FileConfig struct {
	Path string
	// MaxSize rotates the file before it has more bytes, MaxAge when its first line
	// is older; 0: never.
	MaxSize int64
	MaxAge  time.Duration
	// MaxFiles is how many rotated files are kept beside the one that is written
	// to; 0: all.
	MaxFiles int
}

// rotatedLayout is what is added to the name of a file that was rotated: a time,
// UTC, so that names sort by age.
const rotatedLayout = "20060102T150405.000000000Z"

// file appends lines to a file. Lines are handed to the operating system and never
// synced: a crash of this process loses none of them, a crash of the machine those
// of the last half minute or so.
type file struct {
	cfg FileConfig
	log *slog.Logger

	mu      sync.Mutex
	f       *os.File
	regular bool // else it is a pipe or a device, which is never rotated
	size    int64
	begun   time.Time // of its first line; zero while it is empty
	broken  error     // why the last write failed
	torn    bool      // the last line may be half there
	rotated time.Time // the last name that was given
	closed  bool
}

func openFile(cfg FileConfig, log *slog.Logger) (*file, error) {
	f := &file{cfg: cfg, log: log}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.open(); err != nil {
		return nil, err
	}
	return f, nil
}

// open opens the file under its name. The caller holds mu.
func (f *file) open() error {
	h, err := os.OpenFile(f.cfg.Path, os.O_APPEND|os.O_CREATE|os.O_RDWR, 0o600)
	if errors.Is(err, os.ErrPermission) || err != nil && !errors.Is(err, os.ErrNotExist) {
		// A pipe or a terminal may be open for writing only.
		if w, err2 := os.OpenFile(f.cfg.Path, os.O_APPEND|os.O_WRONLY, 0); err2 == nil {
			h, err = w, nil
		}
	}
	if err != nil {
		return fmt.Errorf("file: %w", err)
	}
	info, err := h.Stat()
	if err != nil {
		_ = h.Close()
		return fmt.Errorf("file: %w", err)
	}
	if info.IsDir() {
		_ = h.Close()
		return fmt.Errorf("file: %s is a directory", f.cfg.Path)
	}
	if f.f != nil {
		_ = f.f.Close()
	}
	f.f, f.regular, f.size, f.begun = h, info.Mode().IsRegular(), info.Size(), time.Time{}
	f.torn = false
	if f.regular && f.size > 0 {
		f.begun = firstTime(h, info.ModTime())
		f.torn = !endsWithLine(h, f.size)
	}
	return nil
}

// firstTime is that of a file's first line, or otherwise.
func firstTime(h *os.File, otherwise time.Time) time.Time {
	line, err := bufio.NewReaderSize(&from{h: h}, 4096).ReadSlice('\n')
	if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
		return otherwise
	}
	// The time stands in front; the line may be longer than what was read.
	dec := json.NewDecoder(strings.NewReader(string(line)))
	for {
		key, err := dec.Token()
		if err != nil {
			return otherwise
		}
		if key == "time" {
			value, err := dec.Token()
			s, ok := value.(string)
			if err != nil || !ok {
				return otherwise
			}
			if t, err := time.Parse(time.RFC3339, s); err == nil {
				return t
			}
			return otherwise
		}
	}
}

// from reads a file from its beginning, wherever others are in it.
type from struct {
	h  *os.File
	at int64
}

func (r *from) Read(p []byte) (int, error) {
	n, err := r.h.ReadAt(p, r.at)
	r.at += int64(n)
	return n, err
}

func endsWithLine(h *os.File, size int64) bool {
	var last [1]byte
	_, err := h.ReadAt(last[:], size-1)
	return err == nil && last[0] == '\n'
}

// write appends whole lines. What could not be written is not tried again.
func (f *file) write(lines []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.regular && f.size > 0 && (f.cfg.MaxSize > 0 && f.size+int64(len(lines)) > f.cfg.MaxSize || f.old()) {
		f.rotate()
	}
	err := f.put(lines)
	switch {
	case err != nil && f.broken == nil:
		f.log.Error("the decision log's file cannot be written; what is decided meanwhile is lost to it", "file", f.cfg.Path, "error", err.Error())
	case err == nil && f.broken != nil:
		f.log.Info("the decision log's file can be written again", "file", f.cfg.Path)
	}
	f.broken = err
	return err
}

func (f *file) put(lines []byte) error {
	if f.closed || f.f == nil {
		return errors.New("file: is closed")
	}
	if f.torn { // so that half a line spoils no other
		if _, err := f.f.Write([]byte{'\n'}); err != nil {
			return fmt.Errorf("file: %w", err)
		}
		f.size++
		f.torn = false
	}
	n, err := f.f.Write(lines)
	if err != nil {
		err = fmt.Errorf("file: %w", err)
		if n > 0 && (!f.regular || f.f.Truncate(f.size) != nil) {
			f.size += int64(n)
			f.torn = true
		}
		return err
	}
	if f.begun.IsZero() {
		f.begun = time.Now()
	}
	f.size += int64(n)
	return nil
}

func (f *file) old() bool {
	return f.cfg.MaxAge > 0 && !f.begun.IsZero() && time.Since(f.begun) >= f.cfg.MaxAge
}

// due is when the file will be too old; false while there is nothing to rotate.
func (f *file) due() (time.Time, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cfg.MaxAge <= 0 || !f.regular || f.begun.IsZero() {
		return time.Time{}, false
	}
	return f.begun.Add(f.cfg.MaxAge), true
}

// age rotates the file if it is too old.
func (f *file) age() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.regular && !f.closed && f.old() {
		f.rotate()
	}
}

// rotate gives the file another name and opens a new one. When that fails the old
// one is written on. The caller holds mu.
func (f *file) rotate() {
	at := time.Now().UTC()
	if !at.After(f.rotated) { // a clock that stands still or goes back
		at = f.rotated.Add(time.Nanosecond)
	}
	f.rotated = at
	name := f.cfg.Path + "." + at.Format(rotatedLayout)
	err := os.Rename(f.cfg.Path, name)
	if err == nil || errors.Is(err, os.ErrNotExist) { // somebody else moved it: open it anew
		err = f.open()
	}
	if err != nil {
		f.log.Error("the decision log's file cannot be rotated", "file", f.cfg.Path, "error", err.Error())
		f.begun = time.Now() // not with every line
		return
	}
	if err := f.prune(); err != nil {
		f.log.Warn("old files of the decision log cannot be removed", "file", f.cfg.Path, "error", err.Error())
	}
}

// prune removes the oldest rotated files above MaxFiles.
func (f *file) prune() error {
	if f.cfg.MaxFiles <= 0 {
		return nil
	}
	dir, base := filepath.Split(f.cfg.Path)
	entries, err := os.ReadDir(filepath.Clean(dir + "."))
	if err != nil {
		return err
	}
	var rotated []string
	for _, e := range entries {
		suffix, ok := strings.CutPrefix(e.Name(), base+".")
		if _, err := time.Parse(rotatedLayout, suffix); ok && err == nil && e.Type().IsRegular() {
			rotated = append(rotated, e.Name())
		}
	}
	slices.Sort(rotated)
	var errs []error
	for len(rotated) > f.cfg.MaxFiles {
		errs = append(errs, os.Remove(filepath.Join(dir, rotated[0])))
		rotated = rotated[1:]
	}
	return errors.Join(errs...)
}

func (f *file) reopen() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	return f.open()
}

func (f *file) problem() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.broken
}

func (f *file) close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || f.f == nil {
		return nil
	}
	f.closed = true
	if err := f.f.Close(); err != nil {
		return fmt.Errorf("file: %w", err)
	}
	return nil
}
