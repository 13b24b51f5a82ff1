package compiled

import (
	"fmt"

	"github.com/open-policy-agent/opa/v1/ast"
)

// Decode makes the module, for a compiler that need do no more than lay out its rules.
// Source is what it was compiled from; locations share its memory. A term has the
// location of the expression or head that it stands in.
func (m Module) Decode(source []byte) (out *ast.Module, err error) {
	d := decoder{reader: reader{in: m.body}, source: source, file: m.Name}
	defer d.end(&err)
	d.terms = make([]ast.Term, d.count())
	d.lists = make([]*ast.Term, d.count())
	d.exprs = make([]ast.Expr, d.count())
	d.places = make([]ast.Location, d.count())
	d.texts = make([]string, d.count())
	for i := range d.texts {
		d.texts[i] = d.text()
	}
	d.vars, d.strings = make([]ast.Value, len(d.texts)), make([]ast.Value, len(d.texts))
	out = &ast.Module{Package: &ast.Package{Path: d.list()}}
	out.SetRegoVersionSpan(ast.RegoVersionSpanOf(ast.RegoV1))
	out.Rules = make([]*ast.Rule, d.count())
	for i := range out.Rules {
		out.Rules[i] = d.rule(out)
	}
	if len(d.in) > 0 {
		return nil, fmt.Errorf("%w: %s: %d bytes too many", ErrForm, m.Name, len(d.in))
	}
	return out, nil
}

// decoder takes what it makes from slabs, whose sizes the encoder has counted: a policy
// is thousands of small things.
type decoder struct {
	reader

	source []byte
	file   string
	texts  []string
	// vars and strings are the texts as values, made when they are first wanted.
	vars, strings []ast.Value
	at            *ast.Location

	terms  []ast.Term
	lists  []*ast.Term
	exprs  []ast.Expr
	places []ast.Location
}

// next takes one from a slab.
func next[T any](slab *[]T) *T {
	if len(*slab) == 0 {
		panic(badForm{})
	}
	out := &(*slab)[0]
	*slab = (*slab)[1:]
	return out
}

func (d *decoder) string() string { return d.texts[d.which()] }

func (d *decoder) which() int {
	i := d.count()
	if i >= len(d.texts) {
		panic(badForm{})
	}
	return i
}

func (d *decoder) place() *ast.Location {
	row := d.count()
	if row == 0 {
		return nil
	}
	l := next(&d.places)
	*l = ast.Location{File: d.file, Row: row, Col: d.count(), Offset: d.count()}
	end := l.Offset + d.count()
	if end > len(d.source) {
		panic(badForm{})
	}
	l.Text = d.source[l.Offset:end:end]
	return l
}

func (d *decoder) rule(m *ast.Module) *ast.Rule {
	is := d.byte()
	r := &ast.Rule{Module: m, Default: is&isDefault != 0, Location: d.place()}
	r.Head = d.head()
	r.Body = d.body()
	if is&hasElse != 0 {
		r.Else = d.rule(m)
	}
	return r
}

func (d *decoder) head() *ast.Head {
	assigned := d.byte() == 1
	d.at = d.place()
	return &ast.Head{Assign: assigned, Location: d.at, Name: ast.Var(d.string()), Reference: d.list(), Args: d.list(), Key: d.term(), Value: d.term()}
}

func (d *decoder) body() ast.Body {
	b := make(ast.Body, d.count())
	for i := range b {
		b[i] = d.expr()
	}
	return b
}

func (d *decoder) expr() *ast.Expr {
	x := next(&d.exprs)
	is := d.byte()
	*x = ast.Expr{Negated: is&negated != 0, Generated: is&generated != 0, Index: d.count(), Location: d.place()}
	outer := d.at
	d.at = x.Location
	switch {
	case is&isEvery != 0:
		x.Terms = &ast.Every{Location: d.place(), Key: d.term(), Value: d.term(), Domain: d.term(), Body: d.body()}
	case is&manyTerms != 0:
		x.Terms = d.list()
	default:
		x.Terms = d.term()
	}
	d.at = outer
	return x
}

// list gives nil for an empty one, as parsers do.
func (d *decoder) list() []*ast.Term {
	n := d.count()
	if n == 0 {
		return nil
	}
	return d.members(n)
}

func (d *decoder) members(n int) []*ast.Term {
	if n > len(d.lists) {
		panic(badForm{})
	}
	out := d.lists[:n:n]
	d.lists = d.lists[n:]
	for i := range out {
		out[i] = d.term()
	}
	return out
}

func (d *decoder) term() *ast.Term {
	kind := d.byte()
	if kind == absent {
		return nil
	}
	t := next(&d.terms)
	t.Location = d.at
	t.Value = d.value(kind)
	return t
}

func (d *decoder) value(kind byte) ast.Value {
	switch kind {
	case null:
		return ast.NullValue
	case falsehood:
		return ast.Boolean(false)
	case truth:
		return ast.Boolean(true)
	case number:
		return ast.Number(d.string())
	case text:
		i := d.which()
		if d.strings[i] == nil {
			d.strings[i] = ast.String(d.texts[i])
		}
		return d.strings[i]
	case variable:
		i := d.which()
		if d.vars[i] == nil {
			d.vars[i] = ast.Var(d.texts[i])
		}
		return d.vars[i]
	case ref:
		return ast.Ref(d.list())
	case array:
		return ast.NewArray(d.members(d.count())...)
	case set:
		return ast.NewSet(d.members(d.count())...)
	case object:
		pairs := make([][2]*ast.Term, d.count())
		for i := range pairs {
			pairs[i] = [2]*ast.Term{d.term(), d.term()}
		}
		return ast.NewObject(pairs...)
	case arrayComprehension:
		return &ast.ArrayComprehension{Term: d.term(), Body: d.body()}
	case setComprehension:
		return &ast.SetComprehension{Term: d.term(), Body: d.body()}
	case objectComprehension:
		return &ast.ObjectComprehension{Key: d.term(), Value: d.term(), Body: d.body()}
	case call:
		return ast.Call(d.list())
	}
	panic(badForm{})
}
