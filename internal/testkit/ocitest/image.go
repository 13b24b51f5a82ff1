package ocitest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"time"
)

// ImageOptions choose an image. Equal options make equal bytes.
type ImageOptions struct {
	// Content is written to the image's only file, /content.
	Content string
	// Platform is linux/amd64 unless set.
	Platform Platform
	// Docker writes Docker's media types.
	Docker bool
	// Annotations of the manifest.
	Annotations map[string]string
	// Labels of the configuration.
	Labels map[string]string
}

// Image makes a real image of one layer with one file, about 3 kB in all.
func Image(o ImageOptions) *Artifact {
	if o.Platform == (Platform{}) {
		o.Platform = Platform{Architecture: "amd64", OS: "linux"}
	}
	layer, diffID := layer(o.Content)
	config := encode(map[string]any{
		"architecture": o.Platform.Architecture,
		"os":           o.Platform.OS,
		"variant":      o.Platform.Variant,
		"created":      "2025-01-01T00:00:00Z",
		"config":       map[string]any{"Labels": o.Labels},
		"history":      []any{map[string]any{"created": "2025-01-01T00:00:00Z"}},
		"rootfs":       map[string]any{"type": "layers", "diff_ids": []string{diffID}},
	})
	m := Manifest{MediaType: MediaTypeManifest, Annotations: o.Annotations}
	configType, layerType := MediaTypeConfig, MediaTypeLayer
	if o.Docker {
		m.MediaType, configType, layerType = MediaTypeDockerManifest, MediaTypeDockerConfig, MediaTypeDockerLayer
	}
	c := Describe(configType, config)
	m.Config, m.Layers = &c, []Descriptor{Describe(layerType, layer)}
	a := New(m, config, layer)
	a.Platform = &o.Platform
	return a
}

// Index makes an image index of these images, with their platforms.
func Index(children ...*Artifact) *Artifact {
	m := Manifest{MediaType: MediaTypeIndex}
	for _, c := range children {
		d := c.Descriptor()
		d.Annotations = c.InIndex
		m.Manifests = append(m.Manifests, d)
	}
	a := New(m)
	a.Children = children
	return a
}

// BuildKitAttestation is what BuildKit adds to an index beside an image: an
// unsigned attestation manifest of platform unknown/unknown, which annotations in
// the index tie to the image.
func BuildKitAttestation(image *Artifact, statement []byte) *Artifact {
	config := encode(map[string]any{
		"architecture": "unknown", "os": "unknown",
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{Digest(statement)}},
	})
	c := Describe(MediaTypeConfig, config)
	l := Describe("application/vnd.in-toto+json", statement)
	l.Annotations = map[string]string{"in-toto.io/predicate-type": "https://slsa.dev/provenance/v0.2"}
	a := New(Manifest{MediaType: MediaTypeManifest, Config: &c, Layers: []Descriptor{l}}, config, statement)
	a.Platform = &Platform{Architecture: "unknown", OS: "unknown"}
	a.InIndex = map[string]string{
		"vnd.docker.reference.type":   "attestation-manifest",
		"vnd.docker.reference.digest": image.Digest(),
	}
	return a
}

// layer is a gzipped tar with one file, and its diff id.
func layer(content string) (blob []byte, diffID string) {
	var archive bytes.Buffer
	tw := tar.NewWriter(&archive)
	header := &tar.Header{Name: "content", Mode: 0o644, Size: int64(len(content)), ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}
	err := tw.WriteHeader(header)
	if err == nil {
		_, err = tw.Write([]byte(content))
	}
	if err == nil {
		err = tw.Close()
	}
	var zipped bytes.Buffer
	// Stored, not compressed: the bytes must not depend on the Go version.
	zw, zerr := gzip.NewWriterLevel(&zipped, gzip.NoCompression)
	if err == nil {
		err = zerr
	}
	if err == nil {
		_, err = zw.Write(archive.Bytes())
	}
	if err == nil {
		err = zw.Close()
	}
	if err != nil {
		// Writing to memory does not fail.
		panic(fmt.Sprintf("ocitest: packing a layer: %v", err))
	}
	return zipped.Bytes(), Digest(archive.Bytes())
}
