package policy

import (
	"errors"
	"io/fs"
	"maps"
	"slices"

	"github.com/rogpeppe/go-internal/diff"
)

// Diff is the unified diff of two texts; empty where they are equal.
func Diff(fromName, toName string, from, to []byte) []byte {
	return diff.Diff(fromName, from, toName, to)
}

// DiffArchives is the unified diff of the files of two archives, in order of their
// names; nil is an archive without files. The signatures over them are left out.
// Errors wrap [ErrLoad].
func DiffArchives(fromName, toName string, from, to []byte) ([]byte, error) {
	was, err := filesOf(from)
	if err != nil {
		return nil, err
	}
	is, err := filesOf(to)
	if err != nil {
		return nil, err
	}
	all := maps.Clone(was)
	maps.Copy(all, is)
	var out []byte
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if name == ".signatures.json" {
			continue
		}
		out = append(out, Diff(name+" ("+fromName+")", name+" ("+toName+")", was[name], is[name])...)
	}
	return out, nil
}

func filesOf(archive []byte) (map[string][]byte, error) {
	files := map[string][]byte{}
	if archive == nil {
		return files, nil
	}
	dir, err := OpenArchive(archive)
	if err != nil {
		return nil, err
	}
	err = fs.WalkDir(dir, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files[name], err = readCapped(dir, name, maxBundleBytes)
		return err
	})
	if err != nil {
		return nil, errors.Join(ErrLoad, err)
	}
	return files, nil
}
