package distribution

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// local is a directory or a file.
type local struct {
	path, location string
	read           func(path string, limit int64) ([]byte, error)
	limit          int64
}

func newLocal(cfg Config) (Source, error) {
	remote := cfg.BearerTokenFile + cfg.Username + cfg.PasswordFile + cfg.ClientCert + cfg.ClientKey + cfg.CAFile
	switch {
	case remote != "" || cfg.AllowHTTP:
		return nil, fmt.Errorf("%w: credentials, certificates and allow_http are for a url, not for dir and file", ErrConfig)
	case cfg.File != "":
		return &local{path: cfg.File, location: locationOf("file", cfg.File), read: readFile, limit: cfg.MaxBytes}, nil
	case cfg.Pack == nil:
		return nil, fmt.Errorf("%w: dir: nothing is given to pack it with", ErrConfig)
	}
	pack := func(path string, limit int64) ([]byte, error) {
		if _, err := os.Stat(path); err != nil {
			return nil, err
		}
		archive, err := cfg.Pack(os.DirFS(path))
		if err == nil && int64(len(archive)) > limit {
			err = tooLarge(limit)
		}
		return archive, err
	}
	return &local{path: cfg.Dir, location: locationOf("dir", cfg.Dir), read: pack, limit: cfg.MaxBytes}, nil
}

// Fetch reads what is there; that it has not changed shows in its digest.
func (l *local) Fetch(ctx context.Context, since Validator) (Fetched, error) {
	if err := ctx.Err(); err != nil {
		return Fetched{}, fmt.Errorf("%s: %w: %w", l.path, ErrUnavailable, err)
	}
	archive, err := l.read(l.path, l.limit)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Fetched{}, fmt.Errorf("%s: %w", l.path, ErrNotFound)
	case err != nil:
		return Fetched{}, fmt.Errorf("%s: %w: %w", l.path, ErrInvalid, err)
	}
	return answer(archive, since.here(l.location), Validator{Location: l.location, Digest: digestOf(archive)})
}

func readFile(path string, limit int64) (body []byte, err error) {
	// A pipe would be waited for when it is opened.
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("is no regular file")
	}
	f, err := os.Open(path) //nolint:gosec // the administrator names the file
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return readAll(f, limit)
}

func tooLarge(limit int64) error { return fmt.Errorf("is larger than %d bytes", limit) }

func readAll(r io.Reader, limit int64) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(body)) > limit {
		err = tooLarge(limit)
	}
	return body, err
}
