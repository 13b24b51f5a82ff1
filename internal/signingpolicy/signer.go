package signingpolicy

import (
	"fmt"
	"slices"
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
	node                         *yaml.Node
	kind                         string
	keyless                      *bool
	issuer, subject, regex, key  string
	names, images                []string
	notBefore, expiresAt         *time.Time
	issuerAt, subjectAt, regexAt *yaml.Node
	keyAt, namesAt, imagesAt     *yaml.Node
	// broken is set when a field could not be read, so that checks of the whole
	// would only repeat it.
	broken bool
}

// read takes the fields of one signer.
func (d *draft) read(n *yaml.Node, at string) said {
	s := said{node: n}
	before := len(d.errs)
	text := func(to *string, place **yaml.Node, field string) func(*yaml.Node) {
		return func(n *yaml.Node) {
			if *place != nil {
				d.fail(n, at+"."+field, "is given twice under two names")
			}
			*place = n
			if v, ok := d.text(n, at+"."+field); ok && v == "" {
				d.fail(n, at+"."+field, "is empty; leave it out or fill it in")
			} else {
				*to = v
			}
		}
	}
	var kindAt *yaml.Node
	d.mapping(n, at+".", map[string]func(*yaml.Node){
		"type":          text(&s.kind, &kindAt, "type"),
		"keyless":       func(n *yaml.Node) { b := d.boolean(n, at+".keyless"); s.keyless = &b },
		"issuer":        text(&s.issuer, &s.issuerAt, "issuer"),
		"oidc_issuer":   text(&s.issuer, &s.issuerAt, "oidc_issuer"),
		"subject":       text(&s.subject, &s.subjectAt, "subject"),
		"subject_regex": text(&s.regex, &s.regexAt, "subject_regex"),
		"key":           text(&s.key, &s.keyAt, "key"),
		"public_key":    text(&s.key, &s.keyAt, "public_key"),
		"key_ref":       func(n *yaml.Node) { d.refuseUnlessEmpty(n, at+".key_ref", later) },
		"kms_key_ref":   func(n *yaml.Node) { d.refuseUnlessEmpty(n, at+".kms_key_ref", later) },
		"names":         func(n *yaml.Node) { s.namesAt, s.names = n, d.strings(n, at+".names") },
		"images":        func(n *yaml.Node) { s.imagesAt, s.images = n, d.strings(n, at+".images") },
		"not_before":    func(n *yaml.Node) { s.notBefore = d.time(n, at+".not_before") },
		"expires_at":    func(n *yaml.Node) { s.expiresAt = d.time(n, at+".expires_at") },
		"claims":        func(n *yaml.Node) { d.refuseUnlessEmpty(n, at+".claims", later) },
	}, nil)
	s.broken = len(d.errs) > before
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
	case s.keyAt != nil:
		s.kind = string(signers.PublicKey)
	case s.broken:
		return
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
	case string(signers.KMS):
		d.fail(s.node, at+".type", "kms "+later)
		return
	case string(signers.Keyless), string(signers.PublicKey):
	case "":
		if !s.broken {
			d.fail(s.node, at+".type", "is missing; write keyless, public_key or registry")
		}
		return
	default:
		d.fail(s.node, at+".type", "%q is none of keyless, public_key, registry", s.kind)
		return
	}
	if s.namesAt != nil {
		d.fail(s.namesAt, at+".names", "belongs to {type: registry}")
	}
	if s.imagesAt != nil && len(s.images) == 0 && s.imagesAt.Kind == yaml.SequenceNode {
		d.fail(s.imagesAt, at+".images", "is an empty list, so the signer could sign no image; leave it out for all images")
	}
	signer := signers.Signer{
		Name: at, Type: signers.Type(s.kind), Issuer: s.issuer, Subject: s.subject, SubjectRegex: s.regex, Images: s.images,
		NotBefore: s.notBefore, ExpiresAt: s.expiresAt, Enabled: true,
	}
	if s.key != "" {
		keys, err := signers.ParseKeys(s.key)
		if err != nil {
			d.fail(s.keyAt, at+".key", "%s", err)
			return
		}
		signer.Keys = keys
	}
	if s.broken {
		return
	}
	if err := signer.Validate(); err != nil {
		d.failSigner(s, at, err)
		return
	}
	d.policy.Inline = append(d.policy.Inline, signer)
}

// failSigner notes each mistake of a signer, "invalid signer: field: what", at
// the line of that field.
func (d *draft) failSigner(s said, at string, err error) {
	places := map[string]*yaml.Node{
		"issuer": s.issuerAt, "subject": s.subjectAt, "subject_regex": s.regexAt, "key": s.keyAt, "images": s.imagesAt,
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		field, what, _ := strings.Cut(strings.TrimPrefix(line, signers.ErrInvalid.Error()+": "), ": ")
		n := places[field]
		if n == nil {
			n = s.node
		}
		d.fail(n, at+"."+field, "%s", what)
	}
}

func (d *draft) addRegistry(s said, at string) {
	p := d.policy
	identity := s.issuerAt != nil || s.subjectAt != nil || s.regexAt != nil || s.keyAt != nil
	switch {
	case identity || s.imagesAt != nil || s.notBefore != nil || s.expiresAt != nil:
		d.fail(s.node, at, "{type: registry} takes the registered signers as they are; it has no field but names")
	case p.UseRegistered:
		d.fail(s.node, at, "{type: registry} is there twice; put all names into one")
	case s.namesAt != nil && s.namesAt.Kind == yaml.SequenceNode && len(s.names) == 0:
		d.fail(s.namesAt, at+".names", "is an empty list; leave it out for all registered signers")
	default:
		p.UseRegistered, p.RegisteredNames = true, s.names
	}
	for i, name := range s.names {
		if err := signers.ValidName(name); err != nil || slices.Contains(s.names[:i], name) {
			d.fail(s.namesAt.Content[i], fmt.Sprintf("%s.names[%d]", at, i), "%q is not the name of a registered signer, or is there twice", name)
		}
	}
}

// time reads RFC 3339.
func (d *draft) time(n *yaml.Node, field string) *time.Time {
	t, err := time.Parse(time.RFC3339, n.Value)
	if err != nil || n.Kind != yaml.ScalarNode {
		d.fail(n, field, "%q is not a time; write it as 2027-01-31T00:00:00Z", n.Value)
		return nil
	}
	t = t.UTC()
	return &t
}
