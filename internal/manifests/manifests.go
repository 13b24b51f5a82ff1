package manifests

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// ErrInvalid wraps every mistake in a file. The message holds one line per mistake:
// "line N: what is wrong; what would be right".
var ErrInvalid = errors.New("no images can be read from it")

// Use is one place that asks for an image.
type Use struct {
	// Image as it is written, variables replaced; "" for a service of a Compose file that
	// leaves it to another one, which is put together with this.
	Image string
	// Line in the file, from 1.
	Line int
	// Where within its document, in words: "Deployment shop/web, container app",
	// "service web"; "" in a list of images.
	Where string
	// Service of a Compose file whose own image it is; "" for its volumes, and in other files.
	Service string
	// Source is the template that Helm names for the document, "" for none.
	Source string
}

// Limits of a file: what is larger was not written by hand.
const (
	MaxBytes = 64 << 20
	maxDepth = 100
	maxNodes = 2_000_000
)

// Env gives the value of a variable of a Compose file, and whether it is set.
type Env func(name string) (string, bool)

// Read finds the images of a file. Errors wrap [ErrInvalid]. A file without any image,
// such as one of ConfigMaps alone, gives none.
func Read(body []byte, env Env) ([]Use, error) {
	switch {
	case len(body) > MaxBytes:
		return nil, fmt.Errorf("%w: it has more than %d MB", ErrInvalid, MaxBytes>>20)
	case !utf8.Valid(body) || bytes.IndexByte(body, 0) >= 0:
		return nil, fmt.Errorf("%w: it is no text in UTF-8", ErrInvalid)
	}
	if isList(body) {
		return list(body)
	}
	f := finder{env: env, sources: sources(body), flat: map[*yaml.Node]*mapping{}}
	f.separators(body)
	dec := yaml.NewDecoder(bytes.NewReader(body))
	for {
		var doc yaml.Node
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %s", ErrInvalid, printable(strings.TrimPrefix(err.Error(), "yaml: ")))
		}
		f.document(doc.Content[0])
	}
	if len(f.mistakes) > 0 {
		return nil, fmt.Errorf("%w: %s", ErrInvalid, strings.Join(f.mistakes, "\n"))
	}
	slices.SortStableFunc(f.uses, func(a, b Use) int { return a.Line - b.Line })
	return f.uses, nil
}

// word is what a line of a list of images may hold: one reference. A colon that ends it
// or is followed by a blank, a dash or a brace in front make it YAML or JSON.
var word = regexp.MustCompile(`\A[a-zA-Z0-9\[][^\s{}"',]*[^\s{}"',:]\z`)

// isList says whether each line that says something holds one word.
func isList(body []byte) bool {
	found := false
	for line := range strings.Lines(string(body)) {
		text := uncommented(line)
		if text == "" {
			continue
		}
		if !word.MatchString(text) {
			return false
		}
		found = true
	}
	return found
}

// uncommented cuts what follows a # that begins the line or stands after a blank.
func uncommented(line string) string {
	if i := comment.FindStringIndex(line); i != nil {
		line = line[:i[0]]
	}
	return strings.TrimSpace(strings.TrimPrefix(line, "\ufeff"))
}

var comment = regexp.MustCompile(`(?:\A|\s)#`)

func list(body []byte) ([]Use, error) {
	var uses []Use
	n := 0
	for line := range strings.Lines(string(body)) {
		n++
		if text := uncommented(line); text != "" {
			uses = append(uses, Use{Image: text, Line: n})
		}
	}
	return uses, nil
}

// source is a template, and the line from which on its output stands.
type source struct {
	line int
	name string
}

// sources reads the comments by which Helm says where its output comes from.
func sources(body []byte) []source {
	var found []source
	lines := bufio.NewScanner(bytes.NewReader(body))
	lines.Buffer(nil, MaxBytes+1)
	for n := 1; lines.Scan(); n++ {
		if name, ok := strings.CutPrefix(lines.Text(), "# Source: "); ok {
			found = append(found, source{n, strings.TrimSpace(name)})
		}
	}
	return found
}

// separators refuses lines that kubectl takes for the end of a document, or cuts out as
// a separator, and YAML reads otherwise: to kubectl a line is one when it begins with
// --- and a comment follows or nothing, and it ends with a line feed alone
// (YAMLReader in k8s.io/apimachinery/pkg/util/yaml). Any file may hold an object.
func (f *finder) separators(body []byte) {
	n := 0
	for line := range strings.Lines(string(body)) {
		n++
		rest, ok := strings.CutPrefix(strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"), "---")
		if ok && rest != "" && (rest[0] != ' ' && rest[0] != '\t' || strings.ContainsAny(rest, "\r\u0085\u2028\u2029")) {
			f.fail(&yaml.Node{Line: n}, "kubectl ends a document at ---, and YAML does not end it here; put --- on a line of its own, or indent it")
		}
	}
}

// finder collects what the documents of a file ask for.
type finder struct {
	env      Env
	sources  []source
	uses     []Use
	mistakes []string
	flat     map[*yaml.Node]*mapping
	nodes    int // visited, or copied by a merge
	ended    bool
	// kubernetes says that an object of Kubernetes is read.
	kubernetes bool
}

// fail tells a mistake. Its arguments are of the file, and stay on their line.
func (f *finder) fail(n *yaml.Node, format string, args ...any) {
	for i, arg := range args {
		switch arg := arg.(type) {
		case string:
			args[i] = printable(arg)
		case error:
			args[i] = printable(arg.Error())
		}
	}
	f.mistakes = append(f.mistakes, fmt.Sprintf("line %d: %s", n.Line, fmt.Sprintf(format, args...)))
}

// printable keeps what a file calls something on its line.
func printable(name string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, name)
}

func (f *finder) use(n *yaml.Node, image, where string) {
	u := Use{Image: image, Line: n.Line, Where: printable(where)}
	for _, s := range f.sources {
		if s.line <= n.Line {
			u.Source = printable(s.name)
		}
	}
	f.uses = append(f.uses, u)
}

// document takes one YAML document: an object of Kubernetes, a Compose file, or a list
// of images. An empty one asks for nothing.
func (f *finder) document(n *yaml.Node) {
	n = resolve(n)
	switch {
	case isNull(n):
	case n.Kind == yaml.SequenceNode:
		f.images(n)
	case n.Kind != yaml.MappingNode:
		f.fail(n, "this is neither a Compose file nor an object of Kubernetes, and no list of images, one a line")
	case f.isObject(n):
		f.object(n, 1)
		f.kubernetes = false
	case f.field(n, "services") != nil:
		f.compose(n)
	default:
		f.fail(n, "this has neither services, as a Compose file has, nor apiVersion and kind, as an object of Kubernetes has")
	}
}

// images takes a YAML list whose entries are images, or objects with the field image.
func (f *finder) images(n *yaml.Node) {
	for _, entry := range n.Content {
		image := resolve(entry)
		if image.Kind == yaml.MappingNode {
			image = f.field(image, "image")
		}
		if image == nil || image.Kind != yaml.ScalarNode || image.Value == "" || image.Tag == "!!binary" {
			f.fail(entry, "a list must hold images, or objects with the field image")
			continue
		}
		f.use(image, image.Value, "")
	}
}
