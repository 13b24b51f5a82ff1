package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/consts"
	"github.com/compose-spec/compose-go/v2/dotenv"

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
			mistakes = append(mistakes, u.places[i][0].String()+": "+printable(err.Error(), false)) // it quotes the file
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
	below := make([][]string, len(files))
	for i, name := range files {
		var err error
		if below[i], err = filesBelow(name); err != nil {
			return uses{}, err
		}
	}
	all := slices.Concat(below...)
	var project project
	for i, name := range files {
		before := u.count + len(project.without)
		for _, file := range below[i] {
			read, err := u.file(file, all)
			if err != nil {
				return uses{}, err
			}
			project.add(read, file == name) // those of a folder may be projects of their own
		}
		if u.count+len(project.without) == before {
			return uses{}, usage("-f %s: names no image", name)
		}
	}
	return u, project.check()
}

// project is what Compose files are together.
type project struct {
	// named are those that the command names, in that order: Compose puts them together.
	named []composeFile
	// services that have an image, and those that leave it to another file.
	services map[string]bool
	without  []place
}

// composeFile is a file that was read as one.
type composeFile struct {
	name  string
	piped bool
	vars  *variables
	uses  []manifests.Use
}

func (p *project) add(f composeFile, named bool) {
	compose := false
	for _, use := range f.uses {
		switch compose = compose || use.Service != ""; {
		case use.Service == "":
		case use.Image == "":
			p.without = append(p.without, place{Use: use, file: f.name})
		default:
			if p.services == nil {
				p.services = map[string]bool{}
			}
			p.services[use.Service] = true
		}
	}
	if compose && named {
		p.named = append(p.named, f)
	}
}

// check refuses what Compose would understand otherwise. A service without an image takes
// that of another file, or Compose refuses it. And Compose reads one .env for all files:
// that of the folder of the first that is no pipe (GetWorkingDir in compose-go's cli).
func (p *project) check() error {
	var mistakes []string
	for _, w := range p.without {
		if !p.services[w.Service] {
			mistakes = append(mistakes, fmt.Sprintf("%s has no image, and no other file that was given has one for it", w))
		}
	}
	if len(mistakes) > 0 {
		return usage("%s", strings.Join(mistakes, "\n"))
	}
	first := slices.IndexFunc(p.named, func(f composeFile) bool { return !f.piped })
	if first < 0 {
		return nil
	}
	of := p.named[first]
	for _, f := range p.named {
		for _, name := range slices.Sorted(maps.Keys(f.vars.asked)) {
			value, set := of.vars.lookup(name)
			if of.vars.err != nil {
				return usage("-f %s: %w", of.name, of.vars.err)
			}
			if was := f.vars.asked[name]; was != (variable{value, set}) {
				return usage("-f %s: the variable %s is another one in %s than in %s, which Compose reads for all files that it is given together; verify them one by one, or give what `docker compose config` prints, with -f -",
					f.name, name, filepath.ToSlash(f.vars.file), filepath.ToSlash(of.vars.file))
			}
		}
	}
	return nil
}

// composeFiles are those that `docker compose` takes where none is named, and
// composeOverrides what it puts over any of them: the first that there is
// (WithDefaultConfigPath in compose-go's cli).
var (
	composeFiles     = []string{"compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"}
	composeOverrides = []string{"compose.override.yml", "compose.override.yaml", "docker-compose.override.yml", "docker-compose.override.yaml"}
)

// overrides is the file that `docker compose` puts over this one, "" for none.
func overrides(name string) string {
	if !slices.Contains(composeFiles, filepath.Base(name)) {
		return ""
	}
	for _, over := range composeOverrides {
		over = filepath.Join(filepath.Dir(name), over)
		if _, err := os.Stat(over); err == nil {
			return over
		}
	}
	return ""
}

// sameFile says whether two names are of one file.
func sameFile(a, b string) bool {
	one, err := os.Stat(a)
	other, err2 := os.Stat(b)
	return err == nil && err2 == nil && os.SameFile(one, other)
}

// file takes the images of one file; all are the files that are read, this one too.
func (u *uses) file(name string, all []string) (composeFile, error) {
	body, err := readInput("-f", name)
	if err != nil {
		return composeFile{}, err
	}
	if over := overrides(name); over != "" && !slices.ContainsFunc(all, func(file string) bool { return sameFile(file, over) }) {
		return composeFile{}, usage("-f %s: %s changes it; give it too, or what `docker compose config` prints, with -f -", name, over)
	}
	vars := &variables{file: filepath.Join(filepath.Dir(name), ".env")} // of the working directory for what is piped in, as Compose has it
	piped := name == "-"
	if piped {
		name = "stdin"
	}
	name = filepath.ToSlash(name)
	found, err := manifests.Read(body, vars.lookup)
	if vars.err != nil {
		return composeFile{}, usage("-f %s: %w", name, vars.err)
	}
	if err != nil {
		return composeFile{}, &exit{code: exitUsage, err: prefixed(name, err)}
	}
	for _, use := range found {
		if use.Image != "" {
			u.add(name, use)
		}
	}
	return composeFile{name, piped, vars, found}, nil
}

// variables are those of a Compose file: the environment's, and below them those of the
// file .env beside it, unless another variable says otherwise
// (https://docs.docker.com/compose/how-tos/environment-variables/envvars-precedence/).
type variables struct {
	file   string
	read   bool
	values map[string]string
	err    error
	// asked are those that the environment does not have, as they were found.
	asked map[string]variable
}

// variable is the value of one, and whether it is set.
type variable struct {
	value string
	set   bool
}

func (v *variables) lookup(name string) (string, bool) {
	if value, ok := os.LookupEnv(name); ok {
		return value, true
	}
	if !v.read {
		v.read = true
		v.values, v.err = dotEnv(v.file)
	}
	value, ok := v.values[name]
	if v.asked == nil {
		v.asked = map[string]variable{}
	}
	v.asked[name] = variable{value, ok}
	return value, ok
}

// dotEnv reads the variables of a file .env as Compose does.
func dotEnv(file string) (map[string]string, error) {
	if strings.Trim(os.Getenv("COMPOSE_ENV_FILES"), ",") != "" {
		return nil, errors.New("COMPOSE_ENV_FILES names other files than .env; give what `docker compose config` prints, with -f -")
	}
	const disabled = consts.ComposeDisableDefaultEnvFile
	value, set := os.LookupEnv(disabled)
	if set {
		off, err := strconv.ParseBool(value)
		if err != nil {
			return nil, fmt.Errorf("the variable %s must be true or false", disabled)
		}
		if off {
			return nil, nil
		}
	}
	if info, err := os.Stat(file); err != nil || info.IsDir() {
		return nil, nil //nolint:nilerr // there need be none
	}
	environment := map[string]string{} // it may speak of these
	for _, pair := range os.Environ() {
		if name, value, ok := strings.Cut(pair, "="); ok {
			environment[name] = value
		}
	}
	values, err := dotenv.GetEnvFromFile(environment, []string{file})
	if err != nil {
		return nil, fmt.Errorf("%s cannot be read as Compose does", file) // the cause would quote what may be secret
	}
	if value, ok := values[disabled]; ok && !set { // Compose reads this of it first
		if off, err := strconv.ParseBool(value); err != nil || off {
			return nil, fmt.Errorf("%s sets %s, and so keeps Compose from reading it; take that out, or set it in the environment", file, disabled)
		}
	}
	return values, nil
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
