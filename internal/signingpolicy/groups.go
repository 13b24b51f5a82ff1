package signingpolicy

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/signers"
)

// maxGroups bounds the groups of a policy; real ones have two or three.
const maxGroups = 32

// inlineName is the name that one of the policy's own signers is given, "" for none.
func (d *draft) inlineName(s said, at string) string {
	n := s.at["name"]
	if n == nil {
		return ""
	}
	name := s.signer.Name
	switch {
	case signers.ValidName(name) != nil:
		for _, f := range signers.FieldErrors(signers.ValidName(name)) {
			d.fail(n, at+".name", "%s", f.Problem)
		}
	case isPosition(name):
		d.fail(n, at+".name", "%q is a number, which signers without a name have for their position; begin it with a letter", name)
	case slices.Contains(d.inlineNames, name):
		d.fail(n, at+".name", "%q is the name of another signer of this policy too", name)
	}
	return name
}

// isPosition says whether a name is that of a signer which was given none.
func isPosition(name string) bool { return strings.Trim(name, "0123456789") == "" }

// nameInline gives the policy's own signers their whole names.
func (d *draft) nameInline() {
	for i := range d.policy.Inline {
		name := d.inlineNames[i]
		if name == "" {
			name = fmt.Sprint(i + 1)
		}
		d.policy.Inline[i].Name = d.policy.Name + "/" + name
	}
}

// shortName is the name of one of the policy's own signers within the policy.
func (p *Policy) shortName(s signers.Signer) string { return strings.TrimPrefix(s.Name, p.Name+"/") }

// groups reads the groups of signers.
func (d *draft) groups(n *yaml.Node) {
	items := d.sequence(n, "groups")
	if len(items) == 0 && n.Kind == yaml.SequenceNode {
		d.fail(n, "groups", "is an empty list; leave it out where no group must sign")
	}
	if len(items) > maxGroups {
		d.fail(n, "groups", "are %d, and at most %d are read", len(items), maxGroups)
		return
	}
	for i, item := range items {
		d.group(item, fmt.Sprintf("groups[%d]", i))
	}
}

func (d *draft) group(n *yaml.Node, at string) {
	g := signers.Group{Threshold: 1}
	before := len(d.errs)
	given := map[string]bool{}
	d.mapping(n, at+".", map[string]func(*yaml.Node){
		"name": func(n *yaml.Node) {
			given["name"] = true
			name, ok := d.text(n, at+".name")
			taken := slices.ContainsFunc(d.policy.Groups, func(o signers.Group) bool { return o.Name == name })
			switch {
			case ok && !isPolicyName(name):
				d.fail(n, at+".name", "%q is not a name; use at most 63 lower-case letters, digits and dashes", name)
			case ok && taken:
				d.fail(n, at+".name", "%q is the name of another group too", name)
			}
			g.Name = name
		},
		"signers": func(n *yaml.Node) {
			given["signers"] = true
			g.Signers = d.strings(n, at+".signers")
			if len(g.Signers) == 0 && n.Kind == yaml.SequenceNode {
				d.fail(n, at+".signers", "is an empty list, so nobody could sign for the group; name signers of the policy")
			}
			for i, name := range g.Signers {
				if slices.Contains(g.Signers[:i], name) {
					d.fail(n.Content[i], fmt.Sprintf("%s.signers[%d]", at, i), "%q is there twice, and counts once", name)
				}
			}
		},
		"threshold": func(n *yaml.Node) {
			if g.Threshold = d.integer(n, at+".threshold"); g.Threshold < 1 {
				d.fail(n, at+".threshold", "%d signers would be nobody; it must be at least 1", g.Threshold)
			}
		},
	}, nil)
	for _, f := range []struct{ name, want string }{
		{"name", "name the group, such as release"}, {"signers", "name the signers of the policy who may sign for it"},
	} {
		if !given[f.name] && n.Kind == yaml.MappingNode {
			d.fail(n, at+"."+f.name, "is missing; %s", f.want)
		}
	}
	if size := len(g.Signers); len(d.errs) == before && g.Threshold > size {
		d.fail(n, at+".threshold", "%d is more than the %d signers of the group", g.Threshold, size)
	}
	if len(d.errs) == before {
		d.policy.Groups, d.groupsAt = append(d.policy.Groups, g), append(d.groupsAt, n)
	}
}

// checkGroups checks what depends on who is trusted.
func (d *draft) checkGroups() {
	p := d.policy
	for i, g := range p.Groups {
		for j, name := range g.Signers {
			if why := p.unknownSigner(name); why != "" {
				d.fail(signersOf(d.groupsAt[i]).Content[j], fmt.Sprintf("groups[%d].signers[%d]", i, j), "%q %s", name, why)
			}
		}
	}
	if short, left, ok := signers.Meetable(p.Groups); !ok && len(d.errs) == 0 {
		i := slices.IndexFunc(p.Groups, func(g signers.Group) bool { return g.Name == short.Name })
		d.fail(d.groupsAt[i], fmt.Sprintf("groups[%d].threshold", i),
			"%d can never be met beside the groups before, because who signs for one group counts for no other: %d of the signers are left; name more signers", short.Threshold, left)
	}
}

// signersOf is the list of signers of a group that was read.
func signersOf(group *yaml.Node) *yaml.Node {
	for i := 0; i+1 < len(group.Content); i += 2 {
		if group.Content[i].Value == "signers" {
			return group.Content[i+1]
		}
	}
	return group
}

// unknownSigner says why a group cannot name a signer, "" where it can.
func (p *Policy) unknownSigner(name string) string {
	var own []string
	for _, s := range p.Inline {
		short := p.shortName(s)
		if short == name && !isPosition(name) {
			return ""
		}
		if s.Name == name || short == name {
			return "is the place of a signer that has no name; give it one (name: in trusted_signers), and write that"
		}
		if !isPosition(short) {
			own = append(own, short)
		}
	}
	switch {
	case slices.Contains(p.RegisteredNames, name):
		return ""
	case p.UseRegistered && len(p.RegisteredNames) == 0:
		if signers.ValidName(name) == nil {
			return ""
		}
		return "is not the name of a signer; use letters, digits, dots, dashes and underscores"
	}
	known := slices.Concat(own, p.RegisteredNames)
	if len(known) == 0 {
		return "is no signer of this policy; give signers in trusted_signers a name, or write {type: registry} for registered ones"
	}
	return fmt.Sprintf("is no signer of this policy; there are %s", strings.Join(known, ", "))
}

// GroupsInForce are the groups with the names that signers have in verdicts. A name
// of the policy's own comes before that of a registered signer.
func (p *Policy) GroupsInForce() []signers.Group {
	var list []signers.Group
	for _, g := range p.Groups {
		names := make([]string, 0, len(g.Signers))
		for _, name := range g.Signers {
			if slices.ContainsFunc(p.Inline, func(s signers.Signer) bool { return p.shortName(s) == name }) {
				name = p.Name + "/" + name
			}
			names = append(names, name)
		}
		list = append(list, signers.Group{Name: g.Name, Signers: names, Threshold: g.Threshold})
	}
	return list
}

// NamesRegistered are the registered signers that the policy names, each once:
// among its signers, or where it wants one in particular.
func (p *Policy) NamesRegistered() []string {
	names := slices.Clone(p.RegisteredNames)
	for _, n := range p.NamedSigners() {
		names = append(names, n.Name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// NamedSigner is a registered signer that a policy wants, and where it says so.
type NamedSigner struct {
	// Field is written as in errors, such as "attestations[0].signers[1]".
	Field, Name string
}

// NamedSigners are the registered signers that the policy wants by their names, in
// groups, attestations, contents, builders and verifiers: each place at which one
// that is not there would sign nothing. (Its trusted_signers are no such place.)
func (p *Policy) NamedSigners() []NamedSigner {
	if !p.UseRegistered {
		return nil
	}
	var list []NamedSigner
	add := func(field string, names []string) {
		for i, name := range names {
			if !strings.HasPrefix(name, p.Name+"/") {
				list = append(list, NamedSigner{fmt.Sprintf("%s[%d]", field, i), name})
			}
		}
	}
	for i, g := range p.GroupsInForce() {
		add(fmt.Sprintf("groups[%d].signers", i), g.Signers)
	}
	for i, a := range p.Attestations {
		add(fmt.Sprintf("attestations[%d].signers", i), a.Signers)
	}
	if v := p.Contents.Vulnerabilities; v != nil && v.VEX != nil {
		add("contents.vulnerabilities.vex.signers", v.VEX.Signers)
	}
	if b := p.Contents.BaseImages; b != nil {
		add("contents.base_images.signers", b.Signers)
	}
	if p.SLSA != nil {
		for i, b := range p.SLSA.Builders {
			add(fmt.Sprintf("slsa.trusted_builders[%d].signers", i), b.Signers)
		}
	}
	for i, s := range p.Summaries {
		add(fmt.Sprintf("verification_summaries[%d].verifiers", i), s.Verifiers)
	}
	return list
}

// paramGroup is a group as Rego reads it.
type paramGroup struct {
	Name      string   `json:"name"`
	Signers   []string `json:"signers"`
	Threshold int      `json:"threshold"`
}

func (p *Policy) paramGroups() []paramGroup {
	var list []paramGroup
	for _, g := range p.GroupsInForce() {
		list = append(list, paramGroup(g))
	}
	return list
}

// groupsOf are groups as Rego reads them, whose signers are named as in verdicts.
func groupsOf(list []paramGroup) ([]signers.Group, error) {
	var groups []signers.Group
	for _, g := range list {
		if g.Name == "" || g.Threshold < 1 || g.Threshold > len(g.Signers) {
			return nil, fmt.Errorf("%w: parameters: groups: %q has %d signers and the threshold %d; a group has a name, and a threshold of at least 1 that its signers can meet", ErrInvalid, g.Name, len(g.Signers), g.Threshold)
		}
		groups = append(groups, signers.Group(g))
	}
	return groups, nil
}

// canonicalGroup is a group in its one form.
type canonicalGroup struct {
	Name      string   `yaml:"name"`
	Signers   []string `yaml:"signers"`
	Threshold int      `yaml:"threshold"`
}

func (p *Policy) canonicalGroups() []canonicalGroup {
	var list []canonicalGroup
	for _, g := range p.Groups {
		list = append(list, canonicalGroup(g))
	}
	return list
}

func platformsValues() []string {
	return []string{facts.PlatformsIndex, facts.PlatformsRequested, facts.PlatformsEvery}
}

// platforms reads what is asked of an index.
func (d *draft) platforms(n *yaml.Node) {
	s, ok := d.text(n, "platforms")
	if ok && !slices.Contains(platformsValues(), s) {
		d.fail(n, "platforms", "%q is none of %s; left out, the index is signed, or the platform that was asked for", s, strings.Join(platformsValues(), ", "))
	}
	d.policy.Platforms = s
}
