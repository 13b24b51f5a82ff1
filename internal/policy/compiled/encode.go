package compiled

import (
	"bytes"
	"fmt"

	"github.com/open-policy-agent/opa/v1/ast"
)

// The kinds of terms.
const (
	absent byte = iota
	null
	falsehood
	truth
	number
	text
	variable
	ref
	array
	object
	set
	arrayComprehension
	setComprehension
	objectComprehension
	call
)

// What an expression, a rule and a head are, in bits.
const (
	negated byte = 1 << iota
	generated
	manyTerms
	isEvery
)

const (
	isDefault byte = 1 << iota
	hasElse
)

// Encode makes a module of a file out of one that was compiled, which came from
// source. What it does not know, as compilers to come may leave, is an error.
func Encode(m *ast.Module, name string, imports []string, source []byte) (Module, error) {
	e := encoder{source: source, file: name, index: map[string]int{}}
	e.ref(m.Package.Path)
	e.rules(m.Rules)
	if len(m.Annotations) > 0 {
		e.refuse("annotations")
	}
	if e.err != nil {
		return Module{}, fmt.Errorf("%s: %w", name, e.err)
	}
	var w writer
	w.count(e.terms)
	w.count(e.lists)
	w.count(e.exprs)
	w.count(e.places)
	w.count(len(e.texts))
	for _, s := range e.texts {
		w.text(s)
	}
	w.out = append(w.out, e.out...)
	return Module{Name: name, Imports: imports, body: w.out}, nil
}

// encoder writes each text once, and counts what its reader will need.
type encoder struct {
	writer

	source                      []byte
	file                        string
	texts                       []string
	index                       map[string]int
	terms, lists, exprs, places int
	err                         error
}

func (e *encoder) refuse(format string, args ...any) {
	if e.err == nil {
		e.err = fmt.Errorf("cannot be kept compiled: "+format, args...)
	}
}

func (e *encoder) byte(b byte) { e.out = append(e.out, b) }

func (e *encoder) string(s string) {
	i, ok := e.index[s]
	if !ok {
		i = len(e.texts)
		e.index[s], e.texts = i, append(e.texts, s)
	}
	e.count(i)
}

// place writes a location, which what the compiler has made up may not have. Its text
// is kept where it is what the source has there: of an expression in brackets it is not.
func (e *encoder) place(l *ast.Location) {
	if l == nil {
		e.count(0)
		return
	}
	if l.File != e.file || l.Row < 1 || l.Col < 1 || l.Offset < 0 || l.Offset > len(e.source) {
		e.refuse("the location %v, which is none of its source", l)
		return
	}
	e.places++
	e.count(l.Row)
	e.count(l.Col)
	e.count(l.Offset)
	if bytes.HasPrefix(e.source[l.Offset:], l.Text) {
		e.count(len(l.Text))
	} else {
		e.count(0)
	}
}

func (e *encoder) rules(rules []*ast.Rule) {
	e.count(len(rules))
	for _, r := range rules {
		e.rule(r)
	}
}

func (e *encoder) rule(r *ast.Rule) {
	var is byte
	if r.Default {
		is |= isDefault
	}
	if r.Else != nil {
		is |= hasElse
	}
	if len(r.Annotations) > 0 {
		e.refuse("annotations of the rule %s", r.Head.Name)
	}
	e.byte(is)
	e.place(r.Location)
	e.head(r.Head)
	e.body(r.Body)
	if r.Else != nil {
		e.rule(r.Else)
	}
}

func (e *encoder) head(h *ast.Head) {
	assigned := byte(0)
	if h.Assign {
		assigned = 1
	}
	e.byte(assigned)
	e.place(h.Location)
	e.string(string(h.Name))
	e.ref(h.Reference)
	e.list(h.Args)
	e.term(h.Key)
	e.term(h.Value)
}

func (e *encoder) body(b ast.Body) {
	e.count(len(b))
	for _, x := range b {
		e.expr(x)
	}
}

func (e *encoder) expr(x *ast.Expr) {
	var is byte
	if x.Negated {
		is |= negated
	}
	if x.Generated {
		is |= generated
	}
	switch x.Terms.(type) {
	case *ast.Term:
	case []*ast.Term:
		is |= manyTerms
	case *ast.Every:
		is |= isEvery
	default:
		e.refuse("an expression of the kind %T", x.Terms)
		return
	}
	if len(x.With) > 0 {
		e.refuse("the modifier with at %v", x.Location)
	}
	e.exprs++
	e.byte(is)
	e.count(x.Index)
	e.place(x.Location)
	switch terms := x.Terms.(type) {
	case *ast.Term:
		e.term(terms)
	case []*ast.Term:
		e.list(terms)
	case *ast.Every:
		e.place(terms.Location)
		e.term(terms.Key)
		e.term(terms.Value)
		e.term(terms.Domain)
		e.body(terms.Body)
	}
}

func (e *encoder) ref(r ast.Ref) { e.list(r) }

func (e *encoder) list(terms []*ast.Term) {
	e.count(len(terms))
	e.lists += len(terms)
	for _, t := range terms {
		e.term(t)
	}
}

func (e *encoder) term(t *ast.Term) {
	if t == nil {
		e.byte(absent)
		return
	}
	e.terms++
	switch v := t.Value.(type) {
	case ast.Null:
		e.byte(null)
	case ast.Boolean:
		if v {
			e.byte(truth)
		} else {
			e.byte(falsehood)
		}
	case ast.Number:
		e.byte(number)
		e.string(string(v))
	case ast.String:
		e.byte(text)
		e.string(string(v))
	case ast.Var:
		e.byte(variable)
		e.string(string(v))
	case ast.Ref:
		e.byte(ref)
		e.list(v)
	case *ast.Array:
		e.byte(array)
		e.members(v.Len(), v.Foreach)
	case ast.Set:
		e.byte(set)
		e.members(v.Len(), v.Foreach)
	case ast.Object:
		e.byte(object)
		e.count(v.Len())
		v.Foreach(func(key, value *ast.Term) { e.term(key); e.term(value) })
	case *ast.ArrayComprehension:
		e.byte(arrayComprehension)
		e.term(v.Term)
		e.body(v.Body)
	case *ast.SetComprehension:
		e.byte(setComprehension)
		e.term(v.Term)
		e.body(v.Body)
	case *ast.ObjectComprehension:
		e.byte(objectComprehension)
		e.term(v.Key)
		e.term(v.Value)
		e.body(v.Body)
	case ast.Call:
		e.byte(call)
		e.list(v)
	default:
		e.refuse("a term of the kind %T", v)
	}
}

func (e *encoder) members(n int, each func(func(*ast.Term))) {
	e.count(n)
	e.lists += n
	each(e.term)
}
