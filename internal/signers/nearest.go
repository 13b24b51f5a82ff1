package signers

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/signet-policy/signet/internal/facts"
)

// Near is the signature that came closest to being trusted, and why it is not.
type Near struct {
	// Fact is the signature's id.
	Fact      string
	Principal string
	// Signer is the name of the trusted signer that it almost matched, "" where
	// there is none of its kind.
	Signer string
	// Field is what differs: "issuer", "subject", "claims.<name>", "trust_roots",
	// "key", "images", "not_before", "expires_at", "signed_from", "signed_until",
	// "enabled" or "type". Want is the signer's side, Have the signature's (or the
	// image's, or the time).
	Field, Want, Have string
	// Why is a sentence for people.
	Why string
}

// Bounds on what is spent on an explanation, so that it costs little however many
// signers are registered and however many strangers signed. Decisions do not
// depend on them.
const (
	maxCompared = 1000 // comparisons altogether
	maxNear     = 16   // signers that a stranger's signature is compared with
)

// How near a signature came. Higher is nearer.
const (
	nothing     = iota
	otherKind   // key-signed where identities are trusted, or the other way round
	otherKey    // some other key
	sameIssuer  // the issuer is trusted for other subjects
	sameSubject // the subject is trusted from another issuer
	almost      // letters differ in case only, or by a slash at the end
	otherClaim  // trusted with other claims of the certificate
	otherRoot   // trusted from another trust root
	outOfScope  // trusted for other images
	outOfTime   // disabled, not yet or no longer trusted, or signed at another time
)

// closeness orders candidates: by rank, then by the length of what the subject
// has in common with the signer's, or how many claims are met.
type closeness struct {
	rank, common int
}

func (c closeness) over(o closeness) bool {
	return c.rank > o.rank || (c.rank == o.rank && c.common > o.common)
}

// Nearest finds the unmatched signature that came closest to a signer of the
// set. Signatures that match are skipped. The result is the same for any order
// of sigs that is sorted by id, as facts are.
func (s *Set) Nearest(sigs []facts.Signature, name string, at time.Time) (Near, bool) {
	var best Near
	var found closeness
	left := maxCompared
	for _, sig := range sigs {
		if len(s.Match(sig, name, at)) > 0 {
			continue
		}
		for _, e := range s.candidates(sig.Signer) {
			if left--; left < 0 {
				return best, found.rank > nothing
			}
			near, c := e.compare(sig, name, at)
			if c.rank > nothing && c.over(found) {
				near.Fact, near.Principal, near.Signer = sig.ID, sig.Principal, e.Name
				best, found = near, c
			}
		}
	}
	return best, found.rank > nothing
}

// candidates narrows the signers to those worth comparing.
func (s *Set) candidates(sig facts.Signer) []*entry {
	if known := s.recognise(sig); len(known) > 0 {
		return known
	}
	if s.anyone == nil {
		return nil // the zero set
	}
	first := func(list []*entry) []*entry { return list[:min(len(list), maxNear)] }
	switch sig.Kind {
	case facts.KindKey:
		if len(s.keyed) > 0 {
			return first(s.keyed)
		}
		return first(s.anyone.sorted)
	case facts.KindCertificate:
		if same := s.anyone.recognise(sig.Subject); len(same) > 0 {
			return same
		}
		if iss := s.issuers[sig.Issuer]; iss != nil {
			return iss.near(sig.Subject, maxNear)
		}
		if len(s.anyone.sorted) > 0 {
			return s.anyone.near(sig.Subject, maxNear)
		}
		return first(s.keyed)
	}
	return nil
}

func (e *entry) compare(sig facts.Signature, name string, at time.Time) (Near, closeness) {
	switch {
	case sig.Signer.Kind == facts.KindKey && e.Type != Keyless:
		for _, k := range e.Keys {
			if k.Fingerprint == sig.Signer.Fingerprint {
				return e.outside(sig, name, at)
			}
		}
		return Near{
			Field: "key", Want: e.Keys[0].Fingerprint, Have: sig.Signer.Fingerprint,
			Why: fmt.Sprintf("It was signed with the key %s; the trusted signer %s has another key, %s.", short(sig.Signer.Fingerprint), e.Name, short(e.Keys[0].Fingerprint)),
		}, closeness{rank: otherKey}
	case sig.Signer.Kind == facts.KindCertificate && e.Type == Keyless:
		return e.compareIdentity(sig, name, at)
	case sig.Signer.Kind == facts.KindCertificate:
		return Near{
			Field: "type", Want: string(e.Type), Have: string(Keyless),
			Why: fmt.Sprintf("It was signed keyless by %s; the trusted signer %s is a public key.", sig.Principal, e.Name),
		}, closeness{rank: otherKind}
	case sig.Signer.Kind == facts.KindKey:
		return Near{
			Field: "type", Want: string(Keyless), Have: string(PublicKey),
			Why: fmt.Sprintf("It was signed with the key %s; the trusted signer %s is a keyless identity.", short(sig.Signer.Fingerprint), e.Name),
		}, closeness{rank: otherKind}
	}
	return Near{}, closeness{}
}

func (e *entry) compareIdentity(signature facts.Signature, name string, at time.Time) (Near, closeness) {
	sig := signature.Signer
	want, common := e.Subject, 0
	subject := sig.Subject == e.Subject
	if e.pattern != nil {
		want, subject = e.SubjectRegex, e.pattern.match(sig.Subject)
		common = commonPrefix(e.pattern.prefix, sig.Subject)
	} else {
		common = commonPrefix(e.Subject, sig.Subject)
	}
	switch {
	case sig.Issuer == e.Issuer && subject:
		return e.outside(signature, name, at)
	case sig.Issuer == e.Issuer && strings.EqualFold(sig.Subject, e.Subject):
		return Near{
			Field: "subject", Want: want, Have: sig.Subject,
			Why: fmt.Sprintf("The subject of the trusted signer %s differs in upper and lower case only; identities are compared to the letter.", e.Name),
		}, closeness{almost, common}
	case sig.Issuer == e.Issuer:
		why := fmt.Sprintf("The issuer is that of the trusted signer %s; the subject is another.", e.Name)
		if e.pattern != nil {
			why = fmt.Sprintf("The issuer is that of the trusted signer %s; the whole subject does not match its subject_regex, which is anchored at both ends.", e.Name)
		}
		return Near{Field: "subject", Want: want, Have: sig.Subject, Why: why}, closeness{sameIssuer, common}
	case subject && sameIgnoringCaseAndSlash(sig.Issuer, e.Issuer):
		return Near{
			Field: "issuer", Want: e.Issuer, Have: sig.Issuer,
			Why: fmt.Sprintf("The issuer of the trusted signer %s differs in case or by a slash at the end only; issuers are compared to the letter.", e.Name),
		}, closeness{almost, common}
	case subject:
		return Near{
			Field: "issuer", Want: e.Issuer, Have: sig.Issuer,
			Why: fmt.Sprintf("The subject is that of the trusted signer %s, but vouched for by another issuer.", e.Name),
		}, closeness{sameSubject, common}
	}
	return Near{
		Field: "issuer", Want: e.Issuer, Have: sig.Issuer,
		Why: fmt.Sprintf("Neither issuer nor subject is that of the trusted signer %s.", e.Name),
	}, closeness{otherKey, common}
}

// outside explains why a signer whose identity or key made the signature does not
// count for it, or not for this image at this time.
func (e *entry) outside(sig facts.Signature, name string, at time.Time) (Near, closeness) {
	if near, c := e.constrained(sig); c.rank > nothing {
		return near, c
	}
	now := at.UTC().Format(time.RFC3339)
	switch {
	case !e.Enabled:
		return Near{Field: "enabled", Want: "true", Have: "false", Why: fmt.Sprintf("The trusted signer %s made it, but is disabled.", e.Name)}, closeness{rank: outOfTime}
	case e.NotBefore != nil && at.Before(*e.NotBefore):
		from := e.NotBefore.UTC().Format(time.RFC3339)
		return Near{Field: "not_before", Want: from, Have: now, Why: fmt.Sprintf("The trusted signer %s made it, but is trusted only from %s on.", e.Name, from)}, closeness{rank: outOfTime}
	case e.ExpiresAt != nil && !at.Before(*e.ExpiresAt):
		until := e.ExpiresAt.UTC().Format(time.RFC3339)
		return Near{Field: "expires_at", Want: until, Have: now, Why: fmt.Sprintf("The trusted signer %s made it, but expired at %s.", e.Name, until)}, closeness{rank: outOfTime}
	case !e.signedWithin(sig.SignedAt):
		return e.signedElsewhen(sig.SignedAt), closeness{rank: outOfTime}
	case !e.scope.Covers(name):
		have := name
		if have == "" {
			have = "no name"
		}
		return Near{
			Field: "images", Want: strings.Join(e.scope.Patterns(), ", "), Have: have,
			Why: fmt.Sprintf("The trusted signer %s made it, but may sign other images only.", e.Name),
		}, closeness{rank: outOfScope}
	}
	return Near{}, closeness{} // it matches after all
}

// constrained explains what else of a certificate is not as the signer wants it:
// a claim, or the trust root that vouches for it.
func (e *entry) constrained(sig facts.Signature) (Near, closeness) {
	met, first := 0, -1
	for i, c := range e.claims {
		switch {
		case c.meets(sig.Signer.Claims):
			met++
		case first < 0:
			first = i
		}
	}
	switch {
	case first >= 0:
		c := e.claims[first]
		near := Near{Field: "claims." + c.name, Want: c.want, Have: "none"}
		if have, ok := sig.Signer.Claims[c.name]; ok {
			near.Have = have
			near.Why = fmt.Sprintf("The identity is that of the trusted signer %s, which wants another %s.", e.Name, c.name)
		} else {
			near.Why = fmt.Sprintf("The identity is that of the trusted signer %s, which wants a %s, and the certificate has none.", e.Name, c.name)
		}
		return near, closeness{otherClaim, met}
	case len(e.TrustRoots) > 0 && !slices.Contains(e.TrustRoots, sig.TrustRoot):
		return Near{
			Field: "trust_roots", Want: strings.Join(e.TrustRoots, ", "), Have: sig.TrustRoot,
			Why: fmt.Sprintf("The identity is that of the trusted signer %s, which no other trust root may vouch for than %s.", e.Name, strings.Join(e.TrustRoots, " or ")),
		}, closeness{rank: otherRoot}
	}
	return Near{}, closeness{}
}

// signedElsewhen explains a signature that was made when the signer's did not
// count, or nobody can tell when.
func (e *entry) signedElsewhen(t *time.Time) Near {
	near := Near{Field: "signed_until", Have: "no verified time"}
	bound, word := e.SignedUntil, "until"
	if e.SignedFrom != nil && (t == nil || t.Before(*e.SignedFrom)) {
		near.Field, bound, word = "signed_from", e.SignedFrom, "from"
	}
	near.Want = bound.UTC().Format(time.RFC3339)
	if t == nil {
		near.Why = fmt.Sprintf("The trusted signer %s made it, but its signatures count only %s %s, and no time of signing is verified: sign with a timestamp or a transparency log.", e.Name, word, near.Want)
		return near
	}
	near.Have = t.UTC().Format(time.RFC3339)
	near.Why = fmt.Sprintf("The trusted signer %s made it at %s, but its signatures count only %s %s.", e.Name, near.Have, word, near.Want)
	return near
}

func sameIgnoringCaseAndSlash(a, b string) bool {
	return strings.EqualFold(strings.TrimSuffix(a, "/"), strings.TrimSuffix(b, "/"))
}

func commonPrefix(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// short is enough of a fingerprint to tell keys apart in a sentence.
func short(fingerprint string) string {
	if len(fingerprint) <= 16 {
		return fingerprint
	}
	return fingerprint[:16] + "…"
}
