package signingpolicy

import (
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/signet-policy/signet/internal/facts"
)

// namedTypes are the predicate types that have a short name: those that cosign's
// --type has (https://github.com/sigstore/cosign/blob/main/specs/COSIGN_PREDICATE_SPEC.md),
// and two of our own. A name stands for all versions of its type that are in use.
func namedTypes() map[string][]string {
	spdx := versions("https://spdx.dev/Document", "v2.2", "v2.3", "v3.0")
	vuln := append([]string{"https://cosign.sigstore.dev/attestation/vuln/v1"}, versions("https://in-toto.io/attestation/vulns", "v0.1", "v0.2")[1:]...)
	return map[string][]string{
		"spdx":             spdx,
		"spdxjson":         spdx,
		"cyclonedx":        versions("https://cyclonedx.org/bom", "v1.2", "v1.3", "v1.4", "v1.5", "v1.6", "v1.7"),
		"vuln":             vuln,
		"openvex":          versions("https://openvex.dev/ns", "v0.0.1", "v0.2.0"),
		"slsaprovenance":   versions("https://slsa.dev/provenance", "v0.1", "v0.2", "v1")[1:],
		"slsaprovenance02": {"https://slsa.dev/provenance/v0.2"},
		"slsaprovenance1":  {"https://slsa.dev/provenance/v1"},
		"link":             {"https://in-toto.io/Link/v1"},
		"custom":           {"https://cosign.sigstore.dev/attestation/v1"},
		"test-result":      {"https://in-toto.io/attestation/test-result/v0.1"},
		"vsa":              versions("https://slsa.dev/verification_summary", "v0.1", "v0.2", "v1")[1:],
	}
}

// versions gives a type without a version, and with each.
func versions(uri string, list ...string) []string {
	out := []string{uri}
	for _, v := range list {
		out = append(out, uri+"/"+v)
	}
	return out
}

// kinds are the projections that predicates of a type have, by short names.
func kinds() map[string]string {
	return map[string]string{
		"spdx": facts.ProjectionSBOM, "spdxjson": facts.ProjectionSBOM, "cyclonedx": facts.ProjectionSBOM, "vuln": facts.ProjectionScan,
		"openvex": facts.ProjectionVEX, "test-result": facts.ProjectionTestResult, "vsa": facts.ProjectionVSA,
	}
}

// predicateTypes gives the types that a name or URI stands for, and the kind of
// their projections, "" for none. There are no types where it stands for nothing.
func predicateTypes(name string) (types []string, kind string) {
	if types := namedTypes()[name]; types != nil {
		return types, kinds()[name]
	}
	if u, err := url.Parse(name); err != nil || u.Scheme == "" || u.Host == "" && u.Opaque == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return nil, ""
	}
	for _, short := range slices.Sorted(maps.Keys(namedTypes())) {
		if slices.Contains(namedTypes()[short], name) {
			return []string{name}, kinds()[short]
		}
	}
	return []string{name}, ""
}

func shortNames() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(namedTypes())), func(s string) bool { return s == "spdxjson" })
}
