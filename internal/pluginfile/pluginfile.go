// Package pluginfile reads the plugin file of an MCP gateway, which its users have
// already written, as parameters for the names that we are asked under.
//
// Start with [Parse]. Plugins that are not about image signatures are passed over
// and named in [File.Others]; in those that are, every field that is not known is an
// error with its line.
package pluginfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/signet-policy/signet/internal/signingpolicy"
)

// Most that a file may have, in bytes.
const maxBytes = 1 << 20

// File is a plugin file.
type File struct {
	Plugins []Plugin
	// Others are the names of the plugins that are no concern of ours.
	Others []string
}

// Plugin is one name that a gateway asks under.
type Plugin struct {
	Name, Description string
	// Mode is enforce, permissive or disabled.
	Mode string
	// Hooks are those it serves; none: the usual ones.
	Hooks    []string
	Tags     []string
	Priority int
	// Policy decides what is asked by this plugin, beside the policies that speak of
	// every question; nil: those alone.
	Policy *signingpolicy.Policy
	// Unmapped is what a gateway without an image gets: allow, deny, or "" for not said.
	Unmapped string
	// Cosign is the second opinion; its zero value is none.
	Cosign Cosign
}

// Cosign names the program that gives a second opinion.
type Cosign struct {
	// Path is absolute.
	Path    string
	Timeout time.Duration
}

const (
	defaultPriority = 100
	// A second opinion must leave time for an answer.
	defaultCosignTime = 10 * time.Second
	longestCosignTime = 25 * time.Second
)

// about knows the kinds, and the names of external plugins, that are ours.
var about = regexp.MustCompile(`(?i)image[_-]?signing`)

// reader collects mistakes with their lines.
type reader struct{ errs []error }

func (r *reader) fail(n *yaml.Node, field, format string, args ...any) {
	r.errs = append(r.errs, fmt.Errorf("line %d: %s: %s", max(n.Line, 1), field, fmt.Sprintf(format, args...)))
}

// Parse reads a file. Its error has one line for each mistake: "line N: field:
// what is wrong".
func Parse(body []byte) (File, error) {
	if len(body) > maxBytes {
		return File{}, fmt.Errorf("line 1: the file is larger than %d bytes", maxBytes)
	}
	dec := yaml.NewDecoder(bytes.NewReader(body))
	var doc, more yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return File{}, errors.New("line 1: the file is empty; write plugins: with a plugin of kind image-signing")
	case err != nil:
		return File{}, errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		return File{}, fmt.Errorf("line %d: a second document begins; a plugin file is one", max(more.Line, 1))
	}
	r := &reader{}
	var f File
	var list *yaml.Node
	r.mapping(doc.Content[0], "", map[string]func(*yaml.Node, string){
		"plugins": func(n *yaml.Node, _ string) { list = n },
		// Of the gateway itself.
		"plugin_dirs": skip, "plugin_settings": skip,
	})
	switch {
	case list == nil && len(r.errs) == 0:
		r.fail(doc.Content[0], "plugins", "is missing")
	case list != nil && list.Kind != yaml.SequenceNode:
		r.fail(list, "plugins", "must be a list")
	case list != nil:
		for i, n := range list.Content {
			r.entry(&f, n, fmt.Sprintf("plugins[%d]", i))
		}
		if len(f.Plugins) == 0 && len(r.errs) == 0 {
			r.fail(list, "plugins", "none of them is about image signatures; give one the kind image-signing")
		}
	}
	if err := errors.Join(r.errs...); err != nil {
		return File{}, err
	}
	return f, nil
}

func skip(*yaml.Node, string) {}

// mapping gives each value to the reader of its key; keys that nobody reads, or
// that are there twice, are mistakes.
func (r *reader) mapping(n *yaml.Node, at string, fields map[string]func(*yaml.Node, string)) {
	if n.Kind != yaml.MappingNode {
		r.fail(n, orRoot(at), "must be a mapping")
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		field := strings.TrimPrefix(at+"."+key.Value, ".")
		read, known := fields[key.Value]
		switch {
		case key.Kind != yaml.ScalarNode || key.Value == "<<":
			r.fail(key, field, "is not a field name (merge keys are not read; write the fields out)")
		case seen[key.Value]:
			r.fail(key, field, "is there twice")
		case !known:
			r.fail(key, field, "there is no such field; there are %s", strings.Join(names(fields), ", "))
		case value.Kind == yaml.AliasNode:
			r.fail(value, field, "is an alias (*%s); write the value out", value.Value)
		default:
			read(value, field)
		}
		seen[key.Value] = true
	}
}

func orRoot(at string) string {
	if at == "" {
		return "the file"
	}
	return at
}

func names(fields map[string]func(*yaml.Node, string)) []string {
	list := make([]string, 0, len(fields))
	for name := range fields {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

// value is what a key of a mapping has, nil for nothing.
func value(n *yaml.Node, key string) *yaml.Node {
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

func (r *reader) entry(f *File, n *yaml.Node, at string) {
	name, kind := value(n, "name"), value(n, "kind")
	switch {
	case n.Kind != yaml.MappingNode:
		r.fail(n, at, "must be a mapping")
		return
	case name == nil || name.Kind != yaml.ScalarNode || name.Value == "":
		r.fail(n, at+".name", "is missing; it is the name that the gateway asks under")
		return
	case kind == nil || kind.Kind != yaml.ScalarNode || kind.Value == "":
		r.fail(n, at+".kind", "is missing; write image-signing")
		return
	case !about.MatchString(kind.Value) && (kind.Value != "external" || !about.MatchString(name.Value)):
		f.Others = append(f.Others, name.Value)
		return
	case slices.ContainsFunc(f.Plugins, func(p Plugin) bool { return p.Name == name.Value }):
		r.fail(name, at+".name", "%q is there twice", name.Value)
		return
	}
	p := Plugin{Name: name.Value, Mode: "enforce", Priority: defaultPriority}
	r.mapping(n, at, map[string]func(*yaml.Node, string){
		"name": skip, "kind": skip,
		"description": func(n *yaml.Node, at string) { p.Description = r.text(n, at) },
		"hooks":       func(n *yaml.Node, at string) { p.Hooks = r.texts(n, at) },
		"tags":        func(n *yaml.Node, at string) { p.Tags = r.texts(n, at) },
		"mode":        func(n *yaml.Node, at string) { p.Mode = r.mode(n, at) },
		"priority":    func(n *yaml.Node, at string) { p.Priority = r.whole(n, at) },
		"config":      func(n *yaml.Node, at string) { r.config(&p, n, at) },
		// Of the gateway itself: how it reaches us, and what it does when it cannot.
		"version": skip, "author": skip, "on_error": skip, "conditions": skip, "mcp": skip, "namespace": skip,
	})
	if p.Policy != nil && slices.ContainsFunc(f.Plugins, func(o Plugin) bool { return o.Policy != nil && o.Policy.Name == p.Policy.Name }) {
		r.fail(name, at+".name", "%q gives its policy the name %s, as that of another plugin; choose names that differ in letters or digits", p.Name, p.Policy.Name)
	}
	if p.Cosign.Path != "" && p.Policy == nil && len(r.errs) == 0 {
		r.fail(n, at+".config.cosign.path", "a second opinion is on a policy of the plugin's own; name its trusted_signers")
	}
	f.Plugins = append(f.Plugins, p)
}

func (r *reader) text(n *yaml.Node, at string) string {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!str" {
		r.fail(n, at, "must be a string; put it in quotes")
		return ""
	}
	return n.Value
}

func (r *reader) texts(n *yaml.Node, at string) (list []string) {
	if n.Kind != yaml.SequenceNode {
		r.fail(n, at, "must be a list")
		return nil
	}
	for i, item := range n.Content {
		s := r.text(item, fmt.Sprintf("%s[%d]", at, i))
		if s == "" || slices.Contains(list, s) {
			r.fail(item, fmt.Sprintf("%s[%d]", at, i), "is empty, or there twice")
		}
		list = append(list, s)
	}
	return list
}

func (r *reader) whole(n *yaml.Node, at string) int {
	i, err := strconv.Atoi(n.Value)
	if n.Kind != yaml.ScalarNode || n.Tag != "!!int" || err != nil || strconv.Itoa(i) != n.Value {
		r.fail(n, at, "must be a whole number")
	}
	return i
}

// mode reads the modes of the gateway, of which some block and others do not.
func (r *reader) mode(n *yaml.Node, at string) string {
	switch s := r.text(n, at); s {
	case "enforce", "enforce_ignore_error", "sequential", "concurrent":
		return "enforce"
	case "permissive", "transform", "audit", "fire_and_forget":
		return "permissive"
	case "disabled":
		return s
	default:
		r.fail(n, at, "%q is none of enforce, permissive, disabled", s)
		return "enforce"
	}
}

// config reads what is ours of a plugin's config, and gives the rest to the parser
// of signing policies.
func (r *reader) config(p *Plugin, n *yaml.Node, at string) {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return
	}
	if n.Kind != yaml.MappingNode {
		r.fail(n, at, "must be a mapping")
		return
	}
	rest := *n
	rest.Content = nil
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		own := key.Value == "unmapped" || key.Value == "cosign"
		switch {
		case !own:
			rest.Content = append(rest.Content, key, value)
		case seen[key.Value]:
			r.fail(key, at+"."+key.Value, "is there twice")
		case value.Kind == yaml.AliasNode:
			r.fail(value, at+"."+key.Value, "is an alias (*%s); write the value out", value.Value)
		case key.Value == "unmapped":
			p.Unmapped = r.text(value, at+".unmapped")
			if p.Unmapped != "allow" && p.Unmapped != "deny" {
				r.fail(value, at+".unmapped", "%q is neither allow nor deny", p.Unmapped)
			}
		default:
			r.cosign(p, value, at+".cosign")
		}
		seen[key.Value] = true
	}
	if len(rest.Content) == 0 {
		return
	}
	var err error
	if p.Policy, err = signingpolicy.ForPlugin(PolicyName(p.Name), p.Name, &rest); err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			where, what, _ := strings.Cut(line, ": ")
			r.errs = append(r.errs, fmt.Errorf("%s: %s.%s", where, at, what))
		}
	}
}

func (r *reader) cosign(p *Plugin, n *yaml.Node, at string) {
	p.Cosign.Timeout = defaultCosignTime
	r.mapping(n, at, map[string]func(*yaml.Node, string){
		"path": func(n *yaml.Node, at string) {
			if p.Cosign.Path = r.text(n, at); p.Cosign.Path != "" && !strings.HasPrefix(p.Cosign.Path, "/") {
				r.fail(n, at, "%q is not an absolute path", p.Cosign.Path)
			}
		},
		"timeout_seconds": func(n *yaml.Node, at string) {
			s := r.whole(n, at)
			if s < 1 {
				r.fail(n, at, "%d is less than a second", s)
			}
			// The gateway's default of 30 is what it waits for itself.
			p.Cosign.Timeout = min(time.Duration(s)*time.Second, longestCosignTime)
		},
	})
}

// PolicyName is the name of the signing policy of a plugin.
func PolicyName(plugin string) string {
	name := []byte("plugin-")
	for _, r := range strings.ToLower(plugin) {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			name = append(name, byte(r)) //nolint:gosec // a letter or a digit of ASCII
		} else {
			name = append(name, '-')
		}
	}
	if len(name) > 63 {
		name = name[:63]
	}
	return string(name)
}
