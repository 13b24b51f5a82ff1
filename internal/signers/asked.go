package signers

import "time"

// Identity is a trusted signer as another verifier is asked about it.
type Identity struct {
	Signer
	// Pattern is the whole expression that a subject must match, where the signer has
	// a SubjectRegex.
	Pattern string
	// Narrow says that the signer has conditions which another verifier is not told:
	// claims, trust roots, or times of signing.
	Narrow bool
}

// Identities gives the signers that are trusted for the image name at a time, in the
// order of their names. Where there are more than most, more is true.
func (s *Set) Identities(name string, at time.Time, most int) (list []Identity, more bool) {
	for _, e := range s.entries {
		if !e.trusts(name, at) {
			continue
		}
		if len(list) == most {
			return list, true
		}
		i := Identity{Signer: e.Signer, Narrow: len(e.Claims) > 0 || len(e.TrustRoots) > 0 || e.SignedFrom != nil || e.SignedUntil != nil}
		if e.pattern != nil {
			i.Pattern = e.pattern.re.String()
		}
		list = append(list, i)
	}
	return list, false
}
