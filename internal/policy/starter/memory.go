package starter

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/signet-policy/signet/rego"
)

// Begin gives the files of a new bundle that belong to its author, by their names.
func Begin() (map[string][]byte, error) { return own() }

// Whole gives all files of a bundle directory of which the author's are given: with
// this Signet's library beside them, where their manifest names one, and as they are
// where it does not. What is given in a place of the library is refused. Errors wrap
// [ErrInvalid].
func Whole(mine map[string][]byte) (map[string][]byte, error) {
	files := maps.Clone(mine)
	with, ok := versioned(mine, rego.LibraryVersion)
	if !ok {
		return files, nil
	}
	library, err := Library()
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(mine)) {
		if _, taken := library[name]; taken || strings.HasPrefix(name, lib+"/") || name == shipped {
			return nil, fmt.Errorf("%w: %s is a place of Signet's library; your own rules belong into signing/rules", ErrInvalid, name)
		}
	}
	files[manifest] = with
	maps.Copy(files, library)
	files[shipped] = listing(library)
	return files, nil
}

// Mine gives those files of a bundle that belong to its author: all of them where
// the manifest names no library. Replaced are the files of its library that differ
// from this Signet's, which [Whole] puts in their place.
func Mine(files map[string][]byte) (mine map[string][]byte, replaced []string, err error) {
	if _, ok := versioned(files, ""); !ok {
		return maps.Clone(files), nil, nil
	}
	library, err := Library()
	if err != nil {
		return nil, nil, err
	}
	mine = map[string][]byte{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		ours, is := library[name]
		switch {
		case is && bytes.Equal(ours, files[name]) || name == shipped:
		case is || strings.HasPrefix(name, lib+"/"):
			replaced = append(replaced, name)
		default:
			mine[name] = files[name]
		}
	}
	return mine, replaced, nil
}

// versioned is the manifest with another version of the library; ok is false where it
// names none, or there is no manifest, which is for others to say.
func versioned(files map[string][]byte, version string) (with []byte, ok bool) {
	with, _, err := withVersion(files[manifest], version)
	return with, err == nil
}
