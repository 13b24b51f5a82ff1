package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/signet-policy/signet/internal/engine"
	"github.com/signet-policy/signet/internal/manifests"
	"github.com/signet-policy/signet/internal/report"
)

// place is where an image is asked for.
type place struct {
	manifests.Use
	file  string // as it was named; "" for an argument, "stdin" for what was piped in
	nth   int    // among all places, as they were given
	image int    // position among the images
}

// String names the place: "deploy/web.yaml:12, Deployment web, container app".
func (p place) String() string {
	if p.file == "" {
		return "argument"
	}
	s := fmt.Sprintf("%s:%d", p.file, p.Line)
	if words := p.inWords(); words != "" {
		s += ", " + words
	}
	return s
}

// inWords is the place within the file.
func (p place) inWords() string {
	if p.Source == "" {
		return p.Where
	}
	return strings.TrimPrefix(p.Where+", from "+p.Source, ", ")
}

// prefix names the place before each line of an error of the caller's.
func (p place) prefix(err error) error {
	var e *exit
	if p.file == "" || !errors.As(err, &e) || e.err == nil {
		return err
	}
	return &exit{code: e.code, err: prefixed(p.String(), e.err)}
}

// uses are the images that a command was given, each once, in the order of the places
// that ask for them.
type uses struct {
	images []string
	places [][]place
	count  int
}

func (u *uses) add(file string, use manifests.Use) {
	i := slices.Index(u.images, use.Image)
	if i < 0 {
		i = len(u.images)
		u.images, u.places = append(u.images, use.Image), append(u.places, nil)
	}
	u.places[i] = append(u.places[i], place{Use: use, file: file, nth: u.count, image: i})
	u.count++
}

// inOrder puts cases, which are those of the first image, then of the second and so on,
// into the order in which the places were given.
func (u uses) inOrder(cases []report.Case) []report.Case {
	ordered := make([]report.Case, len(cases))
	n := 0
	for _, places := range u.places {
		for _, p := range places {
			ordered[p.nth] = cases[n]
			n++
		}
	}
	return ordered
}

// check refuses references that are none, all of them at once, before any is verified.
func (u uses) check(images engine.Source) error {
	var mistakes []string
	for i, image := range u.images {
		if _, err := images.Parse(image); err != nil {
			if u.places[i][0].file == "" {
				return &exit{code: exitUsage, err: err}
			}
			mistakes = append(mistakes, prefixed(u.places[i][0].String(), err).Error())
		}
	}
	if len(mistakes) > 0 {
		return usage("%s", strings.Join(mistakes, "\n"))
	}
	return nil
}

// readUses takes the images of the command line, and those of files.
func readUses(images, files []string) (uses, error) {
	var u uses
	for _, image := range images {
		u.add("", manifests.Use{Image: image})
	}
	for _, name := range files {
		below, err := filesBelow(name)
		if err != nil {
			return uses{}, err
		}
		before := u.count
		for _, file := range below {
			if err := u.file(file); err != nil {
				return uses{}, err
			}
		}
		if u.count == before {
			return uses{}, usage("-f %s: names no image", name)
		}
	}
	return u, nil
}

func (u *uses) file(name string) error {
	body, err := readInput("-f", name)
	if err != nil {
		return err
	}
	if name == "-" {
		name = "stdin"
	}
	name = filepath.ToSlash(name)
	found, err := manifests.Read(body, os.LookupEnv)
	if err != nil {
		return &exit{code: exitUsage, err: prefixed(name, err)}
	}
	for _, use := range found {
		u.add(name, use)
	}
	return nil
}

// filesBelow are the files that a name stands for: those of a folder that kubectl would
// apply, in order, or the one.
func filesBelow(name string) ([]string, error) {
	if info, err := os.Stat(name); name == "-" || err != nil || !info.IsDir() {
		return []string{name}, nil //nolint:nilerr // reading it says what is wrong
	}
	entries, err := os.ReadDir(name)
	if err != nil {
		return nil, usage("-f: %w", err)
	}
	var files []string
	for _, e := range entries {
		if slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(e.Name())) && !e.IsDir() {
			files = append(files, filepath.Join(name, e.Name()))
		}
	}
	return files, nil
}
