package signers

import (
	"errors"
	"fmt"
	"iter"
	"maps"
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

	// issuers are the keyless signers by issuer, and anyone all of them, which
	// explanations look through.
	issuers map[string]*identities
	anyone  *identities
	// keys are the signers with keys by fingerprint, and keyed all of them by name.
	keys  map[string][]*entry
	keyed []*entry
	// scopes are all signers by image.
	scopes *scopes
	// boundaries are the times when a signer begins or ends, in order, each once.
	boundaries []time.Time
}

// Compile checks signers and builds their index. All errors are reported
// together, each with the signer's name and field.
func Compile(list []Signer) (*Set, error) {
	s := &Set{issuers: map[string]*identities{}, anyone: newIdentities(), keys: map[string][]*entry{}}
	var problems []error
	names := map[string]bool{}
	for _, signer := range list {
		e, err := signer.compile()
		switch {
		case err != nil:
			problems = append(problems, fmt.Errorf("signer %q: %w", signer.Name, err))
		case names[signer.Name]:
			problems = append(problems, fmt.Errorf("signer %q: %w", signer.Name, FieldError{"name", "is taken by another signer"}))
		case signer.Type == KMS && len(signer.Keys) == 0:
			problems = append(problems, fmt.Errorf("signer %q: %w", signer.Name, FieldError{"kms_key_ref", "has not been resolved to a public key; nothing can be verified with a reference alone"}))
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
			return nil, FieldError{"subject_regex", fmt.Sprintf("issuer %s has %d patterns that do not begin with literal text, of at most %d; begin them with what every subject has in common, for example https://github.com/org/", name, len(iss.bare), MaxBarePatterns)}
		}
		iss.finish()
	}
	s.anyone.finish()
	s.scopes = newScopes(s.entries)
	slices.SortFunc(s.boundaries, time.Time.Compare)
	s.boundaries = slices.CompactFunc(s.boundaries, time.Time.Equal)
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
	if e.Type != Keyless {
		s.keyed = append(s.keyed, e)
		for _, k := range e.Keys {
			s.keys[k.Fingerprint] = append(s.keys[k.Fingerprint], e)
		}
		return
	}
	if s.issuers[e.Issuer] == nil {
		s.issuers[e.Issuer] = newIdentities()
	}
	s.issuers[e.Issuer].add(e)
	// Patterns without a literal prefix are few for one issuer, but not for all.
	if e.pattern == nil || e.pattern.prefix != "" || len(s.anyone.bare) < MaxBarePatterns {
		s.anyone.add(e)
	}
}

// recognise gives the entries whose identity or key is that of sig, whatever
// their validity, image scope and further constraints.
func (s *Set) recognise(sig facts.Signer) []*entry {
	switch sig.Kind {
	case facts.KindKey:
		return s.keys[sig.Fingerprint]
	case facts.KindCertificate:
		if sig.Issuer == "" {
			return nil
		}
		return s.issuers[sig.Issuer].recognise(sig.Subject)
	default:
		return nil
	}
}

// Match names the signers that made sig and are trusted for the image name
// ("" for a subject without one) at a time, sorted.
func (s *Set) Match(sig facts.Signature, name string, at time.Time) []string {
	var names []string
	for _, e := range s.recognise(sig.Signer) {
		if e.trusts(name, at) && e.accepts(sig) {
			names = append(names, e.Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// KeyByFingerprint gives the key with that fingerprint, if it is trusted for the
// image name at a time.
func (s *Set) KeyByFingerprint(fingerprint, name string, at time.Time) (Key, bool) {
	for _, e := range s.keys[fingerprint] {
		if !e.trusts(name, at) {
			continue
		}
		for _, k := range e.Keys {
			if k.Fingerprint == fingerprint {
				return k, true
			}
		}
	}
	return Key{}, false
}

// KeysInScope gives the keys that are trusted for the image name at a time, each
// once, in the order of their fingerprints: the candidates for signatures that
// name no key of their own. Where there are more than most, more is true and the
// keys are some of them.
func (s *Set) KeysInScope(name string, at time.Time, most int) (keys []Key, more bool) {
	seen := map[string]bool{}
	for scope := range s.scopes.of(name) {
		for _, k := range scope.keys {
			if end := k.force.end(); end != nil && !at.Before(*end) {
				break // and so it is with all that follow
			}
			if seen[k.Fingerprint] || !k.force.covers(at) {
				continue
			}
			if len(keys) == most {
				return keys, true
			}
			seen[k.Fingerprint] = true
			keys = append(keys, k.Key)
		}
	}
	slices.SortFunc(keys, func(a, b Key) int { return strings.Compare(a.Fingerprint, b.Fingerprint) })
	return keys, false
}

// InForce says whether anybody at all is trusted for the image name at a time.
func (s *Set) InForce(name string, at time.Time) bool {
	for scope := range s.scopes.of(name) {
		if scope.force.covers(at) {
			return true
		}
	}
	return false
}

// Trusts says whether the signer of that name is trusted for the image name at a
// time; false where there is none.
func (s *Set) Trusts(signer, name string, at time.Time) bool {
	i, found := slices.BinarySearchFunc(s.entries, signer, func(e *entry, n string) int { return strings.Compare(e.Name, n) })
	return found && s.entries[i].trusts(name, at)
}

// NextBoundary is the first time after at when a signer begins or ends to be
// trusted, nil when there is none. What was matched at at holds until then.
func (s *Set) NextBoundary(at time.Time) *time.Time {
	i, found := slices.BinarySearchFunc(s.boundaries, at, time.Time.Compare)
	if found {
		i++
	}
	if i == len(s.boundaries) {
		return nil
	}
	next := s.boundaries[i]
	return &next
}

// Ends gives the signers that are trusted until a time after at, each with that
// time, in the order of their names.
func (s *Set) Ends(at time.Time) iter.Seq2[string, time.Time] {
	return func(yield func(string, time.Time) bool) {
		for _, e := range s.entries {
			if e.Enabled && e.ExpiresAt != nil && e.ExpiresAt.After(at) && !yield(e.Name, *e.ExpiresAt) {
				return
			}
		}
	}
}

// Len is the number of signers in the set, disabled ones included.
func (s *Set) Len() int { return len(s.entries) }

// Digest is "sha256:<hex>" over everything that decides what the set matches;
// owners, notes and who
// rotates a key are not part of it. "" for the zero value.
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

		Claims      map[string]string `json:"claims"`
		TrustRoots  []string          `json:"trust_roots"`
		KMSKeyRef   string            `json:"kms_key_ref"`
		SignedFrom  *time.Time        `json:"signed_from"`
		SignedUntil *time.Time        `json:"signed_until"`
	}
	list := make([]canonical, 0, len(entries))
	for _, e := range entries {
		c := canonical{
			Name: e.Name, Type: e.Type, Issuer: e.Issuer, Subject: e.Subject, Regex: e.SubjectRegex,
			Keys: []string{}, Images: e.scope.Patterns(), Enabled: e.Enabled,
			NotBefore: utc(e.NotBefore), ExpiresAt: utc(e.ExpiresAt),
			Claims: map[string]string{}, TrustRoots: slices.Sorted(slices.Values(e.TrustRoots)), KMSKeyRef: e.KMSKeyRef,
			SignedFrom: utc(e.SignedFrom), SignedUntil: utc(e.SignedUntil),
		}
		maps.Copy(c.Claims, e.Claims)
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
