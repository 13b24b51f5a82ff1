package signingpolicy

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/signet-policy/signet/internal/builders"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/signers"
)

// Limits on what a policy says of provenance: all of it is held against each
// attestation.
const (
	maxTrustedBuilders = 200
	maxTrustedSources  = 1000
)

// SLSA is what a policy asks of SLSA provenance.
type SLSA struct {
	// Required asks for provenance; false only says whose is shown in the verdict.
	Required bool
	// MinimumLevel is the SLSA Build level that it proves, 1 to 3; 0 where it is not
	// required.
	MinimumLevel int
	// Builders are those that are trusted, at least one: the provenance of others
	// counts for nothing.
	Builders []TrustedBuilder
	// Sources are the repositories that may be built; none: those of the policy's
	// TrustedSources.
	Sources []TrustedSource
	// Parameters is a JSON object, each leaf of which the build's parameters have;
	// nil for none.
	Parameters json.RawMessage
}

// TrustedBuilder is a builder whose provenance counts.
type TrustedBuilder struct {
	// Builder is a repository, a workflow in it, or either at a ref, see
	// [builders.TrustedBuilder]; Version and Commits bound where it is at.
	Builder string   `json:"builder"`
	Version string   `json:"version,omitempty"`
	Commits []string `json:"commits,omitempty"`
	// Signers are trusted signers of the policy, by name, of which one made the
	// signature; none: any identity. A builder without an issuer of its own has no
	// identity but that of its signers, so for such a one they are needed.
	Signers []string `json:"signers,omitempty"`
	// TrustRoots are the names of the trust roots that may vouch for the identity;
	// none: those of the builder's profile.
	TrustRoots []string `json:"trust_roots,omitempty"`
}

// TrustedSource is a repository, or all below an owner, and perhaps the refs of
// which one was built: patterns of full refs, of tags and of branches.
type TrustedSource struct {
	Repository string   `json:"repository"`
	Refs       []string `json:"refs,omitempty"`
	Tags       []string `json:"tags,omitempty"`
	Branches   []string `json:"branches,omitempty"`
}

func (b TrustedBuilder) compile() (builders.TrustedBuilder, error) {
	return builders.NewTrustedBuilder(b.Builder, b.Version, b.Commits)
}

func (s TrustedSource) compile() (builders.TrustedSource, error) {
	return builders.NewTrustedSource(s.Repository, s.Refs, s.Tags, s.Branches)
}

// slsaDraft is the section slsa while it is read: where each field stands, nil for
// what is not there.
type slsaDraft struct {
	require, level, sources, parameters *yaml.Node
	required, named                     bool // named: there are trusted builders, in order or not
	want                                int
	buildersAt                          []*yaml.Node
	section                             SLSA
}

func (d *draft) slsaSection(n *yaml.Node) {
	s := &d.slsa
	d.mapping(n, "slsa.", map[string]func(*yaml.Node){
		"require_attestation": func(n *yaml.Node) { s.require, s.required = n, d.boolean(n, "slsa.require_attestation") },
		"minimum_level": func(n *yaml.Node) {
			s.level, s.want = n, d.integer(n, "slsa.minimum_level")
			switch {
			case s.want < 0:
				d.fail(n, "slsa.minimum_level", "%d is not a level; levels are 0 to 3", s.want)
			case s.want > 3:
				d.fail(n, "slsa.minimum_level", "%d is not a level of SLSA 1.x, which has three (a fourth was in drafts before it); write 0 to 3", s.want)
			}
		},
		"trusted_builders": func(n *yaml.Node) { d.trustedBuilders(n, "slsa.trusted_builders") },
		"trusted_sources": func(n *yaml.Node) {
			before := len(d.errs)
			if d.trustedSources(n, "slsa.trusted_sources"); len(d.errs) == before {
				s.sources = n
			}
		},
		"parameters": func(n *yaml.Node) { d.buildParameters(n) },
	}, nil)
}

func (d *draft) trustedBuilders(n *yaml.Node, field string) {
	if asksNothing(n) {
		return
	}
	d.slsa.named = true
	items := d.sequence(n, field)
	if len(items) > maxTrustedBuilders {
		d.fail(n, field, "are %d, of at most %d", len(items), maxTrustedBuilders)
		return
	}
	for i, item := range items {
		d.trustedBuilder(item, fmt.Sprintf("%s[%d]", field, i))
	}
}

// trustedBuilder reads the address of a builder, or a mapping that says more.
func (d *draft) trustedBuilder(n *yaml.Node, at string) {
	var b TrustedBuilder
	before := len(d.errs)
	list := func(to *[]string, name string) func(*yaml.Node) {
		return func(n *yaml.Node) {
			*to = d.words(n, at+"."+name)
			if len(*to) == 0 && n.Kind == yaml.SequenceNode {
				d.fail(n, at+"."+name, "is an empty list, which nothing meets; leave it out")
			}
		}
	}
	if n.Kind == yaml.ScalarNode {
		b.Builder = d.str(n, at)
	} else {
		d.mapping(n, at+".", map[string]func(*yaml.Node){
			"builder": func(n *yaml.Node) { b.Builder = d.str(n, at+".builder") },
			"version": func(n *yaml.Node) {
				b.Version = d.word(n, at+".version")
			},
			"commits":     list(&b.Commits, "commits"),
			"signers":     list(&b.Signers, "signers"),
			"trust_roots": list(&b.TrustRoots, "trust_roots"),
		}, nil)
	}
	if len(d.errs) > before {
		return
	}
	if b.Builder == "" {
		d.fail(n, at+".builder", "is missing; write https://host/owner/repository, or a workflow in it")
		return
	}
	if _, err := b.compile(); err != nil {
		d.fail(n, at, "%s", problem(err))
		return
	}
	d.slsa.section.Builders = append(d.slsa.section.Builders, b)
	d.slsa.buildersAt = append(d.slsa.buildersAt, n)
}

// word is text on one line that says something.
func (d *draft) word(n *yaml.Node, at string) string {
	s, ok := d.text(n, at)
	switch {
	case !ok:
	case s == "":
		d.fail(n, at, "is empty; leave it out or fill it in")
	case strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }):
		d.fail(n, at, "has a line break or another control character; write it on one line")
	}
	return s
}

func (d *draft) words(n *yaml.Node, at string) []string {
	var out []string
	for i, item := range d.sequence(n, at) {
		out = append(out, d.word(item, fmt.Sprintf("%s[%d]", at, i)))
	}
	return out
}

// problem is what package builders says, without what every error of it begins
// with.
func problem(err error) string {
	return strings.TrimPrefix(err.Error(), builders.ErrInvalid.Error()+": ")
}

func (d *draft) trustedSources(n *yaml.Node, field string) {
	items := d.sequence(n, field)
	switch {
	case len(items) == 0 && n.Kind == yaml.SequenceNode:
		d.fail(n, field, "is an empty list, which no source meets; leave it out for those of the policy's own trusted_sources, or any")
	case len(items) > maxTrustedSources:
		d.fail(n, field, "are %d, of at most %d", len(items), maxTrustedSources)
		return
	}
	for i, item := range items {
		d.trustedSource(item, fmt.Sprintf("%s[%d]", field, i))
	}
}

// trustedSource reads the address of a repository, or a mapping that says which
// of its refs.
func (d *draft) trustedSource(n *yaml.Node, at string) {
	var s TrustedSource
	before := len(d.errs)
	patterns := func(to *[]string, name string) func(*yaml.Node) {
		return func(n *yaml.Node) {
			switch {
			case n.Kind == yaml.ScalarNode:
				*to = []string{d.word(n, at+"."+name)}
			default:
				if *to = d.words(n, at+"."+name); len(*to) == 0 && n.Kind == yaml.SequenceNode {
					d.fail(n, at+"."+name, "is an empty list, which nothing meets; leave it out")
				}
			}
		}
	}
	if n.Kind == yaml.ScalarNode {
		s.Repository = d.str(n, at)
	} else {
		d.mapping(n, at+".", map[string]func(*yaml.Node){
			"repository": func(n *yaml.Node) { s.Repository = d.str(n, at+".repository") },
			"ref":        patterns(&s.Refs, "ref"),
			"tag":        patterns(&s.Tags, "tag"),
			"branch":     patterns(&s.Branches, "branch"),
		}, map[string]string{"refs": "is called ref, and takes a list too", "tags": "is called tag, and takes a list too", "branches": "is called branch, and takes a list too"})
	}
	if len(d.errs) > before {
		return
	}
	_, err := s.compile()
	switch {
	case s.Repository == "":
		d.fail(n, at+".repository", "is missing; write https://github.com/owner/repository, or https://github.com/owner for all of them")
	case strings.Contains(s.Repository, "*"):
		d.fail(n, at, "%q has a wildcard; write the owner or repository alone, everything below it is meant too", s.Repository)
	case err != nil:
		d.fail(n, at, "%s", problem(err))
	default:
		d.slsa.section.Sources = append(d.slsa.section.Sources, s)
	}
}

func (d *draft) buildParameters(n *yaml.Node) {
	if asksNothing(n) {
		return
	}
	d.slsa.parameters = n
	if n.Kind != yaml.MappingNode {
		d.fail(n, "slsa.parameters", "is %s, and must be a mapping of the build's parameters, such as {workflow: {path: .github/workflows/release.yml}}", kindName(n))
		return
	}
	before := len(d.errs)
	value := values{d.reader, "slsa.parameters", nil}.read(n, "", 0)
	if len(d.errs) > before {
		return
	}
	body, err := facts.Canonical(value)
	if err != nil {
		d.fail(n, "slsa.parameters", "%s", err)
		return
	}
	d.slsa.section.Parameters = body
}

// finishSLSA checks what depends on several fields of the section slsa.
func (d *draft) finishSLSA(n *yaml.Node) {
	s := &d.slsa
	place := func(nodes ...*yaml.Node) *yaml.Node {
		for _, at := range nodes {
			if at != nil {
				return at
			}
		}
		return n
	}
	given := len(s.buildersAt) > 0 || s.parameters != nil
	required := s.required || s.require == nil && s.want > 0
	switch {
	case s.require != nil && !s.required && s.want > 1:
		// The gateway writes minimum_level: 1 even where it asks for no attestation,
		// and then means nothing by it; a higher one was meant.
		d.fail(s.level, "slsa.minimum_level", "%d is wanted, and require_attestation is false; write true, or leave the level out", s.want)
	case s.require == nil && s.want < 1 && given:
		d.fail(place(s.level, s.parameters, firstOf(s.buildersAt)), "slsa.require_attestation",
			"is missing; write true to require provenance, or false where the verdict shall only tell what these builders prove")
	case required && !s.named:
		d.fail(place(s.level, s.require), "slsa.trusted_builders",
			"is missing: provenance counts only when its builder is trusted; name it, for example https://github.com/slsa-framework/slsa-github-generator")
	case !required && s.sources != nil:
		d.signatureSources()
	case !required && s.parameters != nil:
		d.fail(s.parameters, "slsa.parameters", "asks nothing while provenance is not required; write require_attestation: true, or leave it out")
	}
	for i, b := range s.section.Builders {
		d.builderSigners(s.buildersAt[i], fmt.Sprintf("slsa.trusted_builders[%d].signers", i), b.Signers)
	}
	if !required && len(s.section.Builders) == 0 {
		return
	}
	s.section.Required = required
	if required {
		s.section.MinimumLevel = max(1, s.want)
	}
	d.policy.SLSA = &s.section
}

// signatureSources takes slsa.trusted_sources for those of the whole policy: while
// no provenance is required, only signatures can have a source.
func (d *draft) signatureSources() {
	s := &d.slsa
	for _, source := range s.section.Sources {
		if len(source.Refs)+len(source.Tags)+len(source.Branches) > 0 {
			d.fail(s.sources, "slsa.trusted_sources", "names refs of %s, and only provenance is asked for those; write require_attestation: true, or the repository alone", source.Repository)
			return
		}
	}
	s.section.Sources = nil
	d.once(d.written, s.sources, "trusted_sources", "slsa.trusted_sources")
	d.sources(s.sources, "slsa.trusted_sources")
}

func firstOf(list []*yaml.Node) *yaml.Node {
	if len(list) == 0 {
		return nil
	}
	return list[0]
}

// builderSigners refuses names that no trusted signer of the policy has.
func (d *draft) builderSigners(n *yaml.Node, field string, names []string) {
	p := d.policy
	for _, name := range names {
		inline := slices.ContainsFunc(p.Inline, func(s signers.Signer) bool { return s.Name == name })
		registered := p.UseRegistered && signers.ValidName(name) == nil && (len(p.RegisteredNames) == 0 || slices.Contains(p.RegisteredNames, name))
		if inline || registered {
			continue
		}
		d.fail(n, field, "%q is no trusted signer of this policy; its own are named %s/1 and so on by their position, registered ones count through {type: registry}", name, p.Name)
	}
}

// paramSLSA is the section as Rego reads it.
type paramSLSA struct {
	RequireAttestation bool             `json:"require_attestation"`
	MinimumLevel       int              `json:"minimum_level"`
	TrustedBuilders    []TrustedBuilder `json:"trusted_builders"`
	TrustedSources     []TrustedSource  `json:"trusted_sources"` // null: any
	Parameters         json.RawMessage  `json:"parameters,omitempty"`
}

// provenanceSources are the sources that provenance may be of: those of the
// section, else those of the whole policy; none: any.
func (p *Policy) provenanceSources() []TrustedSource {
	if p.SLSA == nil || len(p.SLSA.Sources) > 0 {
		return slices.Clone(p.SLSA.ownSources())
	}
	var list []TrustedSource
	for _, s := range p.TrustedSources {
		list = append(list, TrustedSource{Repository: s})
	}
	return list
}

func (s *SLSA) ownSources() []TrustedSource {
	if s == nil {
		return nil
	}
	return s.Sources
}

func (p *Policy) paramSLSA() *paramSLSA {
	if p.SLSA == nil {
		return nil
	}
	return &paramSLSA{p.SLSA.Required, p.SLSA.MinimumLevel, p.SLSA.Builders, p.provenanceSources(), p.SLSA.Parameters}
}

// asked is the section that parameters were made of.
func (s *paramSLSA) asked() (*SLSA, error) {
	if s == nil {
		return nil, nil
	}
	switch {
	case s.MinimumLevel < 0 || s.MinimumLevel > 3 || s.RequireAttestation != (s.MinimumLevel > 0):
		return nil, fmt.Errorf("minimum_level: %d beside require_attestation: %t; it is 1 to 3 where provenance is required, else 0", s.MinimumLevel, s.RequireAttestation)
	case len(s.TrustedBuilders) == 0:
		return nil, fmt.Errorf("trusted_builders: is missing; provenance counts only when its builder is trusted")
	}
	for _, b := range s.TrustedBuilders {
		if _, err := b.compile(); err != nil {
			return nil, fmt.Errorf("trusted_builders: %s", problem(err))
		}
	}
	for _, t := range s.TrustedSources {
		if _, err := t.compile(); err != nil {
			return nil, fmt.Errorf("trusted_sources: %s", problem(err))
		}
	}
	return &SLSA{s.RequireAttestation, s.MinimumLevel, s.TrustedBuilders, s.TrustedSources, s.Parameters}, nil
}

// canonicalSLSA is the section in its one form.
type canonicalSLSA struct {
	RequireAttestation bool               `yaml:"require_attestation"`
	MinimumLevel       int                `yaml:"minimum_level,omitempty"`
	TrustedBuilders    []canonicalBuilder `yaml:"trusted_builders"`
	TrustedSources     []canonicalSource  `yaml:"trusted_sources,omitempty"`
	Parameters         *yaml.Node         `yaml:"parameters,omitempty"`
}

type canonicalBuilder TrustedBuilder

// MarshalYAML implements yaml.Marshaler: an address alone is written alone.
func (b canonicalBuilder) MarshalYAML() (any, error) {
	if b.Version == "" && len(b.Commits)+len(b.Signers)+len(b.TrustRoots) == 0 {
		return b.Builder, nil
	}
	return struct {
		Builder    string   `yaml:"builder"`
		Version    string   `yaml:"version,omitempty"`
		Commits    []string `yaml:"commits,omitempty"`
		Signers    []string `yaml:"signers,omitempty"`
		TrustRoots []string `yaml:"trust_roots,omitempty"`
	}{b.Builder, b.Version, b.Commits, b.Signers, b.TrustRoots}, nil
}

type canonicalSource TrustedSource

// MarshalYAML implements yaml.Marshaler: an address alone is written alone.
func (s canonicalSource) MarshalYAML() (any, error) {
	if len(s.Refs)+len(s.Tags)+len(s.Branches) == 0 {
		return s.Repository, nil
	}
	return struct {
		Repository string   `yaml:"repository"`
		Ref        []string `yaml:"ref,omitempty"`
		Tag        []string `yaml:"tag,omitempty"`
		Branch     []string `yaml:"branch,omitempty"`
	}{s.Repository, s.Refs, s.Tags, s.Branches}, nil
}

func (p *Policy) canonicalSLSA() (*canonicalSLSA, error) {
	if p.SLSA == nil {
		return nil, nil
	}
	c := &canonicalSLSA{RequireAttestation: p.SLSA.Required, MinimumLevel: p.SLSA.MinimumLevel}
	for _, b := range p.SLSA.Builders {
		c.TrustedBuilders = append(c.TrustedBuilders, canonicalBuilder(b))
	}
	for _, s := range p.SLSA.Sources {
		c.TrustedSources = append(c.TrustedSources, canonicalSource(s))
	}
	if len(p.SLSA.Parameters) > 0 {
		node, err := parametersNode(p.SLSA.Parameters)
		if err != nil {
			return nil, fmt.Errorf("slsa: %w", err)
		}
		c.Parameters = node
	}
	return c, nil
}
