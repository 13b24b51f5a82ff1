package signers

import (
	"crypto"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/signet-policy/signet/internal/facts"
)

// MaxBarePatterns is how many subject_regex without a literal prefix one issuer
// may have: each of them is tried on every signature of that issuer.
const MaxBarePatterns = 100

// Set is an immutable set of signers with an index. The zero value trusts
// nobody. It is safe for concurrent use.
type Set struct {
	entries []*entry // by name
	digest  string

	issuers map[string]*issuer
	// keys by fingerprint; subjects by exact subject, whatever the issuer, for
	// explanations only.
	keys     map[string][]*entry
	subjects map[string][]*entry
	// boundaries are the times when a signer begins or ends, in order.
	boundaries []time.Time
}

// issuer is the part of the index for one OIDC issuer.
type issuer struct {
	exact map[string][]*entry
	// prefixed holds patterns by their literal prefix, and lengths the lengths
	// of those prefixes, so that a lookup costs one map access per length.
	prefixed map[string][]*entry
	lengths  []int
	bare     []*entry
	all      []*entry
}

// Compile checks signers and builds their index. All errors are reported
// together, each with the signer's name and field.
func Compile(list []Signer) (*Set, error) {
	s := &Set{
		issuers:  map[string]*issuer{},
		keys:     map[string][]*entry{},
		subjects: map[string][]*entry{},
	}
	var problems []error
	names := map[string]bool{}
	for _, signer := range list {
		e, err := signer.compile()
		switch {
		case err != nil:
			problems = append(problems, fmt.Errorf("signer %q: %w", signer.Name, err))
		case names[signer.Name]:
			problems = append(problems, fmt.Errorf("signer %q: %w: name: is taken by another signer", signer.Name, ErrInvalid))
		default:
			names[signer.Name] = true
			s.entries = append(s.entries, e)
		}
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	slices.SortFunc(s.entries, func(a, b *entry) int { return strings.Compare(a.Name, b.Name) })
	for _, e := range s.entries {
		s.index(e)
	}
	for name, iss := range s.issuers {
		if len(iss.bare) > MaxBarePatterns {
			return nil, fmt.Errorf("%w: subject_regex: issuer %s has %d patterns that do not begin with literal text, of at most %d; begin them with what every subject has in common, for example https://github.com/org/", ErrInvalid, name, len(iss.bare), MaxBarePatterns)
		}
		slices.Sort(iss.lengths)
	}
	slices.SortFunc(s.boundaries, time.Time.Compare)
	digest, err := digestOf(s.entries)
	if err != nil {
		return nil, err
	}
	s.digest = digest
	return s, nil
}

func (s *Set) index(e *entry) {
	for _, t := range []*time.Time{e.NotBefore, e.ExpiresAt} {
		if t != nil && e.Enabled {
			s.boundaries = append(s.boundaries, *t)
		}
	}
	if e.Type == PublicKey {
		for _, k := range e.Keys {
			s.keys[k.Fingerprint] = append(s.keys[k.Fingerprint], e)
		}
		return
	}
	iss := s.issuers[e.Issuer]
	if iss == nil {
		iss = &issuer{exact: map[string][]*entry{}, prefixed: map[string][]*entry{}}
		s.issuers[e.Issuer] = iss
	}
	iss.all = append(iss.all, e)
	switch {
	case e.pattern == nil:
		iss.exact[e.Subject] = append(iss.exact[e.Subject], e)
		s.subjects[e.Subject] = append(s.subjects[e.Subject], e)
	case e.pattern.prefix == "":
		iss.bare = append(iss.bare, e)
	default:
		p := e.pattern.prefix
		if !slices.Contains(iss.lengths, len(p)) {
			iss.lengths = append(iss.lengths, len(p))
		}
		iss.prefixed[p] = append(iss.prefixed[p], e)
	}
}

// recognise gives the entries whose identity or key is that of sig, whatever
// their validity and image scope.
func (s *Set) recognise(sig facts.Signer) []*entry {
	switch sig.Kind {
	case facts.KindKey:
		return s.keys[sig.Fingerprint]
	case facts.KindCertificate:
		iss := s.issuers[sig.Issuer]
		if iss == nil || sig.Issuer == "" || sig.Subject == "" {
			return nil
		}
		found := slices.Clone(iss.exact[sig.Subject])
		for _, n := range iss.lengths {
			if n > len(sig.Subject) {
				break
			}
			for _, e := range iss.prefixed[sig.Subject[:n]] {
				if e.pattern.match(sig.Subject) {
					found = append(found, e)
				}
			}
		}
		for _, e := range iss.bare {
			if e.pattern.match(sig.Subject) {
				found = append(found, e)
			}
		}
		return found
	default:
		return nil
	}
}

// Match names the signers that made sig and are trusted for the image name
// ("" for a subject without one) at a time, sorted.
func (s *Set) Match(sig facts.Signature, name string, at time.Time) []string {
	var names []string
	for _, e := range s.recognise(sig.Signer) {
		if e.trusts(name, at) {
			names = append(names, e.Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Keys returns the public keys that are trusted for the image name at a time,
// each once, in the order of their fingerprints: the candidates for signatures
// that name no key of their own.
func (s *Set) Keys(name string, at time.Time) []crypto.PublicKey {
	found := map[string]crypto.PublicKey{}
	for fingerprint, entries := range s.keys {
		for _, e := range entries {
			if !e.trusts(name, at) {
				continue
			}
			for _, k := range e.Keys {
				if k.Fingerprint == fingerprint {
					found[fingerprint] = k.PublicKey
				}
			}
		}
	}
	order := make([]string, 0, len(found))
	for fingerprint := range found {
		order = append(order, fingerprint)
	}
	slices.Sort(order)
	keys := make([]crypto.PublicKey, 0, len(order))
	for _, fingerprint := range order {
		keys = append(keys, found[fingerprint])
	}
	return keys
}

// InForce says whether anybody at all is trusted for the image name at a time.
func (s *Set) InForce(name string, at time.Time) bool {
	return slices.ContainsFunc(s.entries, func(e *entry) bool { return e.trusts(name, at) })
}

// NextBoundary is the first time after at when a signer begins or ends to be
// trusted, nil when there is none. What was matched at at holds until then.
func (s *Set) NextBoundary(at time.Time) *time.Time {
	i, found := slices.BinarySearchFunc(s.boundaries, at, time.Time.Compare)
	for found && i < len(s.boundaries) && !s.boundaries[i].After(at) {
		i++
	}
	if i == len(s.boundaries) {
		return nil
	}
	next := s.boundaries[i]
	return &next
}

// Len is the number of signers in the set, disabled ones included.
func (s *Set) Len() int { return len(s.entries) }

// Digest is "sha256:<hex>" over everything that decides what the set matches;
// owners and notes are not part of it. "" for the zero value.
func (s *Set) Digest() string { return s.digest }

// digestOf hashes the entries in order of their names.
func digestOf(entries []*entry) (string, error) {
	type canonical struct {
		Name      string     `json:"name"`
		Type      Type       `json:"type"`
		Issuer    string     `json:"issuer"`
		Subject   string     `json:"subject"`
		Regex     string     `json:"subject_regex"`
		Keys      []string   `json:"keys"`
		Images    []string   `json:"images"`
		Enabled   bool       `json:"enabled"`
		NotBefore *time.Time `json:"not_before"`
		ExpiresAt *time.Time `json:"expires_at"`
	}
	list := make([]canonical, 0, len(entries))
	for _, e := range entries {
		c := canonical{
			Name: e.Name, Type: e.Type, Issuer: e.Issuer, Subject: e.Subject, Regex: e.SubjectRegex,
			Keys: []string{}, Images: e.scope.Patterns(), Enabled: e.Enabled,
			NotBefore: utc(e.NotBefore), ExpiresAt: utc(e.ExpiresAt),
		}
		for _, k := range e.Keys {
			c.Keys = append(c.Keys, k.Fingerprint)
		}
		slices.Sort(c.Keys)
		slices.Sort(c.Images)
		list = append(list, c)
	}
	body, err := facts.Canonical(list)
	if err != nil {
		return "", fmt.Errorf("digest of the signers: %w", err)
	}
	return facts.Digest(body), nil
}

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}
