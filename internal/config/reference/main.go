// Command reference writes the reference of the configuration file: every field
// with its type, its default and the comment that its Go struct has.
package main

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/signet-policy/signet/internal/config"
)

func main() {
	out := flag.String("out", "", "file to write")
	flag.Parse()
	// The directories are those of the package that go generate runs in.
	comments, err := readComments("file.go", "mcp.go", "page.go", "../evidence/limits.go")
	if err != nil {
		log.Fatal(err)
	}
	w := writer{comments: comments, names: map[string]string{}}
	w.line("# The configuration file")
	w.line("")
	w.line("`signet config docs` prints this page. Paths are relative to the file. Unknown fields, duplicate keys and a second document are errors with their line.")
	w.line("")
	w.line("| field | type | default | |")
	w.line("|---|---|---|---|")
	def := config.Default()
	def.DataDir = "" // says the machine's, not everybody's
	w.fields("", reflect.ValueOf(def))
	if w.missing != nil {
		log.Fatalf("fields without a comment: %s", strings.Join(w.missing, ", "))
	}
	if err := os.WriteFile(*out, []byte(w.text.String()), 0o600); err != nil {
		log.Fatal(err)
	}
}

// readComments gives the comment of each field as "Struct.Field", and of each
// struct.
func readComments(files ...string) (map[string]string, error) {
	comments := map[string]string{}
	for _, path := range files {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			st, ok := spec.Type.(*ast.StructType)
			if !ok {
				return true
			}
			before := ""
			for _, f := range st.Fields.List {
				text := strings.Join(strings.Fields(f.Doc.Text()+" "+f.Comment.Text()), " ")
				for _, name := range f.Names {
					if text == "" && strings.Contains(before, name.Name) {
						text = before // one comment for several fields names them all
					}
					comments[spec.Name.Name+"."+name.Name] = text
				}
				before = text
			}
			return true
		})
	}
	return comments, nil
}

type writer struct {
	comments map[string]string
	// names are the fields' names in the file, by "Struct.Field".
	names   map[string]string
	text    strings.Builder
	missing []string
}

func (w *writer) line(s string) { w.text.WriteString(s + "\n") }

func (w *writer) fields(prefix string, v reflect.Value) {
	t := v.Type()
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
		w.names[t.Name()+"."+t.Field(i).Name] = name
	}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if name == "-" || name == "" {
			continue
		}
		w.field(prefix+name, t.Name(), f, v.Field(i))
	}
}

func (w *writer) field(path, owner string, f reflect.StructField, v reflect.Value) {
	comment := w.spelled(owner, w.comments[owner+"."+f.Name])
	if env := f.Tag.Get("env"); env != "" {
		comment = strings.TrimSpace(comment + " Variable: `" + env + "`.")
	}
	kind, inner := kindOf(f.Type)
	if inner != nil && comment == "" && kind == "section" {
		w.fields(path+".", v)
		return
	}
	if comment == "" {
		w.missing = append(w.missing, path)
	}
	w.line(fmt.Sprintf("| %#q | %s | %s | %s |", path, kind, defaultOf(v), strings.ReplaceAll(comment, "|", `\|`)))
	switch {
	case inner == nil:
	case kind == "section":
		if v.Kind() == reflect.Pointer {
			v = reflect.Zero(inner)
		}
		w.fields(path+".", v)
	case kind == "list":
		w.fields(path+"[].", reflect.Zero(inner))
	default:
		w.fields(path+"."+keyOf(f.Name)+".", reflect.Zero(inner))
	}
}

// keyOf is what the keys of a map are, for people.
func keyOf(field string) string {
	switch field {
	case "Bundles":
		return "NAME"
	case "Keys":
		return "ID"
	}
	return "HOST"
}

// spelled writes the names of fields as the file has them.
func (w *writer) spelled(owner, comment string) string {
	words := strings.Split(comment, " ")
	for i, word := range words {
		bare := strings.TrimRight(word, ",.;:")
		acronym := bare == strings.ToUpper(bare) // the thing itself, unless the sentence begins with it
		if yaml := w.names[owner+"."+bare]; yaml != "" && (i == 0 || !acronym) {
			words[i] = "`" + yaml + "`" + word[len(bare):]
		}
	}
	return strings.Join(words, " ")
}

// kindOf names a type for users, and gives the struct that it holds.
func kindOf(t reflect.Type) (kind string, inner reflect.Type) {
	switch {
	case t == reflect.TypeFor[config.Duration](), t == reflect.TypeFor[time.Duration]():
		return "duration", nil
	case t == reflect.TypeFor[[]config.Duration]():
		return "list of durations", nil
	case t.Kind() == reflect.Pointer && t.Elem().Kind() != reflect.Struct:
		return kindOf(t.Elem())
	case t.Kind() == reflect.Pointer:
		return "section", t.Elem()
	case t.PkgPath() == "go.yaml.in/yaml/v3":
		return "document", nil
	case t.Kind() == reflect.Struct:
		return "section", t
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct:
		return "list", t.Elem()
	case t.Kind() == reflect.Slice:
		return "list of text", nil
	case t.Kind() == reflect.Map && t.Elem().Kind() == reflect.Struct:
		return "map", t.Elem()
	case t.Kind() == reflect.Map:
		return "map of text", nil
	case t.Kind() == reflect.Bool:
		return "true or false", nil
	case t.Kind() == reflect.String:
		return "text", nil
	default:
		return "number", nil
	}
}

func defaultOf(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case config.Duration:
		return "`" + spell(time.Duration(x)) + "`"
	case []config.Duration:
		if len(x) > 0 {
			all := make([]string, len(x))
			for i, d := range x {
				all[i] = spell(time.Duration(d))
			}
			return "`[" + strings.Join(all, ", ") + "]`"
		}
	case fmt.Stringer:
		if !v.IsZero() {
			return "`" + x.String() + "`"
		}
	}
	if v.IsZero() && v.Kind() != reflect.Bool || v.Kind() == reflect.Struct {
		return ""
	}
	return fmt.Sprintf("`%v`", v.Interface())
}

// spell writes a duration as people write it in the file: 30d, 1h, 1m30s.
func spell(d time.Duration) string {
	const day = 24 * time.Hour
	if d > 0 && d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	s := d.String()
	for _, zero := range []string{"m0s", "h0m"} { // 1h0m0s, and then 1h0m
		if strings.HasSuffix(s, zero) {
			s = s[:len(s)-2]
		}
	}
	return s
}
