package registry

import (
	"strings"

	"github.com/signet-policy/signet/internal/evidence"
)

// artifactTypeCosignSig is the artifact type of cosign's old signature manifests
// behind the referrers API (cosign sign --registry-referrers-mode oci-1-1).
const artifactTypeCosignSig = "application/vnd.dev.cosign.artifact.sig.v1+json"

// layerKind says what a layer is, by its media type alone: annotations and the
// manifest's artifact type are not what was signed. ok is false for layers that
// are no evidence.
func layerKind(mediaType string) (kind evidence.Kind, ok bool) {
	t := mediaTypeOf(mediaType)
	switch {
	case strings.HasPrefix(t, evidence.MediaTypeBundlePrefix):
		return evidence.KindBundle, true
	case t == evidence.MediaTypeSimpleSigning:
		return evidence.KindSimpleSigning, true
	case t == evidence.MediaTypeDSSE, strings.HasPrefix(t, "application/vnd.in-toto") && strings.HasSuffix(t, "+dsse"):
		return evidence.KindDSSE, true
	case isUnsignedType(t):
		return evidence.KindUnsigned, true
	}
	return "", false
}

// isUnsignedType knows the types of statements and reports that carry no
// signature of their own: in-toto statements, SBOMs, vulnerability reports.
func isUnsignedType(t string) bool {
	for _, part := range []string{"vnd.in-toto", "spdx", "cyclonedx", "syft", "sarif", "openvex", "csaf", "vulnerability.report", "vuln"} {
		if strings.Contains(t, part) {
			return true
		}
	}
	return false
}

// claimedKind says what a manifest claims to carry, by its artifact type. It
// decides only whether to report that the claim is empty.
func claimedKind(artifactType string) (evidence.Kind, bool) {
	if mediaTypeOf(artifactType) == artifactTypeCosignSig {
		return evidence.KindSimpleSigning, true
	}
	return layerKind(artifactType)
}
