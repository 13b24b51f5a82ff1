package cosign

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/signet-policy/signet/internal/evidence"
)

// served is a registry on the loopback address with one repository, whose name
// nobody can guess: the manifests of the image and the evidence that was found.
type served struct {
	repository string
	listener   net.Listener
	server     *http.Server
	// manifests by digest and by tag, blobs by digest, referrers by subject.
	manifests map[string]manifest
	blobs     map[string][]byte
	referrers map[string][]descriptor
}

type manifest struct {
	mediaType string
	body      []byte
}

type descriptor struct {
	MediaType    string            `json:"mediaType"`
	Digest       string            `json:"digest"`
	Size         int               `json:"size"`
	ArtifactType string            `json:"artifactType,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
}

type document struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	ArtifactType  string       `json:"artifactType,omitempty"`
	Config        *descriptor  `json:"config,omitempty"`
	Layers        []descriptor `json:"layers,omitempty"`
	Subject       *descriptor  `json:"subject,omitempty"`
	Manifests     []descriptor `json:"manifests"`
}

const (
	mediaManifest = "application/vnd.oci.image.manifest.v1+json"
	mediaIndex    = "application/vnd.oci.image.index.v1+json"
	mediaEmpty    = "application/vnd.oci.empty.v1+json"
	mediaConfig   = "application/vnd.oci.image.config.v1+json"
)

func digestOf(body []byte) string {
	sum := sha256.Sum256(body)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// serve makes the registry.
func (c *CLI) serve(ctx context.Context, q Question) (*served, error) {
	var name [16]byte
	if _, err := rand.Read(name[:]); err != nil {
		return nil, fmt.Errorf("cosign: %w", err)
	}
	s := &served{
		repository: "e" + hex.EncodeToString(name[:]),
		manifests:  map[string]manifest{}, blobs: map[string][]byte{}, referrers: map[string][]descriptor{},
	}
	for _, digest := range q.Digests {
		body, mediaType, err := c.cfg.Manifest(ctx, q.Image, digest)
		if err != nil {
			return nil, fmt.Errorf("cosign: the image's manifest: %w", err)
		}
		if digestOf(body) != digest {
			return nil, fmt.Errorf("cosign: the manifest of %s does not hash as it should", digest)
		}
		s.manifests[digest] = manifest{mediaType, body}
		if err := s.add(digest, mediaType, len(body), q.Items); err != nil {
			return nil, err
		}
	}
	var err error
	if s.listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("cosign: %w", err)
	}
	s.server = &http.Server{Handler: s, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, MaxHeaderBytes: 16 << 10}
	go func() { _ = s.server.Serve(s.listener) }() // ends with close
	return s, nil
}

func (s *served) close() { _ = s.server.Close() }

// reference is an image there.
func (s *served) reference(digest string) string {
	return s.listener.Addr().String() + "/" + s.repository + "@" + digest
}

// add puts the evidence of one digest: old signatures under cosign's tag, bundles as
// referrers.
func (s *served) add(digest, mediaType string, size int, items []evidence.Item) error {
	config := s.blob([]byte("{}"), mediaConfig)
	old := document{SchemaVersion: 2, MediaType: mediaManifest, Config: &config}
	for _, i := range items {
		if i.SubjectDigest != digest || i.Broken != nil {
			continue
		}
		layer := s.blob(i.Bytes, i.MediaType)
		layer.Annotations = i.Annotations
		switch i.Kind {
		case evidence.KindSimpleSigning:
			old.Layers = append(old.Layers, layer)
		case evidence.KindBundle:
			empty := s.blob([]byte("{}"), mediaEmpty)
			d, err := s.put("", document{
				SchemaVersion: 2, MediaType: mediaManifest, ArtifactType: i.MediaType, Config: &empty, Layers: []descriptor{layer},
				Subject: &descriptor{MediaType: mediaType, Digest: digest, Size: size},
			})
			if err != nil {
				return err
			}
			d.ArtifactType = i.MediaType
			s.referrers[digest] = append(s.referrers[digest], d)
		}
	}
	if len(old.Layers) == 0 {
		return nil
	}
	_, err := s.put(strings.Replace(digest, ":", "-", 1)+".sig", old)
	return err
}

func (s *served) blob(body []byte, mediaType string) descriptor {
	digest := digestOf(body)
	s.blobs[digest] = body
	return descriptor{MediaType: mediaType, Digest: digest, Size: len(body)}
}

// put keeps a manifest under its digest, and under a tag where there is one.
func (s *served) put(tag string, d document) (descriptor, error) {
	type plain document
	body, err := json.Marshal(struct {
		plain
		Manifests *struct{} `json:"manifests,omitempty"`
	}{plain: plain(d)})
	if err != nil {
		return descriptor{}, fmt.Errorf("cosign: %w", err)
	}
	digest := digestOf(body)
	s.manifests[digest] = manifest{d.MediaType, body}
	if tag != "" {
		s.manifests[tag] = manifest{d.MediaType, body}
	}
	return descriptor{MediaType: d.MediaType, Digest: digest, Size: len(body)}, nil
}

// ServeHTTP answers as the distribution specification says, for reading.
func (s *served) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/v2/" {
		w.WriteHeader(http.StatusOK)
		return
	}
	rest, ok := strings.CutPrefix(r.URL.Path, "/v2/"+s.repository+"/")
	kind, name, named := strings.Cut(rest, "/")
	if !ok || !named || r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.NotFound(w, r)
		return
	}
	m, found := manifest{}, false
	switch kind {
	case "manifests":
		m, found = s.manifests[name]
	case "blobs":
		m.mediaType = "application/octet-stream"
		m.body, found = s.blobs[name]
	case "referrers":
		list := s.referrers[name]
		if list == nil {
			list = []descriptor{}
		}
		body, err := json.Marshal(document{SchemaVersion: 2, MediaType: mediaIndex, Manifests: list})
		m, found = manifest{mediaIndex, body}, err == nil
	}
	if !found {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", m.mediaType)
	h.Set("Content-Length", fmt.Sprint(len(m.body)))
	if kind != "referrers" {
		h.Set("Docker-Content-Digest", digestOf(m.body))
	}
	if r.Method == http.MethodGet {
		_, _ = w.Write(m.body)
	}
}
