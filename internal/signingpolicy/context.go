package signingpolicy

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Bounds of what a policy wants of a question's context, in bytes.
const (
	longestContextKey   = 63
	longestContextValue = 200
	mostContext         = 16
)

// ContextPlugin is the key under which a question names the gateway's plugin that
// it comes from.
const ContextPlugin = "plugin"

func (d *draft) context(n *yaml.Node) {
	if asksNothing(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		d.fail(n, "context", "is %s, and must be a mapping of what a question must say, such as {plugin: ImageSigningPlugin}", kindName(n))
		return
	}
	if len(n.Content) > 2*mostContext {
		d.fail(n, "context", "has more than %d keys", mostContext)
		return
	}
	out := map[string]string{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		at := "context." + key.Value
		_, twice := out[key.Value]
		switch {
		case key.Kind != yaml.ScalarNode || !isContextKey(key.Value):
			d.fail(key, at, "is no key; use at most %d lower-case letters, digits and underscores", longestContextKey)
		case twice:
			d.fail(key, at, "is there twice")
		case d.plain(value, at):
			s, ok := d.text(value, at)
			if ok && !isContextValue(s) {
				d.fail(value, at, "has 1 to %d bytes without control characters", longestContextValue)
			}
			out[key.Value] = s
		}
	}
	d.policy.Context = out
}

func isContextKey(s string) bool {
	return s != "" && len(s) <= longestContextKey && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789_") == ""
}

func isContextValue(s string) bool {
	return s != "" && len(s) <= longestContextValue && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// ForPlugin reads the config: of a gateway's plugin as the policy for what is asked
// by that plugin. Errors wrap [ErrInvalid] and name lines of the document that the
// node is from.
func ForPlugin(policy, plugin string, n *yaml.Node) (*Policy, error) {
	r := &reader{}
	if hasKey(n, "name") || hasKey(n, "context") {
		r.fail(n, "config", "names itself by its plugin; leave name and context out")
		return nil, r.err()
	}
	p, err := FromNode(n)
	if err != nil {
		return nil, err
	}
	if !isContextValue(plugin) || !isPolicyName(policy) {
		r.fail(n, "name", "%q cannot be the name of a plugin", plugin)
		return nil, r.err()
	}
	p.Name, p.Context = policy, map[string]string{ContextPlugin: plugin}
	for i := range p.Inline {
		p.Inline[i].Name = fmt.Sprintf("%s/%d", policy, i+1)
	}
	return p, nil
}
