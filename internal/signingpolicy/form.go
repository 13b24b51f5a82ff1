package signingpolicy

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// The kinds of a [Field].
const (
	FieldFlag   = "flag"   // a box: true or false
	FieldText   = "text"   // one line
	FieldNumber = "number" // a whole number
	FieldChoice = "choice" // one of Choices; "" is what is said where nothing is
	FieldLines  = "lines"  // a list of texts, one a line
	FieldBlock  = "block"  // text of several lines
	FieldPairs  = "pairs"  // names with texts, "name: text" a line
	FieldYAML   = "yaml"   // anything, as YAML
	FieldPart   = "part"   // fields of its own
	FieldList   = "list"   // any number of parts
)

// Field is one field of a signing policy, as a form has it.
type Field struct {
	Name, Label, Help, Kind string
	Choices                 []string
	// Optional says of a part that it can be left out as a whole, and of a flag that
	// false is what is so where nothing is said.
	Optional bool
	Fields   []Field
	// For are the types of a list's part, the values of its field type, that the field
	// belongs to, with spaces between them; "" is all.
	For string
	// Short is the field of a list's parts that stands alone where only it is said.
	Short string
}

// FormFields are all fields of a policy in its canonical form, but its name.
func FormFields() []Field {
	text := func(name, label, help string) Field {
		return Field{Name: name, Label: label, Help: help, Kind: FieldText}
	}
	lines := func(name, label, help string) Field {
		return Field{Name: name, Label: label, Help: help, Kind: FieldLines}
	}
	choice := func(name, label, help string, choices ...string) Field {
		return Field{Name: name, Label: label, Help: help, Kind: FieldChoice, Choices: choices}
	}
	number := func(name, label, help string) Field {
		return Field{Name: name, Label: label, Help: help, Kind: FieldNumber}
	}
	whose := lines("signers", "Signers", "Names of trusted signers, one a line; none: any of the policy.")
	age := func(name, label, help string) Field {
		return text(name, label, help+" A duration: 12h, 7d; empty: as old as it likes.")
	}
	return []Field{
		choice("mode", "Mode", "enforce denies; audit only says so; shadow is tried beside another; disabled is not asked.", "enforce", "audit", "shadow", "disabled"),
		text("shadow_of", "Compared with", "With mode shadow: the policy that it is compared with; empty: the verdict."),
		{Name: "require_signature", Label: "A signature is needed", Kind: FieldFlag},
		{Name: "verify_transparency_log", Label: "… with a verified entry in a transparency log", Kind: FieldFlag},
		number("threshold", "By how many different signers", "1 or more."),
		lines("images", "Images", "Patterns, one a line: ghcr.io/org/**; none: all images."),
		{Name: "context", Label: "Context", Help: "What a question must say for the policy to speak of it, as name: value, one a line.", Kind: FieldPairs},
		{Name: "trusted_signers", Label: "Trusted signers", Help: "Whose signatures count. The type registry means the registered signers: all of them, or those of its names.", Kind: FieldList, Fields: typed([]Field{
			choice("type", "Type", "", "", "registry", "keyless", "public_key", "kms"),
			text("name", "Name", "For verdicts and groups; empty: its position."),
			text("issuer", "Issuer", "keyless: the identity provider's URL."),
			text("subject", "Subject", "keyless: the identity, to the letter."),
			text("subject_regex", "… or a pattern", "keyless: an RE2 pattern that the whole identity matches."),
			{Name: "claims", Label: "Claims", Help: "keyless: what the certificate must say besides, as name: value, one a line.", Kind: FieldPairs},
			lines("trust_roots", "Trust roots", "Names; none: any."),
			{Name: "key", Label: "Public key", Help: "public_key: in PEM; kms: the key that is pinned.", Kind: FieldBlock},
			text("key_ref", "Key reference", "kms: gcpkms://, awskms://, azurekms:// or hashivault://."),
			{Name: "auto_rotate", Label: "Take a new key of the reference by itself", Kind: FieldFlag, Optional: true},
			lines("names", "Names", "registry: the registered signers that count, one a line; none: all."),
			lines("images", "Images", "It may sign only these; none: all."),
			text("not_before", "In force from", "RFC 3339, such as 2027-01-31T00:00:00Z."),
			text("expires_at", "In force until", "RFC 3339."),
			text("signed_from", "Signatures from", "Made at or after; RFC 3339."),
			text("signed_until", "Signatures until", "Made at or before; RFC 3339."),
		}, map[string]string{
			"name": "keyless public_key kms", "issuer": "keyless", "subject": "keyless", "subject_regex": "keyless", "claims": "keyless", "trust_roots": "keyless public_key kms",
			"key": "public_key kms", "key_ref": "kms", "auto_rotate": "kms", "names": "registry", "images": "keyless public_key kms", "not_before": "keyless public_key kms",
			"expires_at": "keyless public_key kms", "signed_from": "keyless public_key kms", "signed_until": "keyless public_key kms",
		})},
		{Name: "groups", Label: "Groups of signers", Help: "Each must meet a threshold of its own; who counts for one counts for no other.", Kind: FieldList, Fields: []Field{
			text("name", "Name", ""), lines("signers", "Signers", "Names, one a line."), number("threshold", "How many of them", ""),
		}},
		choice("platforms", "Platforms", "What of an index must meet the requirements: the index, the platform that was asked for, or the index and every platform.", "", "index", "requested", "every"),
		lines("trusted_sources", "Source repositories that count", "One a line: github.com/org/app; none: any."),
		{Name: "slsa", Label: "SLSA provenance", Help: "How and from what the image was built.", Kind: FieldPart, Optional: true, Fields: []Field{
			{Name: "require_attestation", Label: "Provenance is needed", Kind: FieldFlag},
			number("minimum_level", "Build level at least", "1 to 3."),
			{Name: "trusted_builders", Label: "Trusted builders", Help: "At least one: the provenance of others counts for nothing.", Kind: FieldList, Short: "builder", Fields: []Field{
				text("builder", "Builder", "Its URI, as it stands in the provenance."), text("version", "Version", "Such as >=2.0.0."),
				lines("commits", "Commits", "Of the builder, one a line."), lines("signers", "Signers", "Who may have signed for it."), lines("trust_roots", "Trust roots", ""),
			}},
			{Name: "trusted_sources", Label: "Sources", Help: "Repositories that may be built; none: those above.", Kind: FieldList, Short: "repository", Fields: []Field{
				text("repository", "Repository", ""), lines("ref", "Refs", "One a line."), lines("tag", "Tags", "Patterns, one a line."), lines("branch", "Branches", "Patterns, one a line."),
			}},
			{Name: "parameters", Label: "Parameters of the build", Help: "What the build's parameters must have, as YAML.", Kind: FieldYAML},
		}},
		{Name: "attestations", Label: "Attestations", Help: "Each must be there, signed by somebody trusted.", Kind: FieldList, Fields: []Field{
			text("predicate_type", "Type", "A URI, or short: spdx, cyclonedx, vuln, vex, test_result …"), whose, age("max_age", "Not older than", ""),
			choice("from", "… counted from", "", "", FromSignedAt, FromMadeAt), number("count", "By how many signers", "1 where it is empty."), choice("subjects", "About", "", "", SubjectsImage, SubjectsEvery),
		}},
		{Name: "contents", Label: "What attestations must say", Kind: FieldPart, Fields: []Field{
			{Name: "licences", Label: "Licences", Kind: FieldPart, Optional: true, Fields: []Field{
				lines("denied", "Denied", "SPDX identifiers, one a line; * for anything."), lines("allowed", "Allowed", "Fine, whatever is denied."), choice("unstated", "Components without any", "", "", UnknownDeny, UnknownAllow),
			}},
			{Name: "vulnerabilities", Label: "Vulnerabilities", Kind: FieldPart, Optional: true, Fields: []Field{
				choice("maximum_severity", "Worst that may be found", "", append([]string{""}, severities()...)...), choice("unknown_severity", "Of unknown severity", "", "", UnknownDeny, UnknownAllow),
				choice("unfixed", "That nothing mends yet", "", "", UnknownDeny, UnknownAllow), age("database_max_age", "Scanner's data not older than", ""),
				{Name: "vex", Label: "VEX statements excuse findings", Kind: FieldPart, Optional: true, Fields: []Field{whose, age("max_age", "Not older than", "")}},
			}},
			{Name: "tests", Label: "Tests", Kind: FieldPart, Optional: true, Fields: []Field{
				choice("result", "Worst result that will do", "", "", "PASSED", "WARNED"), lines("passed", "Tests that must have passed", "Names, one a line."),
			}},
			{Name: "base_images", Label: "Base images", Kind: FieldPart, Optional: true, Fields: []Field{lines("allowed", "Allowed", "Patterns of names, one a line."), whose}},
		}},
		{Name: "verification_summaries", Label: "Verification summaries", Help: "Whose word (a SLSA VSA) stands in for provenance.", Kind: FieldList, Fields: []Field{
			lines("verifiers", "Signed by", "Names of trusted signers, one a line."), text("verifier_id", "Verifier", "The URI in the summary."), text("policy_uri", "Policy", "The URI that it was made under; empty: any."),
			text("policy_digest", "Digest of the policy", "sha256:…"), text("max_age", "Not older than", "A duration: 7d."), number("minimum_level", "Build level at least", ""), lines("resources", "Also about", "Patterns of images that it was copied from."),
		}},
		{Name: "attest", Label: "Attest every verdict", Kind: FieldFlag, Optional: true},
		{Name: "exceptions", Label: "Exceptions", Help: "Each lets images pass for a while, and says who answers for it.", Kind: FieldList, Fields: []Field{
			lines("images", "Images", "Patterns, one a line."), lines("codes", "Codes that are waived", "One a line."), text("reason", "Why", ""), text("owner", "Who answers for it", ""), text("expires_at", "Ends", "RFC 3339."),
		}},
		text("bundle", "Bundle", "Rules of your own that decide; empty: Signet's."),
		{Name: "parameters", Label: "Parameters of the bundle", Help: "What its rules read, as YAML.", Kind: FieldYAML},
	}
}

// typed says which fields are for which types.
func typed(fields []Field, types map[string]string) []Field {
	for i := range fields {
		fields[i].For = types[fields[i].Name]
	}
	return fields
}

// Form are the values of a form by their paths, such as slsa.trusted_builders[0].version.
// A part that is there has the value "on" at its own path, a list the number of its
// parts.
type Form map[string]string

// FormOf takes a policy apart.
func FormOf(p *Policy) (Form, error) {
	body, err := p.Canonical()
	if err != nil {
		return nil, err
	}
	root, err := inner(body, maxBytes)
	if err != nil {
		return nil, err
	}
	f := Form{}
	f.read("", root, FormFields())
	return f, nil
}

func child(n *yaml.Node, key string) *yaml.Node {
	for i := 0; n != nil && n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

func (f Form) read(at string, n *yaml.Node, fields []Field) {
	for _, field := range fields {
		path := below(at, field.Name)
		v := child(n, field.Name)
		if v == nil {
			continue
		}
		switch field.Kind {
		case FieldPart:
			f[path] = "on"
			f.read(path, v, field.Fields)
		case FieldList:
			f[path] = strconv.Itoa(len(v.Content))
			for i, item := range v.Content {
				one := fmt.Sprintf("%s[%d]", path, i)
				if item.Kind == yaml.ScalarNode {
					f[below(one, field.Short)] = item.Value
					continue
				}
				f.read(one, item, field.Fields)
			}
		case FieldLines:
			texts := make([]string, 0, len(v.Content))
			for _, item := range v.Content {
				texts = append(texts, item.Value)
			}
			f[path] = strings.Join(texts, "\n")
		case FieldPairs:
			var texts []string
			for i := 0; i+1 < len(v.Content); i += 2 {
				texts = append(texts, v.Content[i].Value+": "+v.Content[i+1].Value)
			}
			f[path] = strings.Join(texts, "\n")
		case FieldYAML:
			if body, err := encode(v); err == nil {
				f[path] = string(body)
			}
		default:
			f[path] = v.Value
		}
	}
}

// FieldMistake is what is wrong with a field of a form.
type FieldMistake struct {
	// Path is that of the field, "" for the policy as a whole.
	Path, Problem string
}

// FromForm puts a policy together. Where something is wrong, document is nil where
// the form alone cannot be read, and else what the form says all the same.
func FromForm(name string, f Form) (document []byte, wrong []FieldMistake) {
	if f.TooLong() {
		return nil, []FieldMistake{{Problem: strings.TrimPrefix(errTooLong.Error(), ErrInvalid.Error()+": ")}}
	}
	w := &formWriter{form: f}
	root := w.part("", FormFields())
	root.Content = append([]*yaml.Node{textNode("name"), textNode(name)}, root.Content...)
	if len(w.wrong) > 0 {
		return nil, w.wrong
	}
	body, err := encode(&yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{textNode("signing_policy"), root}})
	if err != nil {
		return nil, []FieldMistake{{Problem: err.Error()}}
	}
	p, err := ParseAs(name, body)
	if err != nil {
		return body, MistakesByField(err)
	}
	if body, err = p.Canonical(); err != nil {
		return nil, []FieldMistake{{Problem: err.Error()}}
	}
	return body, nil
}

// MistakesByField are the lines of an [ErrInvalid], each with the field of a form that
// it is about.
func MistakesByField(err error) []FieldMistake {
	known := map[string]bool{}
	var list func(at string, fields []Field)
	list = func(at string, fields []Field) {
		for _, field := range fields {
			path := below(at, field.Name)
			known[path] = true
			if field.Kind == FieldList {
				path += "[]"
			}
			list(path, field.Fields)
		}
	}
	list("", FormFields())
	var out []FieldMistake
	text := err.Error()
	if !errors.Is(err, ErrInvalid) {
		return []FieldMistake{{Problem: text}}
	}
	for line := range strings.SplitSeq(strings.TrimPrefix(text, ErrInvalid.Error()+": "), "\n") {
		said := line
		if rest, ok := strings.CutPrefix(line, "line "); ok {
			if _, what, ok := strings.Cut(rest, ": "); ok {
				said = what
			}
		}
		m := FieldMistake{Problem: said}
		if field, problem, ok := strings.Cut(said, ": "); ok {
			// The longest part of the field's name that the form has: images[1] is a line of images.
			for at := field; at != "" && m.Path == ""; at = shorter(at) {
				if known[positions(at)] {
					m = FieldMistake{Path: at, Problem: problem}
				}
			}
		}
		out = append(out, m)
	}
	return out
}

// positions leaves out which one of a list is meant.
func positions(path string) string {
	var b strings.Builder
	for _, part := range strings.SplitAfter(path, "[") {
		if i := strings.IndexByte(part, ']'); i >= 0 && strings.Trim(part[:i], "0123456789") == "" {
			part = part[i:]
		}
		b.WriteString(part)
	}
	return b.String()
}

func shorter(path string) string {
	return path[:max(0, strings.LastIndexAny(path, ".["))]
}

type formWriter struct {
	form  Form
	wrong []FieldMistake
}

func (w *formWriter) fail(path, problem string) {
	w.wrong = append(w.wrong, FieldMistake{path, problem})
}

// part is a mapping of what is said of fields.
func (w *formWriter) part(at string, fields []Field) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for _, field := range fields {
		if v := w.value(below(at, field.Name), field); v != nil {
			n.Content = append(n.Content, textNode(field.Name), v)
		}
	}
	return n
}

// value is nil where nothing is said.
func (w *formWriter) value(path string, field Field) *yaml.Node {
	said := strings.TrimSpace(w.form[path])
	switch field.Kind {
	case FieldFlag:
		if said == "" && field.Optional {
			return nil
		}
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: strconv.FormatBool(said == "on" || said == "true")}
	case FieldPart:
		if field.Optional && said == "" {
			return nil
		}
		n := w.part(path, field.Fields)
		if !field.Optional && len(n.Content) == 0 {
			return nil
		}
		return n
	case FieldList:
		return w.list(path, said, field)
	}
	if said == "" {
		return nil
	}
	switch field.Kind {
	case FieldNumber:
		if whole, err := strconv.Atoi(said); err != nil || strconv.Itoa(whole) != said {
			w.fail(path, fmt.Sprintf("%q is no whole number", said))
			return nil
		}
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: said}
	case FieldLines:
		n := &yaml.Node{Kind: yaml.SequenceNode}
		for line := range strings.Lines(said) {
			if line = strings.TrimSpace(line); line != "" {
				n.Content = append(n.Content, textNode(line))
			}
		}
		return n
	case FieldPairs:
		n := &yaml.Node{Kind: yaml.MappingNode}
		for line := range strings.Lines(said) {
			key, text, ok := strings.Cut(strings.TrimSpace(line), ":")
			if !ok {
				w.fail(path, fmt.Sprintf("%q has no colon; write name: value, one a line", strings.TrimSpace(line)))
				continue
			}
			n.Content = append(n.Content, textNode(strings.TrimSpace(key)), textNode(strings.TrimSpace(text)))
		}
		return n
	case FieldYAML:
		root, err := document([]byte(w.form[path]), maxBytes)
		if err != nil {
			w.fail(path, err.Error())
			return nil
		}
		return root
	case FieldBlock:
		return textNode(said + "\n")
	case FieldText:
		if strings.HasSuffix(field.Name, "_at") || strings.HasPrefix(field.Name, "signed_") || field.Name == "not_before" { // a time is one in YAML too
			return &yaml.Node{Kind: yaml.ScalarNode, Value: said}
		}
	}
	return textNode(said)
}

// MaxFormParts bounds the parts of all lists of a form together: what a person can
// look through, and a server makes in no time.
const MaxFormParts = 500

// TooLong says that a form has more than [MaxFormParts]. The counts in a form are
// whatever its sender wrote.
func (f Form) TooLong() bool {
	left := MaxFormParts
	var fits func(at string, fields []Field) bool
	fits = func(at string, fields []Field) bool {
		for _, field := range fields {
			path := below(at, field.Name)
			switch field.Kind {
			case FieldPart:
				if !fits(path, field.Fields) {
					return false
				}
			case FieldList:
				count, err := strconv.Atoi(strings.TrimSpace(f[path]))
				if err != nil { // says nothing, or more than any number does
					if f[path] != "" {
						return false
					}
					continue
				}
				if left -= max(count, 0); left < 0 {
					return false
				}
				for i := range count {
					if !fits(fmt.Sprintf("%s[%d]", path, i), field.Fields) {
						return false
					}
				}
			}
		}
		return true
	}
	return !fits("", FormFields())
}

// errTooLong is what is wrong with such a form.
var errTooLong = fmt.Errorf("%w: a form has %d parts at most; write more as YAML", ErrInvalid, MaxFormParts)

func (w *formWriter) list(path, said string, field Field) *yaml.Node {
	count, err := strconv.Atoi(said)
	if err != nil || count <= 0 {
		return nil
	}
	n := &yaml.Node{Kind: yaml.SequenceNode}
	for i := range count {
		item := w.part(fmt.Sprintf("%s[%d]", path, i), field.Fields)
		if field.Short != "" && len(item.Content) == 2 && item.Content[0].Value == field.Short {
			item = item.Content[1]
		}
		n.Content = append(n.Content, item)
	}
	return n
}

// Without takes the part of a list that a path such as groups[1] names out of a form,
// and With adds one at the end; both leave a form as it is where there is no such list.
func (f Form) Without(path string) {
	open := strings.LastIndexByte(path, '[')
	if open < 0 || !strings.HasSuffix(path, "]") {
		return
	}
	list := path[:open]
	gone, err := strconv.Atoi(path[open+1 : len(path)-1])
	count, _ := strconv.Atoi(f[list]) // 0 has none
	if err != nil || gone < 0 || gone >= count || count > MaxFormParts {
		return
	}
	keys := make([]string, 0, len(f))
	for key := range f {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for i := gone; i < count; i++ {
		here, next := fmt.Sprintf("%s[%d]", list, i), fmt.Sprintf("%s[%d]", list, i+1)
		for _, key := range keys {
			if strings.HasPrefix(key, here+".") {
				delete(f, key)
			}
		}
		for _, key := range keys {
			if rest, ok := strings.CutPrefix(key, next+"."); ok {
				f[here+"."+rest] = f[key]
			}
		}
	}
	f[list] = strconv.Itoa(count - 1)
}

// With adds an empty part to a list.
func (f Form) With(list string) {
	count, err := strconv.Atoi(f[list])
	if err != nil && f[list] != "" || count > MaxFormParts {
		return
	}
	f[list] = strconv.Itoa(max(count, 0) + 1)
}
