package manifests

import "go.yaml.in/yaml/v3"

// mapping is a mapping of YAML with what it merges in (<<): its own keys win, then the
// first that is merged (https://yaml.org/type/merge.html).
type mapping struct {
	keys   []string // in order, each once
	values map[string]*yaml.Node
}

func (m *mapping) add(key string, value *yaml.Node) {
	if _, ok := m.values[key]; !ok {
		m.keys = append(m.keys, key)
		m.values[key] = value
	}
}

var empty = &mapping{}

// resolve follows an alias. Nil stays nil.
func resolve(n *yaml.Node) *yaml.Node {
	for n != nil && n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// mapping flattens a node once; what is no mapping is an empty one. One that merges
// itself in has what stands beside that.
func (f *finder) mapping(n *yaml.Node) *mapping {
	n = resolve(n)
	if n == nil || n.Kind != yaml.MappingNode {
		return empty
	}
	if m, ok := f.flat[n]; ok {
		return m
	}
	m := &mapping{values: map[string]*yaml.Node{}}
	f.flat[n] = m
	var merged []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], resolve(n.Content[i+1])
		switch {
		case key.Tag != "!!merge":
			m.add(key.Value, value)
		case value.Kind == yaml.SequenceNode:
			merged = append(merged, value.Content...)
		default:
			merged = append(merged, value)
		}
	}
	for _, other := range merged {
		from := f.mapping(other)
		if f.nodes += len(from.keys); f.nodes > maxNodes {
			f.tooMuch(n)
			break
		}
		for _, key := range from.keys {
			m.add(key, from.values[key])
		}
	}
	return m
}

// tooMuch is said once.
func (f *finder) tooMuch(n *yaml.Node) {
	if !f.ended {
		f.ended = true
		f.fail(n, "this nests deeper than %d levels, or repeats itself more than %d times", maxDepth, maxNodes)
	}
}

// field is the value of a key, nil where there is none.
func (f *finder) field(n *yaml.Node, key string) *yaml.Node { return f.mapping(n).values[key] }

// text is the value at a path of keys where it is a text, else "".
func (f *finder) text(n *yaml.Node, path ...string) string {
	for _, key := range path {
		n = f.field(n, key)
	}
	if n == nil || n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		return ""
	}
	return n.Value
}
