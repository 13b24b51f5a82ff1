package facts

import (
	"maps"
	"slices"
)

// Build is what the SLSA provenance of one attestation proves about how its
// subject was built, under a builder profile, and whether the policy trusts that.
// It was computed before the policy was asked, from the signing certificate
// first: the predicate is the words of whoever signed it.
type Build struct {
	// Profile is the name of the builder profile that fits, "" where none does.
	Profile string `json:"profile"`
	// Unproven profiles are made from a builder's documentation alone.
	Unproven bool `json:"unproven"`
	// Level is the SLSA Build level that is proven, 0 to 3, whoever built it.
	Level int `json:"level"`
	// Builder is the identity that is compared with trusted builders, "" where
	// nobody vouches for one.
	Builder string `json:"builder"`
	// Reusable is true where the builder is not a workflow of the source's own
	// repository.
	Reusable bool `json:"reusable"`
	// Source is what the certificate says was built. Of a signer that is registered
	// as the builder's it is what the builder says; of other keys it is empty.
	Source BuildSource `json:"source"`
	// Contradictions are where the predicate says otherwise than the certificate.
	Contradictions []Contradiction `json:"contradictions"`
	// Missing says per level ("1", "2", "3") what it lacked.
	Missing map[string][]string `json:"missing"`
	// TrustedBuilder is the entry of the policy's trusted builders that the builder
	// is, null for none.
	TrustedBuilder *string `json:"trusted_builder"`
	// TrustedSource is the entry of the policy's trusted sources that the source is
	// within, null for none.
	TrustedSource *string `json:"trusted_source"`
	// Untrusted says why the builder or the source is none that the policy trusts;
	// empty where both are.
	Untrusted []string `json:"untrusted"`
}

// BuildSource is the source of a build, as whoever vouches for the build says.
type BuildSource struct {
	Repository string `json:"repository"`
	Ref        string `json:"ref"`
	Digest     string `json:"digest"`
}

// Contradiction is one field of the predicate and what the certificate says.
type Contradiction struct {
	Field       string `json:"field"`
	Certificate string `json:"certificate"`
	Predicate   string `json:"predicate"`
}

// Believed says whether rules may read what the attestation says: a builder that
// the policy trusts made it of a source that it trusts, and nothing in it is
// contradicted.
func (b Build) Believed() bool {
	return b.Level > 0 && b.TrustedBuilder != nil && len(b.Untrusted) == 0
}

// clone is apart from b: an input must not share lists with a frame.
func (b Build) clone() *Build {
	b.Contradictions, b.Untrusted = orEmpty(slices.Clone(b.Contradictions)), orEmpty(slices.Clone(b.Untrusted))
	missing := make(map[string][]string, len(b.Missing))
	for level, why := range maps.All(b.Missing) {
		missing[level] = slices.Clone(why)
	}
	b.Missing = missing
	return &b
}
