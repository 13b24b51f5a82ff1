package signingpolicy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
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
	if len(body) > maxBytes {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrInvalid, len(body), maxBytes)
	}
	dec := yaml.NewDecoder(bytes.NewReader(body))
	var doc yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, fmt.Errorf("%w: line 1: the document is empty; write signing_policy: and what you require", ErrInvalid)
	case err != nil:
		return nil, fmt.Errorf("%w: %s", ErrInvalid, strings.TrimPrefix(err.Error(), "yaml: "))
	}
	var more yaml.Node
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: line %d: a second document; a policy is one document", ErrInvalid, max(more.Line, 1))
	}
	root := &doc
	if root.Kind == yaml.DocumentNode {
		root = root.Content[0]
	}
	if root.Kind == yaml.MappingNode && len(root.Content) > 0 && hasKey(root, "signing_policy") {
		r := &reader{}
		var inner *yaml.Node
		r.mapping(root, "", map[string]func(*yaml.Node){"signing_policy": func(n *yaml.Node) { inner = n }}, nil)
		if err := r.err(); err != nil {
			return nil, err
		}
		root = inner
	}
	return FromNode(root)
}

func hasKey(m *yaml.Node, key string) bool {
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			return true
		}
	}
	return false
}

// later names what another version will enforce.
const later = "is enforced by a later version and refused until then; leave it out"

var policyName = regexp.MustCompile(`\A[a-z0-9][a-z0-9-]{0,62}\z`)

// draft is a policy while it is read, with the places of what was said.
type draft struct {
	*reader
	policy     *Policy
	signersAt  *yaml.Node
	threshold  *yaml.Node
	registered []*yaml.Node
	slsa       struct {
		require   *yaml.Node // require_attestation, where written
		level     *yaml.Node
		levelWant int
	}
}

// FromNode reads what stands below signing_policy. Errors wrap [ErrInvalid] and
// name lines of the document that the node is from.
func FromNode(n *yaml.Node) (*Policy, error) {
	d := &draft{reader: &reader{}, policy: &Policy{
		Name: DefaultName, Mode: verdict.Enforce, RequireSignature: true, VerifyTransparencyLog: true, Threshold: 1,
	}}
	p := d.policy
	d.mapping(n, "", map[string]func(*yaml.Node){
		"name": func(n *yaml.Node) {
			if s := d.str(n, "name"); s != "" && !policyName.MatchString(s) {
				d.fail(n, "name", "%q is not a name; use lower-case letters, digits and dashes", s)
			} else {
				p.Name = s
			}
		},
		"mode":                    func(n *yaml.Node) { p.Mode = d.mode(n) },
		"require_signature":       func(n *yaml.Node) { p.RequireSignature = d.boolean(n, "require_signature") },
		"verify_transparency_log": func(n *yaml.Node) { p.VerifyTransparencyLog = d.boolean(n, "verify_transparency_log") },
		"threshold":               func(n *yaml.Node) { d.threshold, p.Threshold = n, d.integer(n, "threshold") },
		"images":                  func(n *yaml.Node) { d.images(n) },
		"trusted_signers":         func(n *yaml.Node) { d.signers(n, "trusted_signers", d.typedSigner) },
		"trusted_keys":            func(n *yaml.Node) { d.signers(n, "trusted_keys", d.keyOrKeyless) },
		"trusted_sources":         func(n *yaml.Node) { d.sources(n, "trusted_sources") },
		"verification":            d.verification,
		"slsa":                    d.slsaSection,
		"cosign":                  d.cosignSection,
		"default": func(n *yaml.Node) {
			switch s := d.str(n, "default"); s {
			case "deny", "":
			case "allow":
				d.fail(n, "default", "allow "+later)
			default:
				d.fail(n, "default", "%q is neither allow nor deny", s)
			}
		},
		"attestations": func(n *yaml.Node) { d.refuseUnlessEmpty(n, "attestations") },
		"exceptions":   func(n *yaml.Node) { d.refuseUnlessEmpty(n, "exceptions") },
	}, map[string]string{
		"trusted_builders": "belongs into slsa", "require_attestation": "belongs into slsa", "minimum_level": "belongs into slsa",
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
	for i := range p.Inline {
		p.Inline[i].Name = fmt.Sprintf("%s/%d", p.Name, i+1)
	}
	if d.slsa.level != nil && d.slsa.levelWant > 0 {
		taken := d.slsa.require != nil && d.slsa.require.Value == "false"
		if d.slsa.levelWant > 1 || !taken {
			d.fail(d.slsa.level, "slsa.minimum_level", "a required SLSA level "+later)
		}
	}
	if len(d.errs) > 0 {
		return // what follows would only repeat it
	}
	switch {
	case !p.RequireSignature:
		d.fail(n, "require_signature", "is false, so the policy requires nothing; set it to true, or mode to audit or disabled to block nothing")
	case len(p.Inline) == 0 && !p.UseRegistered:
		d.fail(n, "trusted_signers", "a signature is required and nobody is trusted; name signers, or write {type: registry} for the registered ones")
	case !p.UseRegistered && p.Threshold > len(p.Inline):
		d.fail(d.threshold, "threshold", "%d is more than the %d trusted signers there are", p.Threshold, len(p.Inline))
	case len(p.RegisteredNames) > 0 && p.Threshold > len(p.Inline)+len(p.RegisteredNames):
		d.fail(d.threshold, "threshold", "%d is more than the %d trusted signers that are named", p.Threshold, len(p.Inline)+len(p.RegisteredNames))
	}
	if d.threshold != nil && p.Threshold <= 0 {
		d.fail(d.threshold, "threshold", "%d signers would be nobody; it must be at least 1", p.Threshold)
	}
	if _, err := signers.Compile(p.Inline); err != nil {
		at := n
		if d.signersAt != nil {
			at = d.signersAt
		}
		d.failLines(at, "", err)
	}
}

func (d *draft) mode(n *yaml.Node) verdict.Mode {
	m := verdict.Mode(d.str(n, "mode"))
	if !slices.Contains([]verdict.Mode{verdict.Enforce, verdict.Audit, verdict.Disabled}, m) {
		d.fail(n, "mode", "%q is none of enforce, audit, disabled", string(m))
	}
	return m
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
	if len(list) == 0 {
		d.fail(n, field, "is an empty list, which no source meets; leave it out for any source")
		return
	}
	if d.policy.TrustedSources != nil {
		d.fail(n, field, "trusted_sources is there twice: at the top and in slsa; keep one")
		return
	}
	for i, s := range list {
		normal, ok := normalSource(s)
		if !ok {
			d.fail(n, fmt.Sprintf("%s[%d]", field, i), "%q is not a repository; write https://github.com/owner/repository", s)
			continue
		}
		if !slices.Contains(d.policy.TrustedSources, normal) {
			d.policy.TrustedSources = append(d.policy.TrustedSources, normal)
		}
	}
}

// verification is the gateway plugin's section.
func (d *draft) verification(n *yaml.Node) {
	d.mapping(n, "verification.", map[string]func(*yaml.Node){
		"require_signature": func(n *yaml.Node) {
			d.policy.RequireSignature = d.boolean(n, "verification.require_signature")
		},
		"verify_transparency_log": func(n *yaml.Node) {
			d.policy.VerifyTransparencyLog = d.boolean(n, "verification.verify_transparency_log")
		},
		"offline_mode": func(n *yaml.Node) {
			if d.boolean(n, "verification.offline_mode") {
				d.fail(n, "verification.offline_mode", "is not the policy's to say; set offline: true in the configuration, or start with --offline")
			}
		},
	}, nil)
}

func (d *draft) slsaSection(n *yaml.Node) {
	d.mapping(n, "slsa.", map[string]func(*yaml.Node){
		"require_attestation": func(n *yaml.Node) {
			d.slsa.require = n
			if d.boolean(n, "slsa.require_attestation") {
				d.fail(n, "slsa.require_attestation", later)
			}
		},
		"minimum_level": func(n *yaml.Node) {
			d.slsa.level, d.slsa.levelWant = n, d.integer(n, "slsa.minimum_level")
			if d.slsa.levelWant < 0 {
				d.fail(n, "slsa.minimum_level", "%d is not a level; levels are 0 to 3", d.slsa.levelWant)
			}
		},
		"trusted_builders": func(n *yaml.Node) { d.refuseUnlessEmpty(n, "slsa.trusted_builders") },
		"trusted_sources": func(n *yaml.Node) {
			if n.Kind == yaml.SequenceNode && len(n.Content) == 0 {
				return // the gateway writes the empty list for none
			}
			d.sources(n, "slsa.trusted_sources")
		},
		"parameters": func(n *yaml.Node) { d.refuseUnlessEmpty(n, "slsa.parameters") },
	}, nil)
}

func (d *draft) cosignSection(n *yaml.Node) {
	d.mapping(n, "cosign.", map[string]func(*yaml.Node){
		"path":            func(n *yaml.Node) { d.refuseUnlessEmpty(n, "cosign.path") },
		"timeout_seconds": func(n *yaml.Node) { d.integer(n, "cosign.timeout_seconds") }, // of a program that is not run
	}, nil)
}
