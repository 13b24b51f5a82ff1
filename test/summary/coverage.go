package main

import (
	"bufio"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
)

// block is a stretch of statements in a coverage profile.
type block struct {
	file       string // import path of the package, and file
	position   string // first and last line and column
	statements int
}

// readProfile reads a profile of `go test -coverprofile`. Every test binary adds all the blocks of -coverpkg, so each stands
// there many times; it is covered when one of them says so.
//
//	mode: atomic
//	example.com/module/internal/facts/facts.go:10.33,12.2 1 7
func readProfile(r io.Reader) (map[block]bool, error) {
	blocks := map[block]bool{}
	in := bufio.NewScanner(r)
	for n := 1; in.Scan(); n++ {
		line := in.Text()
		if strings.HasPrefix(line, "mode: ") {
			continue
		}
		colon := strings.LastIndexByte(line, ':')
		fields := strings.Fields(line[colon+1:])
		if colon < 0 || len(fields) != 3 {
			return nil, fmt.Errorf("line %d is not file:from,to statements count: %q", n, line)
		}
		statements, err := strconv.Atoi(fields[1])
		if err != nil {
			return nil, fmt.Errorf("line %d: statements: %w", n, err)
		}
		b := block{file: line[:colon], position: fields[0], statements: statements}
		blocks[b] = blocks[b] || fields[2] != "0"
	}
	return blocks, in.Err()
}

// packageCoverage is how many statements of a package the tests reach.
type packageCoverage struct {
	name                string
	covered, statements int
}

// percent is 0 for a package without statements: what was not measured is not good.
func (c packageCoverage) percent() float64 {
	if c.statements == 0 {
		return 0
	}
	return 100 * float64(c.covered) / float64(c.statements)
}

// String rounds down, so that 79.99 does not read as 80.0.
func (c packageCoverage) String() string {
	tenths := 0
	if c.statements > 0 {
		tenths = 1000 * c.covered / c.statements
	}
	return fmt.Sprintf("%3d.%d %% of %d statements", tenths/10, tenths%10, c.statements)
}

// coverageOf sums up the blocks by package, for internal/ without what is there for tests only (testkit, and packages that are
// named like httptest) and without generated files. The sources are read from module, the module's folder.
func coverageOf(blocks map[block]bool, modulePath string, module fs.FS) ([]packageCoverage, packageCoverage, error) {
	total := packageCoverage{name: "total"}
	packages := map[string]packageCoverage{}
	counts := map[string]bool{}
	for b, covered := range blocks {
		file, ok := strings.CutPrefix(b.file, modulePath+"/")
		if !ok || !strings.HasPrefix(file, "internal/") || strings.HasPrefix(file, "internal/testkit/") || strings.HasSuffix(path.Dir(file), "test") {
			continue
		}
		if _, seen := counts[file]; !seen {
			generated, err := isGenerated(module, file)
			if err != nil {
				return nil, total, err
			}
			counts[file] = !generated
		}
		if !counts[file] {
			continue
		}
		p := packages[path.Dir(file)]
		p.name = path.Dir(file)
		p.statements += b.statements
		total.statements += b.statements
		if covered {
			p.covered += b.statements
			total.covered += b.statements
		}
		packages[p.name] = p
	}
	sorted := slices.SortedFunc(maps.Values(packages), func(a, b packageCoverage) int { return strings.Compare(a.name, b.name) })
	return sorted, total, nil
}

// isGenerated tells a file that says `// Code generated … DO NOT EDIT.` before its package clause.
func isGenerated(module fs.FS, file string) (bool, error) {
	source, err := fs.ReadFile(module, file)
	if err != nil {
		return false, err
	}
	f, err := parser.ParseFile(token.NewFileSet(), file, source, parser.PackageClauseOnly|parser.ParseComments)
	if err != nil {
		return false, err
	}
	return ast.IsGenerated(f), nil
}
