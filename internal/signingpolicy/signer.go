package signingpolicy

import (
	"fmt"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/signet-policy/signet/internal/signers"
)

// signers reads a list of signers, each with one.
func (d *draft) signers(n *yaml.Node, field string, one func(*yaml.Node, string)) {
	if d.signersAt != nil {
		d.fail(n, field, "trusted_signers and trusted_keys are both there; keep one")
		return
	}
	d.signersAt = n
	items := d.sequence(n, field)
	if len(items) == 0 && n.Kind == yaml.SequenceNode {
		d.fail(n, field, "is an empty list, so nobody is trusted; name signers, or write {type: registry} for the registered ones")
	}
	for i, item := range items {
		one(item, fmt.Sprintf("%s[%d]", field, i))
	}
}

// said is what one entry of a list of signers says, under any of its spellings.
type said struct {
	node                          *yaml.Node
	kind                          string
	keyless                       *bool
	issuer, subject, regex, key   string
	names, images                 []string
	hasNames, hasKey, hasIdentity bool
	notBefore, expiresAt          *time.Time
}

// read takes the fields of one signer.
func (d *draft) read(n *yaml.Node, at string) said {
	s := said{node: n}
	once := func(to *string, field string) func(*yaml.Node) {
		return func(n *yaml.Node) {
			if *to != "" {
				d.fail(n, at+"."+field, "is given twice under two names")
			}
			*to = d.str(n, at+"."+field)
			if *to == "" {
				d.fail(n, at+"."+field, "is empty")
			}
		}
	}
	identity := func(to *string, field string) func(*yaml.Node) {
		f := once(to, field)
		return func(n *yaml.Node) { s.hasIdentity = true; f(n) }
	}
	key := once(&s.key, "key")
	readKey := func(n *yaml.Node) { s.hasKey = true; key(n) }
	kms := func(field string) func(*yaml.Node) {
		return func(n *yaml.Node) { d.refuseUnlessEmpty(n, at+"."+field) }
	}
	d.mapping(n, at+".", map[string]func(*yaml.Node){
		"type":          once(&s.kind, "type"),
		"keyless":       func(n *yaml.Node) { b := d.boolean(n, at+".keyless"); s.keyless = &b },
		"issuer":        identity(&s.issuer, "issuer"),
		"oidc_issuer":   identity(&s.issuer, "oidc_issuer"),
		"subject":       identity(&s.subject, "subject"),
		"subject_regex": identity(&s.regex, "subject_regex"),
		"key":           readKey,
		"public_key":    readKey,
		"key_ref":       kms("key_ref"),
		"kms_key_ref":   kms("kms_key_ref"),
		"names":         func(n *yaml.Node) { s.hasNames, s.names = true, d.strings(n, at+".names") },
		"images":        func(n *yaml.Node) { s.images = d.strings(n, at+".images") },
		"not_before":    func(n *yaml.Node) { s.notBefore = d.time(n, at+".not_before") },
		"expires_at":    func(n *yaml.Node) { s.expiresAt = d.time(n, at+".expires_at") },
		"claims":        func(n *yaml.Node) { d.refuseUnlessEmpty(n, at+".claims") },
	}, nil)
	return s
}

// typedSigner reads an entry of trusted_signers.
func (d *draft) typedSigner(n *yaml.Node, at string) {
	s := d.read(n, at)
	if s.keyless != nil {
		d.fail(n, at+".keyless", "belongs to trusted_keys; in trusted_signers write type: keyless")
		return
	}
	d.add(s, at)
}

// keyOrKeyless reads an entry of trusted_keys, which says keyless: true or has a key.
func (d *draft) keyOrKeyless(n *yaml.Node, at string) {
	s := d.read(n, at)
	switch {
	case s.kind != "":
		d.fail(n, at+".type", "belongs to trusted_signers; in trusted_keys write keyless: true, or a key")
		return
	case s.keyless != nil && *s.keyless:
		s.kind = string(signers.Keyless)
	case s.hasKey:
		s.kind = string(signers.PublicKey)
	default:
		d.fail(n, at, "says neither keyless: true nor a key")
		return
	}
	d.add(s, at)
}

// add makes a signer of what was said.
func (d *draft) add(s said, at string) {
	switch s.kind {
	case "registry":
		d.addRegistry(s, at)
		return
	case "kms":
		d.fail(s.node, at+".type", "kms "+later)
		return
	case string(signers.Keyless), string(signers.PublicKey):
	case "":
		d.fail(s.node, at+".type", "is missing; write keyless, public_key or registry")
		return
	default:
		d.fail(s.node, at+".type", "%q is none of keyless, public_key, registry", s.kind)
		return
	}
	if s.hasNames {
		d.fail(s.node, at+".names", "belongs to {type: registry}")
	}
	signer := signers.Signer{
		Type: signers.Type(s.kind), Issuer: s.issuer, Subject: s.subject, SubjectRegex: s.regex, Images: s.images,
		NotBefore: s.notBefore, ExpiresAt: s.expiresAt, Enabled: true,
	}
	if s.hasKey {
		keys, err := signers.ParseKeys(s.key)
		if err != nil {
			d.fail(s.node, at+".key", "%s", err)
			return
		}
		signer.Keys = keys
	}
	signer.Name = at
	if err := signer.Validate(); err != nil {
		d.failLines(s.node, at, err)
		return
	}
	d.policy.Inline = append(d.policy.Inline, signer)
}

func (d *draft) addRegistry(s said, at string) {
	p := d.policy
	switch {
	case s.hasKey || s.hasIdentity || len(s.images) > 0 || s.notBefore != nil || s.expiresAt != nil:
		d.fail(s.node, at, "{type: registry} takes the registered signers as they are; it has no field but names")
	case p.UseRegistered:
		d.fail(s.node, at, "{type: registry} is there twice; put all names into one")
	case s.hasNames && len(s.names) == 0:
		d.fail(s.node, at+".names", "is an empty list; leave it out for all registered signers")
	default:
		p.UseRegistered, p.RegisteredNames = true, s.names
	}
}

// time reads RFC 3339.
func (d *draft) time(n *yaml.Node, field string) *time.Time {
	v := n.Value
	t, err := time.Parse(time.RFC3339, v)
	if err != nil || n.Kind != yaml.ScalarNode {
		d.fail(n, field, "%q is not a time; write it as 2027-01-31T00:00:00Z", strings.TrimSpace(v))
		return nil
	}
	t = t.UTC()
	return &t
}
