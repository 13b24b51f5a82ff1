package policy

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/cover"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/tester"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// fixturesName is the folder of a bundle directory whose JSON files are mounted
// for tests, as data.fixtures, each where its folder says.
const fixturesName = "fixtures"

// How a test ended.
const (
	Passed  = "passed"
	Failed  = "failed"
	Errored = "error"
	Skipped = "skipped"
)

// Test is one test of a policy, and how it ended.
type Test struct {
	Package string `json:"package"`
	Name    string `json:"name"`
	File    string `json:"file"`
	Line    int    `json:"line"`
	// Outcome is Passed, Failed, Errored or Skipped.
	Outcome string `json:"outcome"`
	// Message says what failed: the expression that did not hold, or the error.
	Message string  `json:"message,omitempty"`
	Seconds float64 `json:"seconds"`
	// Output is what the rules and the test printed.
	Output string `json:"output,omitempty"`
}

// Uncovered are lines of a rule that no test evaluated.
type Uncovered struct {
	File string `json:"file"`
	Line int    `json:"line"`
}

// Tested is the outcome of the tests of a policy.
type Tested struct {
	Tests []Test `json:"tests"`
	// Coverage is the share of the author's own lines that the tests evaluated, in
	// percent; the library and the tests themselves do not count.
	Coverage  float64     `json:"coverage"`
	Uncovered []Uncovered `json:"uncovered"`
	// MinimumCoverage is what was asked of Coverage, 0 for nothing.
	MinimumCoverage float64 `json:"minimum_coverage,omitempty"`
}

// Covered says whether the coverage is what was asked of it.
func (t Tested) Covered() bool { return t.Coverage >= t.MinimumCoverage }

// OK says whether every test passed, or was skipped by its name.
func (t Tested) OK() bool {
	return !slices.ContainsFunc(t.Tests, func(t Test) bool { return t.Outcome == Failed || t.Outcome == Errored })
}

// testTime bounds one test.
const testTime = 30 * time.Second

// RunTests runs the tests of a bundle directory as "opa test" does, and as it
// cannot: with the schemas and capabilities of [Load], the limits on a bundle, and
// with a test failing whose rules meet an error of a builtin. Errors wrap
// [ErrLoad]; a test that fails is none.
func RunTests(ctx context.Context, src Source) (Tested, error) {
	out := Tested{Tests: []Test{}, Uncovered: []Uncovered{}}
	c, err := readBundle(src.Bundle)
	if err != nil {
		return out, fmt.Errorf("%w: bundle: %w", ErrLoad, err)
	}
	params, _, err := checkParams(ctx, src.Params, c.paramsSchema)
	if err != nil {
		return out, fmt.Errorf("%w: params: %w", ErrLoad, err)
	}
	data := c.dataWith(params)
	if err := addForTests(src.Bundle, c, data); err != nil {
		return out, fmt.Errorf("%w: %w", ErrLoad, err)
	}
	caps, err := capabilities()
	if err != nil {
		return out, err
	}
	modules, err := parse(c, caps)
	if err != nil {
		return out, fmt.Errorf("%w: %w", ErrLoad, err)
	}
	schemas, err := schemaSet(c)
	if err != nil {
		return out, fmt.Errorf("%w: %w", ErrLoad, err)
	}
	compiler := ast.NewCompiler().WithCapabilities(forTests(caps)).WithStrict(true).WithSchemas(schemas).
		WithUseTypeCheckAnnotations(true).WithPathConflictsCheck(c.hasData).WithEnablePrintStatements(true)
	store := inmem.NewFromObjectWithOpts(data, inmem.OptRoundTripOnWrite(false))
	txn, err := store.NewTransaction(ctx)
	if err != nil {
		return out, err
	}
	defer store.Abort(ctx, txn)
	covered := cover.New()
	// Tracing is what says which line of a test did not hold.
	results, err := tester.NewRunner().SetCompiler(compiler).SetStore(store).SetModules(modules).
		CapturePrintOutput(true).RaiseBuiltinErrors(true).EnableTracing(true).SetTimeout(testTime).SetCoverageQueryTracer(covered).RunTests(ctx, txn)
	if err != nil {
		return out, fmt.Errorf("%w: %w", ErrLoad, err)
	}
	for r := range results {
		out.Tests = append(out.Tests, testOf(r))
	}
	if len(out.Tests) == 0 {
		return out, fmt.Errorf("%w: has no tests; write them into files that end in _test.rego, as rules whose names begin with test_", ErrLoad)
	}
	slices.SortFunc(out.Tests, func(a, b Test) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Name, b.Name))
	})
	out.cover(covered.Report(modules))
	return out, ctx.Err()
}

// addForTests adds the tests and fixtures of a bundle directory, which are no
// part of the bundle.
func addForTests(dir fs.FS, c *contents, data map[string]any) error {
	// Tests of fixtures may be packages beside the bundle's own.
	c.manifest.Roots = append(slices.Clone(c.manifest.Roots), fixturesName)
	files, total := 0, 0
	fixtures := map[string]any{}
	err := fs.WalkDir(dir, ".", func(name string, d fs.DirEntry, err error) error {
		test := strings.HasSuffix(name, "_test.rego")
		fixture := strings.HasPrefix(name, fixturesName+"/") && path.Ext(name) == ".json"
		if err != nil || d.IsDir() || !test && !fixture {
			return err
		}
		body, err := readCapped(dir, name, maxBundleBytes-total)
		if err != nil {
			return err
		}
		files, total = files+1, total+len(body)
		switch {
		case files > maxBundleFiles:
			return fmt.Errorf("has more than %d tests and fixtures", maxBundleFiles)
		case test:
			c.modules[name] = body
			return nil
		default:
			return mount(fixtures, name, body)
		}
	})
	maps.Copy(data, fixtures)
	return err
}

// mount puts a JSON object where the folder of its file says, as "opa test" does.
func mount(at map[string]any, name string, body []byte) error {
	var doc map[string]any
	if err := json.Unmarshal(body, &doc); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for _, part := range strings.Split(path.Dir(name), "/") {
		next, ok := at[part].(map[string]any)
		if !ok {
			next = map[string]any{}
			at[part] = next
		}
		at = next
	}
	for key, v := range doc {
		if _, taken := at[key]; taken {
			return fmt.Errorf("%s: %q is given by another file of its folder too", name, key)
		}
		at[key] = v
	}
	return nil
}

// forTests adds the calls by which OPA's tester learns of the cases of a test and
// of what is printed; neither has a name that can be written in Rego.
func forTests(caps *ast.Capabilities) *ast.Capabilities {
	more := *caps
	more.Builtins = append(slices.Clone(caps.Builtins), ast.InternalTestCase, ast.InternalPrint)
	return &more
}

func testOf(r *tester.Result) Test {
	t := Test{
		Package: strings.TrimPrefix(r.Package, "data."), Name: r.Name, Outcome: Passed,
		Seconds: r.Duration.Seconds(), Output: string(r.Output),
	}
	if r.Location != nil {
		t.File, t.Line = r.Location.File, r.Location.Row
	}
	switch {
	case r.Skip:
		t.Outcome = Skipped
	case r.Error != nil:
		t.Outcome, t.Message = Errored, r.Error.Error()
	case r.Fail:
		t.Outcome, t.Message = Failed, "did not hold"
		if at := failedAt(r); at != nil {
			t.Message = fmt.Sprintf("line %d did not hold: %s", at.Row, firstLine(string(at.Text)))
		}
	}
	return t
}

// failedAt is the last expression of the test itself that did not hold.
func failedAt(r *tester.Result) *ast.Location {
	for _, e := range slices.Backward(r.Trace) {
		if e.Op == topdown.FailOp && e.Location != nil && r.Location != nil && e.Location.File == r.Location.File {
			return e.Location
		}
	}
	return nil
}

func firstLine(s string) string {
	line, more, cut := strings.Cut(strings.TrimSpace(s), "\n")
	if cut && more != "" {
		line += " …"
	}
	return line
}

// cover counts the author's own lines.
func (t *Tested) cover(r cover.Report) {
	covered, all := 0, 0
	for _, file := range slices.Sorted(maps.Keys(r.Files)) {
		if !ownModule(file) {
			continue
		}
		f := r.Files[file]
		covered += f.CoveredLines
		all += f.CoveredLines + f.NotCoveredLines
		for _, gap := range f.NotCovered {
			if n := len(t.Uncovered); n == 0 || t.Uncovered[n-1] != (Uncovered{file, gap.Start.Row}) {
				t.Uncovered = append(t.Uncovered, Uncovered{file, gap.Start.Row})
			}
		}
	}
	if t.Coverage = 100; all > 0 {
		t.Coverage = 100 * float64(covered) / float64(all)
	}
}

// ownModule says whether a Rego file is the author's, and neither a test nor the
// library's.
func ownModule(name string) bool {
	return isModule(name) && name != "signing/verdict.rego" && !strings.HasPrefix(name, "signing/lib/")
}
