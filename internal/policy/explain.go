package policy

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	opa "github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/verdict"
)

// Fired is one rule of a policy in one evaluation.
type Fired struct {
	// Rule is its path, such as signing.rules.registries.violation.
	Rule string `json:"rule"`
	File string `json:"file"`
	Line int    `json:"line"`
	// Fired says that its body held, at least once.
	Fired bool `json:"fired"`
	// Facts are the ids of the facts that it held for, in order; empty where it
	// spoke of none in particular.
	Facts []string `json:"facts"`
}

// Explain is [Set.EvaluateDocument], and says for each rule whether it held and
// for which facts, in order of files and lines. The rules are there after an error
// too. Helpers are named only when they held.
func (s *Set) Explain(ctx context.Context, d Document) (verdict.Result, []Fired, error) {
	if err := s.Ready(ctx); err != nil {
		return verdict.Result{}, nil, err
	}
	t := &firings{ids: factIDs(&d.in), rules: map[*ast.Location]*Fired{}}
	if s.compiler != nil {
		for _, m := range s.compiler.Modules {
			for _, r := range m.Rules {
				if name := string(r.Head.Name); name == "violation" || name == "warning" {
					t.of(r)
				}
			}
		}
	}
	result, err := s.evaluate(ctx, &d.in, opa.EvalQueryTracer(t))
	out := make([]Fired, 0, len(t.rules))
	for _, f := range t.rules {
		slices.Sort(f.Facts)
		out = append(out, *f)
	}
	slices.SortFunc(out, func(a, b Fired) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	return result, out, err
}

func factIDs(in *facts.Input) map[string]bool {
	ids := map[string]bool{}
	for _, x := range in.Signatures {
		ids[x.ID] = true
	}
	for _, x := range in.Attestations {
		ids[x.ID] = true
	}
	for _, x := range in.Rejections {
		ids[x.ID] = true
	}
	return ids
}

// firings is a tracer that keeps which rules held, and for which facts.
type firings struct {
	ids   map[string]bool
	rules map[*ast.Location]*Fired
}

// Enabled is part of the tracer's interface.
func (t *firings) Enabled() bool { return true }

// Config asks for the values of the local variables.
func (t *firings) Config() topdown.TraceConfig { return topdown.TraceConfig{PlugLocalVars: true} }

// TraceEvent keeps rules that were left with success.
func (t *firings) TraceEvent(e topdown.Event) {
	rule, ok := e.Node.(*ast.Rule)
	if !ok || e.Op != topdown.ExitOp || rule.Default {
		return
	}
	f := t.of(rule)
	f.Fired = true
	if e.Locals == nil {
		return
	}
	e.Locals.Iter(func(_, v ast.Value) bool {
		if id := t.idOf(v); id != "" && !slices.Contains(f.Facts, id) {
			f.Facts = append(f.Facts, id)
		}
		return false
	})
}

func (t *firings) of(r *ast.Rule) *Fired {
	f := t.rules[r.Location]
	if f == nil {
		f = &Fired{Rule: ruleName(r), File: r.Location.File, Line: r.Location.Row, Facts: []string{}}
		t.rules[r.Location] = f
	}
	return f
}

func ruleName(r *ast.Rule) string {
	return strings.TrimPrefix(r.Ref().GroundPrefix().String(), "data.")
}

// idOf is the id of the fact that a value is, or names.
func (t *firings) idOf(v ast.Value) string {
	if object, ok := v.(ast.Object); ok {
		id := object.Get(ast.StringTerm("id"))
		if id == nil {
			return ""
		}
		v = id.Value
	}
	if id, ok := v.(ast.String); ok && t.ids[string(id)] {
		return string(id)
	}
	return ""
}
