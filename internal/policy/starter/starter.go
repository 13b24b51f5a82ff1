// Package starter writes the files of a policy bundle of one's own, and keeps
// the library in it up to date. [Init] makes a bundle that works at once;
// [Vendor] compares its library with the one of this program.
package starter

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/diff"

	"github.com/signet-policy/signet/bundles"
	"github.com/signet-policy/signet/rego"
)

// ErrInvalid wraps what the caller can mend: files in the way, no bundle.
var ErrInvalid = errors.New("not possible")

const (
	manifest = ".manifest"
	lib      = "signing/lib"
	// shipped lists the files of the library as they were shipped, in the format of
	// sha256sum. Its name has no ending, so that no tool takes it for data.
	shipped = ".library"
)

// Library gives the files that a bundle takes from Signet, by their paths in it:
// the entrypoint, signing/lib, the builder profiles, the schema of the input, and
// the capabilities. Of the library's tests only the fixtures are among them.
func Library() (map[string][]byte, error) {
	files := map[string][]byte{"schemas/input.json": rego.InputSchema, "capabilities.json": rego.Capabilities}
	err := fs.WalkDir(rego.Modules, "signing", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(name, "_test.rego") && path.Base(path.Dir(name)) != "fixture" {
			return err
		}
		files[name], err = rego.Modules.ReadFile(name)
		return err
	})
	return files, err
}

// own gives the files of a new bundle that belong to its author.
func own() (map[string][]byte, error) {
	files := map[string][]byte{}
	tree, err := fs.Sub(bundles.Starter, "starter")
	if err != nil {
		return nil, err
	}
	err = fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files[name], err = fs.ReadFile(tree, name)
		return err
	})
	return files, err
}

// Init writes a new bundle into dir, which may be there if none of the files is,
// and returns the paths of what it wrote. On failure nothing new is left behind.
func Init(dir string) ([]string, error) {
	files, err := Library()
	if err != nil {
		return nil, err
	}
	files[shipped] = listing(files)
	mine, err := own()
	if err != nil {
		return nil, err
	}
	maps.Copy(files, mine)
	names := slices.Sorted(maps.Keys(files))
	for _, name := range names {
		if _, err := os.Lstat(filepath.Join(dir, filepath.FromSlash(name))); !errors.Is(err, fs.ErrNotExist) {
			if err == nil {
				err = fmt.Errorf("%w: %s is there already; choose another folder, or update the library in this one: signet policy vendor", ErrInvalid, filepath.Join(dir, name))
			}
			return nil, err
		}
	}
	var made []string // in the order in which they were made
	undo := func(err error) error {
		for _, name := range slices.Backward(made) {
			err = errors.Join(err, os.Remove(name))
		}
		return err
	}
	for _, name := range names {
		if err := create(dir, name, files[name], &made); err != nil {
			return nil, undo(err)
		}
	}
	return names, nil
}

// create writes a file that is not there yet, and notes what it made for it.
func create(dir, name string, body []byte, made *[]string) error {
	full := filepath.Join(dir, filepath.FromSlash(name))
	var missing []string
	for at := filepath.Dir(full); ; at = filepath.Dir(at) {
		if _, err := os.Stat(at); err == nil || at == filepath.Dir(at) {
			break
		}
		missing = append(missing, at)
	}
	for _, folder := range slices.Backward(missing) {
		if err := os.Mkdir(folder, 0o755); err != nil { //nolint:gosec // a policy is for others to read
			return err
		}
		*made = append(*made, folder)
	}
	f, err := os.OpenFile(full, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode(name)) //nolint:gosec // within the caller's folder
	if err != nil {
		return err
	}
	*made = append(*made, full)
	_, err = f.Write(body)
	return errors.Join(err, f.Close())
}

func mode(name string) fs.FileMode {
	if path.Ext(name) == ".sh" {
		return 0o755
	}
	return 0o644
}

// Update is what Vendor found.
type Update struct {
	// From and To are versions of the library: what the bundle says that it has,
	// "" where it says nothing, and what this program has.
	From, To string
	// Diff is a unified diff of every file that differs or goes; empty when none does.
	Diff []byte
	// Changed are the files that differ, Removed those that an earlier library
	// brought and this one does not have. Kept are such files that were changed
	// since: they stay where they are.
	Changed, Removed, Kept []string
}

// Same says that there is nothing to do.
func (u Update) Same() bool { return len(u.Changed)+len(u.Removed)+len(u.Kept) == 0 }

// Vendor brings the library in dir to the version of this program, unless dry,
// and says what differs.
func Vendor(dir string, dry bool) (Update, error) {
	want, err := Library()
	if err != nil {
		return Update{}, err
	}
	return vendor(dir, dry, want, rego.LibraryVersion)
}

func vendor(dir string, dry bool, want map[string][]byte, version string) (Update, error) {
	u := Update{To: version}
	current, err := os.ReadFile(filepath.Join(dir, manifest)) //nolint:gosec // within the caller's folder
	if err != nil {
		return u, fmt.Errorf("%w: %s is no policy bundle: %w; make one with signet policy init", ErrInvalid, dir, err)
	}
	before, err := readListing(dir)
	if err != nil {
		return u, err
	}
	if err := strangers(dir, want, before); err != nil {
		return u, err
	}
	want[shipped] = listing(want)
	if want[manifest], u.From, err = withVersion(current, version); err != nil {
		return u, err
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		have, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name))) //nolint:gosec // within the caller's folder
		old := name
		if errors.Is(err, fs.ErrNotExist) {
			have, err, old = nil, nil, "/dev/null"
		}
		if err != nil {
			return u, err
		}
		if d := diff.Diff(old, have, name, want[name]); d != nil {
			u.Diff, u.Changed = append(u.Diff, d...), append(u.Changed, name)
		}
	}
	if err := u.drop(dir, before, want); err != nil || dry {
		return u, err
	}
	for _, name := range u.Removed {
		if err := remove(dir, name); err != nil {
			return u, fmt.Errorf("removing %s: %w; run the same again", name, err)
		}
	}
	for _, name := range u.Changed {
		if err := replace(filepath.Join(dir, filepath.FromSlash(name)), want[name]); err != nil {
			return u, fmt.Errorf("updating %s: %w; run the same again", name, err)
		}
	}
	return u, nil
}

// drop finds the files that the library before brought and this one does not have.
func (u *Update) drop(dir string, before map[string]string, want map[string][]byte) error {
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if _, still := want[name]; still {
			continue
		}
		have, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name))) //nolint:gosec // within the caller's folder
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return err
		case sum(have) != before[name]:
			u.Kept = append(u.Kept, name)
		default:
			u.Diff, u.Removed = append(u.Diff, diff.Diff(name, have, "/dev/null", nil)...), append(u.Removed, name)
		}
	}
	return nil
}

// remove takes a file away, and the folders of the library that are empty then.
func remove(dir, name string) error {
	if err := os.Remove(filepath.Join(dir, filepath.FromSlash(name))); err != nil {
		return err
	}
	for at := path.Dir(name); strings.HasPrefix(at, lib+"/"); at = path.Dir(at) {
		_ = os.Remove(filepath.Join(dir, filepath.FromSlash(at))) // fails where there is something else in it
	}
	return nil
}

func sum(body []byte) string {
	h := sha256.Sum256(body)
	return hex.EncodeToString(h[:])
}

// listing is what sha256sum prints of these files.
func listing(files map[string][]byte) []byte {
	var b bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(&b, "%s  %s\n", sum(files[name]), name)
	}
	return b.Bytes()
}

// readListing reads what the library in dir was shipped as: digests by name. A name
// that no library has could be a file of the author's, so it is refused.
func readListing(dir string) (map[string]string, error) {
	body, err := os.ReadFile(filepath.Join(dir, shipped)) //nolint:gosec // within the caller's folder
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	files := map[string]string{}
	n := 0
	for line := range strings.Lines(string(body)) {
		n++
		digest, name, ok := strings.Cut(strings.TrimRight(line, "\r\n"), "  ")
		ours := strings.HasPrefix(name, lib+"/") || slices.Contains([]string{"signing/verdict.rego", "signing/builders/data.json", "schemas/input.json", "capabilities.json"}, name)
		if !ok || len(digest) != hex.EncodedLen(sha256.Size) || !fs.ValidPath(name) || !ours {
			return nil, fmt.Errorf("%w: %s, line %d: is not the digest and the name of a file of the library; take the file back from version control, or delete it", ErrInvalid, shipped, n)
		}
		files[name] = digest
	}
	return files, nil
}

// strangers refuses files in the library's folder that are neither the library's
// nor were: they would be taken for it, and would stay when it moves on.
func strangers(dir string, want map[string][]byte, before map[string]string) error {
	err := fs.WalkDir(os.DirFS(dir), lib, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		_, was := before[name]
		if _, ours := want[name]; !ours && !was {
			return fmt.Errorf("%w: %s is not part of the library; move it to signing/rules", ErrInvalid, name)
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

var versionField = regexp.MustCompile(`("library"\s*:\s*")([^"]*)(")`)

// withVersion gives the manifest with another version of the library. The
// rest of the text stays as its author wrote it.
func withVersion(body []byte, version string) (after []byte, before string, err error) {
	at := versionField.FindSubmatch(body)
	if at == nil {
		return nil, "", fmt.Errorf(`%w: %s does not name its library; write "library": "" into metadata.signet, and run the same again`, ErrInvalid, manifest)
	}
	return versionField.ReplaceAll(body, []byte("${1}"+version+"${3}")), string(at[2]), nil
}

// replace writes a file whole or not at all.
func replace(full string, body []byte) error {
	if old, err := os.ReadFile(full); err == nil && bytes.Equal(old, body) { //nolint:gosec // within the caller's folder
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil { //nolint:gosec // a policy is for others to read
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(full), ".vendor-*")
	if err != nil {
		return err
	}
	_, err = f.Write(body)
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), full)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(f.Name()))
	}
	return err
}
