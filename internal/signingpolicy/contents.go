package signingpolicy

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/glob"
)

// RequirementBaseImage is the name of the requirement that contents.base_images makes.
const RequirementBaseImage = "base_image"

// Contents are demands on what attestations say. Those but BaseImages are made of the
// attestations that the policy requires, by the kind of their type: one that does not
// meet them does not count. It is the same in the canonical form and in the parameters
// that Rego reads.
type Contents struct {
	// Licences of what a bill of materials lists.
	Licences *Licences `yaml:"licences,omitempty" json:"licences,omitempty"`
	// Vulnerabilities that a scan finds.
	Vulnerabilities *Vulnerabilities `yaml:"vulnerabilities,omitempty" json:"vulnerabilities,omitempty"`
	// Tests that a test result tells of.
	Tests *Tests `yaml:"tests,omitempty" json:"tests,omitempty"`
	// BaseImages that the image is built on.
	BaseImages *BaseImages `yaml:"base_images,omitempty" json:"base_images,omitempty"`
}

// Whether what is not known, or not mended, denies.
const (
	UnknownDeny  = "deny"
	UnknownAllow = "allow"
)

// Licences that components may have, as SPDX identifiers with "*" for anything.
type Licences struct {
	// Denied are those that they may not have; none: those of Allowed alone are fine.
	Denied []string `yaml:"denied,omitempty" json:"denied,omitempty"`
	// Allowed are fine, whatever Denied says; "X WITH exception" is that alone.
	Allowed []string `yaml:"allowed,omitempty" json:"allowed,omitempty"`
	// Unstated is UnknownDeny or UnknownAllow: of components without any licence.
	Unstated string `yaml:"unstated" json:"unstated"`
}

// Vulnerabilities that a scan may find.
type Vulnerabilities struct {
	// MaximumSeverity is one of severities; worse ones deny.
	MaximumSeverity string `yaml:"maximum_severity" json:"maximum_severity"`
	// UnknownSeverity and Unfixed are UnknownDeny or UnknownAllow: of findings without a
	// severity, and of those that nothing mends yet.
	UnknownSeverity string `yaml:"unknown_severity" json:"unknown_severity"`
	Unfixed         string `yaml:"unfixed" json:"unfixed"`
	// DatabaseMaxAge is how old the scanner's data may be; 0: it is not asked for.
	DatabaseMaxAge Age `yaml:"database_max_age,omitempty" json:"database_max_age,omitempty"`
	// VEX says whose statements excuse a finding; nil: none does.
	VEX *VEX `yaml:"vex,omitempty" json:"vex,omitempty"`
}

// VEX says which statements about vulnerabilities count.
type VEX struct {
	// Signers who may have signed; none: any trusted one of the policy.
	Signers []string `yaml:"signers,omitempty" json:"signers,omitempty"`
	// MaxAge since signing; 0: they do not get too old.
	MaxAge Age `yaml:"max_age,omitempty" json:"max_age,omitempty"`
}

// Tests that must have passed.
type Tests struct {
	// Result is the worst that will do: "PASSED" or "WARNED".
	Result string `yaml:"result" json:"result"`
	// Passed are the names of tests that must be among those that passed.
	Passed []string `yaml:"passed,omitempty" json:"passed,omitempty"`
}

// BaseImages that an image may be built on.
type BaseImages struct {
	// Allowed are patterns of names, "host/path", with ":tag" or "@sha256:…" or both
	// where they are to be that one.
	Allowed []string `yaml:"allowed" json:"allowed"`
	// Signers whose word is taken; none: any trusted one of the policy.
	Signers []string `yaml:"signers,omitempty" json:"signers,omitempty"`
}

// severities that a policy can let pass, in rising order.
func severities() []string { return []string{"none", "negligible", "low", "medium", "high"} }

// contents reads what attestations must say.
func (d *draft) contents(n *yaml.Node) {
	if asksNothing(n) {
		return
	}
	d.contentsAt = map[string]*yaml.Node{}
	section := func(name string, read func(*yaml.Node)) func(*yaml.Node) {
		return func(n *yaml.Node) { d.contentsAt[name] = n; read(n) }
	}
	d.mapping(n, "contents.", map[string]func(*yaml.Node){
		"licences":        section("licences", d.licences),
		"vulnerabilities": section("vulnerabilities", d.vulnerabilities),
		"tests":           section("tests", d.tests),
		"base_images":     section("base_images", d.baseImages),
	}, map[string]string{
		"licenses": "is written licences here", "sbom": "is asked for with attestations: [{predicate_type: spdx}]",
		"vex": "belongs into contents.vulnerabilities",
	})
}

func (d *draft) licences(n *yaml.Node) {
	const at = "contents.licences"
	l := &Licences{Unstated: UnknownDeny}
	d.policy.Contents.Licences = l
	list := func(to *[]string, field string) func(*yaml.Node) {
		return func(n *yaml.Node) { *to = d.licenceNames(n, at+"."+field) }
	}
	d.mapping(n, at+".", map[string]func(*yaml.Node){
		"denied": list(&l.Denied, "denied"), "allowed": list(&l.Allowed, "allowed"),
		"unstated": func(n *yaml.Node) { l.Unstated = d.oneOf(n, at+".unstated", UnknownDeny, UnknownAllow) },
	}, map[string]string{"unknown": "is not asked: a licence that is no SPDX identifier is denied unless allowed names it"})
	if n.Kind == yaml.MappingNode && !hasKey(n, "denied") && !hasKey(n, "allowed") {
		d.fail(n, at, "names no licence; write denied, for those that no component may have, or allowed, for the only ones that they may have")
	}
}

// licencePattern is an SPDX identifier, or a name where identifiers end, with "*" for
// anything, and an exception behind WITH.
var licencePattern = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`\A[A-Za-z0-9.*:+_-]+(?: WITH [A-Za-z0-9.*:_-]+)?\z`)
})

func (d *draft) licenceNames(n *yaml.Node, at string) []string {
	names := d.strings(n, at)
	if len(names) == 0 && n.Kind == yaml.SequenceNode {
		d.fail(n, at, "is an empty list; leave it out or name licences")
	}
	for i, name := range names {
		field := fmt.Sprintf("%s[%d]", at, i)
		switch {
		case strings.Contains(name, " AND ") || strings.Contains(name, " OR "):
			d.fail(n.Content[i], field, "%q is an expression; write each licence alone, expressions of components are understood", name)
		case strings.Trim(name, "*") == "":
			d.fail(n.Content[i], field, "%q is any licence; name those that are meant", name)
		case !licencePattern().MatchString(name):
			d.fail(n.Content[i], field, "%q is not the name of a licence; write an SPDX identifier such as Apache-2.0, a pattern such as GPL-*, or Name WITH exception", name)
		}
	}
	return names
}

func (d *draft) vulnerabilities(n *yaml.Node) {
	const at = "contents.vulnerabilities"
	v := &Vulnerabilities{UnknownSeverity: UnknownDeny, Unfixed: UnknownDeny}
	d.policy.Contents.Vulnerabilities = v
	word := func(to *string, field string, words ...string) func(*yaml.Node) {
		return func(n *yaml.Node) { *to = d.oneOf(n, at+"."+field, words...) }
	}
	d.mapping(n, at+".", map[string]func(*yaml.Node){
		"maximum_severity": word(&v.MaximumSeverity, "maximum_severity", severities()...),
		"unknown_severity": word(&v.UnknownSeverity, "unknown_severity", UnknownDeny, UnknownAllow),
		"unfixed":          word(&v.Unfixed, "unfixed", UnknownDeny, UnknownAllow),
		"database_max_age": func(n *yaml.Node) { v.DatabaseMaxAge = d.age(n, at+".database_max_age") },
		"vex":              func(n *yaml.Node) { v.VEX = d.vex(n, at+".vex") },
	}, map[string]string{
		"max_age": "is said where the scan is required, in attestations", "signers": "are said where the scan is required, in attestations",
	})
	if n.Kind == yaml.MappingNode && !hasKey(n, "maximum_severity") {
		d.fail(n, at+".maximum_severity", "is missing; write the worst severity that may be there, one of %s", strings.Join(severities(), ", "))
	}
}

func (d *draft) vex(n *yaml.Node, at string) *VEX {
	v := &VEX{}
	s := namedSigners{at: at, list: n}
	d.mapping(n, at+".", map[string]func(*yaml.Node){
		"signers": func(n *yaml.Node) { s.list = n; v.Signers = d.signerNames(n, at+".signers") },
		"max_age": func(n *yaml.Node) { v.MaxAge = d.age(n, at+".max_age") },
	}, nil)
	s.names = v.Signers
	d.named = append(d.named, s)
	return v
}

func (d *draft) tests(n *yaml.Node) {
	const at = "contents.tests"
	t := &Tests{Result: "PASSED"}
	d.policy.Contents.Tests = t
	d.mapping(n, at+".", map[string]func(*yaml.Node){
		"result": func(n *yaml.Node) { t.Result = d.oneOf(n, at+".result", "PASSED", "WARNED") },
		"passed": func(n *yaml.Node) {
			t.Passed = d.strings(n, at+".passed")
			if len(t.Passed) == 0 && n.Kind == yaml.SequenceNode {
				d.fail(n, at+".passed", "is an empty list; leave it out or name tests")
			}
			for i, name := range t.Passed {
				if name == "" {
					d.fail(n.Content[i], fmt.Sprintf("%s.passed[%d]", at, i), "is empty; name a test")
				}
			}
		},
	}, nil)
}

// imagePattern is a pattern of names, with a tag or a digest or both behind it. A
// host may have a port, so that a tag has no slash.
var imagePattern = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`\A([^@]+?)(:[A-Za-z0-9_*][A-Za-z0-9._*-]{0,127})?(@sha256:[0-9a-f]{64})?\z`)
})

func (d *draft) baseImages(n *yaml.Node) {
	const at = "contents.base_images"
	b := &BaseImages{}
	d.policy.Contents.BaseImages = b
	s := namedSigners{at: at, list: n}
	d.mapping(n, at+".", map[string]func(*yaml.Node){
		"allowed": func(n *yaml.Node) { b.Allowed = d.basePatterns(n, at+".allowed") },
		"signers": func(n *yaml.Node) { s.list = n; b.Signers = d.signerNames(n, at+".signers") },
	}, nil)
	s.names = b.Signers
	d.named = append(d.named, s)
	if n.Kind == yaml.MappingNode && !hasKey(n, "allowed") {
		d.fail(n, at+".allowed", "is missing; name the images that may be built on, such as docker.io/library/debian:12 or gcr.io/distroless/**")
	}
}

// basePatterns gives patterns with the names of hosts that images have.
func (d *draft) basePatterns(n *yaml.Node, at string) []string {
	var out []string
	for i, pattern := range d.strings(n, at) {
		field := fmt.Sprintf("%s[%d]", at, i)
		m := imagePattern().FindStringSubmatch(pattern)
		if m == nil {
			d.fail(n.Content[i], field, "%q is not a pattern of images; write host/path, with :tag, @sha256:… or both behind it where it is to be that one", pattern)
			continue
		}
		g, err := glob.Compile(m[1])
		if err != nil {
			d.failLines(n.Content[i], field, err)
			continue
		}
		out = append(out, g.String()+m[2]+m[3])
	}
	if len(out) == 0 && n.Kind == yaml.SequenceNode && len(n.Content) == 0 {
		d.fail(n, at, "is an empty list, so no image could be built on; name those that may be")
	}
	return out
}

// finishContents makes sure that there is an attestation of which each demand is made,
// and that a scan gets too old.
func (d *draft) finishContents() {
	p := d.policy
	required := map[string][]int{}
	for i, a := range p.Attestations {
		_, kind := predicateTypes(a.PredicateType)
		required[kind] = append(required[kind], i)
	}
	for _, c := range []struct{ section, kind, what, example string }{
		{"licences", facts.ProjectionSBOM, "bills of materials", "{predicate_type: spdx, signers: […]}"},
		{"vulnerabilities", facts.ProjectionScan, "scans", "{predicate_type: vuln, signers: […], max_age: 1d}"},
		{"tests", facts.ProjectionTestResult, "test results", "{predicate_type: test-result, signers: […]}"},
	} {
		n := d.contentsAt[c.section]
		if n == nil {
			continue
		}
		if len(required[c.kind]) == 0 {
			d.fail(n, "contents."+c.section, "is about %s, and the policy requires none: add %s to attestations", c.what, c.example)
		}
		for _, i := range required[c.kind] {
			at := fmt.Sprintf("attestations[%d]", i)
			if c.section == "vulnerabilities" && p.Attestations[i].MaxAge == 0 {
				d.fail(d.attestationsAt[i], at+".max_age", "is missing: contents.vulnerabilities judges this scan, and one that never gets too old says nothing about what is found later")
			}
			// One of each for two signers is found out by counting; for three it takes the
			// assignment, which is computed before contents are judged.
			if p.Attestations[i].Count > 2 {
				d.fail(d.attestationsAt[i], at+".count", "%d is more than the 2 that can be asked for where contents.%s judges what each of them says", p.Attestations[i].Count, c.section)
			}
		}
	}
}

// empty says that nothing is asked for.
func (c Contents) empty() bool { return c == Contents{} }

// requiresSomething says that there is anything that an image could satisfy.
func (p *Policy) requiresSomething() bool {
	return p.needsSigners() || p.SLSA != nil && p.SLSA.Required
}

// pointer is nil where nothing is asked for, so that nothing is written.
// needsSigners says whether somebody must be trusted for the policy to be met; a builder
// is trusted by itself.
func (p *Policy) needsSigners() bool {
	return p.RequireSignature || len(p.Attestations) > 0 || p.Contents.BaseImages != nil || len(p.Summaries) > 0
}

func (c *Contents) pointer() *Contents {
	if c.empty() {
		return nil
	}
	return c
}

// wellFormed checks what came as parameters and not through the parser: Rego would
// not know what to do with other words.
func (c *Contents) wellFormed() error {
	words := func(field, word string, of ...string) error {
		if !slices.Contains(of, word) {
			return fmt.Errorf("contents.%s: %q is none of %s", field, word, strings.Join(of, ", "))
		}
		return nil
	}
	if l := c.Licences; l != nil {
		if err := words("licences.unstated", l.Unstated, UnknownDeny, UnknownAllow); err != nil {
			return err
		}
	}
	if v := c.Vulnerabilities; v != nil {
		for _, err := range []error{
			words("vulnerabilities.maximum_severity", v.MaximumSeverity, severities()...),
			words("vulnerabilities.unknown_severity", v.UnknownSeverity, UnknownDeny, UnknownAllow),
			words("vulnerabilities.unfixed", v.Unfixed, UnknownDeny, UnknownAllow),
		} {
			if err != nil {
				return err
			}
		}
	}
	if t := c.Tests; t != nil {
		return words("tests.result", t.Result, "PASSED", "WARNED")
	}
	return nil
}
