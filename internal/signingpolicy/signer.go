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
	if len(items) == 0 && n.Kind == yaml.SequenceNode && !d.registered {
		d.fail(n, field, "is an empty list, so nobody is trusted; name signers, or write {type: registry} for the registered ones")
	}
	for i, item := range items {
		one(item, fmt.Sprintf("%s[%d]", field, i))
	}
}

// said is what one entry of a list of signers says, under any of its spellings.
type said struct {
	node    *yaml.Node
	kind    string
	keyless *bool
	key     string
	names   []string
	signer  signers.Signer
	// at and called are where each field stands, and under which of its names.
	at     map[string]*yaml.Node
	called map[string]string
	// broken is set when a field could not be read, so that checks of the whole
	// would only repeat it.
	broken bool
}

// read takes the fields of one signer.
func (d *draft) read(n *yaml.Node, at string) said {
	s := said{node: n, signer: signers.Signer{Name: at, Enabled: true}, at: map[string]*yaml.Node{}, called: map[string]string{}}
	before := len(d.errs)
	place := func(n *yaml.Node, field, called string) {
		if s.at[field] != nil {
			d.fail(n, at+"."+called, "is given twice under two names")
		}
		s.at[field], s.called[field] = n, called
	}
	text := func(to *string, field, called string) func(*yaml.Node) {
		return func(n *yaml.Node) {
			place(n, field, called)
			if v, ok := d.text(n, at+"."+called); ok && v == "" {
				d.fail(n, at+"."+called, "is empty; leave it out or fill it in")
			} else {
				*to = v
			}
		}
	}
	// The gateway writes an empty reference where there is a key.
	ref := func(called string) func(*yaml.Node) {
		return func(n *yaml.Node) {
			if !asksNothing(n) {
				text(&s.signer.KMSKeyRef, "kms_key_ref", called)(n)
			}
		}
	}
	flag := func(to *bool, field string) func(*yaml.Node) {
		return func(n *yaml.Node) { place(n, field, field); *to = d.boolean(n, at+"."+field) }
	}
	list := func(to *[]string, field string) func(*yaml.Node) {
		return func(n *yaml.Node) { place(n, field, field); *to = d.strings(n, at+"."+field) }
	}
	when := func(to **time.Time, field string) func(*yaml.Node) {
		return func(n *yaml.Node) { place(n, field, field); *to = d.time(n, at+"."+field) }
	}
	fields := map[string]func(*yaml.Node){
		"type":          text(&s.kind, "type", "type"),
		"keyless":       func(n *yaml.Node) { b := d.boolean(n, at+".keyless"); s.keyless = &b },
		"issuer":        text(&s.signer.Issuer, "issuer", "issuer"),
		"oidc_issuer":   text(&s.signer.Issuer, "issuer", "oidc_issuer"),
		"subject":       text(&s.signer.Subject, "subject", "subject"),
		"subject_regex": text(&s.signer.SubjectRegex, "subject_regex", "subject_regex"),
		"claims":        func(n *yaml.Node) { place(n, "claims", "claims"); s.signer.Claims = d.claims(n, at+".claims") },
		"trust_roots":   list(&s.signer.TrustRoots, "trust_roots"),
		"key":           text(&s.key, "key", "key"),
		"public_key":    text(&s.key, "key", "public_key"),
		"key_ref":       ref("key_ref"),
		"kms_key_ref":   ref("kms_key_ref"),
		"auto_rotate":   flag(&s.signer.AutoRotate, "auto_rotate"),
		"names":         list(&s.names, "names"),
		"images":        list(&s.signer.Images, "images"),
		"not_before":    when(&s.signer.NotBefore, "not_before"),
		"expires_at":    when(&s.signer.ExpiresAt, "expires_at"),
		"signed_from":   when(&s.signer.SignedFrom, "signed_from"),
		"signed_until":  when(&s.signer.SignedUntil, "signed_until"),
	}
	fields["name"] = text(&s.signer.Name, "name", "name")
	ofRegistered := map[string]func(*yaml.Node){
		"owner":   text(&s.signer.Owner, "owner", "owner"),
		"note":    text(&s.signer.Note, "note", "note"),
		"enabled": flag(&s.signer.Enabled, "enabled"),
	}
	misplaced := map[string]string{}
	for name, read := range ofRegistered {
		if d.registered {
			fields[name] = read
		} else {
			misplaced[name] = "belongs to registered signers; a policy's own are answered for by whoever answers for the policy"
		}
	}
	d.mapping(n, at+".", fields, misplaced)
	s.broken = len(d.errs) > before
	return s
}

// claims reads constraints on a certificate's claims; which claims there are is
// checked with the signer.
func (d *draft) claims(n *yaml.Node, field string) map[string]string {
	if asksNothing(n) {
		return nil
	}
	if n.Kind != yaml.MappingNode {
		d.fail(n, field, "is %s, and must be a mapping of claims to values, such as {source_repository_ref: refs/heads/main}", kindName(n))
		return nil
	}
	out := map[string]string{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		at := field + "." + key.Value
		if _, twice := out[key.Value]; twice {
			d.fail(key, at, "is there twice")
		}
		switch {
		case key.Kind != yaml.ScalarNode || key.Value == "<<":
			d.fail(key, at, "is not a claim (merge keys are not read; write the claims out)")
		case d.plain(value, at):
			out[key.Value] = d.str(value, at)
		}
	}
	return out
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
	case s.at["kms_key_ref"] != nil:
		s.kind = string(signers.KMS)
	case s.at["key"] != nil:
		s.kind = string(signers.PublicKey)
	case s.broken:
		return
	default:
		d.fail(n, at, "says neither keyless: true nor a key nor a key_ref")
		return
	}
	d.add(s, at)
}

// add makes a signer of what was said.
func (d *draft) add(s said, at string) {
	types := "keyless, public_key, kms"
	if !d.registered {
		types += ", registry"
	}
	switch {
	case s.kind == "registry" && d.registered:
		d.fail(s.at["type"], at+".type", "registry names registered signers, and this is the list of them; write each out")
		return
	case s.kind == "registry":
		d.addRegistry(s, at)
		return
	case slices.Contains([]signers.Type{signers.Keyless, signers.PublicKey, signers.KMS}, signers.Type(s.kind)):
	case s.kind == "":
		if !s.broken {
			d.fail(s.node, at+".type", "is missing; write one of %s", types)
		}
		return
	default:
		d.fail(s.node, at+".type", "%q is none of %s", s.kind, types)
		return
	}
	if s.at["names"] != nil {
		d.fail(s.at["names"], at+".names", "belongs to {type: registry}")
	}
	if n := s.at["images"]; n != nil && len(s.signer.Images) == 0 && n.Kind == yaml.SequenceNode {
		d.fail(n, at+".images", "is an empty list, so the signer could sign no image; leave it out for all images")
	}
	if n := s.at["trust_roots"]; n != nil && len(s.signer.TrustRoots) == 0 && n.Kind == yaml.SequenceNode {
		d.fail(n, at+".trust_roots", "is an empty list, so no trust root could vouch for the signer; leave it out for all")
	}
	s.signer.Type = signers.Type(s.kind)
	if s.key != "" {
		keys, err := signers.ParseKeys(s.key)
		if err != nil {
			d.fail(s.at["key"], at+".key", "%s", err)
			return
		}
		s.signer.Keys = keys
	}
	if s.broken {
		return
	}
	if err := s.signer.Validate(); err != nil {
		d.failSigner(s, at, err)
		return
	}
	if d.registered {
		d.addEntry(s, at)
		return
	}
	d.policy.Inline = append(d.policy.Inline, s.signer)
	d.inlineNames = append(d.inlineNames, d.inlineName(s, at))
}

// failSigner notes each mistake of a signer at the line of its field.
func (d *draft) failSigner(s said, at string, err error) {
	for _, f := range signers.FieldErrors(err) {
		field, _, _ := strings.Cut(f.Field, ".")
		n := s.at[field]
		if n == nil {
			n = s.node
		}
		name := f.Field
		if called := s.called[field]; field == "kms_key_ref" && called != "" {
			name = called
		}
		d.fail(n, at+"."+name, "%s", f.Problem)
	}
}

func (d *draft) addRegistry(s said, at string) {
	p := d.policy
	others := 0
	for field := range s.at {
		if field != "type" && field != "names" {
			others++
		}
	}
	namesAt := s.at["names"]
	switch {
	case others > 0:
		d.fail(s.node, at, "{type: registry} takes the registered signers as they are; it has no field but names")
	case p.UseRegistered:
		d.fail(s.node, at, "{type: registry} is there twice; put all names into one")
	case namesAt != nil && namesAt.Kind == yaml.SequenceNode && len(s.names) == 0:
		d.fail(namesAt, at+".names", "is an empty list; leave it out for all registered signers")
	default:
		p.UseRegistered, p.RegisteredNames = true, s.names
	}
	for i, name := range s.names {
		if err := signers.ValidName(name); err != nil || slices.Contains(s.names[:i], name) {
			d.fail(namesAt.Content[i], fmt.Sprintf("%s.names[%d]", at, i), "%q is not the name of a registered signer, or is there twice", name)
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
