package signingpolicy

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/strictjson"
)

// standardParams are those of data.params that every policy has.
type standardParams struct {
	RequireSignature      bool     `json:"require_signature"`
	VerifyTransparencyLog bool     `json:"verify_transparency_log"`
	RegisteredSigners     bool     `json:"registered_signers"`
	Threshold             int      `json:"threshold"`
	TrustedSources        []string `json:"trusted_sources"` // null: any
	// Absent for none, so that parameters of a policy without any are as they were.
	Exceptions []paramException `json:"exceptions,omitempty"`
	// Absent where nothing is asked for.
	SLSA         *paramSLSA         `json:"slsa,omitempty"`
	Attestations []paramAttestation `json:"attestations,omitempty"`
	Contents     *Contents          `json:"contents,omitempty"`
	Summaries    []paramSummary     `json:"verification_summaries,omitempty"`
	Groups       []paramGroup       `json:"groups,omitempty"`
	Platforms    string             `json:"platforms,omitempty"`
}

// belongs says where a standard parameter is written instead.
func belongs(name string) string {
	switch name {
	case "require_signature", "verify_transparency_log", "threshold", "trusted_sources", "exceptions", "slsa", "attestations", "contents",
		"verification_summaries", "groups", "platforms":
		return "is a field of the policy itself; write it beside parameters, not among them"
	case "registered_signers":
		return "follows from the signers; write {type: registry} among trusted_signers"
	}
	return ""
}

// maxParameterDepth bounds how deep parameters nest.
const maxParameterDepth = 32

// parameters reads what the rules of a bundle read. What they may be is for the
// schema of the bundle to say.
func (d *draft) parameters(n *yaml.Node) {
	d.parametersAt = n
	if n.Kind != yaml.MappingNode {
		d.fail(n, "parameters", "is %s, and must be a mapping of the parameters that the bundle's schemas/params.json describes", kindName(n))
		return
	}
	before := len(d.errs)
	d.policy.lines = map[string]int{"": n.Line}
	value := values{d.reader, "parameters", d.policy.lines}.read(n, "", 0)
	for i := 0; i+1 < len(n.Content); i += 2 {
		if where := belongs(n.Content[i].Value); where != "" {
			d.fail(n.Content[i], "parameters."+n.Content[i].Value, "%s", where)
		}
	}
	if len(d.errs) > before || len(n.Content) == 0 {
		return
	}
	body, err := facts.Canonical(value)
	if err != nil {
		d.fail(n, "parameters", "%s", err)
		return
	}
	d.policy.Parameters = body
}

// number is what JSON takes for one.
var number = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`\A-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?\z`)
})

// values reads YAML values as JSON has them. Only what both read alike is taken.
type values struct {
	*reader
	// root is the field that they stand below.
	root string
	// lines are where each stands, by its path; nil where nobody asks.
	lines map[string]int
}

// at names the field of a path.
func (v values) at(path string) string {
	if path == "" {
		return v.root
	}
	return v.root + "." + path
}

func (v values) read(n *yaml.Node, path string, depth int) any {
	field := v.at(path)
	if depth > maxParameterDepth {
		v.fail(n, field, "nests deeper than %d", maxParameterDepth)
		return nil
	}
	if !v.plain(n, field) {
		return nil
	}
	if v.lines != nil {
		v.lines[path] = n.Line
	}
	switch n.Kind {
	case yaml.MappingNode:
		return v.object(n, path, depth)
	case yaml.SequenceNode:
		list := make([]any, 0, len(n.Content))
		for i, item := range n.Content {
			list = append(list, v.read(item, below(path, strconv.Itoa(i)), depth+1))
		}
		return list
	}
	switch {
	case n.Tag == "!!str":
		return n.Value
	case n.Tag == "!!null":
		return nil
	case n.Tag == "!!bool" && (n.Value == "true" || n.Value == "false"):
		return n.Value == "true"
	case n.Tag == "!!int", n.Tag == "!!float":
		if whole, err := strconv.ParseInt(n.Value, 10, 64); number().MatchString(n.Value) && (n.Tag == "!!float" || err == nil && whole < 1<<53 && whole > -1<<53) {
			return json.Number(n.Value)
		}
	}
	v.fail(n, field, "is %s, which YAML and JSON do not read alike; put it in quotes where a string is meant", kindName(n))
	return nil
}

func (v values) object(n *yaml.Node, path string, depth int) map[string]any {
	out := map[string]any{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		_, twice := out[key.Value]
		field := v.at(below(path, key.Value))
		switch {
		case key.Kind != yaml.ScalarNode || key.Tag != "!!str":
			v.fail(key, field, "is not the name of a parameter; write it as a string (merge keys are not read)")
		case twice:
			v.fail(key, field, "is there twice")
		default:
			out[key.Value] = v.read(n.Content[i+1], below(path, key.Value), depth+1)
		}
	}
	return out
}

func below(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// parametersNode writes parameters in their one form: names sorted, strings in
// quotes where they have line breaks.
func parametersNode(raw json.RawMessage) (*yaml.Node, error) {
	var value any
	if err := strictjson.Decode(raw, maxParameterDepth+1, &value); err != nil {
		return nil, fmt.Errorf("parameters: %w", err)
	}
	return valueNode(value), nil
}

func valueNode(value any) *yaml.Node {
	scalar := func(tag, text string) *yaml.Node {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: text}
	}
	switch v := value.(type) {
	case map[string]any:
		n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
		for _, key := range slices.Sorted(maps.Keys(v)) {
			n.Content = append(n.Content, textNode(key), valueNode(v[key]))
		}
		return n
	case []any:
		n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		for _, item := range v {
			n.Content = append(n.Content, valueNode(item))
		}
		return n
	case string:
		return textNode(v)
	case bool:
		return scalar("!!bool", strconv.FormatBool(v))
	case json.Number:
		if strings.ContainsAny(v.String(), ".eE") {
			return scalar("!!float", v.String())
		}
		return scalar("!!int", v.String())
	}
	return scalar("!!null", "null")
}

// textNode quotes every string, so that no reader takes it for something else.
func textNode(s string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
	if !isPolicyName(strings.ReplaceAll(strings.ToLower(s), "_", "-")) || plainWords()[strings.ToLower(s)] || strings.Trim(s, "0123456789") == "" {
		n.Style = yaml.DoubleQuotedStyle
	}
	return n
}

// plainWords are those that some YAML reader takes for no string.
func plainWords() map[string]bool {
	return map[string]bool{"y": true, "n": true, "yes": true, "no": true, "on": true, "off": true, "true": true, "false": true, "null": true}
}

// Mistake is what is wrong about a parameter.
type Mistake struct {
	// Path is as in "limits.0.days"; "" is all of the parameters.
	Path string
	// Problem says what is wrong, and what would be right.
	Problem string
}

// ParameterError is an [ErrInvalid] about parameters, each with the line of the
// document that the policy was read from.
func (p *Policy) ParameterError(list []Mistake) error {
	r := &reader{}
	for _, m := range list {
		field := "parameters"
		if m.Path != "" {
			field += "." + m.Path
		}
		r.fail(&yaml.Node{Line: p.lineOf(m.Path)}, field, "%s", m.Problem)
	}
	return r.err()
}

// lineOf is where a parameter stands, or what it is within.
func (p *Policy) lineOf(path string) int {
	for {
		if line, ok := p.lines[path]; ok || path == "" {
			return line
		}
		if i := strings.LastIndexByte(path, '.'); i >= 0 {
			path = path[:i]
		} else {
			path = ""
		}
	}
}

// WithParams is p with the parameters of a file such as a bundle has for its
// author, params/params.json: those that every policy has become its fields.
// Errors wrap [ErrInvalid].
func (p *Policy) WithParams(raw []byte) (*Policy, error) {
	var all map[string]json.RawMessage
	if err := strictjson.Decode(raw, maxParameterDepth+1, &all); err != nil {
		return nil, fmt.Errorf("%w: parameters: %w", ErrInvalid, err)
	}
	own := map[string]json.RawMessage{}
	more := map[string]json.RawMessage{}
	for name, value := range all {
		if belongs(name) == "" || name == "exceptions" { // which are already in the form that rules read
			more[name] = value
		} else {
			own[name] = value
		}
	}
	var standard standardParams
	var missing []string
	for _, name := range []string{"registered_signers", "require_signature", "threshold", "trusted_sources", "verify_transparency_log"} {
		if _, ok := own[name]; !ok {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("%w: parameters: %s: missing; the parameters of a policy name them all", ErrInvalid, strings.Join(missing, ", "))
	}
	body, err := json.Marshal(own)
	if err != nil {
		return nil, err
	}
	if err := strictjson.Decode(body, maxParameterDepth+1, &standard); err != nil {
		return nil, fmt.Errorf("%w: parameters: %w", ErrInvalid, err)
	}
	asked, err := standard.SLSA.asked()
	if err != nil {
		return nil, fmt.Errorf("%w: parameters: slsa: %w", ErrInvalid, err)
	}
	if standard.Threshold < 1 {
		return nil, fmt.Errorf("%w: parameters: threshold: %d signers would be nobody; it must be at least 1", ErrInvalid, standard.Threshold)
	}
	accepted, err := summaries(standard.Summaries)
	if err != nil {
		return nil, err
	}
	out := *p
	out.Summaries = accepted
	if out.Groups, err = groupsOf(standard.Groups); err != nil {
		return nil, err
	}
	out.Platforms = standard.Platforms
	if !slices.Contains(append(platformsValues(), ""), out.Platforms) {
		return nil, fmt.Errorf("%w: parameters: platforms: %q is none of %s", ErrInvalid, out.Platforms, strings.Join(platformsValues(), ", "))
	}
	out.RequireSignature, out.VerifyTransparencyLog, out.Threshold, out.TrustedSources = standard.RequireSignature, standard.VerifyTransparencyLog, standard.Threshold, standard.TrustedSources
	out.UseRegistered, out.SLSA = standard.RegisteredSigners, asked
	if err := out.takeAttestations(standard); err != nil {
		return nil, fmt.Errorf("%w: parameters: %w", ErrInvalid, err)
	}
	if out.Parameters, err = facts.Canonical(more); err != nil {
		return nil, fmt.Errorf("%w: parameters: %w", ErrInvalid, err)
	}
	return &out, nil
}
