package policy

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// How bad a problem is.
const (
	SeverityError   = "error"
	SeverityWarning = "warning"
)

// Problem is something in a policy that its author should change.
type Problem struct {
	File string `json:"file"`
	// Line counts from 1; 0 is the file as a whole.
	Line int `json:"line"`
	// Code names the kind of problem, such as deny_if_found.
	Code     string `json:"code"`
	Severity string `json:"severity"`
	Message  string `json:"message"`
	// Instead is what to write.
	Instead string `json:"instead"`
}

// Check looks for everything that [Load] would refuse, and for what it accepts
// and the author will not have meant: rules that an absent fact or parameter
// silences, rules that nothing collects. The problems come in order of files and
// lines. An error, which wraps [ErrLoad], says that there is no bundle to look at.
func Check(ctx context.Context, src Source) ([]Problem, error) {
	c, err := readBundle(src.Bundle)
	if err != nil {
		return nil, fmt.Errorf("%w: bundle: %w", ErrLoad, err)
	}
	l := &linter{c: c, dir: src.Bundle, codes: map[string]string{}}
	if err := addForTests(src.Bundle, c, map[string]any{}); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLoad, err)
	}
	if l.caps, err = capabilities(); err != nil {
		return nil, err
	}
	l.parameters()
	modules := l.parse()
	for _, m := range modules {
		l.module(m)
	}
	if len(modules) == len(c.modules) {
		_, err := compile(c, l.caps)
		l.compiled(err)
	}
	if !l.failed() {
		l.loaded(ctx, src)
	}
	l.companions()
	slices.SortStableFunc(l.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Code, b.Code))
	})
	return slices.CompactFunc(l.problems, func(a, b Problem) bool { return a == b }), nil
}

// linter collects the problems of one bundle.
type linter struct {
	c        *contents
	dir      fs.FS
	caps     *ast.Capabilities
	problems []Problem
	// known and needed are the parameters that the schema has, and requires.
	known, needed map[string]bool
	// codes are those of the findings, with where each is taken.
	codes map[string]string
}

func (l *linter) failed() bool {
	return slices.ContainsFunc(l.problems, func(p Problem) bool { return p.Severity == SeverityError })
}

func (l *linter) bad(at *ast.Location, code, instead, format string, args ...any) {
	l.add(at, code, SeverityError, instead, fmt.Sprintf(format, args...))
}

func (l *linter) add(at *ast.Location, code, severity, instead, message string) {
	p := Problem{Code: code, Severity: severity, Message: message, Instead: instead}
	if at != nil {
		p.File, p.Line = at.File, at.Row
	}
	l.problems = append(l.problems, p)
}

// parameters reads which parameters the schema knows and requires.
func (l *linter) parameters() {
	type object struct {
		Properties map[string]json.RawMessage `json:"properties"`
		Required   []string                   `json:"required"`
	}
	var schema struct {
		object
		AllOf []object `json:"allOf"`
	}
	l.known, l.needed = map[string]bool{}, map[string]bool{}
	if err := json.Unmarshal(l.c.paramsSchema, &schema); err != nil {
		l.add(&ast.Location{File: paramsSchemaName}, "params_schema", SeverityError, "Write a JSON Schema, draft 7.", err.Error())
		return
	}
	for _, o := range append(schema.AllOf, schema.object) {
		for name := range o.Properties {
			l.known[name] = true
		}
		for _, name := range o.Required {
			l.needed[name] = true
		}
	}
}

func (l *linter) parse() []*ast.Module {
	var modules []*ast.Module
	for name := range l.c.modules {
		m, err := l.c.parseModule(name, l.caps)
		if err == nil {
			modules = append(modules, m)
			continue
		}
		var list ast.Errors
		if !errors.As(err, &list) {
			l.add(&ast.Location{File: name}, "not_loadable", SeverityError, "Put it into a package below signing.rules.", err.Error())
		}
		for _, e := range list {
			l.bad(e.Location, "syntax", "Write Rego v1; opa fmt shows where it stops to understand.", "%s", e.Message)
		}
	}
	return modules
}

// compiled takes what the strict compiler and the type checker found.
func (l *linter) compiled(err error) {
	var list ast.Errors
	switch {
	case err == nil:
		return
	case !errors.As(err, &list):
		l.add(&ast.Location{File: "signing/verdict.rego"}, "no_entrypoint", SeverityError, "Run signet policy vendor.", err.Error())
		return
	}
	for _, e := range list {
		if e.Location != nil && slices.ContainsFunc(l.problems, func(p Problem) bool {
			return p.Code == "builtin_not_allowed" && p.File == e.Location.File && p.Line == e.Location.Row
		}) {
			continue // said already, and what to write instead
		}
		instead := "Mend it; the message is the compiler's."
		if e.Code == ast.TypeErr {
			instead = "Look at schemas/input.json for what there is."
		}
		message := e.Message
		if e.Details != nil {
			message += " (" + strings.Join(e.Details.Lines(), " ") + ")"
		}
		l.bad(e.Location, e.Code, instead, "%s", message)
	}
}

// loaded takes what only the whole policy shows: with its parameters, about an
// image without evidence, about the golden inputs.
func (l *linter) loaded(ctx context.Context, src Source) {
	_, err := Load(ctx, src)
	if err == nil {
		return
	}
	message := strings.TrimPrefix(err.Error(), ErrLoad.Error()+": ")
	p := Problem{Code: "no_evidence", Severity: SeverityError, Message: message, File: "signing/verdict.rego", Instead: "Deny unless evidence is there; signet policy eval --explain shows which rules held."}
	switch {
	case strings.HasPrefix(message, "params: "):
		p.Code, p.File, p.Instead = "params", paramsName, "Give the parameters that schemas/params.json asks for."
	case strings.HasPrefix(message, goldenName):
		p.Code, p.File, p.Instead = "golden", goldenName, "Mend the rule; or, where the new outcome is the wanted one, the golden input."
	}
	l.problems = append(l.problems, p)
}

// companions wants a test beside every rule, and golden inputs.
func (l *linter) companions() {
	for name := range l.c.modules {
		if !ownModule(name) {
			continue
		}
		if _, ok := l.c.modules[strings.TrimSuffix(name, ".rego")+"_test.rego"]; !ok {
			l.add(&ast.Location{File: name}, "no_test", SeverityWarning,
				"Write "+strings.TrimSuffix(path.Base(name), ".rego")+"_test.rego beside it, with one image that it denies and one that it lets pass.", "the rule has no test")
		}
	}
	if len(l.c.golden) == 0 {
		l.add(&ast.Location{File: goldenName}, "no_golden", SeverityWarning,
			"Write inputs with the outcome that they must always have, one of them without any evidence.", "the bundle has no golden inputs")
	}
}
