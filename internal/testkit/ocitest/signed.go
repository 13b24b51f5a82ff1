package ocitest

import (
	"time"

	"github.com/signet-policy/signet/internal/testkit/sigstack"
)

// BundleOptions are the parts of a bundle's manifest that cosign fills in.
type BundleOptions struct {
	MediaType     string // artifact and layer type; default Sigstore bundle v0.3
	PredicateType string // annotation; "": left out
	Content       string // annotation; default "dsse-envelope"
	Created       time.Time
	Annotations   map[string]string // further ones
}

// Bundle is the manifest that cosign writes for a Sigstore bundle: a referrer of
// the subject with an empty configuration and the bundle as its only layer.
func Bundle(subject Descriptor, bundle []byte, o BundleOptions) *Artifact {
	if o.MediaType == "" {
		o.MediaType = sigstack.V03.MediaType()
	}
	if o.Content == "" {
		o.Content = "dsse-envelope"
	}
	if o.Created.IsZero() {
		o.Created = time.Date(2025, 6, 2, 10, 0, 0, 0, time.UTC)
	}
	annotations := map[string]string{
		"dev.sigstore.bundle.content":      o.Content,
		"org.opencontainers.image.created": o.Created.UTC().Format(time.RFC3339),
	}
	if o.PredicateType != "" {
		annotations["dev.sigstore.bundle.predicateType"] = o.PredicateType
	}
	for k, v := range o.Annotations {
		annotations[k] = v
	}
	empty := []byte("{}")
	config := Describe(MediaTypeEmpty, empty)
	config.ArtifactType = o.MediaType // cosign's library writes it there, too
	return New(Manifest{
		MediaType:    MediaTypeManifest,
		ArtifactType: o.MediaType,
		Config:       &config,
		Layers:       []Descriptor{Describe(o.MediaType, bundle)},
		Annotations:  annotations,
		Subject:      &subject,
	}, empty, bundle)
}

// Evidence is [Bundle] for evidence in memory, in the given bundle version.
func Evidence(subject Descriptor, ev *sigstack.Evidence, v sigstack.Version) (*Artifact, error) {
	raw, err := ev.Bundle(v)
	if err != nil {
		return nil, err
	}
	o := BundleOptions{MediaType: v.MediaType(), PredicateType: ev.PredicateType}
	if ev.Envelope == nil {
		o.Content = "message-signature"
	}
	return Bundle(subject, raw, o), nil
}

// Cosign is the manifest of a .sig or .att tag.
func Cosign(layers ...sigstack.Layer) *Artifact { return cosign(MediaTypeConfig, nil, layers) }

// CosignReferrer is the same manifest put behind the referrers API, as cosign
// does with --registry-referrers-mode oci-1-1.
func CosignReferrer(subject Descriptor, layers ...sigstack.Layer) *Artifact {
	return cosign(ArtifactTypeCosignSig, &subject, layers)
}

func cosign(configType string, subject *Descriptor, layers []sigstack.Layer) *Artifact {
	m := Manifest{MediaType: MediaTypeManifest, Subject: subject}
	if subject != nil {
		m.ArtifactType = configType
	}
	var blobs [][]byte
	diffIDs := []string{}
	for _, l := range layers {
		d := Describe(l.MediaType, l.Content)
		d.Annotations = l.Annotations
		m.Layers = append(m.Layers, d)
		diffIDs = append(diffIDs, d.Digest)
		blobs = append(blobs, l.Content)
	}
	config := encode(map[string]any{
		"architecture": "",
		"os":           "",
		"created":      "0001-01-01T00:00:00Z",
		"history":      []any{map[string]any{"created": "0001-01-01T00:00:00Z"}},
		"rootfs":       map[string]any{"type": "layers", "diff_ids": diffIDs},
		"config":       map[string]any{},
	})
	c := Describe(configType, config)
	m.Config = &c
	return New(m, append(blobs, config)...)
}

// Fallback is the index of the referrers fallback tag, as clients keep it on a
// registry without the API. They write no annotations.
func Fallback(referrers ...*Artifact) *Artifact {
	m := Manifest{MediaType: MediaTypeIndex, Manifests: []Descriptor{}}
	for _, r := range referrers {
		d := r.Descriptor()
		d.Platform = nil
		m.Manifests = append(m.Manifests, d)
	}
	a := New(m)
	a.Children = referrers
	return a
}
