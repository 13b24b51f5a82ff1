package compiled

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/open-policy-agent/opa/v1/ast"
)

// source has one of each kind of what is left after the compiler.
const source = `package a.b

import data.other

default allow := false

allow if {
	every i, x in input.list {
		x.n > i
	}
	not input.bad
	{y | some y in input.set} == {1, "two", null, true, false, 2.5}
	{k: v | some k, v in input.object} == {"k": [1, {"deep": set()}], "empty": {}}
	count([z | some z in other.list; z != 1 + (2 * 3)]) == 0
} else := "perhaps" if {
	input.perhaps
}

f("x", _) := 1

members contains input.x if input.x

tree.leaf[name] := object.get(input, [name, "at"], [])
	if some name in ["l"]
`

func compile(t *testing.T, text string) *ast.Module {
	t.Helper()
	m, err := ast.ParseModuleWithOpts("a.rego", text, ast.ParserOptions{RegoVersion: ast.RegoV1})
	if err != nil {
		t.Fatal(err)
	}
	c := ast.NewCompiler()
	if c.Compile(map[string]*ast.Module{"a.rego": m}); c.Failed() {
		t.Fatal(c.Errors)
	}
	return c.Modules["a.rego"]
}

func encoded(t *testing.T) *File {
	t.Helper()
	m, err := Encode(compile(t, source), "a.rego", []string{"other"}, []byte(source))
	if err != nil {
		t.Fatal(err)
	}
	return &File{OPA: "1.2.3", Digest: "sha256:00", Modules: []Module{m}}
}

func TestRoundTrip(t *testing.T) {
	want := compile(t, source)
	file, err := Read(encoded(t).Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if file.OPA != "1.2.3" || file.Digest != "sha256:00" || len(file.Modules) != 1 || file.Modules[0].Name != "a.rego" ||
		!cmp.Equal(file.Modules[0].Imports, []string{"other"}) {
		t.Errorf("file %+v", file)
	}
	got, err := file.Modules[0].Decode([]byte(source))
	if err != nil {
		t.Fatal(err)
	}
	if !got.Equal(want) {
		t.Errorf("is\n%s\nwant\n%s", got, want)
	}
	if got.RegoVersionSpan() != want.RegoVersionSpan() {
		t.Errorf("Rego version %v, want %v", got.RegoVersionSpan(), want.RegoVersionSpan())
	}
	// An else of its own, whose place and module are kept.
	var last *ast.Rule
	for _, r := range got.Rules {
		if r.Else != nil {
			last = r.Else
		}
	}
	if last == nil || last.Module != got || last.Location.Row != 15 || !strings.HasPrefix(string(last.Location.Text), "else := ") {
		t.Errorf("else %+v", last)
	}
}

func TestRefusesWhatItDoesNotKnow(t *testing.T) {
	for name, spoil := range map[string]func(*ast.Module){
		"the modifier with": func(m *ast.Module) {
			m.Rules[0].Body[0].With = []*ast.With{{Target: ast.MustParseTerm("input"), Value: ast.NumberTerm("1")}}
		},
		"an expression of the kind *ast.SomeDecl": func(m *ast.Module) { m.Rules[0].Body[0].Terms = &ast.SomeDecl{} },
		"a term of the kind *ast.TemplateString": func(m *ast.Module) {
			m.Rules[0].Body[0].Terms = ast.NewTerm(&ast.TemplateString{})
		},
		"annotations":                      func(m *ast.Module) { m.Annotations = []*ast.Annotations{{}} },
		"annotations of the rule":          func(m *ast.Module) { m.Rules[0].Annotations = []*ast.Annotations{{}} },
		"which is none of its source":      func(m *ast.Module) { m.Rules[0].Location.File = "another.rego" },
		"b.rego: cannot be kept compiled:": nil,
	} {
		m, file := compile(t, source), "a.rego"
		if spoil == nil {
			file = "b.rego"
		} else {
			spoil(m)
		}
		if _, err := Encode(m, file, nil, []byte(source)); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Whatever is missing at its end, or is there too much, a file is refused.
func TestCutOff(t *testing.T) {
	whole := encoded(t).Bytes()
	for n := range whole {
		if _, err := Read(whole[:n]); !errors.Is(err, ErrForm) {
			t.Fatalf("%d of %d bytes: %v", n, len(whole), err)
		}
	}
	if _, err := Read(append(whole, 0)); !errors.Is(err, ErrForm) {
		t.Errorf("a byte more: %v", err)
	}
	if _, err := Read([]byte("\x05other")); !errors.Is(err, ErrForm) {
		t.Errorf("another form: %v", err)
	}
	m := encoded(t).Modules[0]
	for n := range m.body {
		cut := m
		cut.body = m.body[:n]
		if _, err := cut.Decode([]byte(source)); !errors.Is(err, ErrForm) {
			t.Fatalf("%d of %d bytes of a module: %v", n, len(m.body), err)
		}
	}
	more := m
	more.body = append(more.body, 0)
	if _, err := more.Decode([]byte(source)); !errors.Is(err, ErrForm) {
		t.Errorf("a byte more of a module: %v", err)
	}
	if _, err := m.Decode([]byte(source)[:100]); !errors.Is(err, ErrForm) {
		t.Errorf("of less of its source: %v", err)
	}
}
