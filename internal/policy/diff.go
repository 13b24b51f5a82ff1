package policy

import (
	"fmt"
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
	was, err := contentsOf(from)
	if err != nil {
		return nil, err
	}
	is, err := contentsOf(to)
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

func contentsOf(archive []byte) (map[string][]byte, error) {
	if archive == nil {
		return map[string][]byte{}, nil
	}
	files, err := filesOf(archive)
	if err != nil {
		return nil, fmt.Errorf("%w: bundle: %w", ErrLoad, err)
	}
	return files, nil
}
