package api

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// The page is made of openapi.json, so that it cannot say anything else.
//
//go:embed docs/page.html
var docsTemplate string

//go:embed docs/style.css
var docsStyle []byte

// getDocs answers with the page, which is made when somebody first asks for it:
// commands that serve one request within the process never do.
func getDocs() func(context.Context, *call) (reply, error) {
	page := sync.OnceValues(renderDocs)
	return func(context.Context, *call) (reply, error) {
		body, err := page()
		if err != nil {
			return reply{}, fmt.Errorf("rendering the documentation: %w", err)
		}
		return reply{status: http.StatusOK, contentType: "text/html; charset=utf-8", body: body}, nil
	}
}

func getDocsStyle(context.Context, *call) (reply, error) {
	return reply{status: http.StatusOK, contentType: "text/css; charset=utf-8", body: docsStyle}, nil
}

// ordered is a JSON object whose members keep their order.
type ordered[T any] []member[T]

type member[T any] struct {
	Key   string
	Value T
}

// UnmarshalJSON reads an object.
func (o *ordered[T]) UnmarshalJSON(b []byte) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return fmt.Errorf("%v is no object: %w", t, err)
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return err
		}
		m := member[T]{Key: fmt.Sprint(key)}
		if err := dec.Decode(&m.Value); err != nil {
			return fmt.Errorf("%s: %w", m.Key, err)
		}
		*o = append(*o, m)
	}
	return nil
}

// The parts of openapi.json that the page shows.
type docsDocument struct {
	Info struct {
		Title       string `json:"title"`
		Summary     string `json:"summary"`
		Description string `json:"description"`
	} `json:"info"`
	Tags []struct {
		Name        string `json:"name"`
		Description string `json:"description"`
	} `json:"tags"`
	Paths      ordered[ordered[json.RawMessage]] `json:"paths"`
	Components struct {
		Schemas    ordered[docsSchema]      `json:"schemas"`
		Parameters map[string]docsParameter `json:"parameters"`
		Responses  map[string]docsResponse  `json:"responses"`
	} `json:"components"`
}

type docsOperation struct {
	ID          string                `json:"operationId"`
	Tags        []string              `json:"tags"`
	Summary     string                `json:"summary"`
	Description string                `json:"description"`
	Parameters  []docsParameter       `json:"parameters"`
	Body        docsBody              `json:"requestBody"`
	Responses   ordered[docsResponse] `json:"responses"`
	Method      string                `json:"-"`
}

type docsParameter struct {
	Ref         string     `json:"$ref"`
	Name        string     `json:"name"`
	In          string     `json:"in"`
	Required    bool       `json:"required"`
	Description string     `json:"description"`
	Schema      docsSchema `json:"schema"`
}

type docsBody struct {
	Content ordered[docsMedia] `json:"content"`
}

type docsMedia struct {
	Schema  docsSchema      `json:"schema"`
	Example json.RawMessage `json:"example"`
}

type docsResponse struct {
	Ref         string             `json:"$ref"`
	Description string             `json:"description"`
	Content     ordered[docsMedia] `json:"content"`
}

type docsSchema struct {
	Ref         string              `json:"$ref"`
	Type        any                 `json:"type"`
	Format      string              `json:"format"`
	Enum        []string            `json:"enum"`
	Description string              `json:"description"`
	Required    []string            `json:"required"`
	Properties  ordered[docsSchema] `json:"properties"`
	Items       *docsSchema         `json:"items"`
	OneOf       []docsSchema        `json:"oneOf"`
}

// docsGroup is what one tag has.
type docsGroup struct {
	Name, Description string
	Paths             []docsPath
}

type docsPath struct {
	Path       string
	Operations []docsOperation
}

func renderDocs() ([]byte, error) {
	var doc docsDocument
	if err := json.Unmarshal(openAPI, &doc); err != nil {
		return nil, err
	}
	groups, err := doc.groups()
	if err != nil {
		return nil, err
	}
	t, err := template.New("docs").Funcs(template.FuncMap{
		"spans": spans, "paragraphs": func(s string) []string { return strings.Split(s, "\n\n") },
		"refName": refName, "typeOf": typeOf, "example": example, "contains": slices.Contains[[]string],
		"anchor": strings.NewReplacer("/", "-", "{", "", "}", "").Replace,
	}).Parse(docsTemplate)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = t.Execute(&out, map[string]any{"Info": doc.Info, "Groups": groups, "Schemas": doc.Components.Schemas})
	return out.Bytes(), err
}

// groups sorts the operations under their tags, by path, with what they refer
// to filled in.
func (doc docsDocument) groups() ([]docsGroup, error) {
	groups := make([]docsGroup, 0, len(doc.Tags))
	at := map[string]int{}
	for i, t := range doc.Tags {
		groups, at[t.Name] = append(groups, docsGroup{Name: t.Name, Description: t.Description}), i
	}
	for _, path := range doc.Paths {
		var shared []docsParameter
		byTag := map[string][]docsOperation{}
		for _, m := range path.Value {
			if m.Key == "parameters" {
				if err := json.Unmarshal(m.Value, &shared); err != nil {
					return nil, fmt.Errorf("%s: %w", path.Key, err)
				}
				continue
			}
			op := docsOperation{Method: strings.ToUpper(m.Key)}
			if err := json.Unmarshal(m.Value, &op); err != nil {
				return nil, fmt.Errorf("%s %s: %w", op.Method, path.Key, err)
			}
			doc.fill(&op, shared)
			byTag[op.Tags[0]] = append(byTag[op.Tags[0]], op)
		}
		for tag, operations := range byTag {
			g := &groups[at[tag]]
			g.Paths = append(g.Paths, docsPath{path.Key, operations})
		}
	}
	return groups, nil
}

func (doc docsDocument) fill(op *docsOperation, shared []docsParameter) {
	op.Parameters = slices.Concat(shared, op.Parameters)
	for i, p := range op.Parameters {
		if p.Ref != "" {
			op.Parameters[i] = doc.Components.Parameters[refName(p.Ref)]
		}
	}
	for i, r := range op.Responses {
		if r.Value.Ref != "" {
			op.Responses[i].Value = doc.Components.Responses[refName(r.Value.Ref)]
		}
	}
}

// refName is the last part of a reference.
func refName(ref string) string { return ref[strings.LastIndexByte(ref, '/')+1:] }

// typeOf names a type, and the schema that the page has of it, if it has one.
func typeOf(s docsSchema) docsType {
	for _, one := range s.OneOf {
		if one.Ref != "" {
			s = one
		}
	}
	switch {
	case s.Ref != "":
		return docsType{Schema: refName(s.Ref)}
	case s.Items != nil:
		t := typeOf(*s.Items)
		t.List = true
		return t
	case len(s.Enum) > 0:
		return docsType{Name: strings.Join(s.Enum, " | ")}
	case s.Format != "":
		return docsType{Name: s.Format}
	}
	switch t := s.Type.(type) {
	case string:
		return docsType{Name: t}
	case []any:
		names := make([]string, 0, len(t))
		for _, name := range t {
			names = append(names, fmt.Sprint(name))
		}
		return docsType{Name: strings.Join(names, " | ")}
	}
	return docsType{Name: "any"}
}

type docsType struct {
	List         bool
	Name, Schema string
}

// span is a piece of a description; `…` is code.
type span struct {
	Text string
	Code bool
}

func spans(s string) []span {
	var out []span
	for i, part := range strings.Split(s, "`") {
		if part != "" {
			out = append(out, span{part, i%2 == 1})
		}
	}
	return out
}

// example writes one as it is sent: text as it is, all else as indented JSON.
func example(raw json.RawMessage) (string, error) {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text, nil
	}
	var out bytes.Buffer
	err := json.Indent(&out, raw, "", "  ")
	return out.String(), err
}
