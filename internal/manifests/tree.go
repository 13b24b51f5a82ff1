package manifests

import "go.yaml.in/yaml/v3"

// mapping is a mapping of YAML with what it merges in (<<): its own keys win, then the
// first that is merged (https://yaml.org/type/merge.html).
type mapping struct {
	keys   []string // in order, each once
	values map[string]*yaml.Node
	// shadowed is a key of its own that stands before what is merged in, and is
	// something else there; "" for none. Readers of YAML 1.1, as kubectl is, take what
	// comes last. What is merged in may hold one, too.
	shadowed string
	at       *yaml.Node // where it stands
	told     bool
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
	m, ok := f.flat[n]
	if !ok {
		m = &mapping{values: map[string]*yaml.Node{}, at: n}
		f.flat[n] = m
		f.flatten(n, m)
	}
	if f.kubernetes && m.shadowed != "" && !m.told {
		m.told = true
		f.fail(m.at, "%q stands before <<, which merges in another; put << first, so that everybody reads the same", m.shadowed)
	}
	return m
}

// flatten reads a mapping. What could be read in two ways, and by kubectl in another
// than here, is a mistake: a key that stands twice, one whose name does not stand where
// it is, and a value that is another text when it is decoded.
func (f *finder) flatten(n *yaml.Node, m *mapping) {
	var merged []*yaml.Node
	early := map[string]bool{} // keys of its own before the last <<
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], resolve(n.Content[i+1])
		switch {
		case key.Kind != yaml.ScalarNode || key.Style&yaml.TaggedStyle != 0: // !!merge makes any key a merge
			f.fail(key, "a key must be written out, as a plain text without a tag")
		case key.Tag != "!!merge" && key.Value == "<<": // here ! "<<" is "<<", and to kubectl it is a merge
			f.fail(key, "<< must stand without quotes and tags, as the merge that it is")
		case key.Tag != "!!merge":
			if before, twice := m.values[key.Value]; twice && !same(before, value) {
				f.fail(key, "%q stands twice in one mapping; keep one", key.Value)
			}
			if value.Kind == yaml.ScalarNode && value.Tag == "!!binary" {
				f.fail(value, "%q is binary; write it out, as a plain text", key.Value)
			}
			m.add(key.Value, value)
			continue
		case len(merged) > 0:
			f.fail(key, "<< stands twice in one mapping; merge a list: <<: [*a, *b]")
		case value.Kind == yaml.SequenceNode:
			merged = append(merged, value.Content...)
		default:
			merged = append(merged, value)
		}
		for _, k := range m.keys {
			early[k] = true
		}
	}
	for _, other := range merged {
		if resolve(other).Kind != yaml.MappingNode {
			f.fail(other, "<< must merge in a mapping, or a list of mappings: <<: [*a, *b]")
			continue
		}
		from := f.mapping(other)
		if from.shadowed != "" && !from.told { // it may be read as a part of this one alone
			m.shadowed, m.at = from.shadowed, from.at
		}
		if f.nodes += len(from.keys); f.nodes > maxNodes {
			f.tooMuch(n)
			break
		}
		for _, key := range from.keys {
			if early[key] && !same(m.values[key], from.values[key]) {
				m.shadowed, m.at = key, n
			}
			if before := m.values[key]; before != nil && before.Tag == "!reset" { // Compose takes it away before it merges
				f.fail(before, "%q is taken away by !reset, and << merges in another; keep one", key)
			}
			m.add(key, from.values[key])
		}
	}
}

// same says whether two nodes are one, or the same text.
func same(a, b *yaml.Node) bool {
	return a == b || a.Kind == yaml.ScalarNode && b.Kind == yaml.ScalarNode && a.Tag == b.Tag && a.Value == b.Value
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
	if n == nil || n.Kind != yaml.ScalarNode || isNull(n) {
		return ""
	}
	return n.Value
}

// isNull says whether a node is null. A list or a mapping with that tag is what it holds.
func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }
