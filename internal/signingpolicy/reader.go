package signingpolicy

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// reader walks YAML nodes and collects every mistake with its line.
type reader struct {
	errs []mistake
}

type mistake struct {
	line int
	text string
}

// fail notes a mistake at a node.
func (r *reader) fail(n *yaml.Node, field, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if field != "" {
		text = field + ": " + text
	}
	line := 1
	if n != nil && n.Line > 0 {
		line = n.Line
	}
	r.errs = append(r.errs, mistake{line, text})
}

// failLines notes each line of err, which may be several mistakes joined.
func (r *reader) failLines(n *yaml.Node, field string, err error) {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		r.fail(n, field, "%s", line)
	}
}

// once notes a field that stands in two places of which one would be dropped.
// written remembers the places.
func (r *reader) once(written map[string]string, n *yaml.Node, what, field string) {
	if first, ok := written[what]; ok {
		r.fail(n, field, "is said by %s too; keep one of them", first)
	}
	written[what] = field
}

func (r *reader) err() error {
	if len(r.errs) == 0 {
		return nil
	}
	slices.SortStableFunc(r.errs, func(a, b mistake) int { return a.line - b.line })
	out := make([]error, len(r.errs))
	for i, m := range r.errs {
		out[i] = fmt.Errorf("line %d: %s", m.line, m.text)
	}
	return &policyError{errors.Join(out...)}
}

// policyError is an [ErrInvalid] whose message is only the lines.
type policyError struct{ lines error }

func (e *policyError) Error() string        { return e.lines.Error() }
func (e *policyError) Is(target error) bool { return target == ErrInvalid }

// mapping gives each value to the reader of its key. Unknown and duplicate keys
// are mistakes; misplaced says where some of them belong.
func (r *reader) mapping(n *yaml.Node, prefix string, fields map[string]func(*yaml.Node), misplaced map[string]string) {
	if !r.plain(n, strings.TrimSuffix(prefix, ".")) {
		return
	}
	if n.Kind != yaml.MappingNode {
		r.fail(n, strings.TrimSuffix(prefix, "."), "is %s, and must be a mapping with the fields %s", kindName(n), strings.Join(sortedNames(fields), ", "))
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		name := key.Value
		read, known := fields[name]
		switch {
		case key.Kind != yaml.ScalarNode || name == "<<":
			r.fail(key, prefix+name, "is not a field name (merge keys are not read; write the fields out)")
		case seen[name]:
			r.fail(key, prefix+name, "is there twice")
		case !known && misplaced[name] != "":
			r.fail(key, prefix+name, "%s", misplaced[name])
		case !known:
			r.fail(key, prefix+name, "there is no such field; there are %s", strings.Join(sortedNames(fields), ", "))
		case r.plain(value, prefix+name):
			read(value)
		}
		seen[name] = true
	}
}

// plain refuses aliases: what a policy says must stand where it says it.
func (r *reader) plain(n *yaml.Node, field string) bool {
	if n == nil || n.Kind == 0 {
		r.fail(n, field, "is missing")
		return false
	}
	if n.Kind == yaml.AliasNode {
		r.fail(n, field, "is an alias (*%s); write the value out", n.Value)
		return false
	}
	return true
}

func (r *reader) sequence(n *yaml.Node, field string) []*yaml.Node {
	if n.Kind != yaml.SequenceNode {
		r.fail(n, field, "is %s, and must be a list", kindName(n))
		return nil
	}
	items := make([]*yaml.Node, 0, len(n.Content))
	for i, item := range n.Content {
		if r.plain(item, fmt.Sprintf("%s[%d]", field, i)) {
			items = append(items, item)
		}
	}
	return items
}

func (r *reader) strings(n *yaml.Node, field string) []string {
	var out []string
	for i, item := range r.sequence(n, field) {
		out = append(out, r.str(item, fmt.Sprintf("%s[%d]", field, i)))
	}
	return out
}

// failYAML notes what the YAML parser says, which begins with a line or not.
func (r *reader) failYAML(err error) {
	n := &yaml.Node{Line: 1}
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		if number, what, ok := strings.Cut(rest, ": "); ok {
			if line, err := strconv.Atoi(number); err == nil {
				n.Line, text = line, what
			}
		}
	}
	r.fail(n, "", "is not YAML: %s", text)
}

// str reads a string; a number or a boolean in its place is a mistake, because
// YAML may have changed it.
func (r *reader) str(n *yaml.Node, field string) string {
	s, _ := r.text(n, field)
	return s
}

// text is str, and says whether there was a string to read.
func (r *reader) text(n *yaml.Node, field string) (string, bool) {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!str" {
		hint := ""
		if n.Kind == yaml.ScalarNode && n.Tag != "!!null" {
			hint = "; put it in quotes"
		}
		r.fail(n, field, "is %s, and must be a string%s", kindName(n), hint)
		return "", false
	}
	return n.Value, true
}

func (r *reader) boolean(n *yaml.Node, field string) bool {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!bool" {
		switch n.Value {
		case "true":
			return true
		case "false":
			return false
		}
	}
	r.fail(n, field, "is %s, and must be true or false", kindName(n))
	return false
}

func (r *reader) integer(n *yaml.Node, field string) int {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!int" {
		// 010 is eight to YAML 1.1 and ten to 1.2; only what all agree on is read.
		if i, err := strconv.Atoi(n.Value); err == nil && strconv.Itoa(i) == n.Value && i < 1<<31 && i > -1<<31 {
			return i
		}
	}
	r.fail(n, field, "is %s, and must be a whole number", kindName(n))
	return 1
}

// refuseUnlessEmpty refuses a field that this version does not enforce; a value
// that asks for nothing is let pass.
func (r *reader) refuseUnlessEmpty(n *yaml.Node, field, why string) {
	if !asksNothing(n) {
		r.fail(n, field, "%s", why)
	}
}

func asksNothing(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && (n.Tag == "!!null" || n.Value == "") ||
		n.Kind != yaml.ScalarNode && len(n.Content) == 0
}

func kindName(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	v := n.Value
	if len(v) > 60 {
		v = v[:60] + "…"
	}
	switch n.Tag {
	case "!!null":
		return "nothing"
	case "!!str":
		return fmt.Sprintf("the string %q", v)
	}
	return v
}

func sortedNames(fields map[string]func(*yaml.Node)) []string {
	names := make([]string, 0, len(fields))
	for n := range fields {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}
