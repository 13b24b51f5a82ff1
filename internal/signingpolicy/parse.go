package signingpolicy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/signet-policy/signet/internal/glob"
	"github.com/signet-policy/signet/internal/signers"
	"github.com/signet-policy/signet/internal/verdict"
)

// maxBytes bounds a policy; real ones are a few kilobytes.
const maxBytes = 1 << 20

// Parse reads a signing policy: a document whose one key is signing_policy, or
// what would stand below that key. Errors wrap [ErrInvalid].
func Parse(body []byte) (*Policy, error) {
	root, err := inner(body, maxBytes)
	if err != nil {
		return nil, err
	}
	return FromNode(root)
}

// inner is what stands below signing_policy, or the whole document where that
// key is left out.
func inner(body []byte, most int) (*yaml.Node, error) {
	root, err := document(body, most)
	if err != nil {
		return nil, err
	}
	if root.Kind == yaml.MappingNode && hasKey(root, "signing_policy") {
		r := &reader{}
		var inner *yaml.Node
		r.mapping(root, "", map[string]func(*yaml.Node){"signing_policy": func(n *yaml.Node) { inner = n }}, nil)
		if err := r.err(); err != nil {
			return nil, err
		}
		root = inner
	}
	return root, nil
}

// document reads the one YAML document there is.
func document(body []byte, most int) (*yaml.Node, error) {
	r := &reader{}
	if len(body) > most {
		r.fail(nil, "", "the document is larger than %d bytes", most)
		return nil, r.err()
	}
	dec := yaml.NewDecoder(bytes.NewReader(body))
	var doc, more yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		r.fail(nil, "", "the document is empty; write signing_policy: and what you require")
	case err != nil:
		r.failYAML(err)
	default:
		if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
			r.fail(&more, "", "a second document begins; a policy is one document")
		}
	}
	if err := r.err(); err != nil {
		return nil, err
	}
	return doc.Content[0], nil
}

func hasKey(m *yaml.Node, key string) bool {
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			return true
		}
	}
	return false
}

// Why a field is refused whatever it asks for.
const (
	later   = "is enforced by a later version and refused until then; leave it out"
	noTools = "has no use, because Signet verifies by itself and runs no cosign; leave it out"
)

// isPolicyName accepts up to 63 lower-case letters, digits and dashes, of which no
// dash is first.
func isPolicyName(s string) bool {
	return s != "" && len(s) <= 63 && s[0] != '-' && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// draft is a policy while it is read, with the places of what was said.
type draft struct {
	*reader
	policy    *Policy
	signersAt *yaml.Node
	shadowAt  *yaml.Node
	threshold *yaml.Node
	// summariesAt are where the verification summaries of the policy stand.
	summariesAt []*yaml.Node
	// inlineNames are the names that the policy's own signers were given, "" for none,
	// and groupsAt where groups stand.
	inlineNames []string
	groupsAt    []*yaml.Node
	// parametersAt is nil where there are none.
	parametersAt *yaml.Node
	// registered says that this is a list of registered signers and no policy;
	// they are collected in entries.
	registered bool
	entries    []Entry
	lines      map[string]int // of entries, by name
	named      []namedSigners
	contentsAt map[string]*yaml.Node // sections of contents, where written
	// attestationsAt are where the required attestations stand.
	attestationsAt []*yaml.Node
	written        map[string]string // what was said, and by which field
	slsa           slsaDraft
}

// FromNode reads what stands below signing_policy. Errors wrap [ErrInvalid] and
// name lines of the document that the node is from.
func FromNode(n *yaml.Node) (*Policy, error) { return fromNode(n, DefaultName) }

// fromNode is FromNode with the name of a policy that gives itself none.
func fromNode(n *yaml.Node, name string) (*Policy, error) {
	d := &draft{reader: &reader{}, written: map[string]string{}, policy: &Policy{
		Name: name, Mode: verdict.Enforce, RequireSignature: true, VerifyTransparencyLog: true, Threshold: 1,
	}}
	p := d.policy
	d.mapping(n, "", map[string]func(*yaml.Node){
		"name":                    func(n *yaml.Node) { p.Name = d.name(n) },
		"mode":                    func(n *yaml.Node) { p.Mode = d.mode(n) },
		"require_signature":       d.flag(&p.RequireSignature, "require_signature", ""),
		"verify_transparency_log": d.flag(&p.VerifyTransparencyLog, "verify_transparency_log", ""),
		"threshold":               func(n *yaml.Node) { p.Threshold = d.count(n) },
		"images":                  func(n *yaml.Node) { d.images(n) },
		"context":                 d.context,
		"trusted_signers":         func(n *yaml.Node) { d.signers(n, "trusted_signers", d.typedSigner) },
		"trusted_keys":            func(n *yaml.Node) { d.signers(n, "trusted_keys", d.keyOrKeyless) },
		"trusted_sources": func(n *yaml.Node) {
			d.once(d.written, n, "trusted_sources", "trusted_sources")
			d.sources(n, "trusted_sources")
		},
		"verification":           d.verification,
		"slsa":                   d.slsaSection,
		"cosign":                 d.cosignSection,
		"default":                d.fallback,
		"attestations":           d.attestations,
		"contents":               d.contents,
		"verification_summaries": d.verificationSummaries,
		"attest":                 func(n *yaml.Node) { p.Attest = d.boolean(n, "attest") },
		"exceptions":             d.exceptions,
		"groups":                 d.groups,
		"platforms":              d.platforms,
		"shadow_of":              func(n *yaml.Node) { d.shadowOf(n) },
		"bundle":                 func(n *yaml.Node) { p.Bundle = d.bundle(n) },
		"parameters":             d.parameters,
	}, map[string]string{
		"trusted_builders": "belongs into slsa", "require_attestation": "belongs into slsa", "minimum_level": "belongs into slsa",
		"plugins": "this is a plugin file of the gateway; give what stands under config: of its image-signing plugin",
	})
	d.finish(n)
	if err := d.err(); err != nil {
		return nil, err
	}
	return p, nil
}

// finish checks what depends on several fields.
func (d *draft) finish(n *yaml.Node) {
	p := d.policy
	d.nameInline()
	d.finishSLSA(n)
	if len(d.errs) > 0 {
		return // what follows would only repeat it
	}
	switch {
	case len(p.Parameters) > 0 && p.Bundle == "":
		d.fail(d.parametersAt, "parameters", "go with a bundle, whose rules read them; name it with bundle, or leave them out")
	case !p.RequireSignature && len(p.Groups) > 0:
		d.fail(n, "require_signature", "is false, and groups ask for signatures; leave one of them out")
	case !p.requiresSomething():
		d.fail(n, "require_signature", "is false, so the policy requires nothing; set it to true, or mode to audit or disabled to block nothing")
	case len(p.Inline) == 0 && !p.UseRegistered && p.needsSigners():
		what := "a signature"
		if !p.RequireSignature {
			what = "an attestation"
		}
		d.fail(n, "trusted_signers", "%s is required and nobody is trusted; name signers, or write {type: registry} for the registered ones", what)
	case !p.RequireSignature: // its threshold counts nothing
	case !p.UseRegistered && p.Threshold > len(p.Inline):
		d.fail(d.threshold, "threshold", "%d is more than the %d trusted signers there are", p.Threshold, len(p.Inline))
	case len(p.RegisteredNames) > 0 && p.Threshold > len(p.Inline)+len(p.RegisteredNames):
		d.fail(d.threshold, "threshold", "%d is more than the %d trusted signers that are named", p.Threshold, len(p.Inline)+len(p.RegisteredNames))
	}
	d.finishSummaries()
	switch {
	case p.ShadowOf != "" && p.Mode != verdict.Shadow:
		d.fail(d.shadowAt, "shadow_of", "belongs to mode: shadow, and the mode is %s; leave one of them out", p.Mode)
	case p.ShadowOf == p.Name:
		d.fail(d.shadowAt, "shadow_of", "%q is this policy itself; name the one that it is compared with", p.Name)
	}
	d.checkGroups()
	if len(d.errs) == 0 {
		d.finishNamed()
		d.finishContents()
	}
	d.patterns(n, p.Inline)
}

// patterns checks what is only wrong about many signers together.
func (d *draft) patterns(n *yaml.Node, list []signers.Signer) {
	list = slices.DeleteFunc(slices.Clone(list), func(s signers.Signer) bool { return s.SubjectRegex == "" })
	if _, err := signers.Compile(list); err != nil {
		if d.signersAt != nil {
			n = d.signersAt
		}
		d.failLines(n, "", err)
	}
}

func (d *draft) name(n *yaml.Node) string {
	s, ok := d.text(n, "name")
	if ok && !isPolicyName(s) {
		d.fail(n, "name", "%q is not a name; use at most 63 lower-case letters, digits and dashes", s)
	}
	return s
}

// IsName says whether a policy or a policy bundle may have this name: up to 63
// lower-case letters, digits and dashes, of which no dash is first.
func IsName(s string) bool { return isPolicyName(s) }

func (d *draft) bundle(n *yaml.Node) string {
	s, ok := d.text(n, "bundle")
	if ok && !isPolicyName(s) {
		d.fail(n, "bundle", "%q is not the name of a bundle; use at most 63 lower-case letters, digits and dashes, and give the bundle itself by signet bundles put, or under bundles in the server's configuration", s)
	}
	return s
}

func (d *draft) mode(n *yaml.Node) verdict.Mode {
	s, ok := d.text(n, "mode")
	m := verdict.Mode(s)
	if ok && !slices.Contains([]verdict.Mode{verdict.Enforce, verdict.Audit, verdict.Shadow, verdict.Disabled}, m) {
		d.fail(n, "mode", "%q is none of enforce, audit, shadow, disabled", s)
	}
	return m
}

func (d *draft) shadowOf(n *yaml.Node) {
	if asksNothing(n) {
		return
	}
	d.shadowAt = n
	s, ok := d.text(n, "shadow_of")
	if ok && !isPolicyName(s) {
		d.fail(n, "shadow_of", "%q is not the name of a policy", s)
	}
	d.policy.ShadowOf = s
}

func (d *draft) count(n *yaml.Node) int {
	d.threshold = n
	want := d.integer(n, "threshold")
	if want < 1 {
		d.fail(n, "threshold", "%d signers would be nobody; it must be at least 1", want)
	}
	return want
}

// flag reads a boolean that may stand at the top or in a section, but not in
// both: one of them would be dropped.
func (d *draft) flag(to *bool, what, section string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		d.once(d.written, n, what, section+what)
		*to = d.boolean(n, section+what)
	}
}

func (d *draft) fallback(n *yaml.Node) {
	switch s, ok := d.text(n, "default"); {
	case !ok || s == "deny":
	case s == "allow":
		d.fail(n, "default", "allow "+later)
	default:
		d.fail(n, "default", "%q is neither allow nor deny", s)
	}
}

func (d *draft) images(n *yaml.Node) {
	d.policy.Images = d.strings(n, "images")
	if len(d.policy.Images) == 0 {
		d.fail(n, "images", "is an empty list, so the policy would speak of no image; leave it out for all images")
		return
	}
	scope, err := glob.NewScope(d.policy.Images)
	if err != nil {
		d.failLines(n, "images", err)
		return
	}
	d.policy.scope = scope
}

func (d *draft) sources(n *yaml.Node, field string) {
	list := d.strings(n, field)
	if len(list) == 0 && n.Kind == yaml.SequenceNode {
		d.fail(n, field, "is an empty list, which no source meets; leave it out for any source")
	}
	for i, s := range list {
		normal, ok := normalSource(s)
		switch {
		case strings.Contains(s, "*"):
			d.fail(n.Content[i], fmt.Sprintf("%s[%d]", field, i), "%q has a wildcard; write the owner or repository alone, everything below it is meant too", s)
		case strings.Contains(normal, "@"):
			d.fail(n.Content[i], fmt.Sprintf("%s[%d]", field, i), "%q names a branch, tag or commit; write the repository alone", s)
		case !ok:
			d.fail(n.Content[i], fmt.Sprintf("%s[%d]", field, i), "%q is not a repository; write https://github.com/owner/repository, or https://github.com/owner for all of them", s)
		case !slices.Contains(d.policy.TrustedSources, normal):
			d.policy.TrustedSources = append(d.policy.TrustedSources, normal)
		}
	}
}

// verification is the gateway plugin's section.
func (d *draft) verification(n *yaml.Node) {
	d.mapping(n, "verification.", map[string]func(*yaml.Node){
		"require_signature":       d.flag(&d.policy.RequireSignature, "require_signature", "verification."),
		"verify_transparency_log": d.flag(&d.policy.VerifyTransparencyLog, "verify_transparency_log", "verification."),
		"offline_mode": func(n *yaml.Node) {
			if d.boolean(n, "verification.offline_mode") {
				d.fail(n, "verification.offline_mode", "is not the policy's to say; set offline: true in the configuration, or start with --offline")
			}
		},
	}, nil)
}

func (d *draft) cosignSection(n *yaml.Node) {
	d.mapping(n, "cosign.", map[string]func(*yaml.Node){
		"path":            func(n *yaml.Node) { d.refuseUnlessEmpty(n, "cosign.path", noTools) },
		"timeout_seconds": func(n *yaml.Node) { d.integer(n, "cosign.timeout_seconds") }, // of a program that is not run
	}, nil)
}
