package ocitest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
)

// Media types.
const (
	MediaTypeManifest       = "application/vnd.oci.image.manifest.v1+json"
	MediaTypeIndex          = "application/vnd.oci.image.index.v1+json"
	MediaTypeDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	MediaTypeDockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	MediaTypeConfig         = "application/vnd.oci.image.config.v1+json"
	MediaTypeDockerConfig   = "application/vnd.docker.container.image.v1+json"
	MediaTypeLayer          = "application/vnd.oci.image.layer.v1.tar+gzip"
	MediaTypeDockerLayer    = "application/vnd.docker.image.rootfs.diff.tar.gzip"
	MediaTypeEmpty          = "application/vnd.oci.empty.v1+json"
	ArtifactTypeCosignSig   = "application/vnd.dev.cosign.artifact.sig.v1+json"
)

// Platform of an image in an index.
type Platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
	Variant      string `json:"variant,omitempty"`
}

// Descriptor points to content.
type Descriptor struct {
	MediaType    string            `json:"mediaType"`
	Size         int64             `json:"size"`
	Digest       string            `json:"digest"`
	Platform     *Platform         `json:"platform,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
	ArtifactType string            `json:"artifactType,omitempty"`
}

// Manifest is an image manifest or an index, whichever fields are set.
type Manifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType,omitempty"`
	ArtifactType  string            `json:"artifactType,omitempty"`
	Config        *Descriptor       `json:"config,omitempty"`
	Layers        []Descriptor      `json:"layers,omitempty"`
	Manifests     []Descriptor      `json:"manifests,omitempty"`
	Annotations   map[string]string `json:"annotations,omitempty"`
	Subject       *Descriptor       `json:"subject,omitempty"`
}

// Artifact is a manifest with everything that it points to.
type Artifact struct {
	MediaType    string
	Raw          []byte
	Blobs        [][]byte
	Children     []*Artifact // manifests of an index
	Platform     *Platform
	ArtifactType string
	Annotations  map[string]string
	InIndex      map[string]string // annotations of the descriptor in an index
}

// Digest of bytes, "sha256:<hex>".
func Digest(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Digest of the manifest.
func (a *Artifact) Digest() string { return Digest(a.Raw) }

// Descriptor of the manifest, as an index lists it.
func (a *Artifact) Descriptor() Descriptor {
	return Descriptor{
		MediaType: a.MediaType, Size: int64(len(a.Raw)), Digest: a.Digest(),
		Platform: a.Platform, ArtifactType: a.ArtifactType,
	}
}

// Subject is the descriptor that a referrer points with.
func (a *Artifact) Subject() Descriptor {
	return Descriptor{MediaType: a.MediaType, Size: int64(len(a.Raw)), Digest: a.Digest()}
}

// DigestOnly is a subject of which nothing but the digest is known.
func DigestOnly(digest string) Descriptor {
	return Descriptor{MediaType: MediaTypeManifest, Digest: digest}
}

// Raw is any manifest, right or wrong.
func Raw(mediaType string, raw []byte, blobs ...[]byte) *Artifact {
	return &Artifact{MediaType: mediaType, Raw: raw, Blobs: blobs}
}

// New encodes a manifest.
func New(m Manifest, blobs ...[]byte) *Artifact {
	m.SchemaVersion = 2
	return &Artifact{
		MediaType: m.MediaType, Raw: encode(m), Blobs: blobs,
		ArtifactType: m.ArtifactType, Annotations: m.Annotations,
	}
}

// Describe is the descriptor of a blob.
func Describe(mediaType string, content []byte) Descriptor {
	return Descriptor{MediaType: mediaType, Size: int64(len(content)), Digest: Digest(content)}
}

// Tag is the tag that stands for a digest: "sha256-<hex>" with a suffix of "" for
// the OCI referrers fallback, ".sig" or ".att" for cosign.
func Tag(digest, suffix string) string { return strings.Replace(digest, ":", "-", 1) + suffix }

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		// Structs of strings, numbers and maps of strings always encode.
		panic(fmt.Sprintf("ocitest: encoding: %v", err))
	}
	return b
}
