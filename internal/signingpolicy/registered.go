package signingpolicy

import (
	"errors"
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/signet-policy/signet/internal/signers"
)

// maxSignersBytes bounds a list of registered signers: 10,000 with a key each are
// five megabytes.
const maxSignersBytes = 16 << 20

// Entry is one registered signer of a document that [ParseSigners] reads.
type Entry struct {
	Signer signers.Signer
	// Line is where the entry begins in the document, from 1.
	Line int
}

// ParseSigners reads registered signers: a document whose one key is
// signing_policy, or what would stand below that key, with trusted_signers or
// trusted_keys and nothing else. Entries are written as in a policy, and have a
// name; owner, note and enabled (true unless it is said) too where wanted. The key
// of a kms signer, beside its key_ref, is the one that is pinned; without it the
// reference is yet to be resolved. No name is there twice. Errors wrap
// [ErrInvalid].
func ParseSigners(body []byte) ([]Entry, error) {
	n, err := inner(body, maxSignersBytes)
	if err != nil {
		return nil, err
	}
	d := &draft{reader: &reader{}, registered: true}
	misplaced := map[string]string{}
	for _, field := range []string{
		"name", "mode", "require_signature", "verify_transparency_log", "threshold", "images", "trusted_sources",
		"verification", "slsa", "cosign", "default", "attest", "attestations", "contents", "exceptions", "groups", "platforms", "shadow_of",
		"verification_summaries",
	} {
		misplaced[field] = "belongs to a policy; a list of registered signers has trusted_signers or trusted_keys and nothing else"
	}
	d.mapping(n, "", map[string]func(*yaml.Node){
		"trusted_signers": func(n *yaml.Node) { d.signers(n, "trusted_signers", d.typedSigner) },
		"trusted_keys":    func(n *yaml.Node) { d.signers(n, "trusted_keys", d.keyOrKeyless) },
	}, misplaced)
	if d.signersAt == nil && len(d.errs) == 0 {
		d.fail(n, "trusted_signers", "is missing; write the signers below it")
	}
	if len(d.errs) == 0 {
		list := make([]signers.Signer, 0, len(d.entries))
		for _, e := range d.entries {
			list = append(list, e.Signer)
		}
		d.patterns(n, list)
	}
	if err := d.err(); err != nil {
		return nil, err
	}
	return d.entries, nil
}

// addEntry takes a registered signer, whose name is its own.
func (d *draft) addEntry(s said, at string) {
	n, line := s.at["name"], s.node.Line
	switch {
	case n == nil:
		d.fail(s.node, at+".name", "is missing; a registered signer has a name of its own")
		return
	case d.lines[s.signer.Name] > 0:
		d.fail(n, at+".name", "%q is the name of the signer on line %d too", s.signer.Name, d.lines[s.signer.Name])
		return
	}
	for _, f := range signers.FieldErrors(signers.ValidName(s.signer.Name)) {
		d.fail(n, at+".name", "%s", f.Problem)
	}
	if d.lines == nil {
		d.lines = map[string]int{}
	}
	d.lines[s.signer.Name] = line
	d.entries = append(d.entries, Entry{Signer: s.signer, Line: line})
}

// FormatSigners writes registered signers as [ParseSigners] reads them: what is
// read back is the same in every field. Lines are not looked at. A signer that
// could not be read back is an error that wraps [ErrInvalid].
func FormatSigners(entries []Entry) ([]byte, error) {
	var doc struct {
		SigningPolicy struct {
			TrustedSigners []canonicalSigner `yaml:"trusted_signers"`
		} `yaml:"signing_policy"`
	}
	list := make([]canonicalSigner, 0, len(entries))
	names := map[string]bool{}
	for _, e := range entries {
		s := e.Signer
		if err := errors.Join(signers.ValidName(s.Name), s.Validate()); err != nil {
			return nil, fmt.Errorf("%w: signer %q: %w", ErrInvalid, s.Name, err)
		}
		if names[s.Name] {
			return nil, fmt.Errorf("%w: signer %q is there twice", ErrInvalid, s.Name)
		}
		names[s.Name] = true
		c := canonicalOf(s)
		c.Name, c.Owner, c.Note, c.Key = s.Name, s.Owner, lines(s.Note), pemOf(s.Keys)
		if !s.Enabled {
			c.Enabled = &s.Enabled
		}
		list = append(list, c)
	}
	doc.SigningPolicy.TrustedSigners = list
	body, err := encode(doc)
	if err != nil {
		return nil, fmt.Errorf("encoding signers: %w", err)
	}
	return body, nil
}

// NeedsKMS says whether a kms signer of the policy's own has no key yet.
func (p *Policy) NeedsKMS() bool { return slices.ContainsFunc(p.Inline, unresolved) }

func unresolved(s signers.Signer) bool { return s.Type == signers.KMS && len(s.Keys) == 0 }

// KMSKeys are the keys of the policy's own kms signers, as PEM by reference.
func (p *Policy) KMSKeys() map[string]string {
	keys := map[string]string{}
	for _, s := range p.Inline {
		if s.Type == signers.KMS && len(s.Keys) > 0 {
			keys[s.KMSKeyRef] = pemOf(s.Keys)
		}
	}
	return keys
}

// ResolveKMS gives those of the policy's own kms signers that have no key the one
// that their reference stands for; resolve is asked once for each reference, and
// gives PEM. Either all are resolved or the policy stays as it was. Until then it
// cannot be put in force, because [signers.Compile] refuses a kms signer without
// keys; from then on its canonical form has the key beside the reference, so that
// whoever reads it uses this key, without asking anybody.
func (p *Policy) ResolveKMS(resolve func(ref string) (pem string, err error)) error {
	resolved := map[string][]signers.Key{}
	var problems []error
	for _, s := range p.Inline {
		if _, done := resolved[s.KMSKeyRef]; done || !unresolved(s) {
			continue
		}
		resolved[s.KMSKeyRef] = nil
		text, err := resolve(s.KMSKeyRef)
		if err == nil {
			resolved[s.KMSKeyRef], err = signers.ParseKeys(text)
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("resolving the key %s of trusted signer %s: %w", s.KMSKeyRef, s.Name, err))
		}
	}
	if err := errors.Join(problems...); err != nil {
		return err
	}
	for i, s := range p.Inline {
		if unresolved(s) {
			p.Inline[i].Keys = resolved[s.KMSKeyRef]
		}
	}
	return nil
}
