// Package compiled keeps modules of Rego as OPA's compiler has left them, so that a
// program that has its policy built in need not parse and rewrite it at every start.
//
// A file holds, for each module, its name, what it imports (the compiler drops that),
// and its rules, in a form of its own: OPA has none that is sooner read than its source
// (its JSON takes longer). It speaks of one version of OPA and of one digest of the
// sources, and is of no use to another; the reader must look.
package compiled

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// form is how a file begins, and changes with the form.
const form = "signet/compiled-rego/1"

// File is a set of compiled modules.
type File struct {
	// OPA is the version of OPA whose compiler it was, as in its go.mod, such as 1.22.2.
	OPA string
	// Digest is that of the sources, by which their owner knows them.
	Digest string
	// Modules are in the order of their names.
	Modules []Module
}

// Module is a compiled module that was not read yet.
type Module struct {
	// Name is that of its source file.
	Name string
	// Imports are the paths of what its source imports from data, such as signing/lib.
	Imports []string

	body []byte
}

// ErrForm is what Read and [Module.Decode] wrap when bytes are no file of this form.
var ErrForm = errors.New("is no compiled policy of the form " + form)

// Bytes is the file as [Read] reads it.
func (f *File) Bytes() []byte {
	var w writer
	w.text(form)
	w.text(f.OPA)
	w.text(f.Digest)
	w.count(len(f.Modules))
	for _, m := range f.Modules {
		w.text(m.Name)
		w.count(len(m.Imports))
		for _, path := range m.Imports {
			w.text(path)
		}
		w.text(string(m.body))
	}
	return w.out
}

// Read reads a file, but for the rules of its modules. They share the memory of data.
func Read(data []byte) (f *File, err error) {
	r := reader{in: data}
	defer r.end(&err)
	if r.text() != form {
		return nil, ErrForm
	}
	f = &File{OPA: r.text(), Digest: r.text(), Modules: make([]Module, r.count())}
	for i := range f.Modules {
		m := &f.Modules[i]
		m.Name = r.text()
		m.Imports = make([]string, r.count())
		for j := range m.Imports {
			m.Imports[j] = r.text()
		}
		m.body = r.bytes()
	}
	if len(r.in) > 0 {
		return nil, fmt.Errorf("%w: %d bytes too many", ErrForm, len(r.in))
	}
	return f, nil
}

// writer appends numbers, and texts with their length before them.
type writer struct{ out []byte }

func (w *writer) count(n int) { w.out = binary.AppendUvarint(w.out, uint64(n)) } //nolint:gosec // lengths and places, never below 0

func (w *writer) text(s string) {
	w.count(len(s))
	w.out = append(w.out, s...)
}

// reader reads what a writer wrote. What is not there makes it panic with badForm,
// which end makes an error: files are built in, so that nothing is read that was not
// written, and nobody has to ask after each number.
type reader struct{ in []byte }

type badForm struct{}

func (r *reader) end(err *error) {
	switch p := recover(); p.(type) {
	case nil:
	case badForm:
		*err = fmt.Errorf("%w: it ends too soon", ErrForm)
	default:
		panic(p)
	}
}

func (r *reader) count() int {
	n, size := binary.Uvarint(r.in)
	if size <= 0 || n > math.MaxInt32 {
		panic(badForm{})
	}
	r.in = r.in[size:]
	return int(n)
}

func (r *reader) bytes() []byte {
	n := r.count()
	if n > len(r.in) {
		panic(badForm{})
	}
	out := r.in[:n:n]
	r.in = r.in[n:]
	return out
}

func (r *reader) text() string { return string(r.bytes()) }

func (r *reader) byte() byte {
	if len(r.in) == 0 {
		panic(badForm{})
	}
	b := r.in[0]
	r.in = r.in[1:]
	return b
}
