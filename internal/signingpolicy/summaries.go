package signingpolicy

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/signet-policy/signet/internal/glob"
)

// maxSummaries bounds the entries of verification_summaries: each is held against
// every summary of an image.
const maxSummaries = 50

// Summaries says whose verification summaries stand in for provenance.
type Summaries struct {
	// Verifiers are trusted signers of the policy, by name, of which one made the
	// signature; at least one.
	Verifiers []string
	// VerifierID is the URI that the summary must give as its verifier's, to the
	// letter.
	VerifierID string
	// PolicyURI and PolicyDigest are what the summary must say it was made under; "":
	// any policy.
	PolicyURI, PolicyDigest string
	// MaxAge bounds the age by the time that the summary gives, and by the time of
	// its signature where that is known. It is in whole seconds and more than 0.
	MaxAge time.Duration
	// MinimumLevel is the SLSA Build level that it must give, 0 to 3; 0 asks for a
	// pass alone.
	MinimumLevel int
	// Resources are globs of image names that it may be about beside the image's own:
	// those that the image was copied from.
	Resources []string
}

// paramSummary is [Summaries] as the rules read it.
type paramSummary struct {
	Verifiers    []string `json:"verifiers"`
	VerifierID   string   `json:"verifier_id"`
	PolicyURI    string   `json:"policy_uri,omitempty"`
	PolicyDigest string   `json:"policy_digest,omitempty"`
	MaxAge       int64    `json:"max_age"` // in seconds
	MinimumLevel int      `json:"minimum_level"`
	Resources    []string `json:"resources,omitempty"`
}

// canonicalSummary is [Summaries] in its one form.
type canonicalSummary struct {
	Verifiers    []string `yaml:"verifiers"`
	VerifierID   string   `yaml:"verifier_id"`
	PolicyURI    string   `yaml:"policy_uri,omitempty"`
	PolicyDigest string   `yaml:"policy_digest,omitempty"`
	MaxAge       string   `yaml:"max_age"`
	MinimumLevel int      `yaml:"minimum_level,omitempty"`
	Resources    []string `yaml:"resources,omitempty"`
}

func (p *Policy) paramSummaries() []paramSummary {
	var list []paramSummary
	for _, s := range p.Summaries {
		list = append(list, paramSummary{s.Verifiers, s.VerifierID, s.PolicyURI, s.PolicyDigest, int64(s.MaxAge / time.Second), s.MinimumLevel, s.Resources})
	}
	return list
}

// summaries takes what a file with parameters says.
func summaries(list []paramSummary) ([]Summaries, error) {
	var out []Summaries
	for i, s := range list {
		const longest = int64(100*365*24*time.Hour) / int64(time.Second)
		switch {
		case len(s.Verifiers) == 0 || s.VerifierID == "":
			return nil, fmt.Errorf("%w: parameters: verification_summaries[%d]: wants verifiers and verifier_id", ErrInvalid, i)
		case s.MaxAge < 1 || s.MaxAge > longest:
			return nil, fmt.Errorf("%w: parameters: verification_summaries[%d].max_age: %d is not a number of seconds, at least 1", ErrInvalid, i, s.MaxAge)
		case s.MinimumLevel < 0 || s.MinimumLevel > 3:
			return nil, fmt.Errorf("%w: parameters: verification_summaries[%d].minimum_level: %d is not a level; levels are 0 to 3", ErrInvalid, i, s.MinimumLevel)
		}
		out = append(out, Summaries{s.Verifiers, s.VerifierID, s.PolicyURI, s.PolicyDigest, time.Duration(s.MaxAge) * time.Second, s.MinimumLevel, s.Resources})
	}
	return out, nil
}

func (p *Policy) canonicalSummaries() []canonicalSummary {
	var list []canonicalSummary
	for _, s := range p.Summaries {
		list = append(list, canonicalSummary{s.Verifiers, s.VerifierID, s.PolicyURI, s.PolicyDigest, Age(s.MaxAge).String(), s.MinimumLevel, s.Resources})
	}
	return list
}

// verificationSummaries reads whose summaries count. Whether the verifiers are among
// the signers is told when all are read.
func (d *draft) verificationSummaries(n *yaml.Node) {
	const field = "verification_summaries"
	if asksNothing(n) {
		return
	}
	items := d.sequence(n, field)
	if len(items) > maxSummaries {
		d.fail(n, field, "are %d, of at most %d", len(items), maxSummaries)
		return
	}
	for i, item := range items {
		d.verificationSummary(item, fmt.Sprintf("%s[%d]", field, i))
	}
}

func (d *draft) verificationSummary(n *yaml.Node, at string) {
	var s Summaries
	before := len(d.errs)
	given := map[string]bool{}
	field := func(name string, read func(*yaml.Node, string)) func(*yaml.Node) {
		return func(n *yaml.Node) { given[name] = true; read(n, at+"."+name) }
	}
	d.mapping(n, at+".", map[string]func(*yaml.Node){
		"verifiers":     field("verifiers", func(n *yaml.Node, at string) { s.Verifiers = d.names(n, at) }),
		"verifier_id":   field("verifier_id", func(n *yaml.Node, at string) { s.VerifierID = d.uri(n, at) }),
		"policy_uri":    field("policy_uri", func(n *yaml.Node, at string) { s.PolicyURI = d.uri(n, at) }),
		"policy_digest": field("policy_digest", func(n *yaml.Node, at string) { s.PolicyDigest = d.sha256(n, at) }),
		"max_age":       field("max_age", func(n *yaml.Node, at string) { s.MaxAge = time.Duration(d.age(n, at)) }),
		"minimum_level": field("minimum_level", func(n *yaml.Node, at string) {
			switch s.MinimumLevel = d.integer(n, at); {
			case s.MinimumLevel > 3:
				d.fail(n, at, "%d is not a level of SLSA 1.x, which has three; write 0 to 3", s.MinimumLevel)
			case s.MinimumLevel < 0:
				d.fail(n, at, "%d is not a level; levels are 0 to 3", s.MinimumLevel)
			}
		}),
		"resources": field("resources", func(n *yaml.Node, at string) {
			s.Resources = d.names(n, at)
			for i, r := range s.Resources {
				if _, err := glob.Compile(r); err != nil {
					d.failLines(n, fmt.Sprintf("%s[%d]", at, i), err)
				}
			}
		}),
	}, map[string]string{"signers": "is called verifiers here"})
	for _, f := range []struct{ name, want string }{
		{"verifiers", "name the trusted signers whose summaries count"},
		{"verifier_id", "write the URI that the summaries give as their verifier's"},
		{"max_age", "say how old a summary may be, such as 7d: one that is never too old would outlive every change of its policy"},
	} {
		if !given[f.name] && n.Kind == yaml.MappingNode {
			d.fail(n, at+"."+f.name, "is missing; %s", f.want)
		}
	}
	if len(d.errs) == before {
		d.policy.Summaries = append(d.policy.Summaries, s)
		d.summariesAt = append(d.summariesAt, n)
	}
}

// names reads a list of strings that has at least one, and none twice.
func (d *draft) names(n *yaml.Node, at string) []string {
	list := d.strings(n, at)
	if len(list) == 0 && n.Kind == yaml.SequenceNode {
		d.fail(n, at, "is an empty list, which nothing meets; leave it out or fill it in")
	}
	for i, s := range list {
		switch {
		case s == "":
			d.fail(n.Content[i], fmt.Sprintf("%s[%d]", at, i), "is empty")
		case slices.Contains(list[:i], s):
			d.fail(n.Content[i], fmt.Sprintf("%s[%d]", at, i), "%q is there twice", s)
		}
	}
	return list
}

// uri reads an absolute URI, which is compared to the letter.
func (d *draft) uri(n *yaml.Node, at string) string {
	s, ok := d.text(n, at)
	if !ok {
		return ""
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme == "" || u.Host == "" && u.Opaque == "" && u.Path == "" || strings.ContainsAny(s, " \t\r\n") {
		d.fail(n, at, "%q is no absolute URI, such as https://example.com/signet", s)
	}
	return s
}

func (d *draft) sha256(n *yaml.Node, at string) string {
	s, ok := d.text(n, at)
	hex, prefixed := strings.CutPrefix(s, "sha256:")
	if ok && (!prefixed || len(hex) != 64 || strings.Trim(hex, "0123456789abcdef") != "") {
		d.fail(n, at, "%q is no digest; write sha256: and 64 hex digits in lower case", s)
	}
	return s
}

// finishSummaries holds the verifiers against the signers, and gives the nearest
// name of one that is not among them.
func (d *draft) finishSummaries() {
	p := d.policy
	known := make([]string, 0, len(p.Inline)+len(p.RegisteredNames))
	for _, s := range p.Inline {
		known = append(known, s.Name)
	}
	known = append(known, p.RegisteredNames...)
	for i, s := range p.Summaries {
		for _, name := range s.Verifiers {
			// Any registered signer may be meant where all of them count.
			open := p.UseRegistered && len(p.RegisteredNames) == 0 && !strings.HasPrefix(name, p.Name+"/")
			if slices.Contains(known, name) || open {
				continue
			}
			hint := "this policy trusts nobody"
			if len(known) > 0 {
				hint = "there are " + strings.Join(known, ", ")
			}
			d.fail(d.summariesAt[i], fmt.Sprintf("verification_summaries[%d].verifiers", i), "%q is none of the trusted signers of this policy; %s", name, hint)
		}
	}
}
