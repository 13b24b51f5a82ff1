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
	"maps"
	"os"
	"path"
	"slices"
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
	files, err := filesOf(archive)
	if err != nil {
		return nil, fmt.Errorf("%w: bundle: %w", ErrLoad, err)
	}
	return inMemory(files)
}

// Files gives the files of a bundle archive by their names, as [OpenArchive] does.
// Errors wrap [ErrLoad].
func Files(archive []byte) (map[string][]byte, error) {
	files, err := filesOf(archive)
	if err != nil {
		return nil, fmt.Errorf("%w: bundle: %w", ErrLoad, err)
	}
	return files, nil
}

// OpenFiles gives a bundle directory that is in memory. Errors wrap [ErrLoad].
func OpenFiles(files map[string][]byte) (fs.FS, error) {
	dir, err := inMemory(files)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLoad, err)
	}
	return dir, nil
}

// PackFiles writes files as a .tar.gz, all of them and whatever they are. The same
// files give the same bytes. Errors wrap [ErrLoad].
func PackFiles(files map[string][]byte) ([]byte, error) {
	archive, err := tarball(files)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLoad, err)
	}
	return archive, nil
}

// filesOf reads an archive in memory.
func filesOf(archive []byte) (map[string][]byte, error) {
	if len(archive) > maxBundleBytes {
		return nil, fmt.Errorf("is larger than %d bytes", maxBundleBytes)
	}
	return untar(bytes.NewReader(archive))
}

// unpack reads a .tar.gz into a file system in memory.
func unpack(r io.Reader) (fs.FS, error) {
	files, err := untar(r)
	if err != nil {
		return nil, err
	}
	return inMemory(files)
}

// untar reads a .tar.gz so that it can mean one thing only: regular files, each
// once, below the top, and nothing after them.
func untar(r io.Reader) (map[string][]byte, error) {
	// What is stored is bounded too, so that empty files and long names cost no more than full ones.
	packed, err := gzip.NewReader(io.LimitReader(r, maxBundleBytes+1))
	if err != nil {
		return nil, fmt.Errorf("is neither a directory nor a .tar.gz: %w", err)
	}
	stream := &io.LimitedReader{R: packed, N: 2 * maxBundleBytes}
	in := tar.NewReader(stream)
	files, folders := map[string][]byte{}, map[string]bool{}
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
		_, again := files[name]
		switch {
		case h.Typeflag != tar.TypeReg:
			return nil, fmt.Errorf("%s is not a regular file", h.Name)
		case !fs.ValidPath(name) || path.Clean(name) != name || strings.Contains(name, `\`):
			return nil, fmt.Errorf("%q is no path within a bundle", h.Name)
		case again:
			return nil, fmt.Errorf("has %s twice", name)
		case len(files) >= maxBundleFiles:
			return nil, fmt.Errorf("has more than %d files", maxBundleFiles)
		case h.Size > left:
			return nil, fmt.Errorf("is larger than %d bytes", maxBundleBytes)
		}
		left -= h.Size
		var body bytes.Buffer
		if _, err := io.CopyN(&body, in, h.Size); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		files[name] = body.Bytes()
		for dir := path.Dir(name); dir != "." && !folders[dir]; dir = path.Dir(dir) {
			folders[dir] = true
		}
	}
	for name := range files {
		if folders[name] {
			return nil, fmt.Errorf("has %s as a file and as a folder", name)
		}
	}
	if err := ended(stream); err != nil {
		return nil, err
	}
	if stream.N <= 0 {
		return nil, fmt.Errorf("is larger than %d bytes", maxBundleBytes)
	}
	return files, nil
}

// ended says whether nothing but zeros, with which tar fills its last block,
// follows the last file. Reading to the end also checks the sum of the whole.
func ended(rest io.Reader) error {
	buf := make([]byte, 32<<10)
	for {
		n, err := rest.Read(buf)
		if len(bytes.Trim(buf[:n], "\x00")) > 0 {
			return errors.New("has something after its last file")
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// inMemory is a file system of files. A zip archive in memory is the one file
// system of the standard library that can be filled.
func inMemory(files map[string][]byte) (fs.FS, error) {
	var buf bytes.Buffer
	out := zip.NewWriter(&buf)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		w, err := out.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store})
		if err != nil {
			return nil, err
		}
		if _, err := w.Write(files[name]); err != nil {
			return nil, err
		}
	}
	if err := out.Close(); err != nil {
		return nil, err
	}
	return zip.NewReader(bytes.NewReader(buf.Bytes()), int64(buf.Len()))
}

// tarball writes files as a .tar.gz. The same files give the same bytes: names in
// order, no times, no owners.
func tarball(files map[string][]byte) ([]byte, error) {
	var buf bytes.Buffer
	packed, err := gzip.NewWriterLevel(&buf, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	out := tar.NewWriter(packed)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(files[name])), Mode: 0o644}
		if err := out.WriteHeader(h); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if _, err := out.Write(files[name]); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	if err := errors.Join(out.Close(), packed.Close()); err != nil {
		return nil, err
	}
	if buf.Len() > maxBundleBytes {
		return nil, fmt.Errorf("is larger than %d bytes", maxBundleBytes)
	}
	return buf.Bytes(), nil
}

// Pack gives the archive of a bundle directory as it is, neither checked nor
// tested: what is part of the policy and, where there is one, .signatures.json.
// The same files give the same bytes. [Build] is for what is to be published.
// Errors wrap [ErrLoad].
func Pack(dir fs.FS) ([]byte, error) {
	files, err := readFiles(dir, func(name string) bool { return name == signaturesName || partOfBundle(name) })
	if err == nil && files[manifestName] == nil {
		err = fmt.Errorf("has no %s", manifestName)
	}
	var archive []byte
	if err == nil {
		archive, err = tarball(files)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: bundle: %w", ErrLoad, err)
	}
	return archive, nil
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
