package policy

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
)

// paramsName is where a bundle directory keeps the parameters that its author
// works with. They are not part of the bundle.
const paramsName = "params/params.json"

// Open gives the bundle at a path: a directory, or a .tar.gz such as
// "opa build" writes. Errors wrap [ErrLoad].
func Open(name string) (fs.FS, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLoad, err)
	}
	if info.IsDir() {
		return os.DirFS(name), nil
	}
	f, err := os.Open(name) //nolint:gosec // the caller names the file
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLoad, err)
	}
	defer func() { _ = f.Close() }()
	dir, err := unpack(f)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrLoad, name, err)
	}
	return dir, nil
}

// OpenArchive gives the files of a bundle archive, a .tar.gz such as "opa build"
// writes. It says nothing about who signed it; that is what [VerifyArchive] is
// for. Errors wrap [ErrLoad].
func OpenArchive(archive []byte) (fs.FS, error) {
	dir, err := unpack(bytes.NewReader(archive))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLoad, err)
	}
	return dir, nil
}

// unpack reads a .tar.gz into memory. A zip archive in memory is the one file
// system of the standard library that can be filled.
func unpack(r io.Reader) (fs.FS, error) {
	// What is stored is bounded too, so that empty files and long names cost no more than full ones.
	packed, err := gzip.NewReader(io.LimitReader(r, maxBundleBytes))
	if err != nil {
		return nil, fmt.Errorf("is neither a directory nor a .tar.gz: %w", err)
	}
	var buf bytes.Buffer
	out := zip.NewWriter(&buf)
	in := tar.NewReader(io.LimitReader(packed, 2*maxBundleBytes))
	seen := map[string]bool{}
	left := int64(maxBundleBytes)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if h.Typeflag == tar.TypeDir {
			continue
		}
		name := strings.TrimPrefix(h.Name, "/")
		name = strings.TrimPrefix(name, "./")
		switch {
		case h.Typeflag != tar.TypeReg:
			return nil, fmt.Errorf("%s is not a regular file", h.Name)
		case !fs.ValidPath(name) || path.Clean(name) != name || strings.Contains(name, `\`):
			return nil, fmt.Errorf("%q is no path within a bundle", h.Name)
		case seen[name]:
			return nil, fmt.Errorf("has %s twice", name)
		case len(seen) >= maxBundleFiles:
			return nil, fmt.Errorf("has more than %d files", maxBundleFiles)
		case h.Size > left:
			return nil, fmt.Errorf("is larger than %d bytes", maxBundleBytes)
		}
		seen[name], left = true, left-h.Size
		w, err := out.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store})
		if err != nil {
			return nil, err
		}
		if _, err := io.CopyN(w, in, h.Size); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	if err := out.Close(); err != nil {
		return nil, err
	}
	return zip.NewReader(bytes.NewReader(buf.Bytes()), int64(buf.Len()))
}

// Params gives the parameters that a bundle directory has for its author, from
// params/params.json. The error wraps [fs.ErrNotExist] where there are none.
func Params(dir fs.FS) (json.RawMessage, error) {
	body, err := readCapped(dir, paramsName, maxBundleBytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrLoad, paramsName, err)
	}
	return body, nil
}
