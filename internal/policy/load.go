package policy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	opa "github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"

	"github.com/signet-policy/signet/internal/builders"
	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/rego"
)

// Entrypoint is the one query that is ever asked of a policy.
const Entrypoint = "data.signing.verdict"

// entrypoint is Entrypoint, parsed.
func entrypoint() ast.Ref {
	return ast.Ref{ast.DefaultRootDocument, ast.StringTerm(root), ast.StringTerm("verdict")}
}

// Source says what to load.
type Source struct {
	// Name is the policy's name, for errors and verdicts.
	Name string
	// Bundle is a bundle directory: .manifest, Rego modules, data.json files, and
	// schemas/params.json where its parameters differ from the default policy's.
	// nil is the default policy, which is embedded.
	Bundle fs.FS
	// Params is the JSON object that becomes data.params.
	Params json.RawMessage
	// Limits bound time, input and result; the zero value means the defaults.
	Limits evidence.Limits
}

// Set is one compiled policy with its parameters: immutable, and safe for
// concurrent use.
type Set struct {
	name         string
	manifest     manifest
	digest       string
	paramsDigest string
	limits       evidence.Limits
	profiles     []builders.Profile

	// ready is closed when query and failed are final.
	ready  chan struct{}
	query  opa.PreparedEvalQuery
	failed error
	// compiler is what query was prepared with; nil for the embedded policy.
	compiler *ast.Compiler
}

// Name is the policy's name.
func (s *Set) Name() string { return s.name }

// Revision is what the bundle's manifest calls this release, for people.
func (s *Set) Revision() string { return s.manifest.Revision }

// Sequence is the integer that rises with every release of a bundle.
func (s *Set) Sequence() int64 { return s.manifest.signet.Sequence }

// Digest is "sha256:<hex>" over the bundle's manifest, modules, data and schema.
func (s *Set) Digest() string { return s.digest }

// ParamsDigest is "sha256:<hex>" over the parameters as canonical JSON.
func (s *Set) ParamsDigest() string { return s.paramsDigest }

// Monotone says that the policy declares that more evidence can only help it to
// allow.
func (s *Set) Monotone() bool { return s.manifest.signet.Monotone }

// Context gives the request context keys that the policy declares, each with its
// allowed values.
func (s *Set) Context() map[string][]string { return s.manifest.signet.Context }

// Ready waits until the policy is compiled, and says whether it is. Only the
// embedded policy may still be compiling when [Load] returns.
func (s *Set) Ready(ctx context.Context) error {
	select {
	case <-s.ready:
		return s.failed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Load reads, compiles and prepares a policy. Errors wrap [ErrLoad].
//
// A bundle given by the caller is compiled strictly, its types checked against
// the input schema, and asked once about an image without any evidence, which it
// must not allow, and about its golden inputs, whose outcome must be the promised
// one. For the embedded policy the project's own tests do this, so
// that nothing is left that could refuse it: it is compiled beside what the
// caller does next, and the first evaluation waits for it.
func Load(ctx context.Context, src Source) (s *Set, err error) {
	defer func() {
		if p := recover(); p != nil {
			s, err = nil, fmt.Errorf("%w: panic: %v", ErrLoad, p)
		}
	}()
	if s, err = load(ctx, src); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLoad, err)
	}
	return s, nil
}

func load(ctx context.Context, src Source) (*Set, error) {
	if src.Limits == (evidence.Limits{}) {
		src.Limits = evidence.DefaultLimits()
	}
	c, err := embeddedContents()
	if src.Bundle != nil {
		if c, err = readBundle(src.Bundle); err != nil {
			err = fmt.Errorf("bundle: %w", err)
		}
	}
	if err != nil {
		return nil, err
	}
	params, paramsDigest, err := checkParams(ctx, src.Params, c.paramsSchema)
	if err != nil {
		return nil, paramsError(err)
	}
	profiles, err := c.profiles()
	if err != nil {
		return nil, err
	}
	data := c.dataWith(params)
	s := &Set{
		name: src.Name, manifest: c.manifest, digest: c.digest, paramsDigest: paramsDigest, limits: src.Limits, profiles: profiles,
		ready: make(chan struct{}),
	}
	if c.embedded {
		go s.build(context.WithoutCancel(ctx), c, data)
		return s, nil
	}
	if s.build(ctx, c, data); s.failed != nil {
		return nil, s.failed
	}
	strict, err := s.withoutExceptions(ctx, c, params)
	if err != nil {
		return nil, err
	}
	if err := strict.mustNotAllowNothing(ctx); err != nil {
		return nil, err
	}
	if err := strict.checkGolden(ctx, c); err != nil {
		return nil, err
	}
	return s, nil
}

// withoutExceptions is the same policy with nothing waived: what a bundle promises
// is asked of its rules, not of what an installation excuses for a while.
func (s *Set) withoutExceptions(ctx context.Context, c *contents, params any) (*Set, error) {
	given, ok := params.(map[string]any)
	if _, has := given["exceptions"]; !ok || !has {
		return s, nil
	}
	fewer := maps.Clone(given)
	delete(fewer, "exceptions")
	raw, err := json.Marshal(fewer)
	if err != nil {
		return nil, fmt.Errorf("params: %w", err)
	}
	return s.withParams(ctx, c, raw)
}

// build compiles and prepares, and then closes ready.
func (s *Set) build(ctx context.Context, c *contents, data map[string]any) {
	defer close(s.ready)
	defer func() {
		if p := recover(); p != nil {
			s.failed = fmt.Errorf("panic: %v", p)
		}
	}()
	caps, err := capabilities()
	if err != nil {
		s.failed = err
		return
	}
	var compiler *ast.Compiler
	if c.embedded {
		compiler, err = embedded.compiler(data["params"])
	} else {
		compiler, err = compile(c, caps)
		s.compiler = compiler
	}
	if err != nil {
		s.failed = err
		return
	}
	s.query, s.failed = prepare(ctx, compiler, caps, data)
}

// compile parses and compiles the modules with nothing but caps.
func compile(c *contents, caps *ast.Capabilities) (*ast.Compiler, error) {
	modules, err := parse(c, caps)
	if err != nil {
		return nil, err
	}
	schemas, err := schemaSet(c)
	if err != nil {
		return nil, err
	}
	return compileModules(modules, ast.NewCompiler().WithCapabilities(caps).WithStrict(true).WithSchemas(schemas).
		WithUseTypeCheckAnnotations(true).WithPathConflictsCheck(c.hasData))
}

func compileModules(modules map[string]*ast.Module, compiler *ast.Compiler) (*ast.Compiler, error) {
	compiler.Compile(modules)
	if compiler.Failed() {
		return nil, compiler.Errors
	}
	if len(compiler.GetRulesExact(entrypoint())) == 0 {
		return nil, fmt.Errorf("has no rule %s, which is the one that is asked", Entrypoint)
	}
	return compiler, nil
}

// parse reads the modules of a bundle.
func parse(c *contents, caps *ast.Capabilities) (map[string]*ast.Module, error) {
	modules := make(map[string]*ast.Module, len(c.modules))
	var problems []error
	for _, name := range slices.Sorted(maps.Keys(c.modules)) {
		m, err := c.parseModule(name, caps)
		modules[name], problems = m, append(problems, err)
	}
	return modules, errors.Join(problems...)
}

func (c *contents) parseModule(name string, caps *ast.Capabilities) (*ast.Module, error) {
	m, err := ast.ParseModuleWithOpts(name, string(c.modules[name]), ast.ParserOptions{
		Capabilities: caps, RegoVersion: ast.RegoV1,
		ProcessAnnotation: !c.embedded, // METADATA can hold schemas, which the compiler reads
	})
	switch {
	case err != nil:
		return nil, err
	case m == nil:
		return nil, fmt.Errorf("%s: is empty", name)
	case !c.owns(packagePath(m)):
		return nil, fmt.Errorf("%s: %s lies outside the roots %q; data.params in particular is mounted by Signet", name, m.Package, c.manifest.Roots)
	}
	return m, nil
}

func packagePath(m *ast.Module) string {
	parts := make([]string, 0, len(m.Package.Path))
	for _, t := range m.Package.Path[1:] { // without "data"
		s, _ := t.Value.(ast.String)
		parts = append(parts, string(s))
	}
	return strings.Join(parts, "/")
}

// schemaSet gives the type checker the shape of the input. Annotations may name
// it, as schema.input, and schema.params for data.params.
func schemaSet(c *contents) (*ast.SchemaSet, error) {
	var input, params any
	if err := json.Unmarshal(rego.InputSchema, &input); err != nil {
		return nil, fmt.Errorf("schemas/input.json: %w", err)
	}
	if err := json.Unmarshal(c.paramsSchema, &params); err != nil {
		return nil, fmt.Errorf("%s: %w", paramsSchemaName, err)
	}
	set := ast.NewSchemaSet()
	set.Put(ast.SchemaRootRef, input)
	set.Put(ast.SchemaRootRef.Append(ast.StringTerm("input")), input)
	set.Put(ast.SchemaRootRef.Append(ast.StringTerm("params")), params)
	return set, nil
}

// hasData says whether the bundle's data document has something at a path, where
// a rule must not be.
func (c *contents) hasData(path []string) (bool, error) {
	var at any = c.data
	for _, part := range path {
		object, ok := at.(map[string]any)
		if !ok {
			return false, nil
		}
		if at, ok = object[part]; !ok {
			return false, nil
		}
	}
	return true, nil
}

func prepare(ctx context.Context, compiler *ast.Compiler, caps *ast.Capabilities, data map[string]any) (opa.PreparedEvalQuery, error) {
	store := inmem.NewFromObjectWithOpts(data, inmem.OptReturnASTValuesOnRead(true), inmem.OptRoundTripOnWrite(false))
	query, err := opa.New(
		opa.ParsedQuery(ast.NewBody(ast.NewExpr(ast.NewTerm(entrypoint())))),
		opa.Compiler(compiler),
		opa.Capabilities(caps),
		opa.Store(store),
		opa.GenerateJSON(func(t *ast.Term, _ *opa.EvalContext) (any, error) { return t, nil }),
	).PrepareForEval(ctx)
	if err != nil {
		return opa.PreparedEvalQuery{}, fmt.Errorf("preparing %s: %w", Entrypoint, err)
	}
	return query, nil
}

// noEvidence is an image of which nothing is known but that the search found
// nothing.
func noEvidence() facts.Input {
	in := facts.NewInput(facts.Facts{}, facts.Frame{
		EvaluatedAt: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), // a time that rules can reckon with
		Request:     facts.Request{Image: "registry.example/nothing:known"}, Registry: "registry.example", Repository: "nothing",
		Search: facts.Search{Complete: true, ReferrersAPI: "empty", FallbackTag: "empty", CosignTags: "empty"},
	})
	in.Subject.Digest = "sha256:" + strings.Repeat("0", 64)
	in.Subject.Platforms = []facts.Platform{}
	return in
}

func (s *Set) mustNotAllowNothing(ctx context.Context) error {
	in := noEvidence()
	result, err := s.Evaluate(ctx, &in)
	if err != nil {
		return fmt.Errorf("asked about an image without any evidence: %w", err)
	}
	if result.Allow {
		return errors.New("allows an image without any evidence")
	}
	return nil
}
