// Package evidence holds what was found and is not yet believed: bytes from
// registries and files, how the search for them went, and the limits on all of
// it. Nothing here is verified; package verify turns items into facts.
package evidence

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"
)

// Kind tells verify how to read an item. It is chosen by the layer's media
// type, never by annotations of a manifest.
type Kind string

// Kinds of evidence.
const (
	// KindBundle is a Sigstore bundle, v0.1 to v0.3, as JSON.
	KindBundle Kind = "bundle"
	// KindSimpleSigning is cosign's old signature: Bytes is the simplesigning
	// payload, Annotations are the layer's.
	KindSimpleSigning Kind = "cosign-signature"
	// KindDSSE is cosign's old attestation: Bytes is a DSSE envelope,
	// Annotations are the layer's.
	KindDSSE Kind = "cosign-attestation"
	// KindUnsigned is something that claims to be evidence and has a type that
	// carries no signature (an in-toto statement or an SBOM as a plain blob).
	KindUnsigned Kind = "unsigned"
)

// Media types of evidence layers.
const (
	MediaTypeSimpleSigning = "application/vnd.dev.cosign.simplesigning.v1+json"
	MediaTypeDSSE          = "application/vnd.dsse.envelope.v1+json"
	MediaTypeBundlePrefix  = "application/vnd.dev.sigstore.bundle"
)

// Annotations of cosign's old format, on layers.
const (
	AnnotationSignature   = "dev.cosignproject.cosign/signature"
	AnnotationCertificate = "dev.sigstore.cosign/certificate"
	AnnotationChain       = "dev.sigstore.cosign/chain"
	AnnotationBundle      = "dev.sigstore.cosign/bundle"
	AnnotationRFC3161     = "dev.sigstore.cosign/rfc3161timestamp"
)

// Item is one piece of evidence.
type Item struct {
	Kind      Kind
	MediaType string
	// SubjectDigest is the digest that the item was attached to.
	SubjectDigest string
	// Where tells a person where it was found, for example
	// "ghcr.io/org/app@sha256:… (referrer)".
	Where string
	Bytes []byte
	// Large has the bytes of an item of [SpooledFrom] bytes and more that was fetched;
	// Bytes is then empty.
	Large       *Spool `json:"-"`
	Annotations map[string]string
	// Broken is set when the item could not be read for a reason that a retry
	// will not mend (404, wrong size or digest, over its own limit): it becomes
	// a rejection, and the search stays complete. Bytes is then empty.
	Broken *Broken
	// ID is "sha256:<hex>", see [Identify].
	ID string
}

// Broken says why an item could not be read, with a rejection code of package
// facts.
type Broken struct {
	Code    string
	Message string
}

// Identify gives an item's id: the digest of a bundle's bytes; for the old
// formats a digest over kind, payload digest and annotations, because the
// annotations carry the signature.
func Identify(kind Kind, body []byte, annotations map[string]string) string {
	return identify(kind, sha256.Sum256(body), annotations)
}

func identify(kind Kind, sum [sha256.Size]byte, annotations map[string]string) string {
	if kind == KindBundle || kind == KindUnsigned {
		return "sha256:" + hex.EncodeToString(sum[:])
	}
	// json.Marshal sorts map keys, and a map of strings always encodes.
	ann, _ := json.Marshal(annotations)
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%x\n", kind, sum)
	h.Write(ann)
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// Query says what to look for.
type Query struct {
	// Image as it was asked for: a registry reference, or "oci-layout:PATH…"
	// where the caller may name files.
	Image string
	// Platform is "os/architecture[/variant]"; "" for no platform in particular.
	Platform string
	// AllPlatforms asks for the evidence of every platform of an index.
	AllPlatforms bool
	// EvidenceOnly gathers evidence about a digest whose manifest may be absent.
	EvidenceOnly bool
	// Refresh bypasses leases.
	Refresh bool
}

// Found is the outcome of a search.
type Found struct {
	Items  []Item
	Search Search
}

// Probe is how one way of looking went.
type Probe string

// Probes, from best to worst.
const (
	ProbeNotAsked    Probe = "not_asked"
	ProbeFound       Probe = "found"
	ProbeEmpty       Probe = "empty"
	ProbeUnsupported Probe = "unsupported"
	ProbeFailed      Probe = "failed"
)

// Search tells how the search went. Complete is false when something that a
// retry may mend, or a count limit, kept us from seeing everything.
type Search struct {
	Complete     bool
	Repositories []string
	ReferrersAPI Probe
	FallbackTag  Probe
	CosignTags   Probe
	Problems     []Problem
}

// Problem is a failure while resolving or searching. It is an error, so that
// resolving can return it; Code decides what the engine answers.
type Problem struct {
	Code    string
	Where   string
	Message string
	// RetryAfter is what the registry asked for, 0 where it said nothing.
	RetryAfter time.Duration
	Err        error
}

// Problem codes.
const (
	// Unknown: could not find out.
	CodeImageNotFound    = "image_not_found"
	CodeUnauthorized     = "registry_unauthorized" // 401, 403
	CodeRateLimited      = "registry_rate_limited" // 429
	CodeUnavailable      = "registry_unavailable"  // 5xx, timeout, connection, protocol
	CodeAddressRefused   = "address_refused"       // loopback, private, link-local, metadata
	CodeNotAllowed       = "registry_not_allowed"  // not on the allow-list of registries
	CodeRedirectRefused  = "redirect_refused"      // redirect or Link that may not be followed
	CodeEvidenceTooLarge = "evidence_too_large"    // a count or total-size limit was hit
	CodePlatformNotFound = "platform_not_found"    // the index has no such platform
	// Deny: the registry answered, and the answer is not what it says it is.
	CodeDigestMismatch    = "digest_mismatch"
	CodeManifestAmbiguous = "manifest_ambiguous"
	// CodeManifestUnsupported: an answer, but of a type that is neither an image
	// nor an index, or Docker's schema 1, which cannot be verified.
	CodeManifestUnsupported = "manifest_unsupported"
	// The caller's mistake.
	CodeInvalidReference = "invalid_reference"
)

func (p *Problem) Error() string {
	if p.Where == "" {
		return p.Message
	}
	return p.Where + ": " + p.Message
}

func (p *Problem) Unwrap() error { return p.Err }
