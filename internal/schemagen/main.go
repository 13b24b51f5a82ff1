// Schemagen writes the JSON Schema of the input document, rego/schemas/input.json,
// from the Go type facts.Input. Run it with "go generate ./rego".
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"reflect"
	"strings"

	"github.com/invopop/jsonschema"

	"github.com/signet-policy/signet/internal/facts"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("schemagen: ")
	root := flag.String("root", ".", "directory of the module")
	out := flag.String("out", "", "file to write, relative to the current directory")
	flag.Parse()
	if err := run(*root, *out); err != nil {
		log.Fatal(err)
	}
}

func run(root, out string) error {
	if out == "" {
		return errors.New("-out is missing; give the file to write")
	}
	body, err := inputSchema(root)
	if err != nil {
		return err
	}
	return os.WriteFile(out, body, 0o644) //nolint:gosec // a schema is public
}

// values are the fields whose strings are a closed list.
var values = map[string][]any{
	"Input.schema":   {facts.InputSchema},
	"Signer.kind":    {facts.KindCertificate, facts.KindKey},
	"LogEntry.proof": {facts.ProofInclusion, facts.ProofPromise},
}

// inputSchema gives the schema as indented JSON. root is where the module's
// source is, for the descriptions.
func inputSchema(root string) ([]byte, error) {
	r := &jsonschema.Reflector{
		Anonymous:      true,
		DoNotReference: true, // opa check is happiest with one plain tree
		ExpandedStruct: true,
	}
	old, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	if err := os.Chdir(root); err != nil {
		return nil, err
	}
	defer func() { _ = os.Chdir(old) }()
	if err := r.AddGoComments("github.com/signet-policy/signet", "./internal/facts"); err != nil {
		return nil, fmt.Errorf("reading the comments of package facts: %w", err)
	}
	t := reflect.TypeFor[facts.Input]()
	s := r.ReflectFromType(t)
	s.Version = "http://json-schema.org/draft-07/schema#" // the draft that OPA reads
	s.Title = "Signet policy input, " + facts.InputSchema
	refine(s, t, r.CommentMap)
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(s); err != nil {
		return nil, fmt.Errorf("encoding the schema: %w", err)
	}
	return buf.Bytes(), nil
}

// refine walks schema and type together and adds what reflection leaves out:
// pointers may be null, and some strings are one of a few.
func refine(s *jsonschema.Schema, t reflect.Type, comments map[string]string) {
	switch t.Kind() {
	case reflect.Pointer:
		refine(s, t.Elem(), comments)
	case reflect.Slice:
		if s.Items != nil {
			refine(s.Items, t.Elem(), comments)
		}
	case reflect.Struct:
		if s.Properties == nil { // a time is a string
			return
		}
		for i := range t.NumField() {
			f := t.Field(i)
			if f.Anonymous {
				refine(s, f.Type, comments)
				continue
			}
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			p, ok := s.Properties.Get(name)
			if !ok {
				continue
			}
			about := p.Description
			if about == "" {
				about = comments[f.Type.PkgPath()+"."+f.Type.Name()]
			}
			if p.Type == "" && p.AnyOf == nil { // raw JSON; the schema "true" is shared and takes no description
				p = &jsonschema.Schema{}
				s.Properties.Set(name, p)
			}
			p.Description = describe(about)
			p.Enum = values[t.Name()+"."+name]
			refine(p, f.Type, comments)
			if f.Type.Kind() == reflect.Pointer && p.AnyOf == nil { // a field that stands for an embedded one was seen there
				s.Properties.Set(name, nullable(p))
			}
		}
	}
}

// nullable says so with anyOf: opa check reads a list of types as the first.
func nullable(p *jsonschema.Schema) *jsonschema.Schema {
	inner := *p
	inner.Description = ""
	return &jsonschema.Schema{
		Description: p.Description,
		AnyOf:       []*jsonschema.Schema{&inner, {Type: "null"}},
	}
}

// describe makes a Go comment one line, in the words of JSON.
func describe(comment string) string {
	words := strings.Fields(comment)
	for i, w := range words {
		if strings.Trim(w, ".,;") == "nil" {
			words[i] = strings.Replace(w, "nil", "null", 1)
		}
	}
	return strings.Join(words, " ")
}
