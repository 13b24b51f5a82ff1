package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/signet-policy/signet/internal/testkit/require"
)

// event is one line of `go test -json`, as `go doc test2json` and `go help buildjson` describe it.
type event struct {
	Action      string
	Package     string
	Test        string
	Elapsed     float64 // seconds
	Output      string
	FailedBuild string // of a package's fail: the ImportPath of the build that failed
	ImportPath  string // of build-output and build-fail
	Key, Value  string // of attr
}

// collector reads events into results and prints one line for each package, and the output of what failed.
type collector struct {
	module string // cut from the names of packages
	out    io.Writer
	res    *results
	pkgs   map[string]*packageRun
	builds map[string]*bytes.Buffer
}

// packageRun is a package whose tests run.
type packageRun struct {
	output bytes.Buffer             // what belongs to no test
	tests  map[string]*bytes.Buffer // the output of the tests that have not ended
	ended  int
	failed int
}

func newCollector(module string, out io.Writer, res *results) *collector {
	return &collector{module: module, out: out, res: res, pkgs: map[string]*packageRun{}, builds: map[string]*bytes.Buffer{}}
}

// read handles events until r ends. Lines that are no events are printed as they stand.
func (c *collector) read(r io.Reader) error {
	in := bufio.NewReader(r)
	for {
		line, err := in.ReadBytes('\n')
		if text := bytes.TrimSpace(line); len(text) > 0 {
			var e event
			if jsonErr := json.Unmarshal(text, &e); jsonErr != nil || e.Action == "" {
				fmt.Fprintf(c.out, "%s\n", text)
			} else {
				c.handle(e)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the events of go test: %w", err)
		}
	}
}

// finish reports the packages that were begun and never ended, because go test was killed or its output was cut short, and
// what else the builds that failed said.
func (c *collector) finish() {
	for _, name := range slices.Sorted(maps.Keys(c.builds)) {
		fmt.Fprint(c.out, indent(c.takeBuild(name)))
	}
	for _, name := range slices.Sorted(maps.Keys(c.pkgs)) {
		c.endPackage(event{Package: name, Action: "fail"})
	}
}

// takeBuild is what the build said, the first time it is asked for: one that fails for many packages is printed once.
func (c *collector) takeBuild(name string) string {
	output := c.builds[name]
	if output == nil {
		return ""
	}
	delete(c.builds, name)
	return output.String()
}

func (c *collector) handle(e event) {
	switch {
	case e.Action == "build-output":
		if c.builds[e.ImportPath] == nil {
			c.builds[e.ImportPath] = &bytes.Buffer{}
		}
		c.builds[e.ImportPath].WriteString(e.Output)
	case e.Package == "":
		// build-fail: the package's own fail names it.
	case e.Test == "":
		c.handlePackage(e)
	default:
		c.handleTest(e)
	}
}

func (c *collector) pkg(name string) *packageRun {
	if c.pkgs[name] == nil {
		c.pkgs[name] = &packageRun{tests: map[string]*bytes.Buffer{}}
	}
	return c.pkgs[name]
}

func (c *collector) handlePackage(e event) {
	p := c.pkg(e.Package)
	switch e.Action {
	case "output":
		p.output.WriteString(e.Output)
	case "pass", "skip", "fail":
		c.endPackage(e)
	}
}

func (c *collector) endPackage(e event) {
	p, name := c.pkg(e.Package), c.short(e.Package)
	delete(c.pkgs, e.Package)
	for _, test := range slices.Sorted(maps.Keys(p.tests)) {
		p.failed++
		c.fail(name+" "+test+" (did not end)", p.tests[test].String())
	}
	switch {
	case e.Action == "skip" || e.Action == "pass" && p.ended == 0:
		// A package without tests; its own line would say nothing.
	case e.Action == "pass" && p.failed == 0:
		took := time.Duration(e.Elapsed * float64(time.Second)).Round(10 * time.Millisecond)
		fmt.Fprintf(c.out, "ok    %-44s %5d tests %8s\n", name, p.ended, took)
	case p.failed == 0:
		// It failed and none of its tests did: it did not build, its TestMain exited, or it was stopped.
		c.fail(name, c.takeBuild(e.FailedBuild)+p.output.String())
	default:
		fmt.Fprintf(c.out, "FAIL  %-44s %5d of %d tests failed\n%s", name, p.failed, p.ended, indent(p.output.String()))
	}
}

func (c *collector) handleTest(e event) {
	p := c.pkg(e.Package)
	if p.tests[e.Test] == nil {
		p.tests[e.Test] = &bytes.Buffer{}
	}
	output := p.tests[e.Test]
	name := c.short(e.Package) + " " + e.Test
	switch e.Action {
	case "output":
		output.WriteString(e.Output)
		return
	case "attr":
		if e.Key == require.Attribute {
			c.res.used[e.Value] = true
		}
		return
	case "pass":
		c.res.passed++
	case "skip":
		c.res.skipped = append(c.res.skipped, skip{test: name, reason: skipReason(output.String())})
	case "fail":
		p.failed++
		c.fail(name, output.String())
	default: // run, pause, cont, bench
		return
	}
	p.ended++
	delete(p.tests, e.Test)
}

func (c *collector) fail(name, output string) {
	c.res.failed = append(c.res.failed, name)
	fmt.Fprintf(c.out, "FAIL  %s\n%s", name, indent(output))
}

func (c *collector) short(pkg string) string {
	if rest, ok := strings.CutPrefix(pkg, c.module+"/"); ok {
		return rest
	}
	return pkg
}

// logged matches a line that a test logged: file, line, text.
var logged = regexp.MustCompile(`^\s+[^\s:]+\.go:\d+: (.*)$`)

// skipReason is what a skipped test said last, with the lines that continue it. The testing package prints it as
// `    file.go:12: reason`, continues it with deeper indented lines, and ends with `--- SKIP: …`.
func skipReason(output string) string {
	var reason []string
	for line := range strings.Lines(output) {
		line = strings.TrimRight(line, "\n")
		switch m := logged.FindStringSubmatch(line); {
		case m != nil:
			reason = []string{m[1]}
		case strings.HasPrefix(line, "        ") && reason != nil:
			reason = append(reason, strings.TrimSpace(line))
		}
	}
	return strings.TrimSpace(strings.Join(reason, "\n"))
}

func indent(text string) string {
	if strings.TrimSpace(text) == "" {
		return ""
	}
	return "      " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n      ") + "\n"
}
